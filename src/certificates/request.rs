//! What was asked for when a certificate was issued, field by field, so that a change of the spec can be named.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::policy::{Certificate, PrivateKeyAlgorithm, Subtrees};

/// The fields of a spec that are in the certificate, as texts. What only changes the Secret or the time of renewal is not among them.
pub(super) type Request = BTreeMap<String, String>;

/// What this spec asks for.
pub(super) fn of(spec: &Certificate) -> Request {
    let names = &spec.names;
    let (algorithm, size) = match spec.private_key.algorithm {
        PrivateKeyAlgorithm::Rsa(size) => ("RSA", size),
        PrivateKeyAlgorithm::Ecdsa(size) => ("ECDSA", size),
        PrivateKeyAlgorithm::Ed25519 => ("Ed25519", 0),
    };
    let mut usages = spec.usages.clone();
    usages.sort_unstable();
    usages.dedup();
    let constraints = spec
        .name_constraints
        .as_ref()
        .map(|it| format!("{} permitted {} excluded {}", it.critical, subtrees(&it.permitted), subtrees(&it.excluded)));
    let fields = [
        ("spec.commonName", spec.common_name.clone().unwrap_or_default()),
        ("spec.dnsNames", list(&names.dns)),
        ("spec.ipAddresses", list(&names.ip)),
        ("spec.uris", list(&names.uri)),
        ("spec.emailAddresses", list(&names.email)),
        ("spec.subject", serde_json::to_string(&spec.subject).unwrap_or_default()),
        ("spec.duration", spec.duration.as_secs().to_string()),
        ("spec.isCA", spec.is_ca.to_string()),
        ("spec.usages", format!("{usages:?}")),
        ("spec.nameConstraints", constraints.unwrap_or_default()),
        ("spec.privateKey.algorithm", algorithm.to_owned()),
        ("spec.privateKey.size", size.to_string()),
        ("spec.privateKey.encoding", format!("{:?}", spec.private_key.encoding)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The fields that differ.
pub(super) fn differences(before: &Request, now: &Request) -> Vec<String> {
    now.iter().filter(|(name, value)| before.get(*name) != Some(*value)).map(|(name, _)| name.clone()).collect()
}

/// The order in which names are written means nothing, as in cert-manager.
fn list<T: ToString>(values: &[T]) -> String {
    let mut texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.join(",")
}

fn subtrees(it: &Subtrees) -> String {
    let mut text = String::new();
    let parts = [("dns", list(&it.dns)), ("ip", list(&it.ip)), ("email", list(&it.email)), ("uri", list(&it.uri))];
    for (kind, names) in parts {
        let _ = write!(text, "{kind}:{names};");
    }
    text
}
