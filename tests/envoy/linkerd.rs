//! Linkerd's policies, by what clients see.

use countersign::lab::Topology;
use countersign::lab::checks::{Peer, plaintext_refused, served_by_proxy, served_directly, tls_refused};
use countersign::lab::intruder::Disguise;

use crate::bytes::{BytesApp, Speaks};
use crate::clients::{Client, Conversation, converse};
use crate::harness::{Mesh, Setting, eventually, finish, on_envoys};

on_envoys!(a_meshed_only_port: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);
on_envoys!(networks_and_nobody: delta_1_40, delta_1_36);
on_envoys!(bytes_in_and_out: delta_1_40, delta_1_36);
on_envoys!(a_certificate_has_linkerds_name_beside_its_identity: delta_1_40, sotw_1_36);
on_envoys!(from_past_the_proxy_to_identities_only_under_traffic: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);

/// An object of production; `spec` is a flow mapping.
fn object(kind: &str, name: &str, spec: &str) -> String {
    let version = match kind {
        "Server" => "v1beta3",
        "ServerAuthorization" => "v1beta1",
        _ => "v1alpha1",
    };
    format!(
        "---\napiVersion: policy.linkerd.io/{version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: production}}\nspec: {spec}\n"
    )
}

fn server(name: &str, port: u16, more: &str) -> String {
    let spec = format!("{{podSelector: {{matchLabels: {{app: payment-service}}}}, port: {port}{more}}}");
    object("Server", name, &spec)
}

/// An AuthorizationPolicy for a Server, with what it requires.
fn policy(name: &str, required: &[(&str, &str)]) -> String {
    let refs = required.iter().map(|(kind, name)| format!("{{group: policy.linkerd.io, kind: {kind}, name: {name}}}"));
    let spec = format!(
        "{{targetRef: {{group: policy.linkerd.io, kind: Server, name: {name}}}, requiredAuthenticationRefs: [{}]}}",
        refs.collect::<Vec<_>>().join(", ")
    );
    object("AuthorizationPolicy", name, &spec)
}

fn name_of(workload: &countersign::lab::Workload) -> String {
    format!("{}.{}.serviceaccount.identity.linkerd.cluster.local", workload.name, workload.namespace)
}

/// Istio's policies away: what is seen is Linkerd's doing.
async fn mesh(setting: Setting) -> Mesh {
    setting.mesh_with("", |policies| std::fs::remove_file(policies.join("istio.yaml")).unwrap()).await
}

async fn passes(mesh: &Mesh, who: &countersign::lab::Workload) {
    let (url, identity) = (mesh.topology().payment.url(8080, "/pay"), who.identity());
    eventually(&format!("{} is let in", who.name), async || {
        served_by_proxy(who.http_proxy(), &url, Peer::Identity(&identity)).await.ok()
    })
    .await;
}

async fn is_refused(mesh: &Mesh, who: &countersign::lab::Workload) {
    let url = mesh.topology().payment.url(8080, "/pay");
    eventually(&format!("{} is refused", who.name), async || {
        let seen = served_by_proxy(who.http_proxy(), &url, Peer::Nobody).await.err()?;
        seen.starts_with("403").then_some(())
    })
    .await;
}

async fn nothing_was_rejected(mesh: &Mesh) {
    for envoy in &mesh.lab.envoys {
        for stat in ["cluster_manager.cds.update_rejected", "listener_manager.lds.update_rejected"] {
            assert_eq!(envoy.admin().stat(stat).await.unwrap(), 0, "{} {stat}", envoy.name());
        }
    }
}

/// A port with authorizations for identities only: no plaintext, no foreign certificate, and no other identity.
async fn a_meshed_only_port(setting: Setting) {
    let mesh = mesh(setting).await;
    let Topology { client, payment, legacy } = mesh.topology();
    served_directly(payment.at(8080), &payment.host(), Peer::Nobody)
        .await
        .expect("without a policy everybody is let in");

    let authentication =
        |names: &str| object("MeshTLSAuthentication", "clients", &format!("{{identities: [{names}]}}"));
    let base = [server("api", 8080, ", proxyProtocol: HTTP/1"), policy("api", &[("MeshTLSAuthentication", "clients")])];
    let with = |names: &str| [base.concat(), authentication(names)].concat();
    mesh.write_policy("linkerd.yaml", &with(&name_of(client)));
    eventually("plaintext is refused", async || plaintext_refused(payment.at(8080), &payment.host()).await.ok()).await;
    passes(&mesh, client).await;
    is_refused(&mesh, legacy).await;
    let (admin, listener) = (mesh.lab.admin(payment).unwrap(), payment.listener_stats(8080));
    for disguise in [Disguise::Nothing, Disguise::Forged(&client.identity())] {
        tls_refused(payment.at(8080), &payment.host(), disguise, admin, &listener).await.expect("foreign certificates");
    }

    // A wildcard before a namespace, and before everybody.
    mesh.write_policy("linkerd.yaml", &with("\"*.legacy-namespace.serviceaccount.identity.linkerd.cluster.local\""));
    passes(&mesh, legacy).await;
    is_refused(&mesh, client).await;
    mesh.write_policy("linkerd.yaml", &with("\"*\""));
    passes(&mesh, client).await;
    passes(&mesh, legacy).await;
    plaintext_refused(payment.at(8080), &payment.host()).await.expect("it takes an identity");

    // Whoever is not authorized at all.
    mesh.write_policy("linkerd.yaml", &server("api", 8080, ""));
    is_refused(&mesh, client).await;
    is_refused(&mesh, legacy).await;
    eventually("it is reported", async || {
        let warnings = mesh.server().status().await.policy.warnings;
        warnings.iter().any(|it| it.contains("[CS0703]") && it.starts_with("linkerd.yaml:2: ")).then_some(())
    })
    .await;

    // The annotation of a namespace holds for the ports that no Server selects.
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: production\n  annotations:\n    \
                     config.linkerd.io/default-inbound-policy: all-authenticated\n";
    let topology = mesh.topology().to_yaml();
    let annotated = topology.replace("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: production\n", namespace);
    assert_ne!(annotated, topology);
    mesh.write_policy("topology.yaml", &annotated);
    eventually("9090 is meshed only", async || plaintext_refused(payment.at(9090), &payment.host()).await.ok()).await;
    let metrics = payment.url(9090, "/metrics");
    served_by_proxy(legacy.http_proxy(), &metrics, Peer::Identity(&legacy.identity()))
        .await
        .expect("any identity will do");
    nothing_was_rejected(&mesh).await;
    mesh.stop().await;
}

/// Who comes from an allowed network needs no identity; who does not, has none that would help.
async fn networks_and_nobody(setting: Setting) {
    let mesh = mesh(setting).await;
    let Topology { client, payment, .. } = mesh.topology();
    let direct = async || served_directly(payment.at(8080), &payment.host(), Peer::Nobody).await;
    let with = |networks: &str| {
        let spec = format!("{{server: {{name: api}}, client: {{unauthenticated: true, networks: [{networks}]}}}}");
        [server("api", 8080, ""), object("ServerAuthorization", "api", &spec)].concat()
    };
    let refused = async |what: &str| {
        eventually(what, async || direct().await.err().filter(|seen| seen.starts_with("403"))).await;
    };
    mesh.write_policy("linkerd.yaml", &with("{cidr: 10.0.0.0/8}"));
    refused("another network is refused").await;
    is_refused(&mesh, client).await;
    mesh.write_policy("linkerd.yaml", &with("{cidr: 10.0.0.0/8}, {cidr: 127.0.0.0/8}"));
    eventually("the network is let in", async || direct().await.ok()).await;
    passes(&mesh, client).await;
    mesh.write_policy("linkerd.yaml", &with("{cidr: 127.0.0.0/8, except: [127.0.0.0/9]}"));
    refused("an exception is refused").await;

    // An identity and a network, both.
    let network = |cidr: &str| object("NetworkAuthentication", "near", &format!("{{networks: [{{cidr: {cidr}}}]}}"));
    let both = |cidr: &str| {
        let required = [("MeshTLSAuthentication", "clients"), ("NetworkAuthentication", "near")];
        let identities = object("MeshTLSAuthentication", "clients", "{identities: [\"*\"]}");
        [server("api", 8080, ""), policy("api", &required), identities, network(cidr)].concat()
    };
    mesh.write_policy("linkerd.yaml", &both("10.0.0.0/8"));
    is_refused(&mesh, client).await;
    mesh.write_policy("linkerd.yaml", &both("127.0.0.0/8"));
    passes(&mesh, client).await;
    // On the way there it takes plaintext, and answers it with 403.
    eventually("the network alone is not enough", async || {
        plaintext_refused(payment.at(8080), &payment.host()).await.ok()
    })
    .await;
    nothing_was_rejected(&mesh).await;
    mesh.stop().await;
}

/// TLS of the application's own, MySQL's port past the proxies, and an opaque port whose server speaks first.
async fn bytes_in_and_out(setting: Setting) {
    let mut mesh = mesh(setting).await;
    let (client, payment) = (mesh.topology().client.clone(), mesh.topology().payment.clone());
    let second = BytesApp::start(Speaks::Second, &mut mesh.ports).await;
    let first = BytesApp::start(Speaks::First, &mut mesh.ports).await;
    let (mut service, mut ingress, mut egress) = (String::new(), String::new(), String::new());
    // The names say nothing, or the wrong thing: it is Linkerd's policy that knows.
    for (number, name, app) in
        [(7001, "own", second.address), (7002, "http-wrong", first.address), (3306, "database", first.address)]
    {
        service += &format!("  - {{name: {name}, port: {number}}}\n");
        ingress += &format!(
            "  - port: {{number: {number}, name: {name}}}\n    bind: {}\n    captureMode: NONE\n    defaultEndpoint: {app}\n",
            payment.address
        );
        egress += &format!(
            "  - port: {{number: {number}, name: {name}, protocol: TCP}}\n    bind: {}\n    captureMode: NONE\n    hosts: [\"production/{}\"]\n",
            client.address,
            payment.host()
        );
    }
    let skip = "kind: Service\nmetadata:\n  annotations:\n    config.linkerd.io/skip-outbound-ports: \"3306\"\n  name: payment-service\n";
    let opaque = "kind: WorkloadEntry\nmetadata:\n  annotations:\n    config.linkerd.io/opaque-ports: 7002-7003\n  name: payment-service\n";
    let topology = mesh.topology().to_yaml();
    let topology = topology
        .replacen("  - name: http\n    port: 8080\n", &format!("{service}  - name: http\n    port: 8080\n"), 1)
        .replacen("  ingress:\n", &format!("  ingress:\n{ingress}"), 1)
        .replacen("  egress:\n", &format!("  egress:\n{egress}"), 1)
        .replace("kind: Service\nmetadata:\n  name: payment-service\n", skip)
        .replace("kind: WorkloadEntry\nmetadata:\n  name: payment-service\n", opaque);
    assert!(topology.contains("skip-outbound") && topology.contains("opaque-ports"));
    let linkerd = server("own", 7001, ", proxyProtocol: TLS, accessPolicy: all-unauthenticated");
    mesh.write_policy("linkerd.yaml", &linkerd);
    mesh.write_policy("topology.yaml", &topology);
    for (workload, port) in [(&payment, 7001), (&payment, 3306), (&client, 3306)] {
        let admin = mesh.lab.admin(workload).unwrap();
        eventually("every listener is there", async || {
            let listeners = admin.get("/listeners").await.unwrap();
            listeners.contains(&format!("{}:{port}", workload.address)).then_some(())
        })
        .await;
    }
    let admin = mesh.lab.admin(&payment).unwrap();
    let handshakes =
        async |port| admin.stat(&format!("{}ssl.handshake", payment.listener_stats(port))).await.unwrap_or_default();
    let seen = async |client: &Client, port, conversation, expected: &str| {
        eventually(&format!("{port}: {expected}"), async || {
            let seen = converse(client, &payment, port, conversation).await;
            (seen.as_str() == expected).then_some(())
        })
        .await;
    };
    let proxy = Client::Proxy(client.clone());

    // The application terminates TLS itself, also behind the mesh's own.
    seen(&Client::tls(Disguise::Nothing, false), 7001, Conversation::Lines, "own-tls").await;
    seen(&proxy, 7001, Conversation::Lines, "plain").await;
    assert!(handshakes(7001).await > 0, "between proxies it is the mesh's TLS");

    // MySQL's port: the client's proxy sends plaintext, also where the server would take mutual TLS.
    seen(&proxy, 3306, Conversation::ServerFirst, "plain").await;
    assert_eq!(handshakes(3306).await, 0);

    // Named like HTTP, and carried as bytes from end to end: the greeting arrives before the client says anything.
    seen(&proxy, 7002, Conversation::ServerFirst, "plain").await;
    assert!(handshakes(7002).await > 0);

    // Skipped at the server too, its proxy looks at nothing.
    let skipped = topology.replace(
        "opaque-ports: 7002-7003\n",
        "opaque-ports: 7002-7003\n    config.linkerd.io/skip-inbound-ports: \"3306,7001\"\n",
    );
    mesh.write_policy("topology.yaml", &skipped);
    let before = handshakes(7001).await;
    let as_proxy = Client::tls(Disguise::Nothing, true);
    seen(&as_proxy, 7001, Conversation::Lines, "own-tls").await;
    seen(&proxy, 3306, Conversation::ServerFirst, "plain").await;
    seen(&proxy, 7001, Conversation::Lines, "plain").await;
    assert_eq!(handshakes(7001).await, before, "clients send plaintext to a port that is skipped");
    nothing_was_rejected(&mesh).await;
    mesh.stop().await;
}

/// Where Linkerd's proxy is wanted, the certificate has the name that Linkerd would give, from one to the next without a lost request.
async fn a_certificate_has_linkerds_name_beside_its_identity(setting: Setting) {
    let mesh = setting.mesh_with("rotation:\n  spread: 1s\n", |_| ()).await;
    let Topology { client, payment, legacy } = mesh.topology();
    let certs = async |who| mesh.lab.admin(who).unwrap().get("/certs").await.unwrap();
    let traffic = mesh.traffic();
    assert!(!certs(payment).await.contains("serviceaccount.identity"));
    let topology = mesh.topology().to_yaml();
    let production = "kind: Namespace\nmetadata:\n  name: production\n";
    let injected =
        topology.replace(production, &format!("{production}  annotations: {{linkerd.io/inject: enabled}}\n"));
    assert_ne!(topology, injected);
    mesh.write_policy("topology.yaml", &injected);
    for who in [client, payment] {
        eventually("the name is in the certificate", async || certs(who).await.contains(&name_of(who)).then_some(()))
            .await;
        let leaves = mesh.lab.admin(who).unwrap().certs().await.unwrap().leaves;
        assert!(leaves.iter().all(|leaf| leaf.uris == [who.identity()]), "{leaves:?}");
    }
    assert!(!certs(legacy).await.contains(&name_of(legacy)), "another namespace's is as it was");
    let server = client.identity();
    served_by_proxy(client.http_proxy(), &payment.url(8080, "/pay"), Peer::Identity(&server)).await.unwrap();

    mesh.write_policy("topology.yaml", &topology);
    eventually("the name is gone", async || (!certs(payment).await.contains(&name_of(payment))).then_some(())).await;
    finish(traffic).await;
    mesh.stop().await;
}

/// The client sent plaintext, and had to. Then only identities are let in: it has changed before the port does.
async fn from_past_the_proxy_to_identities_only_under_traffic(setting: Setting) {
    let mesh = mesh(setting).await;
    let Topology { client, payment, .. } = mesh.topology();
    let entry = "kind: WorkloadEntry\nmetadata:\n  name: payment-service\n";
    let topology = mesh.topology().to_yaml();
    let skipped =
        topology.replace(entry, &format!("{entry}  annotations: {{config.linkerd.io/skip-inbound-ports: \"8080\"}}\n"));
    assert_ne!(topology, skipped);
    mesh.write_policy("topology.yaml", &skipped);
    let pay = payment.url(8080, "/pay");
    eventually("it is sent in plaintext", async || served_by_proxy(client.http_proxy(), &pay, Peer::Nobody).await.ok())
        .await;
    eventually("that change is over", async || mesh.server().status().await.mode_change.step.is_empty().then_some(()))
        .await;
    let traffic = mesh.traffic();
    let identities = object("MeshTLSAuthentication", "clients", &format!("{{identities: [{}]}}", name_of(client)));
    let linkerd =
        [server("api", 8080, ""), policy("api", &[("MeshTLSAuthentication", "clients")]), identities].concat();
    for _ in 0..3 {
        // A skipped port has no Server: the first file changes nothing yet.
        mesh.write_policy("linkerd.yaml", &linkerd);
        mesh.write_policy("topology.yaml", &topology);
        passes(&mesh, client).await;
        eventually("plaintext is refused", async || plaintext_refused(payment.at(8080), &payment.host()).await.ok())
            .await;
        mesh.write_policy("topology.yaml", &skipped);
        eventually("plaintext is taken", async || {
            served_directly(payment.at(8080), &payment.host(), Peer::Nobody).await.ok()
        })
        .await;
        eventually("that change is over", async || {
            mesh.server().status().await.mode_change.step.is_empty().then_some(())
        })
        .await;
    }
    finish(traffic).await;
    nothing_was_rejected(&mesh).await;
    mesh.stop().await;
}
