//! What a proxy says of itself that changes its plan. It changes how the workload is served, and never what it may have: that is for the
//! authenticated identity and the operator's policy.

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
    /// Whether it stands at the mesh's edge and serves Gateways, in place of an application.
    pub is_gateway: bool,
    /// Whether it is Istio's build of Envoy, which has filters of its own: it says its `ISTIO_VERSION`.
    pub is_istios: bool,
    /// Whether the roots of one trust domain come to it as they are, and not in Envoy's SPIFFE validator. SPIRE's word for it is
    /// `disable_spiffe_cert_validation`.
    pub plain_roots: bool,
}

impl Node {
    /// A sidecar whose connections are not intercepted.
    pub const PLAIN: Self =
        Self { interception: Interception::None, is_gateway: false, is_istios: false, plain_roots: false };

    /// The metadata that is read, in Istio's words and SPIRE's.
    pub const METADATA: [&str; 3] = ["INTERCEPTION_MODE", "ISTIO_VERSION", "disable_spiffe_cert_validation"];

    /// Reads what a node says. An id that begins with `router~` is a gateway's, as in Istio. Where nothing is said of interception, or
    /// something else, there is none: a proxy that binds the addresses itself works in both cases.
    pub fn of(id: &str, metadata: &BTreeMap<String, String>) -> Self {
        let is_gateway = id.starts_with("router~");
        let interception = match metadata.get(Self::METADATA[0]).map(String::as_str) {
            Some("REDIRECT") if !is_gateway => Interception::Redirect,
            Some("TPROXY") if !is_gateway => Interception::Tproxy,
            _ => Interception::None,
        };
        let is_istios = metadata.get(Self::METADATA[1]).is_some_and(|version| !version.is_empty());
        let plain_roots = metadata.get(Self::METADATA[2]).is_some_and(|value| value == "true");
        Self { interception, is_gateway, is_istios, plain_roots }
    }

    /// Everything that a proxy can say.
    pub fn all() -> impl Iterator<Item = Self> {
        let sidecars = [Interception::None, Interception::Redirect, Interception::Tproxy];
        let sidecars = sidecars.map(|interception| Self { interception, ..Self::PLAIN });
        let all = sidecars.into_iter().chain([Self { is_gateway: true, ..Self::PLAIN }]);
        let all = all.flat_map(|node| [node, Self { is_istios: true, ..node }]);
        all.flat_map(|node| [node, Self { plain_roots: true, ..node }])
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
