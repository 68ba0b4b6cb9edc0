//! One connection's HTTP/2, from its preface to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::sleep;
use tonic::body::Body;

use super::authentication::Standing;
use super::lingering::Lingering;
use super::listener::Door;
use super::one_task::{Nursery, OneTask};
use super::refusals::Refusal;
use crate::xds::Drain;

/// How often an idle connection is asked whether its peer is still there, and how long the answer may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// A connection that has come of age and whose streams do not end is cut off this much later.
const CUT_OFF: Duration = Duration::from_secs(10);
/// Streams that a peer may reset before we have looked at them (CVE-2023-44487). Real clients reset one now and then.
const PENDING_RESETS: usize = 20;

/// Serves a connection until it ends. The stream goes into its place before the future begins: an `async fn` would keep room for it
/// as an argument too.
pub(super) fn serve<S>(stream: S, from: String, standing: Standing, door: Arc<Door>) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &door.limits;
    let age = age(limits.max_connection_age, limits.max_connection_age_jitter);
    let drain = age.map(|_| Drain::new(Duration::ZERO, "the connection has reached its maximum age"));
    let signal = drain.as_ref().map(Drain::signal);
    let is_used = Arc::new(AtomicBool::new(false));
    // A peer that came with an expired certificate and wants more than to renew it has to come again with a new one.
    let is_over = Arc::new(Notify::new());
    let answer = hyper::service::service_fn({
        let (door, from, is_used) = (Arc::clone(&door), from.clone(), Arc::clone(&is_used));
        let is_over = Arc::clone(&is_over);
        move |mut request: http::Request<Incoming>| {
            let (door, from, is_used) = (Arc::clone(&door), from.clone(), Arc::clone(&is_used));
            let (standing, is_over) = (standing.clone(), Arc::clone(&is_over));
            let signal = signal.clone();
            // In a box, which goes when the answer has begun: the task that sends its body lives as long as the stream.
            Box::pin(async move {
                if let Some(signal) = signal {
                    request.extensions_mut().insert(signal);
                }
                let response = answer(&door, &from, &standing, &is_used, request).await;
                if matches!(standing, Standing::Expired(_)) {
                    is_over.notify_one();
                }
                Ok::<_, Infallible>(response)
            })
        }
    });
    let nursery = Nursery::default();
    let mut builder = hyper::server::conn::http2::Builder::new(nursery.clone());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(limits.header_bytes)
        .max_pending_accept_reset_streams(PENDING_RESETS);
    let connection = builder.serve_connection(TokioIo::new(Lingering::new(stream)), answer);
    let mut connection = OneTask::new(connection, nursery);
    async move {
        let mut first_request = pin!(sleep(door.limits.handshake_timeout));
        let mut is_asked = false;
        let mut old = pin!(async {
            let age = async {
                match age {
                    Some(age) => sleep(age).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = age => {}
                () = is_over.notified() => {}
            }
        });
        let ended = loop {
            tokio::select! {
                ended = &mut connection => break ended,
                () = &mut first_request, if !is_asked => {
                    is_asked = true;
                    if !is_used.load(Ordering::Relaxed) {
                        door.refusals.note(Refusal::Idle, &from, &"no authenticated request came in time");
                        return;
                    }
                }
                () = &mut old => {
                    // GOAWAY first, so that the client takes the end of its streams for what it is and opens a new connection.
                    connection.connection().graceful_shutdown();
                    if let Some(drain) = &drain {
                        drain.begin();
                    }
                    match tokio::time::timeout(CUT_OFF, &mut connection).await {
                        Ok(ended) => break ended,
                        Err(_) => return,
                    }
                }
            }
        };
        if let Err(error) = ended {
            match broke_a_rule(&error) {
                true => door.refusals.note(Refusal::Http2, &from, &error),
                false => tracing::debug!(%from, %error, "the connection ended"),
            }
        }
    }
}

async fn answer(
    door: &Door,
    from: &str,
    standing: &Standing,
    is_used: &AtomicBool,
    mut request: http::Request<Incoming>,
) -> http::Response<Body> {
    if door.services.is_public(request.uri().path()) {
        return door.services.public(request).await;
    }
    if let Standing::Expired(peer) = standing
        && door.services.is_renewal(request.uri().path())
    {
        is_used.store(true, Ordering::Relaxed);
        return door.services.answer(peer.clone(), from, request).await;
    }
    match door.authenticators.peer(standing, request.headers_mut()) {
        Ok(peer) => {
            is_used.store(true, Ordering::Relaxed);
            door.services.answer(peer, from, request).await
        }
        Err(status) => {
            let refusal = match standing {
                Standing::Expired(_) => Refusal::Expired,
                _ => Refusal::Unauthenticated,
            };
            door.refusals.note(refusal, &from, &status.message());
            status.into_http()
        }
    }
}

/// How old this connection may become.
fn age(age: Duration, jitter: Duration) -> Option<Duration> {
    (!age.is_zero()).then(|| (age + jitter.mul_f64(2.0 * rand::random::<f64>())).saturating_sub(jitter))
}

/// Whether the end is the peer's fault: a limit or a rule of HTTP/2, which our side has answered with GOAWAY.
fn broke_a_rule(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_library() && !error.is_io();
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_varies_by_its_jitter_and_zero_is_none() {
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        assert_eq!(age(Duration::ZERO, Duration::ZERO), None);
        assert_eq!(age(minute, Duration::ZERO), Some(minute));
        let ages: Vec<_> = (0..1000).filter_map(|_| age(minute, 10 * second)).collect();
        assert!(ages.iter().all(|age| (50 * second..=70 * second).contains(age)));
        assert!(ages.iter().any(|age| *age < 55 * second) && ages.iter().any(|age| *age > 65 * second));
    }
}
