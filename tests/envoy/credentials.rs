//! Servers outside the mesh, by DestinationRule: SIMPLE and MUTUAL, with files on the proxy's machine and with Secrets.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use countersign::admin::api::{SecretState, SecretStatus, SecretType, TypeState};
use countersign::lab::http;

use crate::harness::{LIMIT, Mesh, Setting, eventually, finish, on_envoys};
use crate::outside::{Outside, Pair, Pki};

on_envoys!(servers_outside_the_mesh: delta_1_40, sotw_1_40, delta_1_36);
on_envoys!(trap_2_one_bad_secret_holds_nothing_up: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);

/// A ServiceEntry for `host` at `address`, and a DestinationRule with these lines of `tls`.
fn destination(host: &str, address: SocketAddr, tls: &str) -> String {
    let name = host.replace('.', "-");
    let (ip, port) = (address.ip(), address.port());
    let mut yaml = format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: production}}\n\
         spec:\n  hosts: [{host}]\n  location: MESH_EXTERNAL\n  resolution: STATIC\n  ports:\n  \
         - {{number: 80, name: http, protocol: HTTP}}\n  endpoints:\n  - {{address: {ip}, ports: {{http: {port}}}}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: production}}\n\
         spec:\n  host: {host}\n  trafficPolicy:\n    tls:\n"
    );
    for line in tls.lines() {
        let _ = writeln!(yaml, "      {line}");
    }
    yaml
}

fn secret(namespace: &str, name: &str, pair: &Pair, ca: &str) -> String {
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: kubernetes.io/tls\n\
         data:\n  tls.crt: {}\n  tls.key: {}\n  ca.crt: {}\n",
        encode(&pair.chain),
        encode(&pair.key),
        encode(ca)
    )
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

async fn ask(mesh: &Mesh, host: &str) -> (u16, String) {
    let answer =
        http::get_via_proxy(mesh.topology().client.http_proxy(), &format!("http://{host}/"), LIMIT).await.unwrap();
    (answer.status.as_u16(), answer.text())
}

async fn servers_outside_the_mesh(setting: Setting) {
    let (pki, other) = (Pki::new("operator"), Pki::new("somebody else"));
    let hosts = ["simple.test", "sni.test", "wrong-ca.test", "mutual.test", "credential.test", "unverified.test"];
    let server = Outside::start(&pki.issue("server", &hosts), &pki).await;
    let files = tempfile::tempdir().unwrap();
    let (ca, wrong_ca) = (write(files.path(), "ca.pem", &pki.pem), write(files.path(), "other.pem", &other.pem));
    let client = pki.issue("client in a file", &[]);
    let (chain, key) = (write(files.path(), "client.pem", &client.chain), write(files.path(), "key.pem", &client.key));

    let at = server.address;
    let mut policy = destination("simple.test", at, &format!("mode: SIMPLE\ncaCertificates: {ca}"));
    policy += &destination("by-sni.test", at, &format!("mode: SIMPLE\nsni: sni.test\ncaCertificates: {ca}"));
    policy += &destination("wrong-ca.test", at, &format!("mode: SIMPLE\ncaCertificates: {wrong_ca}"));
    policy += &destination("wrong-name.test", at, &format!("mode: SIMPLE\ncaCertificates: {ca}"));
    policy += &destination("no-ca.test", at, "mode: SIMPLE");
    policy += &destination("unverified.test", at, "mode: SIMPLE\ninsecureSkipVerify: true");
    let mutual = format!("mode: MUTUAL\ncaCertificates: {ca}\nclientCertificate: {chain}\nprivateKey: {key}");
    policy += &destination("mutual.test", at, &mutual);
    // By a name that the operator has written, in place of the host's; and one that the server does not carry.
    let named = |name: &str| format!("caCertificates: {ca}\nsubjectAltNames: [{name}]");
    policy += &destination("by-name.test", at, &format!("mode: SIMPLE\n{}", named("simple.test")));
    policy += &destination("by-another-name.test", at, &format!("mode: SIMPLE\n{}", named("nobody.test")));
    // A client that the server's authority does not know.
    let stranger = other.issue("a stranger", &[]);
    let strangers =
        (write(files.path(), "strange.pem", &stranger.chain), write(files.path(), "strange-key.pem", &stranger.key));
    let shown = format!("clientCertificate: {}\nprivateKey: {}", strangers.0, strangers.1);
    policy += &destination("stranger.test", at, &format!("mode: MUTUAL\n{shown}\n{}", named("simple.test")));
    policy += &destination("credential.test", at, "mode: MUTUAL\ncredentialName: partner");
    policy += &destination("elsewhere.test", at, "mode: MUTUAL\ncredentialName: not-yours");
    policy += &secret("legacy-namespace", "not-yours", &pki.issue("another namespace's", &[]), &pki.pem);
    let with = |common_name: &str| {
        format!("{policy}{}", secret("production", "partner", &pki.issue(common_name, &[]), &pki.pem))
    };
    let first = with("client in a Secret");
    let mesh = setting.mesh_with("", |policies| drop(write(policies, "outside.yaml", &first))).await;

    assert_eq!(ask(&mesh, "simple.test").await, (200, "sni=simple.test client=".into()));
    assert_eq!(ask(&mesh, "by-sni.test").await, (200, "sni=sni.test client=".into()));
    assert_eq!(ask(&mesh, "unverified.test").await.0, 200);
    assert_eq!(ask(&mesh, "mutual.test").await, (200, "sni=mutual.test client=client in a file".into()));
    assert_eq!(ask(&mesh, "credential.test").await, (200, "sni=credential.test client=client in a Secret".into()));
    assert_eq!(ask(&mesh, "by-name.test").await, (200, "sni=by-name.test client=".into()));
    for refused in ["wrong-ca.test", "wrong-name.test", "no-ca.test", "by-another-name.test", "stranger.test"] {
        assert_eq!(ask(&mesh, refused).await.0, 503, "{refused}");
    }
    // Threat 2: a Secret of another namespace is as good as none.
    assert_eq!(ask(&mesh, "elsewhere.test").await.0, 503);
    assert!(!mesh.server().log().contains("PRIVATE KEY"));
    // Every secret that the proxy holds is listed: what is in the policy with its serial number, what is in a file without one.
    let rows = mesh.server().secrets().await;
    let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name}: {rows:#?}"));
    for (name, kind) in
        [("kubernetes://partner", SecretType::CertChain), ("kubernetes://partner-cacert", SecretType::Ca)]
    {
        let row = row(name);
        let known = row.valid == Some(true) && !row.serial.is_empty() && !row.not_after.is_empty();
        assert!(known && row.r#type == kind && row.status == SecretState::Active, "{row:?}");
    }
    let of_file = row(&format!("file-root:{ca}"));
    assert!(of_file.r#type == SecretType::Ca && of_file.valid.is_none() && of_file.serial.is_empty(), "{of_file:?}");

    // The operator replaces the Secret: what is shown is the new one, without a restart.
    mesh.write_policy("outside.yaml", &with("client renewed"));
    eventually("the new certificate is shown", async || {
        let (status, text) = ask(&mesh, "credential.test").await;
        assert_eq!(status, 200, "{text}");
        text.ends_with("client=client renewed").then_some(())
    })
    .await;
    mesh.stop().await;
}

/// Envoy stops at the first bad secret of a response, and what came after it is lost. Here a file is missing on the proxy's machine; what
/// the mesh itself needs arrives all the same, and goes on being rotated.
async fn trap_2_one_bad_secret_holds_nothing_up(setting: Setting) {
    let absent = tempfile::tempdir().unwrap();
    let mut policy = String::new();
    for n in 0..5 {
        let path = absent.path().join(format!("ca-{n}.pem"));
        let tls = format!("mode: SIMPLE\ncaCertificates: {}", path.display());
        policy += &destination(&format!("host-{n}.test"), "127.0.0.1:1".parse().unwrap(), &tls);
    }
    let mesh = setting.mesh_with("", |policies| drop(write(policies, "outside.yaml", &policy))).await;
    let traffic = mesh.traffic();
    let client = mesh.topology().client.id();
    let state = async || {
        let proxies = mesh.server().proxies().await;
        let proxy = proxies.into_iter().find(|proxy| proxy.name == client)?;
        proxy.types.into_iter().find(|it| it.type_name == "SDS")
    };
    // Exactly the files are refused, each by its own name; what the mesh itself needs is taken.
    let secrets = async || {
        let state = state().await?;
        let rows: Vec<SecretStatus> = mesh.server().secrets().await;
        let of_client: Vec<_> = rows.into_iter().filter(|row| row.node == client).collect();
        let own = |row: &&SecretStatus| ["default", "ROOTCA"].contains(&row.name.as_str());
        let taken = of_client.iter().filter(own).all(|row| row.status == SecretState::Active);
        let both = of_client.iter().filter(own).count() >= 2;
        (state.state == TypeState::Rejected && taken && both).then_some(state)
    };
    let rejected = eventually("the files are refused and the rest is taken", secrets).await;
    let error = rejected.error.unwrap_or_default();
    assert!(error.contains("file-root:") && error.contains("Invalid path"), "{error}");
    // A refusal names one secret, so no other has come under suspicion. (A cluster that is refused for its secret is another
    // matter: it is offered again whenever a secret is replaced.)
    let refusals = || -> Vec<String> {
        let log = mesh.server().log();
        // Of this Envoy alone: the others of the mesh refuse the same files, each in its own time.
        let node = format!("\"node\":\"{client}\"");
        let of_secrets = ["the client refused", "\"SDS\"", &node];
        log.lines().filter(|line| of_secrets.iter().all(|it| line.contains(it))).map(str::to_owned).collect()
    };
    let lines = eventually("each file is refused", async || {
        let lines = refusals();
        let is_refused = |n| lines.iter().any(|line| line.contains(&format!("ca-{n}.pem")));
        (0..5).all(is_refused).then_some(lines)
    })
    .await;
    assert!(lines.iter().all(|line| line.matches("file-root:").count() == 1), "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("ROOTCA") && !line.contains("default")), "{lines:#?}");
    for _ in 0..3 {
        mesh.server().rotate().await;
    }
    // Trap 3: what was refused stays refused; nothing was sent again only to be "accepted" without effect.
    assert!(secrets().await.is_some());
    assert_eq!(refusals(), lines, "a refused file came again");
    finish(traffic).await;
    mesh.stop().await;
}
