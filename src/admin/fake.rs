//! A server for the tests of both ends of the API.

use super::api::*;
use super::{Backend, Failure};
use crate::analysis::{Filter, Finding, Report, ServiceDescription, Way, WorkloadDescription};

/// A server with a real certificate authority and otherwise made-up answers.
#[derive(Default)]
pub(crate) struct Fake {
    /// Those that are connected.
    pub(crate) proxies: Vec<ProxyStatus>,
}

/// The server's own identity.
const SERVER: &str = "spiffe://cluster.local/ns/istio-system/sa/countersign";

impl Backend for Fake {
    fn ready(&self) -> bool {
        false
    }
    fn metrics(&self) -> String {
        "# EOF\n".into()
    }
    async fn status(&self) -> Result<ServerStatus, Failure> {
        let policy = PolicyStatus { generation: 7, rejected: vec!["a.yaml:3: bad".into()], ..PolicyStatus::default() };
        let (version, trust_domain) = ("0.1.0".into(), "fake.example".into());
        Ok(ServerStatus { version, trust_domain, ready: true, policy, ..ServerStatus::default() })
    }
    async fn findings(&self) -> Result<Report, Failure> {
        let finding = Finding { code: "CS0101".into(), file: "a.yaml".into(), line: 3, ..Finding::default() };
        Ok(Report { findings: vec![finding], ..Report::default() })
    }
    async fn ways(&self, filter: Filter) -> Result<Vec<Way>, Failure> {
        let clients = filter.workload.iter().map(ToString::to_string).collect();
        Ok(vec![Way {
            clients,
            host: filter.host.unwrap_or_default(),
            port: filter.port.unwrap_or(80),
            ..Way::default()
        }])
    }
    async fn describe_workload(&self, name: String) -> Result<WorkloadDescription, Failure> {
        Ok(WorkloadDescription { name, ..WorkloadDescription::default() })
    }
    async fn describe_service(&self, host: String) -> Result<Vec<ServiceDescription>, Failure> {
        let known = ServiceDescription { host: host.clone(), ..ServiceDescription::default() };
        Ok(if host == "nobody.example" { vec![] } else { vec![known] })
    }
    async fn proxies(&self) -> Result<Vec<ProxyStatus>, Failure> {
        Ok(self.proxies.clone())
    }
    async fn secrets(&self, node: Option<String>) -> Result<Vec<SecretStatus>, Failure> {
        match node.as_deref() {
            None => Ok(vec![SecretStatus::default(), SecretStatus::default()]),
            Some("shop/web") => {
                let (node, name) = ("shop/web".into(), "ROOTCA".into());
                Ok(vec![SecretStatus { node, name, r#type: SecretType::Ca, ..SecretStatus::default() }])
            }
            Some(other) => Err(Failure::NotFound(format!("no proxy {other}"), "see /v1/proxies".into())),
        }
    }
    async fn adoption(&self, request: AdoptionRequest) -> Result<AdoptionStatus, Failure> {
        let AdoptionRequest { secret, version, wait_seconds } = request;
        let stuck = MissingProxy {
            node: "shop/stuck".into(),
            state: AdoptionState::Waiting,
            reason: format!("waited {wait_seconds:?}"),
            ..MissingProxy::default()
        };
        let missing = if secret == "ROOTCA" { vec![] } else { vec![stuck] };
        Ok(AdoptionStatus {
            complete: missing.is_empty(),
            secret,
            version,
            acknowledged: 2,
            missing,
            ..Default::default()
        })
    }
    async fn rotate(&self, request: RotateRequest) -> Result<RotateReport, Failure> {
        // The serial says how long it was to wait.
        let serial = request.wait_seconds.map_or_else(|| "0a".to_owned(), |seconds| seconds.to_string());
        let one = |workload: String| RotatedWorkload {
            acknowledged: !workload.ends_with("stuck") && !workload.ends_with("away"),
            connected: !workload.ends_with("away"),
            serial: serial.clone(),
            workload,
        };
        Ok(RotateReport { rotated: request.workloads.into_iter().map(one).collect() })
    }
    async fn root_rotation(&self) -> Result<RootRotationStatus, Failure> {
        Ok(RootRotationStatus { step: "none".into(), ..RootRotationStatus::default() })
    }
    async fn rotate_root(&self, request: RootRotationRequest) -> Result<RootRotationStatus, Failure> {
        let waiting = vec![WaitingFor { proxy: Some("shop/stuck".into()), reason: "it is away".into() }];
        let step = format!("{:?}", request.action);
        Ok(RootRotationStatus { step, force: request.force, waiting, ..RootRotationStatus::default() })
    }
    async fn mode_change(&self) -> Result<ModeChangeStatus, Failure> {
        Ok(ModeChangeStatus::default())
    }
    async fn advance_mode_change(&self, request: ModeChangeRequest) -> Result<ModeChangeStatus, Failure> {
        if !request.force {
            return Err(Failure::Conflict("it waits for 1 proxies".into(), "--force goes on without them".into()));
        }
        let change = ModeChange { from: "DISABLE".into(), to: "STRICT".into(), step: "switching".into() };
        let ports = vec![PortInTransit { workload: "shop/web".into(), port: 8080, change }];
        let waiting = vec![WaitingFor { proxy: Some("shop/stuck".into()), reason: "it is away".into() }];
        Ok(ModeChangeStatus { step: "switching".into(), ports, waiting, ..ModeChangeStatus::default() })
    }
    async fn rotate_intermediate(&self) -> Result<IntermediateReport, Failure> {
        Ok(IntermediateReport {
            intermediate: AuthorityStatus { serial: "0b".into(), not_after: "then".into() },
            waiting: false,
        })
    }
    async fn revoke(&self, request: RevokeRequest) -> Result<RevokeReport, Failure> {
        let one = RevokedCertificate { serial: "0c".into(), identity: request.target, ..RevokedCertificate::default() };
        Ok(RevokeReport { revoked: vec![one], connections_ended: 2, lists: true })
    }
    async fn revocations(&self) -> Result<Vec<RevokedCertificate>, Failure> {
        Ok(vec![RevokedCertificate { serial: "0c".into(), ..RevokedCertificate::default() }])
    }
    async fn bundles(&self) -> Result<Vec<BundleStatus>, Failure> {
        let own = BundleStatus { trust_domain: "fake.example".into(), own: true, ..BundleStatus::default() };
        Ok(vec![own, BundleStatus { trust_domain: "other.example".into(), ..BundleStatus::default() }])
    }
    async fn bundle(&self, trust_domain: Option<String>) -> Result<BundleDocument, Failure> {
        let trust_domain = trust_domain.unwrap_or("fake.example".into());
        Ok(BundleDocument { trust_domain, pem: "some pem".into(), spiffe: "some keys".into() })
    }
    async fn import_bundle(&self, request: ImportBundleRequest) -> Result<BundleStatus, Failure> {
        let roots = vec![RootStatus { subject: request.document, ..RootStatus::default() }];
        Ok(BundleStatus { trust_domain: request.trust_domain, roots, ..BundleStatus::default() })
    }
    async fn remove_bundle(&self, request: RemoveBundleRequest) -> Result<(), Failure> {
        match request.trust_domain.as_str() {
            "other.example" => Ok(()),
            other => Err(Failure::NotFound(format!("there is no bundle of {other}"), String::new())),
        }
    }
    async fn request_authority(&self) -> Result<AuthorityRequest, Failure> {
        Ok(AuthorityRequest { csr: "a request".into() })
    }
    async fn import_authority(&self, _: ImportAuthorityRequest) -> Result<IntermediateReport, Failure> {
        self.rotate_intermediate().await
    }
    async fn certificates(&self) -> Result<Vec<CertificateStatus>, Failure> {
        let ready = Condition { r#type: "Ready".into(), status: true, reason: "Ready".into(), ..Condition::default() };
        let (name, secret) = ("shop/web".to_owned(), "web-tls".to_owned());
        Ok(vec![CertificateStatus { name, secret, revision: 3, conditions: vec![ready], ..Default::default() }])
    }
    async fn renew_certificates(&self, _: RenewCertificatesRequest) -> Result<Vec<CertificateStatus>, Failure> {
        self.certificates().await
    }
    async fn export_certificate(&self, request: ExportCertificateRequest) -> Result<ExportedCertificate, Failure> {
        match request.certificate.as_str() {
            "shop/web" => {
                Ok(ExportedCertificate { tls_crt: "chain".into(), tls_key: "key".into(), ca_crt: "ca".into() })
            }
            other => Err(Failure::NotFound(format!("there is no Certificate {other} in the policy"), String::new())),
        }
    }
    async fn bootstrap(&self, request: BootstrapRequest) -> Result<BootstrapMaterial, Failure> {
        if request.workload == "shop/unknown" {
            return Err(Failure::NotFound("there is no workload shop/unknown".into(), "write a WorkloadEntry".into()));
        }
        if request.workload == "shop/early" {
            return Err(Failure::Unavailable("no intermediate yet".into(), String::new()));
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(rcgen::CertificateParams::default(), key);
        let csr = rcgen::CertificateSigningRequestParams::from_pem(&request.csr).unwrap();
        Ok(BootstrapMaterial {
            workload: request.workload,
            certificate_chain: csr.signed_by(&issuer).unwrap().pem(),
            roots: root,
            xds_address: "127.0.0.1:15012".into(),
            server_identity: SERVER.into(),
            ..BootstrapMaterial::default()
        })
    }
    async fn create_token(&self, request: TokenRequest) -> Result<NewToken, Failure> {
        let status = TokenStatus { workload: request.workload, ..TokenStatus::default() };
        Ok(NewToken { token: format!("for {} s", request.ttl_seconds), status })
    }
    async fn tokens(&self) -> Result<Vec<TokenStatus>, Failure> {
        Ok(vec![TokenStatus { id: "00ff".into(), state: TokenState::Used, ..TokenStatus::default() }])
    }
    async fn revoke_token(&self, id: String) -> Result<(), Failure> {
        match id.as_str() {
            "00ff" => Ok(()),
            _ => Err(Failure::NotFound(format!("there is no join token {id}"), String::new())),
        }
    }
}
