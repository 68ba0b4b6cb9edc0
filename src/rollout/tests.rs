//! A fleet that crashes, leaves, comes back and answers late, under rotations that are started, paused and aborted at any time.

use proptest::prelude::*;
use time::Duration;
use time::macros::datetime;

use super::*;
use crate::trust::{RotationRecord, RotationStep, Serial};

mod steps;

const NOW: time::OffsetDateTime = datetime!(2026-06-01 12:00 UTC);
const WAIT: Duration = Duration::HOUR;

fn serial(number: usize) -> Serial {
    format!("{:02x}", number + 1).parse().unwrap()
}

/// A proxy, and what the server knows of it.
#[derive(Clone, Debug)]
struct Proxy {
    connected: bool,
    /// Back after a time that nobody waits for, and without what was sent to it since.
    outdated: bool,
    bundle: Vec<Serial>,
    leaf: Serial,
    /// The certificate file of its own connection, and the one that the connection was made with.
    file: Serial,
    shown_to_us: Serial,
    sent_bundle: Option<Vec<Serial>>,
    sent_leaf: Option<Serial>,
    /// What the server has on its books; `None` after a crash.
    known_bundle: Option<Vec<Serial>>,
    known_leaf: Option<Serial>,
    seen: time::OffsetDateTime,
}

#[derive(Debug)]
struct World {
    now: time::OffsetDateTime,
    /// What is on the server's disk.
    kept: Option<RotationRecord>,
    roots: crate::trust::Roots,
    made: usize,
    proxies: Vec<Proxy>,
    issued: std::collections::HashMap<Serial, time::OffsetDateTime>,
    ends: Vec<RotationStep>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Start,
    Abort(bool),
    Pause,
    Resume(bool),
    Tick,
    Crash,
    Clock(i64),
    Leave(usize),
    Return(usize),
    BundleArrives(usize),
    LeafArrives(usize),
    BundleAcknowledged(usize),
    LeafAcknowledged(usize),
    Renew(usize),
}

impl World {
    fn new(count: usize) -> Self {
        let root = serial(0);
        let proxy = Proxy {
            connected: true,
            outdated: false,
            bundle: vec![root.clone()],
            leaf: root.clone(),
            file: root.clone(),
            shown_to_us: root.clone(),
            sent_bundle: None,
            sent_leaf: None,
            known_bundle: Some(vec![root.clone()]),
            known_leaf: Some(root.clone()),
            seen: NOW,
        };
        let roots = crate::trust::Roots { signing: root.clone(), trusted: vec![root] };
        let proxies = vec![proxy; count];
        Self { now: NOW, kept: None, roots, made: 1, proxies, issued: Default::default(), ends: Vec::new() }
    }

    fn views(&self) -> Vec<ProxyView> {
        let recent = self.proxies.iter().enumerate().filter(|(_, it)| it.connected || it.seen >= self.now - WAIT);
        let view = |(index, it): (usize, &Proxy)| ProxyView {
            name: index.to_string(),
            away_since: (!it.connected).then_some(it.seen),
            trusts: match &it.known_bundle {
                Some(known) if it.sent_bundle.is_none() && *known == self.roots.trusted => {
                    Held::Acknowledged(known.clone())
                }
                _ => Held::Pending,
            },
            shows: match &it.known_leaf {
                Some(known) if it.sent_leaf.is_none() => Held::Acknowledged(known.clone()),
                _ => Held::Pending,
            },
            shows_us: it.connected.then(|| it.shown_to_us.clone()),
        };
        recent.map(view).collect()
    }

    fn rotation(&self) -> Option<RootRotation> {
        self.kept.as_ref().map(RootRotation::from_record)
    }

    fn keep(&mut self, rotation: &RootRotation) {
        self.kept = Some(rotation.record());
        self.roots = rotation.roots();
        if rotation.is_over() {
            self.ends.push(rotation.step());
        }
    }

    fn until(&self, root: &Serial) -> time::OffsetDateTime {
        self.issued.get(root).copied().unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    }

    /// The server sends what the state on its disk says. A response that is on its way is not taken back.
    fn publish(&mut self) {
        for proxy in self.proxies.iter_mut().filter(|it| it.connected) {
            if proxy.sent_bundle.is_none() && proxy.known_bundle.as_ref() != Some(&self.roots.trusted) {
                proxy.sent_bundle = Some(self.roots.trusted.clone());
            }
            if proxy.sent_leaf.is_none() && proxy.known_leaf.as_ref() != Some(&self.roots.signing) {
                proxy.sent_leaf = Some(self.roots.signing.clone());
                self.issued.insert(self.roots.signing.clone(), self.now + WAIT);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let count = self.proxies.len();
        let operator = |result: Result<RootRotation, Refused>| result.ok();
        match event {
            Event::Start if self.rotation().is_none_or(|it| it.is_over()) => {
                let pair = Pair { old: self.roots.signing.clone(), new: serial(self.made) };
                self.made += 1;
                self.keep(&RootRotation::start(pair, false, false, self.now));
            }
            Event::Start => {}
            Event::Abort(force) => {
                if let Some(it) = self.rotation().and_then(|it| operator(it.abort(force, self.now))) {
                    self.keep(&it);
                }
            }
            Event::Pause => {
                if let Some(it) = self.rotation().and_then(|it| operator(it.pause())) {
                    self.keep(&it);
                }
            }
            Event::Resume(force) => {
                if let Some(it) = self.rotation().and_then(|it| operator(it.resume(force))) {
                    self.keep(&it);
                }
            }
            Event::Tick => {
                let views = self.views();
                if let Some(it) = self.rotation() {
                    let (old_until, new_until) = (self.until(&it.pair().old), self.until(&it.pair().new));
                    let situation = Situation { proxies: &views, old_until, new_until, now: self.now };
                    if let Progress::Next(next) = it.advance(&situation) {
                        // Who was passed over, by force or after a long absence, has to be brought up to date first. A clock that
                        // is set back afterwards does not change that.
                        let since = self.now - WAIT;
                        let passed_over = |it: &&mut Proxy| !it.connected && (next.record().force || it.seen < since);
                        self.proxies.iter_mut().filter(passed_over).for_each(|proxy| proxy.outdated = true);
                        self.keep(&next);
                    }
                }
                let now = self.now;
                self.proxies.iter_mut().filter(|it| it.connected).for_each(|it| it.seen = now);
                self.publish();
            }
            Event::Crash => {
                for index in 0..count {
                    self.leave(index);
                    (self.proxies[index].known_bundle, self.proxies[index].known_leaf) = (None, None);
                }
            }
            Event::Clock(minutes) => self.now += Duration::minutes(minutes),
            Event::Leave(index) => self.leave(index % count),
            Event::Return(index) => self.come_back(index % count),
            Event::BundleArrives(index) => {
                let proxy = &mut self.proxies[index % count];
                if let Some(bundle) = proxy.sent_bundle.clone() {
                    proxy.bundle = bundle;
                }
            }
            Event::LeafArrives(index) => {
                let proxy = &mut self.proxies[index % count];
                if let Some(leaf) = proxy.sent_leaf.clone() {
                    proxy.leaf = leaf;
                }
            }
            Event::BundleAcknowledged(index) => {
                let proxy = &mut self.proxies[index % count];
                if proxy.sent_bundle.as_ref() == Some(&proxy.bundle) {
                    proxy.known_bundle = proxy.sent_bundle.take();
                }
            }
            Event::LeafAcknowledged(index) => {
                let proxy = &mut self.proxies[index % count];
                if proxy.sent_leaf.as_ref() == Some(&proxy.leaf) {
                    proxy.known_leaf = proxy.sent_leaf.take();
                }
            }
            Event::Renew(index) => {
                let signing = self.roots.signing.clone();
                self.issued.insert(signing.clone(), self.now + WAIT);
                self.proxies[index % count].file = signing;
            }
        }
        for proxy in self.proxies.iter_mut().filter(|it| it.outdated && it.connected) {
            // Up to date is who has been sent everything since it came back and has it.
            let current = proxy.known_bundle.as_ref() == Some(&self.roots.trusted) && proxy.sent_bundle.is_none();
            let shows = self.roots.trusted.contains(&proxy.leaf) && proxy.sent_leaf.is_none();
            proxy.outdated = !(current && shows);
        }
    }

    fn leave(&mut self, index: usize) {
        let proxy = &mut self.proxies[index];
        proxy.connected = false;
        // What was on its way may have arrived; its answer has not.
        if proxy.sent_bundle.take().is_some() {
            proxy.known_bundle = None;
        }
        if proxy.sent_leaf.take().is_some() {
            proxy.known_leaf = None;
        }
    }

    fn come_back(&mut self, index: usize) {
        let recent = self.proxies[index].seen >= self.now - WAIT;
        let proxy = &mut self.proxies[index];
        if !proxy.connected {
            proxy.outdated |= !recent;
            proxy.connected = true;
            proxy.shown_to_us = proxy.file.clone();
            // It says what it has.
            (proxy.known_bundle, proxy.known_leaf) = (Some(proxy.bundle.clone()), Some(proxy.leaf.clone()));
            proxy.seen = self.now;
            self.publish();
        }
    }

    fn check(&self) -> Result<(), String> {
        let current = || self.proxies.iter().enumerate().filter(|(_, it)| it.connected && !it.outdated);
        for (a, left) in current() {
            for (b, right) in current() {
                if !right.bundle.contains(&left.leaf) {
                    return Err(format!("{b} does not verify {a}: {self:#?}"));
                }
            }
        }
        Ok(())
    }
}

fn event() -> impl Strategy<Value = Event> {
    let which = 0_usize..5;
    prop_oneof![
        2 => Just(Event::Start),
        1 => any::<bool>().prop_map(Event::Abort),
        1 => Just(Event::Pause),
        2 => any::<bool>().prop_map(Event::Resume),
        12 => Just(Event::Tick),
        1 => Just(Event::Crash),
        2 => prop_oneof![Just(-60_i64), Just(-1), Just(1), Just(20), Just(61), Just(960)].prop_map(Event::Clock),
        2 => which.clone().prop_map(Event::Leave),
        6 => which.clone().prop_map(Event::Return),
        14 => which.clone().prop_map(Event::BundleArrives),
        14 => which.clone().prop_map(Event::LeafArrives),
        14 => which.clone().prop_map(Event::BundleAcknowledged),
        14 => which.clone().prop_map(Event::LeafAcknowledged),
        4 => which.prop_map(Event::Renew),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_two_connected_proxies_verify_each_other(count in 2_usize..5, events in prop::collection::vec(event(), 0..300)) {
        let mut world = World::new(count);
        for event in events {
            world.happen(event);
            prop_assert!(world.check().is_ok(), "{}", world.check().unwrap_err());
        }
        // Left alone, with everybody there, it comes to an end.
        for index in 0..count {
            world.happen(Event::Return(index));
        }
        world.happen(Event::Resume(false));
        for _ in 0..12 {
            world.happen(Event::Tick);
            for index in 0..count {
                for event in [Event::BundleArrives(index), Event::LeafArrives(index)] {
                    world.happen(event);
                    prop_assert!(world.check().is_ok(), "{}", world.check().unwrap_err());
                }
                world.happen(Event::BundleAcknowledged(index));
                world.happen(Event::LeafAcknowledged(index));
                if world.proxies[index].shown_to_us != world.roots.signing {
                    world.happen(Event::Renew(index));
                    world.happen(Event::Leave(index));
                    world.happen(Event::Return(index));
                }
            }
            world.happen(Event::Clock(120));
        }
        prop_assert!(world.rotation().is_none_or(|it| it.is_over()), "{:#?}", world);
    }
}

/// The check can fail: with both changes at once, somebody is not verified.
#[test]
fn the_naive_order_breaks_the_invariant() {
    let mut world = World::new(2);
    let new = serial(1);
    world.roots = crate::trust::Roots { signing: new.clone(), trusted: vec![new] };
    world.publish();
    world.happen(Event::BundleArrives(0));
    world.happen(Event::LeafArrives(0));
    assert!(world.check().is_err());
}
