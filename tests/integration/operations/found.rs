//! Lists that are kept, as they were printed: each fails where a promise that it stirs is broken.

use super::operation::{Edit::*, Name::*, Operation::*, Pair::*, Point::*, Vendor::*};
use super::replay;

#[test]
fn a_submission_whose_answer_was_not_taken_in_is_not_made_again() {
    replay(1, &[Drop(A, Good), Crash(Answer(1), Plain)]);
}

#[test]
fn a_retry_that_goes_on_with_its_task_is_not_paid_anew_where_the_ledger_is_lost() {
    replay(1, &[Drop(A, Good), Turn(GivenUp), Retry(0, Same), Crash(Request(1), Plain), Lose]);
}

#[test]
fn the_beginning_of_a_receipt_is_not_left_behind_where_the_ledger_is_lost() {
    for write in 5..=8 {
        replay(1, &[Drop(A, Good), Crash(Write(write), Plain), Lose, Turn(Plain)]);
    }
}
