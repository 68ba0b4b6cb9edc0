//! Clients that are alike: the same rules govern them, so that what is decided for one holds for all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::mesh::{Mesh, Service, Workload};

/// Workloads of one namespace that no DestinationRule and no annotation tells apart.
pub(super) struct Clients<'m> {
    /// By the Sidecar that governs them: it decides what they reach, not how.
    by_reach: Vec<(Vec<&'m Workload>, Vec<&'m Arc<Service>>)>,
}

impl<'m> Clients<'m> {
    /// Every workload with a proxy of which `wanted` is true, in groups. The groups are ordered by their first workload.
    pub(super) fn of(mesh: &'m Mesh, wanted: impl Fn(&Workload) -> bool) -> Vec<Self> {
        let mut groups: BTreeMap<_, BTreeMap<_, Vec<&Workload>>> = BTreeMap::new();
        for workload in mesh.workloads().filter(|workload| workload.meshed && wanted(workload)) {
            let sidecar = workload.sidecar().map(|it| (it.meta.namespace.as_str(), it.meta.name.as_str()));
            let group =
                groups.entry((&workload.key.namespace, mesh.client_labels(workload), workload.skipped_outbound()));
            let group = group.or_default();
            group.entry(sidecar).or_default().push(workload);
        }
        let mut groups: Vec<Self> = groups
            .into_values()
            .map(|by_sidecar| {
                let alike = by_sidecar.into_values();
                Self { by_reach: alike.map(|alike| (alike.clone(), mesh.reachable_from(alike[0]))).collect() }
            })
            .collect();
        groups.sort_by(|a, b| a.any().key.cmp(&b.any().key));
        groups
    }

    /// One of them, for all.
    pub(super) fn any(&self) -> &'m Workload {
        self.by_reach[0].0[0]
    }

    /// The services that any of them reaches, ordered by host, and the workloads that do.
    pub(super) fn reach(&self) -> Vec<(&'m Service, Vec<&'m Workload>)> {
        let mut clients: HashMap<*const Service, Vec<&'m Workload>> = HashMap::new();
        let mut services: Vec<&'m Service> = Vec::new();
        for (workloads, reached) in &self.by_reach {
            for &service in reached {
                let clients = clients.entry(Arc::as_ptr(service)).or_insert_with(|| {
                    services.push(service.as_ref());
                    Vec::new()
                });
                clients.extend(workloads.iter().copied());
            }
        }
        services.sort_by(|a, b| (&a.host, &a.namespace).cmp(&(&b.host, &b.namespace)));
        let with_clients = services.into_iter().map(|service| {
            let mut clients = clients.remove(&std::ptr::from_ref(service)).unwrap_or_default();
            clients.sort_by(|a, b| a.key.cmp(&b.key));
            (service, clients)
        });
        with_clients.collect()
    }
}
