//! Which path is which method.

use super::ResourceType;
use super::scope::Scope;

/// How a method exchanges messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// State of the world: `Stream…`.
    Sotw,
    /// Incremental: `Delta…`.
    Delta,
    /// One state-of-the-world request and its answer: `Fetch…`.
    Fetch,
}

/// A method that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) variant: Variant,
    pub(super) scope: Scope,
}

const fn method(variant: Variant, scope: Scope) -> Method {
    Method { variant, scope }
}

/// Every method. `AggregatedDiscoveryService` has no `Fetch`.
const METHODS: [(&str, Method); 17] = {
    use ResourceType::{Cluster, Endpoint, Listener, Route, Secret};
    use Scope::{Aggregated, Only};
    use Variant::{Delta, Fetch, Sotw};
    [
        ("/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", method(Delta, Aggregated)),
        ("/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", method(Sotw, Aggregated)),
        ("/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets", method(Delta, Only(Secret))),
        ("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", method(Sotw, Only(Secret))),
        ("/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets", method(Fetch, Only(Secret))),
        ("/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters", method(Delta, Only(Cluster))),
        ("/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters", method(Sotw, Only(Cluster))),
        ("/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters", method(Fetch, Only(Cluster))),
        ("/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners", method(Delta, Only(Listener))),
        ("/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners", method(Sotw, Only(Listener))),
        ("/envoy.service.listener.v3.ListenerDiscoveryService/FetchListeners", method(Fetch, Only(Listener))),
        ("/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints", method(Delta, Only(Endpoint))),
        ("/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints", method(Sotw, Only(Endpoint))),
        ("/envoy.service.endpoint.v3.EndpointDiscoveryService/FetchEndpoints", method(Fetch, Only(Endpoint))),
        ("/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes", method(Delta, Only(Route))),
        ("/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes", method(Sotw, Only(Route))),
        ("/envoy.service.route.v3.RouteDiscoveryService/FetchRoutes", method(Fetch, Only(Route))),
    ]
};

impl Method {
    /// The method at this path. Compared byte for byte: what only looks like a path of ours after some clean-up is none.
    pub(super) fn at(path: &str) -> Option<Self> {
        METHODS.iter().find(|(known, _)| *known == path).map(|(_, method)| *method)
    }
}

/// The full names of the discovery services.
pub(super) fn services() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    METHODS.iter().filter_map(move |(path, _)| {
        let service = path[1..].split('/').next().unwrap_or_default();
        (std::mem::replace(&mut last, service) != service).then_some(service)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_11_only_the_exact_path_is_a_method() {
        let path = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";
        assert_eq!(Method::at(path), Some(method(Variant::Sotw, Scope::Only(ResourceType::Secret))));
        for odd in [
            "/envoy.service.secret.v3.SecretDiscoveryService//StreamSecrets",
            "//envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
            "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets/",
            "/envoy.service.secret.v3.SecretDiscoveryService/./StreamSecrets",
            "/x/../envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
            "/envoy.service.secret.v3.SecretDiscoveryService/streamsecrets",
            "/envoy.service.secret.v3.SecretDiscoveryService/Stream%53ecrets",
            "/envoy.service.secret.v3.SecretDiscoveryService%2FStreamSecrets",
            "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets;a=b",
            "envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
            "/envoy.service.secret.v2.SecretDiscoveryService/StreamSecrets",
            "/",
            "",
            "*",
        ] {
            assert_eq!(Method::at(odd), None, "{odd}");
        }
    }

    #[test]
    fn six_services_are_served() {
        let names: Vec<_> = services().map(|name| name.rsplit('.').next().unwrap_or_default()).collect();
        assert_eq!(
            names,
            [
                "AggregatedDiscoveryService",
                "SecretDiscoveryService",
                "ClusterDiscoveryService",
                "ListenerDiscoveryService",
                "EndpointDiscoveryService",
                "RouteDiscoveryService"
            ]
        );
    }
}
