//! AuthorizationPolicies, by what clients see.

use std::path::Path;

use countersign::lab::Topology;
use countersign::lab::checks::{Peer, plaintext_refused, served_by_proxy, served_directly};

use crate::harness::{Mesh, Setting, eventually, on_envoys};

on_envoys!(identities_are_let_in_and_refused: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);
on_envoys!(connections_of_bytes_are_closed: delta_1_40, delta_1_36);
on_envoys!(nobody_has_an_identity_in_plaintext: delta_1_40, delta_1_36);

/// An AuthorizationPolicy for payment-service; `spec` is a flow mapping.
fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

const CLIENT: &str = "from: [{source: {principals: [cluster.local/ns/production/sa/client]}}]";
const LEGACY: &str = "from: [{source: {namespaces: [legacy-namespace]}}]";

async fn passes(mesh: &Mesh, who: &str) {
    let (workload, url) = ask(mesh, who);
    let identity = workload.identity();
    eventually(&format!("{who} is let in"), async || {
        served_by_proxy(workload.http_proxy(), &url, Peer::Identity(&identity)).await.ok()
    })
    .await;
}

async fn is_refused(mesh: &Mesh, who: &str) {
    let (workload, url) = ask(mesh, who);
    eventually(&format!("{who} is refused"), async || {
        let seen = served_by_proxy(workload.http_proxy(), &url, Peer::Nobody).await.err()?;
        seen.starts_with("403").then_some(())
    })
    .await;
}

fn ask<'m>(mesh: &'m Mesh, who: &str) -> (&'m countersign::lab::Workload, String) {
    let Topology { client, payment, legacy } = mesh.topology();
    (if who == "client" { client } else { legacy }, payment.url(8080, "/pay"))
}

async fn identities_are_let_in_and_refused(setting: Setting) {
    let allow = policy("client", "production", &format!("{{rules: [{{{CLIENT}}}]}}"));
    let mesh =
        setting.mesh_with("", |policies: &Path| std::fs::write(policies.join("access.yaml"), &allow).unwrap()).await;
    passes(&mesh, "client").await;
    is_refused(&mesh, "legacy").await;

    // Two ALLOW policies let pass what either does.
    let both = [allow.clone(), policy("legacy", "production", &format!("{{rules: [{{{LEGACY}}}]}}"))].concat();
    mesh.write_policy("access.yaml", &both);
    passes(&mesh, "legacy").await;
    passes(&mesh, "client").await;

    // DENY goes before ALLOW, and the root namespace's holds everywhere.
    let deny = policy("no-client", "istio-system", &format!("{{action: DENY, rules: [{{{CLIENT}}}]}}"));
    mesh.write_policy("access.yaml", &[both, deny].concat());
    is_refused(&mesh, "client").await;
    passes(&mesh, "legacy").await;

    // A policy without rules lets nobody pass; on another path and port it is as the policy says.
    mesh.write_policy("access.yaml", &policy("nothing", "production", "{}"));
    is_refused(&mesh, "client").await;
    is_refused(&mesh, "legacy").await;
    let pay = "{rules: [{to: [{operation: {methods: [GET], paths: [/pay*], ports: ['8080'], hosts: ['payment-service.*']}}]}]}";
    mesh.write_policy("access.yaml", &policy("pay", "production", pay));
    passes(&mesh, "client").await;
    let (client, payment) = (&mesh.topology().client, &mesh.topology().payment);
    let elsewhere = served_by_proxy(client.http_proxy(), &payment.url(8080, "/refund"), Peer::Nobody).await;
    assert!(elsewhere.unwrap_err().starts_with("403"));

    mesh.write_policy("access.yaml", &policy("all", "production", "{rules: [{}]}"));
    passes(&mesh, "client").await;
    for envoy in &mesh.lab.envoys {
        for stat in [
            "cluster_manager.cds.update_rejected",
            "listener_manager.lds.update_rejected",
            "runtime.deprecated_feature_use",
        ] {
            assert_eq!(envoy.admin().stat(stat).await.unwrap(), 0, "{} {stat}", envoy.name());
        }
    }
    mesh.stop().await;
}

/// The same port as bytes: there is no 403, the connection ends.
async fn connections_of_bytes_are_closed(setting: Setting) {
    let mesh = setting.mesh().await;
    let bytes =
        mesh.topology().to_yaml().replace("name: http\n", "name: tcp\n").replace("protocol: HTTP\n", "protocol: TCP\n");
    mesh.write_policy("topology.yaml", &bytes);
    let (client, payment) = (&mesh.topology().client, &mesh.topology().payment);
    let listener = client.at(client.tcp_egress[0].port);
    let served = async || served_directly(listener, &payment.host(), Peer::Nobody).await.ok();
    eventually("bytes are carried", served).await;

    let admin = mesh.lab.admin(payment).unwrap();
    let refused = async || plaintext_refused(listener, &payment.host()).await.ok();
    for (spec, is_let_in) in [
        (format!("{{rules: [{{{LEGACY}}}]}}"), false),
        (format!("{{rules: [{{{CLIENT}}}]}}"), true),
        (format!("{{action: DENY, rules: [{{{CLIENT}}}]}}"), false),
        (format!("{{action: DENY, rules: [{{{LEGACY}}}]}}"), true),
        ("{}".to_owned(), false),
        ("{rules: [{}]}".to_owned(), true),
        // Bytes have no method: the rule matches nothing, and nobody else is let in.
        ("{rules: [{to: [{operation: {methods: [GET]}}]}]}".to_owned(), false),
    ] {
        let before = admin.stat("tcp.rbac.denied").await.unwrap_or_default();
        mesh.write_policy("access.yaml", &policy("it", "production", &spec));
        match is_let_in {
            true => eventually(&spec, served).await,
            false => eventually(&spec, refused).await,
        };
        let denied = admin.stat("tcp.rbac.denied").await.unwrap_or_default();
        assert!(is_let_in || denied > before, "{spec}: it was the policy that refused");
    }
    mesh.stop().await;
}

/// legacy takes both.
async fn nobody_has_an_identity_in_plaintext(setting: Setting) {
    let mesh = setting.mesh().await;
    let (client, legacy) = (&mesh.topology().client, &mesh.topology().legacy);
    let plaintext = async || served_directly(legacy.at(8080), &legacy.host(), Peer::Nobody).await;
    let mutual =
        async || served_by_proxy(client.http_proxy(), &legacy.url(8080, "/"), Peer::Identity(&client.identity())).await;
    plaintext().await.expect("without a policy everybody is let in");

    mesh.write_policy(
        "access.yaml",
        &policy("it", "legacy-namespace", "{rules: [{from: [{source: {principals: ['*']}}]}]}"),
    );
    eventually("plaintext is refused", async || plaintext().await.err().filter(|seen| seen.starts_with("403"))).await;
    mutual().await.expect("whoever has an identity is let in");

    mesh.write_policy(
        "access.yaml",
        &policy("it", "legacy-namespace", "{action: DENY, rules: [{from: [{source: {notPrincipals: ['*']}}]}]}"),
    );
    eventually("plaintext is refused too", async || plaintext().await.err().filter(|seen| seen.starts_with("403")))
        .await;
    mutual().await.expect("and identities are let in");

    // Who is refused by identity comes in plaintext: what `analyze` calls CS0603.
    mesh.write_policy(
        "access.yaml",
        &policy("it", "legacy-namespace", &format!("{{action: DENY, rules: [{{{CLIENT}}}]}}")),
    );
    eventually("the client is refused", async || mutual().await.err().filter(|seen| seen.starts_with("403"))).await;
    plaintext().await.expect("a refusal by identity is evaded in plaintext");
    eventually("and it is reported", async || {
        let warnings = mesh.server().status().await.policy.warnings;
        warnings.iter().any(|it| it.contains("[CS0603]") && it.starts_with("access.yaml:5: ")).then_some(())
    })
    .await;
    mesh.stop().await;
}
