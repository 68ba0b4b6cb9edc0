//! The lab's mesh while it runs: applications, control plane, and an Envoy for each workload.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::envoy_process::{EnvoyOptions, EnvoyProcess};
use super::topology::{AppAddresses, TRUST_DOMAIN};
use super::{App, ControlPlane, EnvoyAdmin, LabError, Network, Node, Ports, Scenario, Setup, Topology, Workload};

/// A running mesh. Dropping it kills its Envoys; [`Mesh::stop`] ends everything in order.
#[derive(Debug)]
pub struct Mesh<C> {
    /// Who there is, and where.
    pub topology: Topology,
    /// The control plane.
    pub control_plane: C,
    /// The Envoys, in the order of [`Topology::workloads`].
    pub envoys: Vec<EnvoyProcess>,
    /// The applications: payment-service, its metrics, legacy.
    pub apps: Vec<App>,
    /// The workloads' machines, in the same order as the Envoys.
    pub nodes: Vec<Node>,
}

/// A mesh whose Envoys are not started yet.
#[derive(Debug)]
pub struct Prepared {
    topology: Topology,
    apps: Vec<App>,
    setup: Setup,
    directory: PathBuf,
}

impl Prepared {
    /// Starts the applications and writes the policies into `directory/policies`.
    pub async fn new(directory: &Path, network: Network, ports: &mut Ports) -> Result<Self, LabError> {
        Self::of_scenario(Scenario::default(), directory, network, ports).await
    }

    /// The same with the policies of a scenario.
    pub async fn of_scenario(
        scenario: Scenario,
        directory: &Path,
        network: Network,
        ports: &mut Ports,
    ) -> Result<Self, LabError> {
        let mut apps = Vec::new();
        for name in ["payment-service", "payment-service-metrics", "legacy"] {
            apps.push(App::start(name, ports.free_address()?).await?);
        }
        let addresses =
            AppAddresses { payment: apps[0].address(), payment_metrics: apps[1].address(), legacy: apps[2].address() };
        let topology = Topology::new(network, addresses);
        let (policies, data) = (directory.join("policies"), directory.join("data"));
        topology.write(&policies)?;
        scenario.write(&policies, &topology)?;
        std::fs::create_dir_all(&data).map_err(LabError::file("make", &data))?;
        let (xds, admin) = (ports.free_address()?, ports.free_address()?);
        let trust_domain = TRUST_DOMAIN.to_owned();
        let setup = Setup { policies, data, xds, admin, trust_domain, topology: topology.clone(), scenario };
        Ok(Self { topology, apps, setup, directory: directory.to_owned() })
    }

    /// What the control plane is to be started with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Writes each workload's bootstrap and starts its Envoy. They are not waited for.
    pub async fn start<C: ControlPlane>(
        self,
        control_plane: C,
        envoy: &Path,
        ports: &mut Ports,
    ) -> Result<Mesh<C>, LabError> {
        let Self { topology, apps, directory, .. } = self;
        let mut mesh = Mesh { topology, control_plane, envoys: Vec::new(), apps, nodes: Vec::new() };
        for workload in mesh.topology.workloads() {
            let home = directory.join("envoys").join(format!("{}.{}", workload.name, workload.namespace));
            std::fs::create_dir_all(&home).map_err(LabError::file("make", &home))?;
            let admin: SocketAddr = ports.free_address()?;
            let config = mesh.control_plane.bootstrap(workload, &home, admin).await?;
            let log = home.join("envoy.log");
            let options = EnvoyOptions { name: workload.id(), binary: envoy.to_owned(), config, admin, log };
            mesh.envoys.push(EnvoyProcess::start(options)?);
            mesh.nodes.push(Node { workload: workload.clone(), directory: home, admin });
        }
        Ok(mesh)
    }
}

impl<C: ControlPlane> Mesh<C> {
    /// Waits for every Envoy. The longest wait.
    pub async fn wait_ready(&mut self, limit: Duration) -> Result<Duration, LabError> {
        let mut longest = Duration::ZERO;
        for envoy in &mut self.envoys {
            longest = longest.max(envoy.wait_ready(limit).await?);
        }
        Ok(longest)
    }

    /// The Envoy of a workload of this mesh.
    pub fn envoy(&self, workload: &Workload) -> Option<&EnvoyProcess> {
        let id = workload.id();
        self.envoys.iter().find(|envoy| envoy.name() == id)
    }

    /// The admin interface of a workload's Envoy.
    pub fn admin(&self, workload: &Workload) -> Result<&EnvoyAdmin, LabError> {
        let envoy = self.envoy(workload).map(EnvoyProcess::admin);
        envoy.ok_or_else(|| LabError::Admin { name: workload.id(), reason: "it was not started".into() })
    }

    /// An error if one of the Envoys has ended.
    pub fn check_running(&mut self) -> Result<(), LabError> {
        self.envoys.iter_mut().try_for_each(EnvoyProcess::check_running)
    }

    /// Ends the Envoys, the control plane and the applications, in this order. All are ended; the first error is returned.
    pub async fn stop(mut self) -> Result<(), LabError> {
        let mut result = Ok(());
        for envoy in &mut self.envoys {
            result = result.and(envoy.terminate().await);
        }
        result = result.and(self.control_plane.stop().await);
        for app in self.apps {
            app.stop().await;
        }
        result
    }
}
