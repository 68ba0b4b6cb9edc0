//! PEM that an operator brings: whatever is taken as an authority above this one signs, and nothing is kept of what is refused.
#![no_main]

use std::sync::LazyLock;

use countersign::trust::fuzzing::{Hierarchy, NOW};
use countersign::trust::{Brought, Upstream};
use libfuzzer_sys::fuzz_target;

static HIERARCHY: LazyLock<Hierarchy> = LazyLock::new(Hierarchy::new);

// Certificates, key and roots, with a zero between them.
fuzz_target!(|text: &str| {
    let mut parts = text.split('\0');
    let (chain, key, root) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let Hierarchy { trust, settings, .. } = &*HIERARCHY;
    if let Ok(upstream) = Upstream::read(settings, chain, key, root, NOW) {
        let again = Upstream::read(settings, chain, key, root, NOW).expect("what was good is good");
        assert!(!upstream.has_other_roots(&again));
    }
    let before = trust.bundle();
    let brought = Brought { chain, root: root.unwrap_or_default(), key: Some(key) };
    assert!(trust.import_authority(brought, NOW).is_err(), "nobody but the root signs below the root");
    assert_eq!(trust.bundle(), before);
});
