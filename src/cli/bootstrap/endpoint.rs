//! `HOST:PORT` of the xDS server, and what Envoy must know about it.

use std::net::{IpAddr, SocketAddr};

use super::BootstrapError;

/// Where to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// An IP address is a STATIC cluster, a name one that is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Ip(IpAddr),
    Name(String),
}

/// Reads `10.0.0.1:15012`, `[::1]:15012`, `xds.example:15012`.
pub(super) fn parse(address: &str) -> Result<Endpoint, BootstrapError> {
    let bad = |reason| BootstrapError::Address { address: address.to_owned(), reason };
    if let Ok(socket) = address.parse::<SocketAddr>() {
        if socket.ip().is_unspecified() {
            return Err(bad("it means every address of the machine"));
        }
        if socket.port() == 0 {
            return Err(bad("port 0 cannot be dialled"));
        }
        return Ok(Endpoint { host: Host::Ip(socket.ip()), port: socket.port() });
    }
    let (name, port) = address.rsplit_once(':').ok_or_else(|| bad("the port is missing"))?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| bad("the port is not a number"))?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || name.len() > 253 || !name.chars().all(legal) {
        return Err(bad("the host is neither an IP address nor a DNS name"));
    }
    Ok(Endpoint { host: Host::Name(name.to_owned()), port })
}
