//! The connected proxies: who may speak for which workload, and what each one sees.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{Notify, watch};

use super::Clock;
use super::admission::Admission;
use super::analyst::Analysed;
use super::model::{Model, Own};
use super::notices::Notices;
use super::peers::Peers;
use super::roots::{Further, ServedRoots};
use crate::fleet::Fleet;
use crate::identity::SpiffeId;
use crate::mesh::{Basis, Transit, Workload, WorkloadKey};
use crate::plan::{ClassKey, Flavour, Node};
use crate::secrets;
use crate::telemetry::Metrics;
use crate::trust::{Federation, LeafNames, Serial, Trust, TrustBundle, WorkloadCertificate};
use crate::xds::{Layer, Resource, ResourceType, Version, View};

mod attach;
mod publish;

/// Everything that streams are served from.
#[derive(Clone)]
pub(super) struct Proxies(Arc<Inner>);

pub(super) struct Inner {
    pub(super) trust: Arc<Trust>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) model: ArcSwapOption<Model>,
    /// What the newest analysis has found.
    pub(super) analysed: ArcSwapOption<Analysed>,
    admission: Admission,
    pub(super) notices: Notices,
    pub(super) peers: Peers,
    roots: ArcSwap<ServedRoots>,
    connected: DashMap<Place, Arc<Proxy>>,
    /// Whether there is a policy to serve.
    pub(super) is_serving: watch::Sender<bool>,
    /// A proxy came or went, or a certificate changed: whoever plans renewals looks again.
    pub(super) changed: Notify,
}

/// A workload may have a proxy, and be a gRPC client too.
type Place = (WorkloadKey, Flavour);

/// One connected workload: at least one stream speaks for it.
pub(super) struct Proxy {
    key: WorkloadKey,
    /// What it is, and says of itself. Streams of one workload that say different things are served apart.
    flavour: Flavour,
    /// `None` for a plaintext stream, which is shown configuration and no secret.
    identity: Option<SpiffeId>,
    streams: AtomicUsize,
    state: Mutex<ProxyState>,
}

struct ProxyState {
    certificate: Option<Arc<WorkloadCertificate>>,
    secrets: Arc<Layer>,
    /// Its class, and what that was found by.
    class: Option<(Basis, Arc<ClassKey>)>,
    own: Option<Own>,
    /// The layers of the view that was shown last.
    shown: Vec<Arc<Layer>>,
    /// `None` ends the streams: the workload is no longer served under this identity.
    views: Option<watch::Sender<Arc<View>>>,
}

/// A stream's place among the connected; dropping it gives it up.
pub(super) struct Membership {
    proxies: Proxies,
    proxy: Arc<Proxy>,
}

impl Membership {
    pub(super) fn workload(&self) -> &WorkloadKey {
        &self.proxy.key
    }

    pub(super) fn proxies(&self) -> &Proxies {
        &self.proxies
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let connected = &self.proxies.0.connected;
        if let Entry::Occupied(entry) = connected.entry(self.proxy.place())
            && self.proxy.streams.fetch_sub(1, Ordering::AcqRel) == 1
            && Arc::ptr_eq(entry.get(), &self.proxy)
        {
            entry.remove();
        }
        self.proxies.0.changed.notify_one();
    }
}

impl std::ops::Deref for Proxies {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The names under which a workload's certificate is served with the version of each, `default` first, and who signed it.
type NamesAndSigner = (Vec<Named>, Serial);

impl Proxies {
    pub(super) fn new(
        trust: Arc<Trust>,
        fleet: Arc<Fleet>,
        metrics: Arc<Metrics>,
        clock: Clock,
        admission: Admission,
    ) -> Self {
        let roots = ArcSwap::from_pointee(ServedRoots::new(trust.bundle(), trust.federation(), Further::default()));
        Self(Arc::new(Inner {
            trust,
            fleet,
            metrics,
            clock,
            model: ArcSwapOption::empty(),
            analysed: ArcSwapOption::empty(),
            admission,
            notices: Notices::default(),
            peers: Peers::default(),
            roots,
            connected: DashMap::new(),
            is_serving: watch::Sender::new(false),
            changed: Notify::new(),
        }))
    }

    /// Serves another policy set: every connected proxy sees what changed for it, and nothing else.
    pub(super) fn set_model(&self, model: Arc<Model>) {
        let further = Further::from(model.mesh.settings());
        self.roots.rcu(|roots| roots.with_further(&further).map_or_else(|| Arc::clone(roots), Arc::new));
        self.model.store(Some(model));
        self.publish_all();
        self.is_serving.send_replace(true);
        self.changed.notify_one();
    }

    /// Shows each connected workload that holds a certificate, with it.
    pub(super) fn see_certificates(&self, mut see: impl FnMut(&WorkloadKey, &SpiffeId, &Arc<WorkloadCertificate>)) {
        for entry in &self.connected {
            let proxy = entry.value();
            if let (Some(id), Some(certificate)) = (&proxy.identity, &proxy.state().certificate) {
                see(&proxy.key, id, certificate);
            }
        }
    }

    /// What the policy says that this workload's certificate is to say, under this identity.
    pub(super) fn leaf_names(&self, key: &WorkloadKey, id: &SpiffeId) -> LeafNames {
        let model = self.model.load();
        let workload = model.as_ref().and_then(|model| model.mesh.workload(key));
        let workload = workload.filter(|it| speaks_for(Some(id), it));
        let dns = workload.map(|it| Arc::clone(&it.dns_names));
        let names = LeafNames::new(id.clone(), dns.iter().flat_map(|names| names.iter().cloned()));
        names.within(workload.and_then(|it| it.leaf_ttl))
    }

    /// The connected workloads that hold a certificate, with it.
    pub(super) fn certificates(&self) -> Vec<(WorkloadKey, SpiffeId, Arc<WorkloadCertificate>)> {
        let mut held = Vec::new();
        self.see_certificates(|key, id, certificate| held.push((key.clone(), id.clone(), Arc::clone(certificate))));
        // A workload whose proxies say different things of themselves holds one certificate all the same.
        held.sort_by(|a, b| a.0.cmp(&b.0));
        held.dedup_by(|a, b| a.0 == b.0);
        held
    }

    /// The certificate of a connected workload.
    pub(super) fn certificate(&self, key: &WorkloadKey) -> Option<Arc<WorkloadCertificate>> {
        self.of_workload(key).iter().find_map(|proxy| proxy.state().certificate.clone())
    }

    /// By workload: the version under which a secret of this name is served to it.
    pub(super) fn served_versions(&self, name: &str) -> HashMap<String, Version> {
        let served = self.connected.iter().filter_map(|entry| {
            let state = entry.value().state();
            let version = state.views.as_ref()?.borrow().get(ResourceType::Secret, name)?.version();
            Some((entry.value().key.to_string(), version))
        });
        served.collect()
    }

    /// The connected workloads that have an identity.
    pub(super) fn names(&self) -> Vec<String> {
        let known = self.connected.iter().filter(|entry| entry.value().identity.is_some());
        let mut names: Vec<_> = known.map(|entry| entry.value().key.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Serves these bundles from now on: our own, and those of other trust domains.
    pub(super) fn set_roots(&self, bundle: Arc<TrustBundle>, federation: Arc<Federation>) {
        if self.roots.load().are(&bundle, &federation) {
            return;
        }
        self.roots.rcu(|roots| roots.with(&bundle, &federation));
        self.publish_all();
    }

    /// The roots that are served.
    pub(super) fn roots(&self) -> Arc<ServedRoots> {
        self.roots.load_full()
    }

    /// What is the own of each connected proxy whose workload has ports on their way.
    pub(super) fn own(&self, transit: &Transit) -> HashMap<(WorkloadKey, Node), Own> {
        let keys: HashSet<&WorkloadKey> = transit.iter().map(|(key, ..)| key).collect();
        let own = |proxy: &Arc<Proxy>| match proxy.flavour {
            Flavour::Envoy(node) => Some(((proxy.key.clone(), node), proxy.state().own.clone()?)),
            Flavour::Grpc => None,
        };
        keys.into_iter().flat_map(|key| self.of_workload(key)).filter_map(|proxy| own(&proxy)).collect()
    }

    /// What is served of the certificate of each workload.
    pub(super) fn served(&self) -> HashMap<String, NamesAndSigner> {
        let served = self.connected.iter().filter_map(|entry| {
            let state = entry.value().state();
            let mut names: Vec<_> =
                state.secrets.resources(ResourceType::Secret).map(|it| (Arc::clone(it.name()), it.version())).collect();
            names.sort_by_key(|(name, _)| **name != *secrets::WORKLOAD);
            Some((entry.value().key.to_string(), (names, state.certificate.as_ref()?.issuer.clone())))
        });
        served.collect()
    }

    /// Gives a connected workload another certificate. Returns the version under which it is served, or `None` if no proxy is
    /// connected that speaks for the workload under the certificate's identity.
    pub(super) fn set_certificate(&self, key: &WorkloadKey, certificate: &Arc<WorkloadCertificate>) -> Option<Served> {
        // The workload may have another identity by now, and a proxy that has proven that one.
        let mut proxies = self.of_workload(key);
        proxies.retain(|proxy| proxy.identity.as_ref() == Some(&certificate.id));
        if proxies.is_empty() {
            return None;
        }
        let (layer, served) = certificate_layer(certificate);
        for proxy in proxies {
            {
                let mut state = proxy.state();
                state.certificate = Some(Arc::clone(certificate));
                state.secrets = Arc::clone(&layer);
            }
            self.publish(&proxy);
        }
        self.changed.notify_one();
        Some(served)
    }

    /// What the connected proxies of a workload are, and say of themselves.
    pub(super) fn flavours(&self, key: &WorkloadKey) -> Vec<Flavour> {
        self.of_workload(key).iter().map(|proxy| proxy.flavour).collect()
    }

    /// Who speaks for a workload: one, unless its proxies say different things of themselves.
    fn of_workload(&self, key: &WorkloadKey) -> Vec<Arc<Proxy>> {
        let place = |node| (key.clone(), Flavour::Envoy(node));
        let of_node = |node| self.connected.get(&place(node)).map(|entry| Arc::clone(entry.value()));
        Node::all().filter_map(of_node).collect()
    }
}

impl Proxy {
    /// Where it stands among the connected.
    fn place(&self) -> Place {
        (self.key.clone(), self.flavour)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ProxyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this identity is the workload's. Without TLS there is none to compare; such a stream gets no secrets.
fn speaks_for(identity: Option<&SpiffeId>, workload: &Workload) -> bool {
    identity.is_none_or(|id| id.to_string() == workload.spiffe_id)
}

/// The names of a workload's certificate, with the version that is served under each.
pub(super) type Served = [Named; 2];

/// The name of a secret, and the version that is served under it.
pub(super) type Named = (Arc<str>, Version);

/// A workload's certificate under Istio's name for it, and under SPIRE's, which is the identity itself.
fn certificate_layer(certificate: &WorkloadCertificate) -> (Arc<Layer>, Served) {
    let named = |name: &str| {
        let value = secrets::tls_certificate(name, certificate);
        let resource = Resource::new(ResourceType::Secret, name, &value);
        Arc::new(resource.with_serial(certificate.serial.to_string()).restated_by(secrets::restate))
    };
    let resources = [named(secrets::WORKLOAD), named(certificate.id.as_str())];
    let served = resources.each_ref().map(|it| (Arc::clone(it.name()), it.version()));
    (Arc::new(Layer::new(resources.map(|it| (ResourceType::Secret, it)), None)), served)
}
