//! Envoy's messages as YAML, by Envoy's own `.proto` files, so that no field can be left out.

use std::path::PathBuf;
use std::process::Command;

use countersign::envoy::EncodedResource;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, json};

/// Every message that the resources hold, directly or in an `Any`. Their imports come by themselves.
const FILES: [&str; 19] = [
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/config/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/original_src/v3/original_src.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "istio/envoy/config/filter/http/alpn/v2alpha1/config.proto",
];

/// Knows Envoy's messages.
pub struct Renderer {
    messages: DescriptorPool,
}

impl Renderer {
    /// Compiles the `.proto` files that come with `envoy-types`, so they are of the version that the resources are built with, and our own.
    pub fn new() -> Self {
        let proto = envoy_types().join("proto");
        let folders = std::fs::read_dir(&proto).unwrap().map(|entry| entry.unwrap().path());
        // The folders are repositories; some keep their files one level deeper.
        let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("proto");
        let includes = folders.flat_map(|folder| [folder.join("proto"), folder]).chain([own]);
        let includes: Vec<PathBuf> = includes.collect();
        let mut compiler = protox::Compiler::new(includes.iter().filter(|path| path.is_dir())).unwrap();
        compiler.include_imports(true).open_files(FILES).unwrap_or_else(|error| panic!("{error}"));
        Self { messages: compiler.descriptor_pool() }
    }

    /// The whole resource. Fields at their default are left out, as they are on the wire.
    pub fn render(&self, resource: &EncodedResource) -> Value {
        let name = resource.type_url.rsplit('/').next().unwrap();
        let message = self.messages.get_message_by_name(name).unwrap_or_else(|| panic!("{name} is not in FILES"));
        let message = DynamicMessage::decode(message, resource.value.clone()).unwrap();
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(true);
        let body = message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .unwrap_or_else(|error| panic!("{}: {error}: is every message in FILES?", resource.name));
        json!({ "type": name, "name": resource.name, "resource": body })
    }
}

/// Where Cargo has the sources of `envoy-types`.
fn envoy_types() -> PathBuf {
    let rustc = output(Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned())).arg("-vV"));
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // Of this platform only: the sources of all the others' dependencies need not be here.
    let metadata = output(
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host])
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    );
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "envoy-types").unwrap();
    PathBuf::from(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
