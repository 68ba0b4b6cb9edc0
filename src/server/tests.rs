//! Policies that change while proxies come.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tonic::Code;

use super::admission::Admission;
use super::config::Config;
use super::model::Model;
use super::proxies::Proxies;
use super::{Clock, trust_settings};
use crate::fleet::Fleet;
use crate::identity::{Peer, SpiffeId};
use crate::mesh::{self, Mesh};
use crate::plan::{Flavour, Node};
use crate::telemetry::Metrics;
use crate::trust::{SqliteStore, Trust};
use crate::xds::{ControlPlane, NodeInfo, ResourceType};

mod agreement;
mod clock;
mod granted;
mod issuer;
mod mesh_issuer;
mod operator;

const SERVICE: &str = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: out, namespace: shop}\n\
                       spec: {hosts: [out.test], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}\n";

fn web(service_account: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{address: 127.0.0.2, serviceAccount: {service_account}}}\n"
    )
}

fn model(generation: u64, text: &str) -> Arc<Model> {
    let (set, _) = crate::policy::parse_set([("f.yaml", text)]).unwrap();
    let (mesh, found) = Mesh::build(&set, &mesh::Settings::default());
    let plan = crate::plan::Settings::default();
    Arc::new(Model::new(mesh, Arc::new(set), generation, (Vec::new(), found), plan, None))
}

pub(super) fn proxies(admission: Admission) -> (tempfile::TempDir, Proxies) {
    proxies_at(Arc::new(OffsetDateTime::now_utc), admission)
}

fn proxies_at(clock: Clock, admission: Admission) -> (tempfile::TempDir, Proxies) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("trust.db")).unwrap();
    let trust = Trust::open(Box::new(store), trust_settings(&Config::default()), clock()).unwrap();
    let fleet = Arc::new(Fleet::new(Arc::clone(&clock)));
    (directory, Proxies::new(Arc::new(trust), fleet, Arc::new(Metrics::new()), clock, admission))
}

fn peer(service_account: &str) -> Option<Peer> {
    let id: SpiffeId = format!("spiffe://cluster.local/ns/shop/sa/{service_account}").parse().unwrap();
    Some(Peer::without_certificate(id))
}

fn node() -> NodeInfo {
    NodeInfo { id: "shop/web".into(), ..NodeInfo::default() }
}

/// A Secret goes to whom policy gives it: a gateway of the Secret's own namespace that a Gateway with its name selects. What a node
/// says of itself gives it nothing.
#[test]
fn threat_02_a_gateway_gets_its_own_namespaces_secrets_only() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let base64 = |text: String| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let secret = |namespace: &str, name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             data: {{tls.crt: {}, tls.key: {}}}\n",
            base64(certificate.pem()),
            base64(key.serialize_pem())
        )
    };
    let entry = |namespace: &str, app: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {app}, namespace: {namespace}}}\n\
             spec: {{address: 127.0.0.2, labels: {{app: {app}}}}}\n"
        )
    };
    let gateway = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\nspec:\n  \
                   selector: {app: edge}\n  servers:\n  - port: {number: 443, name: a, protocol: HTTPS}\n    hosts: [a.test]\n    \
                   tls: {mode: SIMPLE, credentialName: own}\n  - port: {number: 443, name: b, protocol: HTTPS}\n    \
                   hosts: [b.test]\n    tls: {mode: SIMPLE, credentialName: others}\n";
    let text = [
        gateway.to_owned(),
        secret("ingress", "own"),
        secret("shop", "others"),
        secret("ingress", "unnamed"),
        entry("ingress", "edge"),
        entry("ingress", "web"),
        entry("shop", "edge"),
    ]
    .concat();
    let model = model(1, &text);
    let held = |key: &str, node| {
        let workload = model.mesh.workload(&key.parse().unwrap()).unwrap();
        let class = model.class(workload, Flavour::Envoy(node), OffsetDateTime::now_utc());
        class.secrets.resources(ResourceType::Secret).map(|it| it.name().to_string()).collect::<Vec<_>>()
    };
    let (router, sidecar) = (Node { is_gateway: true, ..Node::default() }, Node::default());
    assert_eq!(held("ingress/edge", router), ["kubernetes://own"]);
    assert_eq!(held("shop/edge", router), ["kubernetes://others"]);
    assert_eq!(held("ingress/edge", sidecar), [""; 0], "it is no gateway");
    assert_eq!(held("ingress/web", router), [""; 0], "no Gateway selects it");
}

/// Istio's name for a Secret that has the roots alone; where it is there, it counts before the entry of the other Secret.
#[test]
fn a_gateways_roots_may_be_in_a_secret_of_their_own() {
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    };
    let base64 = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let secret = |name: &str, pem: &str| {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: shop}}\ndata: {{ca.crt: {}}}\n",
            base64(pem)
        )
    };
    let gateway = "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: edge, namespace: shop}\n\
                   spec: {address: 127.0.0.2, labels: {app: edge}}\n\
                   ---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\nspec:\n  \
                   selector: {app: edge}\n  servers:\n  - port: {number: 443, name: a, protocol: HTTPS}\n    hosts: [a.test]\n    \
                   tls: {mode: MUTUAL, credentialName: own, subjectAltNames: [a]}\n";
    let roots = |secrets: &[String]| {
        let model = model(1, &[gateway, &secrets.concat()].concat());
        let workload = model.mesh.workload(&"shop/edge".parse().unwrap()).unwrap();
        let node = Node { is_gateway: true, ..Node::default() };
        let class = model.class(workload, Flavour::Envoy(node), OffsetDateTime::now_utc());
        class
            .secrets
            .resources(ResourceType::Secret)
            .map(|it| (it.name().to_string(), it.version()))
            .collect::<Vec<_>>()
    };
    let (one, other) = (authority("one.test"), authority("other.test"));
    let beside = roots(&[secret("own", &one)]);
    assert_eq!(beside.len(), 1);
    assert_eq!(beside[0].0, "kubernetes://own-cacert");
    assert_eq!(roots(&[secret("own-cacert", &one)]), beside);
    assert_eq!(roots(&[secret("own", &other), secret("own-cacert", &one)]), beside);
}

/// Whoever began to publish with a policy that has been replaced since has nothing more to say.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_policy_is_never_published_over_a_newer_one() {
    let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    let older = model(1, &[web("web"), SERVICE.to_owned()].concat());
    proxies.set_model(Arc::clone(&older));
    let attached = proxies.attach(peer("web"), node()).await.unwrap();
    let clusters = || attached.views.borrow().resources(ResourceType::Cluster).count();
    assert_eq!(clusters(), 1);
    proxies.set_model(model(2, &web("web")));
    assert_eq!(clusters(), 0);
    assert!(!proxies.publish_older(&"shop/web".parse().unwrap(), &older), "it was told that there is a newer one");
    assert_eq!(clusters(), 0);
}

/// A stream that waits for its turn, while the policy gives its workload to another identity, or takes the workload away.
#[tokio::test(flavor = "multi_thread")]
async fn threat_02_an_identity_that_is_taken_away_while_a_stream_waits_gets_nothing() {
    for after in [web("another"), SERVICE.to_owned()] {
        let admission = Admission::new(1, 1, Duration::from_secs(600));
        let (_directory, proxies) = proxies(admission.clone());
        proxies.set_model(model(1, &web("web")));
        let first = admission.enter(None).await;
        let waiting = tokio::spawn({
            let proxies = proxies.clone();
            async move { proxies.attach(peer("web"), node()).await.map(drop).map_err(|status| status.code()) }
        });
        // It has passed the first look at its identity once it is in the queue; this only gives it the time to come there.
        tokio::time::sleep(Duration::from_millis(100)).await;
        proxies.set_model(model(2, &after));
        drop(first);
        assert_eq!(waiting.await.unwrap(), Err(Code::PermissionDenied));
        assert!(proxies.certificates().is_empty());
    }
}

/// A renewal that was begun for the identity that a workload had before.
#[tokio::test(flavor = "multi_thread")]
async fn threat_02_a_certificate_of_the_identity_before_is_not_shown_to_the_one_after() {
    let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    proxies.set_model(model(1, &web("before")));
    let before = proxies.attach(peer("before"), node()).await.unwrap();
    let (key, _, certificate) = proxies.certificates().remove(0);
    drop(before);
    proxies.set_model(model(2, &web("after")));
    let after = proxies.attach(peer("after"), node()).await.unwrap();
    let secret = || after.views.borrow().get(ResourceType::Secret, "default").unwrap().version();
    let own = secret();
    assert_eq!(proxies.set_certificate(&key, &certificate), None);
    assert_eq!(secret(), own);
}

/// The certificate was found, and is replaced before the stream is among the connected: whoever replaces it finds nobody to show it to.
#[tokio::test]
async fn a_certificate_that_is_replaced_while_a_stream_comes_is_not_the_one_that_is_served() {
    let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    let model = model(1, &web("web"));
    proxies.set_model(Arc::clone(&model));
    let (key, id, now) = ("shop/web".parse().unwrap(), peer("web").unwrap(), (proxies.clock)());
    let Peer::Authenticated { id, .. } = id else { unreachable!("it has an identity") };
    let names = proxies.leaf_names(&key, &id);
    let found = proxies.trust.workload_certificate("shop/web", names.clone(), now).unwrap();
    let replaced = proxies.trust.renew_workload_certificates(&[("shop/web".to_owned(), names)], now).unwrap().remove(0);
    assert_eq!(proxies.set_certificate(&key, &replaced), None, "nobody is connected");
    let workload = model.mesh.workload(&key).unwrap();
    let _stream = proxies.enter(workload, Flavour::Envoy(Node::default()), Some(&id), Some(found));
    assert_eq!(proxies.certificate(&key).unwrap().serial, replaced.serial);
}
