//! How a node shows a certificate of its own instead of a join token: SPIRE's node attestor `x509pop`.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::cli::CliError;
use crate::enrollment::ClientError;
use crate::enrollment::x509pop::{AttestationError, NodeKey};
use crate::identity::TrustDomain;

/// What a node shows, and what it knows the server by.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Attestation {
    /// Join over the network with a certificate that an authority of the server's NodeAttestor "x509pop" has signed, and those between
    /// (PEM)
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "join_token",
        requires_all = ["xds_address", "x509pop_key", "trust_bundle", "trust_domain"]
    )]
    pub x509pop_cert: Option<PathBuf>,
    /// The key of this certificate (PEM); it is not sent
    #[arg(long, value_name = "FILE", requires = "x509pop_cert")]
    pub x509pop_key: Option<PathBuf>,
    /// The roots that the server must have, as `countersign bundle export` writes them (PEM)
    #[arg(long, value_name = "FILE", requires = "x509pop_cert")]
    pub trust_bundle: Option<PathBuf>,
    /// The trust domain that the server must be of
    #[arg(long, value_name = "NAME", requires = "x509pop_cert")]
    pub trust_domain: Option<TrustDomain>,
}

/// The same, read.
pub(super) struct Own {
    pub(super) key: NodeKey,
    pub(super) roots: String,
    pub(super) trust_domain: TrustDomain,
}

impl Attestation {
    pub(super) fn is_asked_for(&self) -> bool {
        self.x509pop_cert.is_some()
    }

    pub(super) fn read(&self) -> Result<Own, CliError> {
        let (Some(certificate), Some(key), Some(roots), Some(trust_domain)) =
            (&self.x509pop_cert, &self.x509pop_key, &self.trust_bundle, &self.trust_domain)
        else {
            let message = "x509pop takes a certificate, its key, the server's roots and its trust domain";
            return Err(CliError::Incomplete(message.to_owned()));
        };
        let (chain, secret) = (read("certificate", certificate)?, read("key", key)?);
        let in_file = |error| match error {
            AttestationError::Own { what, reason } => {
                let file = if what == "key" { key } else { certificate };
                AttestationError::Own { what, reason: format!("{}: {reason}", file.display()) }
            }
            other => other,
        };
        let key = NodeKey::read(&chain, secret.as_bytes()).map_err(in_file).map_err(ClientError::from)?;
        Ok(Own { key, roots: read("trust bundle", roots)?.to_string(), trust_domain: trust_domain.clone() })
    }
}

fn read(what: &'static str, path: &Path) -> Result<Zeroizing<String>, ClientError> {
    let unreadable = |error| AttestationError::Own { what, reason: format!("{}: {error}", path.display()) };
    Ok(std::fs::read_to_string(path).map(Zeroizing::new).map_err(unreadable)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let made = rcgen::generate_simple_self_signed(["node".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let files = [("good", made.cert.pem()), ("empty", String::new()), ("other", other.serialize_pem())];
        files.iter().for_each(|(name, text)| std::fs::write(at(name), text).unwrap());
        let told = |certificate: &str, key: &str| {
            let attestation = Attestation {
                x509pop_cert: Some(at(certificate)),
                x509pop_key: Some(at(key)),
                trust_bundle: Some(at("good")),
                trust_domain: Some("example.org".parse().unwrap()),
            };
            attestation.read().err().expect("it is refused").to_string()
        };
        for (certificate, key, file) in [
            ("empty", "other", "empty"),
            ("good", "empty", "empty"),
            ("good", "other", "other"),
            ("none", "other", "none"),
        ] {
            let message = told(certificate, key);
            assert!(message.contains(&at(file).display().to_string()), "{message}");
        }
    }
}
