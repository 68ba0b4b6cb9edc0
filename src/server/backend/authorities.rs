//! Whom the mesh trusts, as the admin API asks: bundles of trust domains, and authorities that are brought while the server runs.

use std::sync::Arc;

use time::OffsetDateTime;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::super::blocking;
use super::super::proxies::Proxies;
use super::{internal, rfc3339};
use crate::admin::Failure;
use crate::admin::api::{
    AuthorityRequest, AuthorityStatus, BundleDocument, BundleStatus, ImportAuthorityRequest, ImportBundleRequest,
    IntermediateReport, RemoveBundleRequest, RootStatus,
};
use crate::identity::TrustDomain;
use crate::trust::{Brought, FederatedBundle, TrustBundle, TrustError};

pub(super) struct Authorities<'a> {
    pub(super) proxies: &'a Proxies,
    pub(super) now: OffsetDateTime,
}

impl Authorities<'_> {
    pub(super) async fn bundles(&self) -> Result<Vec<BundleStatus>, Failure> {
        let trust = Arc::clone(&self.proxies.trust);
        let own = blocking(move || trust.published_bundle()).await.map_err(internal)?;
        let own = BundleStatus {
            trust_domain: own.bundle.trust_domain().to_string(),
            own: true,
            accepted: true,
            sequence: Some(own.sequence),
            roots: roots(&own.bundle),
            ..BundleStatus::default()
        };
        let federation = self.proxies.trust.federation();
        Ok(std::iter::once(own).chain(federation.bundles().map(|it| self.status(it))).collect())
    }

    fn status(&self, it: &FederatedBundle) -> BundleStatus {
        let trust_domain = it.bundle.trust_domain().to_string();
        let model = self.proxies.model.load();
        let accepted = model.as_ref().is_some_and(|model| model.mesh.settings().federated.contains(&trust_domain));
        BundleStatus {
            trust_domain,
            own: false,
            accepted,
            sequence: it.sequence,
            refresh_hint_seconds: it.refresh_hint,
            imported_at: Some(rfc3339(it.imported_at)),
            roots: roots(&it.bundle),
        }
    }

    pub(super) async fn bundle(&self, trust_domain: Option<String>) -> Result<BundleDocument, Failure> {
        let trust = Arc::clone(&self.proxies.trust);
        let own = blocking(move || trust.published_bundle()).await.map_err(internal)?;
        let wanted = trust_domain.as_deref().map(parse).transpose()?;
        let (bundle, spiffe) = match wanted.filter(|wanted| wanted != own.bundle.trust_domain()) {
            None => (own.bundle.clone(), own.spiffe_json()),
            Some(wanted) => {
                let federation = self.proxies.trust.federation();
                let found = federation.bundle(&wanted).ok_or_else(|| unknown(&wanted))?;
                (found.bundle.clone(), found.spiffe_json())
            }
        };
        Ok(BundleDocument {
            trust_domain: bundle.trust_domain().to_string(),
            pem: bundle.pem().to_owned(),
            spiffe: spiffe.map_err(internal)?,
        })
    }

    pub(super) async fn import_bundle(&self, request: ImportBundleRequest) -> Result<BundleStatus, Failure> {
        let trust_domain = parse(&request.trust_domain)?;
        let (trust, now) = (Arc::clone(&self.proxies.trust), self.now);
        let taken = blocking(move || trust.import_bundle(&trust_domain, &request.document, now)).await;
        let taken = taken.map_err(refused)?;
        info!(trust_domain = %taken.bundle.trust_domain(), roots = taken.bundle.roots().len(), "the bundle of another trust domain is taken in");
        self.proxies.changed.notify_one();
        Ok(self.status(&taken))
    }

    pub(super) async fn remove_bundle(&self, request: RemoveBundleRequest) -> Result<(), Failure> {
        let trust_domain = parse(&request.trust_domain)?;
        let (trust, named) = (Arc::clone(&self.proxies.trust), trust_domain.clone());
        if !blocking(move || trust.remove_bundle(&named)).await.map_err(internal)? {
            return Err(unknown(&trust_domain));
        }
        info!(%trust_domain, "the bundle of another trust domain is forgotten");
        self.proxies.changed.notify_one();
        Ok(())
    }

    pub(super) async fn request(&self) -> Result<AuthorityRequest, Failure> {
        let (trust, now) = (Arc::clone(&self.proxies.trust), self.now);
        let csr = blocking(move || trust.request_authority(now)).await.map_err(internal)?;
        info!("the key of an intermediate is made, for a certificate that is signed elsewhere");
        Ok(AuthorityRequest { csr })
    }

    pub(super) async fn import(&self, request: ImportAuthorityRequest) -> Result<IntermediateReport, Failure> {
        let ImportAuthorityRequest { chain, root, key } = request;
        let key = key.map(Zeroizing::new);
        let (trust, now) = (Arc::clone(&self.proxies.trust), self.now);
        let taken = blocking(move || {
            let brought = Brought { chain: &chain, root: &root, key: key.as_ref().map(|key| key.as_str()) };
            trust.import_authority(brought, now)
        });
        let (brought, done) = taken.await.map_err(refused)?;
        info!(serial = %brought.serial, subject = %brought.subject, waits = done.waiting, "an intermediate is brought");
        self.proxies.changed.notify_one();
        let signs = self.proxies.trust.intermediate();
        let intermediate = AuthorityStatus { serial: signs.serial.to_string(), not_after: rfc3339(signs.not_after) };
        Ok(IntermediateReport { intermediate, waiting: done.waiting })
    }
}

fn roots(bundle: &TrustBundle) -> Vec<RootStatus> {
    let root = |root: &crate::trust::Root| RootStatus {
        serial: root.serial.to_string(),
        subject: root.subject.clone(),
        not_before: rfc3339(root.not_before),
        not_after: rfc3339(root.not_after),
    };
    bundle.roots().iter().map(root).collect()
}

fn parse(text: &str) -> Result<TrustDomain, Failure> {
    text.parse().map_err(|error| Failure::Invalid(format!("not a trust domain: {error}"), String::new()))
}

fn unknown(trust_domain: &TrustDomain) -> Failure {
    let help = "countersign bundle list shows those that there are".to_owned();
    Failure::NotFound(format!("there is no bundle of {trust_domain}"), help)
}

/// What was brought is at fault, or the server.
fn refused(error: TrustError) -> Failure {
    warn!(%error, "not taken in");
    match error {
        error @ (TrustError::Bundle { .. } | TrustError::Material { .. }) => {
            Failure::Invalid(error.to_string(), "nothing has changed".to_owned())
        }
        error => internal(error),
    }
}
