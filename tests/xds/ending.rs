//! How streams end: with the server, and of old age.

use tonic::Code;

use crate::harness::*;

async fn opened(grpc: &mut Grpc) -> Call {
    let mut call = grpc.open(SOTW_ADS, None).await;
    call.send(&sotw(CLUSTER, &[]));
    call.next::<DiscoveryResponse>().await.unwrap();
    call
}

#[tokio::test]
async fn a_stop_ends_every_stream_and_says_why() {
    let server = Server::start("xds:\n  drain: 1s\n").await;
    let tls = server.tls("production/client").await;
    let (mut connections, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let mut grpc = server.connect(tls.clone()).await;
        for _ in 0..10 {
            calls.push(opened(&mut grpc).await);
        }
        connections.push(grpc);
    }
    let stopped = tokio::spawn(async move {
        let log = server.directory().join("log");
        let kept = server.log();
        assert!(!kept.contains("cut off"));
        // The directory goes with the server: what it says last is read through an open file.
        let mut last = std::fs::File::open(log).unwrap();
        server.terminate().await;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut last, &mut text).unwrap();
        text
    });
    for mut call in calls {
        let end = call.next::<DiscoveryResponse>().await.unwrap_err();
        assert_eq!((end.code, end.message.contains("shutting%20down")), (Code::Unavailable, true), "{end:?}");
    }
    let log = stopped.await.unwrap();
    assert!(log.contains("\"message\":\"stopped\"") && !log.contains("cut off"), "{log}");
}

#[tokio::test]
async fn a_connection_that_has_come_of_age_ends_and_the_client_comes_back() {
    let config = "xds:\n  limits:\n    maxConnectionAge: 1s\n    maxConnectionAgeJitter: 500ms\n";
    let server = Server::start(config).await;
    let tls = server.tls("production/client").await;
    for _ in 0..2 {
        let mut grpc = server.connect(tls.clone()).await;
        let (mut one, mut two) = (opened(&mut grpc).await, opened(&mut grpc).await);
        for call in [&mut one, &mut two] {
            let end = call.next::<DiscoveryResponse>().await.unwrap_err();
            assert_eq!((end.code, end.message.contains("maximum%20age")), (Code::Unavailable, true), "{end:?}");
        }
        // GOAWAY without an error, and then the end.
        grpc.closed().await.unwrap();
    }
}

#[tokio::test]
async fn without_an_age_connections_stay() {
    let server = Server::start("xds:\n  limits:\n    handshakeTimeout: 2s\n").await;
    let mut grpc = server.connect_as("production/client").await;
    let mut call = opened(&mut grpc).await;
    assert!(call.within::<DiscoveryResponse>(std::time::Duration::from_secs(3)).await.is_none());
    opened(&mut grpc).await;
}

#[tokio::test]
async fn a_fleet_that_comes_at_once_queues_and_is_served() {
    let server = Server::start(
        "xds:\n  limits:\n    firstPushes: 2\n    handshakes: 4\n    handshakeGrace: 60s\n    handshakeTimeout: 60s\n",
    )
    .await;
    let tls = server.tls("production/client").await;
    let server = std::sync::Arc::new(server);
    let fleet = (0..60).map(|_| {
        let (server, tls) = (server.clone(), tls.clone());
        tokio::spawn(async move {
            let mut grpc = server.connect(tls).await;
            let mut call = grpc.open(SOTW_ADS, None).await;
            call.send(&sotw(CLUSTER, &[]));
            let response: DiscoveryResponse = call.next().await.unwrap();
            assert!(!response.resources.is_empty());
            call.send(&DiscoveryRequest {
                version_info: response.version_info,
                response_nonce: response.nonce,
                ..sotw(CLUSTER, &[])
            });
            // It stays: what it has acknowledged has freed its place.
            (grpc, call)
        })
    });
    let mut stay = Vec::new();
    for one in fleet.collect::<Vec<_>>() {
        stay.push(one.await.unwrap());
    }
    assert_eq!(server.metric("countersign_xds_open_streams", "").await, 60);
}
