//! The real program under the real kernel: killed, its calls failed, the power cut beneath it, its disks filled and taken away.
//!
//! `cargo test --test torture -- [--rounds N] [--cuts N] [--calls N|all] [--only KIND] [--seed S] [--program PATH]`, as root. Ends with
//! a table, whose columns `--help` explains; what the last ones count must be 0, and each line that was asked for must have been
//! played, else the exit code is 1. Everything happens in namespaces of mounts and processes, so that nothing is left mounted and
//! nothing goes on, however it ends.

#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped here ends the round")]

mod audit;
mod disk;
mod pairs;
mod power;
#[path = "../integration/rig/mod.rs"]
#[expect(dead_code, reason = "the tests in the house use all of it")]
mod rig;
mod refused;
mod rounds;
mod spool;
mod strace;
mod tally;
mod watch;

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use fastrand::Rng;
use rustix::process::{Pid, kill_process};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use disk::Room;
use power::Course;
use refused::Place;
use tally::{Breach, Table, Tally};

/// Set in the process that has the namespaces.
const INSIDE: &str = "JIMENGD_TORTURE_INSIDE";

/// Programs that are needed, and the Debian packages that have them.
const NEEDED: [(&str, &str); 9] = [
    ("strace", "strace"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_io", "xfsprogs"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// No course has so many places of a kind.
const PLACES_MAX: u64 = 5_000;

/// Spools that are worked on at once: they mostly wait.
const AT_ONCE: usize = 4;

/// How long what was told to stop may take to let go of its folders, disks and daemons.
const LET_GO_MAX: Duration = Duration::from_secs(5);

/// What `--help` says last.
const HELP: &str = "\
Needs root, for it mounts file systems and cuts their power; and strace, e2fsprogs, xfsprogs, mount and util-linux, as Debian calls \
the packages. SIGINT and SIGTERM end it with all that it has started and mounted.

The table has a line for each kind of torture, and these columns:
  rounds              kills and cuts at random moments; else spools that were brought to an end and checked
  kills               times that the program was killed or its power cut
  videos in           videos that were delivered
  pairs refused       pairs in error/ with a report, but for those in doubt
  in doubt:           pairs of which nobody knows whether they were accepted, for this reason:
    answer lost         the vendor lost the answer
    before the answer   killed, or the power cut, while the request was under way
    after it came       killed when the answer had left the vendor and was not in the ledger
    never sent          killed between the intent and the request
    not explained       none of these; must be 0
What must be 0, too:
  accepted twice      pairs that more submissions were accepted for than may be
  lost                files that do not lie in exactly one place
  partial             under a final name and not whole, right after a kill or at the end; or temporary and left
  stuck               jobs that are not final, pairs that still wait, programs that do not end
  odd                 exit codes, panics and breaches of the API's page that must not be, and lines without a round

Exit codes: 0 all of that is 0; 1 it is not, or nothing was played, or it was told to stop.";

/// Tortures the program: kills it, fails its calls, cuts its power, fills its disks.
#[derive(Parser)]
#[command(after_help = HELP)]
struct Arguments {
    /// Kills at random moments; 0: none
    #[arg(long, default_value_t = 60)]
    rounds: u64,
    /// Power cuts at random moments; 0: none
    #[arg(long, default_value_t = 20)]
    cuts: u64,
    /// Places of each kind at which a call is failed or the power cut: so many of them, drawn by chance; 0: none; `all`: each one
    #[arg(long, default_value = "4", value_parser = calls)]
    calls: Calls,
    /// Decides what is left to chance [default: another each time]
    #[arg(long)]
    seed: Option<u64>,
    /// The program [default: the one built with this]
    #[arg(long)]
    program: Option<PathBuf>,
    /// Only the lines of the table whose kind contains this, such as `strace`, `power cut`, `ext4` or `full at`
    #[arg(long, default_value = "")]
    only: String,
}

/// How many places of each kind; `None`: all.
#[derive(Clone, Copy)]
pub struct Calls(pub Option<usize>);

fn calls(text: &str) -> Result<Calls, String> {
    match text {
        "all" => Ok(Calls(None)),
        number => number.parse().map(|number| Calls(Some(number))).map_err(|_| "a number or `all`".to_owned()),
    }
}

impl Calls {
    /// Some of the places 1 to `last`; or 1, 2, 3 …, which whoever goes there leaves at the first that is not reached.
    pub fn draw(self, last: u64, chance: &mut Rng) -> Vec<u64> {
        match self.0 {
            Some(number) => {
                let mut places: Vec<u64> = (1..=last).collect();
                chance.shuffle(&mut places);
                places.truncate(number);
                places.sort_unstable();
                places
            }
            None => (1..=PLACES_MAX).collect(),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if std::env::var_os(INSIDE).is_none() {
        return enter();
    }
    let runtime = Builder::new_multi_thread().worker_threads(2 * AT_ONCE).enable_all().build().unwrap();
    let is_well = runtime.block_on(async {
        // The first process of a namespace gets no signal but those that it asks for.
        let mut stop = Stop::new().unwrap();
        tokio::select! {
            is_well = torture(arguments) => is_well,
            () = stop.told() => {
                eprintln!("torture: told to stop");
                false
            }
        }
    });
    // What was under way is dropped, and takes what it has made with it; the end of this process ends all others.
    runtime.shutdown_timeout(LET_GO_MAX);
    match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The signals that people and service managers end a program with.
struct Stop([Signal; 3]);

impl Stop {
    /// From now on they are taken, and kill no more.
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    /// Returns when one of them has come.
    async fn told(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Goes on in namespaces of mounts and processes: whatever ends this takes all that it mounted and started with it.
fn enter() -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        eprintln!("torture: run this as root: it mounts file systems and cuts their power");
        return ExitCode::FAILURE;
    }
    let missing: Vec<_> = NEEDED.iter().filter(|(program, _)| find(program).is_none()).collect();
    if !missing.is_empty() {
        let list: Vec<_> = missing.iter().map(|(program, package)| format!("{program} (package {package})")).collect();
        eprintln!("torture: not installed: {}", list.join(", "));
        return ExitCode::FAILURE;
    }
    let mut inside = Command::new("setpriv");
    // Where nobody could hand anything on any more, as this process was killed itself, all ends with it.
    inside
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(attend(inside)).unwrap_or_else(|error| {
        eprintln!("torture: unshare: {error}");
        ExitCode::FAILURE
    })
}

/// Runs what goes on inside to its end. unshare itself is deaf to whoever wants it to end, so that is handed on to the process beneath
/// it; told a second time, all is killed.
async fn attend(mut command: Command) -> io::Result<ExitCode> {
    let (mut stop, mut ends) = (Stop::new()?, signal(SignalKind::child())?);
    let mut unshare = command.spawn()?;
    let mut was_told = false;
    loop {
        if let Some(status) = unshare.try_wait()? {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
        tokio::select! {
            _ = ends.recv() => {}
            () = stop.told() => {
                match child_of(unshare.id()).filter(|_| !was_told) {
                    // It may just have ended.
                    Some(inside) => {
                        kill_process(inside, rustix::process::Signal::TERM).ok();
                    }
                    None => unshare.kill()?,
                }
                was_told = true;
            }
        }
    }
}

/// The first of the processes that another has started.
fn child_of(parent: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// Where a program lies.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Work that goes on side by side, a few at a time.
struct Work {
    tasks: JoinSet<(String, Tally)>,
    permits: Arc<Semaphore>,
    table: Table,
    only: String,
}

impl Work {
    fn add(&mut self, kind: String, work: impl Future<Output = Tally> + Send + 'static) {
        if !kind.contains(&self.only) {
            return;
        }
        self.table.add(kind.clone(), Tally::default());
        let permits = self.permits.clone();
        self.tasks.spawn(async move {
            let _permit = permits.acquire_owned().await;
            // In a task of its own: a panic is a failed round, and not the end of all others.
            let tally = tokio::spawn(work).await.unwrap_or_else(|error| {
                let mut tally = Tally::default();
                tally.complain(Breach::Odd, format!("{kind}: {error}"));
                tally
            });
            (kind, tally)
        });
    }
}

async fn torture(arguments: Arguments) -> bool {
    let start = Instant::now();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let program = || arguments.program.clone();
    let calls = arguments.calls.0.map_or("all".to_owned(), |number| number.to_string());
    println!("torture: --rounds {} --cuts {} --calls {calls} --seed {seed}", arguments.rounds, arguments.cuts);
    let mut chance = Rng::with_seed(seed);
    let only = arguments.only.clone();
    let mut work =
        Work { tasks: JoinSet::new(), permits: Arc::new(Semaphore::new(AT_ONCE)), table: Table::default(), only };

    for (seed, kills) in rounds::plans(arguments.rounds, &mut chance) {
        work.add("killed at random".to_owned(), rounds::run(seed, kills, program()));
    }
    for (number, (kind, mode)) in disk::CUTS.into_iter().enumerate() {
        let ways = disk::CUTS.len() as u64;
        let cuts = arguments.cuts / ways + u64::from((number as u64) < arguments.cuts % ways);
        let (label, seed) = (format!("power cut, {} {}", kind.label(), mode.label()), chance.u64(..));
        // With few cuts, some ways have none.
        if cuts > 0 {
            work.add(label, power::at_random(kind, mode, cuts, seed, program()));
        }
    }
    let at_places = arguments.calls.0 != Some(0);
    for course in Course::ALL.into_iter().filter(|_| at_places) {
        for (kind, mode) in disk::CUTS {
            let label = format!("{} cut, {} {}", course.label(), kind.label(), mode.label());
            work.add(label, power::at_points((kind, mode), course, arguments.calls, chance.u64(..), program()));
        }
    }

    for (calls, deed) in strace::LOOPS.into_iter().filter(|_| at_places) {
        let label = format!("strace {}, {}", calls.split(',').next().unwrap_or(calls), deed.label());
        for course in Course::ALL {
            work.add(label.clone(), strace::run(course, calls, deed, arguments.calls, chance.u64(..), program()));
        }
    }

    for place in Place::ALL {
        for room in [Room::Bytes, Room::Inodes] {
            work.add(format!("full at {} ({room:?})", place.label()), refused::full(place, room, program()));
        }
        work.add(format!("read-only at {}", place.label()), refused::read_only(place, program()));
    }
    let moments = [("ledger.db/submitting", "claim"), ("answer submit", "acceptance"), ("answer video", "download")];
    for (effect, when) in moments {
        work.add(format!("ledger full at {when}"), refused::full_ledger(effect, program()));
    }
    work.add("all on one full disk".to_owned(), refused::all_full(program()));
    work.add("inbox away and back".to_owned(), watch::away_and_back(program()));
    work.add("inbox deleted, made again".to_owned(), watch::deleted_and_made_again(program()));
    work.add("inbox replaced".to_owned(), watch::replaced(program()));
    work.add("inbox unmounted, mounted again".to_owned(), watch::unmounted(program()));
    work.add("queue of events overflows".to_owned(), watch::overflow(program()));
    work.add("limit of watches".to_owned(), watch::watch_limit(program()));
    work.add("watcher's thread dead".to_owned(), watch::dead_watcher(program()));
    work.add("two daemons on one root".to_owned(), watch::two_daemons(program()));

    while let Some(done) = work.tasks.join_next().await {
        let (kind, tally) = done.expect("no panic gets so far");
        work.table.add(kind, tally);
    }
    println!();
    work.table.complain_of_unplayed();
    work.table.print();
    let mut sum = work.table.sum();
    if work.table.is_empty() {
        sum.complain(Breach::Odd, "nothing was asked for: --only names no kind of torture, or one whose number is 0");
    }
    for complaint in &sum.complaints {
        println!("FAILED: {}", complaint.lines().next().unwrap_or_default());
    }
    let (rounds, kills, seconds) = (sum.rounds, sum.kills, start.elapsed().as_secs());
    println!("\n{rounds} rounds of torture, {kills} kills and power cuts in {seconds} s; seed {seed}");
    sum.complaints.is_empty()
}
