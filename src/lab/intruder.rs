//! A client that the mesh must not let in: it does not care who the server is, and has no certificate, a self-made or a stolen one.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use super::LabError;
use super::http::Tls;
use crate::enrollment::Anybody;

/// What the intruder shows as a client certificate.
#[derive(Debug)]
pub enum Disguise<'a> {
    /// None.
    Nothing,
    /// One that carries this SPIFFE ID, signed by a root of its own.
    Forged(&'a str),
    /// A workload's own chain, leaf first, and its key.
    Stolen(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
}

/// TLS of an intruder. It accepts any server and offers the protocol names that sidecars offer, so that only its certificate, or
/// the lack of one, tells it from a proxy of the mesh.
pub fn tls(disguise: Disguise<'_>, server_name: &str) -> Result<Tls, LabError> {
    let failed = |e: &dyn std::fmt::Display| LabError::Certificate(e.to_string());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody::default()));
    let mut config = match disguise {
        Disguise::Nothing => builder.with_no_client_auth(),
        Disguise::Forged(identity) => {
            let (chain, key) = forge(identity).map_err(|e| failed(&e))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| failed(&e))?
        }
        Disguise::Stolen(chain, key) => builder.with_client_auth_cert(chain, key).map_err(|e| failed(&e))?,
    };
    config.alpn_protocols = ["istio-peer-exchange", "istio", "http/1.1"].map(|name| name.as_bytes().to_vec()).into();
    let server_name = ServerName::try_from(server_name.to_owned()).map_err(|e| failed(&e))?;
    Ok(Tls { config: Arc::new(config), server_name })
}

fn forge(identity: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), rcgen::Error> {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "countersign lab intruder");
    let root_key = KeyPair::generate()?;
    let root_certificate = root.self_signed(&root_key)?;
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names.push(SanType::URI(identity.try_into()?));
    let key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok((vec![leaf.into(), root_certificate.into()], key))
}
