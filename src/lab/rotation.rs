//! The lab's claim, measured: every workload certificate is replaced again and again under traffic, then the root, and no request is lost.

use std::time::{Duration, Instant};

use super::traffic::{Report, TrafficPlan};
use super::{ControlPlane, LabError, Latencies, Mesh, RootStep, Rotation, Traffic};

/// How long a new certificate may take to be seen before that counts as a failure.
const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// How often, and under what load.
#[derive(Clone, Debug)]
pub struct RotationPlan {
    /// How many times each workload's certificate is replaced.
    pub rounds: u32,
    /// The pause between two rounds.
    pub pause: Duration,
    /// Connections that are kept.
    pub kept: usize,
    /// Tasks that open a connection for each request.
    pub fresh: usize,
    /// The pause between two requests of one connection or task.
    pub interval: Duration,
}

impl Default for RotationPlan {
    /// 20 rounds, 150 ms apart, under some 300 requests per second, two thirds of them over new connections.
    fn default() -> Self {
        Self { rounds: 20, pause: Duration::from_millis(150), kept: 4, fresh: 8, interval: Duration::from_millis(40) }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct RotationResult {
    /// The traffic.
    pub traffic: Report,
    /// Certificates that were replaced.
    pub replaced: usize,
    /// From the push of the client's new certificate to the end of the first request that was made with it.
    pub first_handshake: Latencies,
    /// What did not come as it should, the first lost requests included.
    pub problems: Vec<String>,
}

/// What came of a root rotation.
#[derive(Clone, Debug, Default)]
pub struct RootResult {
    /// The traffic.
    pub traffic: Report,
    /// The steps, in order.
    pub steps: Vec<RootStep>,
}

/// Replaces the root under the same traffic.
pub async fn rotate_root_under_traffic<C: ControlPlane>(
    mesh: &Mesh<C>,
    plan: &RotationPlan,
) -> Result<RootResult, LabError> {
    let traffic = traffic(mesh, plan);
    let steps = mesh.control_plane.rotate_root(&mesh.nodes).await;
    // Requests with what came last, too.
    tokio::time::sleep(plan.pause + 4 * plan.interval).await;
    let traffic = traffic.stop().await;
    Ok(RootResult { traffic, steps: steps? })
}

fn traffic<C: ControlPlane>(mesh: &Mesh<C>, plan: &RotationPlan) -> Traffic {
    let (client, payment) = (&mesh.topology.client, &mesh.topology.payment);
    Traffic::start(TrafficPlan {
        proxy: client.http_proxy(),
        url: payment.url(8080, "/kept"),
        kept: plan.kept,
        fresh: client.at(client.tcp_egress.first().map_or(8080, |egress| egress.port)),
        fresh_tasks: plan.fresh,
        interval: plan.interval,
        limit: Duration::from_secs(5),
    })
}

/// Rotates every workload of the mesh under traffic from its client to its payment-service, over kept connections through the
/// client's HTTP proxy and over new ones through its TCP listener.
pub async fn rotate_under_traffic<C: ControlPlane>(
    mesh: &Mesh<C>,
    plan: &RotationPlan,
) -> Result<RotationResult, LabError> {
    let traffic = traffic(mesh, plan);
    let mut result = RotationResult::default();
    tokio::time::sleep(2 * plan.interval + plan.pause).await;
    for round in 1..=plan.rounds {
        let rotations = mesh.control_plane.rotate_all().await?;
        one_round(mesh, &traffic, &rotations, round, &mut result).await?;
        tokio::time::sleep(plan.pause).await;
    }
    result.traffic = traffic.stop().await;
    if result.traffic.failures > 0 {
        let text = format!("{} requests failed: {}", result.traffic.failures, result.traffic.errors.join("; "));
        result.problems.push(text);
    }
    Ok(result)
}

async fn one_round<C: ControlPlane>(
    mesh: &Mesh<C>,
    traffic: &Traffic,
    rotations: &[Rotation],
    round: u32,
    result: &mut RotationResult,
) -> Result<(), LabError> {
    let client = mesh.topology.client.id();
    if let Some(rotation) = rotations.iter().find(|rotation| rotation.workload == client) {
        let seen = match &rotation.certificate_sha256 {
            Some(hash) => traffic.first_seen(hash, rotation.pushed_at, SEEN_LIMIT).await,
            None => traffic.first_new(rotation.pushed_at, SEEN_LIMIT).await,
        };
        match seen {
            Some(latency) => result.first_handshake.push(latency),
            None => result.problems.push(format!("round {round}: no request with the client's new certificate")),
        }
    }
    for workload in mesh.topology.workloads() {
        let Some(rotation) = rotations.iter().find(|rotation| rotation.workload == workload.id()) else {
            result.problems.push(format!("round {round}: {} was not rotated", workload.id()));
            continue;
        };
        let deadline = Instant::now() + SEEN_LIMIT;
        loop {
            if mesh.admin(workload)?.certs().await?.has_leaf(&rotation.serial) {
                result.replaced += 1;
                break;
            }
            if Instant::now() >= deadline {
                let text = format!("round {round}: the Envoy of {} does not have {}", workload.id(), rotation.serial);
                result.problems.push(text);
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}
