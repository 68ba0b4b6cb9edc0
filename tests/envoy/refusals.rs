//! What Envoy refuses: a bad secret among good ones, and clusters that refer to one.

use countersign::fleet::{State, TypeRecord};
use countersign::secrets;
use countersign::xds::{Resource, ResourceType};

use crate::harness::{Setting, eventually, on_envoys};
use crate::outside::{Pair, Pki};
use crate::plane::{Plane, cluster, secret};

on_envoys!(one_bad_secret_among_fifty_in_one_response: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);
on_envoys!(one_bad_secret_among_fifty_that_travel_alone: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);
on_envoys!(trap_4_a_cluster_that_refers_to_a_bad_secret_comes_again_when_it_is_mended: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);

on_envoys!(trap_3_what_was_refused_is_refused_again_after_a_reconnect: delta_1_40, sotw_1_40, delta_1_36, sotw_1_36);

const SECRETS: usize = 51;
const BAD: usize = 17;

fn name(n: usize) -> String {
    format!("secret-{n:02}")
}

/// A cluster for each secret.
fn resources(pairs: &[Pair], together: bool) -> Vec<Resource> {
    let secrets = pairs.iter().enumerate().map(|(n, pair)| {
        let resource = secret(&name(n), pair);
        if together { resource.restated_by(secrets::restate) } else { resource }
    });
    secrets.chain((0..pairs.len()).map(|n| cluster(&name(n), &name(n)))).collect()
}

fn count(record: &TypeRecord, state: State) -> usize {
    record.resources.values().filter(|it| it.state() == state).count()
}

async fn one_bad_secret_among_fifty_in_one_response(setting: Setting) {
    run(setting, true).await;
}

async fn one_bad_secret_among_fifty_that_travel_alone(setting: Setting) {
    run(setting, false).await;
}

async fn run(setting: Setting, together: bool) {
    let pki = Pki::new("operator");
    let mut pairs: Vec<_> = (0..SECRETS).map(|n| pki.issue(&name(n), &[])).collect();
    // A key that is not the certificate's.
    let good_key = std::mem::replace(&mut pairs[BAD].key, pki.issue("another", &[]).key);
    let plane = Plane::start(setting, resources(&pairs, together)).await;

    let mut last = None;
    let record = eventually("fifty are taken and one is refused", async || {
        let record = plane.record(ResourceType::Secret)?;
        let counts = (count(&record, State::Synced), count(&record, State::Rejected), record.in_flight.is_some());
        if last.replace(counts) != Some(counts) {
            eprintln!("synced, rejected, in flight: {counts:?}");
        }
        (counts == (SECRETS - 1, 1, false)).then_some(record)
    })
    .await;
    // In the end it was alone in its response. Had Envoy known the bytes from the response before, it would have taken them
    // without a word (trap 3): so those in which it came alone were others to it.
    let errors: Vec<_> = record.errors().collect();
    assert_eq!(errors[0].0, name(BAD), "{errors:?}");
    assert!(errors[0].1.contains("KEY_VALUES_MISMATCH"), "{errors:?}");
    assert_eq!(record.resources[&*name(BAD)].rejected.as_ref().map(|refusal| refusal.others), Some(0));
    // Envoy's own word: it has loaded fifty.
    eventually("fifty certificates are loaded", async || {
        let held = plane.envoy.admin().certs().await.ok()?;
        (held.leaves.len() == SECRETS - 1).then_some(())
    })
    .await;

    pairs[BAD].key = good_key;
    plane.show(resources(&pairs, together));
    eventually("all are loaded", async || {
        let held = plane.envoy.admin().certs().await.ok()?;
        let record = plane.record(ResourceType::Secret)?;
        (held.leaves.len() == SECRETS && count(&record, State::Synced) == SECRETS).then_some(())
    })
    .await;
}

/// Envoy refuses a cluster that refers to a secret which it holds as bad, and does not come back to it.
async fn trap_4_a_cluster_that_refers_to_a_bad_secret_comes_again_when_it_is_mended(setting: Setting) {
    let pki = Pki::new("operator");
    let (good, mut mended) = (pki.issue("good", &[]), pki.issue("mended", &[]));
    let good_key = std::mem::replace(&mut mended.key, pki.issue("another", &[]).key);
    let all = |bad: &Pair, later: &[&str]| {
        let mut all = vec![secret("good", &good), secret("bad", bad), cluster("a", "good"), cluster("b", "bad")];
        all.extend(later.iter().map(|name| cluster(name, "bad")));
        all
    };
    let plane = Plane::start(setting, all(&mended, &[])).await;
    eventually("the secret is refused", async || {
        let record = plane.record(ResourceType::Secret)?;
        (count(&record, State::Rejected) == 1 && record.in_flight.is_none()).then_some(())
    })
    .await;
    // A second cluster that refers to it.
    plane.show(all(&mended, &["c"]));
    let record = eventually("the cluster is refused", async || {
        let record = plane.record(ResourceType::Cluster)?;
        (record.resources.get("c")?.state() == State::Rejected && record.in_flight.is_none()).then_some(record)
    })
    .await;
    assert!(record.errors().any(|(_, error)| error.contains("KEY_VALUES_MISMATCH")), "{record:?}");

    mended.key = good_key;
    plane.show(all(&mended, &["c"]));
    eventually("every cluster is taken", async || {
        let clusters = plane.record(ResourceType::Cluster)?;
        let secrets = plane.record(ResourceType::Secret)?;
        let taken = count(&clusters, State::Synced) == 3 && count(&secrets, State::Synced) == 2;
        (taken && clusters.in_flight.is_none()).then_some(())
    })
    .await;
    eventually("each has its certificate", async || {
        let active = plane.envoy.admin().stat("cluster_manager.active_clusters").await.ok()?;
        let warming = plane.envoy.admin().stat("cluster_manager.warming_clusters").await.ok()?;
        let held = plane.envoy.admin().certs().await.ok()?;
        // Two clusters show the same certificate, each in a context of its own.
        ((active, warming) == (4, 0) && held.leaves.len() == 3).then_some(())
    })
    .await;
}

/// Envoy takes a secret without effect that comes again in the bytes that it has refused, and the stream that knew is gone.
async fn trap_3_what_was_refused_is_refused_again_after_a_reconnect(setting: Setting) {
    let pki = Pki::new("operator");
    let (good, mut bad) = (pki.issue("good", &[]), pki.issue("bad", &[]));
    bad.key = pki.issue("another", &[]).key;
    let absent = tempfile::tempdir().unwrap();
    let path = |name: &str| absent.path().join(name).to_str().unwrap().to_owned();
    let (chain, key) = (path("chain.pem"), path("key.pem"));
    let file = format!("file-cert:{chain}~{key}");
    let in_files = Resource::new(ResourceType::Secret, file.as_str(), &secrets::file_certificate(&chain, &key));
    let plane = Plane::start(
        setting,
        vec![
            secret("good", &good).restated_by(secrets::restate),
            secret("bad", &bad).restated_by(secrets::restate),
            in_files.restated_by(secrets::restate).alone(),
            cluster("a", "good"),
            cluster("b", "bad"),
            cluster("c", &file),
        ],
    )
    .await;
    for round in 1..5 {
        eventually(&format!("two are refused, round {round}"), async || {
            let record = plane.record(ResourceType::Secret)?;
            let is_refused = |name: &str| {
                let refusal = record.resources.get(name)?.rejected.as_ref()?;
                (refusal.others == 0).then_some(())
            };
            is_refused("bad").and(is_refused(&file))?;
            let synced = record.resources.get("good")?.state() == State::Synced;
            (synced && count(&record, State::Rejected) == 2 && record.in_flight.is_none()).then_some(())
        })
        .await;
        plane.disconnect();
        eventually("it comes back", async || (plane.streams() > round).then_some(())).await;
    }
}
