//! Linkerd `Server` (`policy.linkerd.io` `v1beta1`, `v1beta2`, `v1beta3`): a port of workloads, and what it speaks.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, Visitor};

use super::super::fields::port_number;
use super::super::report::Report;
use super::super::{Located, Origin, Protocol};
use super::DefaultPolicy;
use super::selector::{self, RawSelector, Selector};

/// The spec of a `Server`. Once one selects a port, only what is authorized passes there.
#[derive(Clone, Debug)]
pub struct Server {
    /// `podSelector`; `None`: it is for ExternalWorkloads, of which there are none here.
    pub selector: Option<Selector>,
    /// `port`.
    pub port: Located<PortRef>,
    /// `proxyProtocol`; `None`: `unknown`.
    pub protocol: Option<Located<ProxyProtocol>>,
    /// `accessPolicy`: who may connect besides those who are authorized.
    pub access_policy: Option<Located<DefaultPolicy>>,
}

/// `port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    /// A workload's port.
    Number(u16),
    /// A port that the workload has by this name.
    Name(String),
}

/// `proxyProtocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ProxyProtocol {
    /// What the connection turns out to carry.
    #[serde(rename = "unknown")]
    Unknown,
    /// HTTP/1.1.
    #[serde(rename = "HTTP/1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "HTTP/2")]
    Http2,
    /// gRPC.
    #[serde(rename = "gRPC")]
    Grpc,
    /// Bytes.
    #[serde(rename = "opaque")]
    Opaque,
    /// TLS of the application's own.
    #[serde(rename = "TLS")]
    Tls,
}

impl ProxyProtocol {
    /// What the port speaks, where this says it.
    pub fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Unknown => None,
            Self::Http1 => Some(Protocol::Http),
            Self::Http2 => Some(Protocol::Http2),
            Self::Grpc => Some(Protocol::Grpc),
            Self::Opaque => Some(Protocol::Tcp),
            Self::Tls => Some(Protocol::Tls),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Raw {
    pod_selector: Option<Located<RawSelector>>,
    external_workload_selector: Option<Located<IgnoredAny>>,
    port: Located<RawPort>,
    proxy_protocol: Option<Located<ProxyProtocol>>,
    access_policy: Option<Located<DefaultPolicy>>,
}

enum RawPort {
    Number(u32),
    Name(String),
}

impl<'de> Deserialize<'de> for RawPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;

        impl Visitor<'_> for PortVisitor {
            type Value = RawPort;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or a port's name")
            }

            fn visit_u64<E>(self, number: u64) -> Result<RawPort, E> {
                Ok(RawPort::Number(u32::try_from(number).unwrap_or(u32::MAX)))
            }

            fn visit_str<E>(self, name: &str) -> Result<RawPort, E> {
                Ok(RawPort::Name(name.to_owned()))
            }
        }

        deserializer.deserialize_any(PortVisitor)
    }
}

/// Checks a server. `version`: the last part of its `apiVersion`.
pub(in super::super) fn check(raw: Raw, version: &str, at: &Origin, report: &Report) -> Server {
    if let Some(external) = &raw.external_workload_selector {
        match &raw.pod_selector {
            Some(_) => {
                let message = "beside podSelector: a Server is for one kind of workloads";
                report.error(&external.at, "spec.externalWorkloadSelector", message);
            }
            None => report.warn(
                &external.at,
                "spec.externalWorkloadSelector selects nothing here: ExternalWorkloads are not read, and podSelector selects \
                 WorkloadEntries as well as Pods",
            ),
        }
    } else if raw.pod_selector.is_none() {
        let help = "an empty one, `podSelector: {}`, selects every workload of the namespace";
        report.error_with_help(at, "spec.podSelector", "it is missing", help);
    }
    if let Some(policy) = raw.access_policy.as_ref().filter(|_| version != "v1beta3") {
        let help = "write apiVersion: policy.linkerd.io/v1beta3";
        report.error_with_help(&policy.at, "spec.accessPolicy", format!("{version} has no such field"), help);
    }
    let port = match raw.port.value {
        RawPort::Number(number) => {
            PortRef::Number(port_number(&Located::new(number, raw.port.at.clone()), "spec.port", report))
        }
        RawPort::Name(name) => {
            // A number in quotes is a name that no port can have.
            if name.is_empty() || name.bytes().all(|byte| byte.is_ascii_digit()) {
                let help = "a port number without quotes, or a port's name";
                report.error_with_help(&raw.port.at, "spec.port", "not the name of a port", help);
            }
            PortRef::Name(name)
        }
    };
    Server {
        selector: raw.pod_selector.map(|it| selector::check(it.value, "spec.podSelector", report)),
        port: Located::new(port, raw.port.at),
        protocol: raw.proxy_protocol,
        access_policy: raw.access_policy,
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}
