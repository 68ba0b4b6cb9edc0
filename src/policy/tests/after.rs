//! A set after a set: what is taken over is what reading it again would give.

use crate::policy::{parse_set, parse_set_after};

fn workload(name: &str, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: n}}\n\
         spec: {{address: {address}}}\n---\napiVersion: example.com/v1\nkind: Unknown\nmetadata: {{name: {name}}}\n"
    )
}

#[test]
fn what_is_taken_over_is_what_reading_again_gives() {
    let (a, b, new) = (workload("a", "10.0.0.1"), workload("b", "10.0.0.2"), workload("c", "10.0.0.3"));
    let (set, warnings) = parse_set([("a.yaml", &a), ("b.yaml", &b)]).unwrap();
    assert!(!warnings.is_empty());
    let after = parse_set_after(&set, &warnings, [("a.yaml", None), ("b.yaml", Some(&new))]).unwrap();
    let again = parse_set([("a.yaml", &a), ("b.yaml", &new)]).unwrap();
    assert_eq!(format!("{after:?}"), format!("{again:?}"));
    // A file that is not there any more is not taken over.
    let after = parse_set_after(&set, &warnings, [("b.yaml", None::<&String>)]).unwrap();
    assert_eq!(format!("{after:?}"), format!("{:?}", parse_set([("b.yaml", &b)]).unwrap()));
}

#[test]
fn a_name_that_was_taken_over_is_taken() {
    let (a, b) = (workload("a", "10.0.0.1"), workload("b", "10.0.0.2"));
    let (set, warnings) = parse_set([("a.yaml", &a), ("b.yaml", &b)]).unwrap();
    let errors = parse_set_after(&set, &warnings, [("a.yaml", None), ("b.yaml", Some(&a))]).unwrap_err();
    let again = parse_set([("a.yaml", &a), ("b.yaml", &a)]).unwrap_err();
    assert_eq!(format!("{errors:?}"), format!("{again:?}"));
}
