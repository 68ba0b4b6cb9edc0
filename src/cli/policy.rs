//! Where a command about policy gets its answer: a directory, or a running server.

use std::path::{Path, PathBuf};

use super::{CliError, Connection};
use crate::mesh::{self, IstioCompatibility, Mesh, MeshConfig, ServerConf, Settings};
use crate::policy::{PolicyError, PolicySet, Warning};
use crate::{analysis, source};

/// What a set in a directory means depends on these; a running server has its own.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Mesh (for a directory)")]
pub struct MeshArgs {
    /// The trust domain
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    pub trust_domain: String,
    /// The namespace whose policies are the whole mesh's
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    pub root_namespace: String,
    /// The DNS suffix of services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// As with istioCompatibility: strict
    #[arg(long)]
    pub strict: bool,
}

impl MeshArgs {
    fn settings(&self) -> Settings {
        Settings {
            trust_domain: self.trust_domain.clone(),
            trust_domain_aliases: Vec::new(),
            federated: Vec::new(),
            root_namespace: self.root_namespace.clone(),
            cluster: Settings::default().cluster,
            cluster_domain: self.cluster_domain.clone(),
            istio_compatibility: match self.strict {
                true => IstioCompatibility::Strict,
                false => IstioCompatibility::Adaptive,
            },
            server_conf: ServerConf::Unknown,
            mesh_config: MeshConfig::default(),
        }
    }

    /// Reads a directory.
    pub(super) fn read(&self, directory: &Path) -> Result<Result<Loaded, Vec<PolicyError>>, CliError> {
        let read = source::read(directory);
        let read = read.map_err(|source| CliError::Policy { directory: directory.to_owned(), source })?;
        Ok(read.map(|(set, parsed)| {
            let (mesh, built) = Mesh::build(&set, &self.settings());
            Loaded { set, mesh, parsed, built }
        }))
    }

    /// Reads a directory whose set has to be good.
    pub(super) fn read_good(&self, directory: &Path) -> Result<Loaded, CliError> {
        let refused = |errors: Vec<PolicyError>| {
            let first = errors.first().map(ToString::to_string).unwrap_or_default();
            let more = errors.len().saturating_sub(1);
            CliError::BadPolicy(if more == 0 { first } else { format!("{first} (and {more} more)") })
        };
        self.read(directory)?.map_err(refused)
    }
}

/// A policy set, read.
pub(super) struct Loaded {
    set: PolicySet,
    pub(super) mesh: Mesh,
    parsed: Vec<Warning>,
    built: Vec<mesh::Warning>,
}

impl Loaded {
    pub(super) fn subject(&self) -> analysis::Subject<'_> {
        analysis::Subject { set: &self.set, mesh: &self.mesh, parsed: &self.parsed, built: &self.built }
    }
}

/// A directory instead of a server.
#[derive(Clone, Debug, clap::Args)]
pub struct Place {
    /// Ask the policies in this directory instead of a running server
    #[arg(long, value_name = "DIR")]
    pub policy: Option<PathBuf>,
    /// What the directory's set means.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// Which server.
    #[command(flatten)]
    pub connection: Connection,
}

impl Place {
    /// The directory's set, if one is named.
    pub(super) fn directory(&self) -> Result<Option<Loaded>, CliError> {
        self.policy.as_deref().map(|directory| self.mesh.read_good(directory)).transpose()
    }
}
