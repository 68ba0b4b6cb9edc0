//! A clock that jumps: a machine that was asleep, one whose clock was set, and years that pass.

use std::sync::atomic::{AtomicI64, Ordering};

use time::macros::datetime;
use tokio::time::Instant;

use super::super::listener_certificate;
use super::super::renewal;
use super::super::rotation::Rotation;
use super::*;
use crate::trust::tls::ServerTls;
use crate::trust::{Revoke, WorkloadCertificate};
use crate::xds::Attachment;

const START: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);
const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// A server's certificates at work, with one proxy, under a clock that is set by hand. It looks at the clock every 20 seconds; so that
/// nobody has to wait for that, the test makes it look, as a proxy that comes or goes does.
struct Machine {
    seconds: Arc<AtomicI64>,
    proxies: Proxies,
    rotation: Rotation,
    tls: Arc<ServerTls>,
    _proxy: Attachment<<Proxies as ControlPlane>::Observer>,
    directory: tempfile::TempDir,
}

impl Machine {
    async fn start() -> Self {
        let seconds = Arc::new(AtomicI64::new(START.unix_timestamp()));
        let hand = Arc::clone(&seconds);
        let clock: Clock = Arc::new(move || OffsetDateTime::from_unix_timestamp(hand.load(Ordering::SeqCst)).unwrap());
        let (directory, proxies) = proxies_at(clock, Admission::new(8, 8, Duration::from_secs(60)));
        proxies.set_model(model(1, &web("web")));
        let config = Config::default();
        let own = listener_certificate(&proxies, &config).await.unwrap();
        let (tls, rotation) = (Arc::clone(&own.tls), Rotation::new(proxies.clone(), config.rotation.clone()));
        renewal::run(proxies.clone(), own, rotation.clone(), Duration::ZERO);
        let proxy = proxies.attach(peer("web"), node()).await.unwrap();
        Self { seconds, proxies, rotation, tls, _proxy: proxy, directory }
    }

    fn now(&self) -> OffsetDateTime {
        (self.proxies.clock)()
    }

    /// The clock jumps. Nobody is told.
    fn jump(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn leaf(&self) -> Arc<WorkloadCertificate> {
        self.proxies.certificate(&"shop/web".parse().unwrap()).unwrap()
    }

    /// Waits until this is so.
    async fn heals(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
            self.looks().await;
        }
    }

    fn is_well(&self) -> bool {
        let (leaf, now) = (self.leaf(), self.now());
        leaf.not_before <= now && now < leaf.renew_at
    }

    async fn looks(&self) {
        self.proxies.changed.notify_one();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }

    /// Long enough for several looks.
    async fn rests(&self) {
        for _ in 0..5 {
            self.looks().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_was_asleep_renews_what_is_due_and_what_is_over() {
    for hours in [16, 48, 24 * 40] {
        let machine = Machine::start().await;
        let (before, shown) = (machine.leaf(), Arc::as_ptr(&machine.tls.config()));
        machine.jump(hours * HOUR);
        assert!(!machine.is_well(), "{hours} h: the check can fail");
        machine.heals("the leaf", Machine::is_well).await;
        machine.heals("our own certificate", |it| Arc::as_ptr(&it.tls.config()) != shown).await;
        assert_ne!(machine.leaf().serial, before.serial);
        let signer = machine.proxies.trust.intermediate();
        assert!(machine.now() < signer.not_after && machine.leaf().issuer == signer.serial, "{hours} h");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_an_hour_leaves_nothing_that_is_not_valid_yet() {
    let machine = Machine::start().await;
    // Renewal is at half of the life, give or take a tenth of it: not later than after 13.2 hours.
    machine.jump(14 * HOUR);
    machine.heals("the leaf", Machine::is_well).await;
    let ahead = machine.leaf();
    machine.jump(-HOUR);
    assert!(ahead.not_before > machine.now(), "the check can fail");
    machine.heals("the leaf", Machine::is_well).await;
    assert!(machine.leaf().serial != ahead.serial && machine.leaf().not_after < ahead.not_after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_forward_an_hour_changes_nothing() {
    let machine = Machine::start().await;
    machine.rests().await;
    let (before, signer) = (machine.leaf(), machine.proxies.trust.intermediate());
    machine.jump(HOUR);
    machine.rests().await;
    assert_eq!((machine.leaf(), machine.proxies.trust.intermediate()), (before, signer));
    assert!(machine.rotation.report().await.rotation.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_is_rotated_by_itself_before_its_end_and_not_earlier() {
    let machine = Machine::start().await;
    let (_, end) = machine.proxies.trust.root_life();
    let left = (end - machine.now()).whole_seconds();
    machine.jump(left - YEAR - HOUR);
    machine.heals("the leaf", Machine::is_well).await;
    machine.rests().await;
    assert!(machine.rotation.report().await.rotation.is_none(), "rotation.rootBefore is a year");
    machine.jump(2 * HOUR);
    machine.rests().await;
    let rotation = machine.rotation.report().await.rotation.expect("it has begun");
    assert_eq!(rotation.pair().old, machine.proxies.trust.root(), "and waits for the proxy to acknowledge");
    machine.heals("the leaf", Machine::is_well).await;
}

/// Nothing can be written any more: what is served goes on, and somebody is told before it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_in_their_last_quarter_are_counted_when_they_cannot_be_renewed() {
    let machine = Machine::start().await;
    machine.rests().await;
    let metrics = Arc::clone(&machine.proxies.metrics);
    assert_eq!((metrics.expiring_leaves.get(), metrics.certificates_issued.get()), (0, 1), "the first one counts too");
    let before = machine.leaf();
    let store = rusqlite::Connection::open(machine.directory.path().join("trust.db")).unwrap();
    store.execute_batch("ALTER TABLE workload RENAME TO away").unwrap();
    machine.jump(17 * HOUR);
    machine.rests().await;
    assert_eq!((metrics.expiring_leaves.get(), machine.leaf()), (0, before.clone()), "a third of its life is left");
    machine.jump(2 * HOUR);
    machine.heals("somebody is told", |_| metrics.expiring_leaves.get() == 1).await;
    assert_eq!(metrics.earliest_leaf_expiry.get(), before.not_after.unix_timestamp());
    store.execute_batch("ALTER TABLE away RENAME TO workload").unwrap();
    machine.heals("the leaf", Machine::is_well).await;
    machine.heals("nobody is told any more", |_| metrics.expiring_leaves.get() == 0).await;
}

/// The root is in the store, and only the revocation lists that name its intermediate are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_rotation_whose_lists_could_not_be_kept_is_not_begun_twice() {
    let machine = Machine::start().await;
    let trust = Arc::clone(&machine.proxies.trust);
    trust.revoke(&Revoke::Serial(machine.leaf().serial.clone()), machine.now()).unwrap();
    machine.rests().await;
    assert_eq!(machine.proxies.metrics.revoked_certificates.get(), 1);
    let store = rusqlite::Connection::open(machine.directory.path().join("trust.db")).unwrap();
    store.execute_batch("ALTER TABLE crl RENAME TO away").unwrap();
    assert!(machine.rotation.start(false, false).await.is_err(), "the check can fail");
    store.execute_batch("ALTER TABLE away RENAME TO crl").unwrap();
    let again = machine.rotation.start(false, false).await.unwrap_err();
    assert!(again.to_string().contains("under way"), "{again}");
    machine.rests().await;
    let roots: i64 =
        store.query_row("SELECT count(*) FROM authority WHERE kind = 'root'", [], |row| row.get(0)).unwrap();
    assert_eq!(roots, 2);
}
