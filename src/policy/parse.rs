//! From files to a policy set: every document to its kind, then what can only be seen across documents.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;

use super::config_map::Source;
use super::decode::decode;
use super::document::{self, Node, Value};
use super::kind::{self, Found, Kind};
use super::object::{RawKubernetesRoot, RawRoot, check_metadata};
use super::report::Report;
use super::{
    Metadata, Namespace, Object, Origin, PolicyError, PolicySet, Topic, Warning, authorization_policy, config_map,
    destination_rule, endpoint_slice, gateway, linkerd, peer_authentication, pod, secret, service, service_entry,
    sidecar, virtual_service, workload_entry, workload_group,
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
    let mut seen = Vec::new();
    let mut unchanged = HashSet::new();
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
                roots.iter().for_each(|root| document_into(root, &source, &mut set, &mut seen, &report));
            }
            Err(error) => report.push(error),
        }
        let (file_errors, file_warnings) = report.into_parts();
        errors.extend(file_errors);
        warnings.extend(file_warnings);
    }
    take_over(before, &unchanged, &mut set, &mut seen);
    warnings.extend(warned.iter().filter(|warning| unchanged.contains(&warning.at.file)).cloned());
    errors.extend(duplicates(seen));
    if !errors.is_empty() {
        errors.sort_by(|a, b| a.at.cmp(&b.at));
        return Err(errors);
    }
    sort(&mut set);
    warnings.sort();
    warnings.dedup();
    Ok((set, warnings))
}

/// A name that may be used once: kind, namespace, name, and where it was.
type Seen = ((Kind, String, String), Origin);

/// Takes the objects of these files over from the set before.
fn take_over(before: &PolicySet, files: &HashSet<Arc<str>>, set: &mut PolicySet, seen: &mut Vec<Seen>) {
    fn each<S: Clone>(
        kind: Kind,
        (from, to): (&[Object<S>], &mut Vec<Object<S>>),
        files: &HashSet<Arc<str>>,
        seen: &mut Vec<Seen>,
    ) {
        for object in from.iter().filter(|object| files.contains(&object.at.file)) {
            seen.push(((kind, object.meta.namespace.clone(), object.meta.name.clone()), object.at.clone()));
            to.push(object.clone());
        }
    }
    if files.is_empty() {
        return;
    }
    let PolicySet {
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
    } = before;
    each(Kind::PeerAuthentication, (peer_authentications, &mut set.peer_authentications), files, seen);
    each(Kind::AuthorizationPolicy, (authorization_policies, &mut set.authorization_policies), files, seen);
    each(Kind::DestinationRule, (destination_rules, &mut set.destination_rules), files, seen);
    each(Kind::ServiceEntry, (service_entries, &mut set.service_entries), files, seen);
    each(Kind::WorkloadEntry, (workload_entries, &mut set.workload_entries), files, seen);
    each(Kind::WorkloadGroup, (workload_groups, &mut set.workload_groups), files, seen);
    each(Kind::Pod, (pods, &mut set.pods), files, seen);
    each(Kind::EndpointSlice, (endpoint_slices, &mut set.endpoint_slices), files, seen);
    each(Kind::Endpoints, (endpoints, &mut set.endpoints), files, seen);
    each(Kind::Sidecar, (sidecars, &mut set.sidecars), files, seen);
    each(Kind::Gateway, (gateways, &mut set.gateways), files, seen);
    each(Kind::VirtualService, (virtual_services, &mut set.virtual_services), files, seen);
    each(Kind::Service, (services, &mut set.services), files, seen);
    each(Kind::ConfigMap, (mesh_configs, &mut set.mesh_configs), files, seen);
    each(Kind::Secret, (secrets, &mut set.secrets), files, seen);
    each(Kind::Namespace, (namespaces, &mut set.namespaces), files, seen);
    each(Kind::Server, (servers, &mut set.servers), files, seen);
    each(Kind::ServerAuthorization, (server_authorizations, &mut set.server_authorizations), files, seen);
    each(
        Kind::LinkerdAuthorizationPolicy,
        (linkerd_authorization_policies, &mut set.linkerd_authorization_policies),
        files,
        seen,
    );
    each(Kind::MeshTlsAuthentication, (mesh_tls_authentications, &mut set.mesh_tls_authentications), files, seen);
    each(Kind::NetworkAuthentication, (network_authentications, &mut set.network_authentications), files, seen);
}

fn document_into(root: &Node, source: &Source<'_>, set: &mut PolicySet, seen: &mut Vec<Seen>, report: &Report) {
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
            Some(Value::Seq(items)) => items.iter().for_each(|item| document_into(item, source, set, seen, report)),
            Some(Value::Null) | None => {}
            Some(other) => report.error(&at, "items", format!("found {}, expected a list", other.describe())),
        }
        return;
    }
    match kind::find(api_version, kind) {
        Found::Known(Kind::ConfigMap) if !config_map::is_istios(root) => {
            report.warn(&at, format!("{api_version} {kind} is not read"));
        }
        Found::Known(kind) => object_into(kind, root, source, set, seen, report),
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

fn object_into(
    kind: Kind,
    root: &Node,
    source: &Source<'_>,
    set: &mut PolicySet,
    seen: &mut Vec<Seen>,
    report: &Report,
) {
    let Some(meta) = metadata(kind, root, report) else { return };
    let at = report.origin(root.at);
    seen.push(((kind, meta.namespace.clone(), meta.name.clone()), at.clone()));
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
        Kind::ConfigMap => {
            set.mesh_configs.extend(reader.whole(|_: config_map::Raw| config_map::read(root, source, report)));
        }
        Kind::Secret => set.secrets.extend(reader.whole(|raw| secret::check(raw, report))),
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
    ) -> Option<Object<S>> {
        // The root is decoded for its unknown fields only.
        let _: Option<Root> = decode(self.root, "", self.report);
        let empty = Node { at: self.root.at, value: Value::Map(Vec::new()) };
        let node = self.root.get("spec").filter(|spec| !matches!(spec.value, Value::Null)).unwrap_or(&empty);
        let spec = check(decode(node, "spec", self.report)?, &self.meta);
        Some(Object { meta: self.meta, spec, at: self.at })
    }

    /// For kinds whose fields are at the root.
    fn whole<R: Deserialize<'n>, S>(self, check: impl FnOnce(R) -> S) -> Option<Object<S>> {
        let spec = check(decode(self.root, "", self.report)?);
        Some(Object { meta: self.meta, spec, at: self.at })
    }
}

fn duplicates(mut seen: Vec<Seen>) -> Vec<PolicyError> {
    // Sorted by place, so that it is always the later one that is called the duplicate.
    seen.sort_by(|a, b| a.1.cmp(&b.1));
    let mut first: HashMap<(Kind, String, String), Origin> = HashMap::new();
    let mut errors = Vec::new();
    for (key, at) in seen {
        if let Some(other) = first.get(&key) {
            let (kind, namespace, name) = &key;
            let place = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
            let message = format!("{} {place} is already defined at {other}", kind.name());
            errors.push(PolicyError::new(at, "metadata.name", message).with_help("remove one of the two"));
        } else {
            first.insert(key, at);
        }
    }
    errors
}

fn sort(set: &mut PolicySet) {
    fn by_name<S>(objects: &mut [Object<S>]) {
        objects.sort_by(|a, b| {
            (a.meta.namespace.as_str(), a.meta.name.as_str()).cmp(&(b.meta.namespace.as_str(), b.meta.name.as_str()))
        });
    }
    by_name(&mut set.peer_authentications);
    by_name(&mut set.authorization_policies);
    by_name(&mut set.destination_rules);
    by_name(&mut set.service_entries);
    by_name(&mut set.workload_entries);
    by_name(&mut set.workload_groups);
    by_name(&mut set.pods);
    by_name(&mut set.endpoint_slices);
    by_name(&mut set.endpoints);
    by_name(&mut set.sidecars);
    by_name(&mut set.gateways);
    by_name(&mut set.virtual_services);
    by_name(&mut set.services);
    by_name(&mut set.mesh_configs);
    by_name(&mut set.secrets);
    by_name(&mut set.namespaces);
    by_name(&mut set.servers);
    by_name(&mut set.server_authorizations);
    by_name(&mut set.linkerd_authorization_policies);
    by_name(&mut set.mesh_tls_authentications);
    by_name(&mut set.network_authentications);
}
