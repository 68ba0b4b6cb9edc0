//! Certificate requests: whatever is signed says who the caller is, and nothing else.
#![no_main]

use std::sync::LazyLock;

use countersign::identity::spiffe_id_of;
use countersign::trust::fuzzing::{Hierarchy, NOW};
use libfuzzer_sys::fuzz_target;
use x509_parser::pem::parse_x509_pem;

static HIERARCHY: LazyLock<Hierarchy> = LazyLock::new(Hierarchy::new);

fuzz_target!(|request: &str| {
    let Ok(issued) = HIERARCHY.trust.sign_csr(request, &HIERARCHY.id, None, NOW) else { return };
    let (_, pem) = parse_x509_pem(issued.chain_pem.as_bytes()).expect("what is issued is PEM");
    let certificate = pem.parse_x509().expect("what is issued is a certificate");
    assert_eq!(spiffe_id_of(&certificate).expect("a workload's"), HIERARCHY.id);
});
