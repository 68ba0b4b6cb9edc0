//! Random histories against a reference client, in both variants.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::xds::model::{DeltaClient, SotwClient, answer_bytes, run};

/// Histories in which fuzzing has found a fault, as short as they could be made.
#[test]
fn what_once_failed_does_not_fail_again() {
    // A refused cluster is replaced by another bad one, and comes back before that one is refused.
    run::<DeltaClient>(&[1, 61, 247, 7, 28, 41, 205, 7, 28, 204, 55, 55, 247, 7]);
    // A client lets go what stood in a list that it then refuses, and wants everything again.
    run::<SotwClient>(&[6, 53, 53, 48, 3, 0, 43, 0, 80, 0, 157, 80, 3, 0]);
    // A secret is refused, another is on its way, and the stream ends; the refused one comes back on the next.
    run::<SotwClient>(&[65, 134, 182, 182, 91, 0, 6, 182, 109, 2, 172, 109, 182, 182, 110, 207]);
    // A list is refused, another in its place is refused when there is a third, and the third is the first again.
    run::<SotwClient>(&[0, 0, 0, 2, 11, 0, 13, 0, 53, 2, 11, 0, 11, 0, 13, 0, 53, 0, 11, 0, 8, 0]);
}

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
