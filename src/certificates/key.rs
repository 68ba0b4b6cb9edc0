//! Private keys: made, read in any of their encodings, and written in the one that is asked for.

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{self, EcdsaKeyPair};
use rcgen::{KeyPair, PublicKeyData as _, RsaKeySize};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::SigningError;
use super::pem;
use crate::policy::{PrivateKeyAlgorithm, PrivateKeyEncoding};

/// A key, as PKCS #8 and ready to sign. `Debug` shows no key.
pub(super) struct PrivateKey {
    pub(super) pair: KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// A new key.
    pub(super) fn generate(algorithm: PrivateKeyAlgorithm) -> Result<Self, SigningError> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        let pair = match algorithm {
            PrivateKeyAlgorithm::Rsa(4096) => rsa(RsaKeySize::_4096),
            PrivateKeyAlgorithm::Rsa(3072) => rsa(RsaKeySize::_3072),
            PrivateKeyAlgorithm::Rsa(_) => rsa(RsaKeySize::_2048),
            PrivateKeyAlgorithm::Ecdsa(521) => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
            PrivateKeyAlgorithm::Ecdsa(384) => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            PrivateKeyAlgorithm::Ecdsa(_) => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            PrivateKeyAlgorithm::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        };
        let pair = pair.map_err(SigningError::crypto)?;
        Ok(Self { pkcs8: Zeroizing::new(pair.serialize_der()), pair })
    }

    /// Reads PKCS #8, PKCS #1 or SEC 1 in PEM. The error says nothing of the key.
    pub(super) fn read(pem: &[u8]) -> Result<Self, SigningError> {
        let unreadable = || SigningError::Crypto("the private key cannot be read".to_owned());
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unreadable())?;
        let pkcs8 = Zeroizing::new(match &der {
            PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der().to_vec(),
            PrivateKeyDer::Pkcs1(key) => {
                let key = RsaKeyPair::from_der(key.secret_pkcs1_der()).map_err(|_| unreadable())?;
                AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(|_| unreadable())?.as_ref().to_vec()
            }
            PrivateKeyDer::Sec1(key) => {
                let curves = [
                    &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
                    &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
                    &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
                ];
                let read = |curve| EcdsaKeyPair::from_private_key_der(curve, key.secret_sec1_der()).ok();
                let key = curves.into_iter().find_map(read).ok_or_else(unreadable)?;
                key.to_pkcs8v1().map_err(|_| unreadable())?.as_ref().to_vec()
            }
            _ => return Err(unreadable()),
        });
        let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8.as_slice())).map_err(|_| unreadable())?;
        Ok(Self { pair, pkcs8 })
    }

    /// Its kind and size; `None` for kinds that no Certificate asks for.
    pub(super) fn algorithm(&self) -> Option<PrivateKeyAlgorithm> {
        let algorithm = self.pair.algorithm();
        let curves = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, 256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, 384),
            (&rcgen::PKCS_ECDSA_P521_SHA512, 521),
        ];
        if let Some((_, bits)) = curves.into_iter().find(|(curve, _)| *curve == algorithm) {
            return Some(PrivateKeyAlgorithm::Ecdsa(bits));
        }
        if algorithm == &rcgen::PKCS_ED25519 {
            return Some(PrivateKeyAlgorithm::Ed25519);
        }
        let key = RsaKeyPair::from_pkcs8(&self.pkcs8).ok()?;
        u16::try_from(key.public_modulus_len() * 8).ok().map(PrivateKeyAlgorithm::Rsa)
    }

    /// Its SubjectPublicKeyInfo in DER.
    pub(super) fn public_key(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// PEM in this encoding.
    pub(super) fn write(&self, encoding: PrivateKeyEncoding) -> Result<Zeroizing<Vec<u8>>, SigningError> {
        let (label, der) = match (encoding, self.algorithm()) {
            (PrivateKeyEncoding::Pkcs1, Some(PrivateKeyAlgorithm::Rsa(_))) => {
                // RFC 5208 §5: version, algorithm, and the key of PKCS #1 as an octet string.
                let inner = yasna::parse_der(&self.pkcs8, |reader| {
                    reader.read_sequence(|reader| {
                        reader.next().read_i64()?;
                        reader.next().read_der()?;
                        let inner = reader.next().read_bytes()?;
                        while reader.read_optional(|reader| reader.read_der())?.is_some() {}
                        Ok(inner)
                    })
                });
                ("RSA PRIVATE KEY", inner.map_err(SigningError::crypto)?)
            }
            (PrivateKeyEncoding::Pkcs1, Some(PrivateKeyAlgorithm::Ecdsa(bits))) => {
                let curve = match bits {
                    521 => &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
                    384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
                    _ => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
                };
                let key = EcdsaKeyPair::from_pkcs8(curve, &self.pkcs8).map_err(SigningError::crypto)?;
                let der: EcPrivateKeyRfc5915Der<'_> = key.private_key().as_der().map_err(SigningError::crypto)?;
                ("EC PRIVATE KEY", der.as_ref().to_vec())
            }
            _ => ("PRIVATE KEY", self.pkcs8.to_vec()),
        };
        let der = Zeroizing::new(der);
        Ok(Zeroizing::new(pem::block(label, &der).into_bytes()))
    }
}
