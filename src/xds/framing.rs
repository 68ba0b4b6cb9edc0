//! gRPC framing of the responses, without a buffer.
//!
//! tonic's own way out encodes into a buffer that each stream keeps, as large as the largest response it was ever sent. A
//! response is encoded already, so here it is copied once, into exactly its length, and given away.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use tonic::body::Body;
use tonic::{Code, Status};

use super::stream::ResponseStream;
use super::wire::Response;

/// The answer to a call of a streaming method.
pub(super) fn answer(responses: Result<ResponseStream, Status>) -> http::Response<Body> {
    match responses {
        Ok(responses) => {
            let mut response = http::Response::new(Body::new(Responses(Some(responses))));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(header::CONTENT_TYPE, grpc);
            response
        }
        Err(status) => status.into_http(),
    }
}

/// The body of a response stream; `None` when its trailers are written.
struct Responses(Option<ResponseStream>);

impl http_body::Body for Responses {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(responses) = &mut self.0 else { return Poll::Ready(None) };
        let status = match ready!(responses.as_mut().poll_next(context)) {
            Some(Ok(response)) => return Poll::Ready(Some(Ok(Frame::data(message(&response)?)))),
            Some(Err(status)) => status,
            None => Status::new(Code::Ok, ""),
        };
        // The stream's state goes now, whatever the client does with the trailers.
        self.0 = None;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// The response behind its prefix: not compressed, and the length.
fn message(response: &Response) -> Result<Bytes, Status> {
    let length = response.encoded_len();
    let too_long = |_| Status::internal(format!("a response of {length} bytes is longer than gRPC can carry"));
    let mut message = BytesMut::with_capacity(length + 5);
    message.put_u8(0);
    message.put_u32(u32::try_from(length).map_err(too_long)?);
    response.encode(&mut message);
    Ok(message.freeze())
}
