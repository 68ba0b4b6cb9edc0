//! The kinds of keys that are made, and that are signed for.

use std::fmt;
use std::str::FromStr;

use rcgen::{KeyPair, RsaKeySize};

use super::TrustError;

/// A key's algorithm and size. All of them work between Envoys as they are configured here: P-384 because both ends speak TLS 1.3.
/// Ed25519 is not among them: Envoy offers it only where every context names it in `signature_algorithms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA P-256: the fastest.
    #[default]
    P256,
    /// ECDSA P-384.
    P384,
    /// RSA, 2048 bits. Making a key takes a tenth of a second and more.
    Rsa2048,
    /// RSA, 3072 bits.
    Rsa3072,
    /// RSA, 4096 bits.
    Rsa4096,
}

const NAMES: [(&str, KeyAlgorithm); 5] = [
    ("P-256", KeyAlgorithm::P256),
    ("P-384", KeyAlgorithm::P384),
    ("RSA-2048", KeyAlgorithm::Rsa2048),
    ("RSA-3072", KeyAlgorithm::Rsa3072),
    ("RSA-4096", KeyAlgorithm::Rsa4096),
];

impl KeyAlgorithm {
    /// A new key.
    pub(super) fn generate(self) -> Result<KeyPair, TrustError> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        let key = match self {
            Self::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => rsa(RsaKeySize::_2048),
            Self::Rsa3072 => rsa(RsaKeySize::_3072),
            Self::Rsa4096 => rsa(RsaKeySize::_4096),
        };
        key.map_err(|error| TrustError::material("a new key", error))
    }
}

impl FromStr for KeyAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        known
            .map(|(_, algorithm)| *algorithm)
            .ok_or_else(|| format!("`{text}` is not a key algorithm: use {}", NAMES.map(|(name, _)| name).join(", ")))
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(_, it)| it == self).map_or("", |(name, _)| name))
    }
}
