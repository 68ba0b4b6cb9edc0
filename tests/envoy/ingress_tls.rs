//! A sidecar that ends TLS with a certificate of the operator's, on a port whose mTLS mode is DISABLE.

use std::fs;

use countersign::lab::http;

use crate::gateways::{secret, seen, tls};
use crate::harness::{LIMIT, Setting, eventually, on_envoys};
use crate::outside::Pki;

on_envoys!(a_sidecar_ends_tls_with_an_operators_certificate: delta_1_40, sotw_1_36);
on_envoys!(threat_05_an_operators_authority_vouches_for_nobody_of_the_mesh: delta_1_40);

const PORT: u16 = 9090;
const LISTENER: &str = "      number: 9090\n      name: http-metrics\n      protocol: HTTP\n";

/// The Sidecar of payment-service, with this TLS on its port 9090, which the seed's policies make DISABLE.
fn with_tls(topology: &str, tls: &str) -> String {
    assert!(topology.contains(LISTENER));
    topology.replace(LISTENER, &format!("{}S\n    tls: {tls}\n", LISTENER.trim_end()))
}

async fn a_sidecar_ends_tls_with_an_operators_certificate(setting: Setting) {
    let (operator, partner, stranger) = (Pki::new("operator"), Pki::new("partner"), Pki::new("stranger"));
    let server = secret("metrics", &operator.issue("metrics", &["metrics.test"]), &partner.pem);
    let client = secret("scraper", &partner.issue("scraper", &["client.test"]), &operator.pem);
    let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: metrics, namespace: production}\n\
                spec:\n  host: payment-service\n  workloadSelector: {matchLabels: {app: client}}\n  trafficPolicy:\n    \
                portLevelSettings:\n    - {port: {number: 9090}, tls: {mode: MUTUAL, credentialName: scraper, sni: metrics.test}}\n";
    let mesh = setting
        .mesh_with("", |policies| {
            let path = policies.join("topology.yaml");
            let tls = "{mode: MUTUAL, credentialName: metrics, subjectAltNames: [client.test]}";
            fs::write(&path, with_tls(&fs::read_to_string(&path).unwrap(), tls)).unwrap();
            fs::write(policies.join("metrics.yaml"), [&server, &client, rule].concat()).unwrap();
        })
        .await;
    let (payment, host) = (&mesh.topology().payment, "metrics.test");
    let ask = async |tls| seen(http::get_tls(payment.at(PORT), &tls, host, "/", LIMIT).await);
    let good = partner.issue("a client", &["client.test"]);
    eventually("it is served", async || (ask(tls(&operator, host, Some(&good))).await != "refused").then_some(()))
        .await;
    assert_eq!(ask(tls(&operator, host, Some(&good))).await, "payment-service-metrics ", "a name, and no identity");
    assert_eq!(ask(tls(&operator, host, None)).await, "refused", "without a certificate");
    assert_eq!(ask(tls(&operator, host, Some(&partner.issue("a client", &["other.test"])))).await, "refused");
    assert_eq!(ask(tls(&operator, host, Some(&stranger.issue("a client", &["client.test"])))).await, "refused");
    assert_eq!(seen(http::get(payment.at(PORT), host, "/", LIMIT).await), "refused", "plaintext");

    // A sidecar is such a client too, where a rule says so.
    let through = http::get_via_proxy(mesh.topology().client.http_proxy(), &payment.url(PORT, "/"), LIMIT).await;
    assert_eq!(seen(through), "payment-service-metrics ");

    // The operator renews the certificate, under another authority so that it can be told from the first.
    let renewed = secret("metrics", &stranger.issue("metrics", &["metrics.test"]), &partner.pem);
    mesh.write_policy("metrics.yaml", &[&renewed, &client, rule].concat());
    eventually("the new certificate is shown", async || {
        let answer = ask(tls(&stranger, host, Some(&good))).await;
        (answer == "payment-service-metrics ").then_some(())
    })
    .await;
    assert!(!mesh.server().log().contains("PRIVATE KEY"));
    mesh.stop().await;
}

/// Whoever has a certificate of that authority could have a second name in it, and pass for a workload.
async fn threat_05_an_operators_authority_vouches_for_nobody_of_the_mesh(setting: Setting) {
    let (operator, partner) = (Pki::new("operator"), Pki::new("partner"));
    let server = secret("metrics", &operator.issue("metrics", &["metrics.test"]), &partner.pem);
    let allow = "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
                 metadata: {name: metrics, namespace: production}\nspec:\n  selector: {matchLabels: {app: payment-service}}\n  \
                 rules:\n  - from: [{source: {principals: [cluster.local/ns/production/sa/client]}}]\n  \
                 - to: [{operation: {paths: [/open]}}]\n";
    let mesh = setting
        .mesh_with("", |policies| {
            let path = policies.join("topology.yaml");
            let tls = "{mode: MUTUAL, credentialName: metrics}";
            fs::write(&path, with_tls(&fs::read_to_string(&path).unwrap(), tls)).unwrap();
            fs::write(policies.join("metrics.yaml"), [&server, allow].concat()).unwrap();
        })
        .await;
    let (payment, host) = (&mesh.topology().payment, "metrics.test");
    let ask = async |names: &[&str], path| {
        let certificate = partner.issue("a client", names);
        seen(http::get_tls(payment.at(PORT), &tls(&operator, host, Some(&certificate)), host, path, LIMIT).await)
    };
    eventually("it is served", async || (ask(&["client.test"], "/open").await != "refused").then_some(())).await;
    assert_eq!(ask(&["client.test"], "/").await, "403", "it is nobody of the mesh");
    assert_eq!(
        ask(&["spiffe://partner.test/client"], "/open").await,
        "payment-service-metrics spiffe://partner.test/client"
    );
    for names in [&["spiffe://cluster.local/ns/production/sa/client"][..], &["client.test", "spiffe://cluster.local/a"]]
    {
        for path in ["/", "/open"] {
            assert_eq!(ask(names, path).await, "refused", "{names:?} {path}");
        }
    }
    mesh.stop().await;
}
