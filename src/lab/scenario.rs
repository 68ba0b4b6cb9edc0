//! What the lab can show: each scenario has policies of its own beside the lab's mesh, and looks at what they do as a user would.

use std::path::{Path, PathBuf};

use super::{ControlPlane, LabError, Mesh, Ports, Progress, Topology, cert_manager, linkerd, spire};
pub use crate::cli::lab::Scenario;

/// What a scenario may use beside the mesh that runs.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The Envoy to run.
    pub envoy: &'a Path,
    /// A folder for what the scenario starts.
    pub directory: &'a Path,
    /// Where ports come from.
    pub ports: &'a mut Ports,
}

impl Scenario {
    /// Writes the scenario's own files into the policy directory. The lab's mesh is there already.
    pub fn write(self, policies: &Path, topology: &Topology) -> Result<(), LabError> {
        match self {
            // Linkerd's policies come one after the other, while it looks.
            Self::Istio | Self::Linkerd => Ok(()),
            Self::CertManager => cert_manager::write(policies, topology),
            Self::Spire => spire::write(policies),
            Self::Mixed => {
                spire::write(policies)?;
                cert_manager::write(policies, topology)?;
                linkerd::write_seed(policies, topology)
            }
        }
    }

    /// Where the server is to have a Unix socket, if the scenario has use for one.
    pub fn socket(self, policies: &Path) -> Option<PathBuf> {
        matches!(self, Self::Spire | Self::Mixed).then(|| spire::socket(policies))
    }

    /// Looks at what is the scenario's own, when every Envoy of the mesh is ready. What is not as it should be is told to `progress`; an
    /// error is only what keeps the scenario from looking.
    pub async fn check<C: ControlPlane>(
        self,
        mesh: &mut Mesh<C>,
        mut stage: Stage<'_>,
        progress: &mut Progress,
    ) -> Result<(), LabError> {
        match self {
            Self::Istio => Ok(()),
            Self::CertManager => cert_manager::check(mesh, &mut stage, progress).await,
            Self::Linkerd => linkerd::check(&mesh.topology, &stage.directory.join("policies"), progress).await,
            Self::Spire => spire::check(mesh, &mut stage, progress).await,
            Self::Mixed => {
                spire::check(mesh, &mut stage, progress).await?;
                cert_manager::check(mesh, &mut stage, progress).await?;
                linkerd::check_seed(mesh, &mut stage, progress).await
            }
        }
    }
}
