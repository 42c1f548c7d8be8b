//! Whatever happens, in whatever order: lists of operations that nobody thought of, and what must hold after each.
//!
//! `PROPTEST_CASES` says how many lists there are, each time others; without it there are few, and always the same. A list that
//! fails is made as short as it can be and printed as a test to keep below. Several are carried out at once: they mostly wait.

mod found;
mod operation;
mod world;

use std::any::Any;
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
const SHRINK_TRIES: usize = 4;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

/// Carries a list out so many times at once; or what did not hold.
fn carry_out(runtime: &Runtime, case: &Case, times: usize) -> Result<Tally, String> {
    let tries: Vec<_> = (0..times)
        .map(|_| {
            let case = case.clone();
            runtime.spawn(async move { world::replay(&case).await })
        })
        .collect();
    let mut tally = Tally::default();
    for tried in tries {
        tally += runtime.block_on(tried).map_err(|failed| words(&*failed.into_panic()))?;
    }
    Ok(tally)
}

/// Carries out a list that is kept.
fn replay(slots: u8, operations: &[Operation]) {
    let case = Case { slots, operations: operations.to_vec() };
    if let Err(why) = carry_out(&runtime(), &case, 1) {
        panic!("{why}");
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
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
                        match carry_out(runtime, &case, if is_shrinking { SHRINK_TRIES } else { 1 }) {
                            Ok(of_this) => {
                                *tally.lock().unwrap() += of_this;
                                Ok(())
                            }
                            Err(_) if !is_shrinking && failed.swap(true, Ordering::SeqCst) => Ok(()),
                            Err(why) => {
                                mine.store(true, Ordering::SeqCst);
                                Err(TestCaseError::fail(why))
                            }
                        }
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
