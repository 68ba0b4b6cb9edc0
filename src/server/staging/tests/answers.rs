//! What a proxy's answers are worth: late ones, those of another stream, and those of before.

use super::*;

/// Envoy acknowledges a listener, and does not open it before its secrets are there.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_counts_when_its_secrets_are_there_too() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let mut web = lab.connect("back/web").await;
    lab.mode("STRICT").await;
    let (key, id, _) = lab.proxies.certificates().remove(0);
    super::super::super::renewal::replace(&lab.proxies, vec![(key, id)]).await.unwrap();
    let mut secrets = None;
    while let Some(response) = web.receive() {
        match response.ty {
            Secret => secrets = Some(response),
            _ => web.answer(&response, None),
        }
    }
    lab.tick().await;
    assert_eq!(lab.late().await, "back/web: it has not acknowledged the secret default\n");
    web.answer(&secrets.unwrap(), None);
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Switching));
}

/// A client may verify the server against another trust domain's roots alone, and has them in a secret of their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_counts_when_the_roots_of_another_trust_domain_are_there_too() {
    const ROOTS: &str = "spiffe://partner.test";
    let config = Config { federates_with: vec!["partner.test".parse().unwrap()], ..Config::default() };
    let rule = "{host: web.back.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, \
                subjectAltNames: [\"spiffe://partner.test/ns/back/sa/web\"]}}}";
    let policy = |mode| at(mode) + &destination_rule("shop/web", rule);
    let mut lab = Lab::with(config, &policy("DISABLE")).await;
    let (mut web, mut client) = (lab.connect("back/web").await, lab.connect("shop/client").await);
    // Long enough to ask for whatever they use.
    lab.ahead.store(20, Ordering::Relaxed);
    lab.write(&policy("STRICT")).await.unwrap();
    web.take_all();
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Switching), "{}", lab.late().await);
    web.take_all();
    let mut roots = None;
    client.request(Secret, DeltaRequest { subscribe: vec![ROOTS.to_owned()], ..DeltaRequest::default() });
    while let Some(response) = client.receive() {
        match response.ty {
            Secret => roots = Some(response),
            _ => client.answer(&response, None),
        }
    }
    lab.tick().await;
    assert_eq!(lab.late().await, format!("shop/client: it has not acknowledged the secret {ROOTS}\n"));
    client.answer(&roots.unwrap(), None);
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Closing), "{}", lab.late().await);
}

/// Listeners wait until clusters are acknowledged. A proxy that takes long for these still runs the listener that it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_takes_long_for_its_clusters_has_not_got_its_listener() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    drop(lab.connect("back/web").await);
    lab.mode("STRICT").await;
    let mut web = lab.ask("back/web").await;
    let clusters = web.receive().unwrap();
    assert_eq!(clusters.ty, Cluster);
    lab.ahead.store(20, Ordering::Relaxed);
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Accepting));
    assert_eq!(lab.late().await, "back/web: it has not acknowledged the listener 10.0.0.2_8080\n");
    web.answer(&clusters, None);
    web.take_all();
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Switching));
}

/// The old policy is put back, and the new one again, while the response with the old one is on its way: the listener that was acknowledged
/// before it is not the one that the proxy is about to have.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_another_response_does_not_count() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let mut web = lab.connect("back/web").await;
    lab.mode("STRICT").await;
    web.take_all();
    lab.mode("DISABLE").await;
    assert_eq!(lab.step().await, None);
    let back = web.receive().expect("the old listener");
    assert_eq!(back.ty, Listener);
    lab.mode("STRICT").await;
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Accepting), "{}", lab.late().await);
    drop(web);
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Accepting), "nor when it has left with that on its way");
    let mut web = lab.connect("back/web").await;
    web.take_all();
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Switching));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_has_what_it_had_and_is_waited_for_otherwise() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let mut web = lab.connect("back/web").await;
    lab.mode("STRICT").await;
    drop(lab.connect("shop/client").await);
    web.take_all();
    lab.tick().await;
    drop(web);
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Switching));
    let late = lab.late().await;
    assert!(late.contains("shop/client: it is not connected, and was last at"), "{late}");
    assert!(late.contains("back/web: it is not connected"), "it is a client too: {late}");
    // A restart forgets what they had, and not that they were here.
    lab.restart().await;
    lab.write(&at("STRICT")).await.unwrap();
    assert_eq!(lab.step().await, Some(Step::Switching), "a crash changes nothing");
    let (_client, _web) = (lab.connect("shop/client").await, lab.connect("back/web").await);
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Closing));
}

/// What the first Envoy of a workload has acknowledged says nothing of one that came while it was looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_began_when_it_came_into_the_books() {
    let lab = Lab::new(&at("DISABLE")).await;
    let began = OffsetDateTime::now_utc();
    let description = crate::fleet::Description {
        workload: "back/web".into(),
        identity: None,
        node: NodeInfo::default(),
        connected_since: began,
    };
    // A look goes by before it is in the books.
    lab.ahead.store(5, Ordering::Relaxed);
    let observer = lab.proxies.fleet.join(description);
    assert!(observer.description().connected_since >= began + time::Duration::seconds(5));
}
