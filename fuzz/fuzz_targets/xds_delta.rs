//! Histories of a delta stream against the reference client.
#![no_main]

use countersign::xds::model::{DeltaClient, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|history: &[u8]| run::<DeltaClient>(history));
