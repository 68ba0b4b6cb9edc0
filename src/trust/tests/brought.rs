//! Authorities from elsewhere.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::*;

/// An operator's own authorities.
pub(super) struct Pki {
    pub(super) root: String,
    pub(super) root_key: KeyPair,
    params: CertificateParams,
}

fn params(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    // TLS libraries look at the real clock, the other tests at theirs.
    (params.not_before, params.not_after) = (NOW - DAY, (NOW + 365 * DAY).max(tls::now() + DAY));
    params
}

impl Pki {
    pub(super) fn new() -> Self {
        let (params, root_key) =
            (params("an operator's root", BasicConstraints::Unconstrained), KeyPair::generate().unwrap());
        Self { root: params.self_signed(&root_key).unwrap().pem(), root_key, params }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.root_key)
    }

    /// An intermediate with its key, as in Istio's ca-cert.pem and ca-key.pem.
    pub(super) fn intermediate(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = params("an operator's intermediate", BasicConstraints::Constrained(0));
        change(&mut params);
        (params.signed_by(&key, &self.issuer()).unwrap().pem(), key.serialize_pem())
    }

    /// What an operator's tool makes of a request: the key is taken from it, and the rest is the tool's own.
    fn sign(&self, csr: &str) -> String {
        let (_, pem) = x509_parser::pem::parse_x509_pem(csr.as_bytes()).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        let key = rcgen::SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw).unwrap();
        params("signed offline", BasicConstraints::Constrained(0)).signed_by(&key, &self.issuer()).unwrap().pem()
    }
}

fn store(directory: &TempDir) -> SqliteStore {
    SqliteStore::open(&directory.path().join("trust.db")).unwrap()
}

fn import(directory: &TempDir, chain: &str, root: &str, key: Option<&str>) -> Result<AuthorityInfo, TrustError> {
    import_authority(&store(directory), &settings(), Brought { chain, root, key }, NOW)
}

/// A hierarchy that began with this authority and key.
pub(super) fn under(root: &str, (chain, key): &(String, String)) -> (TempDir, Trust) {
    let directory = tempfile::tempdir().unwrap();
    import(&directory, chain, root, Some(key)).unwrap();
    let trust = open(directory.path(), settings(), NOW).unwrap();
    (directory, trust)
}

/// A hierarchy as Istio's `cacerts` have it: the root's key is elsewhere.
pub(super) fn under_a_foreign_root(settings: Settings) -> (TempDir, Trust) {
    let (directory, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    let (chain, key) = pki.intermediate(|_| ());
    import(&directory, &chain, &pki.root, Some(&key)).unwrap();
    let trust = open(directory.path(), settings, NOW).unwrap();
    (directory, trust)
}

pub(super) fn leaf_chains_to(trust: &Trust, root: &str) {
    let issued = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    let (_, root) = x509_parser::pem::parse_x509_pem(root.as_bytes()).unwrap();
    assert_eq!(*trust.bundle().roots()[0].der, root.contents[..]);
    let mut issuers = issued.chain[1..].iter().map(|der| der.to_vec()).chain([root.contents.clone()]);
    for der in &issued.chain {
        let issuer = issuers.next().unwrap();
        let (_, issuer) = x509_parser::parse_x509_certificate(&issuer).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
        certificate.verify_signature(Some(issuer.public_key())).unwrap();
    }
}

#[test]
fn istios_plugged_in_authority_signs() {
    let (directory, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    let (chain, key) = pki.intermediate(|_| ());
    // cert-chain.pem often has the root at its end.
    let info = import(&directory, &format!("{chain}{}", pki.root), &pki.root, Some(&key)).unwrap();
    let trust = open(directory.path(), settings(), NOW).unwrap();
    assert_eq!(trust.intermediate(), info);
    leaf_chains_to(&trust, &pki.root);
    // Its root's key is not here, so nothing is prepared, and nothing stops.
    assert_eq!(trust.maintain(NOW + 300 * DAY).unwrap(), Maintained::default());
    assert!(trust.workload_certificate("a/c", id("a", "c"), NOW + 300 * DAY).is_ok());
}

#[test]
fn a_longer_chain_is_sent_whole() {
    let (directory, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    let upper_key = KeyPair::generate().unwrap();
    let upper = params("upper", BasicConstraints::Constrained(1));
    let upper_pem = upper.signed_by(&upper_key, &pki.issuer()).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let lower =
        params("lower", BasicConstraints::Constrained(0)).signed_by(&key, &Issuer::from_params(&upper, &upper_key));
    import(&directory, &(lower.unwrap().pem() + &upper_pem), &pki.root, Some(&key.serialize_pem())).unwrap();
    let trust = open(directory.path(), settings(), NOW).unwrap();
    leaf_chains_to(&trust, &pki.root);
    assert_eq!(trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap().chain.len(), 3);
}

#[test]
fn a_root_with_its_key_gets_an_intermediate() {
    let (directory, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    import(&directory, &pki.root, &pki.root, Some(&pki.root_key.serialize_pem())).unwrap();
    let trust = open(directory.path(), settings(), NOW).unwrap();
    leaf_chains_to(&trust, &pki.root);
    assert!(trust.maintain(NOW + 20 * DAY).unwrap().prepared, "and the next one too");
}

#[test]
fn what_would_not_verify_is_refused_and_nothing_is_kept() {
    let (directory, pki, other) = (tempfile::tempdir().unwrap(), Pki::new(), Pki::new());
    let (chain, key) = pki.intermediate(|_| ());
    let (_, another_key) = pki.intermediate(|_| ());
    let no_authority = pki.intermediate(|params| params.is_ca = IsCa::ExplicitNoCa);
    let over = pki.intermediate(|params| params.not_after = NOW);
    let constrained = pki.intermediate(|params| {
        let name = rcgen::GeneralSubtree::DnsName("example".into());
        params.name_constraints =
            Some(rcgen::NameConstraints { permitted_subtrees: vec![name], excluded_subtrees: Vec::new() });
    });
    let foreign = pki.intermediate(|params| {
        params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://elsewhere".try_into().unwrap())];
    });
    let no_signing = pki.intermediate(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let below = {
        let issuer_key = KeyPair::from_pem(&key).unwrap();
        let issuer = params("an operator's intermediate", BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let lower = params("too low", BasicConstraints::Constrained(0));
        let pem = lower.signed_by(&key, &Issuer::from_params(&issuer, &issuer_key)).unwrap().pem();
        (pem + &chain, key.serialize_pem())
    };
    let cases = [
        (&chain, &pki.root, &another_key, "its key is another certificate's"),
        (&chain, &other.root, &key, "it is not signed with the key of"),
        (&no_authority.0, &pki.root, &no_authority.1, "do not say CA"),
        (&over.0, &pki.root, &over.1, "it is valid from"),
        (&constrained.0, &pki.root, &constrained.1, "name constraints"),
        (&foreign.0, &pki.root, &foreign.1, "spiffe://elsewhere"),
        (&no_signing.0, &pki.root, &no_signing.1, "does not allow to sign"),
        (&below.0, &pki.root, &below.1, "its path length is 0"),
        (&"garbage".to_owned(), &pki.root, &key, "no PEM block"),
    ];
    for (chain, root, key, reason) in cases {
        let error = import(&directory, chain, root, Some(key)).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(store(&directory).load().unwrap().trust_domain.is_none(), "{reason}");
    }
    let error = import(&directory, &chain, &pki.root, None).unwrap_err().to_string();
    assert!(error.contains("countersign ca csr"), "{error}");
}

#[test]
fn another_root_does_not_replace_the_one_that_is_trusted() {
    let (directory, trust) = fresh();
    drop(trust);
    let pki = Pki::new();
    let (chain, key) = pki.intermediate(|_| ());
    let error = import(&directory, &chain, &pki.root, Some(&key)).unwrap_err().to_string();
    assert!(error.contains("the store has another root"), "{error}");
}

#[test]
fn threat_07_the_key_of_a_request_stays_here_and_the_signed_chain_comes_back() {
    let (directory, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    let csr = request_authority(&store(&directory), &settings(), NOW).unwrap();
    assert!(!csr.contains("PRIVATE"));
    let (_, pem) = x509_parser::pem::parse_x509_pem(csr.as_bytes()).unwrap();
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).unwrap();
    request.verify_signature().unwrap();
    let info = import(&directory, &pki.sign(&csr), &pki.root, None).unwrap();
    let trust = open(directory.path(), settings(), NOW).unwrap();
    assert_eq!(trust.intermediate(), info);
    leaf_chains_to(&trust, &pki.root);
    drop(trust);

    // The next one, under the same root.
    let csr = request_authority(&store(&directory), &settings(), NOW).unwrap();
    let next = import(&directory, &pki.sign(&csr), &pki.root, None).unwrap();
    assert_ne!(next.serial, info.serial);
    assert_eq!(open(directory.path(), settings(), NOW).unwrap().intermediate(), next);
}

/// Two clusters, each with its own intermediate under one root: what one has issued, the other's listener lets in.
#[test]
fn clusters_under_one_root_verify_each_other() {
    let pki = Pki::new();
    let clusters: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|cluster| {
            let directory = tempfile::tempdir().unwrap();
            let settings = Settings { cluster: cluster.into(), ..settings() };
            let (chain, key) = pki.intermediate(|_| ());
            let brought = Brought { chain: &chain, root: &pki.root, key: Some(&key) };
            import_authority(&store(&directory), &settings, brought, tls::now()).unwrap();
            let trust = open(directory.path(), settings, tls::now()).unwrap();
            (directory, trust)
        })
        .collect();
    let ((_, one), (_, two)) = (&clusters[0], &clusters[1]);
    assert_ne!(one.intermediate().serial, two.intermediate().serial);
    for (here, there) in [(one, two), (two, one)] {
        let own = here.workload_certificate("a/b", id("a", "b"), tls::now()).unwrap();
        let (peer, _) = tls::handshake(&tls::server(there), &tls::client(&here.bundle(), Some(&own))).unwrap();
        assert_eq!(peer.id(), Some(&id("a", "b")));
    }
}

/// A request, signed elsewhere, brought while the hierarchy is at work.
#[test]
fn an_intermediate_is_brought_without_a_restart() {
    let (directory, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    let csr = request_authority(&store(&directory), &settings(), NOW).unwrap();
    import(&directory, &pki.sign(&csr), &pki.root, None).unwrap();
    let trust = open(directory.path(), settings(), NOW).unwrap();
    let before = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();

    let csr = trust.request_authority(NOW).unwrap();
    let chain = pki.sign(&csr);
    let brought = Brought { chain: &chain, root: &pki.root, key: None };
    let (info, done) = trust.import_authority(brought, NOW).unwrap();
    assert_eq!(done, Maintained { activated: true, ..Maintained::default() });
    assert_eq!(trust.intermediate(), info);
    assert_eq!(trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap(), before, "what it has is good");
    let next = trust.renew_workload_certificates(&[("a/b".into(), id("a", "b"))], NOW).unwrap();
    assert_eq!((&next[0].issuer, trust.maintain(NOW).unwrap()), (&info.serial, Maintained::default()));
    // Not closed: as after kill -9.
    let again = open(directory.path(), settings(), NOW).unwrap();
    assert_eq!(again.intermediate(), info);

    // The same once more, another root's, and a request that nobody has the certificate of: nothing changes.
    let (foreign, other) = (Pki::new(), KeyPair::generate().unwrap().serialize_pem());
    let foreign_chain = foreign.sign(&csr);
    let cases = [
        (Brought { chain: &chain, root: &pki.root, key: None }, "it is in the store already"),
        (Brought { chain: &foreign_chain, root: &foreign.root, key: None }, "the store has another root"),
        (Brought { chain: &chain, root: &pki.root, key: Some(&other) }, "another certificate's"),
    ];
    for (brought, reason) in cases {
        let error = trust.import_authority(brought, NOW).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert_eq!(trust.intermediate(), info);
    }
    let error = trust.rotate_intermediate(NOW).unwrap_err().to_string();
    assert!(error.contains("countersign ca csr"), "{error}");
    assert_eq!(trust.maintain(NOW).unwrap(), Maintained::default(), "what cannot be done is not tried for ever");
}

/// Who has a revocation list demands one of every issuer: so the one that is brought waits until all have its list, also across a crash.
#[test]
fn an_intermediate_that_is_brought_waits_for_its_revocation_list() {
    let always = || Settings { lists: Lists::Always, ..settings() };
    let (directory, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    let (chain, key) = pki.intermediate(|_| ());
    import(&directory, &chain, &pki.root, Some(&key)).unwrap();
    let trust = open(directory.path(), always(), NOW).unwrap();
    trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    trust.revoke(&Revoke::Identity(id("a", "b")), NOW).unwrap();
    assert!(trust.bundle().crls().is_some() && trust.bundle().root_crls().is_none(), "the root's key is elsewhere");
    let before = trust.intermediate();

    let signed = pki.sign(&trust.request_authority(NOW).unwrap());
    let brought = Brought { chain: &signed, root: &pki.root, key: None };
    let (info, done) = trust.import_authority(brought, NOW).unwrap();
    assert_eq!((done.waiting, trust.intermediate()), (true, before.clone()));
    let trust = open(directory.path(), always(), NOW).unwrap();
    assert_eq!((trust.maintain(NOW).unwrap().waiting, trust.intermediate()), (true, before));
    trust.confirm_lists(&trust.bundle());
    assert!(trust.maintain(NOW).unwrap().activated);
    assert_eq!(trust.intermediate(), info);
}
