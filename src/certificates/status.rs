//! What people are told: cert-manager's status of Certificates and issuers.

use time::OffsetDateTime;

use super::controller::{Controller, key};
use super::order::owners;
use super::state::{Condition, Event};
use super::{IssuerError, authority, schedule};
use crate::policy::{Certificate, IssuerKind, IssuerRef, Object, PolicySet};
use crate::trust::Serial;

/// A Certificate as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it is written: `file:line`.
    pub at: String,
    /// `spec.secretName`.
    pub secret: String,
    /// `Kind/name` of its issuer.
    pub issuer: String,
    /// `commonName`.
    pub common_name: String,
    /// `dnsNames`.
    pub dns_names: Vec<String>,
    /// How many certificates were issued for it.
    pub revision: u64,
    /// The serial number of the certificate in the Secret.
    pub serial: Option<Serial>,
    /// Its first second.
    pub not_before: Option<OffsetDateTime>,
    /// Its last second.
    pub not_after: Option<OffsetDateTime>,
    /// When it is renewed.
    pub renewal_time: Option<OffsetDateTime>,
    /// Failures since the last success.
    pub failures: u32,
    /// `Ready`, and `Issuing` while there is something to say about it.
    pub conditions: Vec<Condition>,
    /// What has happened, the oldest first.
    pub events: Vec<Event>,
}

/// An issuer as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerStatus {
    /// `Issuer` or `ClusterIssuer`.
    pub kind: &'static str,
    /// Its namespace; empty for a ClusterIssuer.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it can sign, and if not, why.
    pub ready: Result<(), IssuerError>,
}

impl Controller {
    /// Every Certificate of the set.
    pub fn statuses(&self, set: &PolicySet) -> Vec<CertificateStatus> {
        set.certificates.iter().map(|object| self.status(object)).collect()
    }

    fn status(&self, object: &Object<Certificate>) -> CertificateStatus {
        let (spec, entry) = (&object.spec, self.entries.get(&key(object)));
        let facts = entry.and_then(|entry| entry.held.as_ref()?.facts.as_ref().ok());
        let state = entry.map(|entry| &entry.state);
        CertificateStatus {
            namespace: object.meta.namespace.clone(),
            name: object.meta.name.clone(),
            at: object.at.to_string(),
            secret: spec.secret_name.value.clone(),
            issuer: format!("{}/{}", spec.issuer.value.kind.name(), spec.issuer.value.name),
            common_name: spec.common_name.clone().unwrap_or_default(),
            dns_names: spec.names.dns.clone(),
            revision: state.map_or(0, |state| state.revision),
            serial: facts.map(|facts| facts.serial.clone()),
            not_before: facts.map(|facts| facts.not_before),
            not_after: facts.map(|facts| facts.not_after),
            renewal_time: facts.map(|facts| schedule::renewal(spec, facts.not_before, facts.not_after)),
            failures: state.map_or(0, |state| state.failures),
            conditions: state.map(|state| state.conditions.clone()).unwrap_or_default(),
            events: state.map(|state| state.events.clone()).unwrap_or_default(),
        }
    }

    /// Every issuer of the set.
    pub fn issuers(&self, set: &PolicySet, now: OffsetDateTime) -> Vec<IssuerStatus> {
        let of = |kind: IssuerKind, namespace: &str, name: &str| {
            let (reference, cluster) =
                (IssuerRef { kind, name: name.to_owned() }, &self.settings.cluster_resource_namespace);
            let ready = authority::secret_of(set, namespace, &reference, cluster).and_then(|(issuer, place)| {
                let place = place.unwrap_or_default();
                let secret = self.secret(set, place.0, place.1);
                authority::read(&issuer.spec, &format!("{}/{}", place.0, place.1), secret.as_ref(), now).map(drop)
            });
            IssuerStatus { kind: kind.name(), namespace: namespace.to_owned(), name: name.to_owned(), ready }
        };
        let own = set.issuers.iter().map(|it| of(IssuerKind::Issuer, &it.meta.namespace, &it.meta.name));
        own.chain(set.cluster_issuers.iter().map(|it| of(IssuerKind::ClusterIssuer, "", &it.meta.name))).collect()
    }

    /// The Certificate whose Secret this is.
    pub fn owner<'a>(&self, set: &'a PolicySet, namespace: &str, secret: &str) -> Option<&'a Object<Certificate>> {
        owners(set).get(&(namespace, secret)).copied()
    }
}
