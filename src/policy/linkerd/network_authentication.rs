//! Linkerd `NetworkAuthentication` (`policy.linkerd.io/v1alpha1`): a set of networks.

use serde::Deserialize;

use super::super::Located;
use super::super::report::Report;
use super::network::{self, ClientNetwork, RawNetwork};

/// The spec of a `NetworkAuthentication`: a client has an address in one of these networks.
#[derive(Clone, Debug, Default)]
pub struct NetworkAuthentication {
    /// `networks`.
    pub networks: Vec<ClientNetwork>,
}

#[derive(Deserialize)]
pub(in super::super) struct Raw {
    networks: Located<Vec<Located<RawNetwork>>>,
}

/// Checks an authentication as Linkerd's webhook does.
pub(in super::super) fn check(raw: Raw, report: &Report) -> NetworkAuthentication {
    if raw.networks.value.is_empty() {
        report.error(&raw.networks.at, "spec.networks", "the list is empty: it names nobody");
    }
    NetworkAuthentication { networks: network::check(raw.networks.value, "spec.networks", report) }
}
