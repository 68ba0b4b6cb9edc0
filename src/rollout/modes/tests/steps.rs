//! Each step by itself: whom it waits for, and what becomes of it when policies or ports change.

use super::*;

fn steps(world: &World) -> Vec<Option<Step>> {
    SERVERS.map(|name| world.rollout.in_transit().find(|it| it.0.name == name).and_then(|it| it.2.step())).into()
}

fn everyone_answers(world: &mut World) {
    for index in 0..4 {
        world.happen(Event::Arrives(index));
        world.happen(Event::Acknowledged(index));
    }
}

#[test]
fn each_step_waits_for_those_whom_it_concerns_and_names_them() {
    let mut world = World::new(one("DISABLE"), IstioCompatibility::Adaptive, true);
    world.happen(Event::Change(one("STRICT")));
    assert_eq!(world.served.listeners, [InboundMode::Permissive; 2]);
    assert_eq!(world.served.ways, [[false; 2]; 2], "clients do what they did");
    let names = |world: &World| {
        let stuck = world.rollout.waits_for(&world.participants());
        stuck.into_iter().filter_map(|it| it.proxy).collect::<Vec<_>>()
    };
    assert_eq!(names(&world), ["a", "b"]);
    world.happen(Event::Arrives(0));
    world.happen(Event::Acknowledged(0));
    world.happen(Event::Leave(1));
    world.happen(Event::Tick);
    assert_eq!(steps(&world), [Some(Step::Accepting); 2]);
    let stuck = world.rollout.waits_for(&world.participants());
    assert_eq!(names(&world), ["b"]);
    assert!(stuck[0].reason.starts_with("it is not connected, and was last at"), "{stuck:?}");
    world.happen(Event::Return(1));
    everyone_answers(&mut world);
    world.happen(Event::Tick);
    assert_eq!(steps(&world), [Some(Step::Switching); 2]);
    assert_eq!(world.served.listeners, [InboundMode::Permissive; 2]);
    assert_eq!(world.served.ways, [[true; 2]; 2]);
    assert_eq!(names(&world), ["x", "y"]);
    everyone_answers(&mut world);
    world.happen(Event::Tick);
    assert_eq!(steps(&world), [Some(Step::Closing); 2]);
    assert_eq!(world.served.listeners, [InboundMode::Strict; 2]);
    everyone_answers(&mut world);
    world.happen(Event::Tick);
    assert!(world.is_at_rest());
}

/// Back from each step: while accepting nothing has happened, while switching clients turn round, while closing it is another change.
#[test]
fn the_old_policy_put_back_is_the_target() {
    for (ticks, step) in [(0, None), (1, Some(Step::Switching)), (2, Some(Step::Accepting))] {
        let mut world = World::new(one("DISABLE"), IstioCompatibility::Adaptive, true);
        world.happen(Event::Change(one("STRICT")));
        for _ in 0..ticks {
            everyone_answers(&mut world);
            world.happen(Event::Tick);
        }
        world.happen(Event::Change(one("DISABLE")));
        assert_eq!(steps(&world), [step; 2], "after {ticks} ticks");
    }
}

#[test]
fn a_port_that_was_not_served_is_not_opened_on_its_way() {
    let before = World::new(one("DISABLE"), IstioCompatibility::Adaptive, true);
    let (mesh, _) = Mesh::build(&one("STRICT").set(), &Settings::default());
    let mut modes = (**mesh.modes()).clone();
    let ports = modes.get_mut(&"s/a".parse().unwrap()).unwrap();
    let strict = ports[&80];
    ports.insert(81, strict);
    let next = before.rollout.retarget(&modes, true, NOW, NOW);
    let on_their_way: Vec<_> = next.in_transit().map(|(key, port, _)| (key.to_string(), port)).collect();
    assert_eq!(on_their_way, [("s/a".to_owned(), 80), ("s/b".to_owned(), 80)]);
    assert!(before.rollout.differs_in_known(&next));
    // A port that is merely new changes nothing that has to be kept first.
    let mut more =
        before.rollout.retarget(Mesh::build(&one("DISABLE").set(), &Settings::default()).0.modes(), true, NOW, NOW);
    assert_eq!(more, before.rollout);
    Arc::make_mut(&mut more.ports).values_mut().next().unwrap().insert(81, Port::Settled(InboundMode::Strict));
    assert!(!before.rollout.differs_in_known(&more) && more != before.rollout);
}

/// A Service is deleted and comes back, or the only Pod behind it is not ready for a moment.
#[test]
fn a_port_that_is_gone_for_a_while_goes_on_from_where_it_was() {
    use InboundMode::{Disable, Permissive, Strict};
    let key: WorkloadKey = "s/a".parse().unwrap();
    let strict = Mesh::build(&one("STRICT").set(), &Settings::default()).0;
    let strict = strict.modes();
    let (mut without_port, mut without_workload) = ((**strict).clone(), (**strict).clone());
    without_port.get_mut(&key).unwrap().clear();
    without_workload.remove(&key);
    let accepting = |from| Port::Moving { from, to: Strict, step: Step::Accepting };
    let ways = [accepting(Disable), accepting(Permissive), Port::Settled(Strict), Port::Settled(Strict)];
    for (ticks, back) in ways.into_iter().enumerate() {
        let mut world = World::new(one("DISABLE"), IstioCompatibility::Adaptive, true);
        let settled = world.rollout.retarget(&without_port, true, NOW, NOW);
        assert_eq!(settled.retarget(strict, true, NOW, NOW).ports[&key][&80], accepting(Disable), "it was on no way");
        world.happen(Event::Change(one("STRICT")));
        for _ in 0..ticks {
            everyone_answers(&mut world);
            world.happen(Event::Tick);
        }
        let gone = world.rollout.retarget(&without_port, true, NOW, NOW);
        assert!(gone.in_transit().all(|(workload, ..)| *workload != key), "nobody is waited for on its account");
        let kept = ModeRecord::from(&gone).to_json();
        let kept = ModeRollout::try_from(ModeRecord::from_json(&kept).unwrap()).unwrap();
        assert_eq!(kept.retarget(strict, true, NOW, NOW).ports[&key][&80], back, "after {ticks} ticks");
        // Its proxies have not been told that it is gone, and go on with what they have.
        let left = world.rollout.retarget(&without_workload, true, NOW, NOW);
        assert_eq!(left.retarget(strict, true, NOW, LATER).ports[&key][&80], back, "after {ticks} ticks");
        let read = ModeRollout::try_from(ModeRecord::from_json(&ModeRecord::from(&left).to_json()).unwrap()).unwrap();
        assert_eq!(read, left);
        let late = read.retarget(strict, true, LATER, LATER);
        assert_eq!(late.ports[&key][&80], back, "it is in the policy now, however long it was away");
        let forgotten = read.retarget(&without_workload, true, LATER, LATER);
        assert!(forgotten.left.is_empty() && !read.left.is_empty());
        assert_eq!(forgotten.retarget(strict, true, LATER, LATER).ports[&key][&80], Port::Settled(Strict));
        let news = left.left[&key].ports[&80] != back;
        assert_eq!(left.differs_in_known(&late), news, "what is another word is kept before anybody is shown it");
    }
}

#[test]
fn force_takes_the_step_of_those_furthest_behind() {
    let mut world = World::new(one("DISABLE"), IstioCompatibility::Adaptive, true);
    assert_eq!(world.rollout.force(NOW), None);
    world.happen(Event::Change(Policy { modes: ["STRICT", "DISABLE"], ..one("DISABLE") }));
    everyone_answers(&mut world);
    world.happen(Event::Tick);
    world.happen(Event::Change(one("STRICT")));
    assert_eq!(steps(&world), [Some(Step::Switching), Some(Step::Accepting)]);
    world.happen(Event::Force);
    assert_eq!(steps(&world), [Some(Step::Switching); 2]);
    world.happen(Event::Force);
    world.happen(Event::Force);
    assert_eq!(steps(&world), [None; 2]);
}

#[test]
fn what_is_kept_is_read_back_and_nothing_else_is_taken() {
    let mut world = World::new(one("DISABLE"), IstioCompatibility::Adaptive, true);
    world.happen(Event::Change(Policy { modes: ["STRICT", "DISABLE"], ..one("DISABLE") }));
    let text = String::from_utf8(world.kept.clone()).unwrap();
    assert!(text.contains(r#""s/a":{"80":{"from":"DISABLE","to":"STRICT","step":"accepting"}}"#), "{text}");
    assert!(text.contains(r#""s/b":{"80":"DISABLE"}"#), "{text}");
    let read = ModeRollout::try_from(ModeRecord::from_json(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(read, world.rollout);
    assert!(ModeRecord::from_json(&text.as_bytes()[..text.len() / 2]).is_err());
    let newer = text.replace("\"format\":1", "\"format\":2");
    assert!(matches!(ModeRecord::from_json(newer.as_bytes()), Err(BadModeRecord::Format(2))));
    let odd = text.replace("s/a", "nobody");
    let odd = ModeRollout::try_from(ModeRecord::from_json(odd.as_bytes()).unwrap());
    assert!(matches!(odd, Err(BadModeRecord::Workload(name)) if name == "nobody"));
}
