use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};
use rustls_pki_types::CertificateDer;

use super::*;

fn id(text: &str) -> Result<SpiffeId, SpiffeIdError> {
    text.parse()
}

#[test]
fn a_spiffe_id_has_a_trust_domain_and_a_path() {
    let parsed = id("spiffe://cluster.local/ns/production/sa/payment").unwrap();
    assert_eq!(parsed.trust_domain().as_str(), "cluster.local");
    assert_eq!(parsed.path(), "/ns/production/sa/payment");
    let built = SpiffeId::workload(parsed.trust_domain(), "production", "payment").unwrap();
    assert_eq!(built, parsed);
}

/// Everything that a lenient parser would take for some other identity.
#[test]
fn threat_02_no_text_but_one_is_an_identity() {
    use SpiffeIdError::*;
    let cases = [
        ("SPIFFE://cluster.local/a", Scheme),
        ("https://cluster.local/a", Scheme),
        ("spiffe:/cluster.local/a", Scheme),
        (" spiffe://cluster.local/a", Scheme),
        ("spiffe://Cluster.local/a", TrustDomain(TrustDomainError::Character('C'))),
        ("spiffe://cluster.local:80/a", TrustDomain(TrustDomainError::Character(':'))),
        ("spiffe://user@cluster.local/a", TrustDomain(TrustDomainError::Character('@'))),
        ("spiffe:///a", TrustDomain(TrustDomainError::Empty)),
        ("spiffe://", TrustDomain(TrustDomainError::Empty)),
        ("spiffe://cluster.local", NoPath),
        ("spiffe://cluster.local/", EmptySegment),
        ("spiffe://cluster.local/a/", EmptySegment),
        ("spiffe://cluster.local//a", EmptySegment),
        ("spiffe://cluster.local/a/../b", Relative("..".into())),
        ("spiffe://cluster.local/./a", Relative(".".into())),
        ("spiffe://cluster.local/%61", Character('%')),
        ("spiffe://cluster.local/a?b", Character('?')),
        ("spiffe://cluster.local/a#b", Character('#')),
        ("spiffe://cluster.local/a\0", Character('\0')),
        ("spiffe://cluster.local/\u{430}", Character('\u{430}')),
        ("spiffe://cluster.local/a ", Character(' ')),
    ];
    for (text, error) in cases {
        assert_eq!(id(text), Err(error), "{text:?}");
    }
    assert_eq!(id(&format!("spiffe://a/{}", "b".repeat(2048))), Err(TooLong));
    assert_ne!(id("spiffe://a/B").unwrap(), id("spiffe://a/b").unwrap());
}

#[test]
fn threat_02_a_namespace_cannot_carry_a_path() {
    let domain = "cluster.local".parse().unwrap();
    assert!(SpiffeId::workload(&domain, "production/sa/admin", "x").is_err());
    assert!(SpiffeId::workload(&domain, "production", "").is_err());
    assert!(SpiffeId::workload(&domain, "..", "x").is_err());
}

#[test]
fn a_trust_domain_is_a_lower_case_name() {
    assert!("cluster.local".parse::<TrustDomain>().is_ok());
    assert!("a".repeat(256).parse::<TrustDomain>().is_err());
    assert_eq!("".parse::<TrustDomain>(), Err(TrustDomainError::Empty));
    assert_eq!("a/b".parse::<TrustDomain>(), Err(TrustDomainError::Character('/')));
}

fn certificate(uris: &[&str], is_ca: IsCa) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.is_ca = is_ca;
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
}

#[test]
fn a_peer_is_the_one_spiffe_id_of_its_leaf() {
    let leaf = certificate(&["spiffe://cluster.local/ns/a/sa/b"], IsCa::NoCa);
    let peer = Peer::from_chain(Some(&[leaf])).unwrap();
    let Peer::Authenticated { id: found, certificate } = peer else { panic!("{peer:?}") };
    assert_eq!(found, id("spiffe://cluster.local/ns/a/sa/b").unwrap());
    assert!(!certificate.unwrap().serial.is_empty());
}

#[test]
fn threat_02_a_certificate_that_is_not_a_workloads_names_nobody() {
    let of = |uris: &[&str], ca| Peer::from_chain(Some(&[certificate(uris, ca)]));
    let uri = "spiffe://cluster.local/ns/a/sa/b";
    assert_eq!(Peer::from_chain(None), Err(PeerError::NoCertificate));
    assert_eq!(Peer::from_chain(Some(&[])), Err(PeerError::NoCertificate));
    assert_eq!(of(&[], IsCa::NoCa), Err(PeerError::UriNames(0)));
    assert_eq!(of(&[uri, "spiffe://cluster.local/ns/a/sa/c"], IsCa::NoCa), Err(PeerError::UriNames(2)));
    assert_eq!(of(&[uri], IsCa::Ca(BasicConstraints::Unconstrained)), Err(PeerError::Authority));
    assert_eq!(of(&["https://cluster.local/a"], IsCa::NoCa), Err(PeerError::SpiffeId(SpiffeIdError::Scheme)));
    assert!(matches!(Peer::from_chain(Some(&[vec![0x30, 0x82].into()])), Err(PeerError::Unreadable(_))));
}

#[test]
fn a_token_is_known_by_its_hash_alone() {
    let (token, other) = (generate_token().unwrap(), generate_token().unwrap());
    assert!(token.len() == 68 && token.starts_with("cst_") && *token != *other);
    let hash = TokenHash::of(&token);
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
    for bad in ["", "00", &hash.to_string()[1..], &format!("{hash}0"), &"g".repeat(64), &"\u{e9}".repeat(32)] {
        assert_eq!(bad.parse::<TokenHash>(), Err(TokenHashError), "{bad}");
    }
    assert_eq!(format!("{hash:?}"), "TokenHash(..)");

    let owner = id("spiffe://cluster.local/ns/a/sa/b").unwrap();
    let tokens = BearerTokens::new([(hash, owner.clone()), (TokenHash::of("x"), id("spiffe://a/b").unwrap())]);
    assert_eq!(tokens.authenticate(Proof::Bearer(&token)), Ok(Some(Peer::without_certificate(owner))));
    for wrong in ["", &*other, &token[1..], &token.to_uppercase(), &format!("{} ", *token), &hash.to_string()] {
        assert_eq!(tokens.authenticate(Proof::Bearer(wrong)), Err(AuthenticationError::UnknownToken), "{wrong}");
    }
    let process = ProcessCredentials { uid: 0, gid: 0, pid: None };
    assert_eq!(tokens.authenticate(Proof::Process(process)), Ok(None));
}

#[test]
fn threat_03_a_process_is_who_its_user_stands_for() {
    let (one, two) = (id("spiffe://a/one").unwrap(), id("spiffe://a/two").unwrap());
    let users = UnixUsers::new([
        UnixUser { uid: 1000, gid: Some(50), identity: one.clone() },
        UnixUser { uid: 1001, gid: None, identity: two.clone() },
    ]);
    let of = |uid, gid| users.authenticate(Proof::Process(ProcessCredentials { uid, gid, pid: Some(1) }));
    assert_eq!(of(1000, 50), Ok(Some(Peer::without_certificate(one))));
    assert_eq!(of(1000, 51), Ok(None), "another group of the same user");
    assert_eq!(of(1001, 0), Ok(Some(Peer::without_certificate(two))));
    assert_eq!(of(0, 0), Ok(None), "root is nobody in particular");
    assert_eq!(users.authenticate(Proof::Bearer("1001")), Ok(None));
}
