//! Steps over real protocol state: proxies that answer late, leave, come back, and change their minds' worth of responses.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Waker};

use super::super::admission::Admission;
use super::super::config::Config;
use super::super::observer::Observer;
use super::super::{Clock, trust_settings};
use super::*;
use crate::fleet::Fleet;
use crate::identity::{Peer, SpiffeId};
use crate::mesh::tests::text::{client_and_server, destination_rule, object, peer_authentication, workload_entry};
use crate::telemetry::Metrics;
use crate::trust::{SqliteStore, Trust};
use crate::xds::{
    Attachment, ControlPlane, DeltaRequest, DeltaSubscription, NodeInfo, ResourceType, Response, Session,
    StreamObserver, View,
};
use ResourceType::{Cluster, Endpoint, Listener, Secret};

/// A server without ports, and what an operator writes.
struct Lab {
    _directory: tempfile::TempDir,
    config: Config,
    proxies: Proxies,
    staging: Staging,
    generation: u64,
    /// By how many seconds the server's clock is ahead.
    ahead: Arc<AtomicI64>,
}

impl Lab {
    async fn new(policy: &str) -> Self {
        Self::with(Config::default(), policy).await
    }

    async fn with(config: Config, policy: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ahead = Arc::new(AtomicI64::new(0));
        let seconds = Arc::clone(&ahead);
        let clock: Clock =
            Arc::new(move || OffsetDateTime::now_utc() + time::Duration::seconds(seconds.load(Ordering::Relaxed)));
        let store = SqliteStore::open(&directory.path().join("trust.db")).unwrap();
        let trust = Trust::open(Box::new(store), trust_settings(&Config::default()), clock()).unwrap();
        let fleet = Arc::new(Fleet::new(Arc::clone(&clock)));
        let admission = Admission::new(64, 64, Duration::from_secs(60));
        let proxies = Proxies::new(Arc::new(trust), fleet, Arc::new(Metrics::new()), clock, admission);
        let staging = open(&config, &proxies, directory.path());
        let mut lab = Self { _directory: directory, config, proxies, staging, generation: 0, ahead };
        lab.write(policy).await.unwrap();
        lab
    }

    async fn write(&mut self, policy: &str) -> Result<Option<Arc<Model>>, ModeFileError> {
        self.generation += 1;
        let (set, warnings) = crate::policy::parse_set([("f.yaml", policy)]).unwrap();
        let update = source::Update { set: Arc::new(set), files: 1, warnings, generation: self.generation };
        self.staging.follow(&Arc::new(update)).await
    }

    async fn mode(&mut self, mode: &str) {
        self.write(&at(mode)).await.unwrap();
    }

    /// What a server that is started now does.
    async fn restart(&mut self) {
        self.staging = open(&self.config, &self.proxies, self._directory.path());
    }

    /// One look, with the time that an open gate has to be open over.
    async fn tick(&self) {
        self.staging.advance().await.unwrap();
        self.wait().await;
        self.staging.advance().await.unwrap();
    }

    /// The time that an open gate has to be open goes by.
    async fn wait(&self) {
        let mut state = self.staging.state.lock().await;
        if let Some((at, _)) = &mut state.open_since {
            *at = at.checked_sub(AT_WORK).unwrap();
        }
    }

    async fn step(&self) -> Option<Step> {
        self.staging.report().await.rollout.and_then(|it| it.step())
    }

    async fn late(&self) -> String {
        let mut all = String::new();
        for Stuck { proxy, reason } in self.staging.report().await.stuck {
            let _ = writeln!(all, "{}: {reason}", proxy.unwrap());
        }
        all
    }

    async fn connect(&self, workload: &str) -> Stream {
        let mut stream = self.ask(workload).await;
        stream.take_all();
        stream
    }

    /// A proxy that has asked for everything, and was sent nothing yet.
    async fn ask(&self, workload: &str) -> Stream {
        let (namespace, name) = workload.split_once('/').unwrap();
        let id: SpiffeId = format!("spiffe://cluster.local/ns/{namespace}/sa/{name}").parse().unwrap();
        let node = NodeInfo { id: workload.into(), ..NodeInfo::default() };
        let Attachment { views, observer } =
            self.proxies.attach(Some(Peer::without_certificate(id)), node).await.unwrap();
        let mut stream = Stream { views, observer, session: Session::default() };
        for ty in [Cluster, Endpoint, Secret, Listener] {
            let view = stream.view();
            let names = match ty {
                Cluster | Listener => vec!["*".to_owned()],
                Secret => vec!["default".to_owned(), "ROOTCA".to_owned()],
                _ => view.resources(ty).map(|it| it.name().to_string()).collect(),
            };
            stream.request(ty, DeltaRequest { subscribe: names, ..DeltaRequest::default() });
        }
        stream
    }
}

fn open(config: &Config, proxies: &Proxies, directory: &std::path::Path) -> Staging {
    Staging::open(proxies.clone(), ModeFile::new(directory), Settings::from(config)).unwrap()
}

/// `shop/client` and `back/web`, with this mode for the latter's ports.
fn at(mode: &str) -> String {
    [peer_authentication("back/default", &format!("{{mtls: {{mode: {mode}}}}}")), client_and_server()].concat()
}

/// A proxy.
struct Stream {
    views: tokio::sync::watch::Receiver<Arc<View>>,
    observer: Observer,
    session: Session<DeltaSubscription>,
}

impl Stream {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    fn request(&mut self, ty: ResourceType, request: DeltaRequest) {
        let view = self.view();
        let outcome = self.session.on_request(ty, request, &view);
        self.observer.answered(ty, &outcome);
    }

    fn receive(&mut self) -> Option<Response> {
        let response = self.session.next_response(&self.view());
        match &response {
            Some(response) => self.observer.sent(response),
            None => self.session.settled().for_each(|(ty, holdings)| self.observer.settled(ty, holdings)),
        }
        response
    }

    fn answer(&mut self, response: &Response, error: Option<&str>) {
        let nonce = response.nonce.to_string();
        let error = error.map(str::to_owned);
        self.request(response.ty, DeltaRequest { nonce, error, ..DeltaRequest::default() });
    }

    fn take_all(&mut self) {
        while let Some(response) = self.receive() {
            self.answer(&response, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_goes_through_its_steps_as_proxies_answer() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    assert_eq!(lab.step().await, None, "what is served first is served at once");
    let (mut web, mut client) = (lab.connect("back/web").await, lab.connect("shop/client").await);
    lab.mode("STRICT").await;
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Accepting));
    assert_eq!(lab.late().await, "back/web: it has not acknowledged the listener 10.0.0.2_8080\n");
    assert!(client.receive().is_none(), "clients hear nothing of it");
    web.take_all();
    let listeners = |web: &Stream| web.view().resources(Listener).map(|it| it.version()).collect::<Vec<_>>();
    let accepting = listeners(&web);
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Switching));
    assert_eq!(listeners(&web), accepting, "the listeners stay as they are");
    assert!(lab.late().await.starts_with("back/web: it has not acknowledged the endpoints of outbound|8080||"));
    web.take_all();
    client.take_all();
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Closing));
    let refused = web.receive().unwrap();
    web.answer(&refused, Some("no such certificate"));
    lab.tick().await;
    assert!(
        lab.late().await.contains("it refuses the listener 10.0.0.2_8080: no such certificate"),
        "{}",
        lab.late().await
    );
}

/// Linkerd's policy goes the same way: from past the proxy to identities only, and to Istio's words for the same without a step.
#[tokio::test(flavor = "multi_thread")]
async fn linkerd_s_changes_go_through_the_same_steps() {
    let skipped = client_and_server().replace(
        "kind: WorkloadEntry, metadata: {name: web",
        "kind: WorkloadEntry, metadata: {annotations: {config.linkerd.io/skip-inbound-ports: \"8080,9090\"}, name: web",
    );
    let server = |port: u16| {
        let spec =
            format!("{{podSelector: {{matchLabels: {{app: web}}}}, port: {port}, accessPolicy: all-authenticated}}");
        object("policy.linkerd.io/v1beta3", "Server", &format!("back/web-{port}"), &spec)
    };
    let meshed = [server(8080), server(9090), client_and_server()].concat();
    let mut lab = Lab::new(&skipped).await;
    let (mut web, mut client) = (lab.connect("back/web").await, lab.connect("shop/client").await);
    lab.write(&meshed).await.unwrap();
    assert_eq!(lab.step().await, Some(Step::Accepting));
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Accepting), "{}", lab.late().await);
    for next in [Some(Step::Switching), Some(Step::Closing), None] {
        web.take_all();
        client.take_all();
        lab.tick().await;
        assert_eq!(lab.step().await, next, "{}", lab.late().await);
    }
    lab.mode("STRICT").await;
    assert_eq!(lab.step().await, None, "STRICT in the other dialect is no change of the mode");
    // A Server may opt out, as a PeerAuthentication may.
    lab.write(&skipped).await.unwrap();
    for _ in 0..4 {
        web.take_all();
        client.take_all();
        lab.tick().await;
    }
    assert_eq!(lab.step().await, None);
    let jumps = meshed.replace(
        "kind: Server, metadata: {",
        "kind: Server, metadata: {annotations: {countersign.dev/staged: \"false\"}, ",
    );
    lab.write(&jumps).await.unwrap();
    assert_eq!(lab.step().await, None);
}

/// Envoy acknowledges a listener, and does not open it before its secrets are there.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_counts_when_its_secrets_are_there_too() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let mut web = lab.connect("back/web").await;
    lab.mode("STRICT").await;
    let (key, id, _) = lab.proxies.certificates().remove(0);
    super::super::renewal::replace(&lab.proxies, vec![(key, id)]).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_has_nothing_to_do_with_it_does_not_hold_up_a_step() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let (mut web, _client) = (lab.connect("back/web").await, lab.connect("shop/client").await);
    lab.mode("STRICT").await;
    web.take_all();
    lab.staging.advance().await.unwrap();
    lab.wait().await;
    let other = "{action: DENY, rules: [{from: [{source: {namespaces: [x]}}]}]}";
    let other = object("security.istio.io/v1", "AuthorizationPolicy", "back/x", other);
    lab.write(&[at("STRICT"), other.clone()].concat()).await.unwrap();
    web.take_all();
    lab.staging.advance().await.unwrap();
    assert_eq!(
        lab.step().await,
        Some(Step::Accepting),
        "the listener that it has acknowledged now may not be at work yet"
    );
    lab.wait().await;
    lab.write(&[at("STRICT"), other, workload_entry("far/away", "10.0.0.3")].concat()).await.unwrap();
    lab.staging.advance().await.unwrap();
    assert_eq!(lab.step().await, Some(Step::Switching));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_opens_beside_another_has_a_second_of_its_own() {
    let ports = |second: &str| {
        let spec = "{selector: {matchLabels: {app: web}}, mtls: {mode: DISABLE}, portLevelMtls: {8080: {mode: STRICT}, 9090: {mode: MODE}}}";
        [peer_authentication("back/web", &spec.replace("MODE", second)), client_and_server()].concat()
    };
    let mut lab = Lab::new(&at("DISABLE")).await;
    let (mut web, mut client) = (lab.connect("back/web").await, lab.connect("shop/client").await);
    lab.write(&ports("DISABLE")).await.unwrap();
    web.take_all();
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Switching));
    web.take_all();
    client.take_all();
    lab.write(&ports("STRICT")).await.unwrap();
    lab.staging.advance().await.unwrap();
    lab.wait().await;
    assert_eq!(lab.late().await, "back/web: it has not acknowledged the listener 10.0.0.2_9090\n");
    web.take_all();
    lab.staging.advance().await.unwrap();
    assert_eq!(lab.step().await, Some(Step::Accepting), "the second port's gate has just opened");
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Switching));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_nobody_waits_for_any_more_loses_nothing() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let mut web = lab.connect("back/web").await;
    lab.mode("STRICT").await;
    web.take_all();
    assert_eq!(lab.late().await, "");
    drop(web);
    // It has begun to look, and its caller goes away.
    let mut report = Box::pin(lab.staging.report());
    let _ = report.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(report);
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Switching), "{}", lab.late().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_changes_while_no_server_runs_goes_in_steps_too() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    drop((lab.connect("back/web").await, lab.connect("shop/client").await));
    lab.restart().await;
    lab.write(&at("STRICT")).await.unwrap();
    assert_eq!(lab.step().await, Some(Step::Accepting));
    assert!(lab.late().await.contains("back/web: it is not connected"), "{}", lab.late().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_deleted_and_made_again_does_not_jump() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let (_web, mut client) = (lab.connect("back/web").await, lab.connect("shop/client").await);
    let without = [workload_entry("shop/client", "10.0.0.1"), workload_entry("back/web", "10.0.0.2")].concat();
    lab.write(&without).await.unwrap();
    client.take_all();
    lab.mode("STRICT").await;
    assert_eq!(lab.step().await, Some(Step::Accepting));
    assert_eq!(lab.late().await, "back/web: it has not acknowledged the listener 10.0.0.2_8080\n");
}

/// A WorkloadEntry that is deleted and written again, or a Pod that is made anew under its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_deleted_and_made_again_does_not_jump() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let (_web, mut client) = (lab.connect("back/web").await, lab.connect("shop/client").await);
    lab.write(&workload_entry("shop/client", "10.0.0.1")).await.unwrap();
    client.take_all();
    lab.restart().await;
    lab.mode("STRICT").await;
    assert_eq!(lab.step().await, Some(Step::Accepting));
    assert_eq!(lab.late().await, "back/web: it has not acknowledged the listener 10.0.0.2_8080\n");
}

/// Without it, the port is as good as new to a server that is started under the next policy.
#[tokio::test(flavor = "multi_thread")]
async fn new_ports_that_could_not_be_kept_are_kept_when_they_can_be() {
    let mut lab = Lab::new(&workload_entry("back/web", "10.0.0.2")).await;
    let path = lab._directory.path().join("modes.json");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let (set, warnings) = crate::policy::parse_set([("f.yaml", at("DISABLE"))]).unwrap();
    let update = source::Update { set: Arc::new(set), files: 1, warnings, generation: 2 };
    let state = source::State { current: Some(Arc::new(update)), rejected: None };
    let (_source, policy) = tokio::sync::watch::channel(Arc::new(state));
    let (served, mut models) = tokio::sync::watch::channel(None);
    let following = super::super::policy_loop::start(lab.proxies.clone(), policy, lab.staging.clone(), served).await;
    assert_eq!(models.borrow_and_update().as_ref().map(|it| it.generation), Some(2), "it is served all the same");
    std::fs::remove_dir(&path).unwrap();
    let kept = || std::fs::read_to_string(&path).is_ok_and(|text| text.contains(r#""8080":"DISABLE""#));
    tokio::time::timeout(Duration::from_secs(30), async {
        while !kept() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the loop tries again");
    following.abort();
    lab.restart().await;
    lab.mode("STRICT").await;
    assert_eq!(lab.step().await, Some(Step::Accepting));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_step_is_taken_before_there_is_a_policy() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    lab.mode("STRICT").await;
    lab.restart().await;
    lab.proxies.model.store(None);
    lab.tick().await;
    let pace = lab.staging.advance().await.unwrap();
    assert_eq!((lab.step().await, pace.look), (Some(Step::Accepting), LOOK));
    for force in [false, true] {
        assert!(matches!(lab.staging.push_on(force).await, Err(NotAdvanced::NoPolicy)));
    }
    assert_eq!(lab.step().await, Some(Step::Accepting));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_kept_is_not_served() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let file = lab._directory.path().join("modes.json");
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(lab.write(&at("STRICT")).await.is_err());
    assert_eq!(lab.proxies.model.load_full().unwrap().generation, 1);
    assert_eq!(lab.step().await, None);
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, &kept).unwrap();
    lab.write(&at("STRICT")).await.unwrap();
    assert_eq!(lab.step().await, Some(Step::Accepting));
    // And a step that could not be kept is not taken.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(matches!(lab.staging.push_on(true).await, Err(NotAdvanced::File(_))));
    assert_eq!(lab.step().await, Some(Step::Accepting));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_switches_no_mode_costs_nothing() {
    let mut lab = Lab::new(&at("STRICT")).await;
    let file = lab._directory.path().join("modes.json");
    let before = std::fs::metadata(&file).unwrap();
    let (web, client) = (lab.connect("back/web").await, lab.connect("shop/client").await);
    let views = [web.view(), client.view()];
    let same = at("STRICT").replace("back/default", "back/other").replace("name: default", "name: other");
    assert_ne!(same, at("STRICT"));
    lab.write(&same).await.unwrap();
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()), "it is not written again");
    assert!(Arc::ptr_eq(&views[0], &web.view()) && Arc::ptr_eq(&views[1], &client.view()));
    assert_eq!(lab.step().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opted_out_policy_and_a_server_without_steps_jump() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let mut client = lab.connect("shop/client").await;
    let opted_out = at("STRICT").replacen(
        "namespace: back}",
        "namespace: back, annotations: {countersign.dev/staged: \"false\"}}",
        1,
    );
    lab.write(&opted_out).await.unwrap();
    assert_eq!(lab.step().await, None);
    assert!(client.receive().is_some(), "the client is told at once");
    let kept = std::fs::read_to_string(lab._directory.path().join("modes.json")).unwrap();
    assert!(kept.contains(r#""8080":"STRICT""#), "and it is kept: {kept}");
    lab.staging.settings.staged = false;
    lab.mode("DISABLE").await;
    assert_eq!(lab.step().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_does_not_reach_the_port_is_not_made_anew_by_a_step() {
    let elsewhere = [
        workload_entry("far/away", "10.0.0.3"),
        object("networking.istio.io/v1", "Sidecar", "far/default", "{egress: [{hosts: [\"far/*\"]}]}"),
    ]
    .concat();
    let mut lab = Lab::new(&[at("DISABLE"), elsewhere.clone()].concat()).await;
    let mut web = lab.connect("back/web").await;
    let (far, client) = (lab.connect("far/away").await, lab.connect("shop/client").await);
    lab.write(&[at("STRICT"), elsewhere].concat()).await.unwrap();
    let (before, far_before, client_before) = (lab.proxies.model.load_full().unwrap(), far.view(), client.view());
    web.take_all();
    lab.tick().await;
    assert_eq!(lab.step().await, Some(Step::Switching));
    assert!(Arc::ptr_eq(&far_before, &far.view()), "it does not even wake up");
    assert!(!Arc::ptr_eq(&client_before, &client.view()));
    let after = lab.proxies.model.load_full().unwrap();
    let class = |model: &Model, name: &str| {
        let workload = Arc::clone(model.mesh.workload(&name.parse().unwrap()).unwrap());
        model
            .class(&workload, crate::plan::Flavour::Envoy(crate::plan::Node::PLAIN), OffsetDateTime::now_utc())
            .calls_id()
    };
    assert_eq!(class(&before, "far/away"), class(&after, "far/away"));
    assert_ne!(class(&before, "shop/client"), class(&after, "shop/client"));
    assert!(!lab.late().await.contains("far/away"), "{}", lab.late().await);
}

#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = ModeFile::new(directory.path());
    assert!(file.read().unwrap().is_none());
    let empty = ModeRollout::first(&Default::default());
    file.write(&empty).unwrap();
    assert_eq!(file.read().unwrap(), Some(empty));
    let path = directory.path().join("modes.json");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    std::fs::write(&path, "{").unwrap();
    let error = file.read().unwrap_err().to_string();
    assert!(error.contains("modes.json cannot be read") && error.contains("remove it"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_has_left_half_written_is_removed() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let directory = lab._directory.path().to_owned();
    let left = || {
        let names = std::fs::read_dir(&directory).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".new-")).collect::<Vec<_>>()
    };
    for name in [".new-modes-Ab12Cd", ".new-Ab12Cd"] {
        std::fs::write(directory.join(name), "{").unwrap();
    }
    lab.restart().await;
    assert_eq!(left(), [".new-Ab12Cd"], "what others write here is theirs");
    lab.mode("STRICT").await;
    assert_eq!(lab.step().await, Some(Step::Accepting));
}
