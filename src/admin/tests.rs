use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::api::*;
use super::fake::Fake;
use super::token::Token;
use super::*;

struct Server {
    running: Running,
    stop: watch::Sender<bool>,
    dir: tempfile::TempDir,
}

async fn start(address: &str) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { data_dir: dir.path().join("data"), address: address.parse().unwrap() };
    let (stop, stopped) = watch::channel(false);
    let rds = TypeStatus { type_name: "RDS".into(), ..TypeStatus::default() };
    let proxies = vec![ProxyStatus { name: "shop/web".into(), types: vec![rds], ..ProxyStatus::default() }];
    let running = serve(Arc::new(Fake { proxies }), &options, stopped).await.unwrap();
    Server { running, stop, dir }
}

impl Server {
    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }
    fn token(&self) -> String {
        std::fs::read_to_string(self.data().join(ADMIN_TOKEN)).unwrap().trim().to_owned()
    }
    async fn unix(&self, request: &str, body: &str) -> (u16, String) {
        exchange(UnixStream::connect(&self.running.socket).await.unwrap(), request, "", body).await
    }
    async fn tcp(&self, request: &str, headers: &str) -> (u16, String) {
        let mut address: SocketAddr = self.running.address;
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        exchange(TcpStream::connect(address).await.unwrap(), request, headers, "").await
    }
}

async fn exchange<I: AsyncRead + AsyncWrite + Unpin>(
    mut io: I,
    request: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let content = match body {
        "" => String::new(),
        _ => format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()),
    };
    let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}{content}\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    let _ = io.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = io.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn the_socket_offers_everything() {
    let server = start("127.0.0.1:0").await;
    assert_eq!(server.unix("GET /live", "").await, (200, "live\n".into()));
    assert_eq!(server.unix("GET /ready", "").await, (503, "not ready\n".into()));
    assert_eq!(server.unix("GET /metrics", "").await, (200, "# EOF\n".into()));
    let (_, status) = server.unix("GET /v1/status", "").await;
    assert!(status.contains(r#""trustDomain":"fake.example""#), "{status}");
    let (_, proxies) = server.unix("GET /v1/proxies", "").await;
    assert!(proxies.contains(r#""typeName":"RDS","state":"NOT_SENT""#), "{proxies}");
    let (_, all) = server.unix("GET /v1/secrets", "").await;
    assert_eq!(all.matches(r#""type":"Unknown""#).count(), 2, "{all}");
    let (_, one) = server.unix("GET /v1/secrets?node=shop/web", "").await;
    assert!(one.contains(r#""type":"CA""#), "{one}");
}

#[tokio::test]
async fn rotation_takes_all_or_names_and_bounds_the_wait() {
    let server = start("127.0.0.1:0").await;
    let (status, body) =
        server.unix("POST /v1/rotate/workload", r#"{"workloads":["shop/web"],"waitSeconds":99999}"#).await;
    assert_eq!(
        (status, body.as_str()),
        (200, r#"{"rotated":[{"workload":"shop/web","serial":"300","acknowledged":true,"connected":true}]}"#)
    );
    for bad in [r#"{}"#, r#"{"all":true,"workloads":["a/b"]}"#, r#"{"workloads":["nope"]}"#] {
        let (status, body) = server.unix("POST /v1/rotate/workload", bad).await;
        assert_eq!(status, 400, "{bad}: {body}");
        assert!(serde_json::from_str::<Problem>(&body).is_ok_and(|p| !p.error.is_empty()), "{body}");
    }
}

#[tokio::test]
async fn adoption_is_asked_by_the_secrets_name_and_bounds_the_wait() {
    let server = start("127.0.0.1:0").await;
    let (status, body) = server.unix("GET /v1/adoption?secret=file-root%3A%2Fa&waitSeconds=99999&version=0f", "").await;
    assert_eq!(status, 200, "{body}");
    let answer: AdoptionStatus = serde_json::from_str(&body).unwrap();
    assert_eq!((answer.secret.as_str(), answer.version.as_deref()), ("file-root:/a", Some("0f")));
    assert_eq!(answer.missing[0].reason, "waited Some(300)");
    for bad in ["", "?version=0f", "?secret=a&name=b", "?secret=a&waitSeconds=x"] {
        let (status, body) = server.unix(&format!("GET /v1/adoption{bad}"), "").await;
        assert!(status == 400 && body.contains("waitSeconds"), "{bad}: {body}");
    }
    assert_eq!(server.tcp("GET /v1/adoption?secret=a", "").await.0, 401);
}

#[tokio::test]
async fn join_tokens_are_made_listed_and_revoked() {
    let server = start("127.0.0.1:0").await;
    let (status, made) = server.unix("POST /v1/tokens", r#"{"workload":"shop/web","ttlSeconds":600}"#).await;
    assert!(status == 200 && made.contains(r#""token":"for 600 s""#), "{made}");
    let (_, listed) = server.unix("GET /v1/tokens", "").await;
    assert!(listed.contains(r#""state":"USED""#) && !listed.contains("for 600 s"), "{listed}");
    for (path, body, status) in [
        ("/v1/tokens", r#"{"workload":"web","ttlSeconds":600}"#, 400),
        ("/v1/tokens", r#"{"workload":"shop/web","ttlSeconds":0}"#, 400),
        ("/v1/tokens", r#"{"workload":"shop/web","ttlSeconds":86401}"#, 400),
        ("/v1/tokens/revoke", r#"{"id":"beef"}"#, 404),
    ] {
        assert_eq!(server.unix(&format!("POST {path}"), body).await.0, status, "{body}");
    }
    assert_eq!(server.tcp("POST /v1/tokens", "").await.0, 401, "threat 12: operators only");
}

#[tokio::test]
async fn errors_are_json_with_a_status() {
    let server = start("127.0.0.1:0").await;
    let cases = [
        ("GET /v1/secrets?node=shop/gone", "", 404, "no proxy shop/gone"),
        ("GET /v1/secrets?node=../x/y", "", 400, "is not NAMESPACE/NAME"),
        ("GET /v1/secrets?nod=shop/web", "", 400, "nod"),
        ("GET /v2/x", "", 404, "no such path"),
        ("DELETE /v1/status", "", 405, "another method"),
        ("POST /v1/bootstrap", r#"{"workload":"shop/early","csr":""}"#, 503, "no intermediate yet"),
        ("POST /v1/bootstrap", r#"{"workload":"a/b","csr":"","san":"x"}"#, 422, "unknown field"),
        ("POST /v1/bootstrap", "{", 400, "Failed to parse"),
    ];
    for (request, body, status, message) in cases {
        let answer = server.unix(request, body).await;
        assert_eq!(answer.0, status, "{request}: {}", answer.1);
        let problem: Problem = serde_json::from_str(&answer.1).unwrap();
        assert!(problem.error.contains(message), "{request}: {problem:?}");
    }
    let huge = format!(r#"{{"workload":"a/b","csr":"{}"}}"#, "x".repeat(2 << 20));
    assert_eq!(server.unix("POST /v1/bootstrap", &huge).await.0, 413);
}

#[tokio::test]
async fn threat_06_the_socket_and_the_token_are_the_owners_alone() {
    let server = start("127.0.0.1:0").await;
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&server.data()), 0o700);
    assert_eq!(mode(&server.running.socket), 0o600);
    assert_eq!(mode(server.running.token_file.as_deref().unwrap()), 0o600);
    let names: Vec<_> = std::fs::read_dir(server.data()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left of the making: {names:?}");
}

#[tokio::test]
async fn threat_06_tcp_needs_the_token_for_all_but_probes() {
    let server = start("127.0.0.1:0").await;
    for open in ["GET /live", "GET /metrics"] {
        assert_eq!(server.tcp(open, "").await.0, 200);
    }
    assert_eq!(server.tcp("GET /ready", "").await.0, 503);
    let token = server.token();
    let flipped = format!("{}{}", if token.starts_with('0') { '1' } else { '0' }, &token[1..]);
    for wrong in ["", "Bearer", "Bearer ", &format!("Basic {token}"), &format!("Bearer {flipped}"), &token[..63]] {
        for path in
            ["GET /v1/status", "GET /v1/secrets", "POST /v1/bootstrap", "GET /", "GET //metrics", "GET /v1/../x"]
        {
            let header = format!("authorization: {wrong}\r\n");
            let (status, body) = server.tcp(path, &header).await;
            assert_eq!(status, 401, "{path} {wrong:?}: {body}");
            assert!(!body.contains(&token) && !body.contains("fake.example"));
        }
    }
    assert_eq!(server.tcp("GET /v1/status", &format!("Authorization: bearer {token}\r\n")).await.0, 200);
}

#[tokio::test]
async fn threat_06_another_address_than_loopback_has_no_api_and_no_token() {
    let server = start("0.0.0.0:0").await;
    assert!(server.running.token_file.is_none() && !server.data().join(ADMIN_TOKEN).exists());
    assert_eq!(server.tcp("GET /live", "").await.0, 200);
    let (status, body) = server.tcp("GET /v1/status", "authorization: Bearer x\r\n").await;
    assert_eq!(status, 404, "{body}");
    assert!(body.contains("admin.sock"), "{body}");
    assert_eq!(server.unix("GET /v1/status", "").await.0, 200);
}

#[tokio::test]
async fn threat_06_a_directory_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o770)).unwrap();
    let options = Options { data_dir: dir.path().to_owned(), address: "127.0.0.1:0".parse().unwrap() };
    let error = serve(Arc::new(Fake::default()), &options, watch::channel(false).1).await.unwrap_err();
    assert!(error.to_string().contains("may be written by others (mode 770)"), "{error}");
}

#[test]
fn threat_06_a_token_that_others_could_read_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let read = || std::fs::read_to_string(&path).unwrap();
    assert!(Token::load_or_create(&path).unwrap().matches(read().trim()));
    let first = read();
    Token::load_or_create(&path).unwrap();
    assert_eq!(read(), first, "it survives a restart");

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let second = Token::load_or_create(&path).unwrap();
    assert!(read() != first && second.matches(read().trim()) && !second.matches(first.trim()));
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

    std::fs::write(&path, "\n").unwrap();
    assert!(!Token::load_or_create(&path).unwrap().matches(""), "an empty file is no empty token");
}

#[test]
fn threat_07_the_token_is_not_in_debug_output() {
    let dir = tempfile::tempdir().unwrap();
    let token = Token::load_or_create(&dir.path().join("t")).unwrap();
    assert_eq!(format!("{token:?}"), "Token(..)");
}

#[tokio::test]
async fn a_living_server_keeps_its_socket_and_a_dead_ones_is_replaced() {
    let server = start("127.0.0.1:0").await;
    let options = Options { data_dir: server.data(), address: "127.0.0.1:0".parse().unwrap() };
    let (_stop, stopped) = watch::channel(false);
    let error = serve(Arc::new(Fake::default()), &options, stopped.clone()).await.unwrap_err();
    assert!(matches!(error, AdminError::AlreadyRunning { .. }), "{error}");
    assert_eq!(server.unix("GET /live", "").await.0, 200);

    server.stop.send(true).unwrap();
    let (socket, dir) = (server.running.socket.clone(), server.dir);
    server.running.stopped().await;
    assert!(!socket.exists(), "a stopped server leaves no socket");

    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "what a killed server leaves");
    let again = serve(Arc::new(Fake::default()), &options, stopped).await.unwrap();
    let (status, _) = exchange(UnixStream::connect(&again.socket).await.unwrap(), "GET /live", "", "").await;
    assert_eq!(status, 200);
    drop(dir);
}

#[tokio::test]
async fn another_kind_of_file_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(ADMIN_SOCKET), "precious").unwrap();
    let options = Options { data_dir: dir.path().to_owned(), address: "127.0.0.1:0".parse().unwrap() };
    assert!(serve(Arc::new(Fake::default()), &options, watch::channel(false).1).await.is_err());
    assert_eq!(std::fs::read_to_string(dir.path().join(ADMIN_SOCKET)).unwrap(), "precious");
}

#[tokio::test]
async fn an_open_connection_does_not_hold_up_the_stop() {
    let server = start("127.0.0.1:0").await;
    let _idle = UnixStream::connect(&server.running.socket).await.unwrap();
    let _silent = TcpStream::connect(server.running.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(5), server.running.stopped()).await.unwrap();
}

/// Each of these changes whom the mesh trusts, or makes somebody part of it.
const AUTHORITY_ROUTES: [&str; 10] = [
    "POST /v1/bundles/import",
    "POST /v1/bundles/remove",
    "POST /v1/ca/csr",
    "POST /v1/ca/import",
    "POST /v1/rotate/root",
    "POST /v1/rotate/intermediate",
    "POST /v1/rotate/workload",
    "POST /v1/revoke",
    "POST /v1/tokens",
    "POST /v1/bootstrap",
];

#[tokio::test]
async fn threat_12_authorities_are_changed_by_operators_only() {
    let loopback = start("127.0.0.1:0").await;
    let anywhere = start("0.0.0.0:0").await;
    let right = format!("authorization: Bearer {}\r\n", loopback.token());
    for route in AUTHORITY_ROUTES {
        for header in ["", "authorization: Bearer guess\r\n"] {
            assert_eq!(loopback.tcp(route, header).await.0, 401, "{route}");
        }
        assert_eq!(anywhere.tcp(route, &right).await.0, 404, "{route}: there is no API on other addresses");
        // With the token they are there: what is wrong then is the empty body, or nothing.
        let (status, answer) = loopback.tcp(route, &right).await;
        assert!(![401, 404].contains(&status), "{route}: {status} {answer}");
    }
}

#[tokio::test]
async fn bundles_and_revocations_are_told_and_changed() {
    let server = start("127.0.0.1:0").await;
    let (_, all) = server.unix("GET /v1/bundles", "").await;
    assert!(all.contains(r#""trustDomain":"other.example","own":false"#), "{all}");
    let (_, one) = server.unix("GET /v1/bundle?trustDomain=other.example", "").await;
    assert_eq!(one, r#"{"trustDomain":"other.example","pem":"some pem","spiffe":"some keys"}"#);
    let (_, taken) = server.unix("POST /v1/bundles/import", r#"{"trustDomain":"other.example","document":"x"}"#).await;
    assert!(taken.contains(r#""subject":"x""#), "{taken}");
    let (_, revoked) = server.unix("GET /v1/revocations", "").await;
    assert!(revoked.contains(r#""serial":"0c""#), "{revoked}");
    let (_, report) = server.unix("POST /v1/revoke", r#"{"target":"0c"}"#).await;
    assert!(report.contains(r#""connectionsEnded":2,"lists":true"#), "{report}");
    for (request, body, status) in [
        ("GET /v1/bundle?domain=x", "", 400),
        ("POST /v1/bundles/remove", r#"{"trustDomain":"third.example"}"#, 404),
        ("POST /v1/bundles/remove", r#"{"trustDomain":"other.example"}"#, 200),
        ("POST /v1/bundles/import", r#"{"document":"x"}"#, 422),
        ("POST /v1/ca/import", r#"{"chain":"a","root":"b","extra":1}"#, 422),
        ("POST /v1/ca/import", r#"{"chain":"a","root":"b"}"#, 200),
        ("POST /v1/revoke", "{}", 422),
    ] {
        assert_eq!(server.unix(request, body).await.0, status, "{request} {body}");
    }
}
