//! Operators' questions about Certificates, and their orders.

use super::super::issuing::Issuing;
use super::{internal, rfc3339};
use crate::admin::Failure;
use crate::admin::api::{
    CertificateEvent, CertificateStatus, Condition, ExportCertificateRequest, ExportedCertificate, IssuerStatus,
    RenewCertificatesRequest,
};
use crate::certificates;

/// Every Certificate, with what is to be said of its issuer.
pub(super) fn statuses(issuing: &Issuing) -> Vec<CertificateStatus> {
    let issuers = issuing.issuers();
    issuing.certificates().into_iter().map(|it| status(it, &issuers)).collect()
}

/// Other certificates, and how the Certificates stand then.
pub(super) async fn renew(
    issuing: &Issuing,
    request: RenewCertificatesRequest,
) -> Result<Vec<CertificateStatus>, Failure> {
    let all = issuing.certificates();
    let is_wanted = |it: &certificates::CertificateStatus| {
        request.all
            || request.namespace.as_ref().is_some_and(|namespace| *namespace == it.namespace)
            || request.certificates.contains(&format!("{}/{}", it.namespace, it.name))
    };
    let wanted: Vec<_> = all.into_iter().filter(is_wanted).map(|it| (it.namespace, it.name)).collect();
    let names: Vec<_> = wanted.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    if let Some(unknown) = request.certificates.iter().find(|name| !names.contains(name)) {
        return Err(not_found(unknown));
    }
    // A caller who goes away does not stop it half-way.
    let orders = issuing.clone();
    tokio::spawn(async move { orders.renew(wanted).await }).await.map_err(internal)?.map_err(internal)?;
    Ok(statuses(issuing).into_iter().filter(|it| names.contains(&it.name)).collect())
}

/// What is in a Certificate's Secret, as it is served.
pub(super) fn export(issuing: &Issuing, request: &ExportCertificateRequest) -> Result<ExportedCertificate, Failure> {
    let name = &request.certificate;
    let of_name = |it: &certificates::CertificateStatus| format!("{}/{}", it.namespace, it.name) == *name;
    let found = issuing.certificates().into_iter().find(of_name).ok_or_else(|| not_found(name))?;
    let secret = issuing.secret(&found.namespace, &found.secret).ok_or_else(|| {
        let help = format!("countersign cert show {name} says why");
        Failure::Conflict(format!("nothing has been issued for {name} yet"), help)
    })?;
    let entry = |key: &str| {
        secret.spec.data.get(key).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    };
    Ok(ExportedCertificate { tls_crt: entry("tls.crt"), tls_key: entry("tls.key"), ca_crt: entry("ca.crt") })
}

fn not_found(name: &str) -> Failure {
    let help = "countersign cert list shows those that there are".to_owned();
    Failure::NotFound(format!("there is no Certificate {name} in the policy"), help)
}

fn status(it: certificates::CertificateStatus, issuers: &[certificates::IssuerStatus]) -> CertificateStatus {
    let (kind, name) = it.issuer.split_once('/').unwrap_or_default();
    let is_its = |other: &&certificates::IssuerStatus| {
        other.kind == kind && other.name == name && (other.namespace.is_empty() || other.namespace == it.namespace)
    };
    let issuer = issuers.iter().find(is_its);
    CertificateStatus {
        name: format!("{}/{}", it.namespace, it.name),
        at: it.at,
        secret: it.secret,
        issuer: IssuerStatus {
            kind: kind.to_owned(),
            name: name.to_owned(),
            ready: issuer.is_some_and(|issuer| issuer.ready.is_ok()),
            message: match issuer.map(|issuer| &issuer.ready) {
                None => "not found".to_owned(),
                Some(Ok(())) => String::new(),
                Some(Err(error)) => error.to_string(),
            },
        },
        common_name: it.common_name,
        dns_names: it.dns_names,
        revision: it.revision,
        serial: it.serial.map(|serial| serial.to_string()).unwrap_or_default(),
        not_before: it.not_before.map(rfc3339),
        not_after: it.not_after.map(rfc3339),
        renewal_time: it.renewal_time.map(rfc3339),
        failures: it.failures,
        conditions: it.conditions.into_iter().map(condition).collect(),
        events: it.events.into_iter().map(event).collect(),
    }
}

fn condition(it: certificates::Condition) -> Condition {
    let certificates::Condition { r#type, status, reason, message, since } = it;
    Condition { r#type, status, reason, message, last_transition_time: rfc3339(since) }
}

fn event(it: certificates::Event) -> CertificateEvent {
    let certificates::Event { at, is_warning, reason, message } = it;
    CertificateEvent { at: rfc3339(at), warning: is_warning, reason, message }
}
