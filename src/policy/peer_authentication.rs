//! Istio `PeerAuthentication` (`security.istio.io` `v1`, `v1beta1`): what a workload's ports accept.

use std::collections::BTreeMap;

use super::{LabelSelector, Located};

/// `mtls.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MtlsMode {
    /// Inherit from the next wider scope.
    #[default]
    Unset,
    /// Plaintext only.
    Disable,
    /// Plaintext and mutual TLS.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

/// The spec of a `PeerAuthentication`.
#[derive(Clone, Debug, Default)]
pub struct PeerAuthentication {
    /// `selector.matchLabels`; `None` is the whole namespace (or the mesh, in the root namespace).
    pub selector: Option<LabelSelector>,
    /// `mtls.mode`.
    pub mode: Option<Located<MtlsMode>>,
    /// `portLevelMtls`, by workload port (1–65535).
    pub port_modes: BTreeMap<u16, Located<MtlsMode>>,
}
