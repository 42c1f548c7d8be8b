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
mod rounds;
mod spool;
mod strace;
mod tally;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use fastrand::Rng;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use power::Course;
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

/// How many places of each kind.
#[derive(Clone, Copy)]
struct Calls(Option<usize>);

fn calls(text: &str) -> Result<Calls, String> {
    match text {
        "all" => Ok(Calls(None)),
        number => number.parse().map(|number| Calls(Some(number))).map_err(|_| "a number or `all`".to_owned()),
    }
}

impl Calls {
    /// Some of the places 1 to `last`, or all of them.
    fn draw(self, last: u64, chance: &mut Rng) -> Vec<u64> {
        let mut places: Vec<u64> = (1..=last).collect();
        if let Some(number) = self.0 {
            chance.shuffle(&mut places);
            places.truncate(number);
            places.sort_unstable();
        }
        places
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
    println!("torture: --rounds {} --cuts {} --seed {seed}", arguments.rounds, arguments.cuts);
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
        let points = power::count_points(course, program()).await;
        println!("{}: {points} effects on the world", course.label());
        for (kind, mode) in disk::CUTS {
            let label = format!("{} cut, {} {}", course.label(), kind.label(), mode.label());
            let places = arguments.calls.draw(points, &mut chance);
            work.add(label, power::at_points((kind, mode), course, places, chance.u64(..), program()));
        }
    }

    for (calls, deed) in strace::LOOPS {
        let label = format!("strace {}, {}", calls.split(',').next().unwrap_or(calls), deed.label());
        for course in Course::ALL {
            let numbers = match arguments.calls.0 {
                Some(_) => Some(arguments.calls.draw(strace::count(course, calls, program()).await, &mut chance)),
                None => None,
            };
            work.add(label.clone(), strace::run(course, calls, deed, numbers, program()));
        }
    }

    while let Some(done) = work.tasks.join_next().await {
        let (kind, tally) = done.expect("no panic gets so far");
        work.table.add(kind, tally);
    }
    println!();
    work.table.print();
    let sum = work.table.sum();
    println!("\n{} rounds, {} kills and cuts in {} s; seed {seed}", sum.rounds, sum.kills, start.elapsed().as_secs());
    for complaint in &sum.complaints {
        println!("FAILED: {}", complaint.lines().next().unwrap_or_default());
    }
    sum.complaints.is_empty()
}
