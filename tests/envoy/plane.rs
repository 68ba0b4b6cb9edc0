//! A transport of the test's own, without the server around it: what it shows passes no validation.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::cli::bootstrap::Mode;
use countersign::fleet::{self, Description, Fleet, TypeRecord};
use countersign::lab::{EnvoyOptions, EnvoyProcess, Ports};
use countersign::xds::{
    Attachment, ControlPlane, Drain, Layer, Limits, NodeInfo, Resource, ResourceType, View, XdsService,
};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, TransportSocket,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, SdsSecretConfig, Secret, TlsCertificate, UpstreamTlsContext,
};
use envoy_types::pb::google::protobuf::Any;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tonic::Status;

use crate::harness::Setting;
use crate::outside::Pair;

/// Shows everyone the same.
struct Show {
    views: watch::Sender<Arc<View>>,
    fleet: Arc<Fleet>,
    streams: AtomicUsize,
}

impl ControlPlane for Show {
    type Peer = ();
    type Observer = fleet::Observer;

    async fn attach(&self, _: Option<()>, node: NodeInfo) -> Result<Attachment<fleet::Observer>, Status> {
        self.streams.fetch_add(1, Ordering::Relaxed);
        let description =
            Description { workload: node.id.clone(), identity: None, node, connected_since: OffsetDateTime::now_utc() };
        Ok(Attachment { views: self.views.subscribe(), observer: self.fleet.join(description) })
    }
}

type Connections = Arc<Mutex<JoinSet<()>>>;

/// The transport, and one Envoy that asks it for clusters.
pub struct Plane {
    show: Arc<Show>,
    serving: JoinHandle<()>,
    connections: Connections,
    pub envoy: EnvoyProcess,
    _ports: Ports,
    _directory: TempDir,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Plane {
    pub async fn start(setting: Setting, first: Vec<Resource>) -> Self {
        let fleet = Arc::new(Fleet::new(Arc::new(OffsetDateTime::now_utc)));
        let show = Arc::new(Show { views: watch::Sender::new(view(first)), fleet, streams: AtomicUsize::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let xds = listener.local_addr().unwrap();
        let connections = Connections::default();
        let serving = serve(listener, Arc::clone(&show), Arc::clone(&connections));
        let directory = tempfile::tempdir().unwrap();
        let mut ports = Ports::unique();
        let admin = ports.free_address().unwrap();
        let config = directory.path().join("envoy.yaml");
        std::fs::write(&config, bootstrap(setting.mode, xds, admin)).unwrap();
        let log = directory.path().join("envoy.log");
        let options = EnvoyOptions { name: "lone".into(), binary: setting.envoy().await, config, admin, log };
        let envoy = EnvoyProcess::start(options).unwrap();
        Self { show, serving, connections, envoy, _ports: ports, _directory: directory }
    }

    pub fn show(&self, resources: Vec<Resource>) {
        self.show.views.send_replace(view(resources));
    }

    /// Cuts the Envoy's connection. It comes back.
    pub fn disconnect(&self) {
        self.connections.lock().unwrap().abort_all();
    }

    /// How often a stream began.
    pub fn streams(&self) -> usize {
        self.show.streams.load(Ordering::Relaxed)
    }

    /// What the fleet knows of the Envoy's type.
    pub fn record(&self, ty: ResourceType) -> Option<TypeRecord> {
        self.show.fleet.streams().last().map(|stream| stream.of(ty).clone())
    }
}

fn view(resources: Vec<Resource>) -> Arc<View> {
    let resources = resources.into_iter().map(|resource| (resource.ty(), Arc::new(resource)));
    Arc::new(View::new(&[Arc::new(Layer::new(resources, None))]))
}

fn serve(listener: TcpListener, show: Arc<Show>, connections: Connections) -> JoinHandle<()> {
    tokio::spawn(async move {
        let drain = Drain::new(Duration::ZERO, "over");
        let service = XdsService::new(show, drain.signal(), Limits::default());
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            connections.lock().unwrap().spawn(async move {
                let answer = service_fn(move |request| {
                    let service = service.clone();
                    async move { service.handle(request).await }
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    })
}

/// A certificate as a secret.
pub fn secret(name: &str, pair: &Pair) -> Resource {
    let inline = |text: &str| {
        Some(DataSource { specifier: Some(Specifier::InlineBytes(text.as_bytes().to_vec())), ..Default::default() })
    };
    let certificate =
        TlsCertificate { certificate_chain: inline(&pair.chain), private_key: inline(&pair.key), ..Default::default() };
    let secret = Secret { name: name.to_owned(), r#type: Some(Type::TlsCertificate(certificate)) };
    Resource::new(ResourceType::Secret, name, &secret.encode_to_vec())
}

/// A cluster of no hosts that shows the certificate `secret`.
pub fn cluster(name: &str, secret: &str) -> Resource {
    let source = ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource::default())),
        ..Default::default()
    };
    let context = CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![SdsSecretConfig { name: secret.into(), sds_config: Some(source) }],
        ..Default::default()
    };
    let context = UpstreamTlsContext { common_tls_context: Some(context), ..Default::default() };
    let typed = Any {
        type_url: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext".into(),
        value: context.encode_to_vec(),
    };
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        transport_socket: Some(TransportSocket {
            name: "envoy.transport_sockets.tls".into(),
            config_type: Some(ConfigType::TypedConfig(typed)),
        }),
        ..Default::default()
    };
    Resource::new(ResourceType::Cluster, name, &cluster.encode_to_vec())
}

fn bootstrap(mode: Mode, xds: SocketAddr, admin: SocketAddr) -> String {
    let api = match mode {
        Mode::Delta => "DELTA_GRPC",
        Mode::Sotw => "GRPC",
    };
    let address = |at: SocketAddr| format!("{{socket_address: {{address: {}, port_value: {}}}}}", at.ip(), at.port());
    format!(
        "node: {{id: \"lone\", cluster: \"lab\"}}\n\
         admin: {{address: {}}}\n\
         dynamic_resources:\n  ads_config:\n    api_type: {api}\n    transport_api_version: V3\n    \
         grpc_services: [{{envoy_grpc: {{cluster_name: xds, retry_policy: {{retry_back_off: {{base_interval: 0.1s, \
         max_interval: 0.5s}}}}}}}}]\n  \
         cds_config: {{resource_api_version: V3, ads: {{}}}}\n\
         static_resources:\n  clusters:\n  - name: xds\n    type: STATIC\n    connect_timeout: 1s\n    \
         typed_extension_protocol_options:\n      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n        \
         \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n        \
         explicit_http_config: {{http2_protocol_options: {{}}}}\n    \
         load_assignment: {{cluster_name: xds, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {}}}}}]}}]}}\n",
        address(admin),
        address(xds)
    )
}
