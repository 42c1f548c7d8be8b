//! The n-th call of a kind kills the program, or fails, for n = 1, 2, 3 … until a run has no n-th one any more.
//!
//! strace counts the calls of each thread for itself, so the n-th call of whichever thread comes to it first kills, and an error
//! strikes each thread once. What is killed or failed here is everything that the program does: its start, its log and its memory,
//! too. A run that ends at once with a message is good enough then, as long as it had not begun to work; the next one, undisturbed,
//! must find nothing lost.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fastrand::Rng;
use jimengd::daemon::LEDGER;
use rustix::process::{Pid, Signal, kill_process};

use crate::Calls;
use crate::audit::{End, Moment};
use crate::power::Course;
use crate::rig::{LOOK_EVERY, vendor};
use crate::spool::{Living, Spool, ended};
use crate::tally::{Breach, Tally};

/// What is done to a call, as strace has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    Kill,
    Fail(&'static str),
}

/// How the last words begin of a program that does not start, and of its loader.
const REFUSALS: [&str; 2] = ["jimengd: ", "error while loading shared libraries"];

/// The kinds of calls, and what is done to them. A write that fails for want of space is one into a file; into a pipe or an event
/// it cannot, so it is killed there and not failed.
pub const LOOPS: [(&str, Deed); 14] = [
    ("fsync,fdatasync", Deed::Kill),
    ("fsync,fdatasync", Deed::Fail("EIO")),
    ("fsync,fdatasync", Deed::Fail("ENOSPC")),
    ("rename,renameat,renameat2", Deed::Kill),
    ("rename,renameat,renameat2", Deed::Fail("ENOSPC")),
    ("rename,renameat,renameat2", Deed::Fail("EROFS")),
    ("write,pwrite64", Deed::Kill),
    ("pwrite64", Deed::Fail("ENOSPC")),
    ("pwrite64", Deed::Fail("EIO")),
    ("openat", Deed::Kill),
    ("openat", Deed::Fail("EIO")),
    ("openat", Deed::Fail("ENOSPC")),
    ("mkdir,mkdirat,unlink,unlinkat", Deed::Kill),
    ("mkdir,mkdirat,unlink,unlinkat", Deed::Fail("EROFS")),
];

impl Deed {
    pub fn label(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Fail(error) => error,
        }
    }

    fn inject(self) -> String {
        match self {
            Self::Kill => "signal=KILL".to_owned(),
            Self::Fail(error) => format!("error={error}"),
        }
    }
}

/// What the log of a run says that was held by its disk.
const PAUSES: [&str; 2] = [r#""reason":"read_only""#, r#""reason":"disk_full""#];

/// Lines of a trace that tell of no call, or of one for the second time.
const NO_CALLS: [&str; 3] = ["resumed>", " --- ", " +++ "];

/// How many of these calls one thread makes at most when nothing happens.
///
/// # Panics
/// The run does not end well, or strace saw no such call: then there is no place at which anything could be tried.
async fn count(course: Course, calls: &str, program: Option<PathBuf>) -> u64 {
    let mut spool = Spool::new(None, vendor(), program.as_deref());
    course.begin(&spool);
    let trace = spool.rig.folder().join("trace");
    let mut tracer = Command::new(crate::find("strace").expect("it was looked for"));
    tracer.args(["-f", "--seccomp-bpf", "-qq", "-e"]).arg(format!("trace={calls}")).arg("-o").arg(&trace);
    let living = spool.start_under(tracer, &["--once"]);
    let code = spool.end(living).await;
    assert!(matches!(code, Some(0 | 65)), "{} only traced, not disturbed: {code:?}", course.label());
    let traced = fs::read_to_string(trace).unwrap();
    let mut by_thread = HashMap::<&str, u64>::new();
    for line in traced.lines().filter(|line| !NO_CALLS.iter().any(|mark| line.contains(mark))) {
        *by_thread.entry(thread(line)).or_default() += 1;
    }
    let most = by_thread.into_values().max().unwrap_or_default();
    assert!(most > 0, "{}: strace saw no {calls}", course.label());
    most
}

/// The thread that a line of a trace tells of.
fn thread(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

/// Whether one of the calls that were failed was about the ledger. Of a call that another thread's came between, the first of two
/// lines names the file and the second the failure.
fn struck_the_ledger(traced: &str) -> bool {
    let mut begun = HashMap::<&str, bool>::new();
    traced.lines().any(|line| {
        let is_ledger = line.contains(LEDGER) || line.contains("resumed>") && begun.get(thread(line)) == Some(&true);
        begun.insert(thread(line), is_ledger);
        is_ledger && line.contains("(INJECTED)")
    })
}

/// Does it to some calls of that kind, or to every one.
pub async fn run(
    course: Course,
    calls: &'static str,
    deed: Deed,
    places: Calls,
    seed: u64,
    program: Option<PathBuf>,
) -> Tally {
    let mut chance = Rng::with_seed(seed);
    let last = count(course, calls, program.clone()).await;
    let mut sum = Tally::default();
    for number in places.draw(last, &mut chance) {
        let (tally, was_hit) = strike(course, calls, deed, number, program.clone()).await;
        // Two runs are not alike to the last call, so a number that was drawn may not be reached.
        if was_hit || !tally.complaints.is_empty() {
            sum += tally;
        } else if number > last {
            break;
        }
    }
    sum
}

async fn strike(course: Course, calls: &str, deed: Deed, number: u64, program: Option<PathBuf>) -> (Tally, bool) {
    let mut spool = Spool::new(None, vendor(), program.as_deref());
    course.begin(&spool);
    let trace = spool.rig.folder().join("trace");
    let mut tracer = Command::new(crate::find("strace").expect("it was looked for"));
    // With its filter in the kernel strace is quick, but a signal that it injects does not arrive.
    tracer.args(match deed {
        Deed::Kill => &["-f", "-qq"][..],
        Deed::Fail(_) => &["-f", "-qq", "-y", "--seccomp-bpf"][..],
    });
    tracer.arg("-e").arg(format!("trace={calls}"));
    tracer.arg("-e").arg(format!("inject={calls}:{}:when={number}", deed.inject())).arg("-o").arg(&trace);
    let mut living = spool.start_under(tracer, &["--once"]);
    let tracee = tracee(&mut living).await;
    let what = format!("{} of {calls}: {} at {number}", course.label(), deed.label());
    let mut tally = Tally::default();
    let code = ended(&mut living.daemon).await;
    let traced = fs::read_to_string(&trace).unwrap_or_default();
    let was_hit = traced.contains("(INJECTED)") || traced.contains("killed by SIGKILL");
    let said_why = || living.daemon.said().lines().any(|line| REFUSALS.iter().any(|begin| line.contains(begin)));
    // What cannot be opened or written at its start keeps it from starting. Once it works, only a ledger that it finds damaged ends it:
    // a call that failed there may leave one, or make a good one look so.
    let may_refuse = |code| !living.daemon.is_ready() || (code == 74 && struck_the_ledger(&traced));
    // Nothing could move any more, for calls failed again and again, and that was told.
    let is_held = || PAUSES.iter().any(|pause| living.daemon.said().contains(pause));
    let end = match code {
        Some(137) => End::Killed { after: Moment::now() },
        Some(code @ (74 | 77 | 78 | 127)) if deed != Deed::Kill && said_why() && may_refuse(code) => End::Refused(code),
        Some(74) if deed != Deed::Kill && is_held() => End::Refused(74),
        Some(code) => End::Itself(code),
        None => {
            tally.complain(Breach::Stuck, "it does not end");
            if let Some(pid) = tracee {
                kill_process(pid, Signal::KILL).ok();
            }
            End::Killed { after: Moment::now() }
        }
    };
    spool.note(&living, end);
    if code.is_some() {
        spool.look();
    }
    tally += spool.close(&what).await;
    (tally, was_hit)
}

/// The process beneath strace.
async fn tracee(living: &mut Living) -> Option<Pid> {
    while living.daemon.runs() {
        if let Some(child) = crate::child_of(living.daemon.pid()) {
            return Some(child);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    None
}
