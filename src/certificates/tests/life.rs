//! Renewals, failures, and what outlives what.

use super::*;

fn mesh(until: OffsetDateTime) -> String {
    root("ca", until) + &cluster_issuer("ca", "ca")
}

/// Lives from `NOW` to `until`, from one time that the controller names to the next. When certificates were issued.
fn live(desk: &mut Desk, set: &PolicySet, until: OffsetDateTime) -> Vec<OffsetDateTime> {
    let (mut now, mut issued) = (NOW, Vec::new());
    while now < until {
        let outcome = desk.pass(set, now);
        if outcome.issued > 0 {
            issued.push(now);
        }
        let Some(next) = outcome.next else { break };
        assert!(now < next, "at {now} it asks for {next}");
        now = next;
    }
    issued
}

#[test]
fn two_years_of_renewals() {
    let text = mesh(datetime!(2040-01-01 00:00 UTC)) + &certificate(", duration: 24h, renewBefore: 8h");
    let (mut desk, set) = (Desk::default(), set(&text));
    let issued = live(&mut desk, &set, NOW + 730 * DAY);
    assert_eq!(issued.len(), 1095, "every 16 hours of two years");
    assert!(issued.windows(2).all(|pair| pair[1] - pair[0] == 16 * HOUR));
    let status = desk.status(&set, "shop/web");
    assert_eq!(status.revision, 1095);
    assert!(status.events.len() <= 20, "what happened years ago is forgotten");
    assert_eq!(desk.condition(&set, "shop/web", "Ready"), ready());
}

#[test]
fn renewal_by_percentage_and_by_default() {
    for (fields, after) in [
        (", duration: 100h, renewBeforePercentage: 25", 75 * HOUR),
        (", duration: 90h", 60 * HOUR),
        (", duration: 90h, renewBefore: 1h", 89 * HOUR),
        (", duration: 1h, renewBefore: 5m", time::Duration::minutes(55)),
    ] {
        let (mut desk, set) = (Desk::default(), set(&(mesh(datetime!(2036-01-01 00:00 UTC)) + &certificate(fields))));
        assert_eq!(live(&mut desk, &set, NOW + after + HOUR)[..2], [NOW, NOW + after], "{fields}");
    }
}

#[test]
fn what_ends_with_its_authority_is_renewed_at_two_thirds_of_its_own_life() {
    let (mut desk, set) =
        (Desk::default(), set(&(mesh(NOW + 9 * HOUR) + &certificate(", duration: 24h, renewBefore: 8h"))));
    let outcome = desk.pass(&set, NOW);
    let status = desk.status(&set, "shop/web");
    assert_eq!(status.not_after, Some(NOW + 9 * HOUR), "nothing outlives who has signed it");
    assert_eq!((status.renewal_time, outcome.next), (Some(NOW + 6 * HOUR), Some(NOW + 6 * HOUR)));
    // Towards the end nothing is issued ever faster, and then it waits for another authority.
    let issued = live(&mut desk, &set, NOW + 20 * HOUR);
    assert!((5..15).contains(&issued.len()), "{issued:?}");
    desk.pass(&set, NOW + 10 * HOUR);
    assert_eq!(desk.condition(&set, "shop/web", "Ready"), not_ready("Expired"));
    let renewed =
        super::set(&(mesh(datetime!(2036-01-01 00:00 UTC)) + &certificate(", duration: 24h, renewBefore: 8h")));
    assert_eq!(desk.pass(&renewed, NOW + 10 * HOUR).issued, 1);
    assert_eq!(desk.condition(&renewed, "shop/web", "Ready"), ready());
}

#[test]
fn failures_are_tried_again_ever_later_and_at_once_when_something_has_changed() {
    // rotationPolicy Never, and a key of another kind.
    let ecdsa = mesh(datetime!(2036-01-01 00:00 UTC)) + &certificate(", commonName: a");
    let mut desk = Desk::default();
    desk.pass(&set(&ecdsa), NOW);
    let never = set(&ecdsa.replace("{algorithm: ECDSA}", "{algorithm: ECDSA, size: 384, rotationPolicy: Never}"));
    assert_eq!(desk.pass(&never, NOW).issued, 0);
    let status = desk.status(&never, "shop/web");
    assert_eq!(desk.condition(&never, "shop/web", "Issuing"), not_ready("Failed"));
    assert!(status.conditions.iter().any(|it| it.message.contains("rotationPolicy is Never")), "{status:#?}");
    let (mut now, mut waits) = (NOW, Vec::new());
    for _ in 0..8 {
        let next = desk.pass(&never, now).next.unwrap();
        waits.push((next - now).whole_hours());
        now = next;
        desk.pass(&never, now);
        assert_eq!(desk.pass(&never, now + HOUR / 2).issued, 0, "not before its time");
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 32, 32]);
    desk.restart();
    assert_eq!(desk.status(&never, "shop/web").failures, 9, "it is not forgotten when the server starts again");
    let always = set(&ecdsa.replace("{algorithm: ECDSA}", "{algorithm: ECDSA, size: 384, rotationPolicy: Always}"));
    // The policy of rotation is not a part of the certificate, so it is an operator who says that it is to be tried.
    desk.controller.renew("shop", "web");
    assert_eq!(desk.pass(&always, now).issued, 1);
    assert_eq!(desk.status(&always, "shop/web").failures, 0);
}

#[test]
fn never_keeps_the_key_and_always_replaces_it() {
    for (policy, is_same) in [("Never", true), ("Always", false)] {
        let fields = format!(", duration: 24h, renewBefore: 8h, commonName: {policy}");
        let text = mesh(datetime!(2036-01-01 00:00 UTC))
            + &certificate(&fields).replace("ECDSA}", &format!("ECDSA, rotationPolicy: {policy}}}"));
        let (mut desk, set) = (Desk::default(), set(&text));
        desk.pass(&set, NOW);
        let first = desk.secret(&set, "shop/web-tls").unwrap();
        assert_eq!(desk.pass(&set, NOW + 16 * HOUR).issued, 1);
        let second = desk.secret(&set, "shop/web-tls").unwrap();
        assert_ne!(first.spec.data["tls.crt"], second.spec.data["tls.crt"]);
        assert_eq!(first.spec.data["tls.key"] == second.spec.data["tls.key"], is_same, "{policy}");
    }
}

#[test]
fn an_operator_can_ask_for_another_and_a_restart_does_not_forget_it() {
    let (mut desk, set) = (Desk::default(), set(&(mesh(datetime!(2036-01-01 00:00 UTC)) + &certificate(""))));
    desk.pass(&set, NOW);
    assert!(!desk.controller.renew("shop", "nobody"));
    assert!(desk.controller.renew("shop", "web"));
    assert_eq!(desk.pass(&set, NOW).issued, 1);
    let status = desk.status(&set, "shop/web");
    assert_eq!(status.revision, 2);
    assert!(status.events.iter().any(|it| it.message == "Certificate re-issuance manually triggered"));
    assert_eq!(desk.pass(&set, NOW).issued, 0);
}

#[test]
fn a_secret_outlives_its_certificate_until_its_end() {
    let base = mesh(datetime!(2036-01-01 00:00 UTC));
    let (with, without) = (set(&(base.clone() + &certificate(", duration: 24h"))), set(&base));
    let mut desk = Desk::default();
    desk.pass(&with, NOW);
    let outcome = desk.pass(&without, NOW + HOUR);
    assert_eq!((outcome.is_news, outcome.next), (false, Some(NOW + DAY)));
    assert!(desk.secret(&without, "shop/web-tls").is_some());
    assert_eq!(desk.pass(&with, NOW + 2 * HOUR).issued, 0, "it comes back");
    desk.pass(&without, NOW + HOUR);
    let outcome = desk.pass(&without, NOW + DAY);
    assert_eq!((outcome.forget.as_slice(), outcome.is_news), (&["shop/web".to_owned()][..], true));
    assert!(desk.secret(&without, "shop/web-tls").is_none() && desk.kept.is_empty());
}

#[test]
fn another_secret_name_is_another_secret() {
    let base = mesh(datetime!(2036-01-01 00:00 UTC));
    let mut desk = Desk::default();
    desk.pass(&set(&(base.clone() + &certificate(""))), NOW);
    let renamed = set(&(base + &certificate("").replace("web-tls", "other-tls")));
    assert_eq!(desk.pass(&renamed, NOW).issued, 1);
    assert!(desk.secret(&renamed, "shop/web-tls").is_none() && desk.secret(&renamed, "shop/other-tls").is_some());
    assert_eq!(desk.status(&renamed, "shop/web").revision, 2);
}

#[test]
fn a_clock_that_was_ahead_is_made_good() {
    let (mut desk, set) = (Desk::default(), set(&(mesh(datetime!(2036-01-01 00:00 UTC)) + &certificate(""))));
    desk.pass(&set, NOW + 300 * DAY);
    let outcome = desk.pass(&set, NOW);
    assert_eq!(outcome.issued, 1, "nobody believes a certificate of next year");
    assert_eq!(desk.status(&set, "shop/web").not_before, Some(NOW));
}
