//! Who is who: trust domains, SPIFFE IDs, and the peer at the other end of a stream.
//!
//! Parsing is strict: a text either is an identity, byte for byte, or it is refused. Nothing is folded, decoded or normalised on the
//! way, so that two different texts can never stand for one identity.

mod authenticator;
mod peer;
mod spiffe_id;
mod token;
mod trust_domain;

pub use authenticator::{
    AuthenticationError, Authenticator, ProcessCredentials, Proof, UnixUser, UnixUsers, X509Svids,
};
pub use peer::{Peer, PeerCertificate, PeerError, spiffe_id_of};
pub use spiffe_id::{SpiffeId, SpiffeIdError};
pub use token::{BearerTokens, TokenHash, TokenHashError, generate_token};
pub use trust_domain::{TrustDomain, TrustDomainError};

#[cfg(test)]
mod tests;
