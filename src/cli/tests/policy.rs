//! The commands about policy, on a directory and on a server.

use std::path::Path;

use super::*;
use crate::analysis::Report;

/// Three lines an object; the client's rule contradicts the server's mode on 8080.
const POLICY: &str = "\
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: client, namespace: shop},
 spec: {address: 10.0.0.1, labels: {app: client}}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: web, namespace: back},
 spec: {address: 10.0.0.2, labels: {app: web}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: back},
 spec: {selector: {app: web}, ports: [{name: http, port: 8080}]}}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default, namespace: istio-system},
 spec: {mtls: {mode: STRICT}}}
";
const PLAINTEXT_RULE: &str = "\
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: web, namespace: shop},
 spec: {host: web.back.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}}
";

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// What a command prints, also when it fails.
async fn told(line: &str) -> (String, Result<(), CliError>) {
    let words = ["countersign"].into_iter().chain(line.split(' '));
    let Command::Operator(command) = Cli::try_parse_from(words).unwrap().command else {
        panic!("{line} is not an operator's command");
    };
    let mut out = Vec::new();
    let result = execute(command, &mut out).await;
    (String::from_utf8(out).unwrap(), result)
}

fn in_directory(command: &str, directory: &Path) -> String {
    format!("{command} {}", directory.display())
}

#[tokio::test]
async fn analyze_fails_with_an_error_and_not_with_warnings_unless_told() {
    let good = directory(&[("a.yaml", POLICY)]);
    let (out, result) = told(&in_directory("analyze", good.path())).await;
    assert_eq!(out, "nothing to report\n");
    result.unwrap();

    let bad = directory(&[("a.yaml", POLICY), ("b.yaml", PLAINTEXT_RULE)]);
    let (out, result) = told(&in_directory("analyze", bad.path())).await;
    assert!(out.contains("error      CS0101   b.yaml:2"), "{out}");
    let error = result.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit_code()), ("1 error, 0 warnings, 0 notes", 1));
    told(&in_directory("analyze --fail-on never", bad.path())).await.1.unwrap();

    let odd = directory(&[("a.yaml", POLICY), ("b.yaml", &PLAINTEXT_RULE.replace("web.back", "wbe.back"))]);
    told(&in_directory("analyze", odd.path())).await.1.unwrap();
    let (out, result) = told(&in_directory("analyze --fail-on warning", odd.path())).await;
    assert!(out.contains("CS0206"), "{out}");
    result.unwrap_err();
}

#[tokio::test]
async fn analyze_reports_a_set_that_does_not_parse_as_findings() {
    let broken = directory(&[("a.yaml", &POLICY.replace("STRICT", "STRIKT"))]);
    let (out, result) = told(&in_directory("analyze -o json", broken.path())).await;
    let report: Report = serde_json::from_str(&out).unwrap();
    let [finding] = &report.findings[..] else { panic!("{out}") };
    assert_eq!((finding.code.as_str(), finding.file.as_str(), finding.line), ("CS0001", "a.yaml", 12));
    result.unwrap_err();
    let (out, _) = told(&in_directory("analyze -o sarif", broken.path())).await;
    let sarif: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "CS0001");
    // The other commands need a set that could be served.
    let (_, result) = told(&in_directory("tls-check --policy", broken.path())).await;
    let error = result.unwrap_err();
    assert!(error.to_string().starts_with("the policy set is refused: a.yaml:12: "), "{error}");
    let (_, result) = told("analyze /nonexistent/policies").await;
    assert!(result.unwrap_err().to_string().contains("/nonexistent/policies"));
}

#[tokio::test]
async fn tls_check_prints_a_row_for_each_pair_and_why() {
    let bad = directory(&[("a.yaml", POLICY), ("b.yaml", PLAINTEXT_RULE)]);
    let (out, result) = told(&in_directory("tls-check shop/client web.back:8080 -v --policy", bad.path())).await;
    let expected = "\
HOST:PORT                         STATUS     SERVER   CLIENT      AUTHN POLICY           DESTINATION RULE   FROM
web.back.svc.cluster.local:8080   CONFLICT   STRICT   PLAINTEXT   istio-system/default   shop/web           shop/client

web.back.svc.cluster.local:8080 from shop/client
  client: b.yaml:2: DestinationRule shop/web (host web.back.svc.cluster.local) sets DISABLE
  server back/web port 8080: a.yaml:12: PeerAuthentication istio-system/default sets STRICT for the mesh
";
    assert!(out.starts_with(expected), "{out}");
    assert_eq!(result.unwrap_err().to_string(), "1 conflict: its connections fail");
    let (out, result) = told(&in_directory("tls-check back/web --policy", bad.path())).await;
    assert!(out.contains("AUTO     STRICT   ISTIO_MUTUAL   istio-system/default   -"), "{out}");
    result.unwrap();
}

#[tokio::test]
async fn describe_shows_what_governs_a_workload_and_a_service() {
    let set = directory(&[("a.yaml", POLICY)]);
    let (out, result) = told(&in_directory("describe workload back/web --policy", set.path())).await;
    result.unwrap();
    assert!(out.contains("identity   spiffe://cluster.local/ns/back/sa/default"), "{out}");
    assert!(out.contains("  8080 STRICT\n    a.yaml:12: PeerAuthentication istio-system/default sets STRICT"), "{out}");
    let (out, result) = told(&in_directory("describe service web.back --policy", set.path())).await;
    result.unwrap();
    assert!(out.contains("Endpoint 10.0.0.2 (back/web):\n  8080 STRICT"), "{out}");
    for what in ["workload back/none", "service none.example"] {
        let (_, result) = told(&in_directory(&format!("describe {what} --policy"), set.path())).await;
        assert!(matches!(result.unwrap_err(), CliError::NoSuchThing(_)), "{what}");
    }
}

#[tokio::test]
async fn diff_says_which_pairs_would_break() {
    let (old, new) = (directory(&[("a.yaml", POLICY)]), directory(&[("a.yaml", POLICY), ("b.yaml", PLAINTEXT_RULE)]));
    let line = |old: &Path, new: &Path| format!("diff {} {}", old.display(), new.display());
    let (out, result) = told(&line(old.path(), new.path())).await;
    let row = "web.back.svc.cluster.local:8080   shop/client   AUTO ISTIO_MUTUAL to STRICT   CONFLICT PLAINTEXT to STRICT   yes";
    assert!(out.contains(row), "{out}");
    assert_eq!(result.unwrap_err().to_string(), "1 pair would break");
    let (out, result) = told(&line(old.path(), old.path())).await;
    assert_eq!(out, "no pair changes\n");
    result.unwrap();
}

#[tokio::test]
async fn the_same_commands_ask_a_running_server() {
    let server = start().await;
    let line = async |line: &str| run(server.dir.path(), line).await;
    let error = line("analyze").await.unwrap_err();
    assert_eq!(error.to_string(), "1 error, 0 warnings, 0 notes");
    let check = line("tls-check shop/web api.example:443").await.unwrap();
    assert!(check.contains("api.example:443") && check.contains("shop/web"), "{check}");
    assert!(line("describe workload shop/web").await.unwrap().starts_with("WORKLOAD   shop/web"));
    assert!(line("describe service api.example").await.unwrap().starts_with("SERVICE     api.example"));
    assert!(matches!(line("describe service nobody.example").await.unwrap_err(), CliError::NoSuchThing(_)));
    let set = directory(&[("a.yaml", POLICY)]);
    let changes = line(&in_directory("diff", set.path())).await.unwrap();
    assert!(changes.contains("none") && changes.contains("AUTO ISTIO_MUTUAL to STRICT"), "{changes}");
}

#[tokio::test]
async fn explain_needs_nothing_but_the_code() {
    let (out, result) = told("explain cs0101").await;
    result.unwrap();
    assert!(out.starts_with("CS0101 (error): ") && out.contains("What to do: "), "{out}");
    let (all, _) = told("explain").await;
    assert_eq!(all.lines().count(), 1 + crate::analysis::RULES.len());
    for line in ["explain CS9999", "tls-check a/b c d", "tls-check host:port", "describe service a/b", "diff"] {
        let error = Cli::try_parse_from(["countersign"].into_iter().chain(line.split(' '))).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
