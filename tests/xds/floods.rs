//! HTTP/2 as no client speaks it, from a peer that TLS has let in: rapid reset (CVE-2023-44487), CONTINUATION (RUSTSEC-2024-0332),
//! empty DATA, SETTINGS, PING.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// POST to the aggregated service, in HPACK without tables or Huffman codes.
fn request() -> Vec<u8> {
    let literal = |name: &str, value: &str| {
        assert!(name.len() < 127 && value.len() < 127);
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    [
        literal(":method", "POST"),
        literal(":scheme", "http"),
        literal(":path", DELTA_ADS),
        literal(":authority", "xds.test"),
        literal("content-type", "application/grpc"),
        literal("te", "trailers"),
    ]
    .concat()
}

/// Sends these frames again and again, up to this many bytes or until the server has had enough. Reads what comes, or not.
/// Returns whether the server ended the connection, or stopped reading from it.
async fn flood(
    server: &Server,
    tls: Arc<ClientConfig>,
    reads: bool,
    start: Vec<u8>,
    mut more: impl FnMut(u32) -> Vec<u8>,
) -> bool {
    const BYTES: usize = 24 << 20;
    let stream = server.raw(tls).await;
    let (mut read, mut write) = tokio::io::split(stream);
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        while reads && matches!(read.read(&mut buffer).await, Ok(1..)) {}
        // Until the flood is over.
        std::future::pending::<()>().await;
        drop(read);
    });
    let sending = async {
        write.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &start].concat()).await?;
        let (mut sent, mut number) = (0, 0);
        while sent < BYTES {
            let mut batch = Vec::new();
            for _ in 0..200 {
                batch.extend(more(number));
                number += 1;
            }
            sent += batch.len();
            write.write_all(&batch).await?;
            write.flush().await?;
        }
        Ok::<_, std::io::Error>(())
    };
    // A server that stops reading has ended it as far as it is concerned.
    let ended = match tokio::time::timeout(Duration::from_secs(10), sending).await {
        Ok(sent) => sent.is_err(),
        Err(_) => true,
    };
    reading.abort();
    ended
}

struct Flooded {
    server: Server,
    tls: Arc<ClientConfig>,
    before: u64,
}

impl Flooded {
    async fn start() -> Self {
        let server = Server::start("").await;
        let tls = server.tls("production/client").await;
        server.honest_client(tls.clone()).await;
        let before = server.memory();
        Self { server, tls, before }
    }

    /// An honest client is served as before, and memory is what it was.
    async fn ends_well(self) {
        self.server.honest_client(self.tls.clone()).await;
        let grown = self.server.memory().saturating_sub(self.before);
        assert!(grown < 32, "{grown} MiB");
        assert!(!self.server.log().contains("panicked"));
        self.server.terminate().await;
    }
}

#[tokio::test]
async fn threat_13_rapid_reset() {
    let it = Flooded::start().await;
    let headers = request();
    let ended = flood(&it.server, it.tls.clone(), true, Vec::new(), |number| {
        let stream = 2 * number + 1;
        [frame(HEADERS, END_HEADERS, stream, &headers), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    })
    .await;
    assert!(ended, "it may not go on for ever");
    it.server.eventually("it is counted", async || (it.server.refused("http2").await >= 1).then_some(())).await;
    it.ends_well().await;
}

#[tokio::test]
async fn threat_13_continuation_without_end() {
    let it = Flooded::start().await;
    let start = frame(HEADERS, 0, 1, &request());
    let piece = frame(CONTINUATION, 0, 1, &[&[0, 1, b'a', 120][..], &[b'x'; 120]].concat());
    let ended = flood(&it.server, it.tls.clone(), true, start, |_| piece.clone()).await;
    assert!(ended, "it may not go on for ever");
    it.server.eventually("it is counted", async || (it.server.refused("http2").await >= 1).then_some(())).await;
    it.ends_well().await;
}

#[tokio::test]
async fn threat_13_empty_data() {
    let it = Flooded::start().await;
    let start = frame(HEADERS, END_HEADERS, 1, &request());
    let empty = frame(DATA, 0, 1, &[]);
    flood(&it.server, it.tls.clone(), true, start, |_| empty.clone()).await;
    it.ends_well().await;
}

#[tokio::test]
async fn threat_13_settings_and_pings_whose_answers_are_not_read() {
    let it = Flooded::start().await;
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    let ended = flood(&it.server, it.tls.clone(), false, Vec::new(), |_| settings.clone()).await;
    assert!(ended, "answers pile up in the peer's buffers, not in ours");
    let ping = frame(PING, 0, 0, &[7; 8]);
    let ended = flood(&it.server, it.tls.clone(), false, Vec::new(), |_| ping.clone()).await;
    assert!(ended, "answers pile up in the peer's buffers, not in ours");
    it.ends_well().await;
}

#[tokio::test]
async fn threat_13_settings_and_pings() {
    let it = Flooded::start().await;
    let settings = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0x10, 0]);
    flood(&it.server, it.tls.clone(), true, Vec::new(), |_| settings.clone()).await;
    let ping = frame(PING, 0, 0, &[7; 8]);
    flood(&it.server, it.tls.clone(), true, Vec::new(), |_| ping.clone()).await;
    it.ends_well().await;
}
