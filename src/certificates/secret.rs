//! The Secret that a Certificate makes: its entries, and cert-manager's own annotations on it.

use std::collections::BTreeMap;

use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::held::Held;
use super::{AUTHORITY, CHAIN, KEY};
use crate::policy::{Certificate, Metadata, Object, Origin, OutputFormat, Secret};

/// By this annotation cert-manager knows whose Secret it is.
pub(super) const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";
/// By these, who has issued it.
pub(super) const ISSUER_NAME: &str = "cert-manager.io/issuer-name";
/// `Issuer` or `ClusterIssuer`.
pub(super) const ISSUER_KIND: &str = "cert-manager.io/issuer-kind";

/// The annotations of the Secret, the template's and cert-manager's.
pub(super) fn annotations(object: &Object<Certificate>) -> BTreeMap<String, String> {
    let spec = &object.spec;
    let ips: Vec<_> = spec.names.ip.iter().map(ToString::to_string).collect();
    let own = [
        (CERTIFICATE_NAME, object.meta.name.clone()),
        ("cert-manager.io/common-name", spec.common_name.clone().unwrap_or_default()),
        ("cert-manager.io/alt-names", spec.names.dns.join(",")),
        ("cert-manager.io/ip-sans", ips.join(",")),
        ("cert-manager.io/uri-sans", spec.names.uri.join(",")),
        ("cert-manager.io/email-sans", spec.names.email.join(",")),
        (ISSUER_NAME, spec.issuer.value.name.clone()),
        (ISSUER_KIND, spec.issuer.value.kind.name().to_owned()),
        ("cert-manager.io/issuer-group", "cert-manager.io".to_owned()),
    ];
    let mut all = spec.secret_template.annotations.clone();
    all.extend(own.map(|(key, value)| (key.to_owned(), value)));
    all
}

/// Its labels, the template's and the one by which cert-manager's watchers know it.
pub(super) fn labels(spec: &Certificate) -> BTreeMap<String, String> {
    let mut all = spec.secret_template.labels.clone();
    all.insert("controller.cert-manager.io/fao".to_owned(), "true".to_owned());
    all
}

/// `Kind/name` of whoever has issued a Secret, as its annotations say. Empty: they say nothing.
pub(super) fn issuer_of(annotations: &BTreeMap<String, String>) -> String {
    let kind = annotations.get(ISSUER_KIND).map_or("Issuer", String::as_str);
    annotations.get(ISSUER_NAME).map(|name| format!("{kind}/{name}")).unwrap_or_default()
}

/// The Secret as an object of the policy set.
pub(super) fn object(meta: Metadata, at: Origin, held: &Held, formats: &[OutputFormat]) -> Object<Secret> {
    let mut data = BTreeMap::from([
        (CHAIN.to_owned(), Zeroizing::new(held.chain_pem.clone())),
        (KEY.to_owned(), held.key_pem.clone()),
        (AUTHORITY.to_owned(), Zeroizing::new(held.ca_pem.clone())),
    ]);
    for format in formats {
        match format {
            OutputFormat::CombinedPem => {
                let combined = [held.key_pem.as_slice(), held.chain_pem.as_slice()].concat();
                data.insert("tls-combined.pem".to_owned(), Zeroizing::new(combined));
            }
            OutputFormat::Der => {
                let key = PrivateKeyDer::from_pem_slice(&held.key_pem).ok();
                let der = key.map(|key| Zeroizing::new(key.secret_der().to_vec()));
                data.extend(der.map(|der| ("key.der".to_owned(), der)));
            }
        }
    }
    data.retain(|_, value| !value.is_empty());
    Object { meta, spec: Secret { kind: "kubernetes.io/tls".to_owned(), data }, at }
}
