//! What a stream costs.

use super::*;

fn hundred() -> (Arc<Layer>, Vec<String>) {
    let names: Vec<_> = (0..100).map(|n| format!("outbound|8080||service-{n}")).collect();
    let resources = names.iter().map(|name| (Endpoint, Arc::new(resource(Endpoint, name, "1"))));
    (Arc::new(Layer::new(resources, None)), names)
}

#[test]
fn a_client_in_step_points_to_what_the_layer_has() {
    let (layer, names) = hundred();
    let view = View::new(&[Arc::clone(&layer)]);
    let mut it = Delta::default();
    it.ask(Endpoint, &names.iter().map(String::as_str).collect::<Vec<_>>(), &[], &view);
    it.drain(&view);
    let holdings = it.0.settled().map(|(_, holdings)| holdings.clone()).next().unwrap();
    assert_eq!(holdings.own_size(), 0, "nothing of its own");
    assert_eq!(holdings.resources().len(), 100);

    let mut sotw = Sotw::default();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    sotw.ask(Endpoint, &names, &view);
    sotw.drain(&names, &view);
    assert_eq!(sotw.0.settled().map(|(_, holdings)| holdings.own_size()).next(), Some(0));
}

#[test]
fn a_client_in_step_keeps_no_older_content_alive() {
    let old = view([restatable("a", "1"), restatable("b", "1")]);
    let weak = Arc::downgrade(old.get(Secret, "a").unwrap());
    let mut it = Delta::default();
    it.ask(Secret, &["a", "b"], &[], &old);
    it.drain(&old);
    let new = view([restatable("a", "2"), restatable("b", "1")]);
    it.drain(&new);
    drop(old);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_hundred_thousand_names_in_one_request_are_answered_and_kept_once() {
    let view = view([restatable("a", "1")]);
    let names: Vec<_> = (0..100_000).map(|n| format!("none-{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut it = Delta::default();
    it.ask(Secret, &names, &[], &view);
    let response = it.next(&view).unwrap();
    assert_eq!(response.contents.len(), 100_000);
    it.ack(&response, &view);
    assert!(it.next(&view).is_none());
    assert_eq!(it.0.settled().map(|(_, holdings)| holdings.own_size()).next(), Some(100_000));
    it.ask(Secret, &[], &names, &view);
    assert!(it.next(&view).is_none());
    assert_eq!(it.0.settled().map(|(_, holdings)| holdings.own_size()).next(), Some(0));
}
