//! One Certificate: how it stands, and what is done for it.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::authority::{Signer, hex};
use super::controller::Key;
use super::held::Held;
use super::request::Request;
use super::state::{ISSUING, READY, State};
use super::trigger::Trigger;
use super::{SigningError, schedule, secret, sign};
use crate::policy::{Certificate, Object, RotationPolicy, Secret};
use crate::trust::CertificateRecord;

#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) held: Option<Arc<Held>>,
    /// As it is in the store.
    pub(super) kept: Option<(State, Option<Arc<Held>>)>,
}

pub(super) const UP_TO_DATE: &str = "Certificate is up to date and has not expired";

impl Entry {
    /// Takes in what the directory has: another Secret than before is an edit, and one that is gone was removed.
    pub(super) fn look_at(&mut self, object: &Object<Certificate>, found: Option<&Object<Secret>>) {
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
    pub(super) fn is_good(
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

    pub(super) fn issue(
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
    pub(super) fn next(&self, spec: &Certificate) -> Option<OffsetDateTime> {
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

    pub(super) fn record(&self, key: &Key) -> CertificateRecord {
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
