//! Responses, assembled from resources that are encoded already.
//!
//! Field numbers are those of `envoy.service.discovery.v3.DiscoveryResponse` and `DeltaDiscoveryResponse`. Protobuf fields may
//! stand in any order and be concatenated, so everything but the nonce is one buffer and the nonce is put behind it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::{Resource, ResourceType, Version};

/// What `control_plane.identifier` says: the server and its version.
const CONTROL_PLANE: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));

const NONCE: u32 = 5;

/// A response ready to be sent: every byte of it but the nonce may be shared.
#[derive(Clone, Debug)]
pub struct Response {
    /// The type it is of.
    pub ty: ResourceType,
    /// The resources in it, by name and version; `None` for a removal.
    pub contents: Vec<(Arc<str>, Option<Version>)>,
    /// The nonce: unique in the stream and type.
    pub nonce: u64,
    body: Bytes,
}

impl Response {
    /// A state-of-the-world response (`DiscoveryResponse`).
    pub(super) fn sotw(ty: ResourceType, version: Version, resources: &[Arc<Resource>], nonce: u64) -> Self {
        let size: usize = resources.iter().map(|resource| resource.any().len() + 8).sum();
        let mut body = BytesMut::with_capacity(size + 192);
        put_string(1, &version.to_string(), &mut body);
        for resource in resources {
            put_bytes(2, resource.any(), &mut body);
        }
        put_string(4, ty.url(), &mut body);
        put_control_plane(6, &mut body);
        let contents =
            resources.iter().map(|resource| (Arc::clone(resource.name()), Some(resource.version()))).collect();
        Self { ty, contents, nonce, body: body.freeze() }
    }

    /// A delta response (`DeltaDiscoveryResponse`).
    pub(super) fn delta(
        ty: ResourceType,
        version: Option<Version>,
        resources: &[Arc<Resource>],
        removed: &[Arc<str>],
        nonce: u64,
    ) -> Self {
        let size: usize = resources.iter().map(|resource| resource.any().len() + resource.name().len() + 56).sum();
        let mut body = BytesMut::with_capacity(size + 192);
        if let Some(version) = version {
            put_string(1, &version.to_string(), &mut body);
        }
        for resource in resources {
            let version = resource.version().to_string();
            let length = field_len(version.len()) + field_len(resource.any().len()) + field_len(resource.name().len());
            encode_key(2, WireType::LengthDelimited, &mut body);
            encode_varint(length as u64, &mut body);
            put_string(1, &version, &mut body);
            put_bytes(2, resource.any(), &mut body);
            put_string(3, resource.name(), &mut body);
        }
        put_string(4, ty.url(), &mut body);
        for name in removed {
            put_string(6, name, &mut body);
        }
        put_control_plane(7, &mut body);
        let contents = resources
            .iter()
            .map(|resource| (Arc::clone(resource.name()), Some(resource.version())))
            .chain(removed.iter().map(|name| (Arc::clone(name), None)))
            .collect();
        Self { ty, contents, nonce, body: body.freeze() }
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub fn encoded_len(&self) -> usize {
        self.body.len() + field_len(self.nonce.to_string().len())
    }

    /// Appends the whole message to `buffer`.
    pub fn encode(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.body);
        put_string(NONCE, &self.nonce.to_string(), buffer);
    }
}

/// The length of a length-delimited field whose number is below 16.
fn field_len(length: usize) -> usize {
    key_len(1) + encoded_len_varint(length as u64) + length
}

fn put_bytes(field: u32, value: &[u8], buffer: &mut impl BufMut) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(value.len() as u64, buffer);
    buffer.put_slice(value);
}

fn put_string(field: u32, value: &str, buffer: &mut impl BufMut) {
    put_bytes(field, value.as_bytes(), buffer);
}

fn put_control_plane(field: u32, buffer: &mut impl BufMut) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(field_len(CONTROL_PLANE.len()) as u64, buffer);
    put_string(1, CONTROL_PLANE, buffer);
}
