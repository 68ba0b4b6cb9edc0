//! The trust bundle: the roots that peers of a trust domain are verified against.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::certificate::{pem_of, read};
use super::{Serial, TrustError};
use crate::identity::TrustDomain;

/// One root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// Its serial number.
    pub serial: Serial,
    /// Its first second.
    pub not_before: OffsetDateTime,
    /// Its last second.
    pub not_after: OffsetDateTime,
    /// Its name.
    pub subject: String,
}

/// The roots of a trust domain: at least one, since an empty bundle turns Envoy's verification off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    roots: Vec<Root>,
    /// How many of them are the hierarchy's own, which go first.
    own: usize,
    pem: Arc<str>,
    lists: Option<RevocationLists>,
}

/// The revocation lists that belong to a bundle, each concatenated as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RevocationLists {
    /// Those of every intermediate below the roots.
    pub(super) intermediates: Arc<str>,
    /// Those of every root; `None` where a root's key is elsewhere.
    pub(super) roots: Option<Arc<str>>,
    /// The intermediates that have one.
    pub(super) listed: Vec<Serial>,
}

impl TrustBundle {
    /// A bundle of these certificates. An error if there is none, or one cannot be read.
    pub fn new(trust_domain: TrustDomain, certificates: Vec<CertificateDer<'static>>) -> Result<Self, TrustError> {
        if certificates.is_empty() {
            return Err(TrustError::material(format!("the trust bundle of {trust_domain}"), "it has no root"));
        }
        let pem = certificates.iter().map(|der| pem_of(der)).collect::<String>().into();
        let roots: Vec<_> = certificates.into_iter().map(Root::new).collect::<Result<_, _>>()?;
        Ok(Self { trust_domain, own: roots.len(), roots, pem, lists: None })
    }

    /// The same with further roots, under which nothing is signed here: those that are not there yet.
    pub(super) fn with_further(self, further: &[CertificateDer<'static>]) -> Result<Self, TrustError> {
        let mut all: Vec<_> = self.roots.iter().map(|root| root.der.clone()).collect();
        for der in further.iter().filter(|der| !self.roots.iter().any(|root| root.der == **der)) {
            if !all.contains(der) {
                all.push(der.clone());
            }
        }
        Ok(Self { own: self.own, lists: self.lists.clone(), ..Self::new(self.trust_domain, all)? })
    }

    /// The roots that a rotation speaks of: all but those that are trusted because the upstream authority's bundle names them.
    pub fn own_roots(&self) -> &[Root] {
        &self.roots[..self.own]
    }

    /// Whether there are roots that are trusted because the upstream authority's bundle names them.
    pub(super) fn has_further(&self) -> bool {
        self.own < self.roots.len()
    }

    /// Whose roots they are.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The roots. There is at least one.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The same roots with these revocation lists.
    pub(super) fn with_lists(&self, lists: Option<RevocationLists>) -> Self {
        Self { lists, ..self.clone() }
    }

    pub(super) fn lists(&self) -> Option<&RevocationLists> {
        self.lists.as_ref()
    }

    /// The revocation lists of every intermediate below these roots, concatenated as PEM; `None` while nothing is revoked.
    pub fn crls(&self) -> Option<&str> {
        self.lists.as_ref().map(|lists| &*lists.intermediates)
    }

    /// The same of the roots themselves, for whoever looks up whole chains. `None` also where a root's key is elsewhere.
    pub fn root_crls(&self) -> Option<&str> {
        self.lists.as_ref()?.roots.as_deref()
    }

    /// The intermediates that have one.
    pub(super) fn listed(&self) -> &[Serial] {
        self.lists.as_ref().map_or(&[], |lists| &lists.listed)
    }

    /// All roots, concatenated as PEM (RFC 7468).
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

impl Root {
    fn new(der: CertificateDer<'static>) -> Result<Self, TrustError> {
        let facts = read(&der)?;
        let (serial, not_before, not_after, subject) = (facts.serial, facts.not_before, facts.not_after, facts.subject);
        Ok(Self { der, serial, not_before, not_after, subject })
    }
}
