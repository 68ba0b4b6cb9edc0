//! Ports change their mTLS mode under traffic, in steps, and no request fails: not when a proxy does not answer, the server is killed, or
//! the operator thinks again.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use countersign::admin::api::{ModeChangeRequest, ModeChangeStatus};
use countersign::analysis::Way;
use countersign::lab::checks::{Peer, plaintext_refused, served_directly};
use countersign::lab::traffic::TrafficPlan;
use countersign::lab::{App, EnvoyOptions, EnvoyProcess, Traffic, Workload};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{LIMIT, Mesh, Setting, eventually, finish, on_envoys};
use crate::root_rotation::{credentials, pairs};

on_envoys!(a_change_while_no_server_runs_loses_no_request: delta_1_40, sotw_1_36);
on_envoys!(one_jump_loses_requests: delta_1_40);

/// Nobody who is away is given up within a test.
const CONFIG: &str = "rotation:\n  waitForAbsent: 1h\n";

/// A policy for all of `production`.
fn mode(mode: &str, staged: bool) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata:\n  name: default\n  namespace: production\n  annotations:\n    countersign.dev/staged: \"{staged}\"\n\
         spec:\n  mtls:\n    mode: {mode}\n"
    )
}

/// Two callers and two servers beside the lab's client, payment-service and legacy. The second of each has no traffic, so that it can be
/// stopped.
struct Fleet {
    mesh: Mesh,
    workloads: Vec<Workload>,
    envoys: Vec<EnvoyProcess>,
    _apps: Vec<App>,
}

impl Fleet {
    async fn start(setting: Setting, others: &[Setting], first: &str) -> Self {
        let mut apps = Vec::new();
        for n in 0..2 {
            apps.push(App::start(format!("server-{n}"), "127.0.0.1:0".parse().unwrap()).await.unwrap());
        }
        let addresses: Vec<_> = apps.iter().map(App::address).collect();
        let policy = mode(first, true);
        let mut mesh =
            setting.mesh_with(CONFIG, |policies| std::fs::write(policies.join("istio.yaml"), policy).unwrap()).await;
        let address: Ipv4Addr = mesh.topology().client.address;
        let workloads = pairs(address, &addresses);
        let mut yaml = String::new();
        workloads.iter().for_each(|it| it.documents(&mut yaml));
        mesh.write_policy("fleet.yaml", &yaml);
        eventually("the fleet is in the policy", async || {
            (mesh.server().status().await.policy.files == 3).then_some(())
        })
        .await;
        let mut envoys = Vec::new();
        for (workload, setting) in workloads.iter().zip(others.iter().cycle()) {
            let home = mesh.directory.path().join(&workload.name);
            std::fs::create_dir_all(&home).unwrap();
            let admin = mesh.ports.free_address().unwrap();
            let config = credentials(mesh.server(), &workload.id(), &home, setting.mode, admin).await;
            let log = home.join("envoy.log");
            let options = EnvoyOptions { name: workload.id(), binary: setting.envoy().await, config, admin, log };
            envoys.push(EnvoyProcess::start(options).unwrap());
        }
        for envoy in &mut envoys {
            envoy.wait_ready(LIMIT).await.unwrap();
        }
        mesh.server().wait_synced(7).await;
        Self { mesh, workloads, envoys, _apps: apps }
    }

    fn workload(&self, name: &str) -> &Workload {
        self.workloads.iter().find(|it| it.name == name).unwrap()
    }

    /// From the first caller to the first server, and from the lab's client to payment-service.
    fn traffic(&self) -> [Traffic; 2] {
        let (caller, server) = (self.workload("caller-0"), self.workload("server-0"));
        let plan = TrafficPlan {
            proxy: caller.http_proxy(),
            url: server.url(8080, "/kept"),
            kept: 2,
            fresh: caller.at(8080),
            fresh_tasks: 3,
            interval: Duration::from_millis(20),
            limit: Duration::from_secs(10),
        };
        [Traffic::start(plan), self.mesh.traffic()]
    }

    fn signal(&self, name: &str, signal: Signal) {
        let envoy = self.envoys.iter().find(|it| it.name() == self.workload(name).id()).unwrap();
        let pid = envoy.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        kill_process(pid, signal).unwrap();
    }

    async fn status(&self) -> ModeChangeStatus {
        self.mesh.server().client().get("/v1/rollout").await.unwrap()
    }

    /// Waits until the rollout is at this step (nothing: it is over), and waits for these and nobody else.
    async fn waits(&self, step: &str, whom: &[&str]) {
        let whom: Vec<String> = whom.iter().map(|name| self.workload(name).id()).collect();
        let deadline = Instant::now() + LIMIT;
        loop {
            let now = self.status().await;
            let names: Vec<_> = now.waiting.iter().filter_map(|it| it.proxy.clone()).collect();
            if now.step == step && names == whom {
                return;
            }
            assert!(Instant::now() < deadline, "not {step} for {whom:?}: {now:#?}\n{}", self.mesh.server().log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn over(&self) {
        self.waits("", &[]).await;
        self.mesh.server().wait_synced(7).await;
    }

    /// As a crash would, and what it was waiting for it waits for afterwards.
    async fn kill(&mut self, step: &str, whom: &[&str]) {
        self.mesh.lab.control_plane.kill().await;
        self.mesh.lab.control_plane.start_again().await;
        assert_eq!(self.status().await.step, step, "a crash changes nothing\n{}", self.mesh.server().log());
        self.waits(step, whom).await;
    }

    /// What payment-service's port takes, and what the client does.
    async fn sees(&self, takes_plaintext: bool, mtls: bool) {
        let (client, payment) = (&self.mesh.topology().client, &self.mesh.topology().payment);
        let identity = client.identity();
        let peer = if mtls { Peer::Identity(&identity) } else { Peer::Nobody };
        eventually(&format!("the client speaks mutual TLS: {mtls}"), async || {
            served_directly(client.at(8080), &payment.host(), peer).await.ok()
        })
        .await;
        eventually(&format!("plaintext is taken: {takes_plaintext}"), async || match takes_plaintext {
            true => served_directly(payment.at(8080), &payment.host(), Peer::Nobody).await.ok(),
            false => plaintext_refused(payment.at(8080), &payment.host()).await.ok(),
        })
        .await;
    }

    fn write(&self, to: &str) {
        self.mesh.write_policy("istio.yaml", &mode(to, true));
    }
}

/// From one end to the other, with a proxy in the way and a crash in each step.
async fn in_every_step(fleet: &mut Fleet, to: &str, mtls: bool) {
    fleet.signal("server-1", Signal::STOP);
    fleet.write(to);
    fleet.waits("accepting", &["server-1"]).await;
    fleet.sees(true, !mtls).await;
    let summary = fleet.mesh.server().status().await.mode_change;
    assert_eq!((summary.step.as_str(), summary.waiting), ("accepting", 1));
    assert!(summary.ports >= 4, "{summary:?}");
    assert!(fleet.mesh.server().metric("countersign_ports_in_transit{step=\"accepting\"}").await >= 4);
    assert_eq!(fleet.mesh.server().metric("countersign_rollout_waiting").await, 1);
    let ways: Vec<Way> = fleet.mesh.server().client().get("/v1/tls-check?port=8080").await.unwrap();
    let told = ways.iter().flat_map(|way| &way.reasons).any(|it| it.contains("on its way from"));
    assert!(told, "tls-check -v says that the port is on its way: {ways:#?}");
    fleet.kill("accepting", &["server-1"]).await;
    let reason = fleet.status().await.waiting.remove(0).reason;
    assert!(reason.contains("it is not connected") && reason.contains("the listener"), "{reason}");
    fleet.sees(true, !mtls).await;

    fleet.signal("caller-1", Signal::STOP);
    fleet.signal("server-1", Signal::CONT);
    fleet.waits("switching", &["caller-1"]).await;
    fleet.sees(true, mtls).await;
    fleet.kill("switching", &["caller-1"]).await;
    fleet.sees(true, mtls).await;

    fleet.signal("server-1", Signal::STOP);
    fleet.signal("caller-1", Signal::CONT);
    fleet.waits("closing", &["server-1"]).await;
    fleet.sees(!mtls, mtls).await;
    fleet.kill("closing", &["server-1"]).await;
    fleet.sees(!mtls, mtls).await;
    fleet.signal("server-1", Signal::CONT);
    fleet.over().await;
    for step in ["accepting", "switching", "closing"] {
        let metric = format!("countersign_ports_in_transit{{step=\"{step}\"}}");
        assert_eq!(fleet.mesh.server().metric(&metric).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_changes_under_traffic_whoever_is_stuck_and_whatever_is_killed() {
    let others = [Setting::sotw_1_40(), Setting::delta_1_36(), Setting::delta_1_40(), Setting::sotw_1_36()];
    let mut fleet = Fleet::start(Setting::delta_1_40(), &others, "DISABLE").await;
    let traffic = fleet.traffic();
    fleet.sees(true, false).await;
    in_every_step(&mut fleet, "STRICT", true).await;
    in_every_step(&mut fleet, "DISABLE", false).await;

    // One after the other, as operators are told to do it by hand.
    fleet.write("PERMISSIVE");
    eventually("it is on its way", async || (!fleet.status().await.step.is_empty()).then_some(())).await;
    fleet.over().await;
    fleet.sees(true, true).await;
    fleet.signal("server-1", Signal::STOP);
    fleet.write("STRICT");
    fleet.waits("closing", &["server-1"]).await;
    fleet.kill("closing", &["server-1"]).await;
    fleet.signal("server-1", Signal::CONT);
    fleet.over().await;
    fleet.sees(false, true).await;

    // Second thoughts in the middle: clients have turned, and turn back.
    fleet.signal("caller-1", Signal::STOP);
    fleet.write("DISABLE");
    fleet.waits("switching", &["caller-1"]).await;
    fleet.sees(true, false).await;
    fleet.write("STRICT");
    fleet.sees(true, true).await;
    fleet.waits("switching", &["caller-1"]).await;
    fleet.signal("caller-1", Signal::CONT);
    fleet.over().await;
    fleet.sees(false, true).await;

    // A proxy that never answers, and an operator who knows better.
    fleet.signal("server-1", Signal::STOP);
    fleet.write("DISABLE");
    fleet.waits("accepting", &["server-1"]).await;
    let client = fleet.mesh.server().client();
    let push =
        async |force| client.post::<_, ModeChangeStatus>("/v1/rollout", &ModeChangeRequest { force }, LIMIT).await;
    let refused = push(false).await.unwrap_err().to_string();
    assert!(refused.contains("production/server-1"), "{refused}");
    assert_eq!(push(true).await.unwrap().step, "switching");
    // It is a client of the others too.
    fleet.waits("switching", &["server-1"]).await;
    fleet.sees(true, false).await;
    assert_eq!(push(true).await.unwrap().step, "closing");
    fleet.waits("closing", &["server-1"]).await;
    fleet.signal("server-1", Signal::CONT);
    fleet.over().await;
    fleet.sees(true, false).await;

    let mut requests = 0;
    for one in traffic {
        requests += finish(one).await.requests;
    }
    println!("{requests} requests, none failed");
    fleet.mesh.stop().await;
}

/// While no server runs the policy changes. The proxies come back one after the other.
async fn change_while_no_server_runs(fleet: &mut Fleet, to: &str, staged: bool) {
    fleet.mesh.lab.control_plane.kill().await;
    // Long enough for the proxies to try again ever more rarely, each at a time of its own.
    tokio::time::sleep(Duration::from_secs(4)).await;
    fleet.mesh.write_policy("istio.yaml", &mode(to, staged));
    fleet.mesh.lab.control_plane.start_again().await;
    fleet.over().await;
}

async fn a_change_while_no_server_runs_loses_no_request(setting: Setting) {
    let mut fleet = Fleet::start(setting, &[setting], "DISABLE").await;
    let traffic = fleet.traffic();
    change_while_no_server_runs(&mut fleet, "STRICT", true).await;
    fleet.sees(false, true).await;
    change_while_no_server_runs(&mut fleet, "DISABLE", true).await;
    fleet.sees(true, false).await;
    for one in traffic {
        finish(one).await;
    }
    fleet.mesh.stop().await;
}

/// The same without steps: the test above is able to fail.
async fn one_jump_loses_requests(setting: Setting) {
    let mut fleet = Fleet::start(setting, &[setting], "DISABLE").await;
    let traffic = fleet.traffic();
    let lost = || traffic.iter().map(|it| it.report().failures).sum::<u64>();
    for to in ["STRICT", "DISABLE"].into_iter().cycle().take(6) {
        change_while_no_server_runs(&mut fleet, to, false).await;
        if lost() > 0 {
            break;
        }
    }
    assert!(lost() > 0, "six jumps, and every proxy had each in the same moment");
    assert!(!fleet.mesh.server().log().contains("on their way"), "nothing went in steps");
    fleet.mesh.stop().await;
}
