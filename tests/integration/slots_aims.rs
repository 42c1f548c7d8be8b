//! How well the slots of an account are used whose limit nobody tells, on the benchmark's made-up clock: the same for each run.

#[path = "../bench/slots/account.rs"]
mod account;
#[path = "../bench/slots/played.rs"]
mod played;
#[path = "../bench/slots/pure.rs"]
mod pure;

use account::{Account, Figures, WARM_UP};

const SEEDS: u64 = 20;

fn used(limit: usize) -> Figures {
    let account = Account::of(limit);
    let runs = (0..SEEDS).map(|seed| pure::run(&account, seed, WARM_UP + 100 * limit, false).unwrap());
    Figures::mean(&runs.collect::<Vec<_>>())
}

fn is_kept_busy_with_few_questions(limit: usize) {
    let used = used(limit);
    assert!(used.busy >= 0.95, "{used:?}");
    assert!(used.polls <= 12.0, "{used:?}");
    assert!(used.refused <= 1.0, "{used:?}");
    assert!(used.delay_share < 0.05, "{used:?}");
}

#[test]
fn one_slot_is_kept_busy_with_few_questions() {
    is_kept_busy_with_few_questions(1);
}

#[test]
fn two_slots_are_kept_busy_with_few_questions() {
    is_kept_busy_with_few_questions(2);
}

#[test]
fn eight_slots_are_kept_busy_with_few_questions() {
    is_kept_busy_with_few_questions(8);
}

#[test]
fn the_same_seed_decides_alike() {
    let run = |seed| format!("{:?}", pure::run(&Account::of(2), seed, 60, false).unwrap());
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
