//! The real program under the real kernel: killed, its calls failed, the power cut beneath it, its disks filled and taken away.
//!
//! `cargo test --test torture -- [--rounds N] [--cuts N] [--calls N|all] [--seed S] [--program PATH]`, as root. Ends with a table;
//! what its last columns count must be 0, else the exit code is 1. Everything happens in a mount namespace of its own, so that
//! nothing is left mounted, however it ends.

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

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use fastrand::Rng;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use disk::Room;
use power::Course;
use refused::Place;
use tally::{Breach, Table, Tally};

/// Set in the process that has the namespaces.
const INSIDE: &str = "JIMENGD_TORTURE_INSIDE";

/// Programs that are needed, and the Debian packages that have them.
const NEEDED: [(&str, &str); 8] = [
    ("strace", "strace"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_io", "xfsprogs"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("unshare", "util-linux"),
];

/// No course has so many places of a kind.
const PLACES_MAX: u64 = 5_000;

/// Spools that are worked on at once: they mostly wait.
const AT_ONCE: usize = 4;

/// Tortures the program.
#[derive(Parser)]
struct Arguments {
    /// Kills at random moments
    #[arg(long, default_value_t = 60)]
    rounds: u64,
    /// Power cuts at random moments
    #[arg(long, default_value_t = 20)]
    cuts: u64,
    /// Places of each kind at which a call is failed or the power cut, drawn by chance; `all`: every one
    #[arg(long, default_value = "4", value_parser = calls)]
    calls: Calls,
    /// Decides what is left to chance [default: another each time]
    #[arg(long)]
    seed: Option<u64>,
    /// The program [default: the one built with this]
    #[arg(long)]
    program: Option<PathBuf>,
    /// Only the lines whose kind contains this
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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2 * AT_ONCE).enable_all().build().unwrap();
    match runtime.block_on(torture(arguments)) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
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
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    eprintln!("torture: unshare: {error}");
    ExitCode::FAILURE
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
        let label = format!("power cut, {} {}", kind.label(), mode.label());
        work.add(label, power::at_random(kind, mode, cuts, chance.u64(..), program()));
    }
    for course in Course::ALL {
        for (kind, mode) in disk::CUTS {
            let label = format!("{} cut, {} {}", course.label(), kind.label(), mode.label());
            work.add(label, power::at_points((kind, mode), course, arguments.calls, chance.u64(..), program()));
        }
    }

    for (calls, deed) in strace::LOOPS {
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
    for (effect, when) in [("commit;nth=3", "claim"), ("answer submit", "acceptance"), ("answer video", "download")] {
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
    work.table.print();
    let sum = work.table.sum();
    for complaint in &sum.complaints {
        println!("FAILED: {}", complaint.lines().next().unwrap_or_default());
    }
    let (rounds, kills, seconds) = (sum.rounds, sum.kills, start.elapsed().as_secs());
    println!("\n{rounds} rounds of torture, {kills} kills and power cuts in {seconds} s; seed {seed}");
    sum.complaints.is_empty()
}
