//! The pure parts of the protocol: a subscription step, the assembly of a response, the difference of two views.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use countersign::xds::{
    DeltaRequest, DeltaSubscription, Layer, Resource, ResourceType, Session, SotwRequest, SotwSubscription, View,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

/// The size of an outbound cluster with mTLS.
const CLUSTER: usize = 900;

fn clusters(count: usize, changed: usize, previous: Option<&Layer>) -> Arc<Layer> {
    let resources = (0..count).map(|n| {
        let mut value = vec![b'x'; CLUSTER];
        value[0] = u8::from(n < changed);
        value[8..16].copy_from_slice(&(n as u64).to_le_bytes());
        (ResourceType::Cluster, Arc::new(Resource::new(ResourceType::Cluster, format!("outbound|{n}"), &value)))
    });
    Arc::new(Layer::new(resources, previous))
}

fn view(layer: &Arc<Layer>) -> View {
    View::new(&[Arc::default(), Arc::default(), Arc::clone(layer)])
}

fn delta(view: &View) -> Session<DeltaSubscription> {
    let mut session = Session::default();
    session.on_request(ResourceType::Cluster, DeltaRequest::default(), view);
    settle(&mut session, view);
    session
}

fn settle(session: &mut Session<DeltaSubscription>, view: &View) {
    while let Some(response) = session.next_response(view) {
        let request = DeltaRequest { nonce: response.nonce.to_string(), ..DeltaRequest::default() };
        session.on_request(response.ty, request, view);
    }
}

fn subscription_step(c: &mut Criterion) {
    for count in [10, 100, 1_000] {
        let before = clusters(count, 0, None);
        let after = view(&clusters(count, 1, Some(&*before)));
        let before = view(&before);
        c.bench_function(&format!("delta: one of {count} clusters changes, is sent and acknowledged"), |b| {
            b.iter_batched_ref(|| delta(&before), |session| settle(session, &after), BatchSize::SmallInput);
        });
        c.bench_function(&format!("delta: another type changes, {count} clusters do not"), |b| {
            let mut session = delta(&before);
            b.iter(|| black_box(session.next_response(&before)).is_none());
        });
    }
}

fn response_assembly(c: &mut Criterion) {
    for count in [1, 100] {
        let view = view(&clusters(count, 0, None));
        c.bench_function(&format!("delta: first response with {count} clusters, encoded"), |b| {
            b.iter(|| {
                let mut session = Session::<DeltaSubscription>::default();
                session.on_request(ResourceType::Cluster, DeltaRequest::default(), &view);
                let mut wire = Vec::with_capacity(count * (CLUSTER + 256) + 256);
                session.next_response(&view).expect("it is due").encode(&mut wire);
                wire
            });
        });
        c.bench_function(&format!("SotW: first response with {count} clusters, encoded"), |b| {
            b.iter(|| {
                let mut session = Session::<SotwSubscription>::default();
                session.on_request(ResourceType::Cluster, SotwRequest::default(), &view);
                let mut wire = Vec::with_capacity(count * (CLUSTER + 256) + 256);
                session.next_response(&view).expect("it is due").encode(&mut wire);
                wire
            });
        });
    }
}

fn view_difference(c: &mut Criterion) {
    for count in [100, 10_000] {
        let before = clusters(count, 0, None);
        let after = clusters(count, 1, Some(&*before));
        c.bench_function(&format!("layer: one of {count} clusters is replaced"), |b| {
            b.iter(|| clusters(count, 1, Some(&*before)));
        });
        let (before, after) = (view(&before), view(&after));
        c.bench_function(&format!("view: the difference of one in {count} clusters"), |b| {
            b.iter(|| before.of(ResourceType::Cluster).differences(after.of(ResourceType::Cluster)));
        });
    }
}

criterion_group! {
    name = xds;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = subscription_step, response_assembly, view_difference
}
criterion_main!(xds);
