//! What the door does with certificates that are revoked, or have expired.

use std::time::Duration;

use countersign::admin::api::{RevokeReport, RevokeRequest};
use countersign::cli::Connection;
use countersign::cli::bootstrap::Key;
use countersign::enrollment::istio::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::Code;

use crate::harness::*;

const CREATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const BUNDLE: &str = "/countersign.v1.Enrollment/GetBundle";

async fn revoke(server: &Server, target: &str) -> RevokeReport {
    let client = Connection::to_data_dir(server.directory().join("data")).client().unwrap();
    client.post("/v1/revoke", &RevokeRequest { target: target.into() }, LIMIT).await.unwrap()
}

fn request() -> IstioCertificateRequest {
    IstioCertificateRequest { csr: Key::generate().unwrap().csr().unwrap(), validity_duration: 0, metadata: None }
}

#[tokio::test]
async fn threat_02_a_revoked_identity_s_connections_end_and_it_is_not_let_in_again() {
    let server = Server::start("").await;
    let (client, legacy) = (server.tls("production/client").await, server.tls("legacy-namespace/legacy").await);
    let (mut revoked, mut other) = (server.connect(client.clone()).await, server.connect(legacy).await);
    let mut streams = Vec::new();
    for grpc in [&mut revoked, &mut other] {
        let mut call = grpc.open(DELTA_ADS, None).await;
        call.send(&delta(SECRET, &["default"]));
        call.next::<DeltaDiscoveryResponse>().await.unwrap();
        streams.push(call);
    }
    let report = revoke(&server, "spiffe://cluster.local/ns/production/sa/client").await;
    assert_eq!((report.connections_ended, report.lists), (1, true), "{report:?}");
    assert!(streams[0].next::<DeltaDiscoveryResponse>().await.is_err(), "the stream ends");
    let quiet = streams[1].within::<DeltaDiscoveryResponse>(Duration::from_millis(300)).await;
    assert!(quiet.is_none(), "nobody else notices");
    // The roots that it verifies with change for whoever has them; this one may go on.
    other.unary::<IstioCertificateResponse>(CREATE, None, &request()).await.unwrap();
    if let Ok(mut grpc) = server.try_connect(client).await {
        let refused = grpc.unary::<IstioCertificateResponse>(CREATE, None, &request()).await;
        assert!(refused.is_err());
    }
    assert_eq!(server.refused("revoked").await, 1);
    // The identity itself is not banned: an operator may let it in again.
    server.honest_client(server.tls("production/client").await).await;
}

#[tokio::test]
async fn threat_02_an_expired_certificate_renews_and_does_nothing_else() {
    let server = Server::start("certificates:\n  workloadTtl: 10s\n  renewalGrace: 1h\n").await;
    let expired = server.tls("production/client").await;
    let revoked = server.tls("legacy-namespace/legacy").await;
    tokio::time::sleep(Duration::from_millis(11_500)).await;
    for path in [DELTA_ADS, SOTW_ADS, "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"] {
        let mut grpc = server.connect(expired.clone()).await;
        let mut call = grpc.open(path, None).await;
        call.send(&delta(SECRET, &["default", "ROOTCA"]));
        let end = call.next::<DeltaDiscoveryResponse>().await.unwrap_err();
        assert_eq!(end.code, Code::Unauthenticated, "{end:?}");
        grpc.closed().await.unwrap();
    }
    assert_eq!(server.refused("expired").await, 3);
    assert_eq!(server.metric("countersign_xds_pushes_total", "").await, 0, "it has been shown nothing");

    let mut grpc = server.connect(expired.clone()).await;
    let chain: IstioCertificateResponse = grpc.unary(CREATE, None, &request()).await.unwrap();
    assert_eq!(chain.cert_chain.len(), 3);
    grpc.closed().await.unwrap();
    // What is for everybody is for it, too.
    let mut grpc = server.connect(expired).await;
    let _: countersign::enrollment::v1::GetBundleResponse =
        grpc.unary(BUNDLE, None, &countersign::enrollment::v1::GetBundleRequest {}).await.unwrap();

    let report = revoke(&server, "spiffe://cluster.local/ns/legacy-namespace/sa/legacy").await;
    // A proxy whose clock is late could still believe it, so it is listed.
    assert!(!report.revoked.is_empty() && report.lists, "{report:?}");
    if let Ok(mut grpc) = server.try_connect(revoked).await {
        assert!(grpc.unary::<IstioCertificateResponse>(CREATE, None, &request()).await.is_err());
    }
    assert_eq!(server.refused("revoked").await, 1);
}

#[tokio::test]
async fn threat_02_without_grace_an_expired_certificate_is_refused_by_tls() {
    let server = Server::start("certificates:\n  workloadTtl: 10s\n  renewalGrace: 0s\n").await;
    let expired = server.tls("production/client").await;
    tokio::time::sleep(Duration::from_millis(11_500)).await;
    if let Ok(mut grpc) = server.try_connect(expired).await {
        assert!(grpc.unary::<IstioCertificateResponse>(CREATE, None, &request()).await.is_err());
    }
    assert!(server.refused("tls").await >= 1);
}
