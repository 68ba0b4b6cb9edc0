//! What the admin API asks of the server.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::analyst;
use super::authorities::Authorities;
use super::certificates;
use super::issuing::Issuing;
use super::model::Model;
use super::proxies::Proxies;
use super::renewal::{self, Replaced};
use super::rotation::{Failed, Report, Rotation};
use super::staging::{self, NotAdvanced, Staging};
use super::{Clock, blocking};
use crate::admin::api::{
    AdoptionRequest, AdoptionStatus, AuthorityRequest, AuthorityStatus, BootstrapMaterial, BootstrapRequest,
    BundleDocument, BundleStatus, CertificateStatus, ExportCertificateRequest, ExportedCertificate,
    ImportAuthorityRequest, ImportBundleRequest, IntermediateReport, ModeChange, ModeChangeRequest, ModeChangeStatus,
    ModeChangeSummary, NewToken, PolicyStatus, PortInTransit, ProxyStatus, RemoveBundleRequest,
    RenewCertificatesRequest, RevokeReport, RevokeRequest, RevokedCertificate, RootRotationAction, RootRotationRequest,
    RootRotationStatus, RotateReport, RotateRequest, RotatedWorkload, SecretStatus, ServerStatus, TokenRequest,
    TokenState, TokenStatus, TypeState, TypeStatus, WaitingFor,
};
use crate::admin::{Backend, Failure};
use crate::analysis::{self, Filter, Report as Findings, ServiceDescription, Way, WorkloadDescription};
use crate::enrollment::JoinToken;
use crate::fleet::{State, StreamRecord};
use crate::identity::SpiffeId;
use crate::mesh::{Workload, WorkloadKey};
use crate::rollout::{Port, Stuck};
use crate::source;
use crate::trust::{self, LeafNames, Revoke, Serial, TrustError};
use crate::xds::{ResourceType, Version};

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

    /// What the analysis has found; before it is done, what was seen on the way to the model.
    fn warnings(&self, model: &Model) -> Vec<String> {
        let analysed = self.proxies.analysed.load();
        let found = analysed.as_ref().and_then(|analysed| analysed.lines(model.generation)).unwrap_or_else(|| {
            let (parsed, built) = &model.warnings;
            parsed.iter().map(ToString::to_string).chain(built.iter().map(ToString::to_string)).collect()
        });
        let without_lists = self.proxies.roots().without_lists();
        let without_lists = without_lists.map(|it| format!("what is revoked is refused by this server only: {it}"));
        without_lists.into_iter().chain(found).collect()
    }

    /// Asks the model that is served, off the async threads: an answer about all pairs takes a while.
    async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Model) -> T + Send + 'static) -> Result<T, Failure> {
        let model = self.proxies.model.load_full().ok_or_else(not_ready)?;
        Ok(blocking(move || question(&model)).await)
    }

    /// Who is connected and has not acknowledged is waited for. Who is not connected gets its certificate when it comes.
    async fn wait_acknowledged(&self, replaced: &[Replaced], until: Instant) {
        let mut answers = self.proxies.fleet.answers();
        while !replaced.iter().all(|one| one.served.is_none() || self.is_acknowledged(one)) {
            if !matches!(timeout_at(until, answers.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn is_acknowledged(&self, one: &Replaced) -> bool {
        let fleet = &self.proxies.fleet;
        let names = |(name, version): &(Arc<str>, Version)| (Arc::clone(name), *version);
        one.served.as_ref().is_some_and(|served| {
            fleet.acknowledged(&one.key.to_string(), ResourceType::Secret, &served.each_ref().map(names))
        })
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
        let model = self.proxies.model.load_full();
        let state = self.policy.borrow().clone();
        let rejected = state.rejected.iter().flat_map(|rejected| &rejected.errors);
        let policy = PolicyStatus {
            generation: model.as_ref().map_or(0, |model| model.generation),
            files: state.current.as_ref().map_or(0, |update| update.files),
            objects: model.as_ref().map_or(0, |model| model.set.len()),
            warnings: model.as_ref().map(|model| self.warnings(model)).unwrap_or_default(),
            rejected: rejected.map(ToString::to_string).collect(),
        };
        let bundle = self.proxies.trust.bundle();
        let signing = self.proxies.trust.root();
        let root = bundle.roots().iter().find(|root| root.serial == signing);
        let intermediate = self.proxies.trust.intermediate();
        Ok(ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trust_domain: bundle.trust_domain().to_string(),
            ready: self.ready(),
            policy,
            root: root
                .map(|root| AuthorityStatus { serial: root.serial.to_string(), not_after: rfc3339(root.not_after) })
                .unwrap_or_default(),
            intermediate: AuthorityStatus {
                serial: intermediate.serial.to_string(),
                not_after: rfc3339(intermediate.not_after),
            },
            proxies: self.proxies.fleet.len(),
            xds_address: self.xds_address.to_string(),
            mode_change: mode_change_summary(&self.staging.report().await),
        })
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
        Ok(self.proxies.fleet.look(|stream| Some(proxy_status(&stream.record()))))
    }

    async fn secrets(&self, node: Option<String>) -> Result<Vec<SecretStatus>, Failure> {
        self.secret_rows(node.as_deref())
    }

    async fn adoption(&self, request: AdoptionRequest) -> Result<AdoptionStatus, Failure> {
        self.adoption_status(request).await
    }

    async fn rotate(&self, request: RotateRequest) -> Result<RotateReport, Failure> {
        let workloads: Vec<(WorkloadKey, SpiffeId)> = if request.all || request.namespace.is_some() {
            let wanted = |key: &WorkloadKey| request.namespace.as_ref().is_none_or(|it| *it == key.namespace);
            let all = self.proxies.certificates().into_iter();
            all.filter(|(key, ..)| wanted(key)).map(|(key, id, _)| (key, id)).collect()
        } else {
            let named = request.workloads.iter().map(|name| {
                let workload = self.workload(name)?;
                Ok((workload.key.clone(), identity_of(&workload)?))
            });
            named.collect::<Result<_, Failure>>()?
        };
        let (proxies, spread) = (self.proxies.clone(), Duration::from_secs(request.spread_seconds.unwrap_or(0)));
        // A caller who goes away does not stop it half-way.
        let replaced = tokio::spawn(async move { replace(&proxies, workloads, spread).await });
        let replaced = replaced.await.map_err(internal)?.map_err(internal)?;
        if let Some(seconds) = request.wait_seconds {
            self.wait_acknowledged(&replaced, Instant::now() + Duration::from_secs(seconds)).await;
        }
        let rotated = replaced.iter().map(|one| RotatedWorkload {
            workload: one.key.to_string(),
            serial: one.certificate.serial.to_string(),
            acknowledged: self.is_acknowledged(one),
            connected: one.served.is_some(),
        });
        Ok(RotateReport { rotated: rotated.collect() })
    }

    async fn root_rotation(&self) -> Result<RootRotationStatus, Failure> {
        Ok(rotation_status(self.rotation.report().await))
    }

    async fn rotate_root(&self, request: RootRotationRequest) -> Result<RootRotationStatus, Failure> {
        let (rotation, paused, force) = (self.rotation.clone(), request.paused, request.force);
        // A caller who goes away does not stop it half-way.
        let done = tokio::spawn(async move {
            match request.action {
                RootRotationAction::Start => rotation.start(paused, force).await,
                RootRotationAction::Pause => rotation.pause().await,
                RootRotationAction::Resume => rotation.resume(force).await,
                RootRotationAction::Abort => rotation.abort(force).await,
            }
        });
        match done.await.map_err(internal)? {
            Ok(()) => self.root_rotation().await,
            Err(Failed::Refused(refused)) => {
                let help = "countersign rotate root status says how far it is".to_owned();
                Err(Failure::Conflict(refused.to_string(), help))
            }
            Err(Failed::Trust(error)) => Err(internal(error)),
        }
    }

    async fn mode_change(&self) -> Result<ModeChangeStatus, Failure> {
        Ok(mode_change_status(self.staging.report().await))
    }

    async fn advance_mode_change(&self, request: ModeChangeRequest) -> Result<ModeChangeStatus, Failure> {
        let (staging, force) = (self.staging.clone(), request.force);
        // A caller who goes away does not stop it half-way.
        match tokio::spawn(async move { staging.push_on(force).await }).await.map_err(internal)? {
            Ok(()) => self.mode_change().await,
            Err(NotAdvanced::Settled) => Err(Failure::Conflict(NotAdvanced::Settled.to_string(), String::new())),
            Err(NotAdvanced::NoPolicy) => {
                let help = "countersign status says what is wrong with the policy directory".to_owned();
                Err(Failure::Conflict(NotAdvanced::NoPolicy.to_string(), help))
            }
            Err(NotAdvanced::Waiting(stuck)) => {
                let first =
                    stuck.first().map(|it| format!("{}: {}", it.proxy.as_deref().unwrap_or_default(), it.reason));
                let message = format!("it waits for {} proxies, {}", stuck.len(), first.unwrap_or_default());
                let help = "countersign rollout status names them; --force goes on without them, and requests from or to them may fail";
                Err(Failure::Conflict(message, help.to_owned()))
            }
            Err(NotAdvanced::File(error)) => Err(internal(error)),
        }
    }

    async fn rotate_intermediate(&self) -> Result<IntermediateReport, Failure> {
        let (trust, now) = (Arc::clone(&self.proxies.trust), (self.clock)());
        let done = blocking(move || trust.rotate_intermediate(now)).await.map_err(internal)?;
        self.proxies.changed.notify_one();
        let intermediate = self.proxies.trust.intermediate();
        let (serial, not_after) = (intermediate.serial.to_string(), rfc3339(intermediate.not_after));
        Ok(IntermediateReport { intermediate: AuthorityStatus { serial, not_after }, waiting: done.waiting })
    }

    async fn revoke(&self, request: RevokeRequest) -> Result<RevokeReport, Failure> {
        let what = match request.target.parse() {
            Ok(serial) => Revoke::Serial(serial),
            Err(_) => Revoke::Identity(request.target.parse().map_err(|error| {
                let help = "a serial number is 1 to 40 hexadecimal digits, an identity is spiffe://DOMAIN/ns/NAMESPACE/sa/NAME";
                Failure::Invalid(format!("neither a serial number nor an identity: {error}"), help.to_owned())
            })?),
        };
        let (proxies, now) = (self.proxies.clone(), (self.clock)());
        // A caller who goes away does not stop it between the books and the connections.
        let done = tokio::spawn(async move {
            let trust = Arc::clone(&proxies.trust);
            let revoked = blocking(move || trust.revoke(&what, now)).await?;
            let serials: HashSet<Serial> = revoked.iter().map(|it| it.certificate.serial.clone()).collect();
            let ended = proxies.peers.end(|entry| serials.contains(&Serial::from_der(&entry.certificate.serial)));
            proxies.changed.notify_one();
            Ok::<_, TrustError>((revoked, ended))
        });
        let (revoked, connections_ended) = done.await.map_err(internal)?.map_err(|error| match error {
            TrustError::NotIssued(_) => {
                Failure::NotFound(error.to_string(), "countersign secrets lists what proxies hold".to_owned())
            }
            error => internal(error),
        })?;
        for it in &revoked {
            info!(serial = %it.certificate.serial, identity = %it.certificate.identity, "revoked");
        }
        let revoked = revoked.iter().map(revoked_certificate).collect();
        let lists = self.proxies.trust.bundle().crls().is_some() && self.proxies.roots().without_lists().is_none();
        Ok(RevokeReport { revoked, connections_ended, lists })
    }

    async fn revocations(&self) -> Result<Vec<RevokedCertificate>, Failure> {
        Ok(self.proxies.trust.revocations().iter().map(revoked_certificate).collect())
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
        let workload = self.workload(&request.workload)?;
        let id = identity_of(&workload)?;
        let (trust, now) = (Arc::clone(&self.proxies.trust), (self.clock)());
        let names = LeafNames::new(id.clone(), workload.dns_names.iter().cloned()).within(workload.leaf_ttl);
        let csr = request.csr;
        let issued = blocking(move || trust.enroll(&csr, names, None, None, now))
            .await
            .map_err(|error| Failure::Invalid(format!("the certificate request is refused: {error}"), String::new()))?;
        self.proxies.metrics.certificates_issued.inc();
        let bundle = self.proxies.trust.bundle();
        // A server that listens everywhere is reached, from this machine, at the loopback address.
        let mut address = self.xds_address;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        Ok(BootstrapMaterial {
            workload: workload.key.to_string(),
            identity: id.to_string(),
            trust_domain: bundle.trust_domain().to_string(),
            certificate_chain: issued.chain_pem,
            roots: bundle.pem().to_owned(),
            xds_address: address.to_string(),
            server_identity: trust::server_identity(bundle.trust_domain()).to_string(),
            service_account: workload.service_account.clone(),
            namespace: workload.key.namespace.clone(),
            labels: (*workload.labels).clone(),
        })
    }

    async fn create_token(&self, request: TokenRequest) -> Result<NewToken, Failure> {
        let workload = self.workload(&request.workload)?;
        let id = identity_of(&workload)?;
        let bundle = self.proxies.trust.bundle();
        let roots = bundle.roots().iter().map(|root| root.der.as_ref());
        let token = JoinToken::generate(bundle.trust_domain().clone(), roots).map_err(internal)?;
        let (trust, now, secret) = (Arc::clone(&self.proxies.trust), (self.clock)(), token.clone());
        let ttl = Duration::from_secs(request.ttl_seconds);
        let name = workload.key.to_string();
        let kept = blocking(move || trust.add_join_token(secret.secret(), &name, &id, ttl, now)).await;
        let kept = kept.map_err(internal)?;
        info!(workload = %kept.workload, token = %kept.id, expires_at = %kept.expires_at, "a join token is made");
        Ok(NewToken { token: token.text().to_string(), status: token_status(&kept, now) })
    }

    async fn tokens(&self) -> Result<Vec<TokenStatus>, Failure> {
        let (trust, now) = (Arc::clone(&self.proxies.trust), (self.clock)());
        let all = blocking(move || trust.join_tokens()).await.map_err(internal)?;
        Ok(all.iter().map(|token| token_status(token, now)).collect())
    }

    async fn revoke_token(&self, id: String) -> Result<(), Failure> {
        let (trust, named) = (Arc::clone(&self.proxies.trust), id.clone());
        match blocking(move || trust.revoke_join_token(&named)).await.map_err(internal)? {
            true => Ok(()),
            false => Err(Failure::NotFound(
                format!("there is no join token {}", id.escape_default()),
                "countersign token list shows them".to_owned(),
            )),
        }
    }
}

/// New certificates that an operator has asked for, in portions if that is to take some time.
async fn replace(
    proxies: &Proxies,
    workloads: Vec<(WorkloadKey, SpiffeId)>,
    spread: Duration,
) -> Result<Vec<Replaced>, TrustError> {
    const PAUSE: Duration = Duration::from_millis(100);
    let portions = (spread.as_millis() / PAUSE.as_millis()).max(1) as usize;
    let (size, mut replaced) = (workloads.len().div_ceil(portions).max(1), Vec::new());
    let (total, begun) = (workloads.len(), Instant::now());
    info!(workloads = total, spread = %humantime::format_duration(spread), "certificates are replaced, as an operator asks");
    for portion in workloads.chunks(size) {
        let done = renewal::replace(proxies, portion.to_vec()).await;
        replaced.extend(done.inspect_err(|error| {
            let left = total - replaced.len();
            warn!(%error, replaced = replaced.len(), left, "the replacement of certificates stops here");
        })?);
        if replaced.len() < total {
            tokio::time::sleep_until(begun + spread.mul_f64(replaced.len() as f64 / total as f64)).await;
        }
    }
    info!(workloads = total, "certificates are replaced");
    Ok(replaced)
}

fn token_status(token: &trust::JoinTokenRecord, now: OffsetDateTime) -> TokenStatus {
    TokenStatus {
        id: token.id.clone(),
        workload: token.workload.clone(),
        identity: token.identity.clone(),
        state: match token.used_at {
            Some(_) => TokenState::Used,
            None if token.expires_at <= now => TokenState::Expired,
            None => TokenState::Usable,
        },
        created_at: rfc3339(token.created_at),
        expires_at: rfc3339(token.expires_at),
        used_at: token.used_at.map(rfc3339),
    }
}

fn rotation_status(report: Report) -> RootRotationStatus {
    let Some(rotation) = report.rotation else {
        return RootRotationStatus { step: "none".to_owned(), ..RootRotationStatus::default() };
    };
    let record = rotation.record();
    let waiting = report.stuck.into_iter().map(|Stuck { proxy, reason }| WaitingFor { proxy, reason });
    RootRotationStatus {
        step: record.step.name().to_owned(),
        paused: record.paused,
        force: record.force,
        old_root: record.old.to_string(),
        new_root: record.new.to_string(),
        started_at: rfc3339(record.started_at),
        step_since: rfc3339(record.step_at),
        waiting: waiting.collect(),
    }
}

fn mode_change_summary(report: &staging::Report) -> ModeChangeSummary {
    let rollout = report.rollout.as_ref();
    ModeChangeSummary {
        step: rollout.and_then(|it| it.step()).map(|step| step.name().to_owned()).unwrap_or_default(),
        ports: rollout.map_or(0, |it| it.in_transit().count()),
        waiting: report.stuck.len(),
    }
}

fn mode_change_status(report: staging::Report) -> ModeChangeStatus {
    let summary = mode_change_summary(&report);
    let Some(rollout) = report.rollout else { return ModeChangeStatus::default() };
    let change = |port| match port {
        Port::Settled(mode) => ModeChange { from: mode.to_string(), to: mode.to_string(), step: String::new() },
        Port::Moving { from, to, step } => {
            ModeChange { from: from.to_string(), to: to.to_string(), step: step.name().to_owned() }
        }
    };
    let ports = rollout.in_transit().map(|(key, number, port)| PortInTransit {
        workload: key.to_string(),
        port: number,
        change: change(port),
    });
    let waiting = report.stuck.into_iter().map(|Stuck { proxy, reason }| WaitingFor { proxy, reason });
    let (started_at, step_since) = rollout.times().map(|(a, b)| (rfc3339(a), rfc3339(b))).unwrap_or_default();
    ModeChangeStatus { step: summary.step, started_at, step_since, ports: ports.collect(), waiting: waiting.collect() }
}

fn identity_of(workload: &Workload) -> Result<SpiffeId, Failure> {
    workload
        .spiffe_id
        .parse()
        .map_err(|error| Failure::Conflict(format!("{} has no valid identity: {error}", workload.key), String::new()))
}

fn proxy_status(stream: &StreamRecord) -> ProxyStatus {
    let description = &stream.description;
    let types = ResourceType::ALL.into_iter().map(|ty| {
        let record = stream.of(ty);
        TypeStatus {
            type_name: ty.short().to_owned(),
            state: match record.state() {
                State::NotSent => TypeState::NotSent,
                State::Synced => TypeState::Synced,
                State::Stale => TypeState::Stale,
                State::Rejected => TypeState::Rejected,
            },
            resources: record.resources.len(),
            version: record.version().map(|version| version.to_string()).unwrap_or_default(),
            error: record.errors().next().map(|(name, error)| format!("{name}: {error}")),
        }
    });
    let agent = &description.node.user_agent;
    ProxyStatus {
        name: description.workload.clone(),
        node_id: description.node.id.clone(),
        identity: description.identity.clone().unwrap_or_default(),
        cluster: description.node.cluster.clone(),
        version: agent.strip_prefix("envoy ").unwrap_or(agent).to_owned(),
        connected_since: rfc3339(description.connected_since),
        types: types.collect(),
    }
}

fn revoked_certificate(it: &trust::RevocationRecord) -> RevokedCertificate {
    RevokedCertificate {
        serial: it.certificate.serial.to_string(),
        identity: it.certificate.identity.clone(),
        not_after: rfc3339(it.certificate.not_after),
        revoked_at: rfc3339(it.revoked_at),
    }
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
