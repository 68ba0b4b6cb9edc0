//! The policy that the server under load is given.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rcgen::{CertificateParams, KeyPair};

/// The namespace of everything.
const NAMESPACE: &str = "load";
/// The policy's Secret that every client shares, as Envoy asks for it.
pub const SHARED_SECRET: &str = "kubernetes://shared-cacert";

/// A policy directory, which the load program writes and edits.
pub struct Policy {
    directory: PathBuf,
    clusters: usize,
}

impl Policy {
    /// Writes `clusters` services and `workloads` workloads of one class.
    pub fn write(directory: &Path, clusters: usize, workloads: usize) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let policy = Self { directory: directory.to_owned(), clusters };
        let mut text = String::from(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata:\n  name: default\n  namespace: load\n\
             spec:\n  ingress:\n  - port:\n      number: 8080\n      name: http\n      protocol: HTTP\n    \
             captureMode: NONE\n    defaultEndpoint: 127.0.0.1:9080\n",
        );
        for index in 0..workloads {
            let (high, low) = (index / 250, index % 250 + 1);
            let _ = write!(
                text,
                "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata:\n  name: w-{index}\n  \
                 namespace: {NAMESPACE}\n  labels:\n    app: load\nspec:\n  address: 10.1.{high}.{low}\n  \
                 serviceAccount: w-{index}\n  labels:\n    app: load\n"
            );
        }
        policy.put("workloads.yaml", &text)?;
        policy.put("partner.yaml", PARTNER)?;
        policy.change_cluster(0)?;
        policy.change_secret()?;
        Ok(policy)
    }

    /// The name of a workload, as the admin API has it.
    pub fn workload(index: usize) -> String {
        format!("{NAMESPACE}/w-{index}")
    }

    /// Writes the services; each `step` gives the first one another address, in one of its clusters' endpoints, and another
    /// protocol, so that the cluster itself changes too.
    pub fn change_cluster(&self, step: usize) -> io::Result<()> {
        let mut text = String::new();
        for index in 0..self.clusters {
            let protocol = if index == 0 && step % 2 == 1 { "HTTP2" } else { "HTTP" };
            let _ = write!(
                text,
                "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: s-{index}\n  \
                 namespace: {NAMESPACE}\nspec:\n  hosts:\n  - s-{index}.load.svc.cluster.local\n  \
                 location: MESH_INTERNAL\n  resolution: STATIC\n  ports:\n  - number: 80\n    name: main\n    \
                 protocol: {protocol}\n    targetPort: 8080\n  endpoints:\n"
            );
            for endpoint in 1..=3 {
                let _ = writeln!(text, "  - address: 10.2.{}.{}", index / 80, index % 80 * 3 + endpoint);
            }
        }
        self.put("services.yaml", &text)
    }

    /// Writes the shared Secret with new content.
    pub fn change_secret(&self) -> io::Result<()> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let authority = CertificateParams::new(["partner.example".to_owned()]).map_err(io::Error::other)?;
        let pem = authority.self_signed(&key).map_err(io::Error::other)?.pem();
        let mut text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: shared\n  namespace: {NAMESPACE}\nstringData:\n  ca.crt: |\n"
        );
        for line in pem.lines() {
            let _ = writeln!(text, "    {line}");
        }
        self.put("secret.yaml", &text)
    }

    /// By a rename, so that the server never reads half a file.
    fn put(&self, name: &str, text: &str) -> io::Result<()> {
        let new = self.directory.join(format!(".{name}.new"));
        fs::write(&new, text)?;
        fs::rename(new, self.directory.join(name))
    }
}

/// A server outside the mesh, verified by the shared Secret.
const PARTNER: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: partner
  namespace: load
spec:
  hosts:
  - partner.example
  location: MESH_EXTERNAL
  resolution: STATIC
  ports:
  - number: 443
    name: tls
    protocol: HTTP
  endpoints:
  - address: 10.3.0.1
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: partner
  namespace: load
spec:
  host: partner.example
  trafficPolicy:
    tls:
      mode: SIMPLE
      credentialName: shared
      subjectAltNames:
      - partner.example
";
