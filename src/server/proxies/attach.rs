//! A stream that comes: who it speaks for, what it holds, and its place among the connected.

use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dashmap::mapref::entry::Entry;
use tokio::sync::watch;
use tonic::Status;
use tracing::{info, warn};

use super::super::blocking;
use super::super::flavour::flavour;
use super::super::model::Model;
use super::super::notices::Notice;
use super::super::observer::Observer;
use super::{Membership, Proxies, Proxy, ProxyState, certificate_layer, speaks_for};
use crate::fleet::Description;
use crate::identity::{Peer, SpiffeId};
use crate::mesh::{Workload, WorkloadKey};
use crate::plan::Flavour;
use crate::trust::{LeafNames, WorkloadCertificate};
use crate::xds::{Attachment, ControlPlane, NodeInfo};

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

impl Proxies {
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

    /// Takes a stream in among the connected, with the certificate that was found or made for it.
    pub(in crate::server) fn enter(
        &self,
        workload: &Workload,
        flavour: Flavour,
        identity: Option<&SpiffeId>,
        certificate: Option<Arc<WorkloadCertificate>>,
    ) -> Membership {
        let fresh = || {
            // Whoever has replaced the certificate while this stream was on its way did not find the proxy among the connected.
            let newest = || self.trust.newest(&workload.key.to_string()).filter(|it| Some(&it.id) == identity);
            let certificate = certificate.as_ref().map(|made| newest().unwrap_or_else(|| Arc::clone(made)));
            let secrets = certificate.as_ref().map(|it| certificate_layer(it).0).unwrap_or_default();
            Arc::new(Proxy {
                key: workload.key.clone(),
                flavour,
                identity: identity.cloned(),
                streams: AtomicUsize::new(0),
                state: Mutex::new(ProxyState {
                    certificate,
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
