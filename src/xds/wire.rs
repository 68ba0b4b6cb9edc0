//! Responses, assembled from resources that are encoded already.
//!
//! Field numbers are those of `envoy.service.discovery.v3.DiscoveryResponse`, `DeltaDiscoveryResponse` and `Resource`. Protobuf
//! fields may stand in any order and be concatenated, so everything but the nonce is one buffer and the nonce is put behind it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::refusals::Parcel;
use super::{Resource, ResourceType, Version};

/// What `control_plane.identifier` says: the server and its version.
const CONTROL_PLANE: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));

/// The wrapper that carries a time to live in the state-of-the-world variant.
const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

const NONCE: u32 = 5;

/// One thing that a response says: a resource, or a name that is removed.
pub type Content = (Arc<str>, Option<Arc<Resource>>);

/// How resources are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// In other bytes that mean the same, where there are any; other bytes for each number.
    Restated(u32),
    /// Without the resource: it lives on.
    Heartbeat,
}

/// A response ready to be sent: every byte of it but the nonce may be shared. `Debug` shows no bytes: they may be keys.
#[derive(Clone)]
pub struct Response {
    /// The type it is of.
    pub ty: ResourceType,
    /// The resources in it, by name; `None` for a removal.
    pub contents: Arc<[Content]>,
    /// The nonce: unique in the stream and type.
    pub nonce: u64,
    body: Bytes,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ty, contents, nonce, body } = self;
        write!(f, "{ty} {nonce}: {} resources ({} bytes)", contents.len(), body.len())
    }
}

impl Response {
    /// A state-of-the-world response (`DiscoveryResponse`).
    pub(super) fn sotw(
        ty: ResourceType,
        version: Version,
        resources: Vec<Arc<Resource>>,
        form: Form,
        nonce: u64,
    ) -> Self {
        let size: usize = resources.iter().map(|resource| resource.any().len() + 8).sum();
        let mut body = BytesMut::with_capacity(size + 192);
        let text = version.to_string();
        put_string(1, &text, &mut body);
        for resource in &resources {
            if resource.ttl().is_none() {
                put_bytes(2, &payload(resource, form), &mut body);
                continue;
            }
            // A heartbeat is known by the version of the response that the client has.
            let mut wrapped = BytesMut::new();
            put_resource(resource, if form == Form::Heartbeat { &text } else { "" }, form, &mut wrapped);
            let mut any = BytesMut::with_capacity(wrapped.len() + WRAPPER.len() + 12);
            put_string(1, WRAPPER, &mut any);
            put_bytes(2, &wrapped, &mut any);
            put_bytes(2, &any, &mut body);
        }
        put_string(4, ty.url(), &mut body);
        put_control_plane(6, &mut body);
        let contents = contents(resources, Vec::new());
        Self { ty, contents, nonce, body: body.freeze() }
    }

    /// A delta response (`DeltaDiscoveryResponse`).
    pub(super) fn delta(ty: ResourceType, version: Option<Version>, parcel: Parcel, nonce: u64) -> Self {
        let Parcel { resources, removed, form } = parcel;
        let size: usize = resources.iter().map(|resource| resource.any().len() + resource.name().len() + 64).sum();
        let mut body = BytesMut::with_capacity(size + 192);
        if let Some(version) = version {
            put_string(1, &version.to_string(), &mut body);
        }
        for resource in &resources {
            let mut fields = BytesMut::with_capacity(resource.any().len() + resource.name().len() + 64);
            put_resource(resource, &resource.version().to_string(), form, &mut fields);
            put_bytes(2, &fields, &mut body);
        }
        put_string(4, ty.url(), &mut body);
        for name in &removed {
            put_string(6, name, &mut body);
        }
        put_control_plane(7, &mut body);
        Self { ty, contents: contents(resources, removed), nonce, body: body.freeze() }
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

fn contents(resources: Vec<Arc<Resource>>, removed: Vec<Arc<str>>) -> Arc<[Content]> {
    let resources = resources.into_iter().map(|resource| (Arc::clone(resource.name()), Some(resource)));
    resources.chain(removed.into_iter().map(|name| (name, None))).collect()
}

fn payload(resource: &Resource, form: Form) -> Bytes {
    match form {
        Form::Restated(times) => resource.restated(times),
        Form::Plain | Form::Heartbeat => resource.any().clone(),
    }
}

/// The fields of `envoy.service.discovery.v3.Resource`.
fn put_resource(resource: &Resource, version: &str, form: Form, buffer: &mut BytesMut) {
    if !version.is_empty() {
        put_string(1, version, buffer);
    }
    if form != Form::Heartbeat {
        put_bytes(2, &payload(resource, form), buffer);
    }
    put_string(3, resource.name(), buffer);
    if let Some(ttl) = resource.ttl() {
        put_duration(6, ttl, buffer);
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

/// A `google.protobuf.Duration`.
fn put_duration(field: u32, value: Duration, buffer: &mut impl BufMut) {
    let mut fields = Vec::with_capacity(16);
    encode_key(1, WireType::Varint, &mut fields);
    encode_varint(value.as_secs(), &mut fields);
    encode_key(2, WireType::Varint, &mut fields);
    encode_varint(value.subsec_nanos().into(), &mut fields);
    put_bytes(field, &fields, buffer);
}

fn put_control_plane(field: u32, buffer: &mut impl BufMut) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(field_len(CONTROL_PLANE.len()) as u64, buffer);
    put_string(1, CONTROL_PLANE, buffer);
}
