use std::path::Path;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use time::macros::datetime;
use tokio::sync::watch;

use super::*;
use crate::admin;
use crate::admin::api::*;
use crate::admin::fake::Fake;

mod policy;
mod tables;

struct Running {
    dir: tempfile::TempDir,
    api: admin::Running,
    _stop: watch::Sender<bool>,
}

async fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let options = admin::Options { data_dir: dir.path().to_owned(), address: "127.0.0.1:0".parse().unwrap() };
    let (stop, stopped) = watch::channel(false);
    let api = admin::serve(Arc::new(Fake::default()), &options, stopped).await.unwrap();
    Running { dir, api, _stop: stop }
}

async fn run(data_dir: &Path, line: &str) -> Result<String, CliError> {
    let words = ["countersign"].into_iter().chain(line.split(' '));
    let words = words.chain(["--data-dir", data_dir.to_str().unwrap()]);
    let Command::Operator(command) = Cli::try_parse_from(words).unwrap().command else {
        panic!("{line} is not an operator's command");
    };
    let mut out = Vec::new();
    let result = execute(command, &mut out).await;
    result.map(|()| String::from_utf8(out).unwrap())
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_command_that_makes_no_sense_is_refused_before_anything_happens() {
    for line in [
        "secrets nope",
        "secrets Shop/Web",
        "rotate workload",
        "rotate workload a/b --all",
        "rotate workload --all --wait 1h",
        "adoption",
        "adoption ROOTCA --wait 1h",
        "status --server http://192.0.2.1:15014",
        "status --server https://127.0.0.1:1",
        "status -o xml",
        "bootstrap a/b",
        "lab --envoy-version 1.0.0",
        "serve --xds nowhere",
    ] {
        let error = Cli::try_parse_from(["countersign"].into_iter().chain(line.split(' '))).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[tokio::test]
async fn without_a_server_the_message_says_where_it_looked_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let error = run(dir.path(), "status").await.unwrap_err();
    let socket = format!("unix:{}/admin.sock", dir.path().display());
    assert!(error.to_string().contains(&format!("no countersign server answers at {socket}")), "{error}");
    let help = error.help().unwrap();
    assert!(help.contains("countersign serve") && help.contains("--server"), "{help}");
    assert_eq!(error.exit_code(), 1);

    std::fs::write(dir.path().join("admin.token"), "x").unwrap();
    let error = run(dir.path(), "status --server http://127.0.0.1:1").await.unwrap_err();
    assert!(error.to_string().contains("no countersign server answers at http://127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn commands_go_over_the_socket_and_over_http_with_the_token() {
    let server = start().await;
    let over_unix = run(server.dir.path(), "status").await.unwrap();
    assert!(over_unix.contains("generation 7") && over_unix.contains("rejected, not served:\n  a.yaml:3: bad"));
    let http = format!("status --server http://{}", server.api.address);
    assert_eq!(run(server.dir.path(), &http).await.unwrap(), over_unix);

    let wrong = server.dir.path().join("wrong");
    std::fs::write(&wrong, "guess").unwrap();
    let error = run(server.dir.path(), &format!("{http} --token-file {}", wrong.display())).await.unwrap_err();
    assert!(matches!(error, CliError::Refused { status: 401, .. }), "{error}");
    let error = run(server.dir.path(), &format!("{http} --token-file /nonexistent")).await.unwrap_err();
    assert!(error.help().is_some_and(|help| help.contains("--token-file")), "{error}");
}

#[tokio::test]
async fn json_and_yaml_are_the_api_s_own() {
    let server = start().await;
    let json = run(server.dir.path(), "secrets shop/web -o json").await.unwrap();
    let secrets: Vec<SecretStatus> = serde_json::from_str(&json).unwrap();
    assert_eq!(secrets[0].node, "shop/web");
    let yaml = run(server.dir.path(), "secrets shop/web -o yaml").await.unwrap();
    assert_eq!(serde_saphyr::from_str::<Vec<SecretStatus>>(&yaml).unwrap(), secrets);
    assert_eq!(run(server.dir.path(), "proxy-status").await.unwrap(), "no proxies are connected\n");
    assert_eq!(run(server.dir.path(), "proxy-status -o json").await.unwrap(), "[]\n");
}

#[tokio::test]
async fn rotation_fails_if_a_proxy_has_not_acknowledged_in_time() {
    let server = start().await;
    let line = "rotate workload shop/web shop/stuck";
    let report = run(server.dir.path(), line).await.unwrap();
    assert!(report.contains("shop/stuck   0a       not waited for"), "{report}");
    let error = run(server.dir.path(), &format!("{line} --wait 1s")).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit_code()), ("not acknowledged within 1s: shop/stuck", 1));
    // Who is not connected has not been slow.
    let report = run(server.dir.path(), "rotate workload shop/away").await.unwrap();
    assert!(report.contains("shop/away   0a       not connected"), "{report}");
    let error = run(server.dir.path(), "rotate workload shop/away shop/stuck --wait 1s").await.unwrap_err().to_string();
    let away = "not connected, so they have the old one until they come: shop/away";
    assert_eq!(error, format!("not acknowledged within 1s: shop/stuck; {away}"));
}

#[tokio::test]
async fn adoption_names_who_has_not_acknowledged_and_fails() {
    let server = start().await;
    let all = run(server.dir.path(), "adoption ROOTCA").await.unwrap();
    assert_eq!(all, "SECRET         ROOTCA\nacknowledged   2 proxies\nmissing        0\n");
    let line = "adoption file-cert:/a&b=c.pem~/ä%20.key --expect 00 --wait 2s -o json";
    let error = run(server.dir.path(), line).await.unwrap_err();
    let expected = "file-cert:/a&b=c.pem~/ä%20.key is not acknowledged by shop/stuck";
    assert_eq!((error.to_string().as_str(), error.exit_code()), (expected, 1));
}

#[tokio::test]
async fn bootstrap_writes_a_configuration_or_says_why_not() {
    let server = start().await;
    let output = server.dir.path().join("envoy");
    let line = format!("bootstrap shop/web --output {} --admin-port 0", output.display());
    let told = run(server.dir.path(), &line).await.unwrap();
    assert!(told.contains("envoy.yaml") && output.join("envoy.yaml").exists(), "{told}");
    assert!(output.join("credentials/key.pem").exists());

    let line = format!("bootstrap shop/unknown --output {}", server.dir.path().join("no").display());
    let error = run(server.dir.path(), &line).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no workload shop/unknown");
    assert_eq!(error.help().as_deref(), Some("write a WorkloadEntry"));
    assert!(!server.dir.path().join("no").exists());
}

#[tokio::test]
async fn a_mode_change_is_shown_and_made_to_go_on() {
    let server = start().await;
    let none = run(server.dir.path(), "rollout status").await.unwrap();
    assert_eq!(none, "every port serves the mode that the policy has for it\n");
    let refused = run(server.dir.path(), "rollout advance").await.unwrap_err();
    assert!(refused.to_string().contains("it waits for 1 proxies"), "{refused}");
    let table = run(server.dir.path(), "rollout advance --force").await.unwrap();
    let row = table.lines().find(|line| line.starts_with("shop/web")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["shop/web", "8080", "DISABLE", "STRICT", "switching"]);
    assert!(table.contains("MODE CHANGE") && table.ends_with("waiting for:\n  shop/stuck: it is away\n"), "{table}");
    let json = run(server.dir.path(), "rollout advance --force -o json").await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ports"][0]["from"], "DISABLE");
    assert_eq!(json["waiting"][0]["proxy"], "shop/stuck");
    let mode_change = ModeChangeSummary { step: "closing".into(), ports: 3, waiting: 1 };
    let mut shown = Vec::new();
    status::write_table(&ServerStatus { mode_change, ..ServerStatus::default() }, &mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("closing, 3 ports, waits for 1 proxies"), "{shown}");
}

#[tokio::test]
async fn a_new_token_is_alone_on_its_line() {
    let server = start().await;
    let line = async |line: &str| run(server.dir.path(), line).await;
    assert_eq!(line("token create shop/web --ttl 10m").await.unwrap(), "for 600 s\n");
    let listed = line("token list").await.unwrap();
    assert!(listed.contains("00ff") && listed.contains("USED"), "{listed}");
    assert_eq!(line("token revoke 00ff").await.unwrap(), "");
    assert!(line("token revoke beef").await.is_err());
}

#[test]
fn a_node_renews_at_half_of_its_credentials_life_give_or_take_a_tenth() {
    let (from, to) = (datetime!(2026-06-01 0:00 UTC), datetime!(2026-06-02 0:00 UTC));
    let due = |spread| (renew::due(from, to, spread) - from).whole_minutes();
    assert_eq!([due(0.0), due(0.5), due(1.0)], [648, 720, 792]);
}

#[tokio::test]
async fn trust_bundles_are_listed_shown_exchanged_and_forgotten() {
    let server = start().await;
    let line = async |line: &str| run(server.dir.path(), line).await;
    let listed = line("bundle list").await.unwrap();
    assert!(
        listed.contains("fake.example") && listed.contains("(own)") && listed.contains("other.example"),
        "{listed}"
    );
    assert!(line("bundle show").await.unwrap().starts_with("TRUST-DOMAIN   SERIAL"));
    assert!(line("bundle show other.example -o json").await.unwrap().contains(r#""own": false"#));
    let missing = line("bundle show third.example").await.unwrap_err();
    assert!(missing.to_string().contains("third.example") && missing.help().is_some(), "{missing}");
    assert_eq!(line("bundle export").await.unwrap(), "some keys\n");
    assert_eq!(line("bundle export other.example --as pem").await.unwrap(), "some pem\n");
    let file = server.dir.path().join("bundle");
    std::fs::write(&file, "some roots").unwrap();
    let taken = line(&format!("bundle import other.example {}", file.display())).await.unwrap();
    assert!(taken.contains("some roots") && taken.contains("other.example is not in federatesWith"), "{taken}");
    let unreadable = line("bundle import other.example /nonexistent").await.unwrap_err();
    assert!(unreadable.to_string().contains("cannot read /nonexistent"), "{unreadable}");
    assert_eq!(line("bundle remove other.example").await.unwrap(), "the bundle of other.example is forgotten\n");
    assert!(line("bundle remove third.example").await.is_err());
    for bad in
        ["bundle import Other.Example x", "bundle show spiffe://other", "bundle remove", "revoke", "revoke 0c --list"]
    {
        assert!(Cli::try_parse_from(["countersign"].into_iter().chain(bad.split(' '))).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn what_is_revoked_is_said_and_listed() {
    let server = start().await;
    let revoked = run(server.dir.path(), "revoke spiffe://cluster.local/ns/a/sa/b").await.unwrap();
    assert!(
        revoked.contains("0c        spiffe://cluster.local/ns/a/sa/b") && revoked.contains("2 connections"),
        "{revoked}"
    );
    let listed = run(server.dir.path(), "revoke --list").await.unwrap();
    assert!(listed.starts_with("SERIAL   IDENTITY   REVOKED-AT   NOT-AFTER\n0c"), "{listed}");
    let mut out = Vec::new();
    revoke::write_list(&[], &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "nothing is revoked\n");
}

/// With a server, `ca` goes through its API; without one it answers that there is none, and the caller opens the data directory.
#[tokio::test]
async fn authorities_go_to_the_server_that_runs() {
    let server = start().await;
    assert_eq!(ca::request(server.dir.path()).await.unwrap().unwrap().csr, "a request");
    let brought = ImportAuthorityRequest { chain: "c".into(), root: "r".into(), key: Some("secret".into()) };
    assert_eq!(ca::import(server.dir.path(), &brought).await.unwrap().unwrap().intermediate.serial, "0b");
    assert!(!format!("{brought:?}").contains("secret"), "threat 07");
    let nobody = tempfile::tempdir().unwrap();
    assert_eq!(ca::request(nobody.path()).await.unwrap(), None);
    assert_eq!(ca::import(nobody.path(), &brought).await.unwrap(), None);
}

#[tokio::test]
async fn certificates_are_listed_shown_renewed_and_exported() {
    let server = start().await;
    let listed = run(server.dir.path(), "cert list").await.unwrap();
    assert!(
        listed.contains("CERTIFICATE   READY   REASON   SECRET")
            && listed.contains("shop/web      True    Ready    web-tls"),
        "{listed}"
    );
    assert_eq!(run(server.dir.path(), "cert list -n bank").await.unwrap(), "there are no Certificates\n");
    let shown = run(server.dir.path(), "cert show shop/web").await.unwrap();
    assert!(
        shown.starts_with("Name: web\nNamespace: shop\n") && shown.contains("\nRevision: 3\nEvents: <none>\n"),
        "{shown}"
    );
    let error = run(server.dir.path(), "cert show shop/nobody").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no Certificate shop/nobody in the policy");
    assert!(run(server.dir.path(), "cert renew shop/web").await.unwrap().contains("shop/web"));
    for wrong in ["cert renew", "cert renew a/b --all", "cert renew -n a --all", "cert export a/b", "cert show A"] {
        assert!(Cli::try_parse_from(["countersign"].into_iter().chain(wrong.split(' '))).is_err(), "{wrong}");
    }
    let error = run(server.dir.path(), "cert export shop/nobody --output /nowhere").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no Certificate shop/nobody in the policy");
}

#[tokio::test]
async fn threat_07_an_exported_key_is_for_its_owner_alone_and_all_files_change_at_once() {
    use std::os::unix::fs::PermissionsExt;

    let (server, target) = (start().await, tempfile::tempdir().unwrap());
    let line = format!("cert export shop/web --output {}/tls", target.path().display());
    assert!(run(server.dir.path(), &line).await.unwrap().starts_with("tls.crt, tls.key and ca.crt are in"));
    let directory = target.path().join("tls");
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    assert_eq!([read("tls.crt"), read("tls.key"), read("ca.crt")], ["chain", "key", "ca"]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.join("tls.key")), 0o600);
    assert_eq!(mode(&directory.join("..data").canonicalize().unwrap()), 0o700);
    assert!(run(server.dir.path(), &line).await.unwrap().contains("has them already"));

    let other = ExportedCertificate { tls_crt: "other chain".into(), tls_key: "other key".into(), ca_crt: "ca".into() };
    assert!(cert_files::write(&directory, &other).unwrap());
    assert_eq!([read("tls.crt"), read("tls.key")], ["other chain", "other key"]);
    let names = std::fs::read_dir(&directory)
        .unwrap()
        .filter(|it| it.as_ref().unwrap().file_name().to_str().unwrap().starts_with("..generation-"));
    assert_eq!(names.count(), 1, "an older key is gone");
    // What somebody else has put there is left alone.
    let foreign = target.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("tls.key"), "precious").unwrap();
    let (path, error) = cert_files::write(&foreign, &other).unwrap_err();
    assert!(path.ends_with("tls.key") && error.to_string().contains("it was not written here"), "{error}");
    assert_eq!(std::fs::read_to_string(foreign.join("tls.key")).unwrap(), "precious");
}
