//! The root is replaced under traffic, and no request fails: not when a proxy is away, the server is killed, or an operator aborts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use countersign::admin::api::{RootRotationAction, RootRotationRequest, RootRotationStatus};
use countersign::cli::{CliError, Format, bootstrap};
use countersign::lab::topology::{ServedPort, TcpEgress};
use countersign::lab::traffic::TrafficPlan;
use countersign::lab::{App, EnvoyOptions, EnvoyProcess, Traffic, Workload};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{LIMIT, Mesh, ServerProcess, Setting, eventually, finish, on_envoys};

on_envoys!(the_naive_order_loses_requests: delta_1_40);

pub const CONFIG: &str = "rotation:\n  spread: 1s\n  waitForAbsent: 1h\n";
/// Pairs of a caller and a server beside the lab's three workloads.
const PAIRS: u8 = 4;
/// Together they are to make at least this many requests.
const REQUESTS: u64 = 20_000;

/// Envoys of both releases, with both forms of xDS, beside the lab's own.
struct Fleet {
    workloads: Vec<(Workload, Setting, PathBuf)>,
    envoys: Vec<EnvoyProcess>,
    _apps: Vec<App>,
}

/// A caller and a server for each of these, and the application behind the server.
pub fn pairs(first: Ipv4Addr, apps: &[SocketAddr]) -> Vec<Workload> {
    let [a, b, c, _] = first.octets();
    let workload = |name: String, host, ports| Workload {
        namespace: "production".into(),
        name,
        address: Ipv4Addr::new(a, b, c, host),
        ports,
        tcp_egress: Vec::new(),
    };
    let mut all = Vec::new();
    for (n, app) in (0..).zip(apps) {
        let served = ServedPort { number: 8080, name: "http".into(), app: *app };
        let server = workload(format!("server-{n}"), 60 + n, vec![served]);
        let mut caller = workload(format!("caller-{n}"), 30 + n, Vec::new());
        caller.tcp_egress.push(TcpEgress { port: 8080, host: format!("production/{}", server.host()) });
        all.extend([caller, server]);
    }
    all
}

impl Fleet {
    async fn start(mesh: &mut Mesh, workloads: Vec<Workload>, apps: Vec<App>) -> Self {
        let settings = [Setting::delta_1_40(), Setting::sotw_1_36(), Setting::sotw_1_40(), Setting::delta_1_36()];
        let (mut all, mut envoys) = (Vec::new(), Vec::new());
        for (workload, setting) in workloads.into_iter().zip(settings.into_iter().cycle()) {
            let home = mesh.directory.path().join(&workload.name);
            std::fs::create_dir_all(&home).unwrap();
            let admin = mesh.ports.free_address().unwrap();
            let config = credentials(mesh.server(), &workload.id(), &home, setting.mode, admin).await;
            let log = home.join("envoy.log");
            let options = EnvoyOptions { name: workload.id(), binary: setting.envoy().await, config, admin, log };
            envoys.push(EnvoyProcess::start(options).unwrap());
            all.push((workload, setting, home));
        }
        for envoy in &mut envoys {
            envoy.wait_ready(LIMIT).await.unwrap();
        }
        Self { workloads: all, envoys, _apps: apps }
    }

    fn traffic(&self) -> Vec<Traffic> {
        let servers: Vec<_> = self.workloads.iter().map(|(it, ..)| it).filter(|it| !it.ports.is_empty()).collect();
        let callers = self.workloads.iter().map(|(it, ..)| it).filter(|it| it.ports.is_empty());
        // Kept connections go to another server than the new ones, so that every release meets every other.
        let plan = |(n, caller): (usize, &Workload)| TrafficPlan {
            proxy: caller.http_proxy(),
            url: servers[(n + 1) % servers.len()].url(8080, "/kept"),
            kept: 2,
            fresh: caller.at(8080),
            fresh_tasks: 3,
            interval: Duration::from_millis(30),
            limit: LIMIT,
        };
        callers.enumerate().map(plan).map(Traffic::start).collect()
    }

    /// What an agent on every node does: new credentials for the connection to the server.
    async fn renew_all(&self, mesh: &Mesh) {
        for (workload, setting, home) in &self.workloads {
            let admin = self.envoys.iter().find(|it| it.name() == workload.id()).unwrap().admin().address();
            credentials(mesh.server(), &workload.id(), home, setting.mode, admin).await;
        }
        for workload in mesh.topology().workloads() {
            renew(mesh, workload).await;
        }
    }
}

pub async fn renew(mesh: &Mesh, workload: &Workload) {
    let home = mesh.directory.path().join("envoys").join(format!("{}.{}", workload.name, workload.namespace));
    let admin = mesh.lab.admin(workload).unwrap().address();
    mesh.server().bootstrap_as(&workload.id(), &home, admin, None).await;
}

/// Credentials and a bootstrap configuration for an Envoy of the workload.
pub async fn credentials(
    server: &ServerProcess,
    workload: &str,
    home: &std::path::Path,
    mode: bootstrap::Mode,
    admin: SocketAddr,
) -> PathBuf {
    let mut options = bootstrap::Options::new(workload.parse().unwrap(), home);
    (options.mode, options.admin_address, options.admin_port) = (mode, admin.ip(), admin.port());
    let args = bootstrap::Args { options, format: Format::default(), connection: server.connection() };
    bootstrap::run(&args).await.unwrap().envoy_yaml
}

pub async fn status(mesh: &Mesh) -> RootRotationStatus {
    mesh.server().client().get("/v1/rotate/root").await.unwrap()
}

async fn wish(mesh: &Mesh, request: RootRotationRequest) -> Result<RootRotationStatus, CliError> {
    mesh.server().client().post("/v1/rotate/root", &request, LIMIT).await
}

pub async fn act(mesh: &Mesh, action: RootRotationAction, force: bool) {
    wish(mesh, RootRotationRequest { action, force, paused: false }).await.unwrap();
}

async fn start_paused(mesh: &Mesh) {
    let request = RootRotationRequest { action: RootRotationAction::Start, force: false, paused: true };
    assert_eq!(wish(mesh, request).await.unwrap().step, "prepared");
}

pub async fn step(mesh: &Mesh, step: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let now = status(mesh).await;
        if now.step == step {
            return;
        }
        assert!(Instant::now() < deadline, "not {step}: {now:#?}\n{}", mesh.server().log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the step waits for this and nothing else.
pub async fn waits(mesh: &Mesh, step: &str, what: impl Fn(&countersign::admin::api::WaitingFor) -> bool) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let now = status(mesh).await;
        if now.step == step && !now.waiting.is_empty() && now.waiting.iter().all(&what) {
            return;
        }
        assert!(Instant::now() < deadline, "{now:#?}\n{}", mesh.server().log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn kill_the_server(mesh: &mut Mesh, expected: &str) {
    mesh.lab.control_plane.kill().await;
    mesh.lab.control_plane.start_again().await;
    assert_eq!(status(mesh).await.step, expected, "a crash changes nothing");
}

fn signal(envoy: &EnvoyProcess, signal: Signal) {
    let pid = envoy.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    kill_process(pid, signal).unwrap();
}

/// The lab's workload that no request goes through.
fn bystander(mesh: &Mesh) -> &EnvoyProcess {
    mesh.lab.envoy(&mesh.topology().legacy).unwrap()
}

fn by_credentials(it: &countersign::admin::api::WaitingFor) -> bool {
    it.proxy.is_none() || it.reason.contains("countersign bootstrap")
}

pub fn by_validity(it: &countersign::admin::api::WaitingFor) -> bool {
    it.proxy.is_none() && it.reason.contains("may be valid until")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_is_replaced_twice_under_traffic() {
    let mut apps = Vec::new();
    for n in 0..PAIRS {
        apps.push(App::start(format!("server-{n}"), "127.0.0.1:0".parse().unwrap()).await.unwrap());
    }
    let addresses: Vec<_> = apps.iter().map(App::address).collect();
    let mut mesh = Setting::delta_1_40().mesh_with(CONFIG, |_| ()).await;
    let workloads = pairs(mesh.topology().client.address, &addresses);
    let mut yaml = String::new();
    workloads.iter().for_each(|it| it.documents(&mut yaml));
    mesh.write_policy("fleet.yaml", &yaml);
    let total = 3 + workloads.len();
    eventually("the fleet is in the policy", async || (mesh.server().status().await.policy.files == 3).then_some(()))
        .await;
    let fleet = Fleet::start(&mut mesh, workloads, apps).await;
    mesh.server().wait_synced(total).await;
    let begun = Instant::now();
    let mut traffic = fleet.traffic();
    traffic.push(mesh.traffic());
    let first_root = mesh.server().status().await.root.serial;
    let legacy = mesh.topology().legacy.id();

    aborted_in_each_step(&mut mesh, &legacy, total).await;
    assert_eq!(mesh.server().status().await.root.serial, first_root, "all is as it was");

    crashed_in_each_step(&mut mesh, &fleet, &legacy, total).await;
    let second_root = mesh.server().status().await.root.serial;
    assert_ne!(second_root, first_root);

    // Once more, with nobody in the way.
    act(&mesh, RootRotationAction::Start, false).await;
    waits(&mesh, "activating", by_credentials).await;
    fleet.renew_all(&mesh).await;
    waits(&mesh, "activating", by_validity).await;
    act(&mesh, RootRotationAction::Resume, true).await;
    step(&mesh, "done").await;
    let third_root = mesh.server().status().await.root.serial;
    assert_ne!(third_root, second_root);
    mesh.server().wait_synced(total).await;
    for envoy in fleet.envoys.iter().chain(&mesh.lab.envoys) {
        let held = envoy.admin().certs().await.unwrap();
        let only_new = held.roots.iter().all(|root| root.serial == third_root);
        // The roots of the connection to the server are those of the file, which has both until it is written again.
        assert!(only_new || held.roots.iter().filter(|it| it.serial != third_root).count() == 1, "{held:?}");
        assert!(held.roots.iter().any(|root| root.serial == third_root), "{} {held:?}", envoy.name());
    }

    while traffic.iter().map(|it| it.report().requests).sum::<u64>() < REQUESTS {
        assert!(begun.elapsed() < Duration::from_secs(240), "too slow to show anything");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut requests = 0;
    for one in traffic {
        requests += finish(one).await.requests;
    }
    println!("{requests} requests in {:?}, none failed", begun.elapsed());
    mesh.stop().await;
}

async fn aborted_in_each_step(mesh: &mut Mesh, legacy: &str, total: usize) {
    // Prepared.
    start_paused(mesh).await;
    act(mesh, RootRotationAction::Abort, false).await;
    step(mesh, "aborted").await;

    // Distributing, with a proxy that does not answer.
    signal(bystander(mesh), Signal::STOP);
    act(mesh, RootRotationAction::Start, false).await;
    waits(mesh, "distributing", |it| it.proxy.as_deref() == Some(legacy)).await;
    act(mesh, RootRotationAction::Abort, false).await;
    waits(mesh, "withdrawing", |it| it.proxy.as_deref() == Some(legacy)).await;
    signal(bystander(mesh), Signal::CONT);
    step(mesh, "aborted").await;

    // Activating, after every proxy has shown a certificate below the new root; the server is killed on the way back.
    act(mesh, RootRotationAction::Start, false).await;
    waits(mesh, "activating", by_credentials).await;
    act(mesh, RootRotationAction::Abort, false).await;
    kill_the_server(mesh, "reverting").await;
    waits(mesh, "reverting", by_validity).await;
    let refused = wish(mesh, RootRotationRequest { action: RootRotationAction::Abort, ..Default::default() }).await;
    assert!(refused.unwrap_err().to_string().contains("being aborted already"));
    act(mesh, RootRotationAction::Resume, true).await;
    step(mesh, "aborted").await;
    mesh.server().wait_synced(total).await;
}

async fn crashed_in_each_step(mesh: &mut Mesh, fleet: &Fleet, legacy: &str, total: usize) {
    start_paused(mesh).await;
    kill_the_server(mesh, "prepared").await;
    mesh.server().wait_synced(total).await;
    signal(bystander(mesh), Signal::STOP);
    act(mesh, RootRotationAction::Resume, false).await;
    waits(mesh, "distributing", |it| it.proxy.as_deref() == Some(legacy)).await;
    kill_the_server(mesh, "distributing").await;
    // The one that is stopped cannot come back, and is waited for all the same.
    waits(mesh, "distributing", |it| it.proxy.as_deref() == Some(legacy) && it.reason.contains("not connected")).await;
    signal(bystander(mesh), Signal::CONT);
    waits(mesh, "activating", by_credentials).await;
    kill_the_server(mesh, "activating").await;
    waits(mesh, "activating", by_credentials).await;
    fleet.renew_all(mesh).await;
    // Those that come again with new credentials are away for a moment, and force does not wait for who is away.
    waits(mesh, "activating", by_validity).await;
    mesh.server().wait_synced(total).await;
    signal(bystander(mesh), Signal::STOP);
    act(mesh, RootRotationAction::Resume, true).await;
    waits(mesh, "retiring", |it| it.proxy.as_deref() == Some(legacy)).await;
    let refused = wish(mesh, RootRotationRequest { action: RootRotationAction::Abort, ..Default::default() }).await;
    assert!(refused.unwrap_err().to_string().contains("too late to abort"));
    signal(bystander(mesh), Signal::CONT);
    kill_the_server_anywhere(mesh).await;
    step(mesh, "done").await;
    mesh.server().wait_synced(total).await;
}

async fn kill_the_server_anywhere(mesh: &mut Mesh) {
    mesh.lab.control_plane.kill().await;
    mesh.lab.control_plane.start_again().await;
}

/// Bundle and certificates in one step, as each proxy comes for them: what the rotation above is there to avoid.
async fn the_naive_order_loses_requests(setting: Setting) {
    let mut mesh = setting.mesh_with(CONFIG, |_| ()).await;
    mesh.server().wait_synced(3).await;
    let traffic = mesh.traffic();
    start_paused(&mesh).await;
    mesh.lab.control_plane.kill().await;
    let store = rusqlite::Connection::open(mesh.server().data_dir().join("trust.db")).unwrap();
    store
        .execute_batch(
            "UPDATE authority SET state = CASE state WHEN 'active' THEN 'retired' WHEN 'prepared' THEN 'active' ELSE state END;
             UPDATE authority SET trusted = (kind = 'root' AND state = 'active');
             UPDATE rotation SET step = 'done';",
        )
        .unwrap();
    drop(store);
    mesh.lab.control_plane.start_again().await;
    let root = mesh.server().status().await.root.serial;
    for workload in [mesh.topology().payment.clone(), mesh.topology().client.clone()] {
        renew(&mesh, &workload).await;
        eventually("it has the new root", async || {
            let held = mesh.lab.admin(&workload).unwrap().certs().await.unwrap();
            let new = held.roots.iter().filter(|it| it.serial == root).count();
            (new >= 2).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let report = traffic.stop().await;
    assert!(report.failures > 0, "{report:?}");
    mesh.stop().await;
}
