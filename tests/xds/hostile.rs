//! Clients that do too much, or nothing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tonic::Code;

use crate::harness::*;

/// How many connections a test opens that never get anywhere.
fn unfinished() -> usize {
    std::env::var("HOSTILE_CONNECTIONS").map_or(2000, |text| text.parse().expect("a number"))
}

#[tokio::test]
async fn threat_01_connections_that_never_finish_tls() {
    let limits = "xds:\n  limits:\n    handshakes: 200\n    handshakeTimeout: 60s\n";
    let server = Server::start(limits).await;
    let honest = server.tls("production/client").await;
    server.honest_client(honest.clone()).await;
    let before = server.memory();
    // Half of them say nothing, half begin a ClientHello of 16 KB.
    let mut stuck = Vec::new();
    for number in 0..unfinished() {
        let mut stream = TcpStream::connect(server.xds).await.unwrap();
        if number % 2 == 0 {
            let _ = stream.write_all(&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3]).await;
        }
        stuck.push(stream);
        if number % 500 == 499 {
            server.honest_client(honest.clone()).await;
        }
    }
    server.honest_client(honest.clone()).await;
    let displaced = server.refused("displaced").await;
    assert!(displaced >= unfinished() as u64 - 300, "{displaced} have given way");
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64, "{grown} MiB");
    let lines = server.log().lines().filter(|line| line.contains("\"displaced\"")).count();
    assert!(lines < 100, "{lines} lines for {displaced} connections");
    drop(stuck);
    server.honest_client(honest).await;
}

#[tokio::test]
async fn threat_01_garbage_on_every_port() {
    let config = "xds:\n  unix:\n    path: DIR/sockets/xds.sock\n  limits:\n    handshakeTimeout: 5s\n";
    let server = Server::start_under("mkdir -m 700 sockets", config).await;
    let honest = server.tls("production/client").await;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let byte = || {
            // xorshift64: the same bytes in each run.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        };
        std::iter::repeat_with(byte).take(length).collect()
    };
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut inputs: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        PREFACE.to_vec(),
        PREFACE[..10].to_vec(),
        [PREFACE, &[0xff; 64]].concat(),
        vec![22, 3, 1, 0xff, 0xff],
        vec![0; 100_000],
        vec![0xff; 100_000],
    ];
    for length in [1, 9, 100, 10_000, 100_000] {
        inputs.push(noise(length));
        inputs.push([PREFACE, &noise(length)].concat());
        inputs.push([&[22, 3, 1, 0, 200, 1, 0, 0, 196][..], &noise(length)].concat());
    }
    for input in inputs {
        let (input, length) = (Bytes::from(input.clone()), input.len());
        let xds = TcpStream::connect(server.xds).await.unwrap();
        let admin = TcpStream::connect(server.admin).await.unwrap();
        let local = UnixStream::connect(server.directory().join("sockets/xds.sock")).await.unwrap();
        let mut inside = server.raw(honest.clone()).await;
        let _ = inside.write_all(&input).await;
        tokio::join!(throw(xds, &input), throw(admin, &input), throw(local, &input), throw(inside, &input));
        assert!(length <= 100_500);
        server.honest_client(honest.clone()).await;
    }
    assert!(server.refused("tls").await + server.refused("handshake_timeout").await >= 20);
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    server.terminate().await;
}

/// Sends it, and reads until the server has had enough.
async fn throw(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, input: &[u8]) {
    let _ = stream.write_all(input).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("the server ends it");
}

/// Writes a policy by which each client has another listener set.
fn change(server: &Server, round: usize) {
    let path = server.directory().join("policies/extra.yaml");
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: extra-{round}\n  namespace: production\nspec:\n  selector:\n    \
         app: payment-service\n  ports:\n  - name: http\n    port: 8080\n"
    );
    std::fs::write(path.with_extension("new"), text).unwrap();
    std::fs::rename(path.with_extension("new"), path).unwrap();
}

#[tokio::test]
async fn a_stream_that_is_not_read_costs_one_response_and_delays_nobody() {
    let server = Server::start("").await;
    // A window of one byte: the server can send nothing to speak of.
    let mut stuck = Grpc::over(server.raw(server.tls("production/client").await).await, 1).await;
    let mut unread = Vec::new();
    for _ in 0..50 {
        let mut call = stuck.open(SOTW_ADS, None).await;
        call.send(&sotw(CLUSTER, &[]));
        unread.push(call);
    }
    server
        .eventually("each has its first response", async || {
            (server.metric("countersign_xds_pushes_total", "cds").await >= 50).then_some(())
        })
        .await;
    let (memory, pushes) = (server.memory(), server.metric("countersign_xds_pushes_total", "cds").await);
    let mut grpc = server.connect_as("production/client").await;
    let mut call = grpc.open(SOTW_ADS, None).await;
    call.send(&sotw(CLUSTER, &[]));
    let mut received = 0;
    for round in 0..40 {
        // The first response has what there was before the first change.
        let wanted = if round == 0 { "payment-service".to_owned() } else { format!("extra-{round}") };
        loop {
            let response: DiscoveryResponse = call.next().await.unwrap();
            received += 1;
            let found = response.resources.iter().any(|any| String::from_utf8_lossy(&any.value).contains(&wanted));
            let (version_info, response_nonce) = (response.version_info, response.nonce);
            call.send(&DiscoveryRequest { version_info, response_nonce, ..sotw(CLUSTER, &[]) });
            // A removal comes as a response of its own, after what is new is acknowledged.
            if found {
                break;
            }
        }
        change(&server, round + 1);
    }
    let pushed = server.metric("countersign_xds_pushes_total", "cds").await - pushes;
    let last = received..=received + 2;
    assert!(last.contains(&pushed), "{pushed} pushes, {received} received: the unread streams were sent nothing more");
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 32, "{grown} MiB");
    drop(unread);
}

#[tokio::test]
async fn messages_and_subscriptions_have_a_size() {
    let server = Server::start("").await;
    let honest = server.tls("production/client").await;
    let mut grpc = server.connect(honest.clone()).await;
    let before = server.memory();
    // A length of 100 MB is refused before its bytes are there.
    let mut call = grpc.open(SOTW_ADS, None).await;
    let announced = [&[0][..], &100_000_000_u32.to_be_bytes()].concat();
    call.send.send_data(announced.into(), false).unwrap();
    let end = call.next::<DiscoveryResponse>().await.unwrap_err();
    assert!(matches!(end.code, Code::OutOfRange | Code::ResourceExhausted), "{end:?}");
    // On a stream that is open too: it ends with a word about why, and is counted.
    let counted = server.refused("stream").await;
    let mut call = grpc.open(DELTA_ADS, None).await;
    call.send(&delta(SECRET, &["default"]));
    call.next::<DeltaDiscoveryResponse>().await.unwrap();
    let announced = [&[0][..], &100_000_000_u32.to_be_bytes()].concat();
    call.send.send_data(announced.into(), false).unwrap();
    assert_eq!(call.next::<DeltaDiscoveryResponse>().await.unwrap_err().code, Code::OutOfRange);
    // A name longer than any real one is not kept, nor written down.
    let long = "x".repeat(1 << 20);
    let mut call = grpc.open(DELTA_ADS, None).await;
    call.send(&delta(SECRET, &["default"]));
    call.next::<DeltaDiscoveryResponse>().await.unwrap();
    call.send(&delta(SECRET, &[&long]));
    assert_eq!(call.next::<DeltaDiscoveryResponse>().await.unwrap_err().code, Code::ResourceExhausted);
    assert_eq!(server.refused("stream").await - counted, 2);
    assert!(!server.log().contains(&long[..5000]));
    // Within a message of less than 4 MiB, 100,000 names are too many: at once,
    let names: Vec<String> = (0..100_000).map(|number| format!("name-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut call = grpc.open(SOTW_ADS, None).await;
    call.send(&sotw(SECRET, &names));
    assert_eq!(call.next::<DiscoveryResponse>().await.unwrap_err().code, Code::ResourceExhausted);
    let mut call = grpc.open(DELTA_ADS, None).await;
    call.send(&delta(SECRET, &names));
    assert_eq!(call.next::<DeltaDiscoveryResponse>().await.unwrap_err().code, Code::ResourceExhausted);
    let path = "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets";
    let end = grpc.unary::<DiscoveryResponse>(path, None, &sotw(SECRET, &names)).await.unwrap_err();
    assert_eq!(end.code, Code::ResourceExhausted);
    // and one after the other.
    let mut call = grpc.open(DELTA_ADS, None).await;
    for some in names.chunks(15_000) {
        call.send(&delta(SECRET, some));
    }
    let end = loop {
        if let Err(end) = call.next::<DeltaDiscoveryResponse>().await {
            break end;
        }
    };
    assert_eq!(end.code, Code::ResourceExhausted);
    // What a message says is no reason to believe it.
    let mut call = grpc.open(SOTW_ADS, None).await;
    call.send.send_data(Bytes::from_static(&[0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]), false).unwrap();
    let end = call.next::<DiscoveryResponse>().await.unwrap_err();
    assert!(matches!(end.code, Code::InvalidArgument | Code::Internal), "{end:?}");
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 96, "{grown} MiB");
    server.honest_client(honest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_line_rate_are_read_at_the_streams_rate() {
    let (rate, burst, honest_clients) = (100, 200, 20);
    let server =
        Server::start(&format!("xds:\n  limits:\n    requestsPerSecond: {rate}\n    requestBurst: {burst}\n")).await;
    let honest = server.tls("production/client").await;
    let mut flood = server.connect_as("legacy-namespace/legacy").await;
    let mut call = flood.open(DELTA_ADS, None).await;
    call.send(&delta(SECRET, &["default"]));
    call.next::<DeltaDiscoveryResponse>().await.unwrap();
    let (started, memory) = (Instant::now(), server.memory());
    // A hundred requests in each frame, 10 MB of them, as fast as the windows take them.
    let frame = Bytes::from(framed(&delta(SECRET, &["default"])).repeat(100));
    let flooding = tokio::spawn(async move {
        for _ in 0..1000 {
            call.send_within_windows(frame.clone()).await?;
        }
        Ok::<_, h2::Error>(())
    });
    // A request without a nonce counts as a subscription.
    let subscriptions = async || server.metric("countersign_xds_subscriptions_total", "sds").await;
    server.eventually("the burst and more is read", async || (subscriptions().await > 2 * burst).then_some(())).await;
    for _ in 0..honest_clients {
        server.honest_client(honest.clone()).await;
    }
    let read = subscriptions().await - honest_clients;
    let most = 1 + burst + rate * (started.elapsed().as_secs() + 1);
    assert!(read <= most, "{read} requests were read, of {most} that the rate allows");
    assert!(!flooding.is_finished(), "what is not read yet waits at the client: {:?}", flooding.await);
    flooding.abort();
    assert!(server.metric("countersign_xds_throttled_total", "").await >= rate);
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 32, "{grown} MiB");
}

/// What waits to be read costs the server more than its bytes if each request has a frame of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_line_rate_in_frames_of_their_own_end_the_connection() {
    let server = Server::start("xds:\n  limits:\n    requestsPerSecond: 100\n    requestBurst: 200\n").await;
    let honest = server.tls("production/client").await;
    server.honest_client(honest.clone()).await;
    let memory = server.memory();
    let mut flood = server.connect_as("legacy-namespace/legacy").await;
    let mut call = flood.open(DELTA_ADS, None).await;
    let flooding = tokio::spawn(async move {
        let request = framed(&delta(SECRET, &["default"]));
        while call.send_within_windows(request.clone()).await.is_ok() {}
    });
    let end = flood.closed().await.unwrap_err();
    // Who goes on sending is reset, and a reset may overtake the farewell. Why it ended is counted at the server in any case.
    assert!(end.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) || end.is_io(), "{end}");
    flooding.await.unwrap();
    server.eventually("it is counted", async || (server.refused("http2").await == 1).then_some(())).await;
    server.honest_client(honest).await;
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 32, "{grown} MiB");
}

#[tokio::test]
async fn headers_have_a_size() {
    let server = Server::start("").await;
    let honest = server.tls("production/client").await;
    let mut grpc = server.connect(honest.clone()).await;
    let long = "a".repeat(60_000);
    // 431, a reset or GOAWAY: nothing is served.
    if let Ok(mut call) = grpc.open_with(SOTW_ADS, &[("x-long", &long)]).await {
        call.send(&sotw(CLUSTER, &[]));
        let end = call.next::<DiscoveryResponse>().await.unwrap_err();
        assert!(end.code != Code::Ok, "{end:?}");
    }
    assert_eq!(server.metric("countersign_xds_pushes_total", "").await, 0);
    server.honest_client(honest).await;
}

#[tokio::test]
async fn threat_13_no_file_descriptors_left_is_no_end() {
    let server = Server::start_under("ulimit -n 80", "").await;
    let honest = server.tls("production/client").await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(TcpStream::connect(server.xds).await.unwrap());
    }
    // The admin port has no descriptors either; the log is open already.
    server.eventually("accept has failed", async || server.log().contains("\"reason\":\"accept\"").then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(held);
    server.honest_client(honest).await;
    assert!(server.refused("accept").await > 0);
    let lines = server.log().matches("\"reason\":\"accept\"").count();
    assert!(lines <= 30, "{lines} lines");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let server = Server::start("xds:\n  limits:\n    connections: 3\n").await;
    let honest = server.tls("production/client").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(server.connect(honest.clone()).await);
    }
    assert!(server.try_connect(honest.clone()).await.is_err());
    assert_eq!(server.refused("connections").await, 1);
    held.pop();
    server.eventually("there is room", async || server.try_connect(honest.clone()).await.ok().map(drop)).await;
}

#[tokio::test]
async fn who_connects_and_asks_for_nothing_is_let_go() {
    let (_, line) = token("spiffe://cluster.local/ns/a/sa/b");
    let server = Server::start(&format!("xds:\n  limits:\n    handshakeTimeout: 3s\n  tokens:\n{line}")).await;
    let mut silent = server.connect(server.anonymous_tls().await).await;
    let _ = silent.closed().await;
    // Asking in vain is asking for nothing.
    let mut nobody = server.connect(server.anonymous_tls().await).await;
    let mut call = nobody.open(SOTW_ADS, None).await;
    call.send(&sotw(CLUSTER, &[]));
    assert_eq!(call.next::<DiscoveryResponse>().await.unwrap_err().code, Code::Unauthenticated);
    let _ = nobody.closed().await;
    assert!(server.refused("idle").await >= 2);
}
