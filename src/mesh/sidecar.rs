//! A Sidecar's `egress[].hosts`: which services its workloads may reach.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Mesh, Service, SidecarEgress, Topic, Warning, Workload, decide};
use crate::policy::Metadata;

/// Of TLS that a Sidecar asks for on a port whose mTLS mode is not DISABLE: the mesh's own counts there, as in Istio, which does not say so.
pub(super) fn warn_of_tls_without_effect(workloads: &[Arc<Workload>], warnings: &mut Vec<Warning>) {
    let mut told = BTreeSet::new();
    for workload in workloads.iter().filter(|workload| workload.meshed) {
        let Some(sidecar) = workload.sidecar() else { continue };
        for listener in &sidecar.spec.ingress {
            let Some(tls) = &listener.tls else { continue };
            let port = listener.port.value;
            let (mode, place) = decide::mode_and_place(workload, port);
            if mode == decide::InboundMode::Disable || !told.insert(&tls.at) {
                continue;
            }
            let Metadata { namespace, name, .. } = &sidecar.meta;
            let place = place.map(|at| format!(" ({at})")).unwrap_or_default();
            let message = format!(
                "Sidecar {namespace}/{name}: tls of port {port} has no effect on {}, whose port is {mode}{place}: the mesh's TLS \
                 counts; make the port DISABLE in portLevelMtls, or leave tls out",
                workload.key
            );
            warnings.push(Warning::new(Topic::NoEffect, &tls.at, message));
        }
    }
}

impl Mesh {
    /// The services that `client` may reach, one a host: those visible to its namespace that any egress listener of its Sidecar lists.
    /// Without listeners: all that are visible.
    pub fn reachable_from(&self, client: &Workload) -> Vec<&Arc<Service>> {
        let namespace = &client.key.namespace;
        let egress = client.sidecar().map_or(&[][..], |sidecar| &sidecar.spec.egress);
        let filters: Vec<_> = egress.iter().map(|egress| HostFilter::of(egress, namespace)).collect();
        let mut services = self.visible_to(namespace);
        services.retain(|service| filters.is_empty() || filters.iter().any(|filter| filter.admits(service)));
        services
    }
}

/// The `namespace/dnsName` patterns of one egress listener, read for a client of a certain namespace.
#[derive(Clone, Debug)]
pub struct HostFilter(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    /// `None`: every namespace.
    namespace: Option<String>,
    host: HostPattern,
}

#[derive(Clone, Debug)]
enum HostPattern {
    Any,
    /// `.example.com`, from `*.example.com`.
    Suffix(String),
    Exact(String),
}

impl HostFilter {
    /// Every service.
    pub fn everything() -> Self {
        Self(vec![Pattern { namespace: None, host: HostPattern::Any }])
    }

    /// The services that `egress` lists. `.` is the namespace of `client`; namespace `~` lists nothing.
    pub fn of(egress: &SidecarEgress, client_namespace: &str) -> Self {
        let patterns = egress.hosts.iter().filter_map(|host| {
            let (namespace, dns) = host.value.split_once('/').unwrap_or(("*", &host.value));
            let namespace = match namespace {
                "~" => return None,
                "*" => None,
                "." => Some(client_namespace.to_owned()),
                other => Some(other.to_owned()),
            };
            let dns = dns.to_ascii_lowercase();
            let host = match dns.strip_prefix('*') {
                Some("") => HostPattern::Any,
                Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
                None => HostPattern::Exact(dns),
            };
            Some(Pattern { namespace, host })
        });
        Self(patterns.collect())
    }

    /// Whether `service` is among them.
    pub fn admits(&self, service: &Service) -> bool {
        self.0.iter().any(|pattern| {
            pattern.namespace.as_ref().is_none_or(|namespace| *namespace == service.namespace)
                && match &pattern.host {
                    HostPattern::Any => true,
                    HostPattern::Suffix(suffix) => service.host.ends_with(suffix),
                    HostPattern::Exact(host) => service.host == *host,
                }
        })
    }
}
