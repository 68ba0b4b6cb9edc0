//! `privateKey` of a cert-manager `Certificate`: which key it has, and when it gets another.

use serde::Deserialize;

use super::Located;
use super::report::Report;

/// `spec.privateKey`, with cert-manager's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateKey {
    /// `algorithm` and `size`.
    pub algorithm: PrivateKeyAlgorithm,
    /// `encoding`.
    pub encoding: PrivateKeyEncoding,
    /// `rotationPolicy`.
    pub rotation: RotationPolicy,
}

/// A key's algorithm and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateKeyAlgorithm {
    /// RSA with this many bits: 2048, 3072 or 4096.
    Rsa(u16),
    /// ECDSA on a NIST curve with this many bits: 256, 384 or 521.
    Ecdsa(u16),
    /// Ed25519.
    Ed25519,
}

/// `privateKey.encoding`: how `tls.key` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum PrivateKeyEncoding {
    /// The key's own form: PKCS #1 for RSA, SEC 1 for ECDSA. Ed25519 has none, and is PKCS #8.
    #[default]
    #[serde(rename = "PKCS1")]
    Pkcs1,
    /// PKCS #8.
    #[serde(rename = "PKCS8")]
    Pkcs8,
}

/// `privateKey.rotationPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum RotationPolicy {
    /// The key that is there goes on being used, as long as it is of the right kind.
    Never,
    /// Each certificate has a key of its own. The default of cert-manager 1.18 and later.
    #[default]
    Always,
}

impl Default for PrivateKey {
    fn default() -> Self {
        let (algorithm, encoding, rotation) = (PrivateKeyAlgorithm::Rsa(2048), Default::default(), Default::default());
        Self { algorithm, encoding, rotation }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
enum Algorithm {
    #[default]
    #[serde(rename = "RSA")]
    Rsa,
    #[serde(rename = "ECDSA")]
    Ecdsa,
    Ed25519,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Raw {
    algorithm: Algorithm,
    size: Option<Located<u32>>,
    encoding: PrivateKeyEncoding,
    rotation_policy: RotationPolicy,
}

/// Checks the size against the algorithm.
pub(super) fn check(raw: Raw, report: &Report) -> PrivateKey {
    let size = raw.size.filter(|size| size.value != 0);
    let one_of = |sizes: [u16; 3], name: &str| {
        let Some(size) = &size else { return sizes[0] };
        let known = sizes.into_iter().find(|known| u32::from(*known) == size.value);
        known.unwrap_or_else(|| {
            let [a, b, c] = sizes;
            let message = format!("{} is no size of an {name} key that is made here", size.value);
            report.error_with_help(&size.at, "spec.privateKey.size", message, &format!("{a}, {b} or {c}"));
            a
        })
    };
    let algorithm = match raw.algorithm {
        Algorithm::Rsa => PrivateKeyAlgorithm::Rsa(one_of([2048, 3072, 4096], "RSA")),
        Algorithm::Ecdsa => PrivateKeyAlgorithm::Ecdsa(one_of([256, 384, 521], "ECDSA")),
        Algorithm::Ed25519 => {
            if let Some(size) = &size {
                report.warn(&size.at, "spec.privateKey.size has no effect: Ed25519 keys have one size");
            }
            PrivateKeyAlgorithm::Ed25519
        }
    };
    PrivateKey { algorithm, encoding: raw.encoding, rotation: raw.rotation_policy }
}
