//! What the admin API asks of the server.

use std::future::Future;

use crate::analysis::{Filter, Report, ServiceDescription, Way, WorkloadDescription};

use super::api::{
    AdoptionRequest, AdoptionStatus, AuthorityRequest, BootstrapMaterial, BootstrapRequest, BundleDocument,
    BundleStatus, CertificateStatus, ExportCertificateRequest, ExportedCertificate, ImportAuthorityRequest,
    ImportBundleRequest, IntermediateReport, ModeChangeRequest, ModeChangeStatus, NewToken, ProxyStatus,
    RemoveBundleRequest, RenewCertificatesRequest, RevokeReport, RevokeRequest, RevokedCertificate,
    RootRotationRequest, RootRotationStatus, RotateReport, RotateRequest, SecretStatus, ServerStatus, TokenRequest,
    TokenStatus,
};

/// The server as the admin API sees it. Names in requests have been checked for form (`namespace/name`) and for nothing else.
///
/// A call is dropped at its next `await` when the caller goes away or the time is over; what it has begun must be whole then.
pub trait Backend: Send + Sync + 'static {
    /// Whether policy and certificates are served: `/ready`.
    fn ready(&self) -> bool;

    /// The metrics as OpenMetrics text.
    fn metrics(&self) -> String;

    /// The server itself.
    fn status(&self) -> impl Future<Output = Result<ServerStatus, Failure>> + Send;

    /// What is wrong or surprising in the policy that is served, and in a newer one that is refused.
    fn findings(&self) -> impl Future<Output = Result<Report, Failure>> + Send;

    /// How clients reach what they reach, as far as `filter` lets through.
    fn ways(&self, filter: Filter) -> impl Future<Output = Result<Vec<Way>, Failure>> + Send;

    /// The workload `namespace/name`, and what governs it.
    fn describe_workload(&self, name: String) -> impl Future<Output = Result<WorkloadDescription, Failure>> + Send;

    /// The services of this host. Empty: there is none.
    fn describe_service(&self, host: String) -> impl Future<Output = Result<Vec<ServiceDescription>, Failure>> + Send;

    /// Every connected proxy.
    fn proxies(&self) -> impl Future<Output = Result<Vec<ProxyStatus>, Failure>> + Send;

    /// The certificates that proxies hold: all, or those of the proxy `namespace/name`.
    fn secrets(&self, node: Option<String>) -> impl Future<Output = Result<Vec<SecretStatus>, Failure>> + Send;

    /// Who has acknowledged a secret, and who has not. `wait_seconds` is at most [`super::api::MAX_WAIT_SECONDS`].
    fn adoption(&self, request: AdoptionRequest) -> impl Future<Output = Result<AdoptionStatus, Failure>> + Send;

    /// New workload certificates. `wait_seconds` is at most [`super::api::MAX_WAIT_SECONDS`].
    fn rotate(&self, request: RotateRequest) -> impl Future<Output = Result<RotateReport, Failure>> + Send;

    /// The root rotation that is under way, or the last one.
    fn root_rotation(&self) -> impl Future<Output = Result<RootRotationStatus, Failure>> + Send;

    /// Does what the operator wants with it.
    fn rotate_root(
        &self,
        request: RootRotationRequest,
    ) -> impl Future<Output = Result<RootRotationStatus, Failure>> + Send;

    /// The ports that are on their way to another mTLS mode.
    fn mode_change(&self) -> impl Future<Output = Result<ModeChangeStatus, Failure>> + Send;

    /// Takes their next step.
    fn advance_mode_change(
        &self,
        request: ModeChangeRequest,
    ) -> impl Future<Output = Result<ModeChangeStatus, Failure>> + Send;

    /// Lets another intermediate sign.
    fn rotate_intermediate(&self) -> impl Future<Output = Result<IntermediateReport, Failure>> + Send;

    /// Makes certificates worthless before their end.
    fn revoke(&self, request: RevokeRequest) -> impl Future<Output = Result<RevokeReport, Failure>> + Send;

    /// What is revoked and could still be believed or renewed, the oldest first.
    fn revocations(&self) -> impl Future<Output = Result<Vec<RevokedCertificate>, Failure>> + Send;

    /// The bundles of all trust domains; our own is the first.
    fn bundles(&self) -> impl Future<Output = Result<Vec<BundleStatus>, Failure>> + Send;

    /// The bundle of a trust domain for others; `None` is our own.
    fn bundle(&self, trust_domain: Option<String>) -> impl Future<Output = Result<BundleDocument, Failure>> + Send;

    /// Takes in the bundle of another trust domain.
    fn import_bundle(&self, request: ImportBundleRequest)
    -> impl Future<Output = Result<BundleStatus, Failure>> + Send;

    /// Forgets the bundle of another trust domain.
    fn remove_bundle(&self, request: RemoveBundleRequest) -> impl Future<Output = Result<(), Failure>> + Send;

    /// A request for the certificate of an intermediate, whose key is kept here.
    fn request_authority(&self) -> impl Future<Output = Result<AuthorityRequest, Failure>> + Send;

    /// Lets an intermediate sign that is brought.
    fn import_authority(
        &self,
        request: ImportAuthorityRequest,
    ) -> impl Future<Output = Result<IntermediateReport, Failure>> + Send;

    /// Every Certificate of operators' own issuers.
    fn certificates(&self) -> impl Future<Output = Result<Vec<CertificateStatus>, Failure>> + Send;

    /// Other certificates for some of them; how these stand then.
    fn renew_certificates(
        &self,
        request: RenewCertificatesRequest,
    ) -> impl Future<Output = Result<Vec<CertificateStatus>, Failure>> + Send;

    /// What is in the Secret of one.
    fn export_certificate(
        &self,
        request: ExportCertificateRequest,
    ) -> impl Future<Output = Result<ExportedCertificate, Failure>> + Send;

    /// A certificate for a workload's own connection to xDS.
    fn bootstrap(&self, request: BootstrapRequest) -> impl Future<Output = Result<BootstrapMaterial, Failure>> + Send;

    /// A join token. `ttl_seconds` is 1 to [`super::api::MAX_TOKEN_SECONDS`].
    fn create_token(&self, request: TokenRequest) -> impl Future<Output = Result<NewToken, Failure>> + Send;

    /// Every join token.
    fn tokens(&self) -> impl Future<Output = Result<Vec<TokenStatus>, Failure>> + Send;

    /// Makes the join token of this id useless.
    fn revoke_token(&self, id: String) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Why a request could not be served. The first text says what is wrong, the second what to do about it (or nothing).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request makes no sense: 400.
    #[error("{0}")]
    Invalid(String, String),
    /// It names something that is not there: 404.
    #[error("{0}")]
    NotFound(String, String),
    /// It cannot be done in the present state: 409.
    #[error("{0}")]
    Conflict(String, String),
    /// The server cannot do it yet or at the moment: 503.
    #[error("{0}")]
    Unavailable(String, String),
    /// The server is at fault: 500. The text goes to the caller, so it must hold no secret.
    #[error("{0}")]
    Internal(String, String),
}
