//! What a user would try by hand, each as one function: `Ok` says what was seen, `Err` what was seen instead.

use std::net::SocketAddr;
use std::time::Duration;

use super::app::Echo;
use super::envoy_admin::EnvoyAdmin;
use super::http::{self, Answer, HttpError};
use super::intruder::{self, Disguise};
use super::{Progress, Topology};

/// How long each request may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What was seen, in words.
pub type Seen = Result<String, String>;

/// Who the application is to have seen as its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer<'a> {
    /// A client certificate with this SPIFFE ID.
    Identity(&'a str),
    /// Nobody: the request came in plaintext.
    Nobody,
}

/// Every check of the lab's topology, in the order in which one would look.
pub async fn run(progress: &mut Progress, topology: &Topology, payment_admin: &EnvoyAdmin) {
    let Topology { client, payment, legacy } = topology;
    let (client_id, legacy_id) = (client.identity(), legacy.identity());
    let (from_client, from_legacy) = (Peer::Identity(&client_id), Peer::Identity(&legacy_id));
    let api = payment.at(8080);
    let api_stats = payment.listener_stats(8080);

    progress.check(
        "client reaches payment-service:8080 through its proxy",
        served_by_proxy(client.http_proxy(), &payment.url(8080, "/pay"), from_client).await,
    );
    progress.check("over TLS 1.3", tls_version(payment_admin, &api_stats, "TLSv1.3").await);
    let tcp = client.tcp_egress.first().map_or(api, |egress| client.at(egress.port));
    progress.check(
        "client reaches it through its TCP listener, with mutual TLS too",
        served_directly(tcp, &payment.host(), from_client).await,
    );
    progress.check("plaintext to payment-service:8080 is refused", plaintext_refused(api, &payment.host()).await);
    progress.check(
        "plaintext to payment-service:9090 (metrics) is served",
        served_directly(payment.at(9090), &payment.host(), Peer::Nobody).await,
    );
    progress.check(
        "an intruder without a certificate is refused",
        tls_refused(api, &payment.host(), Disguise::Nothing, payment_admin, &api_stats).await,
    );
    progress.check(
        "an intruder with the client's name on a self-made certificate is refused",
        tls_refused(api, &payment.host(), Disguise::Forged(&client_id), payment_admin, &api_stats).await,
    );
    progress.check(
        "legacy is reached with mutual TLS through the client's proxy",
        served_by_proxy(client.http_proxy(), &legacy.url(8080, "/"), from_client).await,
    );
    progress.check(
        "legacy is reached in plaintext, without a proxy",
        served_directly(legacy.at(8080), &legacy.host(), Peer::Nobody).await,
    );
    progress.check(
        "legacy reaches payment-service:8080 through its own proxy",
        served_by_proxy(legacy.http_proxy(), &payment.url(8080, "/pay"), from_legacy).await,
    );
}

/// A request through a workload's forward proxy is answered, and the application saw that peer.
pub async fn served_by_proxy(proxy: SocketAddr, url: &str, peer: Peer<'_>) -> Seen {
    served(http::get_via_proxy(proxy, url, LIMIT).await, peer)
}

/// A plaintext request to an address is answered, and the application saw that peer.
pub async fn served_directly(address: SocketAddr, host: &str, peer: Peer<'_>) -> Seen {
    served(http::get(address, host, "/", LIMIT).await, peer)
}

/// A plaintext request is refused: somebody listens, and closes the connection without an answer.
pub async fn plaintext_refused(address: SocketAddr, host: &str) -> Seen {
    refused(http::get(address, host, "/", LIMIT).await)
}

/// A TLS client with this disguise is refused, and Envoy says that it was for the certificate: one of the listener's
/// `ssl.fail_verify_*` counters rose.
pub async fn tls_refused(
    address: SocketAddr,
    host: &str,
    disguise: Disguise<'_>,
    admin: &EnvoyAdmin,
    listener_stats: &str,
) -> Seen {
    let prefix = format!("{listener_stats}ssl.fail_verify_");
    let count = async || admin.stats(&prefix).await.map(|stats| stats.values().sum::<u64>()).map_err(|e| e.to_string());
    let tls = intruder::tls(disguise, host).map_err(|e| e.to_string())?;
    let before = count().await?;
    let seen = refused(http::get_tls(address, &tls, host, "/", LIMIT).await)?;
    // The alert can reach us before Envoy has counted.
    for _ in 0..50 {
        if count().await? > before {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("refused ({seen}), but for another reason: no {prefix}* counter rose"))
}

/// A listener has counted a handshake with this version (`TLSv1.3`).
pub async fn tls_version(admin: &EnvoyAdmin, listener_stats: &str, version: &str) -> Seen {
    let prefix = format!("{listener_stats}ssl.versions.");
    let stats = admin.stats(&prefix).await.map_err(|e| e.to_string())?;
    match stats.get(&format!("{prefix}{version}")) {
        Some(count) if *count > 0 => Ok(format!("{count} so far")),
        _ => Err(format!("the listener counted {stats:?} under {prefix}")),
    }
}

fn served(result: Result<Answer, HttpError>, peer: Peer<'_>) -> Seen {
    let answer = result.map_err(|e| e.to_string())?;
    if answer.status != ::http::StatusCode::OK {
        return Err(format!("{}: {}", answer.status, answer.text().trim()));
    }
    let echo: Echo = serde_json::from_slice(&answer.body).map_err(|e| format!("not the application's answer: {e}"))?;
    let uris = echo.peer().map(|certificate| certificate.uris);
    match (peer, uris) {
        (Peer::Nobody, None) => Ok(format!("{}, {} saw no certificate", answer.status, echo.app)),
        (Peer::Nobody, Some(uris)) => Err(format!("{} saw {uris:?}, expected plaintext", echo.app)),
        (Peer::Identity(identity), Some(uris)) if uris == [identity] => {
            Ok(format!("{}, {} saw {identity}", answer.status, echo.app))
        }
        (Peer::Identity(identity), seen) => Err(format!(
            "{} saw {}, expected {identity}",
            echo.app,
            seen.map_or("no client certificate".into(), |uris| format!("{uris:?}"))
        )),
    }
}

fn refused(result: Result<Answer, HttpError>) -> Seen {
    match result {
        Ok(answer) => Err(format!("it was answered: {} {}", answer.status, answer.text().trim())),
        Err(error) if error.is_refusal() => Ok(error.to_string()),
        Err(error) => Err(format!("expected a refusal by whoever listens, got: {error}")),
    }
}
