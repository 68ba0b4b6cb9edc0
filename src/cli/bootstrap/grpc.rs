//! `grpc.json`: what gRPC's own xDS client starts with (gRFC A27, A29, A65), for an application that is a client without a proxy.

use serde_json::{Value, json};

use super::credentials::LINK;
use super::endpoint::{Endpoint, Host};
use super::envoy::node;
use super::{BootstrapError, Options};
use crate::admin::api::BootstrapMaterial;

/// How often gRPC looks whether the credentials are others.
const REFRESH: &str = "10s";

/// The text of the file, for a directory that the application sees at `at`.
///
/// gRPC knows the server by the name that it dials, which the server's certificate has to have: `xds.dnsNames` in its configuration.
pub(super) fn bootstrap(
    options: &Options,
    material: &BootstrapMaterial,
    endpoint: &Endpoint,
    at: &str,
) -> Result<String, BootstrapError> {
    let server = match &endpoint.host {
        Host::Ip(ip) => std::net::SocketAddr::new(*ip, endpoint.port).to_string(),
        Host::Name(name) => format!("{name}:{}", endpoint.port),
    };
    let mut node = node(options, material);
    node["metadata"]["GENERATOR"] = json!("grpc");
    let value = json!({
        "xds_servers": [{
            "server_uri": server,
            "channel_creds": [{ "type": "tls", "config": files(at) }],
            "server_features": ["xds_v3"],
        }],
        "node": node,
        "certificate_providers": { "default": { "plugin_name": "file_watcher", "config": files(at) } },
    });
    let text = serde_json::to_string_pretty(&value);
    Ok(text.map_err(|e| BootstrapError::Material(format!("something that cannot be written as JSON ({e})")))? + "\n")
}

fn files(at: &str) -> Value {
    json!({
        "certificate_file": format!("{at}/{LINK}/cert.pem"),
        "private_key_file": format!("{at}/{LINK}/key.pem"),
        "ca_certificate_file": format!("{at}/{LINK}/roots.pem"),
        "refresh_interval": REFRESH,
    })
}
