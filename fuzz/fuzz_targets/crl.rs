//! Revocation lists as they are read back: nothing but what the intermediate has signed is one.
#![no_main]

use std::sync::LazyLock;

use countersign::trust::fuzzing::Hierarchy;
use libfuzzer_sys::fuzz_target;

static HIERARCHY: LazyLock<Hierarchy> = LazyLock::new(Hierarchy::new);

fuzz_target!(|list: &[u8]| assert!(!HIERARCHY.takes_list(list), "the signature of an intermediate was forged"));
