//! A fleet that crashes, leaves, comes back and answers late, under policies that change at any time. What proxies are told is decided by
//! the mesh itself.

use time::macros::datetime;

use super::*;
use crate::mesh::decide::{InboundMode, OutboundMode, inbound, outbound};
use crate::mesh::tests::text::{destination_rule, object, peer_authentication, service, workload_entry};
use crate::mesh::{IstioCompatibility, Mesh, Settings};
use crate::policy::{PolicySet, parse_set};

mod histories;
mod steps;

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);
const LATER: OffsetDateTime = datetime!(2026-06-02 12:00 UTC);
const SERVERS: [&str; 2] = ["a", "b"];
const CLIENTS: [&str; 2] = ["x", "y"];

/// What an operator has written: a mode for each server, in Istio's words or in Linkerd's, and a rule for each way.
#[derive(Clone, Copy, Debug)]
struct Policy {
    modes: [&'static str; 2],
    rules: [[Option<&'static str>; 2]; 2],
}

impl Policy {
    fn set(&self) -> PolicySet {
        let mut text = String::new();
        for (server, mode) in SERVERS.into_iter().zip(self.modes) {
            let workload = workload_entry(&format!("s/{server}"), "10.0.0.1");
            text += &match mode {
                "skipped" => {
                    let skipped = "annotations: {config.linkerd.io/skip-inbound-ports: \"80\"}, name:";
                    workload.replace("name:", skipped)
                }
                _ => workload,
            };
            text += &service(&format!("s/{server}"), "[{name: http, port: 80}]");
            text += &match mode {
                "skipped" => String::new(),
                "all-authenticated" | "all-unauthenticated" => {
                    let selector = format!("{{matchLabels: {{app: {server}}}}}");
                    let spec = format!("{{podSelector: {selector}, port: 80, accessPolicy: {mode}}}");
                    object("policy.linkerd.io/v1beta3", "Server", &format!("s/{server}"), &spec)
                }
                _ => {
                    let spec = format!("{{selector: {{matchLabels: {{app: {server}}}}}, mtls: {{mode: {mode}}}}}");
                    peer_authentication(&format!("s/{server}"), &spec)
                }
            };
        }
        for (client, rules) in CLIENTS.into_iter().zip(self.rules) {
            text += &workload_entry(&format!("c/{client}"), "10.0.0.2");
            for (server, rule) in SERVERS.into_iter().zip(rules) {
                let Some(mode) = rule else { continue };
                let spec = format!(
                    "{{host: {server}.s.svc.cluster.local, workloadSelector: {{matchLabels: {{app: {client}}}}}, \
                     trafficPolicy: {{tls: {{mode: {mode}}}}}}}"
                );
                text += &destination_rule(&format!("c/{client}-{server}"), &spec);
            }
        }
        parse_set([("f.yaml", text)]).unwrap().0
    }
}

/// What everyone is to have: what each server's listener takes, and whether each client speaks mutual TLS to each server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Served {
    listeners: [InboundMode; 2],
    ways: [[bool; 2]; 2],
}

impl Served {
    fn of(mesh: &Mesh) -> Self {
        let workload = |key: String| mesh.workload(&key.parse().unwrap()).unwrap();
        let service = |name: &str| mesh.services().find(|it| it.name == name).unwrap();
        let way = |client: &str, server: &str| {
            let (client, service) = (workload(format!("c/{client}")), service(server));
            let decided = outbound(mesh, client, service, &service.ports[0], Some(&service.endpoints[0]));
            matches!(decided.mode, OutboundMode::IstioMutual { .. })
        };
        Self {
            listeners: SERVERS.map(|server| inbound(mesh, workload(format!("s/{server}")), 80).mode),
            ways: CLIENTS.map(|client| SERVERS.map(|server| way(client, server))),
        }
    }

    fn talk(&self, client: usize, server: usize) -> bool {
        talk(self.ways[client][server], self.listeners[server])
    }
}

fn talk(mtls: bool, listener: InboundMode) -> bool {
    listener == InboundMode::Permissive || mtls == (listener == InboundMode::Strict)
}

/// A proxy that has a `T`, and what the server knows of it.
#[derive(Clone, Debug)]
struct Proxy<T> {
    connected: bool,
    /// It was away for so long that nobody waits for it any more.
    forgotten: bool,
    /// It was passed over, and is not up to date since.
    outdated: bool,
    has: T,
    sent: Option<T>,
    /// What the server has on its books; `None` after a crash.
    known: Option<T>,
}

impl<T: Clone + PartialEq> Proxy<T> {
    fn new(has: T) -> Self {
        let known = Some(has.clone());
        Self { connected: true, forgotten: false, outdated: false, has, sent: None, known }
    }

    fn is_current(&self, wanted: &T) -> bool {
        self.sent.is_none() && self.known.as_ref() == Some(wanted)
    }

    /// A response that is on its way is not taken back.
    fn publish(&mut self, wanted: &T) {
        if self.connected && self.sent.is_none() && !self.is_current(wanted) {
            self.sent = Some(wanted.clone());
        }
        self.outdated &= !(self.connected && self.is_current(wanted));
    }

    fn arrive(&mut self) {
        self.has = self.sent.clone().unwrap_or_else(|| self.has.clone());
    }

    fn acknowledge(&mut self) {
        if self.sent.as_ref() == Some(&self.has) {
            self.known = self.sent.take();
        }
    }

    fn leave(&mut self) {
        self.connected = false;
        if self.sent.take().is_some() {
            self.known = None;
        }
    }

    /// It says what it has.
    fn come_back(&mut self) {
        if !self.connected {
            self.connected = true;
            self.outdated |= std::mem::take(&mut self.forgotten);
            self.known = Some(self.has.clone());
        }
    }

    fn part(&self, concerns: bool, wanted: &T) -> Part {
        match (concerns, self.is_current(wanted)) {
            (false, _) => Part::None,
            (true, true) => Part::Done,
            (true, false) => Part::Late("it has not acknowledged".into()),
        }
    }

    fn participant(&self, name: &str) -> Option<Participant> {
        let away_since = (!self.connected).then_some(NOW);
        (!self.forgotten).then(|| Participant { name: name.into(), away_since, ..Participant::default() })
    }
}

struct World {
    settings: Settings,
    staged: bool,
    policy: Policy,
    /// What is on the disk.
    kept: Vec<u8>,
    rollout: ModeRollout,
    served: Served,
    servers: [Proxy<InboundMode>; 2],
    clients: [Proxy<[bool; 2]>; 2],
    /// What each policy since the last rest comes to.
    ends: Vec<Served>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Change(Policy),
    /// The server is killed after it has kept a change, and before anybody has seen anything of it.
    ChangeAndCrash(Policy),
    /// The policy changes while no server runs.
    CrashAndChange(Policy),
    Crash,
    Tick,
    /// A step is kept, and the server killed before anybody has seen anything of it.
    TickAndCrash,
    Force,
    Leave(usize),
    Forget(usize),
    Return(usize),
    Arrives(usize),
    Acknowledged(usize),
}

impl World {
    fn new(policy: Policy, compatibility: IstioCompatibility, staged: bool) -> Self {
        let settings = Settings { istio_compatibility: compatibility, ..Settings::default() };
        let (mesh, _) = Mesh::build(&policy.set(), &settings);
        let (rollout, served) = (ModeRollout::first(mesh.modes()), Served::of(&mesh));
        Self {
            settings,
            staged,
            policy,
            kept: ModeRecord::from(&rollout).to_json(),
            rollout,
            servers: served.listeners.map(Proxy::new),
            clients: served.ways.map(Proxy::new),
            ends: vec![served.clone()],
            served,
        }
    }

    fn keep(&mut self, rollout: ModeRollout) {
        self.kept = ModeRecord::from(&rollout).to_json();
        self.rollout = rollout;
    }

    fn retarget(&mut self, policy: Policy) {
        let (mesh, _) = Mesh::build(&policy.set(), &self.settings);
        self.policy = policy;
        self.ends.push(Served::of(&mesh));
        let next = self.rollout.retarget(mesh.modes(), self.staged, NOW, NOW);
        self.keep(next);
    }

    fn serve(&mut self) {
        let (mesh, _) = Mesh::build_in_transit(&self.policy.set(), &self.settings, self.rollout.transit());
        self.served = Served::of(&mesh);
        self.publish();
    }

    fn publish(&mut self) {
        for (proxy, wanted) in self.servers.iter_mut().zip(&self.served.listeners) {
            proxy.publish(wanted);
        }
        for (proxy, wanted) in self.clients.iter_mut().zip(&self.served.ways) {
            proxy.publish(wanted);
        }
    }

    fn is_at_rest(&self) -> bool {
        !self.rollout.is_under_way()
            && self.servers.iter().zip(&self.served.listeners).all(|(it, wanted)| it.is_current(wanted))
            && self.clients.iter().zip(&self.served.ways).all(|(it, wanted)| it.is_current(wanted))
    }

    fn participants(&self) -> Vec<Participant> {
        let step_of = |server: usize| {
            let mut ports = self.rollout.in_transit().filter(|(key, ..)| key.name == SERVERS[server]);
            ports.next().and_then(|(.., port)| port.step())
        };
        let server = |(index, it): (usize, &Proxy<InboundMode>)| {
            let (step, wanted) = (step_of(index), &self.served.listeners[index]);
            Some(Participant {
                accepts: it.part(step == Some(Step::Accepting), wanted),
                closed: it.part(step == Some(Step::Closing), wanted),
                ..it.participant(SERVERS[index])?
            })
        };
        let switching = (0..2).any(|server| step_of(server) == Some(Step::Switching));
        let client = |(index, it): (usize, &Proxy<[bool; 2]>)| {
            let switched = it.part(switching, &self.served.ways[index]);
            Some(Participant { switched, ..it.participant(CLIENTS[index])? })
        };
        let servers = self.servers.iter().enumerate().filter_map(server);
        servers.chain(self.clients.iter().enumerate().filter_map(client)).collect()
    }

    /// Whether there was a next step; it is kept and not yet served.
    fn step(&mut self) -> bool {
        let ModeProgress::Next(next) = self.rollout.advance(&self.participants(), NOW) else { return false };
        self.keep(next);
        // Who was not waited for has to be brought up to date first.
        self.servers.iter_mut().for_each(|it| it.outdated |= it.forgotten);
        self.clients.iter_mut().for_each(|it| it.outdated |= it.forgotten);
        true
    }

    fn crash(&mut self) {
        for proxy in &mut self.servers {
            proxy.leave();
            proxy.known = None;
        }
        for proxy in &mut self.clients {
            proxy.leave();
            proxy.known = None;
        }
        let record = ModeRecord::from_json(&self.kept).unwrap();
        self.rollout = ModeRollout::try_from(record).unwrap();
    }

    fn restart(&mut self) {
        let (mesh, _) = Mesh::build(&self.policy.set(), &self.settings);
        let next = self.rollout.retarget(mesh.modes(), self.staged, NOW, NOW);
        assert_eq!(next.transit(), self.rollout.transit(), "the same policy changes nothing");
        self.keep(next);
        self.serve();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Change(policy) => {
                self.retarget(policy);
                self.serve();
            }
            Event::ChangeAndCrash(policy) => {
                self.retarget(policy);
                self.crash();
                self.restart();
            }
            Event::CrashAndChange(policy) => {
                self.crash();
                self.retarget(policy);
                self.serve();
            }
            Event::Crash => {
                self.crash();
                self.restart();
            }
            Event::Tick => {
                if self.step() {
                    self.serve();
                }
                self.publish();
            }
            Event::TickAndCrash => {
                if self.step() {
                    self.crash();
                    self.restart();
                }
            }
            Event::Force => {
                if let Some(next) = self.rollout.force(NOW) {
                    for (proxy, wanted) in self.servers.iter_mut().zip(&self.served.listeners) {
                        proxy.outdated |= !proxy.is_current(wanted);
                    }
                    for (proxy, wanted) in self.clients.iter_mut().zip(&self.served.ways) {
                        proxy.outdated |= !proxy.is_current(wanted);
                    }
                    self.keep(next);
                    self.serve();
                }
            }
            Event::Leave(index) => match index % 4 {
                index @ 0..2 => self.servers[index].leave(),
                index => self.clients[index - 2].leave(),
            },
            Event::Forget(index) => match index % 4 {
                index @ 0..2 => self.servers[index].forgotten = !self.servers[index].connected,
                index => self.clients[index - 2].forgotten = !self.clients[index - 2].connected,
            },
            Event::Return(index) => {
                match index % 4 {
                    index @ 0..2 => self.servers[index].come_back(),
                    index => self.clients[index - 2].come_back(),
                }
                self.publish();
            }
            Event::Arrives(index) => match index % 4 {
                index @ 0..2 => self.servers[index].arrive(),
                index => self.clients[index - 2].arrive(),
            },
            Event::Acknowledged(index) => {
                match index % 4 {
                    index @ 0..2 => self.servers[index].acknowledge(),
                    index => self.clients[index - 2].acknowledge(),
                }
                self.publish();
            }
        }
        if self.is_at_rest() {
            self.ends.drain(..self.ends.len() - 1);
        }
    }

    /// Whoever can talk under each of the policies since the last rest can talk now, whoever is connected to us or not.
    fn check(&self) -> Result<(), String> {
        for (client, from) in self.clients.iter().enumerate().filter(|(_, it)| !it.outdated && !it.forgotten) {
            for (server, to) in self.servers.iter().enumerate().filter(|(_, it)| !it.outdated && !it.forgotten) {
                let promised = self.ends.iter().all(|end| end.talk(client, server));
                if promised && !talk(from.has[server], to.has) {
                    let (mtls, takes, rollout) = (from.has[server], to.has, &self.rollout);
                    return Err(format!("{client} to {server}: mutual TLS {mtls}, taken {takes}, {rollout:#?}"));
                }
            }
        }
        Ok(())
    }
}

fn one(mode: &'static str) -> Policy {
    Policy { modes: [mode; 2], rules: [[None; 2]; 2] }
}
