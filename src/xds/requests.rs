//! The requests of one stream.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;

use bytes::{Buf, Bytes};
use http_body::Body;
use tonic::Status;

use super::lean::{BoxError, Lean, PREFIX};
use super::stream::Request;

#[cfg(test)]
mod tests;

/// A request body, message by message. Between two messages it buffers nothing: tonic's own reader keeps a buffer as large as the
/// largest request it has seen.
pub(super) struct Requests<R, B> {
    body: Lean<B>,
    /// What has come and is not decoded yet: whole messages, each behind its prefix.
    rest: Bytes,
    /// The largest message, in bytes.
    limit: usize,
    request: PhantomData<fn() -> R>,
}

impl<R, B> Requests<R, B>
where
    R: Request,
    B: Body,
    B::Error: Into<BoxError>,
{
    /// The requests in `body`. A message may have `limit` bytes.
    pub(super) fn new(body: B, limit: usize) -> Self {
        Self { body: Lean::new(body, R::NODE_FIELD, limit), rest: Bytes::new(), limit, request: PhantomData }
    }

    /// The next request; `None` when the client has ended its side. Cancelling it loses nothing.
    ///
    /// # Errors
    /// The connection broke, or what came is no request; the status says which.
    pub(super) async fn next(&mut self) -> Result<Option<R>, Status> {
        loop {
            if let Some(message) = self.message()? {
                let request = R::decode(message);
                return request.map(Some).map_err(|error| Status::invalid_argument(format!("not a request: {error}")));
            }
            match poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(Status::from_error(error)),
                None => return Ok(None),
            }
        }
    }

    /// The next message of what has come.
    fn message(&mut self) -> Result<Option<Bytes>, Status> {
        if self.rest.len() < PREFIX {
            return Ok(None);
        }
        let (compressed, length) = (self.rest.get_u8(), self.rest.get_u32() as usize);
        if compressed != 0 {
            return Err(Status::unimplemented("requests are not taken compressed"));
        }
        if length > self.limit {
            return Err(Status::out_of_range(format!(
                "a request of {length} bytes, and the server's limit is {}: see xds.limits.requestBytes",
                self.limit
            )));
        }
        Ok(Some(self.rest.split_to(length.min(self.rest.len()))))
    }
}
