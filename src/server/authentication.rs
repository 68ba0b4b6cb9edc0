//! Who a request is from: what its connection has shown, and what it shows itself.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tonic::Status;

use super::config::Config;
use super::proxies::Proxies;
use crate::identity::{AuthenticationError, Authenticator, BearerTokens, Peer, Proof, UnixUser, UnixUsers, X509Svids};

/// What is known of a connection before its first request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// This peer.
    Known(Peer),
    /// This peer, by a certificate of ours that has ended a short while ago: it may renew it, and nothing else.
    Expired(Peer),
    /// Nobody yet: each request has to show whose it is.
    Anonymous,
    /// A plaintext port: whoever comes is shown configuration and no secret, and no token is taken where others may read it.
    Plaintext,
}

/// Processes that a `ClusterStaticEntry` of the policy names by their user or group.
struct Registered(Proxies);

impl Authenticator for Registered {
    fn authenticate(&self, proof: Proof<'_>) -> Result<Option<Peer>, AuthenticationError> {
        let Proof::Process(process) = proof else { return Ok(None) };
        let Some(model) = self.0.model.load_full() else { return Ok(None) };
        let is = |wanted: Option<u32>, has| wanted.is_none_or(|wanted| wanted == has);
        let found = model.mesh.processes().iter().find(|it| is(it.uid, process.uid) && is(it.gid, process.gid));
        Ok(found.and_then(|it| it.spiffe_id.parse().ok()).map(Peer::without_certificate))
    }
}

/// Every way to be known.
#[derive(Clone)]
pub(super) struct Authenticators(Arc<[Box<dyn Authenticator>]>);

impl Authenticators {
    /// Those of the configuration, and behind them the processes that the policy names.
    pub(super) fn of(config: &Config, proxies: &Proxies) -> Self {
        let tokens = config.xds.tokens.iter().map(|token| (token.sha256, token.identity.clone()));
        let users = config.xds.unix.identities.iter().map(UnixUser::from);
        Self::new(vec![
            Box::new(X509Svids),
            Box::new(UnixUsers::new(users)),
            Box::new(Registered(proxies.clone())),
            Box::new(BearerTokens::new(tokens)),
        ])
    }

    fn new(authenticators: Vec<Box<dyn Authenticator>>) -> Self {
        Self(authenticators.into())
    }

    /// Whose proof it is: the first authenticator that has an opinion decides.
    pub(super) fn authenticate(&self, proof: Proof<'_>) -> Result<Option<Peer>, AuthenticationError> {
        for authenticator in self.0.iter() {
            if let Some(peer) = authenticator.authenticate(proof)? {
                return Ok(Some(peer));
            }
        }
        Ok(None)
    }

    /// The peer of a request. The token leaves the headers: nothing behind this has a use for it.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`: nothing was shown, or something bad, or two identities at once. What is bad is never overlooked in
    /// favour of what is good: whoever sends it means something else than what we would do.
    pub(super) fn peer(&self, standing: &Standing, headers: &mut HeaderMap) -> Result<Peer, Status> {
        let shown = bearer(headers)?.map(str::to_owned).map(zeroize::Zeroizing::new);
        headers.remove(AUTHORIZATION);
        let Some(token) = shown else {
            return match standing {
                Standing::Known(peer) => Ok(peer.clone()),
                Standing::Expired(_) => Err(expired()),
                Standing::Plaintext => Ok(Peer::Unauthenticated),
                Standing::Anonymous => {
                    Err(Status::unauthenticated("neither a client certificate, a known process, nor a bearer token"))
                }
            };
        };
        if matches!(standing, Standing::Expired(_)) {
            return Err(expired());
        }
        if *standing == Standing::Plaintext {
            return Err(Status::unauthenticated("a bearer token is not taken on a connection without TLS"));
        }
        let owner =
            self.authenticate(Proof::Bearer(&token)).map_err(|error| Status::unauthenticated(error.to_string()))?;
        let owner = owner.ok_or_else(|| Status::unauthenticated("bearer tokens are not in use here"))?;
        match standing {
            Standing::Known(peer) if peer.id() != owner.id() => {
                Err(Status::unauthenticated("the connection and the bearer token are two identities"))
            }
            Standing::Known(peer) => Ok(peer.clone()),
            _ => Ok(owner),
        }
    }
}

fn expired() -> Status {
    Status::unauthenticated("the client's certificate has expired: all it may do is renew it")
}

/// The token of the one `authorization` header (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Status> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else { return Ok(None) };
    if second.is_some() {
        return Err(Status::unauthenticated("several authorization headers"));
    }
    let token = value.to_str().ok().and_then(|text| text.split_once(' '));
    match token {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => Ok(Some(token)),
        _ => Err(Status::unauthenticated("the authorization header is not `Bearer TOKEN`")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::identity::{SpiffeId, TokenHash};

    const TOKEN: &str = "a-token";

    fn id(name: &str) -> SpiffeId {
        format!("spiffe://cluster.local/ns/a/sa/{name}").parse().unwrap()
    }

    fn peer(standing: &Standing, authorization: &[&str]) -> Result<Peer, tonic::Code> {
        let tokens = BearerTokens::new([(TokenHash::of(TOKEN), id("token"))]);
        let authenticators = Authenticators::new(vec![Box::new(X509Svids), Box::new(tokens)]);
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let peer = authenticators.peer(standing, &mut headers).map_err(|status| status.code());
        assert!(peer.is_err() || headers.is_empty(), "the token stays here");
        peer
    }

    #[test]
    fn threat_02_nobody_and_two_at_once_are_refused() {
        let refused = Err(tonic::Code::Unauthenticated);
        let known = |name| Ok(Peer::without_certificate(id(name)));
        let standing = |name| Standing::Known(Peer::without_certificate(id(name)));
        let good = format!("Bearer {TOKEN}");
        assert_eq!(peer(&Standing::Anonymous, &[]), refused);
        assert_eq!(peer(&Standing::Anonymous, &[&good]), known("token"));
        assert_eq!(peer(&Standing::Anonymous, &["bearer a-token"]), known("token"));
        assert_eq!(peer(&standing("leaf"), &[]), known("leaf"));
        assert_eq!(peer(&standing("token"), &[&good]), known("token"));
        assert_eq!(peer(&standing("leaf"), &[&good]), refused, "two identities");
        assert_eq!(peer(&standing("leaf"), &["Bearer other"]), refused, "a bad token beside a certificate");
        assert_eq!(peer(&Standing::Plaintext, &[]), Ok(Peer::Unauthenticated));
        assert_eq!(peer(&Standing::Plaintext, &[&good]), refused, "a token in the clear");
        for odd in
            ["Bearer", "Bearer ", "Bearer  a-token", "Bearer a-token ", "Basic a-token", "a-token", "BearerA a-token"]
        {
            assert_eq!(peer(&Standing::Anonymous, &[odd]), refused, "{odd:?}");
        }
        assert_eq!(peer(&Standing::Anonymous, &[&good, &good]), refused, "several headers");
    }
}
