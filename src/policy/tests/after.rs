//! A set after a set: what is taken over is what reading it again would give.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::policy::{PolicySet, parse_set, parse_set_after};

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

#[test]
fn kinds_in_which_nothing_has_changed_are_shared() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: n}\nspec: {ports: [{port: 80}]}\n";
    let (set, warnings) = parse_set([("a.yaml", workload("a", "10.0.0.1")), ("b.yaml", service.to_owned())]).unwrap();
    let other = service.replace("80", "81");
    let (after, _) = parse_set_after(&set, &warnings, [("a.yaml", None), ("b.yaml", Some(&other))]).unwrap();
    assert!(after.workload_entries.are(&set.workload_entries));
    assert!(!after.services.are(&set.services));
    // Another file may bring another object of the kind; those of the first are still the same.
    let more = workload("b", "10.0.0.2");
    let documents = [("a.yaml", None), ("b.yaml", None), ("c.yaml", Some(&more))];
    let (after, _) = parse_set_after(&set, &warnings, documents).unwrap();
    assert!(!after.workload_entries.are(&set.workload_entries));
    assert!(std::sync::Arc::ptr_eq(&after.workload_entries[0], &set.workload_entries[0]));
}

/// A file's documents: of which kind, under which of few names, with which of two contents.
type File = Vec<(usize, usize, bool)>;

fn text(file: &File) -> String {
    let document = |(kind, name, content): &(usize, usize, bool)| {
        let (name, content) = (format!("o{name}"), usize::from(*content));
        let object = |api: &str, kind: &str, rest: String| {
            format!("---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: n}}\n{rest}\n")
        };
        match kind {
            0 => object("v1", "Service", format!("spec: {{ports: [{{port: 8{content}}}]}}")),
            1 => object("networking.istio.io/v1", "WorkloadEntry", format!("spec: {{address: 10.0.0.{content}}}")),
            2 => object("v1", "Secret", format!("stringData: {{a: \"{content}\"}}")),
            3 => object("networking.istio.io/v1", "VirtualService", "spec: {hosts: [a.test]}".to_owned()),
            // Not a port.
            4 => object("v1", "Service", format!("spec: {{ports: [{{port: {}}}]}}", content * 70_000)),
            _ => object("example.com/v1", "Unknown", String::new()),
        }
    };
    file.iter().map(document).collect()
}

fn file() -> impl Strategy<Value = File> {
    // Bad documents are rare, or no set would be good.
    let kind = prop_oneof![20 => 0..4_usize, 1 => Just(4_usize), 2 => Just(5_usize)];
    prop::collection::vec((kind, 0..30_usize, any::<bool>()), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_set_is_that_of_reading_everything_again(
        changes in prop::collection::vec((0..3_usize, prop::option::of(file())), 1..12),
    ) {
        let mut files: BTreeMap<String, File> = BTreeMap::new();
        // As the source has it: the files of the last good set, and what was made of them.
        let (mut good, mut before) = (BTreeMap::new(), (PolicySet::default(), Vec::new()));
        for (index, change) in changes {
            let name = format!("f{index}.yaml");
            match change {
                Some(file) => drop(files.insert(name, file)),
                None => drop(files.remove(&name)),
            }
            let texts: BTreeMap<&String, String> = files.iter().map(|(name, file)| (name, text(file))).collect();
            let documents = texts.iter().map(|(name, text)| (name, (good.get(*name) != Some(text)).then_some(text)));
            let after = parse_set_after(&before.0, &before.1, documents);
            prop_assert_eq!(format!("{after:?}"), format!("{:?}", parse_set(texts.iter())));
            if let Ok(after) = after {
                good = texts.into_iter().map(|(name, text)| (name.clone(), text)).collect();
                before = after;
            }
        }
    }
}
