//! The peer of a connection, from what it has proven.

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{SpiffeId, SpiffeIdError};

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody who has proven who it is.
    Authenticated {
        /// Its identity.
        id: SpiffeId,
        /// What else the certificate says that TLS has verified; `None` for whoever has proven itself in another way.
        certificate: Option<PeerCertificate>,
    },
    /// Anybody: the connection has no TLS.
    Unauthenticated,
}

/// What the certificate of a peer says besides its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Its serial number, big-endian.
    pub serial: Vec<u8>,
    /// Its last second.
    pub not_after: OffsetDateTime,
    /// Identifies the key that has signed it (RFC 5280 §4.2.1.1).
    pub authority_key: Option<Vec<u8>>,
}

/// Why a verified certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// TLS let a client in without one.
    #[error("the client has shown no certificate")]
    NoCertificate,
    /// It is not X.509.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// It has none or several URI names. An X509-SVID has exactly one (X509-SVID §2).
    #[error("the certificate has {0} URI subject alternative names, and an X509-SVID has exactly one")]
    UriNames(usize),
    /// The one it has is no workload's identity.
    #[error("the certificate's URI is not a workload's SPIFFE ID: {0}")]
    SpiffeId(#[from] SpiffeIdError),
    /// It may sign others, so it is an authority's and no workload's (X509-SVID §4.1).
    #[error("the certificate is an authority's, not a workload's")]
    Authority,
}

impl Peer {
    /// Somebody who has proven this identity without a certificate.
    pub fn without_certificate(id: SpiffeId) -> Self {
        Self::Authenticated { id, certificate: None }
    }

    /// Its identity, if it has proven one.
    pub fn id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Authenticated { id, .. } => Some(id),
            Self::Unauthenticated => None,
        }
    }

    /// The peer of a TLS connection. `chain` is what the TLS library has verified, leaf first.
    pub fn from_chain(chain: Option<&[CertificateDer<'_>]>) -> Result<Self, PeerError> {
        let leaf = chain.and_then(<[_]>::first).ok_or(PeerError::NoCertificate)?;
        let (_, certificate) =
            X509Certificate::from_der(leaf).map_err(|error| PeerError::Unreadable(error.to_string()))?;
        let authority_key = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => Some(authority.key_identifier.as_ref()?.0.to_vec()),
            _ => None,
        });
        let (serial, not_after) = (certificate.raw_serial().to_vec(), certificate.validity().not_after.to_datetime());
        let id = spiffe_id_of(&certificate)?;
        Ok(Self::Authenticated { id, certificate: Some(PeerCertificate { serial, not_after, authority_key }) })
    }
}

/// The one SPIFFE ID of a workload's certificate.
pub fn spiffe_id_of(certificate: &X509Certificate<'_>) -> Result<SpiffeId, PeerError> {
    let unreadable = |error: x509_parser::error::X509Error| PeerError::Unreadable(error.to_string());
    if certificate.basic_constraints().map_err(unreadable)?.is_some_and(|constraints| constraints.value.ca) {
        return Err(PeerError::Authority);
    }
    let names = certificate.subject_alternative_name().map_err(unreadable)?;
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let uris: Vec<&str> =
        names.filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None }).collect();
    match uris.as_slice() {
        [one] => Ok(one.parse()?),
        several => Err(PeerError::UriNames(several.len())),
    }
}
