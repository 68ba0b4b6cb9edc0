//! The bundle of another trust domain: whatever is taken in has roots, and comes back as it is written.
#![no_main]

use std::sync::LazyLock;

use countersign::trust::fuzzing::{Hierarchy, NOW};
use libfuzzer_sys::fuzz_target;

static HIERARCHY: LazyLock<Hierarchy> = LazyLock::new(Hierarchy::new);

fuzz_target!(|document: &str| {
    let other = "other.test".parse().expect("a constant");
    let Ok(taken) = HIERARCHY.trust.import_bundle(&other, document, NOW) else { return };
    assert!(!taken.bundle.roots().is_empty());
    HIERARCHY.trust.remove_bundle(&other).expect("it is there");
    let again = HIERARCHY.trust.import_bundle(&other, taken.bundle.pem(), NOW).expect("what was good is good");
    assert_eq!(again.bundle, taken.bundle);
    HIERARCHY.trust.remove_bundle(&other).expect("it is there");
});
