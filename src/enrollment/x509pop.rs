//! Proof of possession of a certificate of another authority, as SPIRE's node attestor `x509pop` asks for it.
//!
//! The node shows a chain; if an authority that the server is told of stands at its end, it is given a nonce, and signs that together with
//! all that it has asked for. The nonce is made for one call and known to nobody else, so that a proof is good once; the trust domain and
//! the request are in what is signed, so that it is good for nothing else. Time comes in as an argument.

use rustls::crypto::aws_lc_rs::{self, default_provider};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationOptionsBuilder,
    UnknownStatusPolicy, anchor_from_trusted_cert,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::v1::{AttestationProof, AttestedRequest};
use crate::identity::TrustDomain;

/// In bytes.
const NONCE: usize = 32;
/// A chain is a node's certificate and a few above it.
const MAX_CERTIFICATES: usize = 8;
/// As in TLS 1.3 (RFC 8446 §4.4.3): what is signed for this is a signature for nothing else.
const CONTEXT: &[u8] = b"countersign node attestation x509pop, version 1\0";
/// The schemes of TLS 1.3.
const SCHEMES: [SignatureScheme; 7] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
];

/// Why a node is not let in. Its text is for the log: the node is told less.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// The authorities cannot be used.
    #[error("the authorities of nodes in {file} cannot be used: {reason}")]
    Authorities {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The node's certificate is not one of these authorities', or not to be believed.
    #[error("the node's certificate is refused: {0}")]
    Certificate(String),
    /// What the node has signed is not what it should have, or not with the key of its certificate.
    #[error("the node has not proven that it has the key of its certificate: {0}")]
    Proof(String),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The node's own certificate or key cannot be used.
    #[error("the node's {what} cannot be used: {reason}")]
    Own {
        /// Which part.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

/// The authorities of nodes, and what they have revoked.
#[derive(Debug, Default)]
pub struct NodeAuthorities {
    anchors: Vec<TrustAnchor<'static>>,
    lists: Vec<OwnedCertRevocationList>,
}

impl NodeAuthorities {
    /// Adds the certificates of a PEM file, and its revocation lists. `file` is what messages call it. An authority that is over at `now` is
    /// left out; another file, or the next reading, may have its successor.
    pub fn add(&mut self, file: &str, pem: &[u8], now: OffsetDateTime) -> Result<(), AttestationError> {
        let unusable = |reason: String| AttestationError::Authorities { file: file.to_owned(), reason };
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("it has no PEM block CERTIFICATE".to_owned()));
        }
        for der in &certificates {
            let (_, read) = X509Certificate::from_der(der).map_err(|error| unusable(error.to_string()))?;
            // Whoever stands here signs for nodes; a node's own certificate would let its holder do that.
            if !read.is_ca() {
                return Err(unusable(format!(
                    "{} is no authority: its basic constraints do not say CA",
                    read.subject()
                )));
            }
            if read.validity().not_after.to_datetime() < now {
                continue;
            }
            let anchor = anchor_from_trusted_cert(der).map_err(|error| unusable(error.to_string()))?;
            self.anchors.push(anchor.to_owned());
        }
        for list in CertificateRevocationListDer::pem_slice_iter(pem) {
            let list = list.map_err(|error| unusable(error.to_string()))?;
            let list = OwnedCertRevocationList::from_der(&list);
            self.lists.push(list.map_err(|error| unusable(format!("a revocation list: {error}")))?);
        }
        Ok(())
    }

    /// The node that this chain is of, leaf first, at `now`.
    pub fn verify(
        &self,
        chain: Vec<CertificateDer<'static>>,
        now: OffsetDateTime,
    ) -> Result<NodeCertificate, AttestationError> {
        let refused = |reason: String| AttestationError::Certificate(reason);
        if chain.len() > MAX_CERTIFICATES {
            return Err(refused(format!("{} certificates are more than a chain has", chain.len())));
        }
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(refused("there is none".to_owned()));
        };
        let parsed = EndEntityCert::try_from(leaf).map_err(|error| refused(error.to_string()))?;
        let lists: Vec<CertRevocationList<'_>> = self.lists.iter().cloned().map(Into::into).collect();
        let lists: Vec<&CertRevocationList<'_>> = lists.iter().collect();
        // An authority without a list is one whose nodes are not revoked. A list that is over is no answer, as in TLS here.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
            builder
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let algorithms = default_provider().signature_verification_algorithms.all;
        let usage = KeyUsage::client_auth();
        parsed
            .verify_for_usage(algorithms, &self.anchors, intermediates, time, usage, revocation, None)
            .map_err(|error| refused(error.to_string()))?;
        NodeCertificate::read(leaf)
    }
}

/// A node's certificate, verified. It says nothing yet of who has shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    der: CertificateDer<'static>,
    /// The SHA-1 of the certificate in lower-case hexadecimal digits: what SPIRE calls a node by.
    pub fingerprint: String,
    /// The serial number in lower-case hexadecimal digits.
    pub serial: String,
    /// The common name; empty where there is none.
    pub common_name: String,
}

impl NodeCertificate {
    fn read(der: &CertificateDer<'static>) -> Result<Self, AttestationError> {
        let refused = |reason: String| AttestationError::Certificate(reason);
        let (_, read) = X509Certificate::from_der(der).map_err(|error| refused(error.to_string()))?;
        // SPIRE asks for it in so many words: a certificate without key usage is none for signatures.
        let usage = read.key_usage().map_err(|error| refused(error.to_string()))?;
        if !usage.is_some_and(|usage| usage.value.digital_signature()) {
            return Err(refused("its key usage does not say digitalSignature".to_owned()));
        }
        let common_name = read.subject().iter_common_name().next().map(|name| name.as_str());
        let common_name = common_name.transpose().map_err(|error| refused(error.to_string()))?.unwrap_or_default();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, der);
        Ok(Self {
            der: der.clone(),
            fingerprint: hex(digest.as_ref()),
            serial: read.serial.to_str_radix(16),
            common_name: common_name.to_owned(),
        })
    }
}

/// What one node has to sign, once.
#[derive(Debug)]
pub struct Challenge {
    node: NodeCertificate,
    nonce: [u8; NONCE],
    signed: Sha256,
}

impl Challenge {
    /// A challenge for the holder of this certificate, who has asked for this of a server of this trust domain.
    pub fn new(
        node: NodeCertificate,
        trust_domain: &TrustDomain,
        request: &AttestedRequest,
    ) -> Result<Self, AttestationError> {
        let nonce = random()?;
        let signed = transcript(trust_domain, request, &nonce);
        Ok(Self { node, nonce, signed })
    }

    /// What the node is told.
    pub fn nonce(&self) -> &[u8] {
        &self.nonce
    }

    /// The node, if it has signed this with the key of its certificate.
    pub fn verify(self, proof: &AttestationProof) -> Result<NodeCertificate, AttestationError> {
        let refused = |reason: &str| AttestationError::Proof(reason.to_owned());
        if proof.nonce.len() != NONCE {
            return Err(refused("its nonce has another length"));
        }
        let scheme = u16::try_from(proof.scheme).map(SignatureScheme::from);
        let scheme = scheme.ok().filter(|scheme| SCHEMES.contains(scheme));
        let scheme = scheme.ok_or_else(|| refused("its signature scheme is none of TLS 1.3's"))?;
        let leaf = EndEntityCert::try_from(&self.node.der).map_err(|error| refused(&error.to_string()))?;
        let message = message(self.signed, &proof.nonce);
        let known = default_provider().signature_verification_algorithms.mapping;
        let algorithms = known.iter().find(|(known, _)| *known == scheme).map_or(&[][..], |(_, all)| *all);
        let is_signed = |algorithm: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
            leaf.verify_signature(*algorithm, &message, &proof.signature).is_ok()
        };
        match algorithms.iter().any(is_signed) {
            true => Ok(self.node),
            false => Err(refused("the signature is another")),
        }
    }
}

/// A node's own certificate and key. `Debug` shows no key.
#[derive(Debug)]
pub struct NodeKey {
    chain: Vec<CertificateDer<'static>>,
    key: std::sync::Arc<dyn rustls::sign::SigningKey>,
}

impl NodeKey {
    /// Reads PEM: the node's certificate and those between it and its authority, and its key.
    pub fn read(chain: &str, key: &[u8]) -> Result<Self, AttestationError> {
        let own = |what| move |reason: String| AttestationError::Own { what, reason };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| own("certificate")(error.to_string()))?;
        if chain.is_empty() {
            return Err(own("certificate")("there is no PEM block CERTIFICATE".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| own("key")(error.to_string()))?;
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| own("key")(error.to_string()))?;
        let pair = rustls::sign::CertifiedKey::new(chain.clone(), std::sync::Arc::clone(&key));
        pair.keys_match().map_err(|error| own("key")(error.to_string()))?;
        Ok(Self { chain, key })
    }

    /// What the node asks for.
    pub fn request(&self, workload: &str, csr: String) -> AttestedRequest {
        let certificates = self.chain.iter().map(|der| der.to_vec()).collect();
        AttestedRequest { certificates, csr, workload: workload.to_owned() }
    }

    /// The proof for a server of this trust domain that has answered the request with `nonce`.
    pub fn prove(
        &self,
        trust_domain: &TrustDomain,
        request: &AttestedRequest,
        nonce: &[u8],
    ) -> Result<AttestationProof, AttestationError> {
        let refused = |reason: &str| AttestationError::Proof(reason.to_owned());
        if nonce.len() != NONCE {
            return Err(refused("the server's nonce has another length"));
        }
        let own: [u8; NONCE] = random()?;
        let message = message(transcript(trust_domain, request, nonce), &own);
        let signer = self.key.choose_scheme(&SCHEMES).ok_or_else(|| match self.key.algorithm() {
            SignatureAlgorithm::Unknown(_) => refused("its key is of a kind that TLS does not know"),
            _ => refused("its key has no signature scheme of TLS 1.3"),
        })?;
        let signature = signer.sign(&message).map_err(|error| refused(&error.to_string()))?;
        Ok(AttestationProof { nonce: own.to_vec(), scheme: u32::from(u16::from(signer.scheme())), signature })
    }
}

/// All that both sides know before the node's nonce. Each part has its length before it: none can be taken for a piece of another.
fn transcript(trust_domain: &TrustDomain, request: &AttestedRequest, nonce: &[u8]) -> Sha256 {
    let AttestedRequest { certificates, csr, workload } = request;
    let mut digest = Sha256::new();
    part(&mut digest, trust_domain.as_str().as_bytes());
    digest.update((certificates.len() as u64).to_be_bytes());
    certificates.iter().for_each(|der| part(&mut digest, der));
    [csr.as_bytes(), workload.as_bytes(), nonce].into_iter().for_each(|bytes| part(&mut digest, bytes));
    digest
}

fn part(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}

fn message(mut transcript: Sha256, nonce: &[u8]) -> Vec<u8> {
    part(&mut transcript, nonce);
    [&[b' '; 64][..], CONTEXT, &transcript.finalize()].concat()
}

fn random() -> Result<[u8; NONCE], AttestationError> {
    use rand::TryRngCore as _;
    let mut bytes = [0; NONCE];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|_| AttestationError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
