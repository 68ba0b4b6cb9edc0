//! What the lab's script needs of a control plane. The script knows nothing else of the server, so that the same steps can be run
//! against another implementation (the tests have one without xDS).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{LabError, Scenario, Topology, Workload};

/// What a control plane is started with. The folders are there.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The policy directory: seed policies and topology.
    pub policies: PathBuf,
    /// An empty folder for the server's state.
    pub data: PathBuf,
    /// Where xDS is to listen.
    pub xds: SocketAddr,
    /// Where the admin API is to listen.
    pub admin: SocketAddr,
    /// The trust domain.
    pub trust_domain: String,
    /// The workloads that are in the policy directory.
    pub topology: Topology,
    /// What is shown: a scenario may want other settings of the server.
    pub scenario: Scenario,
}

/// One certificate that was replaced.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// `namespace/name` of the workload.
    pub workload: String,
    /// The new certificate's serial number, in hexadecimal.
    pub serial: String,
    /// SHA-256 of the new certificate (DER) in hexadecimal, if the control plane tells it.
    pub certificate_sha256: Option<String>,
    /// When it was handed to the proxies. The time before the call, if nothing better is known.
    pub pushed_at: Instant,
}

/// A workload's machine: where its bootstrap is written.
#[derive(Clone, Debug)]
pub struct Node {
    /// The workload.
    pub workload: Workload,
    /// What [`ControlPlane::bootstrap`] was given.
    pub directory: PathBuf,
    /// Where its Envoy's admin interface listens.
    pub admin: SocketAddr,
}

/// A step of a root rotation, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootStep {
    /// Its name.
    pub name: String,
    /// From its beginning to the next one's.
    pub took: Duration,
}

/// A control plane for the lab. Dropping it without [`stop`](Self::stop) must not leave anything running.
pub trait ControlPlane: Sized + Send {
    /// Starts it; returns when it is ready to serve.
    fn start(setup: Setup) -> impl Future<Output = Result<Self, LabError>> + Send;

    /// Where xDS listens, or a name for what is there instead.
    fn xds_address(&self) -> String;

    /// Lines that tell a user how to talk to it, for the end of the lab.
    fn hints(&self) -> Vec<String>;

    /// Writes into `directory` what a workload's Envoy starts from, and returns its configuration file. `admin` is where that
    /// Envoy's admin interface is to listen.
    fn bootstrap(
        &self,
        workload: &Workload,
        directory: &Path,
        admin: SocketAddr,
    ) -> impl Future<Output = Result<PathBuf, LabError>> + Send;

    /// Replaces the certificate of every workload.
    fn rotate_all(&self) -> impl Future<Output = Result<Vec<Rotation>, LabError>> + Send;

    /// Replaces the root, and what these nodes have of the old one on their disks. The steps, in order; none if it has no root to replace.
    fn rotate_root(&self, _nodes: &[Node]) -> impl Future<Output = Result<Vec<RootStep>, LabError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Ends it.
    fn stop(self) -> impl Future<Output = Result<(), LabError>> + Send;
}
