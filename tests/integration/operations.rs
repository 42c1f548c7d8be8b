//! Whatever happens, in whatever order: lists of operations that nobody thought of, and what must hold after each.
//!
//! `PROPTEST_CASES` says how many lists there are, each time others; without it there are few, and always the same. A list that
//! fails is made as short as it can be and printed as a test to keep below. Several are carried out at once: they mostly wait.

mod operation;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner, basic_result_cache};
use tokio::runtime::Runtime;

use operation::{Case, Operation, cases};
use world::Tally;

/// Lists, if nobody asks for more.
const CASES: u32 = 48;

/// What these are made up from.
const SEED: u64 = 20_261_130;

/// Verses of the longest list.
const VERSES_MAX: usize = 6;

/// Lists at once.
const AT_ONCE: u32 = 8;

/// So often a shorter list is tried, and no longer than so many milliseconds.
const SHRINKS_MAX: u32 = 400;
const SHRINK_MILLISECONDS_MAX: u32 = 5 * 60 * 1_000;

/// A shorter list holds if it holds so often: at what moment something happens is not the list's alone to say.
const SHRINK_TRIES: u32 = 3;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Carries out a list that has failed once.
fn replay(slots: u8, operations: &[Operation]) {
    let case = Case { slots, operations: operations.to_vec() };
    runtime().block_on(world::replay(&case));
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[test]
fn whatever_happens_nothing_is_paid_twice_lost_half_made_or_stuck() {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let all = if asked { Config::default().cases } else { CASES };
    let seed = if asked { fastrand::u64(..) } else { SEED };
    let runtime = runtime();
    let (failed, begun) = (AtomicBool::new(false), Instant::now());
    let tally = Mutex::new(Tally::default());
    let found = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| {
                let (runtime, failed, tally) = (&runtime, &failed, &tally);
                let config = Config {
                    cases: all / AT_ONCE + u32::from(worker < all % AT_ONCE),
                    max_shrink_iters: SHRINKS_MAX,
                    max_shrink_time: SHRINK_MILLISECONDS_MAX,
                    failure_persistence: None,
                    // A list that has failed is not asked again: another outcome would end the shortening.
                    result_cache: basic_result_cache,
                    rng_seed: RngSeed::Fixed(seed.wrapping_add(u64::from(worker))),
                    ..Config::default()
                };
                let mine = AtomicBool::new(false);
                scope.spawn(move || {
                    TestRunner::new(config).run(&cases(VERSES_MAX), |case| {
                        let is_shrinking = mine.load(Ordering::SeqCst);
                        if failed.load(Ordering::SeqCst) && !is_shrinking {
                            // One failure at a time is enough.
                            return Ok(());
                        }
                        for _ in 0..if is_shrinking { SHRINK_TRIES } else { 1 } {
                            match catch_unwind(AssertUnwindSafe(|| runtime.block_on(world::replay(&case)))) {
                                Ok(of_this) => *tally.lock().unwrap() += of_this,
                                Err(_) if !is_shrinking && failed.swap(true, Ordering::SeqCst) => return Ok(()),
                                Err(panic) => {
                                    mine.store(true, Ordering::SeqCst);
                                    return Err(TestCaseError::fail(words(&*panic)));
                                }
                            }
                        }
                        Ok(())
                    })
                })
            })
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("a panic is caught").err()).next()
    });
    println!("seed {seed}, {:.1?}: {:?}", begun.elapsed(), tally.into_inner().unwrap());
    match found {
        None => {}
        Some(TestError::Abort(why)) => panic!("{why}"),
        Some(TestError::Fail(why, Case { slots, operations })) => {
            panic!("{why}\n\nKeep this as a test:\n\n    replay({slots}, &{operations:?});\n")
        }
    }
}
