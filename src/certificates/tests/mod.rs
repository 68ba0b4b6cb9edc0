//! The controller over years, in milliseconds.

mod issuance;
mod life;
mod x509;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::policy::{PolicySet, parse_set};
use crate::trust::CertificateRecord;

const NOW: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);
const HOUR: time::Duration = time::Duration::HOUR;
const DAY: time::Duration = time::Duration::DAY;

fn set(text: &str) -> Arc<PolicySet> {
    match parse_set([("f.yaml", text)]) {
        Ok((set, _)) => Arc::new(set),
        Err(errors) => panic!("{errors:?}"),
    }
}

/// A root that lives from 2026 to `until`, as a Secret.
fn root(name: &str, until: OffsetDateTime) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, format!("root {name}"));
    (params.not_before, params.not_after) = (datetime!(2026-01-01 00:00 UTC), until);
    secret(name, &params.self_signed(&key).unwrap().pem(), &key.serialize_pem())
}

fn secret(name: &str, chain: &str, key: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("cert-manager", name));
    format!(
        "---\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         data: {{tls.crt: {}, tls.key: {}}}\n",
        STANDARD.encode(chain),
        STANDARD.encode(key)
    )
}

fn cluster_issuer(name: &str, secret: &str) -> String {
    format!(
        "---\napiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {{name: {name}}}\nspec: {{ca: {{secretName: {secret}}}}}\n"
    )
}

/// A Certificate `shop/web` in the Secret `web-tls`, with fields beside.
fn certificate(fields: &str) -> String {
    named_certificate(
        "shop/web",
        &format!(
            "secretName: web-tls, issuerRef: {{name: ca, kind: ClusterIssuer}}, dnsNames: [web.shop], privateKey: {{algorithm: ECDSA}}{fields}"
        ),
    )
}

fn named_certificate(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "---\napiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

/// A controller, and what it has kept.
#[derive(Default)]
struct Desk {
    controller: Controller,
    kept: std::collections::BTreeMap<String, CertificateRecord>,
}

impl Desk {
    fn pass(&mut self, set: &PolicySet, now: OffsetDateTime) -> Outcome {
        let outcome = self.controller.pass(set, now);
        outcome.forget.iter().for_each(|name| drop(self.kept.remove(name)));
        self.kept.extend(outcome.keep.iter().map(|it| (it.certificate.clone(), it.clone())));
        outcome
    }

    /// As after a crash.
    fn restart(&mut self) {
        self.controller = Controller::new(Settings::default(), self.kept.values().cloned().collect()).unwrap();
    }

    fn status(&self, set: &PolicySet, name: &str) -> CertificateStatus {
        let all = self.controller.statuses(set);
        all.into_iter().find(|it| format!("{}/{}", it.namespace, it.name) == name).unwrap()
    }

    fn condition(&self, set: &PolicySet, name: &str, r#type: &str) -> Option<(bool, String)> {
        let all = self.status(set, name).conditions;
        all.into_iter().find(|it| it.r#type == r#type).map(|it| (it.status, it.reason))
    }

    /// The entries of a Secret as everybody sees it.
    fn secret(&self, set: &Arc<PolicySet>, name: &str) -> Option<Arc<crate::policy::Object<crate::policy::Secret>>> {
        let (namespace, name) = name.split_once('/').unwrap();
        let set = self.controller.with_secrets(set);
        let found: Vec<_> =
            set.secrets.iter().filter(|it| it.meta.namespace == namespace && it.meta.name == name).collect();
        assert!(found.len() <= 1, "one Secret of a name");
        found.first().map(|it| (*it).clone())
    }
}

fn ready() -> Option<(bool, String)> {
    Some((true, "Ready".to_owned()))
}

fn not_ready(reason: &str) -> Option<(bool, String)> {
    Some((false, reason.to_owned()))
}
