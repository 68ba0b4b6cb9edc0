//! cert-manager's names of what a certificate may be used for.

use serde::Deserialize;

/// A usage, by the name that cert-manager gives it: bits of keyUsage (RFC 5280 §4.2.1.3) and purposes of extKeyUsage (§4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyUsage {
    /// The same as `digital signature`.
    Signing,
    /// digitalSignature (0).
    #[serde(rename = "digital signature")]
    DigitalSignature,
    /// contentCommitment, once nonRepudiation (1).
    #[serde(rename = "content commitment")]
    ContentCommitment,
    /// keyEncipherment (2).
    #[serde(rename = "key encipherment")]
    KeyEncipherment,
    /// dataEncipherment (3).
    #[serde(rename = "data encipherment")]
    DataEncipherment,
    /// keyAgreement (4).
    #[serde(rename = "key agreement")]
    KeyAgreement,
    /// keyCertSign (5).
    #[serde(rename = "cert sign")]
    CertSign,
    /// cRLSign (6).
    #[serde(rename = "crl sign")]
    CrlSign,
    /// encipherOnly (7).
    #[serde(rename = "encipher only")]
    EncipherOnly,
    /// decipherOnly (8).
    #[serde(rename = "decipher only")]
    DecipherOnly,
    /// anyExtendedKeyUsage.
    Any,
    /// serverAuth.
    #[serde(rename = "server auth")]
    ServerAuth,
    /// clientAuth.
    #[serde(rename = "client auth")]
    ClientAuth,
    /// codeSigning.
    #[serde(rename = "code signing")]
    CodeSigning,
    /// emailProtection.
    #[serde(rename = "email protection")]
    EmailProtection,
    /// The same as `email protection`.
    #[serde(rename = "s/mime")]
    SMime,
    /// ipsecEndSystem.
    #[serde(rename = "ipsec end system")]
    IpsecEndSystem,
    /// ipsecTunnel.
    #[serde(rename = "ipsec tunnel")]
    IpsecTunnel,
    /// ipsecUser.
    #[serde(rename = "ipsec user")]
    IpsecUser,
    /// timeStamping.
    Timestamping,
    /// OCSPSigning.
    #[serde(rename = "ocsp signing")]
    OcspSigning,
    /// Microsoft's server gated cryptography.
    #[serde(rename = "microsoft sgc")]
    MicrosoftSgc,
    /// Netscape's server gated cryptography.
    #[serde(rename = "netscape sgc")]
    NetscapeSgc,
}
