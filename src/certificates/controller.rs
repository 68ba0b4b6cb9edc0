//! The state machine: every Certificate, and what is to be done for it at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use time::OffsetDateTime;

use super::authority::{self, Signer};
use super::entry::{Entry, UP_TO_DATE};
use super::held::Held;
use super::order::{owners, place};
use super::request;
use super::state::{ISSUING, READY, State};
use super::trigger::{self, Situation};
use super::{Event, IssuerError, secret};
use crate::policy::{Certificate, Metadata, Object, Origin, PolicySet, Secret};
use crate::trust::{CertificateRecord, TrustError};

/// A Certificate's namespace and name.
pub type Key = (String, String);

/// What the controller takes from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where ClusterIssuers have their Secrets.
    pub cluster_resource_namespace: String,
    /// How many certificates one pass issues at most: what comes meanwhile does not wait for a thousand RSA keys.
    pub batch: usize,
}

impl Default for Settings {
    /// cert-manager's own.
    fn default() -> Self {
        Self { cluster_resource_namespace: "cert-manager".to_owned(), batch: 50 }
    }
}

/// What a pass has done. It is to be kept before it is acted on; otherwise the controller from before the pass is the one that counts.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is to be kept, each in place of an older one.
    pub keep: Vec<CertificateRecord>,
    /// What is to be forgotten: `namespace/name`.
    pub forget: Vec<String>,
    /// Whether a Secret is another one than before.
    pub is_news: bool,
    /// What has happened, and to which Certificate.
    pub events: Vec<(Key, Event)>,
    /// How many certificates were issued.
    pub issued: usize,
    /// When the next pass is due, if nothing else changes.
    pub next: Option<OffsetDateTime>,
}

/// Everything that is known of Certificates.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    pub(super) settings: Settings,
    pub(super) entries: BTreeMap<Key, Entry>,
}

impl Controller {
    /// As it was kept.
    pub fn new(settings: Settings, records: Vec<CertificateRecord>) -> Result<Self, TrustError> {
        let entries = records.into_iter().map(|record| {
            let unreadable = |reason: &dyn std::fmt::Display| {
                TrustError::material(format!("what is kept of Certificate {}", record.certificate), reason)
            };
            let (namespace, name) =
                record.certificate.split_once('/').ok_or_else(|| unreadable(&"it has no namespace"))?;
            let state: State = serde_json::from_str(&record.state).map_err(|error| unreadable(&error))?;
            let key = (namespace.to_owned(), name.to_owned());
            let CertificateRecord { chain_pem, key_pem, ca_pem, .. } = record;
            let is_empty = chain_pem.is_empty() && key_pem.is_empty();
            let held = (!is_empty).then(|| Arc::new(Held::new(chain_pem, key_pem, ca_pem)));
            Ok((key, Entry { kept: Some((state.clone(), held.clone())), state, held }))
        });
        Ok(Self { settings, entries: entries.collect::<Result<_, TrustError>>()? })
    }

    /// Does what is due for every Certificate of the set, authorities before what they sign.
    pub fn pass(&mut self, set: &PolicySet, now: OffsetDateTime) -> Outcome {
        let mut outcome = Outcome::default();
        self.let_go(set, now, &mut outcome);
        let owners = owners(set);
        for (object, is_circle) in self.ordered(set, &owners) {
            if outcome.issued >= self.settings.batch {
                outcome.next = Some(now);
                break;
            }
            match owners.get(&place(object)) {
                Some(owner) if !std::ptr::eq(*owner, object) => self.not_owner(object, owner, now),
                _ => {
                    let signer = self.signer(set, object, is_circle, now);
                    outcome.issued += usize::from(self.one(set, object, signer, now));
                }
            }
            let next = self.entries.get(&key(object)).and_then(|entry| entry.next(&object.spec));
            outcome.next = [outcome.next, next].into_iter().flatten().min();
        }
        for (key, entry) in &mut self.entries {
            let is_kept =
                entry.kept.as_ref().is_some_and(|(state, held)| *state == entry.state && same(held, &entry.held));
            if !is_kept {
                outcome.is_news |= entry.kept.as_ref().is_none_or(|(state, held)| {
                    !same(held, &entry.held) || state.annotations != entry.state.annotations
                });
                let told = entry.kept.as_ref().map_or(&[][..], |(state, _)| &state.events);
                let new = entry.state.events.iter().filter(|event| !told.contains(event));
                outcome.events.extend(new.map(|event| (key.clone(), event.clone())));
                entry.kept = Some((entry.state.clone(), entry.held.clone()));
                outcome.keep.push(entry.record(key));
            }
        }
        outcome
    }

    /// An operator wants another certificate. `false`: there is no such Certificate.
    pub fn renew(&mut self, namespace: &str, name: &str) -> bool {
        let entry = self.entries.get_mut(&(namespace.to_owned(), name.to_owned()));
        entry.is_some_and(|entry| {
            entry.state.wanted = true;
            true
        })
    }

    /// The set with the Secrets that were issued, each in place of the directory's of its name.
    pub fn with_secrets(&self, set: &Arc<PolicySet>) -> Arc<PolicySet> {
        let objects: BTreeMap<Key, &Object<Certificate>> = set.certificates.iter().map(|it| (key(it), &**it)).collect();
        let issued = self.entries.iter().filter(|(_, entry)| !entry.state.is_adopted);
        let issued: Vec<Arc<Object<Secret>>> = issued
            .filter_map(|(key, entry)| {
                let held = entry.held.as_ref()?;
                let object = objects.get(key);
                let at = object.map_or_else(|| Origin::new("(a Certificate that is gone)", 1, 1), |it| it.at.clone());
                let meta = Metadata {
                    name: entry.state.secret.clone(),
                    namespace: key.0.clone(),
                    labels: entry.state.labels.clone(),
                    annotations: entry.state.annotations.clone(),
                    linkerd: Default::default(),
                    creation_timestamp: None,
                };
                let formats = object.map_or(&[][..], |it| &it.spec.output_formats);
                Some(Arc::new(secret::object(meta, at, held, formats)))
            })
            .collect();
        if issued.is_empty() {
            return Arc::clone(set);
        }
        let mut set = PolicySet::clone(set);
        set.secrets = set.secrets.with(issued);
        Arc::new(set)
    }

    /// What an issuer signs with, from the Secrets as they are now.
    pub(super) fn signer(
        &self,
        set: &PolicySet,
        object: &Object<Certificate>,
        is_circle: bool,
        now: OffsetDateTime,
    ) -> Result<Signer, IssuerError> {
        let cluster = &self.settings.cluster_resource_namespace;
        let (namespace, issuer) = (&object.meta.namespace, &object.spec.issuer.value);
        let (issuer, place) = authority::secret_of(set, namespace, issuer, cluster)?;
        let Some((namespace, name)) = place else { return authority::read(&issuer.spec, "", None, now) };
        let shown = format!("{namespace}/{name}");
        if is_circle {
            return Err(IssuerError::Circle(shown));
        }
        authority::read(&issuer.spec, &shown, self.secret(set, namespace, name).as_ref(), now)
    }

    /// A Secret as it is now: issued, or the directory's.
    pub(super) fn secret(&self, set: &PolicySet, namespace: &str, name: &str) -> Option<Secret> {
        let of_name = |(key, entry): &(&Key, &Entry)| key.0 == namespace && entry.state.secret == name;
        let held = self.entries.iter().filter(of_name).find_map(|(_, entry)| entry.held.clone());
        match held {
            Some(held) => {
                let annotations = BTreeMap::new();
                let (name, namespace) = (name.to_owned(), namespace.to_owned());
                let meta = Metadata {
                    name,
                    namespace,
                    labels: BTreeMap::new(),
                    annotations,
                    linkerd: Default::default(),
                    creation_timestamp: None,
                };
                Some(secret::object(meta, Origin::new("", 1, 1), &held, &[]).spec)
            }
            None => directory_secret(set, namespace, name).map(|object| object.spec.clone()),
        }
    }

    /// A Secret outlives its Certificate, as in cert-manager, but no certificate its end; and what the directory has of its name counts.
    fn let_go(&mut self, set: &PolicySet, now: OffsetDateTime, outcome: &mut Outcome) {
        let known: BTreeSet<Key> = set.certificates.iter().map(|it| key(it)).collect();
        let names: BTreeSet<(&str, &str)> =
            set.certificates.iter().map(|it| (&*it.meta.namespace, &*it.spec.secret_name.value)).collect();
        self.entries.retain(|key, entry| {
            let is_taken = names.contains(&(&*key.0, &*entry.state.secret))
                || directory_secret(set, &key.0, &entry.state.secret).is_some();
            let end = entry.held.as_ref().and_then(|held| Some(held.facts.as_ref().ok()?.not_after));
            let stays = known.contains(key) || (!is_taken && end.is_some_and(|end| now < end));
            if !stays {
                outcome.forget.push(format!("{}/{}", key.0, key.1));
                outcome.is_news |= entry.held.is_some();
            } else if !known.contains(key) {
                outcome.next = [outcome.next, end].into_iter().flatten().min();
            }
            stays
        });
    }

    fn not_owner(&mut self, object: &Object<Certificate>, owner: &Object<Certificate>, now: OffsetDateTime) {
        let entry = self.entries.entry(key(object)).or_default();
        entry.held = None;
        entry.state.secret = String::new();
        let message = format!(
            "Secret {} is Certificate {}'s: give each a secretName of its own",
            object.spec.secret_name.value, owner.meta.name
        );
        entry.state.set(READY, false, "DuplicateSecretName", &message, now);
        entry.state.unset(ISSUING);
    }

    /// One Certificate. Whether a certificate was issued.
    fn one(
        &mut self,
        set: &PolicySet,
        object: &Object<Certificate>,
        signer: Result<Signer, IssuerError>,
        now: OffsetDateTime,
    ) -> bool {
        let (spec, request) = (&object.spec, request::of(&object.spec));
        let issuer = format!("{}/{}", spec.issuer.value.kind.name(), spec.issuer.value.name);
        let entry = self.entries.entry(key(object)).or_default();
        entry.look_at(object, directory_secret(set, &object.meta.namespace, &spec.secret_name.value));
        let situation = Situation {
            spec,
            request: &request,
            issuer: &issuer,
            state: &entry.state,
            held: entry.held.as_deref(),
            signer: signer.as_ref().ok(),
        };
        let Some(trigger) = trigger::check(&situation, now) else {
            entry.is_good(object, &request, signer.as_ref().ok(), now);
            return false;
        };
        let state = &mut entry.state;
        match trigger.is_ready {
            true => state.set(READY, true, READY, UP_TO_DATE, now),
            false => state.set(READY, false, trigger.reason, &trigger.message, now),
        }
        match signer {
            Ok(signer) => entry.issue(object, &request, &issuer, &signer, &trigger, now),
            Err(error) => {
                state.set(ISSUING, true, trigger.reason, &format!("{}; waiting: {error}", trigger.message), now);
                state.tell(true, "IssuerNotReady", &error.to_string(), now);
                false
            }
        }
    }
}

pub(super) fn key<S>(object: &Object<S>) -> Key {
    (object.meta.namespace.clone(), object.meta.name.clone())
}

fn directory_secret<'a>(set: &'a PolicySet, namespace: &str, name: &str) -> Option<&'a Object<Secret>> {
    set.secrets.iter().map(|it| &**it).find(|it| it.meta.namespace == namespace && it.meta.name == name)
}

fn same(left: &Option<Arc<Held>>, right: &Option<Arc<Held>>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => Arc::ptr_eq(left, right),
        (None, None) => true,
        _ => false,
    }
}
