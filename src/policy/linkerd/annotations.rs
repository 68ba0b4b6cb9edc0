//! `config.linkerd.io/…` and `linkerd.io/inject`, on whatever object they stand.

use super::super::fields::Entries;
use super::super::nearest;
use super::super::report::Report;
use super::super::{Located, Origin};
use super::{DefaultPolicy, Ports};

const PREFIX: &str = "config.linkerd.io/";
const INJECT: &str = "linkerd.io/inject";
const DEFAULT_INBOUND_POLICY: &str = "config.linkerd.io/default-inbound-policy";
const SKIP_INBOUND_PORTS: &str = "config.linkerd.io/skip-inbound-ports";
/// The annotation that the clients of a Service, or a client itself, go by.
pub const SKIP_OUTBOUND_PORTS: &str = "config.linkerd.io/skip-outbound-ports";
const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
const REQUIRE_IDENTITY: &str = "config.linkerd.io/proxy-require-identity-inbound-ports";

/// What Linkerd reads besides: how its own proxy runs (linkerd/linkerd2, pkg/k8s/labels.go).
const OF_ITS_PROXY: &[&str] = &[
    "access-log",
    "admin-port",
    "close-wait-timeout",
    "control-port",
    "debug-image",
    "enable-debug-sidecar",
    "enable-external-profiles",
    "enable-gateway",
    "image-pull-policy",
    "inbound-port",
    "outbound-port",
    "pod-inbound-ports",
    "shutdown-grace-period",
    "skip-subnets",
];

/// Linkerd's annotations on one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `linkerd.io/inject`.
    pub inject: Option<Located<Injection>>,
    /// `config.linkerd.io/default-inbound-policy`.
    pub default_inbound_policy: Option<Located<DefaultPolicy>>,
    /// `config.linkerd.io/skip-inbound-ports`: the workload's ports whose connections no proxy sees.
    pub skip_inbound_ports: Option<Located<Ports>>,
    /// `config.linkerd.io/skip-outbound-ports`: the ports to which connections no proxy sees.
    pub skip_outbound_ports: Option<Located<Ports>>,
    /// `config.linkerd.io/opaque-ports`: the ports that carry bytes.
    pub opaque_ports: Option<Located<Ports>>,
}

/// `linkerd.io/inject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// A proxy is wanted.
    Enabled,
    /// The same; Linkerd's proxy then goes by the requests' hosts.
    Ingress,
    /// None is.
    Disabled,
}

impl Annotations {
    /// What an object says, and what its group or namespace says where it is silent.
    #[must_use]
    pub fn or(&self, wider: &Self) -> Self {
        Self {
            inject: self.inject.as_ref().or(wider.inject.as_ref()).cloned(),
            default_inbound_policy: self
                .default_inbound_policy
                .as_ref()
                .or(wider.default_inbound_policy.as_ref())
                .cloned(),
            skip_inbound_ports: self.skip_inbound_ports.as_ref().or(wider.skip_inbound_ports.as_ref()).cloned(),
            skip_outbound_ports: self.skip_outbound_ports.as_ref().or(wider.skip_outbound_ports.as_ref()).cloned(),
            opaque_ports: self.opaque_ports.as_ref().or(wider.opaque_ports.as_ref()).cloned(),
        }
    }
}

/// Reads Linkerd's annotations among all that an object has.
pub(in super::super) fn read(all: &Entries<String>, field: &str, report: &Report) -> Annotations {
    let mut read = Annotations::default();
    for (key, value) in &all.0 {
        let (at, reader) = (&key.at, Reader { key: &key.value, value, at: &key.at, field, report });
        match key.value.as_str() {
            INJECT => read.inject = reader.injection().map(|it| Located::new(it, at.clone())),
            DEFAULT_INBOUND_POLICY => {
                read.default_inbound_policy = reader.default_policy().map(|it| Located::new(it, at.clone()));
            }
            SKIP_INBOUND_PORTS => {
                read.skip_inbound_ports = reader.ports(false).map(|it| Located::new(it, at.clone()));
            }
            SKIP_OUTBOUND_PORTS => {
                read.skip_outbound_ports = reader.ports(false).map(|it| Located::new(it, at.clone()));
            }
            OPAQUE_PORTS => read.opaque_ports = reader.ports(true).map(|it| Located::new(it, at.clone())),
            REQUIRE_IDENTITY => report.warn(
                at,
                format!("{REQUIRE_IDENTITY} has no effect here: write a Server, or {DEFAULT_INBOUND_POLICY}"),
            ),
            other => reader.unknown(other),
        }
    }
    read
}

/// One annotation.
struct Reader<'a> {
    key: &'a str,
    value: &'a str,
    at: &'a Origin,
    field: &'a str,
    report: &'a Report,
}

impl Reader<'_> {
    fn error(&self, message: &str, help: &str) {
        let field = format!("{}[{:?}]", self.field, self.key);
        self.report.error_with_help(self.at, &field, message, help);
    }

    fn injection(&self) -> Option<Injection> {
        match self.value {
            "enabled" => Some(Injection::Enabled),
            "ingress" => Some(Injection::Ingress),
            "disabled" => Some(Injection::Disabled),
            other => {
                let known = ["enabled", "ingress", "disabled"];
                self.error("not a value of it", &nearest::hint(other, &known).unwrap_or_default());
                None
            }
        }
    }

    fn default_policy(&self) -> Option<DefaultPolicy> {
        let policy = DefaultPolicy::parse(self.value);
        if policy.is_none() {
            let help = nearest::hint(self.value, DefaultPolicy::WORDS).unwrap_or_default();
            self.error("not a policy", &help);
        }
        policy
    }

    fn ports(&self, with_names: bool) -> Option<Ports> {
        match Ports::parse(self.value, with_names) {
            Ok(ports) => Some(ports),
            Err(message) => {
                self.error(&message, "numbers and ranges with commas between, in quotes");
                None
            }
        }
    }

    /// An annotation that nobody knows has no effect, and one that is nearly ours protects nothing.
    fn unknown(&self, key: &str) {
        const OURS: &[&str] = &["default-inbound-policy", "skip-inbound-ports", "skip-outbound-ports", "opaque-ports"];
        let Some(name) = key.strip_prefix(PREFIX) else { return };
        let is_of_its_proxy = name.starts_with("proxy-") || OF_ITS_PROXY.contains(&name);
        if let Some(near) = nearest::nearest(name, OURS).filter(|_| !is_of_its_proxy) {
            self.error("Linkerd has no such annotation", &format!("did you mean \"{PREFIX}{near}\"?"));
        }
    }
}
