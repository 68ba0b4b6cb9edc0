//! Who is let in by a certificate, and who is not.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};

use super::*;

const NOW: OffsetDateTime = time::macros::datetime!(2026-03-01 12:00 UTC);
const DAY: time::Duration = time::Duration::DAY;

/// An authority of nodes, as a company has one.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority of nodes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (NOW - 30 * DAY, NOW + 30 * DAY);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// A node's certificate with its key.
    fn node_with(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> NodeKey {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "edge-1");
        params.serial_number = Some(SerialNumber::from(0x1234));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (NOW - DAY, NOW + DAY);
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer()).unwrap();
        NodeKey::read(&certificate.pem(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn node(&self, change: impl FnOnce(&mut CertificateParams)) -> NodeKey {
        self.node_with(&KeyPair::generate().unwrap(), change)
    }

    /// A list that names this serial number, good for a day.
    fn revoking(&self, serial: u64) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: NOW - DAY / 2,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: NOW - DAY / 2,
            next_update: NOW + DAY / 2,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer()).unwrap().pem().unwrap()
    }

    fn verify(&self, node: &NodeKey, now: OffsetDateTime) -> Result<NodeCertificate, AttestationError> {
        authorities(&self.pem).verify(node.chain.clone(), now)
    }
}

fn authorities(pem: &str) -> NodeAuthorities {
    let mut authorities = NodeAuthorities::default();
    authorities.add("/nodes.pem", pem.as_bytes(), NOW).unwrap();
    authorities
}

fn domain(name: &str) -> TrustDomain {
    name.parse().unwrap()
}

/// A challenge of this node's request, with the request.
fn challenged(authority: &Authority, node: &NodeKey) -> (Challenge, AttestedRequest) {
    let request = node.request("shop/web", "a request".into());
    let shown = authority.verify(node, NOW).unwrap();
    (Challenge::new(shown, &domain("example.org"), &request).unwrap(), request)
}

fn refused(result: Result<NodeCertificate, AttestationError>) -> String {
    result.expect_err("it is refused").to_string()
}

#[test]
fn whoever_has_the_key_of_a_nodes_certificate_is_that_node() {
    let authority = Authority::new(|_| ());
    let kinds =
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256];
    for kind in kinds {
        let node = authority.node_with(&KeyPair::generate_for(kind).unwrap(), |_| ());
        let (challenge, request) = challenged(&authority, &node);
        let proof = node.prove(&domain("example.org"), &request, challenge.nonce()).unwrap();
        let proven = challenge.verify(&proof).unwrap();
        assert_eq!((proven.common_name.as_str(), proven.serial.as_str()), ("edge-1", "1234"));
        assert!(proven.fingerprint.len() == 40 && proven.fingerprint.chars().all(|it| it.is_ascii_hexdigit()));
    }
}

/// SPIRE calls a node after this; the value is what `openssl x509 -fingerprint -sha1` says.
#[test]
fn the_fingerprint_is_the_one_of_openssl() {
    let authority = Authority::new(|_| ());
    let node = authority.node(|_| ());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.der");
    std::fs::write(&file, &node.chain[0]).unwrap();
    let arguments = ["x509", "-inform", "DER", "-noout", "-fingerprint", "-sha1", "-in"];
    let said = std::process::Command::new("openssl").args(arguments).arg(&file).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let fingerprint = said.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase();
    assert_eq!(authority.verify(&node, NOW).unwrap().fingerprint, fingerprint);
}

#[test]
fn threat_04_a_certificate_that_is_not_a_nodes_is_refused() {
    let authority = Authority::new(|_| ());
    let other = Authority::new(|params| params.distinguished_name.push(DnType::OrganizationName, "others"));
    assert!(refused(authority.verify(&other.node(|_| ()), NOW)).contains("UnknownIssuer"));
    let namesake = Authority::new(|_| ());
    assert!(refused(authority.verify(&namesake.node(|_| ()), NOW)).contains("InvalidSignatureForPublicKey"));
    let node = authority.node(|_| ());
    assert!(refused(authority.verify(&node, NOW + 2 * DAY)).contains("CertExpired"));
    assert!(refused(authority.verify(&node, NOW - 2 * DAY)).contains("CertNotValidYet"));
    let is_authority = authority.node(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    });
    assert!(refused(authority.verify(&is_authority, NOW)).contains("CaUsedAsEndEntity"));
    let for_servers = authority.node(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(refused(authority.verify(&for_servers, NOW)).contains("RequiredEkuNotFound"));
    for usages in [vec![], vec![KeyUsagePurpose::KeyEncipherment]] {
        let node = authority.node(|it| it.key_usages = usages);
        assert!(refused(authority.verify(&node, NOW)).contains("digitalSignature"));
    }
    // Below a node: it is no authority, whatever its holder signs.
    let key = KeyPair::generate().unwrap();
    let node = authority.node_with(&key, |_| ());
    let leaf = Authority { params: CertificateParams::default(), key, pem: String::new() };
    let mut below = leaf.node(|_| ());
    below.chain.extend(node.chain.clone());
    assert!(authority.verify(&below, NOW).is_err());
    assert!(refused(authorities(&authority.pem).verify(Vec::new(), NOW)).contains("there is none"));
    let many = vec![node.chain[0].clone(); MAX_CERTIFICATES + 1];
    assert!(refused(authorities(&authority.pem).verify(many, NOW)).contains("more than a chain has"));
    assert!(NodeAuthorities::default().verify(node.chain, NOW).is_err(), "no authority, and so no node");
}

#[test]
fn threat_04_a_revoked_certificate_is_refused() {
    let authority = Authority::new(|_| ());
    let (node, other) = (authority.node(|_| ()), authority.node(|it| it.serial_number = Some(SerialNumber::from(7))));
    let known = authorities(&format!("{}{}", authority.pem, authority.revoking(0x1234)));
    assert!(refused(known.verify(node.chain.clone(), NOW)).contains("CertRevoked"));
    known.verify(other.chain.clone(), NOW).unwrap();
    // A list that is over does not say who is good.
    assert!(refused(known.verify(other.chain, NOW + DAY * 3 / 4)).contains("CrlExpired"));
    // A list of somebody else's says nothing of this authority's nodes.
    let foreign = Authority::new(|params| params.distinguished_name.push(DnType::OrganizationName, "others"));
    let known = authorities(&format!("{}{}{}", authority.pem, foreign.pem, foreign.revoking(0x1234)));
    known.verify(node.chain, NOW).unwrap();
}

#[test]
fn threat_04_a_certificate_alone_proves_nothing() {
    let authority = Authority::new(|_| ());
    let (node, thief) = (authority.node(|_| ()), authority.node(|_| ()));
    let (challenge, request) = challenged(&authority, &node);
    // Another key, be it another node's.
    let proof = thief.prove(&domain("example.org"), &request, challenge.nonce()).unwrap();
    assert!(refused(challenge.verify(&proof)).contains("the signature is another"));
    let spoil: [fn(&mut AttestationProof); 5] = [
        |it| it.signature.clear(),
        |it| it.signature[9] ^= 1,
        |it| it.nonce[0] ^= 1,
        |it| it.nonce.clear(),
        // rsa_pkcs1_sha1: no scheme of TLS 1.3.
        |it| it.scheme = 0x0201,
    ];
    for (index, spoil) in spoil.into_iter().enumerate() {
        let (challenge, request) = challenged(&authority, &node);
        let mut proof = node.prove(&domain("example.org"), &request, challenge.nonce()).unwrap();
        spoil(&mut proof);
        assert!(challenge.verify(&proof).is_err(), "{index}");
    }
}

/// What was signed for one call is good for no other: not a second one, not another workload, key or trust domain.
#[test]
fn threat_09_a_proof_is_good_once_and_for_nothing_else() {
    let authority = Authority::new(|_| ());
    let node = authority.node(|_| ());
    let (first, request) = challenged(&authority, &node);
    let proof = node.prove(&domain("example.org"), &request, first.nonce()).unwrap();
    first.verify(&proof).unwrap();
    let (second, _) = challenged(&authority, &node);
    assert!(refused(second.verify(&proof)).contains("the signature is another"), "replayed");
    let changes: [fn(&mut AttestedRequest); 4] = [
        |it| it.workload = "shop/admin".into(),
        |it| it.csr = "another's".into(),
        |it| (it.csr, it.workload) = ("a requestshop".into(), "/web".into()),
        |it| it.certificates.push(vec![0]),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let (challenge, signed) = challenged(&authority, &node);
        let mut shown = signed.clone();
        change(&mut shown);
        let challenge =
            Challenge { signed: transcript(&domain("example.org"), &shown, challenge.nonce()), ..challenge };
        let proof = node.prove(&domain("example.org"), &signed, challenge.nonce()).unwrap();
        assert!(challenge.verify(&proof).is_err(), "{index}");
    }
    // A server of another mesh that passes a challenge on.
    let (challenge, request) = challenged(&authority, &node);
    let proof = node.prove(&domain("elsewhere.example"), &request, challenge.nonce()).unwrap();
    assert!(challenge.verify(&proof).is_err());
    assert!(
        node.prove(&domain("example.org"), &request, b"short").is_err(),
        "a nonce that the server chose to be short"
    );
}

#[test]
fn threat_08_what_is_no_authority_is_not_taken_for_one() {
    let authority = Authority::new(|_| ());
    let node = authority.node(|_| ());
    let pem = crate::trust::pem_block("CERTIFICATE", &node.chain[0]);
    let add = |pem: &str| NodeAuthorities::default().add("/nodes.pem", pem.as_bytes(), NOW).unwrap_err().to_string();
    assert!(add(&pem).contains("/nodes.pem cannot be used: CN=edge-1 is no authority"), "{}", add(&pem));
    assert!(add("nothing").contains("no PEM block CERTIFICATE"));
    // One that is over is nobody's authority any more.
    let over = Authority::new(|params| params.not_after = NOW - DAY);
    assert!(refused(over.verify(&over.node(|_| ()), NOW)).contains("UnknownIssuer"));
}

#[test]
fn threat_07_a_nodes_key_is_not_shown() {
    let authority = Authority::new(|_| ());
    let key = KeyPair::generate().unwrap();
    let node = authority.node_with(&key, |_| ());
    let secret = key.serialize_pem();
    assert!(!format!("{node:?}").contains(secret.lines().nth(1).unwrap()));
    let bytes = key.serialize_der();
    assert!(!format!("{node:?}").contains(&format!("{:?}", &bytes[36..44])));
    let other = KeyPair::generate().unwrap().serialize_pem();
    let error = NodeKey::read(&crate::trust::pem_block("CERTIFICATE", &node.chain[0]), other.as_bytes()).unwrap_err();
    assert!(error.to_string().starts_with("the node's key cannot be used"), "{error}");
}
