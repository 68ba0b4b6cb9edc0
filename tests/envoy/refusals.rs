//! One bad secret among fifty good ones, put in below every validation: a transport of the test's own, without the server around it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign::cli::bootstrap::Mode;
use countersign::fleet::{self, Description, Fleet, State, TypeRecord};
use countersign::lab::{EnvoyOptions, EnvoyProcess, Ports};
use countersign::secrets;
use countersign::xds::{
    Attachment, ControlPlane, Drain, Layer, Limits, NodeInfo, Resource, ResourceType, View, XdsService,
};
use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate, secret::Type};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::harness::{Setting, eventually, on_envoys};
use crate::outside::{Pair, Pki};

on_envoys!(one_bad_secret_among_fifty_in_one_response: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);
on_envoys!(one_bad_secret_among_fifty_that_travel_alone: delta_1_40, sotw_1_36);

const SECRETS: usize = 51;
const BAD: usize = 17;

/// Shows everyone the same.
struct Plane {
    views: watch::Sender<Arc<View>>,
    fleet: Arc<Fleet>,
}

impl ControlPlane for Plane {
    type Peer = ();
    type Observer = fleet::Observer;

    async fn attach(&self, _: Option<()>, node: NodeInfo) -> Result<Attachment<fleet::Observer>, Status> {
        let description =
            Description { workload: node.id.clone(), identity: None, node, connected_since: OffsetDateTime::now_utc() };
        Ok(Attachment { views: self.views.subscribe(), observer: self.fleet.join(description) })
    }
}

fn serve(listener: TcpListener, service: XdsService<Plane>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
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

fn name(n: usize) -> String {
    format!("secret-{n:02}")
}

fn encoded(name: &str, pair: &Pair) -> Vec<u8> {
    let inline = |text: &str| {
        Some(DataSource { specifier: Some(Specifier::InlineBytes(text.as_bytes().to_vec())), ..Default::default() })
    };
    let certificate =
        TlsCertificate { certificate_chain: inline(&pair.chain), private_key: inline(&pair.key), ..Default::default() };
    Secret { name: name.to_owned(), r#type: Some(Type::TlsCertificate(certificate)) }.encode_to_vec()
}

fn view(pairs: &[Pair], together: bool) -> Arc<View> {
    let resources = pairs.iter().enumerate().map(|(n, pair)| {
        let resource = Resource::new(ResourceType::Secret, name(n), &encoded(&name(n), pair));
        let resource = if together { resource.restated_by(secrets::restate) } else { resource };
        (ResourceType::Secret, Arc::new(resource))
    });
    Arc::new(View::new(vec![Arc::new(Layer::new(resources, None))]))
}

/// A cluster for each secret, and xDS at `xds`.
fn bootstrap(mode: Mode, xds: SocketAddr, admin: SocketAddr) -> String {
    let api = match mode {
        Mode::Delta => "DELTA_GRPC",
        Mode::Sotw => "GRPC",
    };
    let endpoint = |cluster: &str, at: SocketAddr| {
        format!(
            "load_assignment: {{cluster_name: {cluster}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
             {{address: {}, port_value: {}}}}}}}}}]}}]}}",
            at.ip(),
            at.port()
        )
    };
    let mut yaml = format!(
        "node: {{id: \"refuser\", cluster: \"lab\"}}\n\
         admin: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}\n\
         dynamic_resources:\n  ads_config:\n    api_type: {api}\n    transport_api_version: V3\n    \
         grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]\n\
         static_resources:\n  clusters:\n  - name: xds\n    type: STATIC\n    connect_timeout: 1s\n    \
         typed_extension_protocol_options:\n      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n        \
         \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n        \
         explicit_http_config: {{http2_protocol_options: {{}}}}\n    {}\n",
        admin.ip(),
        admin.port(),
        endpoint("xds", xds)
    );
    for name in (0..SECRETS).map(name) {
        let _ = write!(
            yaml,
            "  - name: {name}\n    type: STATIC\n    connect_timeout: 1s\n    {}\n    transport_socket:\n      \
             name: envoy.transport_sockets.tls\n      typed_config:\n        \
             \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n        \
             common_tls_context: {{tls_certificate_sds_secret_configs: [{{name: {name}, sds_config: {{ads: {{}}, \
             resource_api_version: V3}}}}]}}\n",
            endpoint(&name, "127.0.0.1:1".parse().unwrap())
        );
    }
    yaml
}

async fn one_bad_secret_among_fifty_in_one_response(setting: Setting) {
    run(setting, true).await;
}

async fn one_bad_secret_among_fifty_that_travel_alone(setting: Setting) {
    run(setting, false).await;
}

async fn run(setting: Setting, together: bool) {
    let pki = Pki::new("operator");
    let mut pairs: Vec<_> = (0..SECRETS).map(|n| pki.issue(&name(n), &[])).collect();
    // A key that is not the certificate's.
    let good_key = std::mem::replace(&mut pairs[BAD].key, pki.issue("another", &[]).key);
    let fleet = Arc::new(Fleet::new(Arc::new(OffsetDateTime::now_utc)));
    let views = watch::Sender::new(view(&pairs, together));
    let plane = Arc::new(Plane { views, fleet: Arc::clone(&fleet) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let xds = listener.local_addr().unwrap();
    let drain = Drain::new(Duration::ZERO, "the test is over");
    let serving = serve(listener, XdsService::new(Arc::clone(&plane), drain.signal(), Limits::default()));

    let directory = tempfile::tempdir().unwrap();
    let admin = Ports::unique().free_address().unwrap();
    let config = directory.path().join("envoy.yaml");
    std::fs::write(&config, bootstrap(setting.mode, xds, admin)).unwrap();
    let options = EnvoyOptions {
        name: "refuser".into(),
        binary: setting.envoy().await,
        config,
        admin,
        log: directory.path().join("envoy.log"),
    };
    let mut envoy = EnvoyProcess::start(options).unwrap();

    let sds = || fleet.streams().first().map(|stream| stream.of(ResourceType::Secret).clone());
    let in_state = |record: &TypeRecord, state| record.resources.values().filter(|it| it.state() == state).count();
    let record = eventually("fifty are taken and one is refused", async || {
        let record = sds()?;
        let counts = (in_state(&record, State::Synced), in_state(&record, State::Rejected), record.in_flight);
        (counts == (SECRETS - 1, 1, None)).then_some(record)
    })
    .await;
    let errors: Vec<_> = record.errors().collect();
    assert_eq!(errors[0].0, name(BAD), "{errors:?}");
    assert!(errors[0].1.contains("KEY_VALUES_MISMATCH"), "{errors:?}");
    assert_eq!(record.resources[&*name(BAD)].rejected.as_ref().map(|refusal| refusal.others), Some(0));
    // Envoy's own word: it has loaded fifty.
    eventually("fifty certificates are loaded", async || {
        let held = envoy.admin().certs().await.ok()?;
        (held.leaves.len() == SECRETS - 1).then_some(())
    })
    .await;

    // The bad one is mended.
    pairs[BAD].key = good_key;
    plane.views.send_replace(view(&pairs, together));
    eventually("all are loaded", async || {
        let held = envoy.admin().certs().await.ok()?;
        let record = sds()?;
        (held.leaves.len() == SECRETS && in_state(&record, State::Synced) == SECRETS).then_some(())
    })
    .await;
    envoy.terminate().await.unwrap();
    serving.abort();
}
