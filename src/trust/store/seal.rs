//! Keys encrypted at rest.

use std::fmt;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The environment variable with a key-encryption key.
pub const KEY_VARIABLE: &str = "COUNTERSIGN_STORE_KEY";

/// What a sealed value begins with. A key in the clear begins otherwise: with `0x30` in DER, with `-` in PEM.
const SEALED: u8 = 1;
/// In bytes (NIST SP 800-38D).
const NONCE: usize = 12;
/// Before a sealed value in a column that holds text.
const SEALED_TEXT: &str = "sealed:";

/// A key-encryption key: AES-256-GCM, a nonce of its own for each value, and each value bound to the row that it is in, so that nobody
/// who can write to the file can put one key in another's place. `Debug` shows nothing of it.
pub struct KeyEncryptionKey(RandomizedNonceKey);

/// Why a text is no key-encryption key. Shows nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not 32 bytes in base64.
    #[error(
        "{0} is not a key-encryption key: it is 32 random bytes in base64, as `openssl rand -base64 32` prints them"
    )]
    Form(String),
    /// Its file cannot be read.
    #[error("cannot read the key-encryption key {0}: {1}")]
    Read(String, String),
    /// It does not open what is sealed.
    #[error("the key-encryption key is not the one that the keys in the store are encrypted with")]
    WrongKey,
}

impl KeyEncryptionKey {
    /// 32 bytes in base64 (RFC 4648 §4); space around it is ignored. `place` is what messages call it.
    pub fn parse(place: &str, text: &str) -> Result<Self, SealError> {
        let form = || SealError::Form(place.to_owned());
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| form())?);
        RandomizedNonceKey::new(&AES_256_GCM, &bytes).map(Self).map_err(|_| form())
    }

    /// The key in a file.
    pub fn read(path: &Path) -> Result<Self, SealError> {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| SealError::Read(place.clone(), error.to_string()))?;
        Self::parse(&place, &Zeroizing::new(text))
    }

    /// The key in [`KEY_VARIABLE`], if there is one.
    pub fn from_environment() -> Result<Option<Self>, SealError> {
        match std::env::var(KEY_VARIABLE) {
            Ok(text) => Self::parse(KEY_VARIABLE, &Zeroizing::new(text)).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(SealError::Form(KEY_VARIABLE.to_owned())),
        }
    }

    pub(super) fn seal(&self, row: &[&[u8]], plain: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(bound_to(row)), &mut sealed)
            .expect("a key is far shorter than AES-GCM's limit");
        [&[SEALED][..], nonce.as_ref(), &sealed].concat()
    }

    pub(super) fn open(&self, row: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, rest) = sealed.get(1..).and_then(|rest| rest.split_at_checked(NONCE)).ok_or(SealError::WrongKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::WrongKey)?;
        let mut plain = Zeroizing::new(rest.to_vec());
        let length = self
            .0
            .open_in_place(nonce, Aad::from(bound_to(row)), plain.as_mut_slice())
            .map_err(|_| SealError::WrongKey)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyEncryptionKey(..)")
    }
}

/// The parts of a row that a value belongs to, each with its length, so that no two rows read alike.
fn bound_to(row: &[&[u8]]) -> Vec<u8> {
    let parts = row.iter().map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat());
    parts.collect::<Vec<_>>().concat()
}

/// How keys are written: sealed, or in the clear where no key-encryption key is configured.
#[derive(Debug, Default)]
pub(super) struct Sealer(pub(super) Option<KeyEncryptionKey>);

impl Sealer {
    pub(super) fn write(&self, row: &[&[u8]], plain: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match &self.0 {
            Some(key) => key.seal(row, plain),
            None => plain.to_vec(),
        })
    }

    pub(super) fn read(&self, row: &[&[u8]], kept: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let kept = Zeroizing::new(kept);
        match (kept.first(), &self.0) {
            (Some(&SEALED), Some(key)) => key.open(row, &kept),
            (Some(&SEALED), None) => Err(SealError::WrongKey),
            _ => Ok(kept),
        }
    }

    pub(super) fn write_text(&self, row: &[&[u8]], plain: &str) -> Zeroizing<String> {
        Zeroizing::new(match &self.0 {
            Some(key) => format!("{SEALED_TEXT}{}", STANDARD.encode(key.seal(row, plain.as_bytes()))),
            None => plain.to_owned(),
        })
    }

    pub(super) fn read_text(&self, row: &[&[u8]], kept: String) -> Result<Zeroizing<String>, SealError> {
        let Some(sealed) = kept.strip_prefix(SEALED_TEXT) else { return Ok(Zeroizing::new(kept)) };
        let sealed = STANDARD.decode(sealed).map_err(|_| SealError::WrongKey)?;
        let key = self.0.as_ref().ok_or(SealError::WrongKey)?;
        let plain = key.open(row, &sealed)?;
        String::from_utf8(plain.to_vec()).map(Zeroizing::new).map_err(|_| SealError::WrongKey)
    }
}
