use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{Extension, Node};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use envoy_types::pb::google::rpc::Status;
use proptest::prelude::*;
use prost::Message;

use super::*;

fn node(extensions: usize) -> Node {
    let name = Value { kind: Some(Kind::StringValue("payment".into())) };
    Node {
        id: "production/payment".into(),
        cluster: "payment".into(),
        metadata: Some(Struct { fields: [("NAME".to_owned(), name)].into() }),
        user_agent_name: "envoy".into(),
        extensions: vec![Extension { name: "n".repeat(300), ..Default::default() }; extensions],
        client_features: vec!["envoy.lb.does_not_support_overprovisioning".into()],
        ..Default::default()
    }
}

fn delta(extensions: usize) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node(extensions)),
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".into(),
        resource_names_subscribe: vec!["a".into(), "b".repeat(200)],
        initial_resource_versions: [("a".to_owned(), "1".to_owned())].into(),
        response_nonce: "7".into(),
        error_detail: Some(Status { code: 13, message: "no".into(), details: Vec::new() }),
        ..Default::default()
    }
}

/// What comes out when `bytes` come in pieces of `piece` bytes, and how much was gathered on the way.
fn walk(node_field: u32, bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    let mut walk = Walk::new(node_field, bytes.len());
    let mut complete = walk.push(&mut Bytes::new())?;
    let mut most = 0;
    for piece in bytes.chunks(piece) {
        complete = walk.push(&mut Bytes::copy_from_slice(piece))?;
        most = most.max(walk.message.capacity() + walk.node.capacity());
    }
    Ok(complete.then(|| (walk.finish(), most)))
}

#[test]
fn a_request_loses_the_extensions_and_nothing_else() {
    let request = delta(200);
    let bytes = request.encode_to_vec();
    for piece in [1, 2, 3, 7, 100, 16_384, bytes.len()] {
        let (short, _) = walk(1, &bytes, piece).unwrap().unwrap();
        assert_eq!(DeltaDiscoveryRequest::decode(&short[..]).unwrap(), delta(0), "pieces of {piece} bytes");
    }
}

#[test]
fn a_state_of_the_world_request_has_its_node_elsewhere() {
    let request = |extensions| DiscoveryRequest {
        version_info: "1".into(),
        node: Some(node(extensions)),
        resource_names: vec!["a".into()],
        ..Default::default()
    };
    let (short, _) = walk(2, &request(9).encode_to_vec(), 64).unwrap().unwrap();
    assert_eq!(DiscoveryRequest::decode(&short[..]).unwrap(), request(0));
}

/// A 60 KB node costs a stream less than 2 KB, however it arrives.
#[test]
fn the_extensions_are_never_gathered() {
    let bytes = delta(200).encode_to_vec();
    assert!(bytes.len() > 60_000);
    let (_, most) = walk(1, &bytes, 2048).unwrap().unwrap();
    assert!(most < 2048, "{most} bytes");
}

#[test]
fn a_message_that_is_cut_short_is_not_complete() {
    let bytes = delta(3).encode_to_vec();
    let mut walk = Walk::new(1, bytes.len());
    assert_eq!(walk.push(&mut Bytes::copy_from_slice(&bytes[..bytes.len() - 1])), Ok(false));
    assert_eq!(walk.push(&mut Bytes::copy_from_slice(&bytes[bytes.len() - 1..])), Ok(true));
}

#[test]
fn what_is_no_message_is_malformed() {
    let cases: [&[u8]; 7] = [
        // A length beyond the message, beyond its node, and beyond every machine.
        &[0x12, 5, 1],
        &[0x0a, 2, 0x0a, 5, 1, 2, 3, 4, 5],
        &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        // A head that does not end: within the message, within the node.
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
        &[0x0a, 1, 0x80, 0x00],
        // A group.
        &[0x0b, 0x0c],
        // A number that lacks bytes.
        &[0x0d, 1, 2],
    ];
    for case in cases {
        for piece in [1, case.len()] {
            assert_eq!(walk(1, case, piece).map(|_| ()), Err(Malformed), "{case:x?}");
        }
    }
}

#[test]
fn fields_that_are_no_strings_pass_too() {
    // 1: a varint where the node should be, 3: 64 bits, 4: 32 bits, and a node in two parts.
    let bytes = [0x08, 0x96, 0x01, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4, 0x0a, 3, 0x0a, 1, 0x61, 0x0a, 0];
    let (out, _) = walk(1, &bytes, 1).unwrap().unwrap();
    assert_eq!(out, bytes[..bytes.len() - 2]);
}

proptest! {
    /// Whatever comes, in whatever pieces: no panic, and what prost can read it reads the same, but for the extensions.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1_usize..40) {
        if let Ok(Some((short, _))) = walk(1, &bytes, piece)
            && let Ok(mut whole) = DeltaDiscoveryRequest::decode(&bytes[..])
        {
            whole.node.iter_mut().for_each(|node| node.extensions.clear());
            prop_assert_eq!(DeltaDiscoveryRequest::decode(&short[..]).unwrap().encoded_len(), whole.encoded_len());
        }
    }

    #[test]
    fn any_request_in_any_pieces_is_read_the_same(
        names in proptest::collection::vec(".{0,40}", 0..8),
        extensions in 0_usize..5,
        piece in 1_usize..400,
    ) {
        let request = |extensions| DeltaDiscoveryRequest {
            node: Some(node(extensions)),
            resource_names_subscribe: names.clone(),
            ..Default::default()
        };
        let (short, _) = walk(1, &request(extensions).encode_to_vec(), piece).unwrap().unwrap();
        prop_assert_eq!(DeltaDiscoveryRequest::decode(&short[..]).unwrap(), request(0));
    }
}
