//! A gRPC client on bare HTTP/2, which can do what no library lets one do.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::Code;

use super::LIMIT;

pub use envoy_types::pb::envoy::config::core::v3::Node;
pub use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

pub const DELTA_ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
pub const SOTW_ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

pub fn node(id: &str) -> Option<Node> {
    Some(Node { id: id.into(), ..Node::default() })
}

/// A first delta request; the identity says whose it is.
pub fn delta(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.into(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// A first state-of-the-world request.
pub fn sotw(type_url: &str, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url.into(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        ..DiscoveryRequest::default()
    }
}

/// A message in gRPC's framing.
pub fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

/// One HTTP/2 connection.
pub struct Grpc {
    pub(super) send: SendRequest<Bytes>,
    pub(super) driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Drop for Grpc {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Grpc {
    /// With this flow-control window for each stream.
    pub async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, window: u32) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_max_send_streams(1000);
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Self { send, driver: tokio::spawn(connection) }
    }

    pub async fn unix(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.unwrap(), 1 << 20).await
    }

    pub async fn plaintext(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), 1 << 20).await
    }

    pub async fn open(&mut self, path: &str, token: Option<&str>) -> Call {
        let mut headers = Vec::new();
        let token = token.map(|token| format!("Bearer {token}"));
        if let Some(token) = &token {
            headers.push(("authorization", token.as_str()));
        }
        self.open_with(path, &headers).await.expect("the connection is there")
    }

    pub async fn open_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Call, h2::Error> {
        let mut request = ::http::Request::post(format!("http://xds.test{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send.clone().ready().await?;
        let (response, send) = self.send.send_request(request.body(()).unwrap(), false)?;
        Ok(Call { send, response: Some(response), received: None, buffer: BytesMut::new() })
    }

    /// One request, and the messages and the status that came back.
    pub async fn unary<M: Message + Default>(
        &mut self,
        path: &str,
        token: Option<&str>,
        request: &impl Message,
    ) -> Result<M, Ended> {
        let mut call = self.open(path, token).await;
        call.send.send_data(framed(request), true).unwrap();
        call.next().await
    }

    /// The end of the connection; what the server has said.
    pub async fn closed(&mut self) -> Result<(), h2::Error> {
        tokio::time::timeout(LIMIT, &mut self.driver).await.expect("the connection ends").unwrap()
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: Code,
    pub message: String,
}

/// One stream.
pub struct Call {
    pub send: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    received: Option<RecvStream>,
    buffer: BytesMut,
}

impl Call {
    pub fn send(&mut self, message: &impl Message) {
        // A server that has ended the stream is found out by `next`.
        let _ = self.send.send_data(framed(message), false);
    }

    /// Sends as much as the server's flow-control windows take, and waits for them to take the rest.
    pub async fn send_within_windows(&mut self, mut bytes: Bytes) -> Result<(), h2::Error> {
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let capacity = std::future::poll_fn(|context| self.send.poll_capacity(context)).await;
            let capacity = capacity.unwrap_or_else(|| Err(h2::Reason::CANCEL.into()))?;
            self.send.send_data(bytes.split_to(capacity.min(bytes.len())), false)?;
        }
        Ok(())
    }

    /// The next message, or how the stream ended.
    pub async fn next<M: Message + Default>(&mut self) -> Result<M, Ended> {
        tokio::time::timeout(LIMIT, self.read()).await.expect("the server answers")
    }

    /// The next message if one comes within this time.
    pub async fn within<M: Message + Default>(&mut self, time: Duration) -> Option<Result<M, Ended>> {
        tokio::time::timeout(time, self.read()).await.ok()
    }

    async fn read<M: Message + Default>(&mut self) -> Result<M, Ended> {
        let broken = |error: h2::Error| Ended { code: Code::Unknown, message: error.to_string() };
        if let Some(response) = self.response.as_mut() {
            let response = response.await.map_err(broken)?;
            self.response = None;
            if let Some(ended) = status(response.headers()) {
                return Err(ended);
            }
            if !response.status().is_success() {
                return Err(Ended { code: Code::Unknown, message: response.status().to_string() });
            }
            self.received = Some(response.into_body());
        }
        let received = self.received.as_mut().expect("it began");
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    return Ok(M::decode(self.buffer.split_to(length)).unwrap());
                }
            }
            match received.data().await {
                Some(data) => {
                    let data = data.map_err(broken)?;
                    received.flow_control().release_capacity(data.len()).unwrap();
                    self.buffer.extend_from_slice(&data);
                }
                None => {
                    let trailers = received.trailers().await.map_err(broken)?;
                    return Err(trailers.as_ref().and_then(status).expect("a stream ends with a status"));
                }
            }
        }
    }
}

fn status(headers: &::http::HeaderMap) -> Option<Ended> {
    let code = headers.get("grpc-status")?.to_str().unwrap().parse().unwrap();
    let message = headers.get("grpc-message").map(|text| text.to_str().unwrap().to_owned()).unwrap_or_default();
    Some(Ended { code: Code::from_i32(code), message })
}
