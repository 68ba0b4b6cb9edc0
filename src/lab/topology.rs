//! The lab's mesh as policy: who there is, written in the kinds that an operator would write, next to the seed policies.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::{LabError, Network};

/// The policies that users start from; the lab runs on them as they are.
pub const SEED_POLICIES: &str = include_str!("../../config/policies/seed/istio.yaml");
/// The trust domain of the lab.
pub const TRUST_DOMAIN: &str = "cluster.local";
/// Where each workload's HTTP forward proxy listens.
pub const HTTP_PROXY_PORT: u16 = 15001;
/// Ports that the lab's Envoys listen on, on their workload's address.
pub(super) const TAKEN_PORTS: [u16; 3] = [8080, 9090, HTTP_PROXY_PORT];

/// A port that a workload serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedPort {
    /// The port of the service and of the workload.
    pub number: u16,
    /// Its name; `http…` makes it an HTTP port.
    pub name: String,
    /// Where the application itself listens.
    pub app: SocketAddr,
}

/// A listener of a workload's proxy that carries bytes to one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpEgress {
    /// The listener's port, and the port of the service.
    pub port: u16,
    /// `namespace/host` of the service.
    pub host: String,
}

/// One workload, and its proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name: of the WorkloadEntry, of its Service if it serves a port, of its service account, and its `app` label.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// What it serves.
    pub ports: Vec<ServedPort>,
    /// Its outbound TCP listeners, besides the HTTP forward proxy that each has.
    pub tcp_egress: Vec<TcpEgress>,
}

impl Workload {
    /// `namespace/name`, as the command line has it.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its SPIFFE ID.
    pub fn identity(&self) -> String {
        format!("spiffe://{TRUST_DOMAIN}/ns/{}/sa/{}", self.namespace, self.name)
    }

    /// The host name of its service.
    pub fn host(&self) -> String {
        format!("{}.{}.svc.{TRUST_DOMAIN}", self.name, self.namespace)
    }

    /// The URL of a path on one of its ports.
    pub fn url(&self, port: u16, path: &str) -> String {
        format!("http://{}:{port}{path}", self.host())
    }

    /// A port on its address.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }

    /// Its HTTP forward proxy.
    pub fn http_proxy(&self) -> SocketAddr {
        self.at(HTTP_PROXY_PORT)
    }

    /// What Envoy's statistics of its inbound listener at `port` begin with.
    pub fn listener_stats(&self, port: u16) -> String {
        format!("listener.{}_{port}.", self.address)
    }

    /// Appends its WorkloadEntry, Service and Sidecar as YAML.
    pub fn documents(&self, out: &mut String) {
        let Self { namespace, name, address, .. } = self;
        let _ = write!(
            out,
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n\
             metadata:\n  name: {name}\n  namespace: {namespace}\n  labels:\n    app: {name}\n\
             spec:\n  address: {address}\n  serviceAccount: {name}\n  labels:\n    app: {name}\n"
        );
        if !self.ports.is_empty() {
            let _ = write!(
                out,
                "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
                 spec:\n  selector:\n    app: {name}\n  ports:\n"
            );
            for ServedPort { number, name, .. } in &self.ports {
                let _ = writeln!(out, "  - name: {name}\n    port: {number}");
            }
        }
        let _ = write!(
            out,
            "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
             spec:\n  workloadSelector:\n    labels:\n      app: {name}\n"
        );
        if !self.ports.is_empty() {
            out.push_str("  ingress:\n");
        }
        for ServedPort { number, name, app } in &self.ports {
            let _ = write!(
                out,
                "  - port:\n      number: {number}\n      name: {name}\n      protocol: HTTP\n    bind: {address}\n    \
                 captureMode: NONE\n    defaultEndpoint: {app}\n"
            );
        }
        let _ = write!(
            out,
            "  egress:\n  - port:\n      number: {HTTP_PROXY_PORT}\n      name: http-proxy\n      protocol: HTTP_PROXY\n    \
             bind: {address}\n    captureMode: NONE\n    hosts:\n    - \"*/*\"\n"
        );
        for TcpEgress { port, host } in &self.tcp_egress {
            let _ = write!(
                out,
                "  - port:\n      number: {port}\n      name: tcp-{port}\n      protocol: TCP\n    bind: {address}\n    \
                 captureMode: NONE\n    hosts:\n    - \"{host}\"\n"
            );
        }
    }
}

/// Where the lab's applications listen.
#[derive(Clone, Copy, Debug)]
pub struct AppAddresses {
    /// payment-service, the API.
    pub payment: SocketAddr,
    /// payment-service, the metrics.
    pub payment_metrics: SocketAddr,
    /// legacy.
    pub legacy: SocketAddr,
}

/// The lab's mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Calls the others.
    pub client: Workload,
    /// 8080: mutual TLS only. 9090: plaintext, for metrics.
    pub payment: Workload,
    /// In a namespace that takes both.
    pub legacy: Workload,
}

impl Topology {
    /// The three workloads, on addresses of `network`.
    pub fn new(network: Network, apps: AppAddresses) -> Self {
        let workload = |namespace: &str, name: &str, host, ports| Workload {
            namespace: namespace.into(),
            name: name.into(),
            address: network.host(host),
            ports,
            tcp_egress: Vec::new(),
        };
        let served = |number, name: &str, app| ServedPort { number, name: name.into(), app };
        let payment_ports =
            vec![served(8080, "http", apps.payment), served(9090, "http-metrics", apps.payment_metrics)];
        let payment = workload("production", "payment-service", 2, payment_ports);
        let legacy = workload("legacy-namespace", "legacy", 3, vec![served(8080, "http", apps.legacy)]);
        let mut client = workload("production", "client", 1, Vec::new());
        client.tcp_egress.push(TcpEgress { port: 8080, host: format!("{}/{}", payment.namespace, payment.host()) });
        Self { client, payment, legacy }
    }

    /// All workloads.
    pub fn workloads(&self) -> [&Workload; 3] {
        [&self.client, &self.payment, &self.legacy]
    }

    /// `topology.yaml`.
    pub fn to_yaml(&self) -> String {
        let mut out = String::from("# The workloads of the lab. Written by `countersign lab`.\n");
        for namespace in ["production", "legacy-namespace"] {
            let _ = write!(out, "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n");
        }
        for workload in self.workloads() {
            workload.documents(&mut out);
        }
        out
    }

    /// Writes the seed policies and `topology.yaml` into `directory`, which is made if it is not there.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>, LabError> {
        std::fs::create_dir_all(directory).map_err(LabError::file("make", directory))?;
        let files = [("istio.yaml", SEED_POLICIES.to_owned()), ("topology.yaml", self.to_yaml())];
        let written = files.into_iter().map(|(name, text)| {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(LabError::file("write", &path))?;
            Ok(path)
        });
        written.collect()
    }
}
