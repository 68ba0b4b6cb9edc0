//! Everything the operator wrote, by kind.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::kind::Kind;
use super::{
    AuthorizationPolicy, Certificate, ClusterFederatedTrustDomain, ClusterSpiffeId, ClusterStaticEntry,
    DestinationRule, EndpointSlice, Gateway, Issuer, MeshConfig, Namespace, Objects, PeerAuthentication, Pod,
    PolicyError, ReferenceGrant, Secret, Service, ServiceEntry, Sidecar, SpireServer, VirtualService, WorkloadEntry,
    WorkloadGroup, linkerd,
};

/// Makes the set, and what is done with all of it, from one line a kind: its field, what is in it, and where names are used once.
macro_rules! policy_set {
    ($($(#[$doc:meta])* $field:ident: $spec:ty, $kind:ident;)+) => {
        /// A whole, valid policy set. A set is replaced by the next one, never edited; the next one shares what stands in files that
        /// did not change.
        #[derive(Clone, Debug, Default)]
        pub struct PolicySet {
            $($(#[$doc])* pub $field: Objects<$spec>,)+
        }

        impl PolicySet {
            /// How many objects there are.
            pub fn len(&self) -> usize {
                0 $(+ self.$field.len())+
            }

            /// Takes what stands in these files over from the set before.
            pub(super) fn take_over(&mut self, before: &Self, files: &BTreeSet<Arc<str>>) {
                $(self.$field.take_over(&before.$field, files);)+
            }

            /// Puts every kind in its order, and tells what is there twice.
            pub(super) fn sort(&mut self, errors: &mut Vec<PolicyError>) {
                $(self.$field.sort(Kind::$kind, errors);)+
            }
        }
    };
}

policy_set! {
    /// Istio `PeerAuthentication`s.
    peer_authentications: PeerAuthentication, PeerAuthentication;
    /// Istio `AuthorizationPolicy`s.
    authorization_policies: AuthorizationPolicy, AuthorizationPolicy;
    /// Istio `DestinationRule`s.
    destination_rules: DestinationRule, DestinationRule;
    /// Istio `ServiceEntry`s.
    service_entries: ServiceEntry, ServiceEntry;
    /// Istio `WorkloadEntry`s.
    workload_entries: WorkloadEntry, WorkloadEntry;
    /// Istio `WorkloadGroup`s.
    workload_groups: WorkloadGroup, WorkloadGroup;
    /// `v1` `Pod`s.
    pods: Pod, Pod;
    /// `discovery.k8s.io` `EndpointSlice`s.
    endpoint_slices: EndpointSlice, EndpointSlice;
    /// `v1` `Endpoints`, as slices.
    endpoints: Vec<EndpointSlice>, Endpoints;
    /// Istio `Sidecar`s.
    sidecars: Sidecar, Sidecar;
    /// Istio `Gateway`s.
    gateways: Gateway, Gateway;
    /// Istio `VirtualService`s.
    virtual_services: VirtualService, VirtualService;
    /// `v1` `Service`s.
    services: Service, Service;
    /// Istio's MeshConfig, from ConfigMaps named `istio`. That of the root namespace counts.
    mesh_configs: MeshConfig, ConfigMap;
    /// `v1` `Secret`s.
    secrets: Secret, Secret;
    /// `v1` `Namespace`s.
    namespaces: Namespace, Namespace;
    /// SPIRE's `server.conf`, from ConfigMaps named `spire-server`.
    spire_servers: SpireServer, ConfigMap;
    /// Linkerd `Server`s.
    servers: linkerd::Server, Server;
    /// Linkerd `ServerAuthorization`s.
    server_authorizations: linkerd::ServerAuthorization, ServerAuthorization;
    /// Linkerd `AuthorizationPolicy`s.
    linkerd_authorization_policies: linkerd::AuthorizationPolicy, LinkerdAuthorizationPolicy;
    /// Linkerd `MeshTLSAuthentication`s.
    mesh_tls_authentications: linkerd::MeshTlsAuthentication, MeshTlsAuthentication;
    /// Linkerd `NetworkAuthentication`s.
    network_authentications: linkerd::NetworkAuthentication, NetworkAuthentication;
    /// SPIRE's `ClusterStaticEntry`s.
    static_entries: ClusterStaticEntry, ClusterStaticEntry;
    /// SPIRE's `ClusterSPIFFEID`s.
    cluster_spiffe_ids: ClusterSpiffeId, ClusterSpiffeId;
    /// SPIRE's `ClusterFederatedTrustDomain`s.
    federated_trust_domains: ClusterFederatedTrustDomain, ClusterFederatedTrustDomain;
    /// cert-manager `Issuer`s.
    issuers: Issuer, Issuer;
    /// cert-manager `ClusterIssuer`s.
    cluster_issuers: Issuer, ClusterIssuer;
    /// cert-manager `Certificate`s.
    certificates: Certificate, Certificate;
    /// `ReferenceGrant`s of the Gateway API.
    reference_grants: ReferenceGrant, ReferenceGrant;
}

impl PolicySet {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
