//! From a policy set to the model.

use std::sync::Arc;

use super::gateway::{GatewayIndex, warn_of_missing_destinations};
use super::governed::Governed;
use super::offers::Offers;
use super::population::Population;
use super::reach::Reach;
use super::rules::RuleIndex;
use super::{Mesh, Settings, Transit, Warning, server_conf, spiffe_id};
use crate::policy::PolicySet;

impl Mesh {
    /// Indexes `set`. What is written but cannot work as written is left out and comes back as a warning; whether a set is
    /// acceptable at all was the parser's question.
    pub fn build(set: &PolicySet, settings: &Settings) -> (Self, Vec<Warning>) {
        Self::build_after(None, set, settings, Transit::default())
    }

    /// The same, with ports that are on their way to the mode that the set has for them.
    pub fn build_in_transit(set: &PolicySet, settings: &Settings, transit: Transit) -> (Self, Vec<Warning>) {
        Self::build_after(None, set, settings, transit)
    }

    /// The same, after another model: what was made from objects that are the same still is taken over. Model and warnings are those of
    /// making all of it anew.
    pub fn build_after(
        before: Option<&Self>,
        set: &PolicySet,
        settings: &Settings,
        transit: Transit,
    ) -> (Self, Vec<Warning>) {
        let mut warnings = Vec::new();
        let settings = settings.of_set(set, &mut warnings);
        server_conf::compare(set, &settings, &mut warnings);
        // Everything depends on what the whole mesh shares; also on where it is written, for those who ask why.
        let same = |it: &&Self| *it.settings == settings && it.mesh_configs.are(&set.mesh_configs);
        let before = before.filter(same);
        let settings = before.map_or_else(|| Arc::new(settings), |before| Arc::clone(&before.settings));
        let population = Population::after(before.map(|it| &it.population), set, &settings);
        let governed = Governed::after(before.map(|it| &it.governed), &population, set, &settings, transit);
        let offers = Offers::after(before.map(|it| &it.offers), &population, &governed, set, &settings);
        let reach = Reach::after(before.map(|it| &it.reach), &population, &governed, &offers.services);
        let rules = RuleIndex::after(before.map(|it| &it.rules), &set.destination_rules, &settings);
        let gateways = GatewayIndex::after(before.map(|it| &it.gateways), &population, set);
        for said in [&population.warnings, &governed.warnings, &offers.warnings, &gateways.warnings] {
            warnings.extend_from_slice(said);
        }
        warn_of_missing_destinations(set, &offers.services, &settings, &mut warnings);
        let mesh_configs = set.mesh_configs.clone();
        (Self { settings, mesh_configs, population, governed, offers, reach, rules, gateways }, warnings)
    }
}

pub(super) struct Builder<'a> {
    pub(super) set: &'a PolicySet,
    pub(super) settings: &'a Settings,
    pub(super) warnings: Vec<Warning>,
}

impl Builder<'_> {
    pub(super) fn identities(&self, namespace: &str, service_account: &str) -> Arc<[String]> {
        self.settings.trust_domains().map(|td| spiffe_id(td, namespace, service_account)).collect()
    }
}
