//! The text of a join token: a secret for the server, and what the node needs to know the server by.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::identity::TrustDomain;

/// What the text begins with.
const SCHEME: &str = "csjoin1";
/// In bytes.
const SECRET: usize = 32;

/// `csjoin1.SECRET.FINGERPRINTS.TRUST-DOMAIN`. The secret is 32 random bytes, and each fingerprint the SHA-256 of a root certificate in
/// DER, both as base64url (RFC 4648 §5); there is a `~` between fingerprints. So that a node can know its server before it trusts
/// anything, the fingerprints come with the secret, by the way on which the operator has brought the token. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    secret: Zeroizing<String>,
    roots: Vec<[u8; 32]>,
    trust_domain: TrustDomain,
}

/// Why a text is no join token. Shows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    /// It is not of this form.
    #[error("this is not a join token: one begins with `{SCHEME}.` and is printed by `countersign token create`")]
    Form,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl JoinToken {
    /// A new token for servers whose chain ends in one of these roots (DER).
    pub fn generate<'a>(
        trust_domain: TrustDomain,
        roots: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, JoinTokenError> {
        let mut secret = Zeroizing::new([0; SECRET]);
        OsRng.try_fill_bytes(secret.as_mut_slice()).map_err(|_| JoinTokenError::Random)?;
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()));
        Ok(Self { secret, roots: roots.into_iter().map(fingerprint).collect(), trust_domain })
    }

    /// What the server is shown.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The domain of the server that will take it.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Whether the token names this root (DER).
    pub fn names(&self, root: &[u8]) -> bool {
        self.roots.contains(&fingerprint(root))
    }

    /// The whole text: for the operator's eyes, once.
    pub fn text(&self) -> Zeroizing<String> {
        let roots: Vec<_> = self.roots.iter().map(|root| URL_SAFE_NO_PAD.encode(root)).collect();
        Zeroizing::new(format!("{SCHEME}.{}.{}.{}", *self.secret, roots.join("~"), self.trust_domain))
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.trim().splitn(4, '.');
        let (Some(SCHEME), Some(secret), Some(roots), Some(trust_domain)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JoinTokenError::Form);
        };
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| JoinTokenError::Form);
        if Zeroizing::new(decode(secret)?).len() != SECRET {
            return Err(JoinTokenError::Form);
        }
        let root = |text: &str| decode(text)?.try_into().map_err(|_| JoinTokenError::Form);
        Ok(Self {
            secret: Zeroizing::new(secret.to_owned()),
            roots: roots.split('~').map(root).collect::<Result<_, _>>()?,
            trust_domain: trust_domain.parse().map_err(|_| JoinTokenError::Form)?,
        })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}
