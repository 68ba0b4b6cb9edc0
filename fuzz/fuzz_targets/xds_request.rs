//! The bytes of a request, of either variant: whatever decodes is answered without a panic.
#![no_main]

use countersign::xds::model::answer_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| answer_bytes(bytes));
