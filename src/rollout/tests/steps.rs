//! Each step by itself: whom it waits for, and what an operator may do in it.

use super::*;

fn view(name: &str) -> ProxyView {
    let root = serial(0);
    ProxyView {
        name: name.into(),
        away_since: None,
        trusts: Held::Acknowledged(vec![root.clone()]),
        shows: Held::Acknowledged(root.clone()),
        shows_us: Some(root),
    }
}

fn at(step: RotationStep, force: bool) -> RootRotation {
    let (old, new) = (serial(0), serial(1));
    RootRotation::from_record(&RotationRecord { old, new, step, paused: false, force, started_at: NOW, step_at: NOW })
}

fn situation(proxies: &[ProxyView]) -> Situation<'_> {
    Situation { proxies, old_until: NOW - WAIT, new_until: NOW - WAIT, now: NOW }
}

#[test]
fn every_step_survives_being_kept() {
    for step in RotationStep::ALL {
        let rotation = at(step, true);
        assert_eq!(RootRotation::from_record(&rotation.record()), rotation);
        assert_eq!(rotation.step(), step);
    }
}

#[test]
fn who_is_waited_for_is_named_with_the_reason() {
    let both = vec![serial(0), serial(1)];
    let good = ProxyView { trusts: Held::Acknowledged(both.clone()), ..view("a/good") };
    let refusing = ProxyView { trusts: Held::Rejected("no".into()), ..view("a/refusing") };
    let away = ProxyView { away_since: Some(NOW), trusts: Held::Pending, ..view("a/away") };
    let proxies = [good.clone(), refusing, away];
    let rotation = at(RotationStep::Distributing, false);
    let stuck = rotation.waits_for(&situation(&proxies));
    let names: Vec<_> = stuck.iter().filter_map(|it| it.proxy.as_deref()).collect();
    assert_eq!(names, ["a/refusing", "a/away"]);
    assert!(stuck[0].reason.contains("refuses the trust bundle: no"), "{stuck:?}");
    assert!(stuck[1].reason.contains("not connected"), "{stuck:?}");
    // Force does not wait for who is away, and never passes over who is there.
    let forced = at(RotationStep::Distributing, true).waits_for(&situation(&proxies));
    assert_eq!(forced.len(), 1, "{forced:?}");
    assert!(
        matches!(rotation.advance(&situation(&[good])), Progress::Next(next) if next.step() == RotationStep::Activating)
    );
}

#[test]
fn the_old_root_stays_while_anything_below_it_is_valid() {
    let new = serial(1);
    let moved = ProxyView { shows: Held::Acknowledged(new.clone()), shows_us: Some(new), ..view("a/moved") };
    let old_credentials = ProxyView { shows_us: Some(serial(0)), ..moved.clone() };
    let rotation = at(RotationStep::Activating, false);
    let stuck = rotation.waits_for(&situation(&[moved.clone(), ProxyView { name: "a/old".into(), ..old_credentials }]));
    assert!(stuck.len() == 1 && stuck[0].reason.contains("countersign bootstrap"), "{stuck:?}");
    let proxies = [moved];
    let valid = Situation { old_until: NOW + WAIT, ..situation(&proxies) };
    let stuck = rotation.waits_for(&valid);
    assert!(
        stuck.len() == 1 && stuck[0].proxy.is_none() && stuck[0].reason.contains("may be valid until"),
        "{stuck:?}"
    );
    let forced = at(RotationStep::Activating, true).advance(&valid);
    assert!(matches!(forced, Progress::Next(next) if next.step() == RotationStep::Retiring));
    assert!(matches!(rotation.advance(&situation(&proxies)), Progress::Next(_)));
}

#[test]
fn abort_works_in_every_step_before_retiring() {
    let aborted = |step| at(step, false).abort(false, NOW).map(|it| it.step());
    assert_eq!(aborted(RotationStep::Prepared), Ok(RotationStep::Aborted));
    assert_eq!(aborted(RotationStep::Distributing), Ok(RotationStep::Withdrawing));
    assert_eq!(aborted(RotationStep::Activating), Ok(RotationStep::Reverting));
    assert_eq!(aborted(RotationStep::Retiring), Err(Refused::TooLate));
    assert_eq!(aborted(RotationStep::Reverting), Err(Refused::Aborting));
    assert_eq!(aborted(RotationStep::Done), Err(Refused::None));
}

#[test]
fn a_paused_rotation_stays_and_says_what_it_would_wait_for() {
    let paused = at(RotationStep::Distributing, false).pause().unwrap();
    let proxies = [view("a/b")];
    assert_eq!(paused.advance(&situation(&proxies)), Progress::Paused);
    assert_eq!(paused.waits_for(&situation(&proxies)).len(), 1);
    assert!(matches!(paused.resume(false).unwrap().advance(&situation(&proxies)), Progress::Waiting(_)));
}
