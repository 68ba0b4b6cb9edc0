//! Serial numbers.

use std::fmt;
use std::str::FromStr;

use rand::Rng;

/// A certificate's serial number, as lower-case hexadecimal in text, which is how Envoy's `/certs` shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// 16 random bytes: unpredictable, as RFC 5280 §4.1.2.2 and the CA/Browser Forum ask, and never the same twice. The first byte
    /// is 0x40 to 0x7f, so that the number is positive, and its text always 32 digits.
    pub(crate) fn random() -> Self {
        let mut bytes: [u8; 16] = rand::rng().random();
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Self(bytes.to_vec())
    }

    /// As a certificate has it: big-endian, perhaps with a zero before it for the sign.
    pub fn from_der(bytes: &[u8]) -> Self {
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        Self(bytes[first..].to_vec())
    }

    pub(super) fn to_rcgen(&self) -> rcgen::SerialNumber {
        rcgen::SerialNumber::from_slice(&self.0)
    }

    /// As DER has an integer's content: not negative, so with a zero before a first byte of 0x80 or more. Ours never need one.
    pub(crate) fn as_positive(&self) -> &[u8] {
        debug_assert!(self.0.first().is_some_and(|first| *first < 0x80));
        &self.0
    }

    /// The first four bytes in hexadecimal: enough for people to tell two authorities apart.
    pub(super) fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

/// A text that is no serial number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a serial number: 1 to 40 hexadecimal digits, as `countersign secrets` shows them")]
pub struct SerialError(String);

/// As it is written here; colons and upper case, as other tools write it, are fine. RFC 5280 §4.1.2.2 allows 20 bytes.
impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let even = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits };
        let legal = (2..=40).contains(&even.len()) && even.bytes().all(|byte| byte.is_ascii_hexdigit());
        let pair = |at: usize| u8::from_str_radix(&even[at..at + 2], 16).ok();
        let bytes: Option<Vec<u8>> = legal.then(|| (0..even.len()).step_by(2).map(pair).collect()).flatten();
        bytes.map(|bytes| Self::from_der(&bytes)).ok_or_else(|| SerialError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
