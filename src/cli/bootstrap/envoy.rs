//! The three YAML files, as values. Every string is written in quotes: Envoy takes a bare `y`, `on` or `1e3` for something else.

use serde_json::{Value, json};

use super::credentials::LINK;
use super::endpoint::{Endpoint, Host};
use super::{BootstrapError, Interception, Mode, Options};
use crate::admin::api::BootstrapMaterial;

/// Connections from outside that an Envoy takes before it refuses more. Without any limit it warns at the start.
const MAX_DOWNSTREAM_CONNECTIONS: u32 = 50_000;

/// The text of the files.
#[derive(Debug)]
pub(super) struct Bootstrap {
    pub(super) envoy: String,
    pub(super) identity: String,
    pub(super) roots: String,
}

/// The files for a directory that Envoy sees at `at`.
pub(super) fn bootstrap(
    options: &Options,
    material: &BootstrapMaterial,
    endpoint: &Endpoint,
    at: &str,
) -> Result<Bootstrap, BootstrapError> {
    if !material.server_identity.starts_with("spiffe://") {
        return Err(BootstrapError::Material("no identity by which to know the xDS server".into()));
    }
    let envoy = json!({
        "node": node(options, material),
        "admin": {
            "address": socket_address(&options.admin_address.to_string(), options.admin_port),
        },
        "dynamic_resources": dynamic_resources(options.mode),
        "static_resources": { "clusters": [xds_cluster(material, endpoint, at)] },
        "overload_manager": { "resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": type_url("envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"),
                "max_active_downstream_connections": MAX_DOWNSTREAM_CONNECTIONS,
            },
        }]},
    });
    let pem = |name: &str| json!({ "filename": format!("{at}/{LINK}/{name}") });
    let identity = secret(
        IDENTITY,
        "tls_certificate",
        json!({
            "certificate_chain": pem("cert.pem"),
            "private_key": pem("key.pem"),
            "watched_directory": { "path": at },
        }),
    );
    let roots = secret(
        ROOTS,
        "validation_context",
        json!({
            "trusted_ca": pem("roots.pem"),
            "watched_directory": { "path": at },
        }),
    );
    Ok(Bootstrap { envoy: yaml(&envoy)?, identity: yaml(&identity)?, roots: yaml(&roots)? })
}

const IDENTITY: &str = "xds-identity";
const ROOTS: &str = "xds-roots";

/// Metadata in Istio's words, where it has some.
pub(super) fn node(options: &Options, material: &BootstrapMaterial) -> Value {
    let workload = &options.workload;
    let id = || match options.gateway {
        // Istio's form of an id; by its first part the server knows a gateway.
        true => format!("router~0.0.0.0~{0}.{1}~{1}.svc", workload.name(), workload.namespace()),
        false => workload.to_string(),
    };
    json!({
        "id": options.node_id.clone().unwrap_or_else(id),
        "cluster": format!("{}.{}", workload.name(), workload.namespace()),
        "metadata": {
            "NAMESPACE": workload.namespace(),
            "NAME": workload.name(),
            "WORKLOAD_NAME": workload.name(),
            "SERVICE_ACCOUNT": material.service_account,
            "LABELS": material.labels,
            "INTERCEPTION_MODE": match options.interception {
                Interception::None => "NONE",
                Interception::Redirect => "REDIRECT",
                Interception::Tproxy => "TPROXY",
            },
        },
    })
}

fn dynamic_resources(mode: Mode) -> Value {
    let api_type = match mode {
        Mode::Delta => "DELTA_GRPC",
        Mode::Sotw => "GRPC",
    };
    json!({
        "ads_config": {
            "api_type": api_type,
            "transport_api_version": "V3",
            // The node is 60 KB; later requests of a stream go without it.
            "set_node_on_first_message_only": true,
            "grpc_services": [{ "envoy_grpc": {
                "cluster_name": "xds",
                // Envoy's own back-off goes to 30 s: too long for a certificate that is about to expire.
                "retry_policy": { "retry_back_off": { "base_interval": "0.5s", "max_interval": "5s" } },
            }}],
        },
        "cds_config": { "resource_api_version": "V3", "ads": {} },
        "lds_config": { "resource_api_version": "V3", "ads": {} },
    })
}

fn xds_cluster(material: &BootstrapMaterial, endpoint: &Endpoint, at: &str) -> Value {
    let (discovery, host, sni) = match &endpoint.host {
        Host::Ip(ip) => ("STATIC", ip.to_string(), None),
        Host::Name(name) => ("STRICT_DNS", name.clone(), Some(name)),
    };
    let by_file = |name: &str, file: &str| {
        json!({
            "name": name,
            "sds_config": {
                "resource_api_version": "V3",
                "path_config_source": { "path": format!("{at}/{file}") },
            },
        })
    };
    let mut tls = json!({
        "@type": type_url("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
        "common_tls_context": {
            // The only server at the other end is countersign, which speaks 1.3; without this Envoy would stop at 1.2.
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [by_file(IDENTITY, "sds-identity.yaml")],
            "combined_validation_context": {
                "default_validation_context": { "match_typed_subject_alt_names": [{
                    "san_type": "URI",
                    "matcher": { "exact": material.server_identity },
                }]},
                "validation_context_sds_secret_config": by_file(ROOTS, "sds-roots.yaml"),
            },
        },
    });
    if let Some(name) = sni {
        tls["sni"] = json!(name);
    }
    json!({
        "name": "xds",
        "type": discovery,
        "connect_timeout": "5s",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": type_url("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": { "http2_protocol_options": {
                // A server that vanished without a word is noticed within 40 s.
                "connection_keepalive": { "interval": "30s", "timeout": "10s" },
            }},
        }},
        "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket_address(&host, endpoint.port) } }] }],
        },
    })
}

fn secret(name: &str, kind: &str, content: Value) -> Value {
    let r#type = type_url("envoy.extensions.transport_sockets.tls.v3.Secret");
    json!({ "resources": [{ "@type": r#type, "name": name, kind: content }] })
}

fn socket_address(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

fn yaml(value: &Value) -> Result<String, BootstrapError> {
    let options = serde_saphyr::ser_options! { quote_all: true };
    serde_saphyr::to_string_with_options(value, options)
        .map_err(|e| BootstrapError::Material(format!("something that cannot be written as YAML ({e})")))
}
