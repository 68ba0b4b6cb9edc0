//! What proxies hold of secrets, for operators: each certificate, and who has what everyone should have.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use super::super::flavour::flavour;
use super::super::model::{Described, Model};
use super::{ServerBackend, not_ready, rfc3339};
use crate::admin::Failure;
use crate::admin::api::{
    AdoptionRequest, AdoptionState, AdoptionStatus, MissingProxy, SecretState, SecretStatus, SecretType,
};
use crate::fleet::{Adoption, Description, Look, Missing, Reason, ResourceRecord, State};
use crate::mesh::WorkloadKey;
use crate::secrets::{self, Validity};
use crate::xds::{ResourceType, Version};

/// A secret as it is told of: its kind, and the certificates in it. None of them: they are in a file of the proxy's own machine.
type Known = (SecretType, Vec<Validity>);

impl ServerBackend {
    /// The rows of every proxy, or of the proxies of one workload.
    pub(super) fn secret_rows(&self, node: Option<&str>) -> Result<Vec<SecretStatus>, Failure> {
        let (model, now) = (self.proxies.model.load_full().ok_or_else(not_ready)?, (self.clock)());
        let of_streams = self.proxies.fleet.look(|stream: Look<'_>| {
            let workload = &stream.description().workload;
            let is_asked = node.is_none_or(|node| node == workload);
            is_asked.then(|| (workload.clone(), stream.resources(ResourceType::Secret)))
        });
        if let (Some(node), true) = (node, of_streams.is_empty()) {
            let help = "countersign proxy-status lists those that are".to_owned();
            return Err(Failure::NotFound(format!("no proxy of {node} is connected"), help));
        }
        let mut rows = Vec::new();
        for (workload, held) in of_streams {
            for (name, record) in held {
                rows.extend(self.rows_of(&model, &workload, &name, &record, now));
            }
        }
        Ok(rows)
    }

    fn rows_of(
        &self,
        model: &Model,
        workload: &str,
        name: &str,
        record: &ResourceRecord,
        now: OffsetDateTime,
    ) -> Vec<SecretStatus> {
        let (kind, certificates) = self.known(model, workload, name, now).unwrap_or_default();
        let row = SecretStatus {
            node: workload.to_owned(),
            name: name.to_owned(),
            r#type: kind,
            status: match record.state() {
                State::Synced => SecretState::Active,
                State::Rejected => SecretState::Rejected,
                State::Stale | State::NotSent => SecretState::Warming,
            },
            ..SecretStatus::default()
        };
        if certificates.is_empty() {
            return vec![row];
        }
        let rows = certificates.into_iter().map(|it| SecretStatus {
            valid: Some(it.not_before <= now && now < it.not_after),
            serial: it.serial.to_string(),
            not_before: rfc3339(it.not_before),
            not_after: rfc3339(it.not_after),
            ..row.clone()
        });
        rows.collect()
    }

    /// What is served to a workload under this name; `None` for what is not served any more.
    fn known(&self, model: &Model, workload: &str, name: &str, now: OffsetDateTime) -> Option<Known> {
        let (key, served): (WorkloadKey, _) = (workload.parse().ok()?, self.proxies.roots());
        let is_own = |name: &str| model.mesh.workload(&key).is_some_and(|workload| workload.spiffe_id == name);
        match name {
            name if name == secrets::WORKLOAD || is_own(name) => {
                let leaf = self.proxies.certificate(&key)?;
                let (serial, not_before, not_after) = (leaf.serial.clone(), leaf.not_before, leaf.not_after);
                Some((SecretType::CertChain, vec![Validity { serial, not_before, not_after }]))
            }
            name if !served.bundles(name).is_empty() => {
                let roots = served.bundles(name).into_iter().flat_map(|bundle| bundle.roots()).map(|root| Validity {
                    serial: root.serial.clone(),
                    not_before: root.not_before,
                    not_after: root.not_after,
                });
                Some((SecretType::Ca, roots.collect()))
            }
            name => {
                let workload = model.mesh.workload(&key)?;
                let described = |flavour| model.class(workload, flavour, now).described.get(name).cloned();
                let named = self.proxies.flavours(&key).into_iter().find_map(described);
                let granted = || model.granted(workload, now).described.get(name).cloned();
                let Described { is_roots, certificates } = named.or_else(granted)?;
                Some((if is_roots { SecretType::Ca } else { SecretType::CertChain }, certificates))
            }
        }
    }

    /// Who has acknowledged a secret, once all have or the time to wait is over.
    pub(super) async fn adoption_status(&self, request: AdoptionRequest) -> Result<AdoptionStatus, Failure> {
        let wanted = match &request.version {
            None => None,
            Some(text) => Some(Version::parse(text).ok_or_else(|| {
                let help = "a version is 32 hexadecimal digits, as GET /v1/adoption shows them".to_owned();
                Failure::Invalid(format!("`{}` is no version", text.escape_default()), help)
            })?),
        };
        let until = Instant::now() + Duration::from_secs(request.wait_seconds.unwrap_or(0));
        let mut answers = self.proxies.fleet.answers();
        loop {
            let status = self.adoption_now(&request.secret, wanted)?;
            if status.complete || !matches!(timeout_at(until, answers.changed()).await, Ok(Ok(()))) {
                return Ok(status);
            }
        }
    }

    /// Each workload is to have what it is served now, or `wanted`. To whom no such secret is served, it is no question.
    fn adoption_now(&self, secret: &str, wanted: Option<Version>) -> Result<AdoptionStatus, Failure> {
        let served = self.proxies.served_versions(secret);
        if served.is_empty() {
            let help = "countersign secrets lists those that proxies hold".to_owned();
            return Err(Failure::NotFound(
                format!("no connected proxy is served a secret {}", secret.escape_default()),
                help,
            ));
        }
        let expected = |who: &Description| {
            let takes_secrets = flavour(&who.node).is_proxy();
            served.get(&who.workload).filter(|_| takes_secrets).map(|now| wanted.unwrap_or(*now))
        };
        let adoption = self.proxies.fleet.adoption(ResourceType::Secret, secret, expected);
        Ok(status(secret, wanted, &adoption))
    }
}

fn status(secret: &str, wanted: Option<Version>, adoption: &Adoption) -> AdoptionStatus {
    AdoptionStatus {
        secret: secret.to_owned(),
        version: wanted.map(|version| version.to_string()),
        complete: adoption.is_complete(),
        acknowledged: adoption.acknowledged,
        missing: adoption.missing.iter().map(missing).collect(),
        unused: adoption.unused.iter().map(|who| who.workload.clone()).collect(),
        away: adoption.gone.len(),
    }
}

fn missing(it: &Missing) -> MissingProxy {
    let (state, reason, event) = match &it.reason {
        Reason::NotSubscribed => (AdoptionState::NotAsked, "it has not asked for it yet".to_owned(), None),
        Reason::InFlight { since } => {
            (AdoptionState::Waiting, format!("sent at {} and not acknowledged", rfc3339(*since)), None)
        }
        Reason::Rejected(refusal) => (AdoptionState::Rejected, format!("it refuses it: {}", refusal.error), None),
        Reason::Holds(None) => (AdoptionState::Behind, "it has none".to_owned(), None),
        Reason::Holds(Some(event)) => {
            (AdoptionState::Behind, format!("it has another since {}", rfc3339(event.at)), Some(event))
        }
    };
    MissingProxy {
        node: it.description.workload.clone(),
        node_id: it.description.node.id.clone(),
        identity: it.description.identity.clone().unwrap_or_default(),
        state,
        reason,
        version: event.map(|event| event.version.to_string()),
        serial: event.and_then(|event| event.serial.as_deref().map(str::to_owned)),
    }
}
