//! The steps of `countersign lab`, from an empty folder to a mesh that one can talk to.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::envoy_binary::{self, Request};
use super::mesh::Prepared;
use super::traffic::Report;
use super::{
    ControlPlane, LabError, Mesh, Network, Ports, Progress, RootResult, RotationPlan, RotationResult, Scenario, Stage,
    checks, rotate_root_under_traffic, rotate_under_traffic,
};

/// How long the Envoys may take to get everything, on a machine that is busy.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// What `countersign lab` takes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Envoy to run.
    pub envoy: Request,
    /// Work here and leave everything; else in a temporary folder.
    pub keep: Option<PathBuf>,
    /// The first port to try; else some free ones.
    pub port_base: Option<u16>,
    /// End after the measurement instead of staying up.
    pub once: bool,
    /// How often certificates are replaced, and under what load.
    pub rotation: RotationPlan,
    /// What is shown.
    pub scenario: Scenario,
}

impl Default for Options {
    fn default() -> Self {
        let (rotation, scenario) = (RotationPlan::default(), Scenario::default());
        Self { envoy: Request::any(), keep: None, port_base: None, once: false, rotation, scenario }
    }
}

/// How the lab ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was not as it should be.
    pub failures: Vec<String>,
}

impl From<Outcome> for ExitCode {
    /// 1 if anything failed.
    fn from(outcome: Outcome) -> Self {
        Self::from(u8::from(!outcome.failures.is_empty()))
    }
}

/// Runs the lab. SIGINT, SIGTERM and SIGHUP end it in order; before it stays up that is [`LabError::Interrupted`].
pub async fn run<C: ControlPlane>(options: Options, progress: &mut Progress) -> Result<Outcome, LabError> {
    let temporary;
    let directory = match &options.keep {
        Some(directory) => {
            temporary = None;
            std::fs::create_dir_all(directory).map_err(LabError::file("make", directory))?;
            std::path::absolute(directory).map_err(LabError::file("find", directory))?
        }
        None => {
            let made = tempfile::Builder::new().prefix("countersign-lab-").tempdir();
            let made = made.map_err(LabError::file("make a folder in", std::env::temp_dir()))?;
            let path = made.path().to_owned();
            temporary = Some(made);
            path
        }
    };
    let mut mesh = None;
    let result = tokio::select! {
        result = steps::<C>(&options, &directory, &mut mesh, progress) => result,
        result = interrupted() => result.and(Err(LabError::Interrupted)),
    };
    let mut stayed = Ok(());
    if let (Ok(()), false, Some(mesh)) = (&result, options.once, &mut mesh) {
        stay(mesh, &directory, progress);
        stayed = tokio::select! {
            result = watch(mesh) => result,
            result = interrupted() => result,
        };
    }
    if let Some(mesh) = mesh {
        let stopped = mesh.stop().await;
        progress.section("Ending");
        progress.check("everything that was started has ended", stopped.map(|()| "Envoys, server, applications"));
    }
    // After a failure the logs are worth more than a tidy folder for temporary files.
    let failed = result.is_err() || stayed.is_err() || !progress.failures().is_empty();
    if let (true, Some(temporary)) = (failed && !matches!(result, Err(LabError::Interrupted)), temporary) {
        progress.note(format_args!("The logs are in {}", temporary.keep().display()));
    }
    result.and(stayed)?;
    Ok(Outcome { failures: progress.failures().to_vec() })
}

async fn steps<C: ControlPlane>(
    options: &Options,
    directory: &Path,
    running: &mut Option<Mesh<C>>,
    progress: &mut Progress,
) -> Result<(), LabError> {
    progress.section("A mesh on this machine");
    let wanted = options.envoy.clone();
    let located = tokio::task::spawn_blocking(move || {
        let path = envoy_binary::locate(&wanted)?;
        let version = envoy_binary::version_text(&path).unwrap_or_else(|reason| reason);
        Ok::<_, LabError>((path, version))
    });
    let (envoy, version) = located.await.map_err(|e| LabError::ControlPlane(e.to_string()))??;
    let version = version.split('/').nth(1).unwrap_or(&version);
    progress.ok(format_args!("Envoy {version} ({})", envoy.display()));

    let mut ports = options.port_base.map_or_else(Ports::unique, Ports::from_base);
    let network = match options.port_base {
        Some(base) => Network::for_port_base(base)?,
        None => Network::unique()?,
    };
    let prepared = Prepared::of_scenario(options.scenario, directory, network, &mut ports).await?;
    progress.ok(format_args!("policies in {}", prepared.setup().policies.display()));
    let control_plane = C::start(prepared.setup().clone()).await?;
    progress.ok(format_args!("control plane at {}", control_plane.xds_address()));
    let started = Instant::now();
    let mesh = running.insert(prepared.start(control_plane, &envoy, &mut ports).await?);
    mesh.wait_ready(READY_LIMIT).await?;
    progress.ok(format_args!("{} Envoys ready after {}", mesh.envoys.len(), milliseconds(started.elapsed())));

    progress.section("Who can reach whom");
    let admin = mesh.admin(&mesh.topology.payment)?;
    checks::run(progress, &mesh.topology, admin).await;
    let stage = Stage { envoy: &envoy, directory, ports: &mut ports };
    options.scenario.check(mesh, stage, progress).await?;

    progress.section(format_args!("{} rotations of every certificate under traffic", options.rotation.rounds));
    let result = rotate_under_traffic(mesh, &options.rotation).await?;
    print_rotation(progress, &result);
    mesh.check_running()?;

    let result = rotate_root_under_traffic(mesh, &options.rotation).await?;
    if !result.steps.is_empty() {
        progress.section("The root replaced under traffic");
        print_root(progress, &result);
    }
    mesh.check_running()
}

fn print_root(progress: &mut Progress, result: &RootResult) {
    for step in &result.steps {
        progress.value(&step.name, milliseconds(step.took));
    }
    print_traffic(progress, &result.traffic);
    match result.traffic.failures {
        0 => progress.ok("no request was lost, and the old root is trusted by nobody any more"),
        failures => {
            progress.fail("the root under traffic", format!("{failures}: {}", result.traffic.errors.join("; ")))
        }
    }
}

fn print_traffic(progress: &mut Progress, traffic: &Report) {
    progress.value("requests", traffic.requests);
    progress.value("  each with a new handshake", traffic.new_connections);
    progress.value("  over kept connections", traffic.kept);
    progress.value("  kept connections reopened", traffic.reconnects);
    progress.value("failed requests", traffic.failures);
}

fn print_rotation(progress: &mut Progress, result: &RotationResult) {
    print_traffic(progress, &result.traffic);
    progress.value("certificates replaced", result.replaced);
    let (p50, max) = (result.first_handshake.p50(), result.first_handshake.max());
    if let (Some(p50), Some(max)) = (p50, max) {
        let text = format!("p50 {}, max {}", milliseconds(p50), milliseconds(max));
        progress.value("push to first handshake", text);
    }
    match result.problems.as_slice() {
        [] => progress.ok("no request was lost, every certificate arrived"),
        problems => progress.fail("rotation under traffic", problems.join("\n")),
    }
}

/// Says how to talk to what is running.
fn stay<C: ControlPlane>(mesh: &Mesh<C>, directory: &Path, progress: &mut Progress) {
    let (client, payment, legacy) = (&mesh.topology.client, &mesh.topology.payment, &mesh.topology.legacy);
    progress.section("It stays up until Ctrl-C. Try it:");
    let proxy = client.http_proxy();
    progress.note(format_args!("curl -x http://{proxy} {}", payment.url(8080, "/pay")));
    progress.note(format_args!("curl -x http://{proxy} {}", legacy.url(8080, "/")));
    progress.note(format_args!("curl http://{}/    # refused: mutual TLS only", payment.at(8080)));
    progress.note(format_args!("curl http://{}/    # plaintext, for metrics", payment.at(9090)));
    progress.note(format_args!("curl http://{}/    # plaintext, legacy takes both", legacy.at(8080)));
    for envoy in &mesh.envoys {
        let admin = format!("http://{}/", envoy.admin().address());
        progress.value(format_args!("Envoy {}", envoy.name()), admin);
    }
    for hint in mesh.control_plane.hints() {
        progress.note(hint);
    }
    progress.value("everything is in", directory.display());
}

async fn watch<C: ControlPlane>(mesh: &mut Mesh<C>) -> Result<(), LabError> {
    loop {
        mesh.check_running()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn interrupted() -> Result<(), LabError> {
    let listen = |kind| signal(kind).map_err(|e| LabError::ControlPlane(format!("cannot wait for signals: {e}")));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
