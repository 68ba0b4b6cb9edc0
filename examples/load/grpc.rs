//! One gRPC stream on an HTTP/2 connection.

use std::error::Error;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Request, Version};

/// Any error of a client.
pub type Failure = Box<dyn Error + Send + Sync>;

/// An open stream.
pub struct Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    buffer: BytesMut,
}

impl Stream {
    /// Opens a stream to `path` and sends `first`. The server's headers come only after it.
    pub async fn open(connection: SendRequest<Bytes>, path: &str, first: &[u8]) -> Result<Self, Failure> {
        Self::begin(connection, path, first, false).await
    }

    /// `only`: nothing is sent after `first`.
    async fn begin(connection: SendRequest<Bytes>, path: &str, first: &[u8], only: bool) -> Result<Self, Failure> {
        let request = Request::post(format!("http://countersign{path}"))
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (response, mut send) = connection.ready().await?.send_request(request, false)?;
        send.send_data(frame(first), only)?;
        let receive = response.await?.into_body();
        Ok(Self { send, receive, buffer: BytesMut::new() })
    }

    /// Sends a message.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        Ok(self.send.send_data(frame(message), false)?)
    }

    /// The next message.
    pub async fn next(&mut self) -> Result<Bytes, Failure> {
        loop {
            if self.buffer.len() >= 5 {
                let length = (&self.buffer[1..5]).get_u32() as usize;
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    let message = self.buffer.split_to(length).freeze();
                    if self.buffer.is_empty() {
                        self.buffer = BytesMut::new();
                    }
                    return Ok(message);
                }
            }
            let Some(data) = self.receive.data().await else {
                let trailers = self.receive.trailers().await?;
                return Err(format!("the server ended the stream: {trailers:?}").into());
            };
            let data = data?;
            self.receive.flow_control().release_capacity(data.len())?;
            self.buffer.extend_from_slice(&data);
        }
    }
}

/// One request, one answer.
pub async fn call(connection: SendRequest<Bytes>, path: &str, request: &[u8]) -> Result<Bytes, Failure> {
    Stream::begin(connection, path, request, true).await?.next().await
}

fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(message);
    frame.freeze()
}
