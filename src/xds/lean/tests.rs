use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{Extension, Node};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use http_body_util::{BodyExt, StreamBody};
use prost::Message as _;

use super::*;

fn request(nonce: &str, extensions: usize) -> DeltaDiscoveryRequest {
    let extensions = vec![Extension { name: "n".repeat(300), ..Default::default() }; extensions];
    let node = Node { id: "a/b".into(), extensions, ..Default::default() };
    DeltaDiscoveryRequest { node: Some(node), response_nonce: nonce.into(), ..Default::default() }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.extend_from_slice(message);
    bytes
}

/// What comes out of a body of `bytes` in pieces.
async fn lean(bytes: &[u8], piece: usize, limit: usize) -> Result<Vec<u8>, BoxError> {
    let pieces: Vec<_> = bytes
        .chunks(piece)
        .map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    Ok(Lean::new(body, 1, limit).collect().await?.to_bytes().to_vec())
}

fn code(error: &BoxError) -> tonic::Code {
    error.downcast_ref::<Status>().unwrap().code()
}

#[tokio::test]
async fn every_message_of_a_body_comes_out_short() {
    let requests = [request("1", 200), DeltaDiscoveryRequest::default(), request("2", 0), request("3", 3)];
    let bytes: Vec<u8> = requests.iter().flat_map(|request| framed(&request.encode_to_vec())).collect();
    for piece in [1, 4, 5, 6, 1000, bytes.len()] {
        let out = lean(&bytes, piece, 1 << 20).await.unwrap();
        let mut rest = &out[..];
        for request in &requests {
            assert_eq!(rest.get_u8(), 0);
            let length = rest.get_u32() as usize;
            let mut expected = request.clone();
            expected.node.iter_mut().for_each(|node| node.extensions.clear());
            assert_eq!(DeltaDiscoveryRequest::decode(&rest[..length]).unwrap(), expected);
            rest.advance(length);
        }
        assert!(rest.is_empty());
    }
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_not_read() {
    // Whoever decodes sees the length and refuses it; nothing behind the prefix is gathered.
    let out = lean(&framed(&[0; 2000]), 100, 1999).await.unwrap();
    assert_eq!(out, [0, 0, 0, 0x07, 0xd0]);
    let mut compressed = framed(b"x");
    compressed[0] = 1;
    assert_eq!(lean(&compressed, 100, 1999).await.unwrap(), [1, 0, 0, 0, 1]);
}

#[tokio::test]
async fn garbage_and_half_a_message_end_the_stream() {
    assert_eq!(code(&lean(&framed(&[0xff; 40]), 7, 1000).await.unwrap_err()), tonic::Code::InvalidArgument);
    assert_eq!(code(&lean(&framed(b"\x12\x03abc")[..8], 7, 1000).await.unwrap_err()), tonic::Code::Internal);
    assert_eq!(code(&lean(&[0, 0], 7, 1000).await.unwrap_err()), tonic::Code::Internal);
}
