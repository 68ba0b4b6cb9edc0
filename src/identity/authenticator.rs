//! Who shows what, and whose identity that is.

use rustls_pki_types::CertificateDer;

use super::{Peer, PeerError, SpiffeId};

/// What a connection or a request shows of who it is from.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The chain that TLS has verified against the trust bundle, leaf first.
    Certificate(&'a [CertificateDer<'a>]),
    /// The process at the other end of a Unix socket, as the kernel knows it.
    Process(ProcessCredentials),
    /// The token of `authorization: Bearer …`.
    Bearer(&'a str),
}

/// The user and group that a process had when it connected (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessCredentials {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
    /// The process id. It is for the log: a number that is given out again identifies nobody.
    pub pid: Option<i32>,
}

/// Why somebody who showed something is nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// The certificate names no workload.
    #[error("the client's certificate names no workload: {0}")]
    Certificate(#[from] PeerError),
    /// Nobody has this token.
    #[error("the bearer token is not one that this server knows")]
    UnknownToken,
}

/// One way to be known. A server has a list of them; other ways (a JWT, say) are further implementations.
pub trait Authenticator: Send + Sync {
    /// Whose proof this is; `None` if this is not a proof that this authenticator judges, or it knows nobody by it.
    ///
    /// # Errors
    /// The proof is of this authenticator's kind and bad. Nobody else is asked.
    fn authenticate(&self, proof: Proof<'_>) -> Result<Option<Peer>, AuthenticationError>;
}

/// X509-SVIDs: the SPIFFE ID in a certificate that TLS has verified.
#[derive(Clone, Copy, Debug)]
pub struct X509Svids;

impl Authenticator for X509Svids {
    fn authenticate(&self, proof: Proof<'_>) -> Result<Option<Peer>, AuthenticationError> {
        let Proof::Certificate(chain) = proof else { return Ok(None) };
        Ok(Some(Peer::from_chain(Some(chain))?))
    }
}

/// The users of this machine that stand for an identity, in order; the first that fits decides.
#[derive(Clone, Debug, Default)]
pub struct UnixUsers(Vec<UnixUser>);

/// Processes of this user (and, if there is one, this group) are this identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixUser {
    /// The user id.
    pub uid: u32,
    /// The group id; `None` for whatever group.
    pub gid: Option<u32>,
    /// Who that is.
    pub identity: SpiffeId,
}

impl UnixUsers {
    /// These users, in order.
    pub fn new(users: impl IntoIterator<Item = UnixUser>) -> Self {
        Self(users.into_iter().collect())
    }
}

impl Authenticator for UnixUsers {
    fn authenticate(&self, proof: Proof<'_>) -> Result<Option<Peer>, AuthenticationError> {
        let Proof::Process(process) = proof else { return Ok(None) };
        let fits = |user: &&UnixUser| user.uid == process.uid && user.gid.is_none_or(|gid| gid == process.gid);
        Ok(self.0.iter().find(fits).map(|user| Peer::without_certificate(user.identity.clone())))
    }
}
