//! What an AuthorizationPolicy compares with: texts that may begin or end with `*`, and networks.

use std::net::IpAddr;

use serde::Serialize;

/// A text, or the beginning or the end of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// `*`: there is one, whatever it says.
    Present,
    /// Exactly this.
    Exact(String),
    /// What begins so: `abc*`.
    Prefix(String),
    /// What ends so: `*abc`.
    Suffix(String),
}

impl Pattern {
    /// Reads a value as Istio does: one `*`, at the end or at the beginning, is a wildcard, and any other is a character.
    pub fn parse(text: &str) -> Self {
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => Self::Present,
            (Some(rest), _) => Self::Suffix(rest.to_owned()),
            (None, Some(rest)) => Self::Prefix(rest.to_owned()),
            (None, None) => Self::Exact(text.to_owned()),
        }
    }
}

/// Addresses that begin with the same bits (RFC 4632).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// The first bits; the others do not count.
    pub address: IpAddr,
    /// How many bits count.
    pub prefix: u8,
}

impl Network {
    /// `10.0.0.0/8`, or one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse::<IpAddr>().ok()?, Some(prefix.parse::<u8>().ok()?)),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(whole);
        (prefix <= whole).then_some(Self { address, prefix })
    }

    /// Whether every address of `part` is one of these.
    pub(super) fn contains(self, part: Self) -> bool {
        let bits = |network: Self| match network.address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        };
        // A shift by all of the bits is none.
        let first = |bits: u128| bits.checked_shr(128 - u32::from(self.prefix)).unwrap_or_default();
        self.address.is_ipv4() == part.address.is_ipv4()
            && self.prefix <= part.prefix
            && first(bits(self)) == first(bits(part))
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
