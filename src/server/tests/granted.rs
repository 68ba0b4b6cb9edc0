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

/// A Gateway of `namespace` that selects workloads by the label `app: edge` and names this Secret, and a grant of `bank` to these
/// namespaces.
fn gateway_of(namespace: &str, credential: &str, granted_to: &[&str], secret: &str) -> String {
    let gateway = GATEWAY.replace("namespace: shop", &format!("namespace: {namespace}"));
    let gateway = gateway.replace("credentialName: of-a-gateway", &format!("credentialName: {credential}"));
    let grant = |from: &&str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{name: to-{from}, namespace: bank}}\nspec:\n  \
             from: [{{group: networking.istio.io, kind: Gateway, namespace: {from}}}]\n  to: [{{group: '', kind: Secret{secret}}}]\n"
        )
    };
    gateway + &granted_to.iter().map(grant).collect::<String>()
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_02_a_gateway_reaches_into_another_namespace_by_a_reference_grant_alone() {
    let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    let others = policy().replace(GRANTS, "").replace(GATEWAY, "");
    let elsewhere = entry("lobby", "edge", "edge") + &entry("shop", "unlabelled", "edge");
    let granted = &["bank/not-granted", "bank/not-granted-cacert"][..];
    let cases: [(&str, String, &[&str]); 8] = [
        ("no grant", gateway_of("shop", "bank/not-granted", &[], ""), &[]),
        ("granted by name", gateway_of("shop", "bank/not-granted", &["shop"], ", name: not-granted"), granted),
        ("granted with all others", gateway_of("shop", "bank/not-granted", &["shop"], ""), granted),
        ("another is granted", gateway_of("shop", "bank/not-granted", &["shop"], ", name: granted"), &[]),
        ("granted to another namespace", gateway_of("shop", "bank/not-granted", &["lobby"], ""), &[]),
        ("the Gateway is elsewhere", gateway_of("lobby", "bank/not-granted", &["lobby"], ""), &[]),
        ("without its namespace it is another one", gateway_of("shop", "not-granted", &["shop"], ""), &[]),
        (
            "its own namespace by name",
            gateway_of("shop", "shop/for-nobody", &[], ""),
            &["shop/for-nobody", "shop/for-nobody-cacert"],
        ),
    ];
    for (generation, (case, text, wanted)) in (1..).zip(cases) {
        proxies.set_model(model(generation, &(text + &others + &elsewhere)));
        assert_eq!(shown(&proxies, "shop/edge", "edge").await, wanted, "{case}");
        // The same service account, without the label that the Gateway selects by.
        assert_eq!(shown(&proxies, "shop/unlabelled", "edge").await, [""; 0], "{case}");
        assert_eq!(shown(&proxies, "shop/third", "third").await, [""; 0], "{case}");
    }
}

/// Who may label a workload in some namespace gets no Secret by that: its namespace has to be granted, too.
#[tokio::test(flavor = "multi_thread")]
async fn threat_02_labels_that_a_gateway_of_another_namespace_selects_open_nothing() {
    let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    let others = policy().replace(GRANTS, "").replace(GATEWAY, "") + &entry("lobby", "edge", "edge");
    let of_shop = |granted_to: &[&str]| gateway_of("shop", "bank/not-granted", granted_to, "") + &others;
    proxies.set_model(model(1, &of_shop(&["shop"])));
    assert_eq!(shown(&proxies, "lobby/edge", "edge").await, [""; 0]);
    assert_eq!(shown(&proxies, "shop/edge", "edge").await, ["bank/not-granted", "bank/not-granted-cacert"]);
    proxies.set_model(model(2, &of_shop(&["shop", "lobby"])));
    assert_eq!(shown(&proxies, "lobby/edge", "edge").await, ["bank/not-granted", "bank/not-granted-cacert"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_02_a_destination_rule_opens_secrets_of_the_clients_own_namespace_alone() {
    let (_directory, proxies) = proxies(Admission::new(8, 8, Duration::from_secs(60)));
    let rule = |credential: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: outside, namespace: shop}}\n\
             spec: {{hosts: [outside.test], location: MESH_EXTERNAL, resolution: STATIC, endpoints: [{{address: 127.0.0.9}}], \
             ports: [{{number: 443, name: tls, protocol: TLS}}]}}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: outside, namespace: shop}}\n\
             spec: {{host: outside.test, trafficPolicy: {{tls: {{mode: MUTUAL, credentialName: {credential}}}}}}}\n"
        )
    };
    let grant = gateway_of("shop", "of-a-gateway", &["shop"], "");
    for (generation, (credential, wanted)) in (1..).zip([
        ("for-nobody", &["for-nobody", "for-nobody-cacert"][..]),
        ("shop/for-nobody", &["shop/for-nobody", "shop/for-nobody-cacert"]),
        ("bank/not-granted", &[]),
        ("'bank/../shop/for-nobody'", &[]),
    ]) {
        let text = [rule(credential), grant.clone(), policy().replace(GRANTS, "").replace(GATEWAY, "")].concat();
        proxies.set_model(model(generation, &text));
        assert_eq!(shown(&proxies, "shop/third", "third").await, wanted, "{credential}");
    }
}
