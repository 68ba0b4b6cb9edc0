//! What holds for a port that no Server selects (`config.linkerd.io/default-inbound-policy`), or besides the authorizations of one
//! (`accessPolicy`).

use std::fmt;

use serde::Deserialize;

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultPolicy {
    /// Everybody.
    AllUnauthenticated,
    /// Whoever has an identity of the mesh.
    AllAuthenticated,
    /// Everybody with an address of the cluster's networks.
    ClusterUnauthenticated,
    /// Whoever has an identity of the mesh, and an address of the cluster's networks.
    ClusterAuthenticated,
    /// Nobody.
    Deny,
    /// Everybody; Linkerd writes down who was not authorized.
    Audit,
}

impl DefaultPolicy {
    /// Every word, in Linkerd's order.
    pub(super) const WORDS: &[&str] = &[
        "all-unauthenticated",
        "all-authenticated",
        "cluster-unauthenticated",
        "cluster-authenticated",
        "deny",
        "audit",
    ];

    pub(super) fn parse(word: &str) -> Option<Self> {
        const ALL: [DefaultPolicy; 6] = [
            DefaultPolicy::AllUnauthenticated,
            DefaultPolicy::AllAuthenticated,
            DefaultPolicy::ClusterUnauthenticated,
            DefaultPolicy::ClusterAuthenticated,
            DefaultPolicy::Deny,
            DefaultPolicy::Audit,
        ];
        Self::WORDS.iter().zip(ALL).find(|(known, _)| **known == word).map(|(_, policy)| policy)
    }

    /// Whether only the cluster's networks may.
    pub fn is_of_cluster(self) -> bool {
        matches!(self, Self::ClusterUnauthenticated | Self::ClusterAuthenticated)
    }

    /// Whether it takes an identity of the mesh.
    pub fn is_authenticated(self) -> bool {
        matches!(self, Self::AllAuthenticated | Self::ClusterAuthenticated)
    }
}

impl fmt::Display for DefaultPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllUnauthenticated => "all-unauthenticated",
            Self::AllAuthenticated => "all-authenticated",
            Self::ClusterUnauthenticated => "cluster-unauthenticated",
            Self::ClusterAuthenticated => "cluster-authenticated",
            Self::Deny => "deny",
            Self::Audit => "audit",
        })
    }
}
