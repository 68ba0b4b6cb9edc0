//! Histories of a state-of-the-world stream against the reference client.
#![no_main]

use countersign::xds::model::{SotwClient, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|history: &[u8]| run::<SotwClient>(history));
