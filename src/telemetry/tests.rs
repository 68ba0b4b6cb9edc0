use super::*;

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

#[test]
fn what_is_counted_is_rendered() {
    let metrics = Metrics::new();
    metrics.pushes.inc(SECRET);
    metrics.pushes.inc(SECRET);
    metrics.policy_rejected.set(1);
    metrics.root_expiry.set(2_000_000_000);
    let text = metrics.render();
    assert!(text.contains("countersign_xds_pushes_total{type=\"sds\"} 2\n"), "{text}");
    assert!(text.contains("countersign_policy_rejected 1\n"), "{text}");
    assert!(text.contains("countersign_root_expiry_timestamp_seconds 2000000000\n"), "{text}");
    assert!(text.contains("countersign_secrets_denied_total 0\n"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn a_client_cannot_add_time_series() {
    let metrics = Metrics::new();
    for n in 0..100 {
        metrics.rejects.inc(&format!("type.googleapis.com/made.up.{n}\"}} 1\n"));
    }
    let text = metrics.render();
    assert_eq!(text.matches("countersign_xds_rejects_total{").count(), 1, "{text}");
    assert!(text.contains("countersign_xds_rejects_total{type=\"other\"} 100\n"), "{text}");
}
