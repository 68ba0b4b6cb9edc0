//! The connected proxies: who may speak for which workload, and what each one sees.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{Notify, watch};
use tonic::Status;
use tracing::{info, warn};

use super::admission::Admission;
use super::analyst::Analysed;
use super::flavour::flavour;
use super::model::{Model, Own};
use super::notices::{Notice, Notices};
use super::observer::Observer;
use super::peers::Peers;
use super::roots::{Further, ServedRoots};
use super::{Clock, blocking};
use crate::fleet::{Description, Fleet};
use crate::identity::{Peer, SpiffeId};
use crate::mesh::{Basis, Transit, Workload, WorkloadKey};
use crate::plan::{ClassKey, Flavour, Node, class_of};
use crate::secrets;
use crate::telemetry::Metrics;
use crate::trust::{Federation, LeafNames, Serial, Trust, TrustBundle, WorkloadCertificate};
use crate::xds::{Attachment, ControlPlane, Layer, NodeInfo, Resource, ResourceType, Version, View};

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

    fn publish_all(&self) {
        let proxies: Vec<_> = self.connected.iter().map(|entry| Arc::clone(entry.value())).collect();
        for proxy in proxies {
            self.publish(&proxy);
        }
    }

    /// Shows a proxy what there is for it now, or ends its streams where the policy no longer gives it what it came with.
    ///
    /// Of several that publish at a time, one may have begun with a policy that has been replaced since. Whoever speaks looks
    /// within the lock whether there is a newer one; and whoever replaces the policy publishes after that. So the last to speak
    /// has seen the newest.
    fn publish(&self, proxy: &Arc<Proxy>) {
        while let Some(model) = self.model.load_full() {
            if self.publish_from(proxy, &model) {
                return;
            }
        }
    }

    /// What a publisher does that was overtaken. `false`: nothing was shown.
    #[cfg(test)]
    pub(super) fn publish_older(&self, key: &WorkloadKey, model: &Arc<Model>) -> bool {
        self.publish_from(&self.of_workload(key)[0], model)
    }

    /// `false`: `model` has been replaced, and nothing was shown.
    fn publish_from(&self, proxy: &Arc<Proxy>, model: &Arc<Model>) -> bool {
        let known = proxy.state().class.clone();
        let known = |basis: &Basis| known.as_ref().filter(|(known, _)| known.calls_alike(basis));
        // Its identity was its workload's, and neither has changed since.
        let speaks = |it: &Basis| known(it).is_some() || speaks_for(proxy.identity.as_ref(), it.workload());
        let found = model.mesh.basis(&proxy.key).filter(speaks).map(|basis| {
            let named = || Arc::new(class_of(&model.mesh, basis.workload(), proxy.flavour));
            let key = known(&basis).map_or_else(named, |(_, key)| Arc::clone(key));
            let class = model.class_of(&key, basis.workload(), proxy.flavour, (self.clock)());
            (basis, key, class)
        });
        let granted =
            found.as_ref().map(|(basis, ..)| model.granted(basis.workload(), (self.clock)())).unwrap_or_default();
        let mut state = proxy.state();
        if !self.model.load().as_ref().is_some_and(|newest| Arc::ptr_eq(newest, model)) {
            return false;
        }
        let Some((basis, key, class)) = found else {
            // The proxy keeps what it has; its streams end, and it may not come back.
            if state.views.take().is_some() {
                info!(workload = %proxy.key, "no longer in the policy under the identity it came with");
            }
            drop(state);
            self.connected.remove_if(&proxy.place(), |_, current| Arc::ptr_eq(current, proxy));
            return true;
        };
        let layers = match proxy.flavour {
            // It binds nothing, and takes no secret over xDS.
            Flavour::Grpc => vec![class.configuration],
            Flavour::Envoy(node) => {
                let own = model.own(basis.clone(), node, state.own.take());
                let mut layers = vec![Arc::clone(&own.layer), class.configuration];
                state.own = Some(own);
                if proxy.identity.is_some() {
                    let (own, roots) = (Arc::clone(&state.secrets), Arc::clone(self.roots.load().layer(node)));
                    layers.extend([own, roots, class.secrets, granted.secrets]);
                }
                layers
            }
        };
        state.class = Some((basis, key));
        let same = |(left, right): (&Arc<Layer>, &Arc<Layer>)| Arc::ptr_eq(left, right);
        if layers.len() == state.shown.len() && layers.iter().zip(&state.shown).all(same) {
            // Another stream of the workload, or a policy change about others: none of its streams need wake up.
            return true;
        }
        if let Some(views) = &state.views {
            let view = views.borrow().through(&layers);
            views.send_replace(Arc::new(view));
        }
        state.shown = layers;
        true
    }

    /// The workload that a node speaks for. The authenticated identity decides: what the node says of itself only chooses
    /// between the workloads of that identity.
    fn resolve<'m>(
        &self,
        model: &'m Model,
        identity: Option<&SpiffeId>,
        node: &NodeInfo,
    ) -> Result<&'m Arc<Workload>, Status> {
        let Some(key) = node_workload(node) else {
            let of_identity = |workload: &&Arc<Workload>| identity.is_some() && speaks_for(identity, workload);
            let mut candidates = model.mesh.workloads().filter(of_identity);
            return match (candidates.next(), candidates.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(Status::invalid_argument(
                    "node.id does not name a workload as NAMESPACE/NAME, and the identity alone does not decide which it is",
                )),
            };
        };
        let workload = model.mesh.workload(&key).filter(|workload| speaks_for(identity, workload));
        workload.ok_or_else(|| {
            self.metrics.denied_secrets.inc();
            let identity = identity.map_or_else(|| "nobody".to_owned(), ToString::to_string);
            if let Some(held_back) = self.notices.pass(Notice::Node) {
                warn!(%identity, node = %node.id, held_back, "refused: this identity may not speak for this node");
            }
            // The same words whether the workload exists or not: nobody learns here what there is.
            Status::permission_denied(format!(
                "{identity} may not speak for {key}: no WorkloadEntry gives it that identity"
            ))
        })
    }

    fn enter(
        &self,
        workload: &Workload,
        flavour: Flavour,
        identity: Option<&SpiffeId>,
        certificate: Option<Arc<WorkloadCertificate>>,
    ) -> Membership {
        let fresh = || {
            let secrets = certificate.as_ref().map(|it| certificate_layer(it).0).unwrap_or_default();
            Arc::new(Proxy {
                key: workload.key.clone(),
                flavour,
                identity: identity.cloned(),
                streams: AtomicUsize::new(0),
                state: Mutex::new(ProxyState {
                    certificate: certificate.clone(),
                    secrets,
                    class: None,
                    own: None,
                    shown: Vec::new(),
                    views: Some(watch::Sender::new(Arc::default())),
                }),
            })
        };
        let proxy = match self.connected.entry((workload.key.clone(), flavour)) {
            Entry::Occupied(mut entry) => {
                // The workload's identity has changed since the older stream came: that stream is not to be served on.
                if entry.get().identity.as_ref() != identity {
                    entry.insert(fresh()).state().views = None;
                }
                entry.get().streams.fetch_add(1, Ordering::AcqRel);
                Arc::clone(entry.get())
            }
            Entry::Vacant(entry) => {
                let proxy = fresh();
                proxy.streams.fetch_add(1, Ordering::AcqRel);
                entry.insert(Arc::clone(&proxy));
                proxy
            }
        };
        self.changed.notify_one();
        Membership { proxies: self.clone(), proxy }
    }
}

impl ControlPlane for Proxies {
    type Peer = Peer;
    type Observer = Observer;

    async fn attach(&self, peer: Option<Peer>, node: NodeInfo) -> Result<Attachment<Observer>, Status> {
        let model = self.model.load_full().ok_or_else(|| Status::unavailable("no policy is loaded yet"))?;
        let identity = match peer {
            Some(Peer::Authenticated { id, .. }) => Some(id),
            Some(Peer::Unauthenticated) | None => None,
        };
        self.resolve(&model, identity.as_ref(), &node)?;
        let admitted = self.admission.enter(identity.as_ref()).await;
        // While it waited, the policy may have been replaced, and have given the workload to another identity.
        let model = self.model.load_full().unwrap_or(model);
        let workload = Arc::clone(self.resolve(&model, identity.as_ref(), &node)?);
        let flavour = flavour(&node);
        let certificate = match &identity {
            Some(id) if flavour.is_proxy() => {
                let (name, now) = (workload.key.to_string(), (self.clock)());
                let names = LeafNames::new(id.clone(), workload.dns_names.iter().cloned()).within(workload.leaf_ttl);
                let issued = match self.trust.held(&name, &names, now) {
                    Some(held) => Ok(held),
                    None => {
                        let trust = Arc::clone(&self.trust);
                        let issued = blocking(move || trust.workload_certificate(&name, names, now)).await;
                        self.metrics.certificates_issued.inc_by(u64::from(issued.is_ok()));
                        issued
                    }
                };
                Some(issued.map_err(|error| {
                    if let Some(held_back) = self.notices.pass(Notice::Certificate) {
                        warn!(workload = %workload.key, %error, held_back, "no certificate could be issued");
                    }
                    Status::unavailable("no certificate can be issued at the moment")
                })?)
            }
            _ => None,
        };
        let description = Description {
            workload: workload.key.to_string(),
            identity: identity.as_ref().map(ToString::to_string),
            node,
            connected_since: (self.clock)(),
        };
        if let Some(held_back) = self.notices.pass(Notice::Here) {
            let NodeInfo { id, user_agent, .. } = &description.node;
            info!(workload = %workload.key, node = %id, client = %user_agent, held_back, "a proxy is here");
        }
        let membership = self.enter(&workload, flavour, identity.as_ref(), certificate);
        // What is published is the newest policy; it may have changed once more while the certificate was made.
        self.publish(&membership.proxy);
        let views = membership.proxy.state().views.as_ref().map(watch::Sender::subscribe);
        let gone = || Status::permission_denied("this workload is no longer in the policy under this identity");
        let views = views.ok_or_else(gone)?;
        let observer = Observer::new(self.fleet.join(description), membership, admitted);
        Ok(Attachment { views, observer })
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

/// The workload a node names: metadata `NAMESPACE` and `NAME`, an id `namespace/name`, or Istio's
/// `sidecar~address~name.namespace~domain`.
fn node_workload(node: &NodeInfo) -> Option<WorkloadKey> {
    if let (Some(namespace), Some(name)) = (node.metadata.get("NAMESPACE"), node.metadata.get("NAME")) {
        return WorkloadKey::from_str(&format!("{namespace}/{name}")).ok();
    }
    if let Some((name, namespace)) = node.id.split('~').nth(2).and_then(|name| name.rsplit_once('.')) {
        return WorkloadKey::from_str(&format!("{namespace}/{name}")).ok();
    }
    WorkloadKey::from_str(&node.id).ok()
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
