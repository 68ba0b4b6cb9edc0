use std::path::Path;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use time::macros::datetime;
use tokio::sync::watch;

use super::*;
use crate::admin::api::*;
use crate::admin::{self, Backend, Failure};
use crate::analysis::{Filter, Finding, Report, ServiceDescription, Way, WorkloadDescription};

mod policy;

/// A server with a real certificate authority and otherwise made-up answers.
struct Fake;

const SERVER: &str = "spiffe://cluster.local/ns/istio-system/sa/countersign";

impl Backend for Fake {
    fn ready(&self) -> bool {
        true
    }
    fn metrics(&self) -> String {
        String::new()
    }
    async fn status(&self) -> Result<ServerStatus, Failure> {
        let policy = PolicyStatus { generation: 7, rejected: vec!["a.yaml:3: bad".into()], ..PolicyStatus::default() };
        Ok(ServerStatus { version: "0.1.0".into(), ready: true, policy, ..ServerStatus::default() })
    }
    async fn findings(&self) -> Result<Report, Failure> {
        let finding = Finding { code: "CS0101".into(), file: "a.yaml".into(), line: 3, ..Finding::default() };
        Ok(Report { findings: vec![finding], ..Report::default() })
    }
    async fn ways(&self, filter: Filter) -> Result<Vec<Way>, Failure> {
        let clients = filter.workload.iter().map(ToString::to_string).collect();
        Ok(vec![Way {
            clients,
            host: filter.host.unwrap_or_default(),
            port: filter.port.unwrap_or(80),
            ..Way::default()
        }])
    }
    async fn describe_workload(&self, name: String) -> Result<WorkloadDescription, Failure> {
        Ok(WorkloadDescription { name, ..WorkloadDescription::default() })
    }
    async fn describe_service(&self, host: String) -> Result<Vec<ServiceDescription>, Failure> {
        let known = ServiceDescription { host: host.clone(), ..ServiceDescription::default() };
        Ok(if host == "nobody.example" { vec![] } else { vec![known] })
    }
    async fn proxies(&self) -> Result<Vec<ProxyStatus>, Failure> {
        Ok(vec![])
    }
    async fn secrets(&self, node: Option<String>) -> Result<Vec<SecretStatus>, Failure> {
        Ok(vec![SecretStatus { node: node.unwrap_or("any/one".into()), name: "default".into(), ..Default::default() }])
    }
    async fn adoption(&self, request: AdoptionRequest) -> Result<AdoptionStatus, Failure> {
        let AdoptionRequest { secret, version, wait_seconds } = request;
        let stuck = MissingProxy {
            node: "shop/stuck".into(),
            state: AdoptionState::Waiting,
            reason: format!("waited {wait_seconds:?}"),
            ..MissingProxy::default()
        };
        let missing = if secret == "ROOTCA" { vec![] } else { vec![stuck] };
        Ok(AdoptionStatus {
            complete: missing.is_empty(),
            secret,
            version,
            acknowledged: 2,
            missing,
            ..Default::default()
        })
    }
    async fn rotate(&self, request: RotateRequest) -> Result<RotateReport, Failure> {
        let one = |w: String| RotatedWorkload {
            acknowledged: !w.ends_with("stuck") && !w.ends_with("away"),
            connected: !w.ends_with("away"),
            serial: "0a".into(),
            workload: w,
        };
        Ok(RotateReport { rotated: request.workloads.into_iter().map(one).collect() })
    }
    async fn root_rotation(&self) -> Result<RootRotationStatus, Failure> {
        Ok(RootRotationStatus { step: "none".into(), ..RootRotationStatus::default() })
    }
    async fn rotate_root(&self, request: RootRotationRequest) -> Result<RootRotationStatus, Failure> {
        let waiting = vec![WaitingFor { proxy: Some("shop/stuck".into()), reason: "it is away".into() }];
        let step = format!("{:?}", request.action);
        Ok(RootRotationStatus { step, force: request.force, waiting, ..RootRotationStatus::default() })
    }
    async fn mode_change(&self) -> Result<ModeChangeStatus, Failure> {
        Ok(ModeChangeStatus::default())
    }
    async fn advance_mode_change(&self, request: ModeChangeRequest) -> Result<ModeChangeStatus, Failure> {
        if !request.force {
            return Err(Failure::Conflict("it waits for 1 proxies".into(), "--force goes on without them".into()));
        }
        let change = ModeChange { from: "DISABLE".into(), to: "STRICT".into(), step: "switching".into() };
        let ports = vec![PortInTransit { workload: "shop/web".into(), port: 8080, change }];
        let waiting = vec![WaitingFor { proxy: Some("shop/stuck".into()), reason: "it is away".into() }];
        Ok(ModeChangeStatus { step: "switching".into(), ports, waiting, ..ModeChangeStatus::default() })
    }
    async fn rotate_intermediate(&self) -> Result<IntermediateReport, Failure> {
        Ok(IntermediateReport {
            intermediate: AuthorityStatus { serial: "0b".into(), not_after: "then".into() },
            waiting: false,
        })
    }
    async fn revoke(&self, request: RevokeRequest) -> Result<RevokeReport, Failure> {
        let one = RevokedCertificate { serial: "0c".into(), identity: request.target, ..RevokedCertificate::default() };
        Ok(RevokeReport { revoked: vec![one], connections_ended: 2, lists: true })
    }
    async fn revocations(&self) -> Result<Vec<RevokedCertificate>, Failure> {
        Ok(vec![RevokedCertificate { serial: "0c".into(), ..RevokedCertificate::default() }])
    }
    async fn bundles(&self) -> Result<Vec<BundleStatus>, Failure> {
        let own = BundleStatus { trust_domain: "fake.example".into(), own: true, ..BundleStatus::default() };
        Ok(vec![own, BundleStatus { trust_domain: "other.example".into(), ..BundleStatus::default() }])
    }
    async fn bundle(&self, trust_domain: Option<String>) -> Result<BundleDocument, Failure> {
        let trust_domain = trust_domain.unwrap_or("fake.example".into());
        Ok(BundleDocument { trust_domain, pem: "some pem".into(), spiffe: "some keys".into() })
    }
    async fn import_bundle(&self, request: ImportBundleRequest) -> Result<BundleStatus, Failure> {
        let roots = vec![RootStatus { subject: request.document, ..RootStatus::default() }];
        Ok(BundleStatus { trust_domain: request.trust_domain, roots, ..BundleStatus::default() })
    }
    async fn remove_bundle(&self, request: RemoveBundleRequest) -> Result<(), Failure> {
        match request.trust_domain.as_str() {
            "other.example" => Ok(()),
            other => Err(Failure::NotFound(format!("there is no bundle of {other}"), String::new())),
        }
    }
    async fn request_authority(&self) -> Result<AuthorityRequest, Failure> {
        Ok(AuthorityRequest { csr: "a request".into() })
    }
    async fn import_authority(&self, _: ImportAuthorityRequest) -> Result<IntermediateReport, Failure> {
        self.rotate_intermediate().await
    }
    async fn certificates(&self) -> Result<Vec<CertificateStatus>, Failure> {
        let ready = Condition { r#type: "Ready".into(), status: true, reason: "Ready".into(), ..Condition::default() };
        let (name, secret) = ("shop/web".to_owned(), "web-tls".to_owned());
        Ok(vec![CertificateStatus { name, secret, revision: 3, conditions: vec![ready], ..Default::default() }])
    }
    async fn renew_certificates(&self, _: RenewCertificatesRequest) -> Result<Vec<CertificateStatus>, Failure> {
        self.certificates().await
    }
    async fn export_certificate(&self, request: ExportCertificateRequest) -> Result<ExportedCertificate, Failure> {
        match request.certificate.as_str() {
            "shop/web" => {
                Ok(ExportedCertificate { tls_crt: "chain".into(), tls_key: "key".into(), ca_crt: "ca".into() })
            }
            other => Err(Failure::NotFound(format!("there is no Certificate {other} in the policy"), String::new())),
        }
    }
    async fn bootstrap(&self, request: BootstrapRequest) -> Result<BootstrapMaterial, Failure> {
        if request.workload == "shop/unknown" {
            return Err(Failure::NotFound("there is no workload shop/unknown".into(), "write a WorkloadEntry".into()));
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(rcgen::CertificateParams::default(), key);
        let csr = rcgen::CertificateSigningRequestParams::from_pem(&request.csr).unwrap();
        Ok(BootstrapMaterial {
            workload: request.workload,
            certificate_chain: csr.signed_by(&issuer).unwrap().pem(),
            roots: root,
            xds_address: "127.0.0.1:15012".into(),
            server_identity: SERVER.into(),
            ..BootstrapMaterial::default()
        })
    }
    async fn create_token(&self, request: TokenRequest) -> Result<NewToken, Failure> {
        let status = TokenStatus { workload: request.workload, ..TokenStatus::default() };
        Ok(NewToken { token: format!("for {} s", request.ttl_seconds), status })
    }
    async fn tokens(&self) -> Result<Vec<TokenStatus>, Failure> {
        Ok(vec![TokenStatus { id: "00ff".into(), state: TokenState::Used, ..TokenStatus::default() }])
    }
    async fn revoke_token(&self, id: String) -> Result<(), Failure> {
        match id.as_str() {
            "00ff" => Ok(()),
            _ => Err(Failure::NotFound(format!("there is no join token {id}"), String::new())),
        }
    }
}

struct Running {
    dir: tempfile::TempDir,
    api: admin::Running,
    _stop: watch::Sender<bool>,
}

async fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let options = admin::Options { data_dir: dir.path().to_owned(), address: "127.0.0.1:0".parse().unwrap() };
    let (stop, stopped) = watch::channel(false);
    let api = admin::serve(Arc::new(Fake), &options, stopped).await.unwrap();
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

#[test]
fn the_adoption_table_says_what_each_who_is_missing_holds() {
    let one = MissingProxy {
        node: "shop/stuck".into(),
        node_id: "stuck-1".into(),
        state: AdoptionState::Behind,
        reason: "it has another since then".into(),
        serial: Some("0a".into()),
        ..MissingProxy::default()
    };
    let status = AdoptionStatus {
        secret: "default".into(),
        acknowledged: 1,
        missing: vec![one],
        unused: vec!["shop/idle".into()],
        away: 3,
        ..AdoptionStatus::default()
    };
    let mut out = Vec::new();
    adoption::write_table(&status, &mut out).unwrap();
    let expected = "\
SECRET          default
acknowledged    1 proxy
missing         1
not used by     shop/idle
not connected   3

NODE         NODE-ID   STATE    HOLDS   REASON
shop/stuck   stuck-1   BEHIND   0a      it has another since then
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
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

#[test]
fn the_proxy_table() {
    let of = |name: &str, state, error: Option<&str>| TypeStatus {
        type_name: name.into(),
        state,
        error: error.map(str::to_owned),
        ..TypeStatus::default()
    };
    let web = ProxyStatus {
        name: "shop/web".into(),
        version: "1.40.0".into(),
        connected_since: "2026-11-24T00:00:00Z".into(),
        types: vec![
            of("CDS", TypeState::Synced, None),
            of("LDS", TypeState::Stale, None),
            of("SDS", TypeState::Rejected, Some("Failed to load\u{1b}[2J")),
        ],
        ..ProxyStatus::default()
    };
    let mut out = Vec::new();
    proxy_status::write_table(&[web], datetime!(2026-11-24 03:12:40 UTC), &mut out).unwrap();
    let expected = "\
NAME       CLUSTER   VERSION   CDS      LDS     EDS        RDS        SDS        CONNECTED
shop/web   -         1.40.0    SYNCED   STALE   NOT SENT   NOT SENT   REJECTED   3h 12m

shop/web refused SDS: Failed to load\u{fffd}[2J
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn the_secret_table_has_a_row_for_each_root_and_a_node_column_only_for_many() {
    let root = |serial: &str, valid| SecretStatus {
        node: "shop/web".into(),
        name: "ROOTCA".into(),
        r#type: SecretType::Ca,
        status: SecretState::Active,
        valid: Some(valid),
        serial: serial.into(),
        not_after: "2036-01-01T00:00:00Z".into(),
        not_before: "2026-01-01T00:00:00Z".into(),
    };
    let secrets = [root("1f", true), root("0a2b", false)];
    let table = |with_node| {
        let mut out = Vec::new();
        secrets::write_table(&secrets, with_node, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let expected = "\
NAME     TYPE   STATUS   VALID   SERIAL   NOT-AFTER              NOT-BEFORE
ROOTCA   CA     ACTIVE   true    1f       2036-01-01T00:00:00Z   2026-01-01T00:00:00Z
ROOTCA   CA     ACTIVE   false   0a2b     2036-01-01T00:00:00Z   2026-01-01T00:00:00Z
";
    assert_eq!(table(false), expected);
    assert!(table(true).starts_with("NODE       NAME     TYPE"), "{}", table(true));
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

#[tokio::test]
async fn the_root_rotation_s_table_names_who_is_waited_for() {
    let server = start().await;
    assert_eq!(run(server.dir.path(), "rotate root status").await.unwrap(), "no root rotation so far\n");
    let status = RootRotationStatus {
        step: "activating".into(),
        paused: true,
        force: true,
        old_root: "0a".into(),
        new_root: "0b".into(),
        started_at: "2026-06-01T12:00:00Z".into(),
        step_since: "2026-06-01T12:05:00Z".into(),
        waiting: vec![
            WaitingFor { proxy: Some("shop/web".into()), reason: "it refuses the trust bundle: bad\u{1b}[2J".into() },
            WaitingFor { proxy: None, reason: "certificates below the other root may be valid".into() },
        ],
    };
    let mut out = Vec::new();
    rotate::write_root(&status, &mut out).unwrap();
    let expected = "\
ROOT ROTATION   activating (paused) (forced)
old root        0a
new root        0b
since           2026-06-01T12:05:00Z
started         2026-06-01T12:00:00Z

waiting for:
  shop/web: it refuses the trust bundle: bad\u{fffd}[2J
  certificates below the other root may be valid
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
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
