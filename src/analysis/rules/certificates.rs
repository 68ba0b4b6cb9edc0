//! The certificates in Secrets: what Envoy would take, and then fail every handshake with.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::der_parser::oid;
use x509_parser::oid_registry::{OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_SHA1WITHRSA, Oid};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::super::catalogue::{
    BROKEN_CHAIN, EXPIRES_SOON, INVALID_NOW, KEY_MISMATCH, OLD_AUTHORITY, SELF_SIGNED, UNUSABLE_SECRET, WEAK_KEY,
};
use super::super::finding::Collector;
use super::super::{Limits, Subject};
use crate::policy::{Object, Secret};
use crate::secrets::{self, CredentialError};

/// What Envoy takes at least.
const MIN_RSA_BITS: usize = 2048;
/// ecdsa-with-SHA1 (RFC 3279 §2.2.3).
const ECDSA_SHA1: Oid<'static> = oid!(1.2.840.10045.4.1);
/// Signatures that can be forged.
const WEAK_SIGNATURES: [Oid<'static>; 3] = [OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_SHA1WITHRSA, ECDSA_SHA1];
/// The entries of a Secret that hold certificates; the first two a chain, leaf first.
const ENTRIES: [&str; 4] = ["tls.crt", "cert", "ca.crt", "cacert"];
/// Those with a chain.
const CHAINS: [&str; 2] = ["tls.crt", "cert"];
/// After this long an authority is to give way to the next.
const AUTHORITY_YEARS: i64 = 1;

pub(in super::super) fn all(subject: Subject<'_>, limits: &Limits, now: OffsetDateTime, found: &mut Collector) {
    let of_tls = |secret: &&Arc<Object<Secret>>| {
        secret.spec.kind == "kubernetes.io/tls" || ENTRIES.iter().any(|entry| secret.spec.data.contains_key(*entry))
    };
    for secret in subject.set.secrets.iter().filter(of_tls) {
        unservable(secret, now, found);
        for entry in ENTRIES {
            let pem = secret.spec.data.get(entry).map_or(&[][..], |value| value.as_slice());
            let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).map_while(Result::ok).collect();
            for (position, der) in chain.iter().enumerate() {
                let Ok((_, certificate)) = X509Certificate::from_der(der) else { break };
                let one = One { secret, entry, position, certificate: &certificate };
                one.expires_soon(limits, now, found);
                one.weak_key(found);
                one.weak_signature(found);
                one.self_signed(found);
                one.old_authority(now, found);
            }
            broken_chain(secret, entry, &chain, found);
        }
    }
}

/// CS0501, CS0504, CS0506: why the server does not serve it.
fn unservable(secret: &Object<Secret>, now: OffsetDateTime, found: &mut Collector) {
    let Err(error) = secrets::credential(&secret.meta.name, &secret.spec.data, now) else { return };
    let rule = match error {
        CredentialError::NotValid { .. } => &INVALID_NOW,
        CredentialError::KeyMismatch(_) => &KEY_MISMATCH,
        CredentialError::Empty(_) | CredentialError::Half { .. } | CredentialError::Unreadable { .. } => {
            &UNUSABLE_SECRET
        }
    };
    found.add(rule, &secret.at, error.to_string());
}

/// CS0507: in a chain each certificate is signed by the next (RFC 8446 §4.4.2).
fn broken_chain(secret: &Object<Secret>, entry: &str, chain: &[CertificateDer<'_>], found: &mut Collector) {
    let parsed = chain.iter().map_while(|der| Some(X509Certificate::from_der(der).ok()?.1));
    let parsed: Vec<X509Certificate<'_>> = parsed.collect();
    for (position, pair) in parsed.windows(2).enumerate().filter(|_| CHAINS.contains(&entry)) {
        let is_issuer = pair[0].issuer() == pair[1].subject();
        if !is_issuer || pair[0].verify_signature(Some(pair[1].public_key())).is_err() {
            let Object { meta, at, .. } = secret;
            let message = format!(
                "certificate {} of {entry} in Secret {}/{} is not signed by the next one",
                position + 1,
                meta.namespace,
                meta.name
            );
            found.add(&BROKEN_CHAIN, at, message);
        }
    }
}

/// One certificate of an entry.
struct One<'a> {
    secret: &'a Object<Secret>,
    entry: &'static str,
    position: usize,
    certificate: &'a X509Certificate<'a>,
}

impl One<'_> {
    fn name(&self) -> String {
        let Self { secret, entry, position, .. } = self;
        format!("certificate {} of {entry} in Secret {}/{}", position + 1, secret.meta.namespace, secret.meta.name)
    }

    /// CS0502.
    fn expires_soon(&self, limits: &Limits, now: OffsetDateTime, found: &mut Collector) {
        let validity = self.certificate.validity();
        let (start, end) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
        let left = end - now;
        if now >= start && !left.is_negative() && left <= limits.expiry && left <= (end - start) / 3 {
            // Not how long that is: a finding that stays true is told once.
            let message = format!("{} expires at {end}", self.name());
            found.add(&EXPIRES_SOON, &self.secret.at, message);
        }
    }

    /// CS0505.
    fn weak_key(&self, found: &mut Collector) {
        if let Ok(PublicKey::RSA(key)) = self.certificate.public_key().parsed()
            && key.key_size() < MIN_RSA_BITS
        {
            let message = format!("{} has an RSA key of {} bits", self.name(), key.key_size());
            found.add(&WEAK_KEY, &self.secret.at, message);
        }
    }

    /// CS0505. Nobody verifies a root's own signature.
    fn weak_signature(&self, found: &mut Collector) {
        let is_root = self.certificate.subject() == self.certificate.issuer();
        if !is_root && WEAK_SIGNATURES.contains(&self.certificate.signature_algorithm.algorithm) {
            let message = format!("{} is signed with SHA-1 or MD5", self.name());
            found.add(&WEAK_KEY, &self.secret.at, message);
        }
    }

    /// CS0503: of a leaf; roots are all self-signed.
    fn self_signed(&self, found: &mut Collector) {
        let is_leaf = self.position == 0 && CHAINS.contains(&self.entry) && !self.certificate.is_ca();
        if is_leaf && self.certificate.subject() == self.certificate.issuer() {
            let message = format!("{} is self-signed", self.name());
            found.add(&SELF_SIGNED, &self.secret.at, message);
        }
    }

    /// CS0508: of an authority whose key is here, so that it signs.
    fn old_authority(&self, now: OffsetDateTime, found: &mut Collector) {
        let age = now - self.certificate.validity().not_before.to_datetime();
        let signs = self.position == 0 && CHAINS.contains(&self.entry) && self.certificate.is_ca();
        if signs && age.whole_days() > AUTHORITY_YEARS * 365 {
            let message =
                format!("{} is an authority that has been signing for {} days", self.name(), age.whole_days());
            found.add(&OLD_AUTHORITY, &self.secret.at, message);
        }
    }
}
