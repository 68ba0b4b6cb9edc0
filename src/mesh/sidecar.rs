//! A Sidecar's `egress[].hosts`: which services its workloads may reach.

use std::sync::Arc;

use super::{Mesh, Service, SidecarEgress, Workload};

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
