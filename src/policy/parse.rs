//! From files to a policy set: every document to its kind, then what can only be seen across documents.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use super::config_map::Source;
use super::decode::decode;
use super::document::{self, Node, Value};
use super::kind::{self, Found, Kind};
use super::object::{RawKubernetesRoot, RawRoot, check_metadata};
use super::report::Report;
use super::{
    Metadata, Namespace, Object, Origin, PolicyError, PolicySet, Topic, Warning, authorization_policy, certificate,
    config_map, destination_rule, endpoint_slice, gateway, issuer, linkerd, peer_authentication, pod, reference_grant,
    secret, service, service_entry, sidecar, spire, virtual_service, workload_entry, workload_group,
};

/// Parses and checks a whole set of files, given as (name for messages, text). The result does not depend on the order of
/// the files: objects are sorted by namespace and name, errors and warnings by place.
///
/// # Errors
/// All errors of all files (within one file at most 100, and none after a syntax error). Never empty.
pub fn parse_set<N, T>(
    documents: impl IntoIterator<Item = (N, T)>,
) -> Result<(PolicySet, Vec<Warning>), Vec<PolicyError>>
where
    N: AsRef<str>,
    T: AsRef<str>,
{
    let documents = documents.into_iter().map(|(name, text)| (name, Some(text)));
    parse_set_after(&PolicySet::default(), &[], documents)
}

/// [`parse_set`] after a good set and its warnings: files without a text are as they were then, and what was read from them is
/// taken over. The result is that of reading them again.
///
/// # Errors
/// Those of [`parse_set`].
pub fn parse_set_after<N, T>(
    before: &PolicySet,
    warned: &[Warning],
    documents: impl IntoIterator<Item = (N, Option<T>)>,
) -> Result<(PolicySet, Vec<Warning>), Vec<PolicyError>>
where
    N: AsRef<str>,
    T: AsRef<str>,
{
    let mut set = PolicySet::default();
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let mut unchanged = BTreeSet::new();
    for (name, text) in documents {
        let file: Arc<str> = name.as_ref().into();
        let Some(text) = text else {
            unchanged.insert(file);
            continue;
        };
        let report = Report::new(Arc::clone(&file));
        match document::parse(&file, text.as_ref()) {
            Ok(roots) => {
                let source = Source::new(text.as_ref());
                roots.iter().for_each(|root| document_into(root, &source, &mut set, &report));
            }
            Err(error) => report.push(error),
        }
        let (file_errors, file_warnings) = report.into_parts();
        errors.extend(file_errors);
        warnings.extend(file_warnings);
    }
    if !unchanged.is_empty() {
        set.take_over(before, &unchanged);
    }
    warnings.extend(warned.iter().filter(|warning| unchanged.contains(&warning.at.file)).cloned());
    set.sort(&mut errors);
    if !errors.is_empty() {
        errors.sort_by(|a, b| a.at.cmp(&b.at));
        return Err(errors);
    }
    warnings.sort();
    warnings.dedup();
    Ok((set, warnings))
}

fn document_into(root: &Node, source: &Source<'_>, set: &mut PolicySet, report: &Report) {
    let at = report.origin(root.at);
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("the document is {}, expected an object with apiVersion and kind", root.value.describe());
        return report.error(&at, "", message);
    }
    let (Some(api_version), Some(kind)) = (word(root, "apiVersion", report), word(root, "kind", report)) else {
        return;
    };
    if kind == "List" && api_version == "v1" {
        match root.get("items").map(|items| &items.value) {
            Some(Value::Seq(items)) => items.iter().for_each(|item| document_into(item, source, set, report)),
            Some(Value::Null) | None => {}
            Some(other) => report.error(&at, "items", format!("found {}, expected a list", other.describe())),
        }
        return;
    }
    match kind::find(api_version, kind) {
        Found::Known(Kind::ConfigMap) if !config_map::is_istios(root) && !spire::is_server_conf(root) => {
            report.warn(&at, format!("{api_version} {kind} is not read"));
        }
        Found::Known(kind) => object_into(kind, root, source, set, report),
        Found::Unknown(message) => report.warn(&at, message),
        Found::Elsewhere(message) => report.warn_of(Topic::Elsewhere, &at, message),
        Found::Wrong(message, help) => report.push(PolicyError { at, field: String::new(), message, help }),
    }
}

fn word<'n>(root: &'n Node, key: &str, report: &Report) -> Option<&'n str> {
    match root.get(key) {
        Some(node) => {
            let text = node.as_str();
            if text.is_none() {
                let message = format!("found {}, expected a string", node.value.describe());
                report.error(&report.origin(node.at), key, message);
            }
            text
        }
        None => {
            report.error(&report.origin(root.at), "", format!("the field {key:?} is missing"));
            None
        }
    }
}

fn object_into(kind: Kind, root: &Node, source: &Source<'_>, set: &mut PolicySet, report: &Report) {
    let Some(meta) = metadata(kind, root, report) else { return };
    let at = report.origin(root.at);
    let reader = Reader { root, meta, at, report };
    match kind {
        Kind::PeerAuthentication => {
            set.peer_authentications
                .extend(reader.spec::<RawRoot, _, _>(|raw, _| peer_authentication::check(raw, report)));
        }
        Kind::AuthorizationPolicy => {
            let at = reader.at.clone();
            set.authorization_policies
                .extend(reader.spec::<RawRoot, _, _>(|raw, _| authorization_policy::check(raw, &at, report)));
        }
        Kind::DestinationRule => {
            set.destination_rules.extend(reader.spec::<RawRoot, _, _>(|raw, _| destination_rule::check(raw, report)));
        }
        Kind::ServiceEntry => {
            set.service_entries.extend(reader.spec::<RawRoot, _, _>(|raw, _| service_entry::check(raw, report)));
        }
        Kind::WorkloadEntry => {
            set.workload_entries.extend(
                reader.spec::<RawRoot, _, _>(|raw, meta| workload_entry::check(raw, &meta.labels, "spec", report)),
            );
        }
        Kind::WorkloadGroup => {
            set.workload_groups.extend(reader.spec::<RawRoot, _, _>(|raw, _| workload_group::check(raw, report)));
        }
        Kind::Pod => {
            let meta = reader.meta.clone();
            set.pods.extend(reader.whole(|_: RawKubernetesRoot| pod::read(root, &meta, report)));
        }
        Kind::EndpointSlice => {
            let meta = reader.meta.clone();
            set.endpoint_slices.extend(reader.whole(|raw| endpoint_slice::slice(raw, &meta, report)));
        }
        Kind::Endpoints => {
            let meta = reader.meta.clone();
            set.endpoints.extend(reader.whole(|raw| endpoint_slice::endpoints(raw, &meta, report)));
        }
        Kind::Sidecar => set.sidecars.extend(reader.spec::<RawRoot, _, _>(|raw, _| sidecar::check(raw, report))),
        Kind::Gateway => set.gateways.extend(reader.spec::<RawRoot, _, _>(|raw, _| gateway::check(raw, report))),
        // Most of Istio's are for sidecars, and nothing that they say has to be understood.
        Kind::VirtualService if !virtual_service::is_for_gateways(root) => {
            let message =
                "the VirtualService is for sidecars, whose routes are not served; for a gateway, name it in `gateways`";
            report.warn(&report.origin(root.at), message);
        }
        Kind::VirtualService => {
            set.virtual_services.extend(reader.spec::<RawRoot, _, _>(|raw, _| virtual_service::check(raw, report)));
        }
        Kind::Service => {
            set.services.extend(reader.spec::<RawKubernetesRoot, _, _>(|raw, _| service::check(raw, report)));
        }
        Kind::ConfigMap if reader.meta.name == spire::CONFIG_MAP => {
            let check = |_: config_map::Raw| spire::read_config_map(root, source, report);
            set.spire_servers.extend(reader.whole_if_good(check));
        }
        Kind::ConfigMap => {
            set.mesh_configs.extend(reader.whole(|_: config_map::Raw| config_map::read(root, source, report)));
        }
        Kind::Secret => set.secrets.extend(reader.whole(|raw| secret::check(raw, report))),
        Kind::ClusterStaticEntry => {
            set.static_entries.extend(
                reader.spec::<RawKubernetesRoot, _, _>(|raw: spire::RawStatic, _| spire::static_entry(raw, report)),
            );
        }
        Kind::ClusterSpiffeId => {
            let check = |raw: spire::RawSpiffeId, _: &Metadata| spire::spiffe_id(raw, report);
            set.cluster_spiffe_ids.extend(reader.spec_if_good::<RawKubernetesRoot, _, _>(check));
        }
        Kind::ClusterFederatedTrustDomain => {
            let check = |raw: spire::RawFederated, _: &Metadata| spire::federated(raw, report);
            set.federated_trust_domains.extend(reader.spec_if_good::<RawKubernetesRoot, _, _>(check));
        }
        Kind::Namespace => set.namespaces.extend(reader.whole(|_: secret::RawNamespace| Namespace)),
        Kind::Server => {
            let at = reader.at.clone();
            let version = root.get("apiVersion").and_then(Node::as_str).and_then(|it| it.split('/').nth(1));
            let version = version.unwrap_or_default();
            set.servers.extend(
                reader.spec::<RawKubernetesRoot, _, _>(|raw, _| linkerd::server::check(raw, version, &at, report)),
            );
        }
        Kind::ServerAuthorization => {
            set.server_authorizations.extend(
                reader.spec::<RawKubernetesRoot, _, _>(|raw, _| linkerd::server_authorization::check(raw, report)),
            );
        }
        Kind::LinkerdAuthorizationPolicy => {
            set.linkerd_authorization_policies.extend(
                reader.spec::<RawKubernetesRoot, _, _>(|raw, meta| {
                    linkerd::authorization_policy::check(raw, meta, report)
                }),
            );
        }
        Kind::MeshTlsAuthentication => {
            let at = reader.at.clone();
            set.mesh_tls_authentications
                .extend(reader.spec::<RawKubernetesRoot, _, _>(|raw, _| {
                    linkerd::meshtls_authentication::check(raw, &at, report)
                }));
        }
        Kind::NetworkAuthentication => {
            set.network_authentications.extend(
                reader.spec::<RawKubernetesRoot, _, _>(|raw, _| linkerd::network_authentication::check(raw, report)),
            );
        }
        Kind::Issuer | Kind::ClusterIssuer => {
            let at = reader.at.clone();
            let issuer = reader.spec::<RawKubernetesRoot, _, _>(|raw, _| issuer::check(raw, &at, report));
            let issuers = if kind == Kind::Issuer { &mut set.issuers } else { &mut set.cluster_issuers };
            issuers.extend(issuer);
        }
        Kind::Certificate => {
            let at = reader.at.clone();
            set.certificates
                .extend(reader.spec::<RawKubernetesRoot, _, _>(|raw, _| certificate::check(raw, &at, report)));
        }
        Kind::ReferenceGrant => {
            set.reference_grants
                .extend(reader.spec::<RawKubernetesRoot, _, _>(|raw, _| reference_grant::check(raw, report)));
        }
    }
}

fn metadata(kind: Kind, root: &Node, report: &Report) -> Option<Metadata> {
    let Some(node) = root.get("metadata") else {
        report.error(&report.origin(root.at), "", format!("the {} has no metadata", kind.name()));
        return None;
    };
    decode(node, "metadata", report).map(|raw| check_metadata(raw, kind.namespaced(), report))
}

/// One object on its way into the set.
struct Reader<'n> {
    root: &'n Node,
    meta: Metadata,
    at: Origin,
    report: &'n Report,
}

impl<'n> Reader<'n> {
    /// For kinds with a `spec`; an absent one is an empty one.
    fn spec<Root: Deserialize<'n>, R: serde::de::DeserializeOwned, S>(
        self,
        check: impl FnOnce(R, &Metadata) -> S,
    ) -> Option<Arc<Object<S>>> {
        self.spec_if_good::<Root, _, _>(|raw, meta| Some(check(raw, meta)))
    }

    /// [`Self::spec`] where what was reported as an error leaves nothing to go on with.
    fn spec_if_good<Root: Deserialize<'n>, R: serde::de::DeserializeOwned, S>(
        self,
        check: impl FnOnce(R, &Metadata) -> Option<S>,
    ) -> Option<Arc<Object<S>>> {
        // The root is decoded for its unknown fields only.
        let _: Option<Root> = decode(self.root, "", self.report);
        let empty = Node { at: self.root.at, value: Value::Map(Vec::new()) };
        let node = self.root.get("spec").filter(|spec| !matches!(spec.value, Value::Null)).unwrap_or(&empty);
        let spec = check(decode(node, "spec", self.report)?, &self.meta)?;
        Some(Arc::new(Object { meta: self.meta, spec, at: self.at }))
    }

    /// For kinds whose fields are at the root.
    fn whole<R: Deserialize<'n>, S>(self, check: impl FnOnce(R) -> S) -> Option<Arc<Object<S>>> {
        self.whole_if_good(|raw| Some(check(raw)))
    }

    /// [`Self::whole`] where what was reported as an error leaves nothing to go on with.
    fn whole_if_good<R: Deserialize<'n>, S>(self, check: impl FnOnce(R) -> Option<S>) -> Option<Arc<Object<S>>> {
        let spec = check(decode(self.root, "", self.report)?)?;
        Some(Arc::new(Object { meta: self.meta, spec, at: self.at }))
    }
}
