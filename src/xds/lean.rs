//! A request body without what nobody reads: gRPC messages go through one [`Walk`] each and come out short.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use tonic::Status;

use super::walk::{Malformed, Walk};

#[cfg(test)]
mod tests;

/// A gRPC message's prefix: whether it is compressed, and its length.
pub(super) const PREFIX: usize = 5;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request stream.
pub(super) struct Lean<B> {
    body: Pin<Box<B>>,
    node_field: u32,
    /// The largest message that is walked through, in bytes.
    limit: usize,
    prefix: [u8; PREFIX],
    prefix_length: usize,
    walk: Option<Walk>,
    /// A message that is not walked through: whoever reads this refuses it by its prefix.
    refused: bool,
}

impl<B> Lean<B> {
    /// `body`, whose messages have their node in field `node_field`. One larger than `limit` bytes, or compressed, goes on as
    /// it is.
    pub(super) fn new(body: B, node_field: u32, limit: usize) -> Self {
        Self {
            body: Box::pin(body),
            node_field,
            limit,
            prefix: [0; PREFIX],
            prefix_length: 0,
            walk: None,
            refused: false,
        }
    }

    /// What comes out when `data` goes in.
    fn push(&mut self, mut data: impl Buf) -> Result<Bytes, Malformed> {
        let mut out = BytesMut::new();
        loop {
            if self.refused {
                return Ok(out.freeze());
            }
            let Some(walk) = &mut self.walk else {
                while self.prefix_length < PREFIX && data.has_remaining() {
                    self.prefix[self.prefix_length] = data.get_u8();
                    self.prefix_length += 1;
                }
                if self.prefix_length < PREFIX {
                    return Ok(out.freeze());
                }
                self.prefix_length = 0;
                let [compressed, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length) as usize;
                if compressed == 0 && length <= self.limit {
                    self.walk = Some(Walk::new(self.node_field, length));
                } else {
                    out.put_slice(&self.prefix);
                    self.refused = true;
                }
                continue;
            };
            if !walk.push(&mut data)? {
                return Ok(out.freeze());
            }
            let message = self.walk.take().map(Walk::finish).unwrap_or_default();
            out.reserve(PREFIX + message.len());
            out.put_u8(0);
            // What comes out is no longer than what went in, but for a few bytes of a length.
            out.put_u32(u32::try_from(message.len()).map_err(|_| Malformed)?);
            out.put_slice(&message);
        }
    }
}

impl<B> Body for Lean<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let Some(frame) = ready!(self.body.as_mut().poll_frame(context)) else {
                let cut_short = self.walk.is_some() || self.prefix_length > 0;
                let error = || Status::internal("the stream ended within a message");
                return Poll::Ready(cut_short.then(|| Err(error().into())));
            };
            let data = match frame.map_err(Into::into)?.into_data() {
                Ok(data) => data,
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                    Err(_) => continue,
                },
            };
            match self.push(data) {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Poll::Ready(Some(Ok(Frame::data(out)))),
                Err(Malformed) => {
                    let status = Status::invalid_argument("not a request: its protobuf fields cannot be told apart");
                    return Poll::Ready(Some(Err(status.into())));
                }
            }
        }
    }
}
