//! Everything the operator wrote, by kind.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::kind::Kind;
use super::{
    AuthorizationPolicy, DestinationRule, EndpointSlice, Gateway, MeshConfig, Namespace, Objects, PeerAuthentication,
    Pod, PolicyError, Secret, Service, ServiceEntry, Sidecar, VirtualService, WorkloadEntry, WorkloadGroup,
};

/// A whole, valid policy set. A set is replaced by the next one, never edited; the next one shares what stands in files that did not change.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// Istio `PeerAuthentication`s.
    pub peer_authentications: Objects<PeerAuthentication>,
    /// Istio `AuthorizationPolicy`s.
    pub authorization_policies: Objects<AuthorizationPolicy>,
    /// Istio `DestinationRule`s.
    pub destination_rules: Objects<DestinationRule>,
    /// Istio `ServiceEntry`s.
    pub service_entries: Objects<ServiceEntry>,
    /// Istio `WorkloadEntry`s.
    pub workload_entries: Objects<WorkloadEntry>,
    /// Istio `WorkloadGroup`s.
    pub workload_groups: Objects<WorkloadGroup>,
    /// `v1` `Pod`s.
    pub pods: Objects<Pod>,
    /// `discovery.k8s.io` `EndpointSlice`s.
    pub endpoint_slices: Objects<EndpointSlice>,
    /// `v1` `Endpoints`, as slices.
    pub endpoints: Objects<Vec<EndpointSlice>>,
    /// Istio `Sidecar`s.
    pub sidecars: Objects<Sidecar>,
    /// Istio `Gateway`s.
    pub gateways: Objects<Gateway>,
    /// Istio `VirtualService`s.
    pub virtual_services: Objects<VirtualService>,
    /// `v1` `Service`s.
    pub services: Objects<Service>,
    /// Istio's MeshConfig, from ConfigMaps named `istio`. That of the root namespace counts.
    pub mesh_configs: Objects<MeshConfig>,
    /// `v1` `Secret`s.
    pub secrets: Objects<Secret>,
    /// `v1` `Namespace`s.
    pub namespaces: Objects<Namespace>,
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
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what stands in these files over from the set before.
    pub(super) fn take_over(&mut self, before: &Self, files: &BTreeSet<Arc<str>>) {
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
        } = before;
        self.peer_authentications.take_over(peer_authentications, files);
        self.authorization_policies.take_over(authorization_policies, files);
        self.destination_rules.take_over(destination_rules, files);
        self.service_entries.take_over(service_entries, files);
        self.workload_entries.take_over(workload_entries, files);
        self.workload_groups.take_over(workload_groups, files);
        self.pods.take_over(pods, files);
        self.endpoint_slices.take_over(endpoint_slices, files);
        self.endpoints.take_over(endpoints, files);
        self.sidecars.take_over(sidecars, files);
        self.gateways.take_over(gateways, files);
        self.virtual_services.take_over(virtual_services, files);
        self.services.take_over(services, files);
        self.mesh_configs.take_over(mesh_configs, files);
        self.secrets.take_over(secrets, files);
        self.namespaces.take_over(namespaces, files);
    }

    /// Puts every kind in its order, and tells what is there twice.
    pub(super) fn sort(&mut self, errors: &mut Vec<PolicyError>) {
        self.peer_authentications.sort(Kind::PeerAuthentication, errors);
        self.authorization_policies.sort(Kind::AuthorizationPolicy, errors);
        self.destination_rules.sort(Kind::DestinationRule, errors);
        self.service_entries.sort(Kind::ServiceEntry, errors);
        self.workload_entries.sort(Kind::WorkloadEntry, errors);
        self.workload_groups.sort(Kind::WorkloadGroup, errors);
        self.pods.sort(Kind::Pod, errors);
        self.endpoint_slices.sort(Kind::EndpointSlice, errors);
        self.endpoints.sort(Kind::Endpoints, errors);
        self.sidecars.sort(Kind::Sidecar, errors);
        self.gateways.sort(Kind::Gateway, errors);
        self.virtual_services.sort(Kind::VirtualService, errors);
        self.services.sort(Kind::Service, errors);
        self.mesh_configs.sort(Kind::ConfigMap, errors);
        self.secrets.sort(Kind::Secret, errors);
        self.namespaces.sort(Kind::Namespace, errors);
    }
}
