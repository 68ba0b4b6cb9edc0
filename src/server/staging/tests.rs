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

mod answers;
mod kept;

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
