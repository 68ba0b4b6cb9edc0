//! Which kinds there are, and in which API versions.

use super::nearest;

/// A kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    PeerAuthentication,
    AuthorizationPolicy,
    DestinationRule,
    ServiceEntry,
    WorkloadEntry,
    WorkloadGroup,
    Pod,
    EndpointSlice,
    Endpoints,
    Sidecar,
    Gateway,
    VirtualService,
    Service,
    ConfigMap,
    Secret,
    Namespace,
    Server,
    ServerAuthorization,
    LinkerdAuthorizationPolicy,
    MeshTlsAuthentication,
    NetworkAuthentication,
    ClusterStaticEntry,
    ClusterSpiffeId,
    ClusterFederatedTrustDomain,
    Issuer,
    ClusterIssuer,
    Certificate,
    ReferenceGrant,
}

const SECURITY: &[&str] = &["security.istio.io/v1", "security.istio.io/v1beta1"];
const NETWORKING: &[&str] = &["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];
const DISCOVERY: &[&str] = &["discovery.k8s.io/v1"];
const CORE: &[&str] = &["v1"];
const LINKERD_SERVER: &[&str] =
    &["policy.linkerd.io/v1beta3", "policy.linkerd.io/v1beta2", "policy.linkerd.io/v1beta1"];
const LINKERD_BETA: &[&str] = &["policy.linkerd.io/v1beta1"];
const LINKERD_ALPHA: &[&str] = &["policy.linkerd.io/v1alpha1"];
const SPIRE: &[&str] = &["spire.spiffe.io/v1alpha1"];
const CERT_MANAGER: &[&str] = &["cert-manager.io/v1"];
const GATEWAY_API: &[&str] = &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"];

const KINDS: &[(&str, Kind, &[&str])] = &[
    ("PeerAuthentication", Kind::PeerAuthentication, SECURITY),
    ("AuthorizationPolicy", Kind::AuthorizationPolicy, SECURITY),
    ("DestinationRule", Kind::DestinationRule, NETWORKING),
    ("ServiceEntry", Kind::ServiceEntry, NETWORKING),
    ("WorkloadEntry", Kind::WorkloadEntry, NETWORKING),
    ("WorkloadGroup", Kind::WorkloadGroup, NETWORKING),
    ("Pod", Kind::Pod, CORE),
    ("EndpointSlice", Kind::EndpointSlice, DISCOVERY),
    ("Endpoints", Kind::Endpoints, CORE),
    ("Sidecar", Kind::Sidecar, NETWORKING),
    ("Gateway", Kind::Gateway, NETWORKING),
    ("VirtualService", Kind::VirtualService, NETWORKING),
    ("Service", Kind::Service, CORE),
    ("ConfigMap", Kind::ConfigMap, CORE),
    ("Secret", Kind::Secret, CORE),
    ("Namespace", Kind::Namespace, CORE),
    ("Server", Kind::Server, LINKERD_SERVER),
    ("ServerAuthorization", Kind::ServerAuthorization, LINKERD_BETA),
    ("AuthorizationPolicy", Kind::LinkerdAuthorizationPolicy, LINKERD_ALPHA),
    ("MeshTLSAuthentication", Kind::MeshTlsAuthentication, LINKERD_ALPHA),
    ("NetworkAuthentication", Kind::NetworkAuthentication, LINKERD_ALPHA),
    ("ClusterStaticEntry", Kind::ClusterStaticEntry, SPIRE),
    ("ClusterSPIFFEID", Kind::ClusterSpiffeId, SPIRE),
    ("ClusterFederatedTrustDomain", Kind::ClusterFederatedTrustDomain, SPIRE),
    ("Issuer", Kind::Issuer, CERT_MANAGER),
    ("ClusterIssuer", Kind::ClusterIssuer, CERT_MANAGER),
    ("Certificate", Kind::Certificate, CERT_MANAGER),
    ("ReferenceGrant", Kind::ReferenceGrant, GATEWAY_API),
];

/// Istio's other kinds in the same groups: real, and not of this server.
const OTHER_ISTIO: &[&str] = &["RequestAuthentication", "EnvoyFilter", "ProxyConfig"];

/// Linkerd's other kinds in its group.
const OTHER_LINKERD: &[&str] = &["HTTPRoute", "HTTPLocalRateLimitPolicy", "EgressNetwork"];
const LINKERD: &str = "policy.linkerd.io";

fn of_linkerd(versions: &[&str]) -> bool {
    versions.iter().all(|version| version.starts_with(LINKERD))
}
/// cert-manager's other kind in its group: what its controllers tell one another.
const OTHER_CERT_MANAGER: &[&str] = &["CertificateRequest"];

/// The groups of Kubernetes' own kinds: what Pods are made from, and what they may do in their cluster.
const OF_CLUSTER: &[&str] = &[
    "v1",
    "apps",
    "batch",
    "autoscaling",
    "policy",
    "rbac.authorization.k8s.io",
    "apiextensions.k8s.io",
    "storage.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
];

/// What an `apiVersion` and `kind` name.
pub(super) enum Found {
    /// A kind that is read.
    Known(Kind),
    /// Something of another project; the message of the warning.
    Unknown(String),
    /// Something of a Kubernetes cluster that decides nothing in a mesh; the message of the note.
    Elsewhere(String),
    /// A mistake: message and help.
    Wrong(String, Option<String>),
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind, _)| *kind == self).map_or("object", |(name, _, _)| name)
    }

    /// Whether its objects are in a namespace.
    pub(super) fn namespaced(self) -> bool {
        let of_cluster = [
            Self::Namespace,
            Self::ClusterStaticEntry,
            Self::ClusterSpiffeId,
            Self::ClusterFederatedTrustDomain,
            Self::ClusterIssuer,
        ];
        !of_cluster.contains(&self)
    }
}

/// Looks up what a document says it is. A kind of ours in a version that does not exist is an error, since ignoring it
/// would leave out a policy; a foreign kind is not.
pub(super) fn find(api_version: &str, kind: &str) -> Found {
    let shown = (shorten(api_version), shorten(kind));
    let group = api_version.split('/').next().unwrap_or_default();
    // Istio and Linkerd have an AuthorizationPolicy each.
    let named: Vec<_> = KINDS.iter().filter(|(name, ..)| *name == kind).collect();
    if let Some((_, found, _)) = named.iter().find(|(.., versions)| versions.contains(&api_version)) {
        return Found::Known(*found);
    }
    if !named.is_empty() {
        let versions: Vec<&str> = named.iter().flat_map(|(.., versions)| versions.iter().copied()).collect();
        // `Service` and `Server` are names that other groups use too (Knative has a Service).
        let is_anothers = named.iter().all(|(.., versions)| match *versions {
            CORE => api_version.contains('/'),
            versions if of_linkerd(versions) => group != LINKERD && nearest::nearest(api_version, versions).is_none(),
            // Others have a Certificate too (Knative), and an Issuer.
            CERT_MANAGER | GATEWAY_API => !versions.iter().any(|version| version.starts_with(&format!("{group}/"))),
            _ => false,
        });
        if is_anothers {
            return Found::Unknown(format!("{} {} is not read", shown.0, shown.1));
        }
        let message = format!("{kind} has no apiVersion {:?}", shown.0);
        return Found::Wrong(message, nearest::hint(api_version, &versions));
    }
    if group == LINKERD && !OTHER_LINKERD.contains(&kind) {
        let names: Vec<&str> = KINDS.iter().filter(|kind| of_linkerd(kind.2)).map(|kind| kind.0).collect();
        return Found::Wrong(format!("{group} has no kind {:?}", shown.1), nearest::hint(kind, &names));
    }
    let ours = match group {
        "security.istio.io" | "networking.istio.io" => !OTHER_ISTIO.contains(&kind),
        "cert-manager.io" => !OTHER_CERT_MANAGER.contains(&kind),
        _ => false,
    };
    if ours {
        let names: Vec<&str> =
            KINDS.iter().filter(|kind| kind.2 != CORE && !of_linkerd(kind.2)).map(|kind| kind.0).collect();
        return Found::Wrong(format!("{group} has no kind {:?}", shown.1), nearest::hint(kind, &names));
    }
    let message = format!("{} {} is not read", shown.0, shown.1);
    if OF_CLUSTER.contains(&group) && kind != "ConfigMap" { Found::Elsewhere(message) } else { Found::Unknown(message) }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
