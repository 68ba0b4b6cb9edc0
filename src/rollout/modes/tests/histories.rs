//! Histories at random: nobody is ever refused, and in the end everybody has what the policy says.

use proptest::prelude::*;

use super::*;

fn policy() -> impl Strategy<Value = Policy> {
    let modes = ["DISABLE", "PERMISSIVE", "STRICT", "skipped", "all-unauthenticated", "all-authenticated"];
    let mode = prop::sample::select(modes.to_vec());
    let rule = prop::sample::select(vec![None, None, Some("ISTIO_MUTUAL"), Some("DISABLE")]);
    let rules = prop::array::uniform2(prop::array::uniform2(rule));
    (prop::array::uniform2(mode), rules).prop_map(|(modes, rules)| Policy { modes, rules })
}

fn event() -> impl Strategy<Value = Event> {
    let which = 0_usize..4;
    prop_oneof![
        3 => policy().prop_map(Event::Change),
        1 => policy().prop_map(Event::ChangeAndCrash),
        1 => policy().prop_map(Event::CrashAndChange),
        1 => Just(Event::Crash),
        24 => Just(Event::Tick),
        1 => Just(Event::TickAndCrash),
        1 => Just(Event::Force),
        2 => which.clone().prop_map(Event::Leave),
        1 => which.clone().prop_map(Event::Forget),
        6 => which.clone().prop_map(Event::Return),
        24 => which.clone().prop_map(Event::Arrives),
        24 => which.prop_map(Event::Acknowledged),
    ]
}

fn compatibility() -> impl Strategy<Value = IstioCompatibility> {
    prop::sample::select(vec![IstioCompatibility::Adaptive, IstioCompatibility::Strict])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_could_talk_and_will_can_talk(
        first in policy(),
        compatibility in compatibility(),
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut world = World::new(first, compatibility, true);
        for event in events {
            world.happen(event);
            prop_assert!(world.check().is_ok(), "after {:?}: {}", event, world.check().unwrap_err());
        }
        // Left alone, with everybody there, it comes to an end, and the policy is served as it is written.
        for index in 0..4 {
            world.happen(Event::Return(index));
        }
        for _ in 0..6 {
            for index in 0..4 {
                for event in [Event::Arrives(index), Event::Acknowledged(index), Event::Arrives(index), Event::Acknowledged(index)] {
                    world.happen(event);
                    prop_assert!(world.check().is_ok(), "{}", world.check().unwrap_err());
                }
            }
            world.happen(Event::Tick);
        }
        prop_assert!(world.is_at_rest(), "{:#?}", world.rollout);
        prop_assert_eq!(Some(&world.served), world.ends.last());
    }
}

/// The check can fail: without steps, somebody does not reach somebody.
#[test]
fn one_jump_breaks_the_invariant() {
    for (from, to) in [("DISABLE", "STRICT"), ("STRICT", "DISABLE"), ("skipped", "all-authenticated")] {
        let mut broken = Vec::new();
        for first in [Event::Arrives(0), Event::Arrives(2)] {
            let mut world = World::new(one(from), IstioCompatibility::Adaptive, false);
            world.happen(Event::Change(one(to)));
            world.happen(first);
            broken.push(world.check().is_err());
        }
        assert_eq!(broken, [true, true], "{from} to {to}");
    }
}
