//! How many pairs a second the daemon brings from the inbox to the outbox, and what a second of it costs.
//!
//! Daemon and simulator are on one machine and share its processors. The inbox is kept filled: a pair is moved in for each that was
//! delivered. Before anything is counted, a warm-up lets the window grow. What is measured is the time from the first pair
//! that is moved in after that until the last of them was delivered.
//!
//! Four rows, all of one run: the daemon; the daemon with every sync left out; a shell loop as a user would write it (`loop.sh`), on
//! fewer pairs, for it is slow; and what cannot be avoided ([`bare`]).
//!
//! Reports and judges nothing: a missed aim is a line, not a failure. `cargo bench --bench throughput -- 2000` takes 2 000 pairs
//! instead of 20 000. A row that cannot be measured fails the benchmark at its end.

mod bare;
mod by_hand;
mod picture;
#[expect(dead_code, reason = "so many pairs are staged without a sync for each")]
mod rig;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jimengd::simulator::{Settings, Simulator};
use rig::Rig;

/// Pairs that are counted.
const PAIRS: usize = 20_000;

/// Of a picture and of a video.
const PICTURE_BYTES: usize = 20_000;
const VIDEO_BYTES: u64 = 50_000;

/// What a task takes on average.
const TASK: Duration = Duration::from_millis(300);

/// `tasks.max`.
const TASKS_MAX: usize = 2000;

/// `api.uploads` and `api.downloads`.
const AT_ONCE: usize = 64;

/// Pairs in the inbox or under way, at most.
const FILLED: usize = 3000;

/// Pairs of the warm-up; the window grows by one with each, at most.
const WARM_UP: usize = 2500;

/// Pairs that the loop is given.
const LOOP_PAIRS: usize = 300;

/// How many the loop does at once: as many as a user would, and as many as help.
const LOOP_WORKERS: [usize; 2] = [8, 64];

/// Different pictures.
const PICTURES: usize = 64;

/// In which the system tells how long a process has been running.
const TICK: Duration = Duration::from_millis(10);

/// The aims.
const RATE_AIM: f64 = 1000.0;
const DURABLE_AIM: f64 = 0.5;
const LOOP_AIM: f64 = 10.0;

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo itself adds `--bench`.
    let pairs = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(PAIRS).max(1);
    let pictures: Vec<_> = (0..PICTURES as u64).map(|seed| picture::png(PICTURE_BYTES, seed)).collect();
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let processors = std::thread::available_parallelism()?;
    println!(
        "throughput: {pairs} pairs of {PICTURE_BYTES} bytes, videos of {VIDEO_BYTES} bytes, tasks of {TASK:?} on average"
    );
    println!("  release build, child process; the simulator is on the same machine, {processors} processors for both");
    println!("  tasks.max {TASKS_MAX}, uploads {AT_ONCE}, downloads {AT_ONCE}, requests_per_second 0, min_free null,");
    println!("  poll {{first: 300ms, every: 100ms, slowest: 1s}}; at most {FILLED} pairs wait or are under way");
    println!("  load average of the last minute: {load} (everything else that runs makes the figures worse)");
    println!("  {:<44} {:>8} {:>8} {:>9} {:>15} {:>9}", "", "pairs", "s", "jobs/s", "CPU s/1000 jobs", "to first");

    let mut roots = Roots::default();
    let durable = daemon(pairs, &pictures, "", &mut roots).await.context("the daemon")?;
    durable.print("the daemon, durability on", 1.0);
    let careless = daemon(pairs, &pictures, "durable=0", &mut roots).await.context("the daemon without syncs")?;
    careless.print("the daemon, every sync left out", careless.rate() / durable.rate());
    let bare = bare_row(pairs, &pictures, &mut roots).await.context("the bare cost")?;
    bare.print("the bare cost, syncs ideally shared", bare.rate() / durable.rate());
    let missing = by_hand::missing();
    let mut by_hand = None;
    for workers in LOOP_WORKERS {
        let what = format!("a shell loop, {workers} pairs at once");
        if !missing.is_empty() {
            println!("  {what:<44} NOT MEASURED: install {}", missing.join(" "));
            continue;
        }
        let row = loop_row(workers, pairs.min(LOOP_PAIRS), &pictures[0], &mut roots).await.context(what.clone())?;
        row.print(&what, row.rate() / durable.rate());
        let best = by_hand.map_or(0.0, |best: Row| best.rate());
        by_hand = if row.rate() > best { Some(row) } else { by_hand };
    }
    println!(
        "  CPU: of the daemon's process alone; the simulator, which runs in this one, took {:.2} s",
        own_seconds(&durable)
    );

    judge("jobs/s with durability", durable.rate(), RATE_AIM);
    judge("rate with durability, of the rate without", durable.rate() / careless.rate(), DURABLE_AIM);
    match by_hand {
        Some(best) => {
            judge("rate with durability, in rates of the better loop", durable.rate() / best.rate(), LOOP_AIM)
        }
        None => bail!("the loop was not measured: install {}", missing.join(" ")),
    }
    Ok(())
}

fn own_seconds(row: &Row) -> f64 {
    row.simulator.as_secs_f64() / row.pairs as f64 * 1000.0
}

fn judge(what: &str, found: f64, aim: f64) {
    let judged = if found >= aim { "aim met" } else { "aim missed" };
    println!("  {what}: {found:.2}  {judged}: >= {aim}");
}

/// One line of the table.
#[derive(Clone, Copy)]
struct Row {
    pairs: usize,
    took: Duration,
    /// On the processor, of the daemon.
    daemon: Option<Duration>,
    /// The same of this process, in which the simulator is.
    simulator: Duration,
}

impl Row {
    fn rate(&self) -> f64 {
        self.pairs as f64 / self.took.as_secs_f64()
    }

    fn print(&self, what: &str, ratio: f64) {
        let cost =
            self.daemon.map_or("".to_owned(), |cost| format!("{:.2}", cost.as_secs_f64() / self.pairs as f64 * 1000.0));
        let (pairs, took, rate) = (self.pairs, self.took.as_secs_f64(), self.rate());
        println!("  {what:<44} {pairs:>8} {took:>8.1} {rate:>9.1} {cost:>15} {ratio:>9.2}");
    }
}

/// The folders of all rows. They are removed at the end only: a file system that has just deleted thousands of files makes new ones more
/// slowly for some minutes.
#[derive(Default)]
struct Roots(Vec<PathBuf>);

impl Roots {
    fn keep(&mut self, root: PathBuf) -> &Path {
        self.0.push(root);
        &self.0[self.0.len() - 1]
    }

    fn make(&mut self) -> Result<&Path> {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).context("cannot make a root")?;
        Ok(self.keep(root.keep()))
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        for root in &self.0 {
            if let Err(error) = fs::remove_dir_all(root) {
                eprintln!("  cannot remove {}: {error}", root.display());
            }
        }
    }
}

/// Lays a pair down beside the inbox, whole.
fn stage(folder: &Path, name: &str, picture: &[u8]) -> Result<()> {
    let path = folder.join(name);
    fs::write(path.with_extension("png"), picture)?;
    fs::write(path.with_extension("yaml"), rig::sidecar(name))?;
    Ok(())
}

fn simulator() -> Result<Simulator> {
    let (task_seconds, video_bytes) = (TASK.as_secs_f64(), Some(VIDEO_BYTES));
    Ok(Simulator::start(Settings { task_seconds, video_bytes, ..Settings::default() })?)
}

async fn daemon(pairs: usize, pictures: &[Vec<u8>], plan: &str, roots: &mut Roots) -> Result<Row> {
    let simulator = simulator()?;
    let api = format!("  uploads: {AT_ONCE}\n  downloads: {AT_ONCE}\n");
    let settings = format!("tasks: {{max: {TASKS_MAX}}}\npoll: {{first: 300ms, every: 100ms, slowest: 1s}}\n");
    let mut rig = Rig::start_planned(&simulator.base_url(), &api, &settings, plan).await?;
    let warm_up = WARM_UP.min(pairs.max(FILLED));
    let name = |number: usize| format!("pair-{number:06}");
    for number in 0..warm_up + pairs {
        stage(&rig.path("staging"), &name(number), &pictures[number % pictures.len()])?;
    }
    // What is written back while it is measured is the daemon's own.
    rustix::fs::syncfs(fs::File::open(rig.path("staging"))?)?;
    for number in 0..warm_up {
        rig.move_in(&name(number))?;
    }
    rig.told(": delivered as", warm_up).await?;

    let before = (cpu(rig.pid())?, cpu(std::process::id())?);
    let start = Instant::now();
    let mut moved = 0;
    for delivered in 0..pairs {
        while moved < pairs.min(delivered + FILLED) {
            rig.move_in(&name(warm_up + moved))?;
            moved += 1;
        }
        rig.told(": delivered as", 1).await?;
    }
    let took = start.elapsed();
    let after = (cpu(rig.pid())?, cpu(std::process::id())?);
    let paid = simulator.paid();
    ensure!(paid == (warm_up + pairs) as u64, "{paid} paid for {} pairs", warm_up + pairs);
    ensure!(simulator.violations().is_empty(), "the simulator complains: {:?}", simulator.violations());
    roots.keep(rig.stop_and_keep().await?);
    simulator.shutdown().await;
    Ok(Row { pairs, took, daemon: Some(after.0 - before.0), simulator: after.1 - before.1 })
}

async fn bare_row(pairs: usize, pictures: &[Vec<u8>], roots: &mut Roots) -> Result<Row> {
    let simulator = simulator()?;
    let limits = bare::Limits { tasks: TASKS_MAX, uploads: AT_ONCE, downloads: AT_ONCE, task: TASK };
    let before = cpu(std::process::id())?;
    let took = bare::run(roots.make()?, &simulator.base_url(), pairs, pictures, limits).await?;
    let row = Row { pairs, took, daemon: None, simulator: cpu(std::process::id())? - before };
    simulator.shutdown().await;
    Ok(row)
}

async fn loop_row(workers: usize, pairs: usize, picture: &[u8], roots: &mut Roots) -> Result<Row> {
    let simulator = simulator()?;
    let before = cpu(std::process::id())?;
    let took = by_hand::run(roots.make()?, &simulator.base_url(), workers, pairs, picture).await?;
    let row = Row { pairs, took, daemon: None, simulator: cpu(std::process::id())? - before };
    simulator.shutdown().await;
    Ok(row)
}

/// How long all threads of a process have been running, ended ones too.
fn cpu(pid: u32) -> Result<Duration> {
    let figures = fs::read_to_string(format!("/proc/{pid}/stat")).context("the daemon has ended")?;
    // The name before them may hold anything.
    let figures = figures.rsplit_once(')').context("the system tells its figures")?.1;
    let ticks = figures.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(TICK * u32::try_from(ticks)?)
}
