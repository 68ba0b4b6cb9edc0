//! Ways to be known, and what nobody gets by any of them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tonic::Code;

use crate::harness::*;

const LEGACY: &str = "spiffe://cluster.local/ns/legacy-namespace/sa/legacy";

/// Names under which somebody else's node might be had.
const NODES: [&str; 16] = [
    "production/payment-service",
    "production/client",
    "PRODUCTION/PAYMENT-SERVICE",
    "production/payment-service ",
    " production/payment-service",
    "production//payment-service",
    "production/payment-service/",
    "/production/payment-service",
    "production%2Fpayment-service",
    "production\u{2215}payment-service",
    "production/payment\u{2010}service",
    "pr\u{43e}duction/payment-service",
    "production/payment-service\0",
    "legacy-namespace/../production/payment-service",
    "sidecar~127.0.0.1~payment-service.production~production.svc.cluster.local",
    "spiffe://cluster.local/ns/production/sa/payment-service",
];

/// Names under which somebody else's secret, or one's own by another name, might be had.
const SECRETS: [&str; 16] = [
    "kubernetes://payment-service",
    "kubernetes://production/payment-service",
    "kubernetes-gateway://production/default",
    "spiffe://cluster.local/ns/production/sa/payment-service",
    "production/default",
    "production/payment-service/default",
    "../production/default",
    "DEFAULT",
    "Default",
    "default ",
    " default",
    "default\0",
    "de%66ault",
    "\u{ff44}efault",
    "default/",
    "*",
];

/// Tries everything on connections of legacy. `open` makes a stream.
async fn steal(server: &Server, mut open: impl AsyncFnMut() -> Call) {
    for id in NODES {
        let mut call = open().await;
        call.send(&DeltaDiscoveryRequest { node: node(id), ..delta(SECRET, &["default"]) });
        match call.next::<DeltaDiscoveryResponse>().await {
            // Where the id names no workload at all, the identity decides, and then it is legacy's own.
            Ok(response) => {
                let [own] = response.resources.as_slice() else { panic!("{id:?}: {response:?}") };
                let uris = uris_of(&own.resource.as_ref().unwrap().value);
                assert!(uris.len() == 1 && uris[0].contains(LEGACY), "{id:?}: {uris:?}");
            }
            Err(end) => assert!(matches!(end.code, Code::PermissionDenied | Code::InvalidArgument), "{id:?}: {end:?}"),
        }
    }
    let denied = server.metric("countersign_secrets_denied_total", "").await;
    for name in SECRETS {
        let mut call = open().await;
        call.send(&DeltaDiscoveryRequest { node: node("legacy-namespace/legacy"), ..delta(SECRET, &[name]) });
        let response: DeltaDiscoveryResponse = call.next().await.unwrap();
        let own = response.resources.iter().all(|it| {
            let uris = uris_of(&it.resource.as_ref().unwrap().value);
            // Everything that one may have anyway, for the wildcard.
            name == "*" && uris.iter().all(|uri| uri.contains(LEGACY))
        });
        assert!(own, "{name:?}: {response:?}");
    }
    let counted = server.metric("countersign_secrets_denied_total", "").await - denied;
    assert!(counted >= SECRETS.len() as u64 - 1, "each attempt is counted: {counted}");
    // And what is one's own is still to be had.
    let mut call = open().await;
    call.send(&DeltaDiscoveryRequest { node: node("legacy-namespace/legacy"), ..delta(SECRET, &["default"]) });
    let response: DeltaDiscoveryResponse = call.next().await.unwrap();
    assert!(uris_of(&response.resources[0].resource.as_ref().unwrap().value)[0].contains(LEGACY));
}

#[tokio::test]
async fn threat_02_nothing_of_others_with_a_certificate() {
    let server = Server::start("").await;
    let mut grpc = server.connect_as("legacy-namespace/legacy").await;
    steal(&server, async || grpc.open(DELTA_ADS, None).await).await;
    let mut grpc = server.connect_as("legacy-namespace/legacy").await;
    let path = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets";
    steal(&server, async || grpc.open(path, None).await).await;
}

#[tokio::test]
async fn threat_02_nothing_of_others_with_a_token() {
    let (token, line) = token(LEGACY);
    let server = Server::start(&format!("xds:\n  tokens:\n{line}")).await;
    let mut grpc = server.connect(server.anonymous_tls().await).await;
    steal(&server, async || grpc.open(DELTA_ADS, Some(&token)).await).await;
    assert!(!server.log().contains(&token), "a token is never logged");
}

/// Policy that gives every proxy of the namespace a secret of the operator's.
const PARTNER: &str = "cat > policies/partner.yaml <<EOF
apiVersion: v1
kind: Secret
metadata: {name: partner, namespace: production}
data: {ca.crt: $(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=partner \
  2>/dev/null | base64 -w0)}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: partner, namespace: production}
spec:
  hosts: [partner.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: partner, namespace: production}
spec:
  host: partner.test
  trafficPolicy: {tls: {mode: SIMPLE, credentialName: partner, subjectAltNames: [partner.test]}}
EOF";

#[tokio::test]
async fn threat_02_a_stream_without_an_identity_is_shown_configuration_and_no_secret() {
    const NAME: &str = "kubernetes://partner-cacert";
    let ask = async |grpc: &mut Grpc, type_url, names: &[&str]| {
        let mut call = grpc.open(DELTA_ADS, None).await;
        call.send(&DeltaDiscoveryRequest { node: node("production/client"), ..delta(type_url, names) });
        call.next::<DeltaDiscoveryResponse>().await.unwrap()
    };
    let server = Server::start_under(PARTNER, "").await;
    let known = ask(&mut server.connect_as("production/client").await, SECRET, &[NAME]).await;
    assert_eq!(known.resources.len(), 1, "who has the identity has the secret: {known:?}");
    let server = Server::start_under(PARTNER, "xds:\n  insecurePlaintext: true\n").await;
    let mut grpc = Grpc::plaintext(server.xds).await;
    let clusters = ask(&mut grpc, CLUSTER, &[]).await;
    assert!(clusters.resources.iter().any(|cluster| cluster.name.contains("partner.test")), "{clusters:?}");
    let nothing = ask(&mut grpc, SECRET, &[NAME, "default", "ROOTCA"]).await;
    assert!(nothing.resources.is_empty() && nothing.removed_resources.len() == 3, "{nothing:?}");
}

fn unix_config(uid: u32, mode: &str) -> String {
    format!(
        "xds:\n  unix:\n    path: DIR/sockets/xds.sock\n    mode: \"{mode}\"\n    identities:\n    - uid: {uid}\n      \
         identity: {LEGACY}\n"
    )
}

/// Before the server looks at it, the directory is there.
fn with_directory(mode: &str) -> String {
    format!("mkdir -m {mode} sockets")
}

#[tokio::test]
async fn threat_02_nothing_of_others_over_the_unix_socket() {
    let uid = rustix::process::geteuid().as_raw();
    let server = Server::start_under(&with_directory("755"), &unix_config(uid, "0660")).await;
    let socket = server.directory().join("sockets/xds.sock");
    let metadata = std::fs::metadata(&socket).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.uid()), (0o660, uid));
    let mut grpc = Grpc::unix(&socket).await;
    steal(&server, async || grpc.open(DELTA_ADS, None).await).await;
    drop(grpc);
    server.terminate().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn threat_03_a_user_that_stands_for_nobody_is_nobody() {
    let (token, line) = token(LEGACY);
    let other = rustix::process::geteuid().as_raw() + 1;
    let config = format!("{}  tokens:\n{line}", unix_config(other, "0600"));
    let server = Server::start_under(&with_directory("700"), &config).await;
    let mut grpc = Grpc::unix(&server.directory().join("sockets/xds.sock")).await;
    let request = DeltaDiscoveryRequest { node: node("legacy-namespace/legacy"), ..delta(SECRET, &["default"]) };
    let mut call = grpc.open(DELTA_ADS, None).await;
    call.send(&request);
    assert_eq!(call.next::<DeltaDiscoveryResponse>().await.unwrap_err().code, Code::Unauthenticated);
    // A token says who it is.
    let mut call = grpc.open(DELTA_ADS, Some(&token)).await;
    call.send(&request);
    assert_eq!(call.next::<DeltaDiscoveryResponse>().await.unwrap().resources.len(), 1);
    assert!(server.refused("unauthenticated").await >= 1);
}

#[tokio::test]
async fn threat_02_an_unauthenticated_stream_gets_nothing_at_all() {
    let (token, line) = token(LEGACY);
    let server = Server::start(&format!("xds:\n  tokens:\n{line}")).await;
    let mut grpc = server.connect(server.anonymous_tls().await).await;
    let longer = format!("Bearer {token}0");
    let (good, twice) = (format!("Bearer {token}"), format!("Bearer {token}, Bearer {token}"));
    let attempts: [&[(&str, &str)]; 8] = [
        &[],
        &[("authorization", "Bearer guess")],
        &[("authorization", &longer)],
        &[("authorization", &token)],
        &[("authorization", &twice)],
        &[("authorization", &good), ("authorization", "Bearer guess")],
        &[("authorization", "Basic bGVnYWN5OnNlY3JldA==")],
        &[("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/production/sa/client")],
    ];
    for headers in attempts {
        for path in [DELTA_ADS, SOTW_ADS, "/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters"] {
            for type_url in [CLUSTER, SECRET] {
                let mut call = grpc.open_with(path, headers).await.unwrap();
                call.send(&DeltaDiscoveryRequest { node: node("legacy-namespace/legacy"), ..delta(type_url, &[]) });
                let end = call.next::<DeltaDiscoveryResponse>().await.unwrap_err();
                assert_eq!(end.code, Code::Unauthenticated, "{headers:?}");
            }
        }
    }
    assert!(server.refused("unauthenticated").await >= 48);
    // A certificate and another's token are two identities, and so none.
    let mut grpc = server.connect_as("production/client").await;
    let mut call = grpc.open(DELTA_ADS, Some(&token)).await;
    call.send(&delta(SECRET, &["default"]));
    assert_eq!(call.next::<DeltaDiscoveryResponse>().await.unwrap_err().code, Code::Unauthenticated);
    assert_eq!(server.metric("countersign_xds_pushes_total", "").await, 0);
}

/// The connection is let in, since a new node may spend a join token over it; what it is let in to is nothing else.
#[tokio::test]
async fn threat_02_without_tokens_nobody_is_served_without_a_certificate() {
    let server = Server::start("").await;
    let mut grpc = server.try_connect(server.anonymous_tls().await).await.unwrap();
    for authorization in [None, Some("a-token")] {
        let mut call = grpc.open(DELTA_ADS, authorization).await;
        call.send(&DeltaDiscoveryRequest { node: node("production/client"), ..delta(SECRET, &["default"]) });
        let end = call.next::<DeltaDiscoveryResponse>().await.unwrap_err();
        assert_eq!(end.code, Code::Unauthenticated, "{authorization:?}");
    }
    assert!(server.refused("unauthenticated").await >= 2);
    assert_eq!(server.metric("countersign_xds_pushes_total", "").await, 0);
}
