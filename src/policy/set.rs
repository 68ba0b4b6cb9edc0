//! Everything the operator wrote, by kind.

use super::{
    AuthorizationPolicy, DestinationRule, EndpointSlice, Gateway, MeshConfig, Namespace, Object, PeerAuthentication,
    Pod, Secret, Service, ServiceEntry, Sidecar, VirtualService, WorkloadEntry, WorkloadGroup, linkerd,
};

/// A whole, valid policy set. A set is replaced by the next one, never edited.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// Istio `PeerAuthentication`s.
    pub peer_authentications: Vec<Object<PeerAuthentication>>,
    /// Istio `AuthorizationPolicy`s.
    pub authorization_policies: Vec<Object<AuthorizationPolicy>>,
    /// Istio `DestinationRule`s.
    pub destination_rules: Vec<Object<DestinationRule>>,
    /// Istio `ServiceEntry`s.
    pub service_entries: Vec<Object<ServiceEntry>>,
    /// Istio `WorkloadEntry`s.
    pub workload_entries: Vec<Object<WorkloadEntry>>,
    /// Istio `WorkloadGroup`s.
    pub workload_groups: Vec<Object<WorkloadGroup>>,
    /// `v1` `Pod`s.
    pub pods: Vec<Object<Pod>>,
    /// `discovery.k8s.io` `EndpointSlice`s.
    pub endpoint_slices: Vec<Object<EndpointSlice>>,
    /// `v1` `Endpoints`, as slices.
    pub endpoints: Vec<Object<Vec<EndpointSlice>>>,
    /// Istio `Sidecar`s.
    pub sidecars: Vec<Object<Sidecar>>,
    /// Istio `Gateway`s.
    pub gateways: Vec<Object<Gateway>>,
    /// Istio `VirtualService`s.
    pub virtual_services: Vec<Object<VirtualService>>,
    /// `v1` `Service`s.
    pub services: Vec<Object<Service>>,
    /// Istio's MeshConfig, from ConfigMaps named `istio`. That of the root namespace counts.
    pub mesh_configs: Vec<Object<MeshConfig>>,
    /// `v1` `Secret`s.
    pub secrets: Vec<Object<Secret>>,
    /// `v1` `Namespace`s.
    pub namespaces: Vec<Object<Namespace>>,
    /// Linkerd `Server`s.
    pub servers: Vec<Object<linkerd::Server>>,
    /// Linkerd `ServerAuthorization`s.
    pub server_authorizations: Vec<Object<linkerd::ServerAuthorization>>,
    /// Linkerd `AuthorizationPolicy`s.
    pub linkerd_authorization_policies: Vec<Object<linkerd::AuthorizationPolicy>>,
    /// Linkerd `MeshTLSAuthentication`s.
    pub mesh_tls_authentications: Vec<Object<linkerd::MeshTlsAuthentication>>,
    /// Linkerd `NetworkAuthentication`s.
    pub network_authentications: Vec<Object<linkerd::NetworkAuthentication>>,
}

impl PolicySet {
    /// How many objects there are.
    pub fn len(&self) -> usize {
        let Self {
            peer_authentications,
            authorization_policies,
            destination_rules,
            service_entries,
            workload_entries,
            workload_groups,
            pods,
            endpoint_slices,
            endpoints,
            sidecars,
            gateways,
            virtual_services,
            services,
            mesh_configs,
            secrets,
            namespaces,
            servers,
            server_authorizations,
            linkerd_authorization_policies,
            mesh_tls_authentications,
            network_authentications,
        } = self;
        peer_authentications.len()
            + authorization_policies.len()
            + destination_rules.len()
            + service_entries.len()
            + workload_entries.len()
            + workload_groups.len()
            + pods.len()
            + endpoint_slices.len()
            + endpoints.len()
            + sidecars.len()
            + gateways.len()
            + virtual_services.len()
            + services.len()
            + mesh_configs.len()
            + secrets.len()
            + namespaces.len()
            + servers.len()
            + server_authorizations.len()
            + linkerd_authorization_policies.len()
            + mesh_tls_authentications.len()
            + network_authentications.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
