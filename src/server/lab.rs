//! The server as the lab's control plane: in the lab's own process, used as an operator would, through its admin socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::Server;
use super::config::{Config, Overrides};
use crate::admin::api::{RootRotationAction, RootRotationRequest, RootRotationStatus, RotateReport, RotateRequest};
use crate::cli::{Connection, WorkloadName, bootstrap};
use crate::lab::envoy_binary::Request;
use crate::lab::{ControlPlane, LabError, Node, Options, Progress, RootStep, Rotation, Setup, Workload, run};
use crate::{cli, telemetry};

/// How long a root rotation may take, on a machine that is busy.
const ROOT_LIMIT: Duration = Duration::from_secs(60);

/// The server of a lab.
struct LabServer {
    server: Server,
    data_dir: PathBuf,
    /// Its root is from elsewhere, and is replaced there.
    has_upstream: bool,
}

/// `countersign lab`.
pub async fn lab(args: cli::lab::LabArgs) -> ExitCode {
    // The lab's own lines are for reading; the server's log is there for who asks for it.
    if std::env::var_os("RUST_LOG").is_some()
        && let Err(error) = telemetry::init(None)
    {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let envoy = match (&args.envoy, &args.envoy_version) {
        (Some(path), _) => Request { explicit: Some(path.clone()), ..Request::any() },
        (None, None) => Request::any(),
        (None, Some(version)) => match version.parse() {
            Ok(version) => Request::pinned(version),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(2);
            }
        },
    };
    let (port_base, once, scenario) = (args.port_base, args.once, args.scenario);
    let options = Options { envoy, keep: args.keep, port_base, once, scenario, ..Options::default() };
    match run::<LabServer>(options, &mut Progress::stdout()).await {
        Ok(outcome) => outcome.into(),
        Err(LabError::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl ControlPlane for LabServer {
    async fn start(setup: Setup) -> Result<Self, LabError> {
        let Setup { policies, data, xds, admin, trust_domain, scenario, .. } = setup;
        let socket = scenario.socket(&policies);
        let overrides = Overrides {
            policy: Some(policies),
            data_dir: Some(data.clone()),
            xds: Some(xds),
            admin: Some(admin),
            trust_domain: Some(trust_domain.parse().map_err(failed)?),
            ..Overrides::default()
        };
        let (mut config, data_dir) = (Config::without_file(&overrides).map_err(failed)?, data);
        config.xds.drain = Duration::ZERO;
        config.xds.unix.path = socket;
        config.rotation.spread = Duration::from_millis(500);
        let has_upstream = config.spire.as_ref().is_some_and(|spire| spire.upstream.is_some());
        let server = Server::start(config, Arc::new(OffsetDateTime::now_utc)).await.map_err(failed)?;
        Ok(Self { server, data_dir, has_upstream })
    }

    fn xds_address(&self) -> String {
        self.server.xds_address().to_string()
    }

    fn hints(&self) -> Vec<String> {
        let data = self.data_dir.display();
        vec![
            format!("curl http://{}/metrics", self.server.admin().address),
            format!("countersign proxy-status --data-dir {data}"),
            format!("countersign secrets --data-dir {data}"),
            format!("countersign rotate workload --all --wait 5s --data-dir {data}"),
        ]
    }

    async fn bootstrap(&self, workload: &Workload, directory: &Path, admin: SocketAddr) -> Result<PathBuf, LabError> {
        let workload: WorkloadName = workload.id().parse().map_err(failed)?;
        let mut options = bootstrap::Options::new(workload, directory);
        options.admin_address = admin.ip();
        options.admin_port = admin.port();
        let args = bootstrap::Args {
            options,
            format: cli::Format::default(),
            connection: Connection::to_data_dir(&self.data_dir),
        };
        let written = bootstrap::run(&args).await.map_err(failed)?;
        Ok(written.envoy_yaml)
    }

    async fn rotate_all(&self) -> Result<Vec<Rotation>, LabError> {
        let client = Connection::to_data_dir(&self.data_dir).client().map_err(failed)?;
        let request = RotateRequest { all: true, ..RotateRequest::default() };
        // The time of the order, so that what is measured includes making, keeping and pushing the certificates.
        let pushed_at = Instant::now();
        let report: RotateReport =
            client.post("/v1/rotate/workload", &request, Duration::ZERO).await.map_err(failed)?;
        let rotation = |it: crate::admin::api::RotatedWorkload| Rotation {
            workload: it.workload,
            serial: it.serial,
            certificate_sha256: None,
            pushed_at,
        };
        Ok(report.rotated.into_iter().map(rotation).collect())
    }

    async fn rotate_root(&self, nodes: &[Node]) -> Result<Vec<RootStep>, LabError> {
        if self.has_upstream {
            return Ok(Vec::new());
        }
        let client = Connection::to_data_dir(&self.data_dir).client().map_err(failed)?;
        let order = async |action, force| -> Result<RootRotationStatus, LabError> {
            let request = RootRotationRequest { action, force, paused: false };
            client.post("/v1/rotate/root", &request, Duration::ZERO).await.map_err(failed)
        };
        let (mut steps, deadline) = (Vec::<RootStep>::new(), Instant::now() + ROOT_LIMIT);
        let mut now = order(RootRotationAction::Start, false).await?;
        let (mut begun, mut is_forced) = (Instant::now(), false);
        loop {
            let next: RootRotationStatus = client.get("/v1/rotate/root").await.map_err(failed)?;
            if next.step != now.step {
                let name = std::mem::replace(&mut now.step, next.step.clone());
                steps.push(RootStep { name, took: begun.elapsed() });
                begun = Instant::now();
                if next.step == "activating" {
                    // What each node has on its disk, as `countersign agent` would in its own time.
                    for node in nodes {
                        self.bootstrap(&node.workload, &node.directory, node.admin).await?;
                    }
                }
            }
            match next.step.as_str() {
                "done" => return Ok(steps),
                // Nobody is waited for any more but the clock: the certificates that were replaced are good for a day.
                "activating" if !is_forced && !next.waiting.is_empty() => {
                    is_forced = next.waiting.iter().all(|it| it.proxy.is_none());
                    if is_forced {
                        order(RootRotationAction::Resume, true).await?;
                    }
                }
                _ => {}
            }
            if Instant::now() >= deadline {
                return Err(LabError::ControlPlane(format!(
                    "the root rotation stays at {}: {:?}",
                    next.step, next.waiting
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) -> Result<(), LabError> {
        self.server.stop().await;
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> LabError {
    LabError::ControlPlane(error.to_string())
}
