//! The state machine: every Certificate, and what is to be done for it at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::authority::{self, Signer, hex};
use super::held::Held;
use super::request::{self, Request};
use super::state::{ISSUING, READY, State};
use super::trigger::{self, Situation, Trigger};
use super::{Event, IssuerError, SigningError, schedule, secret, sign};
use crate::policy::{Certificate, Metadata, Object, Origin, PolicySet, RotationPolicy, Secret};
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

#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) held: Option<Arc<Held>>,
    /// As it is in the store.
    kept: Option<(State, Option<Arc<Held>>)>,
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

    /// Certificates in an order in which authorities are issued first, and whether each would have to sign itself on the way.
    pub(super) fn ordered<'a>(
        &self,
        set: &'a PolicySet,
        owners: &BTreeMap<(&str, &str), &'a Object<Certificate>>,
    ) -> Vec<(&'a Object<Certificate>, bool)> {
        let above = |object: &Object<Certificate>| {
            let (cluster, namespace) = (&self.settings.cluster_resource_namespace, &object.meta.namespace);
            let found = authority::secret_of(set, namespace, &object.spec.issuer.value, cluster).ok()?.1;
            found.and_then(|place| owners.get(&place)).copied()
        };
        let mut all: Vec<_> = set
            .certificates
            .iter()
            .map(|object| {
                let object: &Object<Certificate> = object;
                let (mut depth, mut on_the_way) = (0, object);
                while let Some(next) = above(on_the_way) {
                    depth += 1;
                    if std::ptr::eq(next, object) || depth > set.certificates.len() {
                        return (depth, object, true);
                    }
                    on_the_way = next;
                }
                (depth, object, false)
            })
            .collect();
        all.sort_by_key(|(depth, ..)| *depth);
        all.into_iter().map(|(_, object, is_circle)| (object, is_circle)).collect()
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

const UP_TO_DATE: &str = "Certificate is up to date and has not expired";

impl Entry {
    /// Takes in what the directory has: another Secret than before is an edit, and one that is gone was removed.
    fn look_at(&mut self, object: &Object<Certificate>, found: Option<&Object<Secret>>) {
        let state = &mut self.state;
        if state.secret != object.spec.secret_name.value {
            self.held = None;
            let revision = state.revision;
            let (conditions, events) = (std::mem::take(&mut state.conditions), std::mem::take(&mut state.events));
            let secret = object.spec.secret_name.value.clone();
            *state = State { revision, secret, conditions, events, ..State::default() };
        }
        let digest = found.map(digest_of);
        if digest == state.seen {
            return;
        }
        match found {
            Some(secret) => {
                self.held = Some(Arc::new(Held::of_secret(&secret.spec)));
                state.is_adopted = true;
                state.issuer = secret::issuer_of(&secret.meta.annotations);
                state.request.clear();
                state.authority.clear();
            }
            None if state.is_adopted => {
                self.held = None;
                state.is_adopted = false;
            }
            None => {}
        }
        state.seen = digest;
    }

    /// Nothing is to be done.
    fn is_good(
        &mut self,
        object: &Object<Certificate>,
        request: &Request,
        signer: Option<&Signer>,
        now: OffsetDateTime,
    ) {
        let state = &mut self.state;
        state.failures = 0;
        state.failed_at = None;
        state.unset(ISSUING);
        state.set(READY, true, READY, UP_TO_DATE, now);
        // What came from elsewhere is as it would have been issued. From now on a change of the spec is one.
        state.request.clone_from(request);
        if let Some(signer) = signer {
            signer.fingerprint().clone_into(&mut state.authority);
        }
        if !state.is_adopted {
            state.annotations = secret::annotations(object);
            state.labels = secret::labels(&object.spec);
        }
    }

    fn issue(
        &mut self,
        object: &Object<Certificate>,
        request: &Request,
        issuer: &str,
        signer: &Signer,
        trigger: &Trigger,
        now: OffsetDateTime,
    ) -> bool {
        let (spec, state) = (&object.spec, &mut self.state);
        let with = tried_with(request, issuer, signer);
        let waits = state.failed_at.filter(|_| state.failures > 0 && state.failed_with == with && !state.wanted);
        if waits.is_some_and(|at| now < schedule::retry(at, state.failures)) {
            return false;
        }
        state.tell(false, "Issuing", &trigger.message, now);
        let existing = match spec.private_key.rotation {
            RotationPolicy::Always => None,
            RotationPolicy::Never => self.held.as_ref().and_then(|held| held.key()),
        };
        let is_reused = existing.is_some();
        let signed = match existing {
            Some(key) if !sign::fits(&key, spec.private_key.algorithm) => Err(SigningError::CannotRegenerateKey),
            existing => sign::issue(spec, signer, existing, now),
        };
        state.wanted = false;
        match signed {
            Ok(signed) => {
                let held = Held::new(signed.chain_pem, signed.key_pem, signed.ca_pem);
                let (annotations, labels) = (secret::annotations(object), secret::labels(spec));
                *state = State {
                    revision: state.revision + 1,
                    secret: spec.secret_name.value.clone(),
                    request: request.clone(),
                    issuer: issuer.to_owned(),
                    authority: signer.fingerprint().to_owned(),
                    annotations,
                    labels,
                    seen: state.seen.take(),
                    conditions: std::mem::take(&mut state.conditions),
                    events: std::mem::take(&mut state.events),
                    ..State::default()
                };
                let (word, key) = match is_reused {
                    true => ("Reused", "Reusing private key stored in existing Secret resource"),
                    false => ("Generated", "Stored new private key"),
                };
                state.tell(false, word, key, now);
                state.tell(
                    false,
                    "Issued",
                    &format!("The certificate has been successfully issued, serial {}", signed.serial),
                    now,
                );
                state.unset(ISSUING);
                state.set(READY, true, READY, UP_TO_DATE, now);
                self.held = Some(Arc::new(held));
                true
            }
            Err(error) => {
                state.failures += 1;
                state.failed_at = Some(now);
                state.failed_with = with;
                let message = format!("The certificate request has failed to complete and will be retried: {error}");
                state.set(ISSUING, false, "Failed", &message, now);
                state.tell(true, "Failed", &message, now);
                false
            }
        }
    }

    /// When something is due for it next.
    fn next(&self, spec: &Certificate) -> Option<OffsetDateTime> {
        let state = &self.state;
        let facts = self.held.as_ref().and_then(|held| held.facts.as_ref().ok());
        // While it waits for its issuer, what changes that is a change of the set; but readiness ends with the certificate.
        let is_waiting = state.conditions.iter().any(|it| it.r#type == ISSUING && it.status);
        let failed_at = state.failed_at.filter(|_| state.failures > 0 && !is_waiting);
        let retry = failed_at.map(|at| schedule::retry(at, state.failures));
        let due = facts.map(|it| match is_waiting || retry.is_some() {
            true => it.not_after,
            false => schedule::renewal(spec, it.not_before, it.not_after),
        });
        let ready = state.conditions.iter().any(|it| it.r#type == READY && it.status);
        [retry, due.filter(|_| ready)].into_iter().flatten().min()
    }

    fn record(&self, key: &Key) -> CertificateRecord {
        let held = self.held.as_deref();
        CertificateRecord {
            certificate: format!("{}/{}", key.0, key.1),
            // Maps of texts: there is nothing in it that JSON cannot hold.
            state: serde_json::to_string(&self.state).unwrap_or_default(),
            chain_pem: held.map(|it| it.chain_pem.clone()).unwrap_or_default(),
            ca_pem: held.map(|it| it.ca_pem.clone()).unwrap_or_default(),
            key_pem: held.map(|it| it.key_pem.clone()).unwrap_or_default(),
        }
    }
}

pub(super) fn key<S>(object: &Object<S>) -> Key {
    (object.meta.namespace.clone(), object.meta.name.clone())
}

fn place(object: &Object<Certificate>) -> (&str, &str) {
    (&object.meta.namespace, &object.spec.secret_name.value)
}

/// Of several Certificates that name one Secret the oldest has it, and of those without a creation time the first by name.
pub(super) fn owners(set: &PolicySet) -> BTreeMap<(&str, &str), &Object<Certificate>> {
    let mut owners = BTreeMap::<_, &Object<Certificate>>::new();
    let age = |it: &Object<Certificate>| (it.meta.creation_timestamp.is_none(), it.meta.creation_timestamp);
    for object in &set.certificates {
        let owner = owners.entry(place(object)).or_insert(object);
        if (age(object), &object.meta.name) < (age(owner), &owner.meta.name) {
            *owner = object;
        }
    }
    owners
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

fn digest_of(secret: &Object<Secret>) -> String {
    let mut digest = Sha256::new();
    let mut add = |text: &[u8]| {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    };
    secret.spec.data.iter().for_each(|(key, value)| {
        add(key.as_bytes());
        add(value);
    });
    add(secret::issuer_of(&secret.meta.annotations).as_bytes());
    hex(&digest.finalize())
}

fn tried_with(request: &Request, issuer: &str, signer: &Signer) -> String {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(request).unwrap_or_default());
    digest.update(issuer);
    digest.update(signer.fingerprint());
    hex(&digest.finalize())
}
