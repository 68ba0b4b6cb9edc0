//! Showing each connected proxy what there is for it now.

use std::sync::Arc;

use tracing::info;

use super::super::model::Model;
use super::{Proxies, Proxy, speaks_for};
use crate::mesh::Basis;
#[cfg(test)]
use crate::mesh::WorkloadKey;
use crate::plan::{Flavour, class_of};
use crate::xds::Layer;

impl Proxies {
    pub(super) fn publish_all(&self) {
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
    pub(super) fn publish(&self, proxy: &Arc<Proxy>) {
        while let Some(model) = self.model.load_full() {
            if self.publish_from(proxy, &model) {
                return;
            }
        }
    }

    /// What a publisher does that was overtaken. `false`: nothing was shown.
    #[cfg(test)]
    pub(in super::super) fn publish_older(&self, key: &WorkloadKey, model: &Arc<Model>) -> bool {
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
}
