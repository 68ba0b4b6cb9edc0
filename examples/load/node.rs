//! What an Envoy says of itself, of which nearly all is the list of extensions it was built with.

use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_types::pb::envoy::config::core::v3::{Extension, Node};
use prost::Message as _;

/// The size of a real Envoy 1.3x's node, in bytes.
const SIZE: usize = 60 * 1024;

/// The node of `id`, encoded: 60 KB.
pub fn encoded(id: &str, extensions: &[u8]) -> Vec<u8> {
    let node = Node {
        id: id.to_owned(),
        cluster: "load".to_owned(),
        user_agent_name: "envoy".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion("load".to_owned())),
        ..Default::default()
    };
    let mut bytes = node.encode_to_vec();
    bytes.extend_from_slice(extensions);
    bytes
}

/// The `extensions` of a node, encoded: entries with names, categories and type URLs as long as real ones.
pub fn extensions() -> Vec<u8> {
    let mut node = Node::default();
    let mut size = 0;
    for index in 0.. {
        let extension = Extension {
            name: format!("envoy.filters.http.some_extension_{index}"),
            category: "envoy.filters.http".to_owned(),
            type_urls: vec![
                format!("envoy.extensions.filters.http.some_extension_{index}.v3.SomeExtension"),
                format!("envoy.extensions.filters.http.some_extension_{index}.v3.SomeExtensionPerRoute"),
            ],
            ..Default::default()
        };
        size += extension.encoded_len() + 3;
        if size > SIZE {
            break;
        }
        node.extensions.push(extension);
    }
    node.encode_to_vec()
}
