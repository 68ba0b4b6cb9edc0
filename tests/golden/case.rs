//! One case: its policies, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use countersign::analysis;
use countersign::envoy::{self, EncodedResource};
use countersign::mesh::decide::{Destination, InboundMode, Reason, inbound, outbound_to, subsets};
use countersign::mesh::{self, IstioCompatibility, Mesh, Moving, Step, Workload, WorkloadKey};
use countersign::plan::{self, ClassPlan, ProxyPlan};
use countersign::policy::{self, PolicySet, Warning};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::certificates::{self, Certificates};
use super::protobuf::Renderer;

/// `case.yaml`. Everything has a default.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// One of the example sets in `config/policies/seed`, as it is, besides `policy.yaml`.
    seed: Option<String>,
    /// Whose plans are shown. Absent: every workload's.
    workloads: Option<Vec<WorkloadName>>,
    /// The names of the resources that are shown; `*` at the end stands for any rest. Absent: all.
    show: Option<Vec<String>>,
    /// The proxies say that they are Istio's.
    istio_version: Option<String>,
    trust_domain_aliases: Vec<String>,
    federates_with: Vec<String>,
    /// Ports that are on their way to the mode that the policy has for them.
    transit: Vec<InTransit>,
    istio_compatibility: IstioCompatibility,
    /// What the proxies say of themselves: `INTERCEPTION_MODE` and the like.
    node: BTreeMap<String, String>,
    /// Whose certificates are shown. Absent: every Certificate's.
    certificates: Option<Vec<String>>,
    /// Whether `plan.yaml` has what an analysis finds.
    findings: bool,
    /// The proxies' ids, where they say what they are: `router~` and so on.
    node_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct WorkloadName(WorkloadKey);

impl TryFrom<String> for WorkloadName {
    type Error = mesh::ParseWorkloadKeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InTransit {
    workload: String,
    port: u16,
    from: InboundMode,
    step: Step,
}

/// One folder, read.
pub struct Case {
    settings: Settings,
    documents: Vec<(String, String)>,
}

/// `plan.yaml` of a set that is accepted.
#[derive(Serialize)]
struct Accepted {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    warnings: BTreeSet<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<String>,
    #[serde(flatten)]
    issued: Certificates,
    workloads: BTreeMap<String, Planned>,
}

#[derive(Serialize)]
struct Planned {
    /// The DNS names in its certificate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    own: ProxyPlan,
    class: ClassPlan,
    /// The steps of each decision, by the cluster that it made.
    reasons: BTreeMap<String, Vec<String>>,
}

/// `plan.yaml` of a set that is refused.
#[derive(Serialize)]
struct Refused {
    errors: Vec<String>,
}

impl Case {
    pub fn read(folder: &Path) -> Result<Self, String> {
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
        let settings = folder.join("case.yaml");
        let settings: Settings = match settings.exists() {
            true => {
                policy::parse_config("case.yaml", &read(&settings)?).map_err(|errors| format!("{:?}", errors[0]))?
            }
            false => Settings::default(),
        };
        let mut documents = vec![("policy.yaml".to_owned(), read(&folder.join("policy.yaml"))?)];
        if let Some(seed) = &settings.seed {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies/seed").join(seed);
            documents.push((format!("seed/{seed}"), read(&path)?));
        }
        Ok(Self { settings, documents })
    }

    /// The texts of `plan.yaml` and `envoy.yaml`.
    pub fn outputs(&self, renderer: &Renderer) -> [Option<String>; 2] {
        let documents = self.documents.iter().map(|(name, text)| (name, text));
        let (set, warnings) = match policy::parse_set(documents) {
            Ok(parsed) => parsed,
            Err(errors) => return [Some(yaml(&refused(&errors))), None],
        };
        let settings = mesh::Settings {
            trust_domain_aliases: self.settings.trust_domain_aliases.clone(),
            federated: self.settings.federates_with.clone(),
            istio_compatibility: self.settings.istio_compatibility,
            ..mesh::Settings::default()
        };
        // As the server does: what Certificates ask for is issued, and the rest sees it.
        let (issued, set) = Certificates::of(&Arc::new(set), self.settings.certificates.as_deref());
        let moving = |it: &InTransit| {
            let key: WorkloadKey = it.workload.parse().unwrap_or_else(|error| panic!("case.yaml: {error}"));
            (key, it.port, Moving { from: it.from, step: it.step })
        };
        let (mesh, found) = Mesh::build_in_transit(&set, &settings, self.settings.transit.iter().map(moving).collect());
        let mut accepted = Accepted {
            warnings: warnings.iter().map(ToString::to_string).collect(),
            findings: self.findings(&set, &mesh, (&warnings, &found)),
            issued,
            workloads: BTreeMap::new(),
        };
        accepted.warnings.extend(found.iter().map(ToString::to_string));
        let mut resources: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for workload in self.workloads(&mesh) {
            let (planned, encoded) = self.planned(&mesh, workload, &mut accepted.warnings);
            accepted.workloads.insert(workload.key.to_string(), planned);
            resources.insert(workload.key.to_string(), encoded.iter().map(|it| renderer.render(it)).collect());
        }
        [Some(yaml(&accepted)), (!resources.is_empty()).then(|| yaml(&resources))]
    }

    fn findings(&self, set: &PolicySet, mesh: &Mesh, (parsed, built): (&[Warning], &[mesh::Warning])) -> Vec<String> {
        if !self.settings.findings {
            return Vec::new();
        }
        let subject = analysis::Subject { set, mesh, parsed, built };
        let report = analysis::analyze(subject, &analysis::Limits::default(), certificates::NOW);
        let shown = |it: &analysis::Finding| format!("{} {}:{}: {}", it.code, it.file, it.line, it.message);
        report.findings.iter().map(shown).collect()
    }

    fn workloads<'m>(&self, mesh: &'m Mesh) -> Vec<&'m Workload> {
        match &self.settings.workloads {
            None => mesh.workloads().map(AsRef::as_ref).collect(),
            Some(names) => {
                let named = |name: &WorkloadName| {
                    mesh.workload(&name.0)
                        .unwrap_or_else(|| panic!("case.yaml: there is no workload {}", name.0))
                        .as_ref()
                };
                names.iter().map(named).collect()
            }
        }
    }

    fn planned(
        &self,
        mesh: &Mesh,
        workload: &Workload,
        warnings: &mut BTreeSet<String>,
    ) -> (Planned, Vec<EncodedResource>) {
        let mut node = plan::Node::of(&self.settings.node_id, &self.settings.node);
        node.is_istios = self.settings.istio_version.is_some();
        let mut own = plan::proxy_plan(mesh, workload, node);
        let mut class = plan::class_plan(mesh, workload, node, &plan::Settings::default());
        let all = envoy::proxy_resources(&own).into_iter().chain(envoy::class_resources(&class));
        let encoded = all.filter(|resource| self.shows(&resource.name)).collect();
        own.inbound.retain(|it| self.shows(&it.name) || self.shows(&it.cluster));
        own.intercepted = own.intercepted.filter(|_| self.shows("virtualInbound"));
        class.intercepted = class.intercepted.filter(|_| self.shows("virtualOutbound"));
        class.clusters.retain(|it| self.shows(&it.name));
        class.listeners.retain(|it| self.shows(&it.name));
        class.routes.retain(|it| self.shows(&it.name));
        own.gateway.retain(|it| self.shows(&it.name));
        class.gateway_tables.retain(|it| self.shows(&it.name));
        let mut reasons = BTreeMap::new();
        let captured = own.intercepted.iter().flat_map(|it| &it.ports);
        for listener in own.inbound.iter().chain(captured) {
            reasons.insert(listener.cluster.clone(), steps(&inbound(mesh, workload, listener.bind.port()).reasons));
        }
        let planned: BTreeSet<&str> = class.clusters.iter().map(|it| it.name.as_str()).collect();
        for service in mesh.visible_to(&workload.key.namespace) {
            let subsets = subsets(mesh, workload, service);
            for port in &service.ports {
                for subset in std::iter::once(None).chain(subsets.keys().copied().map(Some)) {
                    let name = format!("outbound|{}|{}|{}", port.port.value, subset.unwrap_or_default(), service.host);
                    if planned.contains(name.as_str()) {
                        let decision = outbound_to(mesh, workload, Destination { service, port, subset }, None);
                        warnings.extend(decision.warnings.iter().map(ToString::to_string));
                        reasons.insert(name, steps(&decision.reasons));
                    }
                }
            }
        }
        (Planned { names: workload.dns_names.to_vec(), own, class, reasons }, encoded)
    }

    fn shows(&self, name: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        self.settings.show.as_ref().is_none_or(|patterns| patterns.iter().any(matches))
    }
}

fn refused(errors: &[policy::PolicyError]) -> Refused {
    Refused { errors: errors.iter().map(ToString::to_string).collect() }
}

fn steps(reasons: &[Reason]) -> Vec<String> {
    let step = |reason: &Reason| match &reason.at {
        Some(at) => format!("{at}: {}", reason.text),
        None => reason.text.clone(),
    };
    reasons.iter().map(step).collect()
}

fn yaml(value: &impl Serialize) -> String {
    // By way of a JSON value, in which the keys of maps are ordered.
    let value = serde_json::to_value(value).unwrap();
    serde_saphyr::to_string(&value).unwrap()
}
