//! A gateway at the mesh's edge: plaintext, TLS of the operator's, and TLS that goes through.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use countersign::cli::{Format, bootstrap};
use countersign::lab::app::Echo;
use countersign::lab::http::{self, Answer, HttpError, Tls};
use countersign::lab::{EnvoyOptions, EnvoyProcess};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::harness::{LIMIT, Mesh, Setting, eventually, on_envoys};
use crate::outside::{Outside, Pair, Pki};

on_envoys!(a_gateway_at_the_edge: delta_1_40, sotw_1_36);

const EDGE: &str = "spiffe://cluster.local/ns/production/sa/edge";
const HTTP: u16 = 8080;
const HTTPS: u16 = 8443;
const TLS: u16 = 8444;

pub fn secret(name: &str, pair: &Pair, ca: &str) -> String {
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: production}}\ntype: kubernetes.io/tls\n\
         data:\n  tls.crt: {}\n  tls.key: {}\n  ca.crt: {}\n",
        encode(&pair.chain),
        encode(&pair.key),
        encode(ca)
    )
}

/// What the gateway serves at `edge`, and a server outside the mesh for TLS that goes through.
fn policy(edge: Ipv4Addr, outside: SocketAddr) -> String {
    let bind = format!("bind: {edge}");
    let mut yaml = format!(
        "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: edge, namespace: production}}
spec: {{address: {edge}, serviceAccount: edge, labels: {{app: edge}}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: production}}
spec:
  selector: {{app: edge}}
  servers:
  - {{port: {{number: {HTTP}, name: http, protocol: HTTP}}, {bind}, hosts: [web.test]}}
  - {{port: {{number: {HTTP}, name: redirect, protocol: HTTP}}, {bind}, hosts: [secure.test], tls: {{httpsRedirect: true}}}}
  - port: {{number: {HTTPS}, name: simple, protocol: HTTPS}}
    {bind}
    hosts: [simple.test]
    tls: {{mode: SIMPLE, credentialName: simple, minProtocolVersion: TLSV1_3}}
  - port: {{number: {HTTPS}, name: mutual, protocol: HTTPS}}
    {bind}
    hosts: [mutual.test]
    tls: {{mode: MUTUAL, credentialName: mutual, subjectAltNames: [client.test]}}
  - port: {{number: {HTTPS}, name: optional, protocol: HTTPS}}
    {bind}
    hosts: [optional.test]
    tls: {{mode: OPTIONAL_MUTUAL, credentialName: mutual}}
  - {{port: {{number: {TLS}, name: tls, protocol: TLS}}, {bind}, hosts: ['*.test'], tls: {{mode: PASSTHROUGH}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: outside, namespace: production}}
spec:
  hosts: [outside.example]
  resolution: STATIC
  ports: [{{number: 443, name: tls, protocol: TLS}}]
  endpoints: [{{address: {}, ports: {{tls: {}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: through, namespace: production}}
spec:
  hosts: [through.test]
  gateways: [edge]
  tls:
  - match: [{{sniHosts: [through.test]}}]
    route: [{{destination: {{host: outside.example}}}}]
",
        outside.ip(),
        outside.port()
    );
    for host in ["web.test", "simple.test", "mutual.test", "optional.test"] {
        let name = host.replace('.', "-");
        let _ = write!(
            yaml,
            "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: production}}
spec:
  hosts: [{host}]
  gateways: [production/edge]
  http:
  - match: [{{uri: {{prefix: /legacy}}}}]
    route: [{{destination: {{host: legacy.legacy-namespace.svc.cluster.local}}}}]
  - route: [{{destination: {{host: payment-service, port: {{number: 8080}}}}}}]
"
        );
    }
    yaml
}

/// A client that trusts `authority`, asks for `name`, and shows a certificate or none.
pub fn tls(authority: &Pki, name: &str, certificate: Option<&Pair>) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap).collect();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap()).unwrap()
        }
    };
    Tls { config: Arc::new(config), server_name: ServerName::try_from(name.to_owned()).unwrap() }
}

/// `APP`, and the identity that its proxy saw; or the status; or `refused`.
pub fn seen(answer: Result<Answer, HttpError>) -> String {
    match answer {
        Err(error) if error.is_refusal() => "refused".to_owned(),
        Err(error) => panic!("{error}"),
        Ok(answer) if answer.status.as_u16() == 200 => match serde_json::from_slice::<Echo>(&answer.body) {
            Ok(echo) => {
                let uris = echo.peer().map(|peer| peer.uris.join(" "));
                format!("{} {}", echo.app, uris.unwrap_or_else(|| "nobody".to_owned()))
            }
            Err(_) => answer.text(),
        },
        Ok(answer) => answer.status.as_u16().to_string(),
    }
}

async fn start(mesh: &mut Mesh, setting: Setting) -> EnvoyProcess {
    let home = mesh.directory.path().join("edge");
    std::fs::create_dir_all(&home).unwrap();
    let admin = mesh.ports.free_address().unwrap();
    let mut options = bootstrap::Options::new("production/edge".parse().unwrap(), &home);
    (options.mode, options.admin_port, options.gateway) = (setting.mode, admin.port(), true);
    let args = bootstrap::Args { options, format: Format::default(), connection: mesh.server().connection() };
    let config = bootstrap::run(&args).await.unwrap().envoy_yaml;
    let binary = mesh.envoy.clone();
    let options = EnvoyOptions { name: "edge".to_owned(), binary, config, admin, log: home.join("envoy.log") };
    let mut envoy = EnvoyProcess::start(options).unwrap();
    envoy.wait_ready(LIMIT).await.unwrap();
    envoy
}

async fn a_gateway_at_the_edge(setting: Setting) {
    let (operator, partner, stranger) = (Pki::new("operator"), Pki::new("partner"), Pki::new("stranger"));
    let outside = Outside::start(&stranger.issue("outside", &["through.test"]), &stranger).await;
    let mut mesh = setting.mesh().await;
    let [a, b, c, _] = mesh.topology().payment.address.octets();
    let edge = Ipv4Addr::new(a, b, c, 9);
    let at = |port| SocketAddr::from((edge, port));
    let with = |simple: &Pair| {
        let mutual = operator.issue("mutual", &["mutual.test", "optional.test"]);
        let secrets = [secret("simple", simple, &operator.pem), secret("mutual", &mutual, &partner.pem)].concat();
        policy(edge, outside.address) + &secrets
    };
    mesh.write_policy("gateway.yaml", &with(&operator.issue("simple", &["simple.test"])));
    eventually("the gateway is in the policy", async || {
        mesh.server().status().await.policy.generation.gt(&1).then_some(())
    })
    .await;
    let envoy = start(&mut mesh, setting).await;

    // Plaintext, by host and path. What is behind is STRICT, and sees the gateway.
    let plain = async |host: &str, path: &str| seen(http::get(at(HTTP), host, path, LIMIT).await);
    assert_eq!(plain("web.test", "/").await, format!("payment-service {EDGE}"));
    assert_eq!(plain("web.test:8080", "/legacy/a").await, format!("legacy {EDGE}"));
    assert_eq!(plain("nobody.test", "/").await, "404");
    let redirected = http::get(at(HTTP), "secure.test", "/a?b", LIMIT).await.unwrap();
    assert_eq!(
        (redirected.status.as_u16(), &redirected.headers["location"]),
        (301, &"https://secure.test/a?b".parse().unwrap())
    );

    // TLS that the gateway terminates. The application sees the gateway, whoever its client was.
    let ask = async |port, tls: &Tls, host: &str| seen(http::get_tls(at(port), tls, host, "/", LIMIT).await);
    let served = format!("payment-service {EDGE}");
    assert_eq!(ask(HTTPS, &tls(&operator, "simple.test", None), "simple.test").await, served);
    assert_eq!(
        ask(HTTPS, &tls(&operator, "simple.test", None), "mutual.test").await,
        "404",
        "a host of another server"
    );
    assert_eq!(ask(HTTPS, &tls(&operator, "nobody.test", None), "simple.test").await, "refused");
    assert_eq!(plain("simple.test", "/").await, "404", "it is served within TLS only");

    let (right, unnamed) = (partner.issue("a client", &["client.test"]), partner.issue("a client", &["other.test"]));
    let wrong = stranger.issue("a client", &["client.test"]);
    // OPTIONAL_MUTUAL is without names here: beside them Envoy would refuse a client that shows nothing.
    let served_too = served.as_str();
    for (host, without, by_another_name) in
        [("mutual.test", "refused", "refused"), ("optional.test", served_too, served_too)]
    {
        let with = |certificate| tls(&operator, host, certificate);
        assert_eq!(ask(HTTPS, &with(Some(&right)), host).await, served, "{host}");
        assert_eq!(ask(HTTPS, &with(None), host).await, without, "{host} without a certificate");
        assert_eq!(ask(HTTPS, &with(Some(&wrong)), host).await, "refused", "{host}, another authority's");
        assert_eq!(ask(HTTPS, &with(Some(&unnamed)), host).await, by_another_name, "{host}, another name");
    }

    // TLS that goes through is somebody else's: certificate and all.
    let through = tls(&stranger, "through.test", None);
    assert_eq!(ask(TLS, &through, "through.test").await, "sni=through.test client=");
    assert_eq!(ask(TLS, &tls(&stranger, "nobody.test", None), "through.test").await, "refused");

    // The operator renews a certificate, under another authority so that it can be told from the first.
    mesh.write_policy("gateway.yaml", &with(&stranger.issue("simple", &["simple.test"])));
    eventually("the new certificate is shown", async || {
        (ask(HTTPS, &tls(&stranger, "simple.test", None), "simple.test").await == served).then_some(())
    })
    .await;
    for stat in [
        "listener_manager.lds.update_rejected",
        "cluster_manager.cds.update_rejected",
        "runtime.deprecated_feature_use",
    ] {
        assert_eq!(envoy.admin().stat(stat).await.unwrap(), 0, "{stat}");
    }
    assert!(!mesh.server().log().contains("PRIVATE KEY"));
    drop(envoy);
    mesh.stop().await;
}
