//! The root is replaced while a gRPC client calls, whose certificate and roots are files: it is waited for, and no call fails.

use std::time::{Duration, Instant};

use countersign::admin::api::{RootRotationAction, RootRotationStatus};

use crate::grpc::Calls;
use crate::harness::{Setting, on_envoys};
use crate::root_rotation::{CONFIG, act, by_validity, renew, status, step};

on_envoys!(a_grpc_client_is_waited_for: delta_1_40);

const CALLER: &str = "production/caller";
const GREETER: &str = "greeter.production.svc.cluster.local:50051";
/// A client has certainly read its files fifteen seconds after they were written.
const STEP: Duration = Duration::from_secs(60);

fn is_waited_for(now: &RootRotationStatus) -> bool {
    now.waiting.iter().any(|it| it.proxy.as_deref() == Some(CALLER))
}

fn others_are_waited_for(now: &RootRotationStatus) -> bool {
    now.waiting.iter().any(|it| !by_validity(it) && it.proxy.as_deref() != Some(CALLER))
}

async fn a_grpc_client_is_waited_for(setting: Setting) {
    let mut calls = Calls::start(setting, CONFIG).await;
    let first = calls.mesh.server().status().await.root.serial;
    let mut made = calls.call_until(|_| true).await;
    act(&calls.mesh, RootRotationAction::Start, false).await;
    for expected in ["distributing", "activating"] {
        step(&calls.mesh, expected).await;
        calls.renew_others().await;
        // Nobody else is in the way, and nothing goes on while the client has what it had.
        made += calls.call_until(|now| is_waited_for(now) && !others_are_waited_for(now)).await;
        assert_eq!(status(&calls.mesh).await.step, expected);
        calls.renew().await;
        made += calls.call_until(|now| now.step != expected || now.waiting.iter().all(by_validity)).await;
    }
    act(&calls.mesh, RootRotationAction::Resume, true).await;
    made += calls.call_until(|now| now.step == "retiring" && is_waited_for(now)).await;
    calls.renew().await;
    made += calls.call_until(|now| now.step == "done").await;
    made += calls.call_until(|_| true).await;
    assert_ne!(calls.mesh.server().status().await.root.serial, first);
    println!("{made} calls, none failed");
    drop((calls.client, calls.envoy));
    calls.mesh.stop().await;
}

impl Calls {
    /// Calls over the connection that is open, and over new ones, for as long as the rotation is not where it should be. How many calls
    /// that were.
    async fn call_until(&mut self, is_there: impl Fn(&RootRotationStatus) -> bool) -> usize {
        let deadline = Instant::now() + STEP;
        for calls in 1.. {
            for answer in [self.client.call(GREETER).await, self.client.call_anew(GREETER).await] {
                assert_eq!(answer["name"], "greeter", "{answer}\n{}", self.mesh.server().log());
            }
            let now = status(&self.mesh).await;
            if is_there(&now) {
                return 2 * calls;
            }
            assert!(Instant::now() < deadline, "{now:#?}\n{}", self.mesh.server().log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        unreachable!("it counts for longer than a minute")
    }

    /// What an agent on the Envoys' nodes does.
    async fn renew_others(&self) {
        for workload in self.mesh.topology().workloads() {
            renew(&self.mesh, workload).await;
        }
        let home = self.mesh.directory.path().join("sidecar");
        self.mesh.server().bootstrap_as("production/greeter", &home, self.envoy.admin().address(), None).await;
    }
}
