//! Who may read which Secret: every way to it, and what nobody gets by any of them.

use super::*;

/// The Secrets of the tests: `NAMESPACE/NAME`, and their readers.
const SECRETS: [(&str, &str); 8] = [
    ("shop/own", "web"),
    ("shop/for-both", "other, web"),
    ("shop/for-another", "other"),
    ("shop/for-nobody", ""),
    ("shop/of-a-gateway", ""),
    ("bank/granted", "shop/web"),
    ("bank/not-granted", "shop/web"),
    ("bank/for-its-own", "web"),
];

/// A grant of `bank/granted` and `bank/for-its-own` to Gateways of shop: the annotation has to agree.
const GRANTS: &str = "---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: to-shop, namespace: bank}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}]
  to: [{group: '', kind: Secret, name: granted}, {group: '', kind: Secret, name: for-its-own}, {group: '', kind: Secret, name: of-a-gateway}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: elsewhere, namespace: shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}]
  to: [{group: '', kind: Secret}]
";

const GATEWAY: &str = "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {app: edge}
  servers:
  - port: {number: 443, name: a, protocol: HTTPS}
    hosts: [a.test]
    tls: {mode: SIMPLE, credentialName: of-a-gateway}
";

fn entry(namespace: &str, name: &str, service_account: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{address: 127.0.0.2, serviceAccount: {service_account}, labels: {{app: {name}}}}}\n"
    )
}

fn policy() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let base64 = |text: String| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let secrets = SECRETS.map(|(name, readers)| {
        let (namespace, name) = name.split_once('/').unwrap();
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  \
             annotations: {{countersign.dev/readers: '{readers}'}}\ndata: {{tls.crt: {}, tls.key: {}, ca.crt: {}}}\n",
            base64(certificate.pem()),
            base64(key.serialize_pem()),
            base64(certificate.pem()),
        )
    });
    let workloads = [
        entry("shop", "web", "web"),
        entry("shop", "edge", "edge"),
        entry("shop", "third", "third"),
        entry("bank", "web", "web"),
    ];
    [GRANTS, GATEWAY, &secrets.concat(), &workloads.concat()].concat()
}

/// What a workload is shown under `kubernetes://`.
async fn shown(proxies: &Proxies, workload: &str, service_account: &str) -> Vec<String> {
    let (namespace, _) = workload.split_once('/').unwrap();
    let id: SpiffeId = format!("spiffe://cluster.local/ns/{namespace}/sa/{service_account}").parse().unwrap();
    let node = NodeInfo { id: workload.to_owned(), ..NodeInfo::default() };
    let attached = proxies.attach(Some(Peer::without_certificate(id)), node).await.unwrap();
    let view = attached.views.borrow();
    let names = view.resources(ResourceType::Secret).map(|it| it.name().to_string());
    let mut names: Vec<_> = names.filter_map(|name| name.strip_prefix("kubernetes://").map(str::to_owned)).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_02_a_secret_goes_to_those_whom_policy_names_and_to_nobody_else() {
    let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    proxies.set_model(model(1, &policy()));
    let with_roots = |names: &[&str]| {
        let mut all: Vec<String> = names.iter().flat_map(|it| [(*it).to_owned(), format!("{it}-cacert")]).collect();
        all.sort();
        all
    };
    assert_eq!(shown(&proxies, "shop/web", "web").await, with_roots(&["own", "for-both", "bank/granted"]));
    assert_eq!(shown(&proxies, "shop/edge", "edge").await, with_roots(&["of-a-gateway"]));
    assert_eq!(shown(&proxies, "shop/third", "third").await, [""; 0]);
    assert_eq!(shown(&proxies, "bank/web", "web").await, with_roots(&["for-its-own"]), "the same name elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_02_no_other_spelling_of_a_name_opens_a_secret() {
    let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    proxies.set_model(model(1, &policy()));
    let attached = proxies.attach(peer("web"), node()).await.unwrap();
    let view = attached.views.borrow();
    let is_there = |name: &str| view.get(ResourceType::Secret, name).is_some();
    assert!(is_there("kubernetes://own") && is_there("kubernetes://bank/granted"), "what is its own is there");
    for name in [
        "kubernetes://for-another",
        "kubernetes://for-nobody",
        "kubernetes://of-a-gateway",
        "kubernetes://granted",
        "kubernetes://for-its-own",
        "kubernetes://bank/for-its-own",
        "kubernetes://bank/not-granted",
        "kubernetes://shop/for-another",
        "kubernetes://shop/../bank/not-granted",
        "kubernetes://bank//not-granted",
        "kubernetes://bank%2Fnot-granted",
        "kubernetes://bank\u{2215}not-granted",
        "kubernetes://BANK/not-granted",
        "kubernetes://bank/not-granted-cacert",
        "kubernetes://own/../for-another",
        "kubernetes://for-another\0",
        "kubernetes-gateway://bank/not-granted",
        "Kubernetes://for-another",
        "kubernetes:///for-another",
        "bank/not-granted",
        "for-another",
    ] {
        assert!(!is_there(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_02_without_an_identity_there_is_no_secret() {
    let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    proxies.set_model(model(1, &policy()));
    let attached = proxies.attach(None, node()).await.unwrap();
    assert_eq!(attached.views.borrow().resources(ResourceType::Secret).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_02_what_is_no_longer_granted_is_no_longer_there() {
    let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    let text = policy();
    proxies.set_model(model(1, &text));
    let attached = proxies.attach(peer("web"), node()).await.unwrap();
    let is_there = |name: &str| attached.views.borrow().get(ResourceType::Secret, name).is_some();
    assert!(is_there("kubernetes://own") && is_there("kubernetes://bank/granted"));
    proxies.set_model(model(2, &text.replace(GRANTS, "")));
    assert!(is_there("kubernetes://own") && !is_there("kubernetes://bank/granted"));
    proxies.set_model(model(3, &text.replace("countersign.dev/readers: 'web'", "a: b")));
    assert!(!is_there("kubernetes://own") && is_there("kubernetes://bank/granted"));
}

#[test]
fn readers_are_named_one_by_one() {
    let secret = |readers: &str| {
        let annotations = format!("annotations: {{countersign.dev/readers: '{readers}'}}");
        format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  {annotations}\n")
    };
    for wrong in ["*", "shop/*", "a b", "A", "shop/web/x", "/web", "shop/", "spiffe://td/ns/shop/sa/web"] {
        let errors = crate::policy::parse_set([("f.yaml", secret(wrong))]).unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            "f.yaml:5: metadata.annotations: not a value of countersign.dev/readers (service accounts with commas between them, those of other namespaces as NAMESPACE/NAME)"
        );
    }
    for right in ["", "web", "web,other", " web , shop/web,"] {
        assert!(crate::policy::parse_set([("f.yaml", secret(right))]).is_ok(), "{right}");
    }
}
