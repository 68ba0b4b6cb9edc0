//! Random histories against a reference client, in both variants.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::xds::model::{DeltaClient, SotwClient, answer_bytes, run};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_delta_client_ends_with_what_it_asked_for(history in vec(any::<u8>(), 0..160)) {
        run::<DeltaClient>(&history);
    }

    #[test]
    fn a_sotw_client_ends_with_what_it_asked_for(history in vec(any::<u8>(), 0..160)) {
        run::<SotwClient>(&history);
    }

    #[test]
    fn any_bytes_that_are_a_request_are_answered(bytes in vec(any::<u8>(), 0..200)) {
        answer_bytes(&bytes);
    }
}
