//! The numbers at `/metrics`, in the OpenMetrics text format.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// A counter for each xDS resource type.
///
/// A client names the type in its request, so the label is one of six words (`cds`, `lds`, `eds`, `rds`, `sds`, `other`):
/// nobody outside can add time series.
#[derive(Clone, Debug, Default)]
pub struct ByType(Family<TypeLabel, Counter>);

/// The label of a [`ByType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TypeLabel {
    /// The short, lower-case name of the type.
    r#type: &'static str,
}

impl TypeLabel {
    /// The label for a type URL (`type.googleapis.com/envoy.config.cluster.v3.Cluster`).
    pub fn of(type_url: &str) -> Self {
        let r#type = match type_url.rsplit('/').next().unwrap_or_default() {
            "envoy.config.cluster.v3.Cluster" => "cds",
            "envoy.config.listener.v3.Listener" => "lds",
            "envoy.config.endpoint.v3.ClusterLoadAssignment" => "eds",
            "envoy.config.route.v3.RouteConfiguration" => "rds",
            "envoy.extensions.transport_sockets.tls.v3.Secret" => "sds",
            _ => "other",
        };
        Self { r#type }
    }
}

impl ByType {
    /// One more for the type with this URL.
    pub fn inc(&self, type_url: &str) {
        self.0.get_or_create(&TypeLabel::of(type_url)).inc();
    }

    /// How many so far.
    pub fn get(&self, type_url: &str) -> u64 {
        self.0.get_or_create(&TypeLabel::of(type_url)).get()
    }
}

/// A counter for each reason for which a connection or a request is refused. The reasons are the program's own words.
#[derive(Clone, Debug, Default)]
pub struct ByReason(Family<ReasonLabel, Counter>);

/// The label of a [`ByReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    reason: &'static str,
}

impl ByReason {
    /// One more for this reason.
    pub fn inc(&self, reason: &'static str) {
        self.0.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// How many so far.
    pub fn get(&self, reason: &'static str) -> u64 {
        self.0.get_or_create(&ReasonLabel { reason }).get()
    }
}

/// How much there is of each severity.
#[derive(Clone, Debug, Default)]
pub struct BySeverity(Family<SeverityLabel, Gauge>);

/// The label of a [`BySeverity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SeverityLabel {
    severity: &'static str,
}

impl BySeverity {
    /// So many of this severity (`error`, `warning`, `note`).
    pub fn set(&self, severity: &'static str, count: usize) {
        self.0.get_or_create(&SeverityLabel { severity }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// How much there is at each step.
#[derive(Clone, Debug, Default)]
pub struct ByStep(Family<StepLabel, Gauge>);

/// The label of a [`ByStep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabel {
    step: &'static str,
}

impl ByStep {
    /// So many at this step (`accepting`, `switching`, `closing`).
    pub fn set(&self, step: &'static str, count: usize) {
        self.0.get_or_create(&StepLabel { step }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// Everything that is counted. Timestamps are Unix seconds, 0 while there is nothing to say.
#[derive(Debug)]
pub struct Metrics {
    /// Requests that begin or change a subscription.
    pub subscriptions: ByType,
    /// Responses sent.
    pub pushes: ByType,
    /// Responses that a proxy refused (NACK).
    pub rejects: ByType,
    /// Streams open now.
    pub open_streams: Gauge,
    /// Connections and requests that were refused or cut off, by reason.
    pub refused: ByReason,
    /// Times that a stream was made to wait because its requests came faster than its limit.
    pub throttled: Counter,
    /// Secrets asked for by an identity that may not have them.
    pub denied_secrets: Counter,
    /// The number of the policy set that is served.
    pub policy_generation: Gauge,
    /// 1 while the newest policy on disk is refused and an older one is served, else 0.
    pub policy_rejected: Gauge,
    /// What the analysis of the served policy has found.
    pub policy_findings: BySeverity,
    /// Ports on their way to another mTLS mode.
    pub ports_in_transit: ByStep,
    /// Proxies that these wait for.
    pub rollout_waiting: Gauge,
    /// Workload certificates issued since the start.
    pub certificates_issued: Counter,
    /// When the root expires; while there are several, the first of them.
    pub root_expiry: Gauge,
    /// When the intermediate expires.
    pub intermediate_expiry: Gauge,
    /// When the first of the served workload certificates expires.
    pub earliest_leaf_expiry: Gauge,
    /// Served workload certificates in the last quarter of their life: something keeps them from being renewed.
    pub expiring_leaves: Gauge,
    /// Certificates that are revoked and could still be used or renewed.
    pub revoked_certificates: Gauge,
    /// When the first of the certificates ends that are served from operators' Secrets; in the past while one is served that is over.
    pub earliest_secret_expiry: Gauge,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("countersign");
        let by_type = |registry: &mut Registry, name, help| ByType(register(registry, name, help));
        Self {
            subscriptions: by_type(
                &mut registry,
                "xds_subscriptions",
                "Requests that begin or change a subscription, by resource type",
            ),
            pushes: by_type(&mut registry, "xds_pushes", "Responses sent, by resource type"),
            rejects: by_type(&mut registry, "xds_rejects", "Responses refused by a proxy, by resource type"),
            open_streams: register(&mut registry, "xds_open_streams", "xDS streams open now"),
            refused: ByReason(register(&mut registry, "xds_refused", "Connections and requests refused, by reason")),
            throttled: register(&mut registry, "xds_throttled", "Times a stream had to wait for its request rate"),
            denied_secrets: register(&mut registry, "secrets_denied", "Secrets asked for without the right to them"),
            policy_generation: register(&mut registry, "policy_generation", "Number of the policy set that is served"),
            policy_rejected: register(&mut registry, "policy_rejected", "1 while the newest policy is refused"),
            policy_findings: BySeverity(register(
                &mut registry,
                "policy_findings",
                "Findings of the analysis of the served policy, by severity",
            )),
            ports_in_transit: ByStep(register(
                &mut registry,
                "ports_in_transit",
                "Ports on their way to another mTLS mode, by step",
            )),
            rollout_waiting: register(&mut registry, "rollout_waiting", "Proxies that a mode change waits for"),
            certificates_issued: register(&mut registry, "certificates_issued", "Workload certificates issued"),
            root_expiry: register(
                &mut registry,
                "root_expiry_timestamp_seconds",
                "When the first of the roots expires, in Unix seconds",
            ),
            intermediate_expiry: register(
                &mut registry,
                "intermediate_expiry_timestamp_seconds",
                "When the intermediate expires, in Unix seconds",
            ),
            earliest_leaf_expiry: register(
                &mut registry,
                "earliest_leaf_expiry_timestamp_seconds",
                "When the first of the workload certificates expires, in Unix seconds",
            ),
            expiring_leaves: register(
                &mut registry,
                "leaves_expiring",
                "Workload certificates in the last quarter of their life",
            ),
            revoked_certificates: register(
                &mut registry,
                "certificates_revoked",
                "Certificates that are revoked and could still be used or renewed",
            ),
            earliest_secret_expiry: register(
                &mut registry,
                "earliest_secret_expiry_timestamp_seconds",
                "When the first of the certificates from Secrets expires, in Unix seconds",
            ),
            registry,
        }
    }

    /// The text for a scrape, as `application/openmetrics-text`.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail; were it to, a short scrape is better than a panic.
        if let Err(error) = text::encode(&mut out, &self.registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        out
    }
}

fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}
