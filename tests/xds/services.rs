//! What is served under which path, and to whom.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::service::status::v3::{ClientStatusRequest, ClientStatusResponse, ConfigStatus};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status as RpcStatus;
use prost::Message;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::harness::*;

/// Service, its method names' ending, its type, and names to ask for.
fn services() -> [(&'static str, &'static str, &'static str, Vec<String>); 5] {
    let none = Vec::new;
    [
        ("secret.v3.SecretDiscoveryService", "Secrets", SECRET, vec!["default".into(), "ROOTCA".into()]),
        ("cluster.v3.ClusterDiscoveryService", "Clusters", CLUSTER, none()),
        ("listener.v3.ListenerDiscoveryService", "Listeners", LISTENER, none()),
        ("endpoint.v3.EndpointDiscoveryService", "Endpoints", ENDPOINT, none()),
        ("route.v3.RouteDiscoveryService", "Routes", ROUTE, none()),
    ]
}

/// Field 1 of every type of resource is its name.
fn name_of(resource: &[u8]) -> String {
    String::from_utf8(resource[2..2 + usize::from(resource[1])].to_vec()).unwrap()
}

#[tokio::test]
async fn each_type_has_its_service_in_three_variants() {
    let server = Server::start("").await;
    let mut grpc = server.connect_as("production/client").await;
    let mut clusters = Vec::new();
    for (service, methods, type_url, mut names) in services() {
        match type_url {
            ENDPOINT => names.clone_from(&clusters),
            ROUTE => names.push("15001".into()),
            _ => {}
        }
        let ask: Vec<_> = names.iter().map(String::as_str).collect();
        // An empty type URL means the service's own.
        for url in [type_url, ""] {
            let path = |variant| format!("/envoy.service.{service}/{variant}{methods}");
            let fetched: DiscoveryResponse = grpc.unary(&path("Fetch"), None, &sotw(url, &ask)).await.unwrap();
            let mut stream = grpc.open(&path("Stream"), None).await;
            stream.send(&sotw(url, &ask));
            let mut incremental = grpc.open(&path("Delta"), None).await;
            incremental.send(&delta(url, &ask));
            let mut changed: DeltaDiscoveryResponse = incremental.next().await.unwrap();
            // What the stream of the round before has left unacknowledged comes by itself.
            while changed.resources.len() < fetched.resources.len() {
                incremental.send(&DeltaDiscoveryRequest { response_nonce: changed.nonce.clone(), ..delta(url, &[]) });
                let more: DeltaDiscoveryResponse = incremental.next().await.unwrap();
                changed.resources.extend(more.resources);
                changed.nonce = more.nonce;
            }
            assert_eq!((fetched.type_url.as_str(), changed.type_url.as_str()), (type_url, type_url));
            if type_url == ROUTE {
                // No such route: the delta service says so, the fetch is empty.
                let known = fetched.resources.len() + changed.removed_resources.len();
                assert_eq!(known, 1, "{fetched:?} {changed:?}");
                continue;
            }
            let mut streamed: DiscoveryResponse = stream.next().await.unwrap();
            while streamed.resources.len() < fetched.resources.len() {
                let (version_info, response_nonce) = (streamed.version_info.clone(), streamed.nonce.clone());
                stream.send(&DiscoveryRequest { version_info, response_nonce, ..sotw(url, &ask) });
                let more: DiscoveryResponse = stream.next().await.unwrap();
                streamed.resources.extend(more.resources);
                (streamed.version_info, streamed.nonce) = (more.version_info, more.nonce);
            }
            assert!(!fetched.resources.is_empty(), "{service}");
            // The same, but for what is restated in other bytes.
            let names = |resources: &[Any]| resources.iter().map(|any| name_of(&any.value)).collect::<BTreeSet<_>>();
            assert_eq!(names(&fetched.resources), names(&streamed.resources), "{service}");
            assert_eq!(fetched.version_info, streamed.version_info, "{service}");
            assert_eq!(fetched.resources.len(), changed.resources.len(), "{service}");
            assert!(fetched.resources.iter().all(|any| any.type_url == type_url));
            if type_url == CLUSTER {
                let named = fetched.resources.iter().map(|any| Cluster::decode(&*any.value).unwrap());
                clusters = named.filter(|it| it.eds_cluster_config.is_some()).map(|it| it.name).collect();
                assert!(!clusters.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn a_request_of_another_type_is_at_the_wrong_service() {
    let server = Server::start("").await;
    let mut grpc = server.connect_as("production/client").await;
    for (service, methods, type_url, _) in services() {
        for other in [SECRET, CLUSTER, LISTENER, ENDPOINT, ROUTE, "type.googleapis.com/made.Up"] {
            if other == type_url {
                continue;
            }
            let path = |variant| format!("/envoy.service.{service}/{variant}{methods}");
            let mut stream = grpc.open(&path("Stream"), None).await;
            stream.send(&sotw(other, &["default"]));
            let mut incremental = grpc.open(&path("Delta"), None).await;
            incremental.send(&delta(other, &["default"]));
            let ends = [
                stream.next::<DiscoveryResponse>().await.unwrap_err(),
                incremental.next::<DeltaDiscoveryResponse>().await.unwrap_err(),
                grpc.unary::<DiscoveryResponse>(&path("Fetch"), None, &sotw(other, &["default"])).await.unwrap_err(),
            ];
            assert!(ends.iter().all(|end| end.code == Code::InvalidArgument), "{service} {other}: {ends:?}");
        }
    }
    // Later on a stream as well.
    let mut stream = grpc.open("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", None).await;
    stream.send(&sotw(SECRET, &["default"]));
    stream.next::<DiscoveryResponse>().await.unwrap();
    stream.send(&sotw(CLUSTER, &[]));
    assert_eq!(stream.next::<DiscoveryResponse>().await.unwrap_err().code, Code::InvalidArgument);
    // And the aggregated one has no default.
    let mut stream = grpc.open(DELTA_ADS, None).await;
    stream.send(&delta("", &[]));
    assert_eq!(stream.next::<DeltaDiscoveryResponse>().await.unwrap_err().code, Code::InvalidArgument);
}

#[tokio::test]
async fn threat_11_odd_paths_reach_no_handler() {
    let (operator, line) = token("spiffe://cluster.local/ns/ops/sa/admin");
    let config = format!("xds:\n  operators: [spiffe://cluster.local/ns/ops/sa/admin]\n  tokens:\n{line}");
    let server = Server::start(&config).await;
    let mut grpc = server.connect_as("production/client").await;
    let mut stranger = server.connect(server.anonymous_tls().await).await;
    for (service, method) in [
        ("envoy.service.discovery.v3.AggregatedDiscoveryService", "DeltaAggregatedResources"),
        ("envoy.service.secret.v3.SecretDiscoveryService", "FetchSecrets"),
        ("envoy.service.status.v3.ClientStatusDiscoveryService", "FetchClientStatus"),
    ] {
        let escaped = method.replacen('t', "%74", 1);
        for path in [
            format!("//{service}/{method}"),
            format!("/{service}//{method}"),
            format!("/{service}/{method}/"),
            format!("/{service}/{escaped}"),
            format!("/{service}%2F{method}"),
            format!("/{service}/./{method}"),
            format!("/x/../{service}/{method}"),
            format!("/{service}/{}", method.to_lowercase()),
            format!("/{}/{method}", service.to_uppercase()),
            format!("/{service}/{method};x"),
            format!("/{service}/"),
            format!("/{service}"),
        ] {
            // Nobody gets past the door with an odd path, and an operator gets no further than UNIMPLEMENTED.
            let end = stranger.unary::<DiscoveryResponse>(&path, None, &sotw(SECRET, &["default"])).await.unwrap_err();
            assert_eq!(end.code, Code::Unauthenticated, "{path}");
            let end =
                stranger.unary::<DiscoveryResponse>(&path, Some(&operator), &sotw(SECRET, &[])).await.unwrap_err();
            assert_eq!(end.code, Code::Unimplemented, "{path}");
            let end = grpc.unary::<DiscoveryResponse>(&path, None, &sotw(SECRET, &["default"])).await.unwrap_err();
            assert!(matches!(end.code, Code::Unimplemented | Code::PermissionDenied), "{path}: {end:?}");
        }
    }
    assert_eq!(server.metric("countersign_xds_pushes_total", "").await, 0, "nothing was served");
    assert_eq!(server.metric("countersign_xds_subscriptions_total", "").await, 0, "nothing was listened to");
}

#[tokio::test]
async fn health_is_told_to_whoever_asks() {
    let (_, line) = token("spiffe://cluster.local/ns/a/sa/b");
    let server = Server::start(&format!("xds:\n  tokens:\n{line}")).await;
    let mut grpc = server.connect(server.anonymous_tls().await).await;
    for service in ["", "envoy.service.secret.v3.SecretDiscoveryService"] {
        let request = HealthCheckRequest { service: service.into() };
        server
            .eventually("it serves", async || {
                let answer: HealthCheckResponse =
                    grpc.unary("/grpc.health.v1.Health/Check", None, &request).await.unwrap();
                (answer.status == ServingStatus::Serving as i32).then_some(())
            })
            .await;
    }
    let request = HealthCheckRequest { service: "made.Up".into() };
    let end = grpc.unary::<HealthCheckResponse>("/grpc.health.v1.Health/Check", None, &request).await.unwrap_err();
    assert_eq!(end.code, Code::NotFound);
    // Watch tells when it ends.
    let mut watch = grpc.open("/grpc.health.v1.Health/Watch", None).await;
    watch.send.send_data(framed(&HealthCheckRequest::default()), true).unwrap();
    assert_eq!(watch.next::<HealthCheckResponse>().await.unwrap().status, ServingStatus::Serving as i32);
    // Streams that end one by one, so that there is a time between the order to stop and the end.
    let mut client = server.connect_as("production/client").await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = client.open(SOTW_ADS, None).await;
        stream.send(&sotw(CLUSTER, &[]));
        stream.next::<DiscoveryResponse>().await.unwrap();
        streams.push(stream);
    }
    let stopped = tokio::spawn(server.terminate());
    assert_eq!(watch.next::<HealthCheckResponse>().await.unwrap().status, ServingStatus::NotServing as i32);
    stopped.await.unwrap();
}

const FETCH_STATUS: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus";
const STREAM_STATUS: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus";

#[tokio::test]
async fn threat_06_client_status_is_for_operators() {
    let (operator, one) = token("spiffe://cluster.local/ns/ops/sa/admin");
    let (other, two) = token("spiffe://cluster.local/ns/production/sa/client");
    let config = format!("xds:\n  operators: [spiffe://cluster.local/ns/ops/sa/admin]\n  tokens:\n{one}{two}");
    let server = Server::start(&config).await;
    let mut grpc = server.connect(server.anonymous_tls().await).await;

    // A client with one good and one refused resource.
    let mut client = server.connect_as("production/payment-service").await;
    let mut stream = client.open(DELTA_ADS, None).await;
    stream.send(&DeltaDiscoveryRequest { node: node("production/payment-service"), ..delta(SECRET, &["default"]) });
    let response: DeltaDiscoveryResponse = stream.next().await.unwrap();
    stream.send(&DeltaDiscoveryRequest {
        response_nonce: response.nonce,
        error_detail: Some(RpcStatus { message: "no such curve".into(), ..RpcStatus::default() }),
        ..delta(SECRET, &[])
    });

    for token in [None, Some(other.as_str())] {
        let refused = match token {
            None => Code::Unauthenticated,
            Some(_) => Code::PermissionDenied,
        };
        let request = ClientStatusRequest::default();
        let end = grpc.unary::<ClientStatusResponse>(FETCH_STATUS, token, &request).await.unwrap_err();
        assert_eq!(end.code, refused);
        let end = grpc.unary::<ClientStatusResponse>(STREAM_STATUS, token, &request).await.unwrap_err();
        assert_eq!(end.code, refused);
        let end = client.unary::<ClientStatusResponse>(FETCH_STATUS, None, &request).await.unwrap_err();
        assert_eq!(end.code, Code::PermissionDenied);
    }
    assert!(server.refused("not_operator").await >= 3);

    let request = ClientStatusRequest::default();
    let shown = server
        .eventually("the refusal is shown", async || {
            let status: ClientStatusResponse = grpc.unary(FETCH_STATUS, Some(&operator), &request).await.unwrap();
            let all = &status.config[0].generic_xds_configs;
            all.iter().any(|it| it.config_status == ConfigStatus::Error as i32).then_some(status.clone())
        })
        .await;
    let [config] = shown.config.as_slice() else { panic!("{shown:?}") };
    assert_eq!(config.node.as_ref().unwrap().id, "production/payment-service");
    assert!(config.client_scope.contains("spiffe://cluster.local/ns/production/sa/payment-service"));
    let of = |type_url: &str, name: &str| {
        let found = config.generic_xds_configs.iter().find(|it| it.type_url == type_url && it.name == name);
        found.unwrap_or_else(|| panic!("{type_url} {name} in {shown:?}")).clone()
    };
    assert_eq!(of(CLUSTER, "").config_status, ConfigStatus::NotSent as i32);
    for name in ["", "default"] {
        let secrets = of(SECRET, name);
        assert_eq!(secrets.config_status, ConfigStatus::Error as i32);
        assert!(secrets.error_state.unwrap().details.contains("no such curve"));
        assert!(secrets.xds_config.is_none(), "no content");
    }
    // The same on the stream, and only for whom it was asked.
    let mut statuses = grpc.open(STREAM_STATUS, Some(&operator)).await;
    statuses.send(&request);
    assert_eq!(statuses.next::<ClientStatusResponse>().await.unwrap(), shown);
    use envoy_types::pb::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher, string_matcher::MatchPattern};
    let pattern = MatchPattern::Exact("production/client".into());
    let node_id = Some(StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() });
    statuses.send(&ClientStatusRequest {
        node_matchers: vec![NodeMatcher { node_id, ..NodeMatcher::default() }],
        ..ClientStatusRequest::default()
    });
    assert_eq!(statuses.next::<ClientStatusResponse>().await.unwrap().config.len(), 0);
    // In sync once it has taken what is newer.
    let mut client = server.connect_as("production/client").await;
    let mut stream = client.open(SOTW_ADS, None).await;
    stream.send(&DiscoveryRequest { node: node("production/client"), ..sotw(CLUSTER, &[]) });
    let response: DiscoveryResponse = stream.next().await.unwrap();
    stream.send(&DiscoveryRequest {
        version_info: response.version_info,
        response_nonce: response.nonce,
        ..sotw(CLUSTER, &[])
    });
    server
        .eventually("it is in sync", async || {
            let status: ClientStatusResponse = grpc.unary(FETCH_STATUS, Some(&operator), &request).await.unwrap();
            let config = status.config.into_iter().find(|it| it.node.as_ref().unwrap().id == "production/client")?;
            let clusters = config.generic_xds_configs.into_iter().find(|it| it.type_url == CLUSTER)?;
            (clusters.config_status == ConfigStatus::Synced as i32 && !clusters.version_info.is_empty()).then_some(())
        })
        .await;
}

#[tokio::test]
async fn reflection_describes_everything_that_is_served() {
    use std::collections::BTreeSet;

    use prost_types::FileDescriptorProto;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let (_, line) = token("spiffe://cluster.local/ns/a/sa/b");
    let server = Server::start(&format!("xds:\n  tokens:\n{line}")).await;
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let mut stranger = server.connect(server.anonymous_tls().await).await;
        let mut call = stranger.open(&path, None).await;
        call.send(&ask(MessageRequest::ListServices(String::new())));
        assert_eq!(call.next::<ServerReflectionResponse>().await.unwrap_err().code, Code::Unauthenticated);

        let mut grpc = server.connect_as("production/client").await;
        let mut call = grpc.open(&path, None).await;
        let mut answer = async |message| {
            call.send(&ask(message));
            call.next::<ServerReflectionResponse>().await.unwrap().message_response.unwrap()
        };
        let MessageResponse::ListServicesResponse(list) = answer(MessageRequest::ListServices(String::new())).await
        else {
            panic!("no list")
        };
        let names: BTreeSet<_> = list.service.into_iter().map(|service| service.name).collect();
        let mut expected: BTreeSet<String> = countersign::xds::services().map(str::to_owned).collect();
        expected.insert("envoy.service.status.v3.ClientStatusDiscoveryService".into());
        expected.insert("grpc.health.v1.Health".into());
        expected.insert(format!("grpc.reflection.{version}.ServerReflection"));
        assert_eq!(names, expected);
        // Each with all that it imports.
        let mut wanted: Vec<MessageRequest> = names.into_iter().map(MessageRequest::FileContainingSymbol).collect();
        let mut seen = BTreeSet::new();
        while let Some(next) = wanted.pop() {
            let asked = format!("{next:?}");
            let MessageResponse::FileDescriptorResponse(found) = answer(next).await else { panic!("{asked}") };
            for bytes in found.file_descriptor_proto {
                let file = FileDescriptorProto::decode(&*bytes).unwrap();
                let new = file.dependency.iter().filter(|import| seen.insert((*import).clone()));
                wanted.extend(new.cloned().map(MessageRequest::FileByFilename));
            }
        }
        assert!(seen.contains("envoy/config/core/v3/base.proto"), "{seen:?}");
    }
}
