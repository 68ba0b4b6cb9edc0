//! What is issued, and why again.

use super::*;

fn mesh() -> String {
    root("ca", datetime!(2036-01-01 00:00 UTC)) + &cluster_issuer("ca", "ca")
}

#[test]
fn a_certificate_is_issued_once_and_kept() {
    let (mut desk, set) = (Desk::default(), set(&(mesh() + &certificate(""))));
    let outcome = desk.pass(&set, NOW);
    assert_eq!((outcome.issued, outcome.keep.len(), outcome.is_news), (1, 1, true));
    assert_eq!(desk.condition(&set, "shop/web", "Ready"), ready());
    assert_eq!(desk.condition(&set, "shop/web", "Issuing"), None);
    let status = desk.status(&set, "shop/web");
    assert_eq!((status.revision, status.not_before), (1, Some(NOW)));
    assert_eq!(status.not_after, Some(NOW + 90 * DAY));
    assert_eq!(status.renewal_time, Some(NOW + 60 * DAY), "a third of its life before its end");
    assert_eq!(outcome.next, status.renewal_time);
    let secret = desk.secret(&set, "shop/web-tls").unwrap();
    assert_eq!(secret.spec.data.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    let annotation = |name: &str| secret.meta.annotations[&format!("cert-manager.io/{name}")].clone();
    assert_eq!(annotation("issuer-name"), "ca");
    assert_eq!(annotation("issuer-kind"), "ClusterIssuer");
    assert_eq!(annotation("certificate-name"), "web");
    assert_eq!(annotation("alt-names"), "web.shop");

    let outcome = desk.pass(&set, NOW + DAY);
    assert_eq!((outcome.issued, outcome.keep.len(), outcome.is_news), (0, 0, false));
    desk.restart();
    let outcome = desk.pass(&set, NOW + DAY);
    assert_eq!((outcome.issued, outcome.keep.len(), outcome.is_news), (0, 0, false), "a restart issues nothing");
    assert_eq!(desk.status(&set, "shop/web"), status);
}

#[test]
fn what_a_crash_comes_before_is_done_again() {
    let (mut desk, set) = (Desk::default(), set(&(mesh() + &certificate(""))));
    let before = desk.controller.clone();
    desk.controller.pass(&set, NOW);
    // It was not kept: nobody has seen it.
    desk.controller = before;
    assert_eq!(desk.pass(&set, NOW).issued, 1);
    assert_eq!(desk.status(&set, "shop/web").revision, 1);
}

#[test]
fn each_change_of_the_spec_is_named() {
    let base = mesh();
    let mut desk = Desk::default();
    desk.pass(&set(&(base.clone() + &certificate(""))), NOW);
    let mut revision = 1;
    for (fields, named) in [
        (", commonName: web", "spec.commonName"),
        (", uris: ['spiffe://td/ns/shop/sa/web']", "spec.uris"),
        (", ipAddresses: [10.0.0.1]", "spec.ipAddresses"),
        (", emailAddresses: [a@b.example]", "spec.emailAddresses"),
        (", duration: 48h", "spec.duration"),
        (", usages: [server auth]", "spec.usages"),
        (", subject: {organizations: [shop]}", "spec.subject"),
        (", isCA: true", "spec.isCA"),
    ] {
        for (fields, named) in [(fields, named), ("", named)] {
            let set = set(&(base.clone() + &certificate(fields)));
            assert_eq!(desk.pass(&set, NOW).issued, 1, "{fields}");
            revision += 1;
            let status = desk.status(&set, "shop/web");
            assert_eq!(status.revision, revision, "{fields}");
            let why = &status.events.iter().rev().find(|it| it.reason == "Issuing").unwrap().message;
            let wanted = format!("Fields on existing CertificateRequest resource not up to date: [{named}]");
            assert_eq!(*why, wanted, "{fields}");
        }
    }
    let set = set(&(base + &certificate(", secretTemplate: {annotations: {a: b}}, renewBefore: 24h")));
    let outcome = desk.pass(&set, NOW);
    assert_eq!((outcome.issued, outcome.is_news), (0, true), "what is not in the certificate needs no other");
    assert_eq!(desk.secret(&set, "shop/web-tls").unwrap().meta.annotations["a"], "b");
    assert_eq!(desk.status(&set, "shop/web").renewal_time, Some(NOW + 89 * DAY));
}

#[test]
fn the_order_of_names_means_nothing() {
    let base = mesh();
    let mut desk = Desk::default();
    desk.pass(&set(&(base.clone() + &certificate(", uris: ['a:b', 'c:d'], usages: [server auth, client auth]"))), NOW);
    let set = set(&(base + &certificate(", uris: ['c:d', 'a:b'], usages: [client auth, server auth]")));
    assert_eq!(desk.pass(&set, NOW).issued, 0);
}

#[test]
fn another_issuer_and_another_authority_sign_again() {
    let until = datetime!(2036-01-01 00:00 UTC);
    let (first, second) = (mesh(), root("ca", until) + &cluster_issuer("ca", "ca"));
    let mut desk = Desk::default();
    desk.pass(&set(&(first.clone() + &certificate(""))), NOW);
    let changed = set(&(second.clone() + &certificate("")));
    assert_eq!(desk.pass(&changed, NOW).issued, 1);
    let status = desk.status(&changed, "shop/web");
    assert!(
        status.events.iter().any(|it| it.message.contains("the authority of ClusterIssuer/ca is another one")),
        "{status:#?}"
    );

    let other = root("other", until) + &cluster_issuer("other", "other");
    let fields = "secretName: web-tls, issuerRef: {name: other, kind: ClusterIssuer}, dnsNames: [web.shop], privateKey: {algorithm: ECDSA}";
    let set = set(&(second + &other + &named_certificate("shop/web", fields)));
    assert_eq!(desk.pass(&set, NOW).issued, 1);
    let status = desk.status(&set, "shop/web");
    let wanted = "Issuing certificate as Secret was previously issued by ClusterIssuer/ca";
    assert!(status.events.iter().any(|it| it.message == wanted), "{status:#?}");
}

#[test]
fn a_secret_that_is_edited_is_issued_again_and_one_that_fits_is_taken_over() {
    let base = mesh() + &certificate("");
    let mut desk = Desk::default();
    let issued = set(&base);
    desk.pass(&issued, NOW);
    let ours = desk.secret(&issued, "shop/web-tls").unwrap();
    let text = |entry: &str| String::from_utf8(ours.spec.data[entry].to_vec()).unwrap();

    // A foreign certificate in its place.
    let stranger = KeyPair::generate().unwrap();
    let foreign = CertificateParams::new(["web.shop".to_owned()]).unwrap().self_signed(&stranger).unwrap().pem();
    let edited = set(&(base.clone() + &secret("shop/web-tls", &foreign, &stranger.serialize_pem())));
    assert_eq!(desk.pass(&edited, NOW).issued, 1);
    let status = desk.status(&edited, "shop/web");
    assert!(status.events.iter().any(|it| it.message.ends_with("was previously issued by \"\"")), "{status:#?}");
    assert_ne!(desk.secret(&edited, "shop/web-tls").unwrap().spec.data["tls.crt"].as_slice(), foreign.as_bytes());
    assert_eq!(desk.pass(&edited, NOW).issued, 0, "an edit counts once");
    assert_eq!(desk.pass(&set(&base), NOW).issued, 0, "its removal is no loss");

    // What another cert-manager has issued.
    let annotated = secret("shop/web-tls", &text("tls.crt"), &text("tls.key")).replace(
        "namespace: shop}",
        "namespace: shop, annotations: {cert-manager.io/issuer-name: ca, cert-manager.io/issuer-kind: ClusterIssuer}}",
    );
    let moved = set(&(base.clone() + &annotated));
    let mut fresh = Desk::default();
    assert_eq!(fresh.pass(&moved, NOW + HOUR).issued, 0);
    assert_eq!(fresh.condition(&moved, "shop/web", "Ready"), ready());
    assert_eq!(fresh.status(&moved, "shop/web").revision, 0);
    let edited = set(&(base.clone() + &annotated).replace("dnsNames: [web.shop]", "dnsNames: [web.shop, more]"));
    let mut other = fresh.controller.clone();
    assert_eq!(other.pass(&edited, NOW + HOUR).issued, 1, "what was taken over follows the spec from then on");
    // Removed, it is issued here.
    let removed = set(&base);
    assert_eq!(fresh.pass(&removed, NOW + HOUR).issued, 1);
    let status = fresh.status(&removed, "shop/web");
    assert!(status.events.iter().any(|it| it.message == "Issuing certificate as Secret does not exist"), "{status:#?}");
}

#[test]
fn a_broken_secret_is_issued_again_and_says_why() {
    for (data, reason) in [
        ("{tls.crt: ''}", "does not contain tls.crt"),
        ("{tls.crt: eA==}", "does not contain tls.key"),
        ("{tls.crt: eA==, tls.key: eA==}", "contains an invalid key-pair"),
    ] {
        let broken = format!(
            "---\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: web-tls, namespace: shop}}\ndata: {data}\n"
        );
        let (mut desk, set) = (Desk::default(), set(&(mesh() + &certificate("") + &broken)));
        assert_eq!(desk.pass(&set, NOW).issued, 1);
        let status = desk.status(&set, "shop/web");
        assert!(status.events.iter().any(|it| it.message.contains(reason)), "{reason}: {status:#?}");
    }
}

#[test]
fn a_chain_of_issuers_is_issued_in_its_order_whatever_the_documents() {
    let documents = [
        "---\napiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a-self, namespace: shop}\nspec: {selfSigned: {}}\n".to_owned(),
        named_certificate("shop/z-root", "secretName: root, isCA: true, commonName: root, issuerRef: {name: a-self}, privateKey: {algorithm: ECDSA}"),
        "---\napiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: by-root, namespace: shop}\nspec: {ca: {secretName: root}}\n".to_owned(),
        named_certificate("shop/m-middle", "secretName: middle, isCA: true, commonName: middle, issuerRef: {name: by-root}, privateKey: {algorithm: ECDSA}"),
        "---\napiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: by-middle, namespace: shop}\nspec: {ca: {secretName: middle}}\n".to_owned(),
        named_certificate("shop/a-leaf", "secretName: leaf, dnsNames: [leaf], issuerRef: {name: by-middle}, privateKey: {algorithm: ECDSA}"),
    ];
    let forwards = documents.concat();
    let backwards: String = documents.iter().rev().map(String::as_str).collect();
    for text in [forwards, backwards] {
        let (mut desk, set) = (Desk::default(), set(&text));
        assert_eq!(desk.pass(&set, NOW).issued, 3);
        for name in ["shop/z-root", "shop/m-middle", "shop/a-leaf"] {
            assert_eq!(desk.condition(&set, name, "Ready"), ready(), "{name}");
        }
        let blocks = |secret: &str, entry: &str| {
            let secret = desk.secret(&set, secret).unwrap();
            String::from_utf8_lossy(&secret.spec.data[entry]).matches("BEGIN CERTIFICATE").count()
        };
        assert_eq!((blocks("shop/root", "tls.crt"), blocks("shop/middle", "tls.crt")), (1, 1), "no root in a chain");
        assert_eq!((blocks("shop/leaf", "tls.crt"), blocks("shop/leaf", "ca.crt")), (2, 1));
        // A root that is renewed signs all below it again, in the same pass.
        desk.controller.renew("shop", "z-root");
        assert_eq!(desk.pass(&set, NOW + DAY).issued, 3);
        assert_eq!(desk.pass(&set, NOW + DAY).issued, 0);
    }
}

#[test]
fn what_would_sign_itself_waits_and_says_so() {
    let issuer = |name: &str, secret: &str| {
        format!(
            "---\napiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ca: {{secretName: {secret}}}}}\n"
        )
    };
    let authority = |name: &str, issuer: &str| {
        named_certificate(
            &format!("shop/{name}"),
            &format!("secretName: {name}, isCA: true, commonName: {name}, issuerRef: {{name: {issuer}}}"),
        )
    };
    let text = issuer("by-a", "a")
        + &issuer("by-b", "b")
        + &authority("a", "by-b")
        + &authority("b", "by-a")
        + &root("shop/a", datetime!(2036-01-01 00:00 UTC));
    let (mut desk, set) = (Desk::default(), set(&text));
    for _ in 0..3 {
        assert_eq!(desk.pass(&set, NOW).issued, 0, "it would be issued without end");
    }
    let status = desk.status(&set, "shop/b");
    assert!(status.conditions.iter().any(|it| it.message.contains("by way of this Certificate itself")), "{status:#?}");
}

#[test]
fn it_waits_for_its_issuer_and_goes_on_by_itself() {
    let until = datetime!(2036-01-01 00:00 UTC);
    let mut desk = Desk::default();
    for (text, said) in [
        (certificate(""), "ClusterIssuer ca not found"),
        (certificate("") + &cluster_issuer("ca", "ca"), "secret cert-manager/ca not found"),
        (
            certificate("") + &cluster_issuer("ca", "ca") + &root("ca", datetime!(2026-06-01 00:00 UTC)),
            "the authority is valid from",
        ),
        (certificate("") + &cluster_issuer("ca", "ca") + &root("shop/ca", until), "secret cert-manager/ca not found"),
    ] {
        let set = set(&text);
        assert_eq!(desk.pass(&set, NOW).issued, 0);
        assert_eq!(desk.condition(&set, "shop/web", "Ready"), not_ready("DoesNotExist"));
        assert_eq!(desk.condition(&set, "shop/web", "Issuing"), Some((true, "DoesNotExist".to_owned())));
        let events = desk.status(&set, "shop/web").events;
        assert!(events.last().unwrap().message.contains(said), "{said}: {events:?}");
    }
    let set = set(&(certificate("") + &cluster_issuer("ca", "ca") + &root("ca", until)));
    assert_eq!(desk.pass(&set, NOW).issued, 1, "no failure was counted, and nothing is waited for");
    assert_eq!(desk.condition(&set, "shop/web", "Issuing"), None);
}

#[test]
fn a_leaf_is_no_authority() {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["web.shop".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let (mut desk, set) = (
        Desk::default(),
        set(&(certificate("") + &cluster_issuer("ca", "ca") + &secret("ca", &leaf, &key.serialize_pem()))),
    );
    desk.pass(&set, NOW);
    let issuer = desk.controller.issuers(&set, NOW).remove(0);
    assert_eq!(issuer.ready.unwrap_err().to_string(), "secret cert-manager/ca: certificate is not a CA");
}

#[test]
fn two_certificates_never_fight_over_one_secret() {
    let second = named_certificate("shop/a-later", "secretName: web-tls, issuerRef: {name: ca, kind: ClusterIssuer}, dnsNames: [other], privateKey: {algorithm: ECDSA}")
        .replace("name: a-later", "name: a-later, creationTimestamp: '2026-05-02T00:00:00Z'");
    let first = certificate("").replace("name: web,", "name: web, creationTimestamp: '2026-05-01T00:00:00Z',");
    let (mut desk, set) = (Desk::default(), set(&(mesh() + &first + &second)));
    assert_eq!(desk.pass(&set, NOW).issued, 1);
    assert_eq!(desk.pass(&set, NOW).issued, 0);
    assert_eq!(desk.condition(&set, "shop/web", "Ready"), ready());
    assert_eq!(desk.condition(&set, "shop/a-later", "Ready"), not_ready("DuplicateSecretName"));
}
