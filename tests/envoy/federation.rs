//! Two trust domains, each with a server and a root of its own, that exchange bundles: their workloads reach each other, and the root of
//! one never vouches for an identity of the other.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use countersign::admin::api::{RootRotationAction, RootRotationRequest, RootRotationStatus};
use countersign::lab::checks::{Peer, served_by_proxy};
use countersign::lab::http;
use countersign::trust::{AuthorityKind, AuthorityState, SqliteStore, Store};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{LIMIT, Mesh, Setting, countersign, eventually, on_envoys, pair};
use crate::revocation::{revoke, shows, steals, thief};

on_envoys!(threat_02_one_trust_domain_does_not_vouch_for_another: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);

const HERE: &str = "cluster.local";
const THERE: &str = "other.test";

fn identity(trust_domain: &str, name: &str) -> String {
    format!("spiffe://{trust_domain}/ns/production/sa/{name}")
}

/// payment-service of the other trust domain, as an operator of this one writes it down.
fn beyond(other: &Mesh, trust_domain: &str) -> String {
    let address = other.topology().payment.address;
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: beyond, namespace: production}}\n\
         spec:\n  hosts: [payment.beyond.test]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports:\n  \
         - {{number: 8080, name: http, protocol: HTTP}}\n  endpoints:\n  - address: {address}\n    \
         labels: {{security.istio.io/tlsMode: istio}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: beyond, namespace: production}}\n\
         spec:\n  host: payment.beyond.test\n  trafficPolicy:\n    tls:\n      mode: ISTIO_MUTUAL\n      \
         subjectAltNames: [\"{}\"]\n",
        identity(trust_domain, "payment-service")
    )
}

/// Runs `countersign bundle …` against the mesh's server. What it has printed.
async fn bundle(mesh: &Mesh, arguments: &[&str]) -> String {
    let mut command = countersign();
    command.arg("bundle").args(arguments).arg("--data-dir").arg(mesh.server().data_dir()).stderr(Stdio::piped());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn hand_over(from: &Mesh, trust_domain: &str, form: &str, to: &Mesh, directory: &Path) {
    let file = directory.join(format!("{trust_domain}.{form}"));
    std::fs::write(&file, bundle(from, &["export", "--as", form]).await).unwrap();
    let shown = bundle(to, &["import", trust_domain, file.to_str().unwrap()]).await;
    assert!(shown.contains(trust_domain) && !shown.contains("federatesWith"), "{shown}");
}

/// An intermediate of the mesh's server with its key, as a thief of its store would have it.
struct Stolen {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Stolen {
    fn of(mesh: &Mesh, state: AuthorityState) -> Self {
        let store = SqliteStore::open(&mesh.server().data_dir().join("trust.db")).unwrap();
        let all = store.load().unwrap().authorities.into_iter();
        let record = all.rev().find(|it| it.kind == AuthorityKind::Intermediate && it.standing.state == state).unwrap();
        let key = KeyPair::try_from(record.key.as_slice()).unwrap();
        Self { certificate: record.certificate.into(), key }
    }

    /// A certificate under these names.
    fn forge(&self, names: &[SanType]) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let (key, issuer) = (KeyPair::generate().unwrap(), Issuer::from_ca_cert_der(&self.certificate, &self.key));
        let leaf = params.signed_by(&key, &issuer.unwrap()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        (vec![leaf.into(), self.certificate.clone()], key)
    }

    /// What payment-service of a mesh answers to who shows such a certificate.
    async fn gets(&self, identity: &str, mesh: &Mesh) -> Option<u16> {
        self.gets_as(&[uri(identity)], mesh).await
    }

    async fn gets_as(&self, names: &[SanType], mesh: &Mesh) -> Option<u16> {
        let (chain, key) = self.forge(names);
        shows(mesh, chain, key).await
    }

    /// A server that shows such a certificate, and answers whoever takes it.
    async fn serves_as(&self, names: &[SanType]) -> SocketAddr {
        let (chain, key) = self.forge(names);
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                if stream.read(&mut [0; 4096]).await.is_ok() {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    stream.write_all(answer).await.ok();
                }
            }
        });
        address
    }
}

fn uri(identity: &str) -> SanType {
    SanType::URI(identity.try_into().unwrap())
}

/// NAME.test, where payment-service of the other trust domain is expected.
fn expected_at(name: &str, address: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: production}}\n\
         spec:\n  hosts: [{name}.test]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports:\n  \
         - {{number: 8080, name: http, protocol: HTTP}}\n  endpoints:\n  - address: {}\n    ports: {{http: {}}}\n    \
         labels: {{security.istio.io/tlsMode: istio}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: production}}\n\
         spec:\n  host: {name}.test\n  trafficPolicy:\n    tls:\n      mode: ISTIO_MUTUAL\n      \
         subjectAltNames: [\"{}\"]\n---\n",
        address.ip(),
        address.port(),
        identity(THERE, "payment-service")
    )
}

/// A certificate with names of both trust domains is verified by the roots of the first one only.
async fn a_second_name_is_worth_nothing(here: &Mesh, of_here: &Stolen, of_there: &Stolen) {
    let [theirs, ours] = [THERE, HERE].map(|domain| identity(domain, "client"));
    let dns = SanType::DnsName(ours.as_str().try_into().unwrap());
    for second in [uri(&ours), dns] {
        for names in [[uri(&theirs), second.clone()], [second, uri(&theirs)]] {
            assert_eq!(of_there.gets_as(&names, here).await, None, "it shows {names:?}");
        }
    }
    let expected = uri(&identity(THERE, "payment-service"));
    let honest = of_there.serves_as(std::slice::from_ref(&expected)).await;
    let impostor = of_here.serves_as(&[uri(&ours), expected]).await;
    here.write_policy("servers.yaml", &(expected_at("honest", honest) + &expected_at("impostor", impostor)));
    let proxy = here.topology().client.http_proxy();
    let get = async |host: &str| {
        let answer = http::get_via_proxy(proxy, &format!("http://{host}.test:8080/"), LIMIT).await;
        answer.map(|answer| answer.status.as_u16())
    };
    eventually("the server is reached", async || (get("honest").await.ok()? == 200).then_some(())).await;
    assert_eq!(get("impostor").await.unwrap(), 503);
}

async fn reach(mesh: &Mesh, own: &str) -> Result<String, String> {
    let (client, url) = (mesh.topology().client.http_proxy(), "http://payment.beyond.test:8080/");
    served_by_proxy(client, url, Peer::Identity(&identity(own, "client"))).await
}

async fn threat_02_one_trust_domain_does_not_vouch_for_another(setting: Setting) {
    let _pair = pair().await;
    let here = setting.mesh_in(HERE, &format!("federatesWith: [{THERE}]\n"), |_| ()).await;
    let there = setting.mesh_in(THERE, &format!("federatesWith: [{HERE}]\n"), |_| ()).await;
    here.write_policy("beyond.yaml", &beyond(&there, THERE));
    there.write_policy("beyond.yaml", &beyond(&here, HERE));
    for mesh in [&here, &there] {
        eventually("the policy is served", async || (mesh.server().status().await.policy.files == 3).then_some(()))
            .await;
        mesh.server().wait_synced(3).await;
    }
    let thief_there = Stolen::of(&there, AuthorityState::Active);
    let of_theirs = identity(THERE, "client");
    assert_eq!(thief_there.gets(&of_theirs, &here).await, None, "nobody of an unknown domain is let in");
    assert!(reach(&here, HERE).await.is_err() && reach(&there, THERE).await.is_err(), "the check can fail");

    let files = tempfile::tempdir().unwrap();
    hand_over(&there, THERE, "spiffe", &here, files.path()).await;
    hand_over(&here, HERE, "pem", &there, files.path()).await;
    for (mesh, own) in [(&here, HERE), (&there, THERE)] {
        eventually("the other domain is reached", async || reach(mesh, own).await.ok()).await;
    }

    // Whoever holds an authority there is everybody there, and nobody here.
    assert_eq!(thief_there.gets(&of_theirs, &here).await, Some(200), "the check can fail");
    for name in ["client", "payment-service"] {
        assert_eq!(thief_there.gets(&identity(HERE, name), &here).await, None, "it claims {name} of {HERE}");
    }
    let thief_here = Stolen::of(&here, AuthorityState::Active);
    assert_eq!(thief_here.gets(&identity(HERE, "client"), &there).await, Some(200), "the check can fail");
    assert_eq!(thief_here.gets(&of_theirs, &there).await, None);
    assert_eq!(thief_here.gets(&identity("third.test", "client"), &there).await, None);

    a_second_name_is_worth_nothing(&here, &thief_here, &thief_there).await;

    lists_hold(&here).await;
    reach(&there, THERE).await.unwrap();
    roots_follow(&there, &here, files.path()).await;
    reach(&here, HERE).await.unwrap();

    bundle(&here, &["remove", THERE]).await;
    eventually("the other domain is not let in", async || {
        Stolen::of(&there, AuthorityState::Active).gets(&of_theirs, &here).await.is_none().then_some(())
    })
    .await;
    for mesh in [here, there] {
        mesh.stop().await;
    }
}

/// What is revoked is refused under several trust domains too.
async fn lists_hold(mesh: &Mesh) {
    let (stolen, kept) =
        (thief(mesh, &mesh.topology().legacy.id()).await, thief(mesh, &mesh.topology().client.id()).await);
    assert_eq!((steals(mesh, &stolen).await, steals(mesh, &kept).await), (Some(200), Some(200)));
    let report = revoke(mesh, &mesh.topology().legacy.identity()).await;
    assert!(report.lists, "{report:?}");
    eventually("the thief is not let in", async || steals(mesh, &stolen).await.is_none().then_some(())).await;
    assert_eq!(steals(mesh, &kept).await, Some(200));
}

/// The root there is replaced. It is handed over while it is prepared, so that nobody here is surprised.
async fn roots_follow(there: &Mesh, here: &Mesh, directory: &Path) {
    let act = async |action, force, paused| -> RootRotationStatus {
        let request = RootRotationRequest { action, force, paused };
        there.server().client().post("/v1/rotate/root", &request, LIMIT).await.unwrap()
    };
    act(RootRotationAction::Start, false, true).await;
    let next = Stolen::of(there, AuthorityState::Prepared);
    let of_theirs = identity(THERE, "client");
    assert_eq!(next.gets(&of_theirs, here).await, None, "nobody here knows that root");
    hand_over(there, THERE, "spiffe", here, directory).await;
    eventually("the next root is known", async || next.gets(&of_theirs, here).await).await;
    assert_eq!(next.gets(&identity(HERE, "client"), here).await, None);
    act(RootRotationAction::Resume, true, false).await;
    // A proxy that serves nothing never asks for `ALL`. The server knows that when it has been connected for 16 s.
    for (what, over) in
        [("everybody has both roots", &["activating", "retiring", "done"][..]), ("the rotation is done", &["done"])]
    {
        eventually(what, async || {
            let status: RootRotationStatus = there.server().client().get("/v1/rotate/root").await.unwrap();
            over.contains(&status.step.as_str()).then_some(())
        })
        .await;
    }
    hand_over(there, THERE, "spiffe", here, directory).await;
}
