//! A wall clock that somebody sets while the program runs: a time server, a person, a battery that was empty.
//!
//! The program runs on a clock of its own, which the test sets; a few lines of C do that, built with the compiler that links Rust.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};

use crate::rig::{Binary, Rig, vendor};

/// The wall clock of programs that are started with it.
struct SetClock {
    library: PathBuf,
    seconds: PathBuf,
}

impl SetClock {
    fn new(rig: &Rig) -> Self {
        let library = rig.folder().join("set_clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/clocks/set_clock.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(built.expect("Rust links with cc, so it is there").success());
        let seconds = rig.folder().join("clock");
        fs::write(&seconds, "0").unwrap();
        Self { library, seconds }
    }

    /// From now on the clock is wrong by so much.
    fn set(&self, by: SignedDuration) {
        // In one step, for the program looks all the time.
        let beside = self.seconds.with_extension("new");
        fs::write(&beside, by.as_secs().to_string()).unwrap();
        fs::rename(&beside, &self.seconds).unwrap();
    }

    fn start(&self, rig: &Rig, more: &[&str]) -> Binary {
        let config = rig.config_file();
        let mut arguments = vec!["run", "--config", config.to_str().unwrap()];
        arguments.extend(more);
        let (library, seconds) = (self.library.to_str().unwrap(), self.seconds.to_str().unwrap());
        rig.program_in(&arguments, &[("LD_PRELOAD", library), ("SET_CLOCK", seconds)])
    }
}

async fn keeps_its_budget(by: SignedDuration) {
    let rig = Rig::new(vendor(), "budget: {per_hour: 2}");
    let clock = SetClock::new(&rig);
    for name in ["a", "b", "c"] {
        rig.drop_pair(name, name);
    }
    let mut daemon = clock.start(&rig, &[]);
    rig.until_ended(2, 0).await;
    let until = || rig.snapshot()?.paused.iter().find(|pause| pause.reason == "budget")?.until;
    // When two may be spent again: an hour after the first was, by the clock that is wrong by so much.
    let in_an_hour_of = |by: SignedDuration| {
        let left = until().map(|until| until.duration_since(Timestamp::now() + by));
        left.is_some_and(|left| left > SignedDuration::from_mins(50) && left <= SignedDuration::from_hours(1))
    };
    rig.until("paused for the budget", || in_an_hour_of(SignedDuration::ZERO)).await;
    clock.set(by);
    // Something happens, so the daemon looks at its clock.
    rig.drop_pair("d", "d");
    rig.until("the hour is as long as ever", || in_an_hour_of(by)).await;
    daemon.terminate();
    assert_eq!(daemon.code().await, 0);

    // The next run knows the wall clock alone. It ends by itself: nothing may move.
    let mut again = clock.start(&rig, &["--once"]);
    let code = again.code().await;
    assert_eq!((rig.vendor().paid(), rig.list("inbox").len()), (2, 4), "{code} {}", rig.scene());
    assert!(in_an_hour_of(by), "{by:?}: {:?}", until());
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_forward_frees_no_budget_now_or_in_the_next_run() {
    keeps_its_budget(SignedDuration::from_hours(26)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_holds_no_budget_for_longer_now_or_in_the_next_run() {
    keeps_its_budget(SignedDuration::from_hours(-26)).await;
}
