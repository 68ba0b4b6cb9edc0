//! Handshakes with our own listener.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::super::tls::{Clients, ServerTls};
use super::*;
use crate::identity::Peer;

pub(super) fn server(trust: &Trust) -> ServerTls {
    let certificate = trust.server_certificate(&["localhost".into(), "127.0.0.1".into()], now()).unwrap();
    ServerTls::new(&certificate, &trust.bundle(), clients(now())).unwrap()
}

/// The server's clock stands still, at this time.
fn clients(now: OffsetDateTime) -> Clients {
    Clients { clock: Arc::new(move || now), grace: DAY }
}

/// TLS libraries look at the real clock.
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn live() -> (tempfile::TempDir, Trust) {
    let directory = tempfile::tempdir().unwrap();
    let trust = open(directory.path(), settings(), now()).unwrap();
    (directory, trust)
}

pub(super) fn client(server_roots: &TrustBundle, certificate: Option<&WorkloadCertificate>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(server_roots.roots()[0].der.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.private_key().unwrap()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(8);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A handshake in memory: what the server made of it, and whether the client had resumed a session.
pub(super) fn handshake(
    server: &ServerTls,
    client: &Arc<ClientConfig>,
) -> Result<(Peer, rustls::HandshakeKind), String> {
    let mut client = ClientConnection::new(Arc::clone(client), "localhost".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(server.config()).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).map_err(|e| e.to_string())?;
        server.read_tls(&mut wire.as_slice()).map_err(|e| e.to_string())?;
        server.process_new_packets().map_err(|e| e.to_string())?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).map_err(|e| e.to_string())?;
        client.read_tls(&mut wire.as_slice()).map_err(|e| e.to_string())?;
        client.process_new_packets().map_err(|e| e.to_string())?;
    }
    let peer = Peer::from_chain(server.peer_certificates()).map_err(|e| e.to_string())?;
    client.handshake_kind().map(|kind| (peer, kind)).ok_or_else(|| "not finished".into())
}

#[test]
fn a_workload_is_let_in_and_known_by_its_certificate() {
    let (_directory, trust) = live();
    let own = trust.workload_certificate("a/b", id("a", "b"), now()).unwrap();
    let (peer, _) = handshake(&server(&trust), &client(&trust.bundle(), Some(&own))).unwrap();
    let Peer::Authenticated { id: found, certificate: Some(certificate) } = peer else { panic!("{peer:?}") };
    assert_eq!(found, id("a", "b"));
    assert_eq!((Serial::from_der(&certificate.serial), certificate.not_after), (own.serial.clone(), own.not_after));
    let key = certificate.authority_key.expect("we write it");
    assert_eq!(trust.root_of_key(&key), Some(trust.root()));
}

#[test]
fn nobody_is_let_in_without_a_certificate_or_with_a_strangers() {
    let ((_directory, trust), (_elsewhere, stranger)) = (live(), live());
    let server = server(&trust);
    assert!(handshake(&server, &client(&trust.bundle(), None)).is_err());
    let foreign = stranger.workload_certificate("a/b", id("a", "b"), now()).unwrap();
    let refused = handshake(&server, &client(&trust.bundle(), Some(&foreign))).unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}

#[test]
fn a_certificate_that_ended_a_short_while_ago_comes_as_far_as_the_door() {
    let ((_directory, trust), (_elsewhere, stranger)) = (live(), live());
    let own = trust.server_certificate(&["localhost".into()], now()).unwrap();
    let at = |clock: OffsetDateTime| ServerTls::new(&own, &trust.bundle(), clients(clock)).unwrap();
    let leaf = trust.workload_certificate("a/b", id("a", "b"), now()).unwrap();
    let shown = client(&trust.bundle(), Some(&leaf));
    let second = Duration::from_secs(1);
    for let_in in [leaf.not_before, leaf.not_after, leaf.not_after + second, leaf.not_after + DAY] {
        let (peer, _) = handshake(&at(let_in), &shown).unwrap();
        assert_eq!(peer.id(), Some(&id("a", "b")));
    }
    for refused in [leaf.not_before - second, leaf.not_after + DAY + second] {
        assert!(handshake(&at(refused), &shown).is_err(), "{refused}");
    }
    // The grace is for the date alone.
    let foreign = stranger.workload_certificate("a/b", id("a", "b"), now()).unwrap();
    let foreign = client(&trust.bundle(), Some(&foreign));
    assert!(handshake(&at(leaf.not_after + second), &foreign).unwrap_err().contains("UnknownIssuer"));
    let no_grace = Clients { grace: Duration::ZERO, ..clients(leaf.not_after + second) };
    assert!(handshake(&ServerTls::new(&own, &trust.bundle(), no_grace).unwrap(), &shown).is_err());
}

#[test]
fn threat_10_a_client_whose_root_was_removed_cannot_resume() {
    let ((_directory, trust), (_elsewhere, other)) = (live(), live());
    let server = server(&trust);
    let own = trust.workload_certificate("a/b", id("a", "b"), now()).unwrap();
    let client = client(&trust.bundle(), Some(&own));
    for _ in 0..3 {
        let (_, kind) = handshake(&server, &client).unwrap();
        assert_eq!(kind, rustls::HandshakeKind::Full, "no session is ever resumed");
    }
    server.set_bundle(&other.bundle()).unwrap();
    assert!(handshake(&server, &client).is_err());
}

#[test]
fn a_new_certificate_is_shown_from_the_next_connection_on() {
    let (_directory, trust) = live();
    let server = server(&trust);
    let shown = |server: &ServerTls| Arc::as_ptr(&server.config()) as usize;
    let before = shown(&server);
    server.set_certificate(&trust.server_certificate(&["localhost".into()], now()).unwrap()).unwrap();
    assert_ne!(before, shown(&server));
    let own = trust.workload_certificate("a/b", id("a", "b"), now()).unwrap();
    handshake(&server, &client(&trust.bundle(), Some(&own))).unwrap();
}

/// What TLS has verified is the first certificate; whatever else a client sends may help with the chain, and says nothing of who it is.
#[test]
fn threat_08_the_identity_is_that_of_the_certificate_that_was_verified() {
    let (_directory, trust) = live();
    let own = trust.workload_certificate("a/b", id("a", "b"), now()).unwrap();
    let other = trust.workload_certificate("a/c", id("a", "c"), now()).unwrap();
    let orders = [
        [&own.chain[..], &other.chain[..]].concat(),
        [&own.chain[..1], &other.chain[..]].concat(),
        [&own.chain[..1], &other.chain[..1], &own.chain[1..]].concat(),
    ];
    for chain in orders {
        let shown = WorkloadCertificate { chain, ..WorkloadCertificate::clone(&own) };
        let (peer, _) = handshake(&server(&trust), &client(&trust.bundle(), Some(&shown))).unwrap();
        let Peer::Authenticated { id: found, certificate: Some(certificate) } = peer else { panic!("{peer:?}") };
        assert_eq!((found, Serial::from_der(&certificate.serial)), (id("a", "b"), own.serial.clone()));
    }
}
