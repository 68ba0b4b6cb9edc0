//! Static bearer tokens.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{AuthenticationError, Authenticator, Peer, Proof, SpiffeId};

/// Random bytes in a token.
const RANDOM: usize = 32;
/// What a token starts with, so that a scanner for leaked secrets can find it.
const PREFIX: &str = "cst_";

/// A new token, to be handed to its client and kept nowhere else: `cst_` and 256 random bits in hexadecimal.
///
/// # Errors
/// The system has no random numbers.
pub fn generate_token() -> std::io::Result<Zeroizing<String>> {
    let mut random = Zeroizing::new([0_u8; RANDOM]);
    OsRng.try_fill_bytes(random.as_mut_slice()).map_err(std::io::Error::other)?;
    // Of its full length from the start: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 2 * RANDOM));
    text.push_str(PREFIX);
    for byte in random.iter() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// The SHA-256 of a token: enough to recognise it, useless to whoever reads the configuration. A plain digest suffices
/// because a token is random: nobody guesses 128 bits or more, however fast the hash; a password's slow hash would only hand
/// unauthenticated clients a way to burn CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

/// Why a text is not a token's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is configured as its SHA-256, 64 hexadecimal digits: `countersign token bearer` makes one")]
pub struct TokenHashError;

impl TokenHash {
    /// The hash of this token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl FromStr for TokenHash {
    type Err = TokenHashError;

    fn from_str(text: &str) -> Result<Self, TokenHashError> {
        let mut hash = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != hash.len() || !rest.is_empty() {
            return Err(TokenHashError);
        }
        for (byte, pair) in hash.iter_mut().zip(pairs) {
            let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(TokenHashError) };
            *byte = high << 4 | low;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// Which token is whose.
#[derive(Clone, Debug, Default)]
pub struct BearerTokens(Vec<(TokenHash, SpiffeId)>);

impl BearerTokens {
    /// These tokens.
    pub fn new(tokens: impl IntoIterator<Item = (TokenHash, SpiffeId)>) -> Self {
        Self(tokens.into_iter().collect())
    }

    /// Whether there is none, so that nobody can be known by a token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Authenticator for BearerTokens {
    fn authenticate(&self, proof: Proof<'_>) -> Result<Option<Peer>, AuthenticationError> {
        let Proof::Bearer(token) = proof else { return Ok(None) };
        let shown = TokenHash::of(token);
        // Every hash is compared, and each to its end, so that the time tells nothing of the tokens there are.
        let mut found = None;
        for (hash, identity) in &self.0 {
            let same: Choice = hash.0.ct_eq(&shown.0);
            if bool::from(same) {
                found = Some(Peer::without_certificate(identity.clone()));
            }
        }
        found.map(Some).ok_or(AuthenticationError::UnknownToken)
    }
}
