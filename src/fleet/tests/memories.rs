//! What is remembered beyond a stream.

use super::*;

#[test]
fn a_refusal_is_known_on_the_next_stream_of_the_same_client() {
    let books = Books::new();
    let view = view([secret("a", "bad")]);
    let sent = |stream: &mut Stream| {
        stream.subscribe(Secret, &["a"], &view);
        let response = stream.next(&view).unwrap();
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        (response, bytes)
    };
    let mut one = books.join("ns/w");
    let (response, first) = sent(&mut one);
    one.nack(&response, "no", &view);
    one.leave();
    assert_eq!(books.fleet.memories().len(), 1);
    assert_eq!(sent(&mut books.join("ns/other")).1, first, "of another workload nothing is known");
    let mut two = books.join("ns/w");
    let (response, second) = sent(&mut two);
    assert_ne!(second, first);
    two.ack(&response, &view);
    two.leave();
    assert_eq!(books.fleet.memories().len(), 0, "what was taken in the end is forgotten");
}

#[test]
fn what_is_remembered_of_all_clients_is_bounded() {
    let books = Books::new();
    let names: Vec<_> = (0..1000).map(|n| format!("name-{n}")).collect();
    let view = view(names.iter().map(|name| secret(name, "bad")));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for n in 0..100 {
        let mut stream = books.join(&format!("ns/{n}"));
        stream.subscribe(Secret, &names, &view);
        let response = stream.next(&view).unwrap();
        stream.nack(&response, "no", &view);
        stream.leave();
    }
    // A refused response leaves two words on each name: that it was tried, and that what the client has is unknown.
    assert_eq!(books.fleet.memories().len(), 64 * 1024 / 2001);
    let known = |workload: &str| !books.join(workload).session.memory().is_empty();
    assert!(known("ns/99") && !known("ns/0"));
}
