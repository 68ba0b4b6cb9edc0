//! What a proxy says of itself that changes its plan. It changes how the workload is served, and never what it may have.

use std::collections::BTreeMap;

use crate::mesh::CaptureMode;

/// How connections come to a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interception {
    /// Whoever connects knows the address of a listener.
    #[default]
    None,
    /// By iptables `REDIRECT`: the kernel knows where a connection was going.
    Redirect,
    /// By iptables `TPROXY`: connections keep both of their addresses.
    Tproxy,
}

/// One proxy, as far as it says itself what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Istio's `INTERCEPTION_MODE`.
    pub interception: Interception,
}

impl Node {
    /// The metadata that is read, in Istio's words.
    pub const METADATA: [&str; 1] = ["INTERCEPTION_MODE"];

    /// Reads a node's metadata. Where it says nothing, or something else, connections are not taken to be intercepted: a proxy that
    /// binds the addresses itself works in both cases.
    pub fn of(metadata: &BTreeMap<String, String>) -> Self {
        let interception = match metadata.get(Self::METADATA[0]).map(String::as_str) {
            Some("REDIRECT") => Interception::Redirect,
            Some("TPROXY") => Interception::Tproxy,
            _ => Interception::None,
        };
        Self { interception }
    }

    /// Everything that a proxy can say.
    pub fn all() -> impl Iterator<Item = Self> {
        [Interception::None, Interception::Redirect, Interception::Tproxy]
            .into_iter()
            .map(|interception| Self { interception })
    }

    /// Whether connections are intercepted.
    pub fn is_intercepted(self) -> bool {
        self.interception != Interception::None
    }

    /// Whether the proxy's listeners take connections with foreign addresses.
    pub(super) fn is_transparent(self) -> bool {
        self.interception == Interception::Tproxy
    }

    /// Whether connections come to a listener by interception.
    pub(super) fn captures(self, mode: CaptureMode) -> bool {
        self.is_intercepted() && mode != CaptureMode::None
    }
}
