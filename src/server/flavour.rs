//! Which kind of client a stream is of. It is the client's own word, and decides only how what it may have is written.

use crate::plan::{Flavour, Node};
use crate::xds::NodeInfo;

/// gRPC names itself in the user agent (`gRPC C-core`, `gRPC Go`, `grpc-java`); in Istio's words a client of any name can ask for the same.
pub(super) fn flavour(node: &NodeInfo) -> Flavour {
    let asks = node.metadata.get("GENERATOR").is_some_and(|generator| generator == "grpc");
    let is_grpc = node.user_agent.get(..4).is_some_and(|agent| agent.eq_ignore_ascii_case("grpc"));
    if asks || is_grpc { Flavour::Grpc } else { Flavour::Envoy(Node::of(&node.id, &node.metadata)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_user_agent_or_asks_by_its_metadata() {
        let of = |user_agent: &str, generator: &str| {
            let metadata = [("GENERATOR".to_owned(), generator.to_owned())].into();
            flavour(&NodeInfo { user_agent: user_agent.to_owned(), metadata, ..NodeInfo::default() })
        };
        for agent in ["gRPC C-core 44.0.0", "gRPC Go 1.70", "grpc-java 1.60", "gRPC"] {
            assert_eq!(of(agent, ""), Flavour::Grpc, "{agent}");
        }
        for agent in ["envoy 1.40.0", "", "gRP", "ägRPC", "my gRPC"] {
            assert_eq!(of(agent, ""), Flavour::Envoy(Node::PLAIN), "{agent}");
        }
        assert_eq!(of("envoy 1.40.0", "grpc"), Flavour::Grpc);
        assert_eq!(of("envoy 1.40.0", "sidecar"), Flavour::Envoy(Node::PLAIN));
    }

    #[test]
    fn istios_envoy_is_known_by_its_version() {
        let of = |metadata: &[(&str, &str)]| {
            let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            flavour(&NodeInfo { user_agent: "envoy 1.36.0".to_owned(), metadata, ..NodeInfo::default() })
        };
        let istios = Flavour::Envoy(Node { is_istios: true, ..Node::PLAIN });
        assert_eq!(of(&[("ISTIO_VERSION", "1.30.1")]), istios);
        assert_eq!(of(&[("ISTIO_VERSION", "")]), Flavour::Envoy(Node::PLAIN));
        assert_eq!(of(&[]), Flavour::Envoy(Node::PLAIN));
        assert_eq!(of(&[("ISTIO_VERSION", "1.30.1"), ("GENERATOR", "grpc")]), Flavour::Grpc);
    }
}
