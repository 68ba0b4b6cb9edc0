use std::convert::Infallible;

use bytes::{BufMut, BytesMut};
use envoy_types::pb::envoy::config::core::v3::{Extension, Node};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message as _;
use tonic::Code;

use super::*;

const LIMIT: usize = 1000;

fn framed(compressed: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_u8(compressed);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.put_slice(message);
    bytes.to_vec()
}

fn request(nonce: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { response_nonce: nonce.into(), ..Default::default() }
}

/// What comes of `bytes` when they arrive in pieces of `size`.
async fn read(bytes: &[u8], size: usize) -> (Vec<DeltaDiscoveryRequest>, Option<Status>) {
    let frames: Vec<_> =
        bytes.chunks(size).map(|it| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(it)))).collect();
    let mut requests =
        Requests::<DeltaDiscoveryRequest, _>::new(StreamBody::new(futures_util::stream::iter(frames)), LIMIT);
    let mut all = Vec::new();
    loop {
        match requests.next().await {
            Ok(Some(request)) => all.push(request),
            Ok(None) => return (all, None),
            Err(status) => return (all, Some(status)),
        }
    }
}

#[tokio::test]
async fn requests_come_whole_however_they_are_cut() {
    let sent = [request("1"), request(""), request("3")];
    let bytes: Vec<u8> = sent.iter().flat_map(|it| framed(0, &it.encode_to_vec())).collect();
    for size in 1..=bytes.len() {
        let (came, error) = read(&bytes, size).await;
        assert!(came == sent && error.is_none(), "{size}: {came:?} {error:?}");
    }
}

#[tokio::test]
async fn what_is_no_request_ends_the_stream_after_those_before_it() {
    let good = framed(0, &request("1").encode_to_vec());
    let cases = [
        (framed(1, b"x"), Code::Unimplemented),
        (framed(0, &vec![0; LIMIT + 1]), Code::OutOfRange),
        (framed(0, &[0xff; 20]), Code::InvalidArgument),
        (good[..good.len() - 1].to_vec(), Code::Internal),
    ];
    for (bad, code) in cases {
        let bytes = [good.clone(), bad].concat();
        for size in [1, 7, bytes.len()] {
            let (came, error) = read(&bytes, size).await;
            let error = error.expect("an error");
            // What came in one piece with a bad message may go with it.
            assert!(came.len() <= 1 && error.code() == code, "{size}: {error:?}");
        }
    }
}

#[tokio::test]
async fn the_nodes_extensions_are_never_there() {
    let extension = Extension { name: "x".repeat(100), ..Default::default() };
    let node = Node { id: "n".into(), extensions: vec![extension], ..Default::default() };
    let bytes = framed(0, &DeltaDiscoveryRequest { node: Some(node), ..request("1") }.encode_to_vec());
    let (came, _) = read(&bytes, 10).await;
    let node = came[0].node.as_ref().unwrap();
    assert!(node.id == "n" && node.extensions.is_empty());
}
