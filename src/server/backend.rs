//! What the admin API asks of the server.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::analyst;
use super::issuing::Issuing;
use super::model::Model;
use super::proxies::Proxies;
use super::rotation::Rotation;
use super::staging::Staging;
use super::{Clock, blocking};
use crate::admin::api::{
    AdoptionRequest, AdoptionStatus, AuthorityRequest, BootstrapMaterial, BootstrapRequest, BundleDocument,
    BundleStatus, CertificateStatus, ExportCertificateRequest, ExportedCertificate, ImportAuthorityRequest,
    ImportBundleRequest, IntermediateReport, ModeChangeRequest, ModeChangeStatus, NewToken, ProxyStatus,
    RemoveBundleRequest, RenewCertificatesRequest, RevokeReport, RevokeRequest, RevokedCertificate,
    RootRotationRequest, RootRotationStatus, RotateReport, RotateRequest, SecretStatus, ServerStatus, TokenRequest,
    TokenStatus,
};
use crate::admin::{Backend, Failure};
use crate::analysis::{self, Filter, Report as Findings, ServiceDescription, Way, WorkloadDescription};
use crate::identity::SpiffeId;
use crate::mesh::{Workload, WorkloadKey};
use crate::source;

mod authorities;
mod certificates;
mod held;
mod mode_change;
mod node;
mod revocation;
mod rotation;
mod status;
mod workloads;

use authorities::Authorities;

/// The running server, as the admin API sees it.
pub(super) struct ServerBackend {
    pub(super) proxies: Proxies,
    pub(super) policy: watch::Receiver<Arc<source::State>>,
    pub(super) issuing: Issuing,
    pub(super) xds_address: SocketAddr,
    pub(super) clock: Clock,
    pub(super) rotation: Rotation,
    pub(super) staging: Staging,
}

impl ServerBackend {
    fn authorities(&self) -> Authorities<'_> {
        Authorities { proxies: &self.proxies, now: (self.clock)() }
    }

    fn workload(&self, name: &str) -> Result<Arc<Workload>, Failure> {
        let model = self.proxies.model.load_full().ok_or_else(not_ready)?;
        let key = WorkloadKey::from_str(name)
            .map_err(|_| Failure::Invalid(format!("{name} is not NAMESPACE/NAME"), String::new()))?;
        model.mesh.workload(&key).cloned().ok_or_else(|| {
            let help = "write a WorkloadEntry of that namespace and name into the policy directory".to_owned();
            Failure::NotFound(format!("there is no workload {name} in the policy"), help)
        })
    }

    /// Asks the model that is served, off the async threads: an answer about all pairs takes a while.
    async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Model) -> T + Send + 'static) -> Result<T, Failure> {
        let model = self.proxies.model.load_full().ok_or_else(not_ready)?;
        Ok(blocking(move || question(&model)).await)
    }
}

impl Backend for ServerBackend {
    fn ready(&self) -> bool {
        self.proxies.model.load().is_some()
    }

    fn metrics(&self) -> String {
        self.proxies.metrics.render()
    }

    async fn status(&self) -> Result<ServerStatus, Failure> {
        Ok(self.server_status().await)
    }

    async fn findings(&self) -> Result<Findings, Failure> {
        let (now, limits) = ((self.clock)(), analyst::limits(&self.proxies));
        let served = self.ask(move |model| analysis::analyze(model.subject(), &limits, now)).await?;
        let state = self.policy.borrow().clone();
        Ok(match &state.rejected {
            Some(rejected) => served.and(analysis::refused(&rejected.errors)),
            None => served,
        })
    }

    async fn ways(&self, filter: Filter) -> Result<Vec<Way>, Failure> {
        self.ask(move |model| analysis::ways(&model.mesh, &filter)).await
    }

    async fn describe_workload(&self, name: String) -> Result<WorkloadDescription, Failure> {
        let key = self.workload(&name)?.key.clone();
        let described = self.ask(move |model| analysis::describe_workload(&model.mesh, &key)).await?;
        described.ok_or_else(|| Failure::NotFound(format!("there is no workload {name} any more"), String::new()))
    }

    async fn describe_service(&self, host: String) -> Result<Vec<ServiceDescription>, Failure> {
        self.ask(move |model| analysis::describe_service(&model.mesh, &host)).await
    }

    async fn proxies(&self) -> Result<Vec<ProxyStatus>, Failure> {
        Ok(self.proxy_statuses())
    }

    async fn secrets(&self, node: Option<String>) -> Result<Vec<SecretStatus>, Failure> {
        self.secret_rows(node.as_deref())
    }

    async fn adoption(&self, request: AdoptionRequest) -> Result<AdoptionStatus, Failure> {
        self.adoption_status(request).await
    }

    async fn rotate(&self, request: RotateRequest) -> Result<RotateReport, Failure> {
        self.rotate_workloads(request).await
    }

    async fn root_rotation(&self) -> Result<RootRotationStatus, Failure> {
        Ok(self.root_rotation_status().await)
    }

    async fn rotate_root(&self, request: RootRotationRequest) -> Result<RootRotationStatus, Failure> {
        self.order_root_rotation(request).await
    }

    async fn mode_change(&self) -> Result<ModeChangeStatus, Failure> {
        Ok(self.mode_change_status().await)
    }

    async fn advance_mode_change(&self, request: ModeChangeRequest) -> Result<ModeChangeStatus, Failure> {
        self.advance_modes(request).await
    }

    async fn rotate_intermediate(&self) -> Result<IntermediateReport, Failure> {
        self.replace_intermediate().await
    }

    async fn revoke(&self, request: RevokeRequest) -> Result<RevokeReport, Failure> {
        self.revoke_certificates(request).await
    }

    async fn revocations(&self) -> Result<Vec<RevokedCertificate>, Failure> {
        Ok(self.revoked())
    }

    async fn bundles(&self) -> Result<Vec<BundleStatus>, Failure> {
        self.authorities().bundles().await
    }

    async fn bundle(&self, trust_domain: Option<String>) -> Result<BundleDocument, Failure> {
        self.authorities().bundle(trust_domain).await
    }

    async fn import_bundle(&self, request: ImportBundleRequest) -> Result<BundleStatus, Failure> {
        self.authorities().import_bundle(request).await
    }

    async fn remove_bundle(&self, request: RemoveBundleRequest) -> Result<(), Failure> {
        self.authorities().remove_bundle(request).await
    }

    async fn request_authority(&self) -> Result<AuthorityRequest, Failure> {
        self.authorities().request().await
    }

    async fn import_authority(&self, request: ImportAuthorityRequest) -> Result<IntermediateReport, Failure> {
        self.authorities().import(request).await
    }

    async fn certificates(&self) -> Result<Vec<CertificateStatus>, Failure> {
        Ok(certificates::statuses(&self.issuing))
    }

    async fn renew_certificates(&self, request: RenewCertificatesRequest) -> Result<Vec<CertificateStatus>, Failure> {
        certificates::renew(&self.issuing, request).await
    }

    async fn export_certificate(&self, request: ExportCertificateRequest) -> Result<ExportedCertificate, Failure> {
        certificates::export(&self.issuing, &request)
    }

    async fn bootstrap(&self, request: BootstrapRequest) -> Result<BootstrapMaterial, Failure> {
        self.bootstrap_material(request).await
    }

    async fn create_token(&self, request: TokenRequest) -> Result<NewToken, Failure> {
        self.new_token(request).await
    }

    async fn tokens(&self) -> Result<Vec<TokenStatus>, Failure> {
        self.token_statuses().await
    }

    async fn revoke_token(&self, id: String) -> Result<(), Failure> {
        self.withdraw_token(id).await
    }
}

fn identity_of(workload: &Workload) -> Result<SpiffeId, Failure> {
    workload
        .spiffe_id
        .parse()
        .map_err(|error| Failure::Conflict(format!("{} has no valid identity: {error}", workload.key), String::new()))
}

pub(super) fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

pub(super) fn not_ready() -> Failure {
    Failure::Unavailable("no policy is loaded yet".to_owned(), "countersign status says why".to_owned())
}

pub(super) fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::Internal(error.to_string(), "the server's log has more".to_owned())
}
