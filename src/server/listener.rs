//! The xDS listeners: accept connections, find out who is there, and hand each to HTTP/2.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::authentication::{Authenticators, Standing};
use super::config::Limits;
use super::handshakes::{Ended, Handshakes, Place};
use super::peers::Peers;
use super::proxies::Proxies;
use super::refusals::{Refusal, Refusals};
use super::services::Services;
use super::small_frames::SmallFrames;
use super::{Clock, connection};
use crate::identity::{Peer, ProcessCredentials, Proof};
use crate::trust::tls::ServerTls;
use crate::trust::{Serial, Trust};

/// After an error of `accept` (out of file descriptors, say) the loop waits this long; it never ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How TCP connections are secured.
#[derive(Clone)]
pub(super) enum Security {
    /// TLS; who shows no certificate is anonymous, if it lets such clients in at all.
    Tls(Arc<ServerTls>),
    /// Nothing: for looking at what would be served, on loopback. No such stream gets a secret.
    Plaintext,
}

/// What all listeners have in common: what is behind them, and who comes in.
pub(super) struct Door {
    pub(super) services: Services,
    pub(super) authenticators: Authenticators,
    pub(super) limits: Limits,
    pub(super) refusals: Arc<Refusals>,
    peers: Peers,
    trust: Arc<Trust>,
    clock: Clock,
    handshakes: Handshakes,
    connections: Arc<Semaphore>,
}

impl Door {
    pub(super) fn new(
        proxies: &Proxies,
        services: Services,
        authenticators: Authenticators,
        limits: Limits,
        refusals: Arc<Refusals>,
    ) -> Arc<Self> {
        let handshakes = Handshakes::new(limits.handshakes, limits.handshake_grace);
        let connections = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let (peers, trust, clock) = (proxies.peers.clone(), Arc::clone(&proxies.trust), Arc::clone(&proxies.clock));
        Arc::new(Self { services, authenticators, limits, refusals, peers, trust, clock, handshakes, connections })
    }

    /// What somebody may do by the certificate that TLS has verified.
    fn standing(&self, shown: Option<Peer>, now: OffsetDateTime) -> Result<Standing, (Refusal, String)> {
        let Some(peer) = shown else { return Ok(Standing::Anonymous) };
        let Peer::Authenticated { id, certificate: Some(certificate) } = &peer else {
            return Ok(Standing::Known(peer));
        };
        let serial = Serial::from_der(&certificate.serial);
        if self.trust.is_revoked(&serial) {
            return Err((Refusal::Revoked, format!("the certificate {serial} of {id} is revoked")));
        }
        if now <= certificate.not_after {
            return Ok(Standing::Known(peer));
        }
        let is_ours = certificate.authority_key.as_deref().and_then(|key| self.trust.root_of_key(key)).is_some();
        match is_ours {
            true => Ok(Standing::Expired(peer)),
            false => Err((
                Refusal::Expired,
                format!("the certificate {serial} of {id} has expired, and is not ours to renew"),
            )),
        }
    }

    /// Counts a connection in, until the answer is dropped.
    fn count_in(&self, from: &str) -> Option<OwnedSemaphorePermit> {
        let counted = Arc::clone(&self.connections).try_acquire_owned().ok();
        if counted.is_none() {
            self.refusals.note(Refusal::Connections, &from, &"xds.limits.connections is reached");
        }
        counted
    }

    async fn pause(&self, error: &io::Error) {
        self.refusals.note(Refusal::Accept, &"the listener", error);
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Serves TCP until the task is aborted. Connections that are open then go on until their streams end.
pub(super) fn serve_tcp(listener: TcpListener, security: Security, door: Arc<Door>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok((stream, from)) => (stream, from.to_string()),
                Err(error) => {
                    door.pause(&error).await;
                    continue;
                }
            };
            let Some(counted) = door.count_in(&from) else { continue };
            // Small messages, each of which somebody waits for.
            let _ = stream.set_nodelay(true);
            match &security {
                Security::Plaintext => {
                    let door = Arc::clone(&door);
                    tokio::spawn(async move {
                        connection::serve(stream, from, Standing::Plaintext, door).await;
                        drop(counted);
                    });
                }
                Security::Tls(tls) => {
                    // The place is taken before the task is made: beyond the limit, connections wait in the kernel's queue.
                    let place = door.handshakes.enter().await;
                    let (door, tls) = (Arc::clone(&door), TlsAcceptor::from(tls.config()));
                    tokio::spawn(async move {
                        secured(stream, from, tls, place, door).await;
                        drop(counted);
                    });
                }
            }
        }
    })
}

async fn secured(stream: TcpStream, from: String, tls: TlsAcceptor, mut place: Place, door: Arc<Door>) {
    let refuse = |refusal, error: &dyn std::fmt::Display| door.refusals.note(refusal, &from, error);
    // In a box: the state of a handshake is large, and not for the connection's whole life.
    let handshake = Box::pin(tls.accept(stream));
    let stream = match place.run(door.limits.handshake_timeout, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return refuse(Refusal::Tls, &error),
        Err(Ended::Late) => return refuse(Refusal::HandshakeTimeout, &"TLS was not finished in time"),
        Err(Ended::Displaced) => return refuse(Refusal::Displaced, &"TLS was not finished when others waited"),
    };
    drop(place);
    let chain = stream.get_ref().1.peer_certificates();
    let shown = chain.map_or(Ok(None), |chain| door.authenticators.authenticate(Proof::Certificate(chain)));
    let shown = match shown {
        Ok(shown) => shown,
        Err(error) => return refuse(Refusal::Certificate, &error),
    };
    let now = (door.clock)();
    // Entered before it is looked at: who revokes a certificate marks it first and then ends the connections that have entered.
    let guard = shown.as_ref().and_then(|peer| door.peers.enter(peer, now));
    let standing = match door.standing(shown, now) {
        Ok(standing) => standing,
        Err((refusal, reason)) => return refuse(refusal, &reason),
    };
    let ended = async {
        match &guard {
            Some(guard) => guard.ended().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = connection::serve(SmallFrames::new(stream), from.clone(), standing, Arc::clone(&door)) => {}
        () = ended => debug!(%from, "the connection is ended here"),
    }
}

/// Serves a Unix socket until the task is aborted. `_place` is the socket's file, gone with the task.
pub(super) fn serve_unix<P: Send + 'static>(listener: UnixListener, place: P, door: Arc<Door>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let _place = place;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let door = Arc::clone(&door);
                    tokio::spawn(local(stream, door));
                }
                Err(error) => door.pause(&error).await,
            }
        }
    })
}

async fn local(stream: UnixStream, door: Arc<Door>) {
    let process = match stream.peer_cred() {
        Ok(peer) => ProcessCredentials { uid: peer.uid(), gid: peer.gid(), pid: peer.pid() },
        Err(error) => return door.refusals.note(Refusal::Process, &"the Unix socket", &error),
    };
    let pid = process.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    let from = format!("process {pid} of user {} and group {}", process.uid, process.gid);
    let Some(_counted) = door.count_in(&from) else { return };
    let standing = match door.authenticators.authenticate(Proof::Process(process)) {
        Ok(Some(peer)) => Standing::Known(peer),
        // It may still show a token.
        Ok(None) => Standing::Anonymous,
        Err(error) => return door.refusals.note(Refusal::Process, &from, &error),
    };
    connection::serve(stream, from, standing, door).await;
}
