//! One resource, encoded once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint};
use sha2::{Digest, Sha256};

/// The resource types that are served, in the order in which a change is sent on an aggregated stream (make before break).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster`.
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Endpoint,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`.
    Secret,
    /// `envoy.config.listener.v3.Listener`.
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`.
    Route,
}

impl ResourceType {
    /// Every type, in sending order.
    pub const ALL: [Self; 5] = [Self::Cluster, Self::Endpoint, Self::Secret, Self::Listener, Self::Route];

    /// The type URL, as it stands in requests, responses and `Any`s.
    pub const fn url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type with this URL, if it is one that is served.
    pub fn from_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.url() == url)
    }

    /// The short name operators know: `CDS`, `EDS`, `SDS`, `LDS`, `RDS`.
    pub const fn short(self) -> &'static str {
        match self {
            Self::Cluster => "CDS",
            Self::Endpoint => "EDS",
            Self::Secret => "SDS",
            Self::Listener => "LDS",
            Self::Route => "RDS",
        }
    }

    /// Whether a state-of-the-world response must list everything, so that absence means deletion (CDS and LDS). The same
    /// types have a wildcard subscription.
    pub const fn is_full_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// The version of a resource or of a set of them: 128 bits of a SHA-256 over the content, so that it is the same on every
/// replica and after a restart. On the wire it is 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u128);

impl Version {
    /// The version of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(content))
    }

    /// The version of a set of named versions. The order of the iteration counts, so it must be a fixed one.
    pub fn of_set<'a>(members: impl Iterator<Item = (&'a str, Version)>) -> Self {
        let mut hash = Sha256::new();
        for (name, version) in members {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update(version.0.to_le_bytes());
        }
        Self::finish(hash)
    }

    /// The version written by [`Display`](fmt::Display), or `None` where the text is no version of ours.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() == 32 { u128::from_str_radix(text, 16).ok().map(Self) } else { None }
    }

    fn finish(hash: Sha256) -> Self {
        let digest = hash.finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(half))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0 >> 96)
    }
}

/// Writes a message in other bytes that mean the same; applied again, in others still. `None` where it cannot.
pub type Restate = fn(&[u8]) -> Option<Vec<u8>>;

/// A resource: its name, its version, and the bytes of the `google.protobuf.Any` that carries it. Shared by every stream that
/// sends it; never decoded or encoded again.
pub struct Resource {
    ty: ResourceType,
    name: Arc<str>,
    version: Version,
    any: Bytes,
    value: usize,
    ttl: Option<Duration>,
    serial: Option<Arc<str>>,
    restate: Option<Restate>,
    alone: bool,
}

impl Resource {
    /// Wraps `value`, the encoded message of type `ty`, into its `Any` and derives the version from its content.
    pub fn new(ty: ResourceType, name: impl Into<Arc<str>>, value: &[u8]) -> Self {
        let any = any(ty.url(), value);
        let start = any.len() - value.len();
        let (name, version) = (name.into(), Version::of(value));
        Self { ty, name, version, any, value: start, ttl: None, serial: None, restate: None, alone: false }
    }

    /// The client drops the resource this long after it last heard of it; heartbeats keep it alive. That is a part of its version: a client
    /// that has the same content for another time, from a server that was configured otherwise, is sent it again.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.version = Version::of_set(std::iter::once((format!("{ttl:?}").as_str(), self.version)));
        self.ttl = Some(ttl);
        self
    }

    /// The serial number of the certificate in it, for the fleet's books.
    pub fn with_serial(mut self, serial: impl Into<Arc<str>>) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// How to say the same in other bytes. A secret that can be restated may share a response with others: when the response
    /// is refused, each is tried once more, alone and in other bytes, and the bad one is found. One that cannot travels alone.
    pub fn restated_by(mut self, restate: Restate) -> Self {
        self.restate = Some(restate);
        self
    }

    /// It never shares a response with others, because it may well be bad.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// The resource's type.
    pub fn ty(&self) -> ResourceType {
        self.ty
    }

    /// The resource's name, unique within its type.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The version: a hash of the content.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The encoded `google.protobuf.Any`.
    pub fn any(&self) -> &Bytes {
        &self.any
    }

    /// How long a client keeps it without hearing of it; `None` for ever.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// The serial number of the certificate in it, where there is one.
    pub fn serial(&self) -> Option<&Arc<str>> {
        self.serial.as_ref()
    }

    pub(super) fn can_be_restated(&self) -> bool {
        self.restate.is_some()
    }

    /// Whether it never shares a response. Envoy stops at the first bad secret of a response without saying which, and takes
    /// the same bytes without effect when they come again, so a secret that cannot be said otherwise must come alone.
    pub(super) fn travels_alone(&self) -> bool {
        self.alone || (self.ty == ResourceType::Secret && self.restate.is_none())
    }

    /// The same in other bytes, as an `Any`, restated so many times; the same bytes where there are no others.
    pub(super) fn restated(&self, times: u32) -> Bytes {
        let again = |value: Vec<u8>| self.restate.and_then(|restate| restate(&value));
        let other = (0..times).try_fold(self.any[self.value..].to_vec(), |value, _| again(value));
        other.map_or_else(|| self.any.clone(), |value| any(self.ty.url(), &value))
    }
}

fn any(url: &str, value: &[u8]) -> Bytes {
    let mut any = BytesMut::with_capacity(value.len() + url.len() + 12);
    encode_key(1, WireType::LengthDelimited, &mut any);
    encode_varint(url.len() as u64, &mut any);
    any.put_slice(url.as_bytes());
    encode_key(2, WireType::LengthDelimited, &mut any);
    encode_varint(value.len() as u64, &mut any);
    any.put_slice(value);
    any.freeze()
}

impl fmt::Debug for Resource {
    // A secret's bytes are key material, so no resource shows its bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:?} ({} bytes)", self.name, self.version, self.any.len())
    }
}
