//! A certificate as it is asked for, signed by whom it is to be.

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{KeyPair, SigningKey as _};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use yasna::models::{GeneralizedTime, ObjectIdentifier, UTCTime};
use yasna::{DERWriter, Tag, construct_der};
use zeroize::Zeroizing;

use super::authority::Signer;
use super::extensions::{self, Subject};
use super::key::PrivateKey;
use super::{SigningError, pem, subject};
use crate::policy::{Certificate, PrivateKeyAlgorithm};
use crate::trust::Serial;

// ecdsa-with-SHA256, -SHA384 and -SHA512 (RFC 5758 §3.2), sha256WithRSAEncryption (RFC 4055 §5), Ed25519 (RFC 8410 §3).
const ECDSA_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
const ECDSA_SHA384: &[u64] = &[1, 2, 840, 10045, 4, 3, 3];
const ECDSA_SHA512: &[u64] = &[1, 2, 840, 10045, 4, 3, 4];
const RSA_SHA256: &[u64] = &[1, 2, 840, 113_549, 1, 1, 11];
const ED25519: &[u64] = &[1, 3, 101, 112];

/// The least time that a certificate has to live: below it, renewals of renewals would come ever faster.
const LEAST_LIFE: time::Duration = time::Duration::seconds(5);

/// What was issued.
pub(super) struct Signed {
    /// Leaf first, without the root.
    pub(super) chain_pem: Vec<u8>,
    /// In the encoding that was asked for.
    pub(super) key_pem: Zeroizing<Vec<u8>>,
    /// The last of the chain: the root, where the issuer's Secret has it.
    pub(super) ca_pem: Vec<u8>,
    pub(super) serial: Serial,
}

/// Issues what the spec asks for. It is valid from this second on, and ends no later than its authority. `existing` is the key in the
/// Secret, which `rotationPolicy: Never` goes on using.
pub(super) fn issue(
    spec: &Certificate,
    signer: &Signer,
    existing: Option<PrivateKey>,
    now: OffsetDateTime,
) -> Result<Signed, SigningError> {
    let not_before = now.replace_nanosecond(0).unwrap_or(now);
    let asked = time::Duration::try_from(spec.duration).unwrap_or(time::Duration::MAX);
    let mut not_after = not_before.saturating_add(asked);
    if let Signer::Authority(authority) = signer {
        not_after = not_after.min(authority.not_after);
    }
    if not_after - now < LEAST_LIFE {
        return Err(SigningError::AuthorityEnds(not_after));
    }
    let key = match existing {
        Some(key) => key,
        None => PrivateKey::generate(spec.private_key.algorithm)?,
    };
    let (own_name, public_key) = (subject::name(spec), key.public_key());
    let key_id = digest(&SHA256, &public_key);
    // RFC 7093 §2, method 1 over the whole SubjectPublicKeyInfo: 160 bits of its SHA-256.
    let key_id = &key_id.as_ref()[..20];
    let (issuer_name, signing_key, authority_key_id, pointers) = match signer {
        Signer::Authority(it) => (it.subject.as_slice(), &it.key.pair, it.key_id.as_deref(), &it.pointers),
        Signer::SelfSigned(pointers) => (own_name.as_slice(), &key.pair, None, pointers),
    };
    let algorithm = signature_algorithm(signing_key)?;
    let serial = Serial::random();
    let body = construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_tagged(Tag::context(0), |writer| writer.write_i64(2));
            writer.next().write_bigint_bytes(serial.as_positive(), true);
            writer.next().write_der(&algorithm);
            writer.next().write_der(issuer_name);
            writer.next().write_sequence(|writer| {
                time_into(writer.next(), not_before);
                time_into(writer.next(), not_after);
            });
            writer.next().write_der(&own_name);
            writer.next().write_der(&public_key);
            writer.next().write_tagged(Tag::context(3), |writer| {
                writer.write_sequence(|writer| {
                    let is_nameless = spec.common_name.is_none() && own_name.len() == 2;
                    extensions::write(writer, &Subject { spec, is_nameless, key_id, authority_key_id, pointers });
                });
            });
        });
    });
    let signature = signing_key.sign(&body).map_err(SigningError::crypto)?;
    let der = CertificateDer::from(construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_der(&body);
            writer.next().write_der(&algorithm);
            writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    }));
    let key_pem = key.write(spec.private_key.encoding)?;
    let mut chain = vec![der];
    let mut root = None;
    if let Signer::Authority(authority) = signer {
        chain.extend(authority.chain.iter().cloned());
        // As in cert-manager: a root is not shown to peers, who have it or have no reason to believe it.
        root = if authority.ends_in_root { chain.pop() } else { chain.last().cloned() };
    }
    Ok(Signed { ca_pem: pem::chain(root.as_ref().or(chain.first())), chain_pem: pem::chain(&chain), key_pem, serial })
}

/// Whether a key is of the kind that is asked for.
pub(super) fn fits(key: &PrivateKey, wanted: PrivateKeyAlgorithm) -> bool {
    key.algorithm() == Some(wanted)
}

fn signature_algorithm(key: &KeyPair) -> Result<Vec<u8>, SigningError> {
    let known = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, ECDSA_SHA256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, ECDSA_SHA384),
        (&rcgen::PKCS_ECDSA_P521_SHA512, ECDSA_SHA512),
        (&rcgen::PKCS_RSA_SHA256, RSA_SHA256),
        (&rcgen::PKCS_ED25519, ED25519),
    ];
    let id = known.into_iter().find(|(algorithm, _)| *algorithm == key.algorithm()).map(|(_, id)| id);
    let id = id.ok_or_else(|| SigningError::crypto("the authority's key is of a kind that is not signed with here"))?;
    Ok(construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&ObjectIdentifier::from_slice(id));
            // RFC 4055 §5: RSA has parameters, and they are NULL.
            if id == RSA_SHA256 {
                writer.next().write_null();
            }
        });
    }))
}

/// RFC 5280 §4.1.2.5: two digits for the year until 2049, four from then on.
fn time_into(writer: DERWriter<'_>, time: OffsetDateTime) {
    match time.year() {
        ..2050 => writer.write_utctime(&UTCTime::from_datetime(time)),
        _ => writer.write_generalized_time(&GeneralizedTime::from_datetime(time)),
    }
}
