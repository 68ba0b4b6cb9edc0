//! Istio `PeerAuthentication` (`security.istio.io` `v1`, `v1beta1`): what a workload's ports accept.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fields::{Entries, optional_selector};
use super::report::Report;
use super::{LabelSelector, Located};

/// `mtls.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
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

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Raw {
    selector: Option<RawSelector>,
    mtls: RawMtls,
    port_level_mtls: Option<Located<Entries<Option<RawMtls>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSelector {
    #[serde(default)]
    match_labels: Option<Located<Entries<Located<String>>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMtls {
    mode: Option<Located<MtlsMode>>,
}

/// Checks what Istio's own validation checks, so that a policy that Istio would refuse is refused here too.
pub(super) fn check(raw: Raw, report: &Report) -> PeerAuthentication {
    let labels = raw.selector.and_then(|selector| selector.match_labels);
    let selector = optional_selector(labels, "spec.selector.matchLabels", report);
    let mut port_modes = BTreeMap::new();
    if let Some(Located { value: ports, at }) = raw.port_level_mtls {
        let field = "spec.portLevelMtls";
        if ports.0.is_empty() {
            report.error_with_help(&at, field, "no port is listed", "remove the field");
        } else if selector.is_none() {
            let help = "add spec.selector.matchLabels, or set the mode for all ports in spec.mtls";
            report.error_with_help(&at, field, "ports can be set for selected workloads only", help);
        }
        for (port, mtls) in ports.0 {
            let Some(number) = port.value.parse().ok().filter(|number| *number != 0) else {
                let shown: String = port.value.chars().take(20).collect();
                report.error(&port.at, field, format!("{shown:?} is not a port: 1 to 65535"));
                continue;
            };
            let mode = mtls.and_then(|mtls| mtls.mode).unwrap_or(Located::new(MtlsMode::Unset, port.at.clone()));
            if port_modes.insert(number, mode).is_some() {
                report.error(&port.at, field, format!("port {number} is listed twice"));
            }
        }
    }
    PeerAuthentication { selector, mode: raw.mtls.mode, port_modes }
}
