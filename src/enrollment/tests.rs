use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use rustls_pki_types::CertificateDer;
use tonic::Status;

use super::x509pop::{Challenge, NodeCertificate};
use super::*;
use crate::identity::{Peer, PeerCertificate, SpiffeId};

/// Signs nothing: says what it was asked.
struct Echo;

impl Enroller for Echo {
    async fn renew(
        &self,
        id: SpiffeId,
        certificate: Option<PeerCertificate>,
        csr: String,
        lifetime: Option<Duration>,
    ) -> Result<Vec<String>, Status> {
        assert!(certificate.is_some(), "whoever decides is told by which certificate it was asked");
        Ok(vec![id.to_string(), csr, format!("{lifetime:?}"), "the roots".into()])
    }
    fn bundle(&self) -> (String, String) {
        ("fake.example".into(), "the roots".into())
    }
    async fn join(&self, secret: String, _: String, _: String) -> Result<Joined, Status> {
        Err(Status::unauthenticated(format!("{} characters", secret.len())))
    }
    async fn challenge(&self, _: Vec<CertificateDer<'static>>, _: &v1::AttestedRequest) -> Result<Challenge, Status> {
        Err(Status::unauthenticated("nobody is known here"))
    }
    async fn admit(&self, _: NodeCertificate, _: String, _: String) -> Result<Joined, Status> {
        panic!("nobody has proven anything")
    }
}

const CREATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// A gRPC call as it is on the wire, with nothing of ours in it: `message` is the bytes of the request.
async fn call(path: &str, peer: Option<Peer>, message: &[u8]) -> Option<(String, Bytes)> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = Bytes::from([&[0][..], &length, message].concat());
    let mut request = http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    if let Some(peer) = peer {
        request = request.extension(peer);
    }
    let request = request.body(Full::new(frame)).unwrap();
    let response = Enrollment::new(Arc::new(Echo)).handle(request).await.ok()?;
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = headers.get("grpc-status").or(trailers.get("grpc-status")).unwrap().to_str().unwrap().to_owned();
    Some((status, body.to_bytes()))
}

fn caller() -> Option<Peer> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://cluster.local/ns/a/sa/b".try_into().unwrap())];
    let certificate = params.self_signed(&key).unwrap().into();
    Some(Peer::from_chain(Some(&[certificate])).unwrap())
}

/// The fields of a message: number, and content of those with a length.
fn fields(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut all = Vec::new();
    while let [tag, length, rest @ ..] = bytes {
        assert!(tag & 7 == 2 && *length < 0x80, "short texts only");
        let (content, after) = rest.split_at(usize::from(*length));
        all.push((tag >> 3, String::from_utf8(content.to_vec()).unwrap()));
        bytes = after;
    }
    all
}

/// What an Istio agent sends, byte by byte: csr is field 1, validity_duration 3, metadata 4 (a google.protobuf.Struct); and what it reads:
/// cert_chain is field 1, repeated.
#[tokio::test]
async fn the_bytes_are_istios() {
    let request = [
        &[0x0a, 3][..],
        b"CSR",
        &[0x18, 0x90, 0x1c], // 3600
        // {"ClusterID": "Kubernetes"}
        &[0x22, 27, 0x0a, 25, 0x0a, 9],
        b"ClusterID",
        &[0x12, 12, 0x1a, 10],
        b"Kubernetes",
    ]
    .concat();
    let (status, body) = call(CREATE, caller(), &request).await.unwrap();
    assert_eq!(status, "0");
    assert_eq!((body[0], usize::from(body[4])), (0, body.len() - 5), "one frame, not compressed");
    let expected = ["spiffe://cluster.local/ns/a/sa/b", "CSR", "Some(3600s)", "the roots"];
    assert_eq!(fields(&body[5..]), expected.map(|text| (1, text.to_owned())));
}

#[tokio::test]
async fn threat_04_nobody_without_a_certificate_is_signed_for() {
    for peer in [None, Some(Peer::Unauthenticated)] {
        let (status, _) = call(CREATE, peer, &[0x0a, 3, b'C', b'S', b'R']).await.unwrap();
        assert_eq!(status, "16");
    }
}

#[tokio::test]
async fn threat_11_odd_paths_are_not_ours() {
    for path in [
        "/istio.v1.auth.IstioCertificateService//CreateCertificate",
        "//istio.v1.auth.IstioCertificateService/CreateCertificate",
        "/istio.v1.auth.IstioCertificateService/CreateCertificate/",
        "/istio.v1.auth.IstioCertificateService/createCertificate",
        "/istio.v1.auth.IstioCertificateService/%43reateCertificate",
        "/countersign.v1.Enrollment/Join/.",
    ] {
        assert!(call(path, caller(), &[]).await.is_none(), "{path}");
    }
}

#[tokio::test]
async fn threat_01_hostile_bytes_are_an_error() {
    for bytes in [&[0x0a, 0xff, 0xff][..], &[0xff; 64], &[0x0a, 1, 0xff], &[0x22, 2, 0x0a, 9]] {
        let (status, _) = call(CREATE, caller(), bytes).await.unwrap();
        assert!(matches!(status.as_str(), "13" | "3"), "{status}");
    }
    let (status, _) = call(CREATE, caller(), &vec![0; 65 << 10]).await.unwrap();
    assert_eq!(status, "11", "larger than is read");
}

#[test]
fn a_token_is_read_back_and_names_its_roots() {
    let token = JoinToken::generate("prod.example.org".parse().unwrap(), [&b"one"[..], b"two"]).unwrap();
    let read: JoinToken = token.text().parse().unwrap();
    assert_eq!(read, token);
    assert_eq!(read.trust_domain().as_str(), "prod.example.org");
    assert!(read.names(b"one") && read.names(b"two") && !read.names(b"three"));
    assert_ne!(token.secret(), JoinToken::generate("a".parse().unwrap(), [&b"one"[..]]).unwrap().secret());
}

#[test]
fn threat_07_a_token_shows_itself_only_when_asked() {
    let token = JoinToken::generate("a".parse().unwrap(), [&b"one"[..]]).unwrap();
    assert!(!format!("{token:?}").contains(token.secret()));
    let text = token.text();
    for bad in [
        "",
        "csjoin1",
        "csjoin2.a.b.c",
        &text[..20],
        &text.replace("csjoin1.", "csjoin1.AAAA"),
        &text.replace(".a", ".A"),
    ] {
        let error = bad.parse::<JoinToken>().unwrap_err();
        assert_eq!(error, JoinTokenError::Form, "{bad}");
        assert!(!error.to_string().contains(token.secret()));
    }
}
