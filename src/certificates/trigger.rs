//! Why a certificate is to be issued: cert-manager's chain of checks, in its order and with its reasons.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::authority::Signer;
use super::held::{Fault, Held};
use super::request::{self, Request};
use super::schedule;
use super::state::State;
use crate::policy::Certificate;

/// A reason to issue, and the sentence that people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trigger {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether what is there can still be used: nothing is wrong with it but its age, or somebody's wish.
    pub(super) is_ready: bool,
}

/// What the checks look at.
pub(super) struct Situation<'a> {
    pub(super) spec: &'a Certificate,
    pub(super) request: &'a Request,
    /// `Kind/name` of the issuer that the spec names.
    pub(super) issuer: &'a str,
    pub(super) state: &'a State,
    pub(super) held: Option<&'a Held>,
    /// `None`: it is not ready, and says nothing about what it has signed.
    pub(super) signer: Option<&'a Signer>,
}

/// The first check that asks for a new certificate.
pub(super) fn check(it: &Situation<'_>, now: OffsetDateTime) -> Option<Trigger> {
    let unusable = |reason, message: String| Some(Trigger { reason, message, is_ready: false });
    let usable = |reason, message: String| Some(Trigger { reason, message, is_ready: true });
    let Some(held) = it.held else {
        return unusable("DoesNotExist", "Issuing certificate as Secret does not exist".to_owned());
    };
    let facts = match &held.facts {
        Ok(facts) => facts,
        Err(Fault::Missing(entry)) => {
            return unusable("MissingData", format!("Issuing certificate as Secret does not contain {entry}"));
        }
        Err(Fault::Invalid(reason)) => {
            return unusable(
                "InvalidKeyPair",
                format!("Issuing certificate as Secret contains an invalid key-pair: {reason}"),
            );
        }
    };
    if facts.key != Some(it.spec.private_key.algorithm) {
        let message =
            "Existing issued Secret is not up to date for spec: [spec.privateKey.algorithm spec.privateKey.size]";
        return unusable("SecretMismatch", message.to_owned());
    }
    if it.state.issuer != it.issuer {
        let before = if it.state.issuer.is_empty() { "\"\"" } else { &it.state.issuer };
        return unusable("IncorrectIssuer", format!("Issuing certificate as Secret was previously issued by {before}"));
    }
    // What came from elsewhere has no request to compare with, so its certificate is.
    match it.state.request.is_empty() {
        false => {
            let fields = request::differences(&it.state.request, it.request);
            if !fields.is_empty() {
                let message =
                    format!("Fields on existing CertificateRequest resource not up to date: [{}]", fields.join(" "));
                return unusable("RequestChanged", message);
            }
        }
        true => {
            let fields = facts.differences(it.spec);
            if !fields.is_empty() {
                let message = format!("Existing issued Secret is not up to date for spec: [{}]", fields.join(" "));
                return unusable("SecretMismatch", message);
            }
        }
    }
    if let Some(signer) = it.signer {
        let same = match it.state.authority.is_empty() {
            false => it.state.authority == signer.fingerprint(),
            true => facts.is_signed_by(signer),
        };
        if !same {
            return usable(
                "AuthorityChanged",
                format!("Issuing certificate as the authority of {} is another one", it.issuer),
            );
        }
    }
    let written = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    if facts.not_after <= now {
        return unusable("Expired", format!("Certificate expired on {}", written(facts.not_after)));
    }
    let renewal = schedule::renewal(it.spec, facts.not_before, facts.not_after);
    if renewal <= now {
        return usable("Renewing", format!("Renewing certificate as renewal was scheduled at {}", written(renewal)));
    }
    // Issued while the clock was ahead: nobody would believe it for that long.
    if now < facts.not_before {
        return unusable(
            "Renewing",
            format!("Renewing certificate as it is not valid before {}", written(facts.not_before)),
        );
    }
    it.state.wanted.then(|| Trigger {
        reason: "ManuallyTriggered",
        message: "Certificate re-issuance manually triggered".to_owned(),
        is_ready: true,
    })
}
