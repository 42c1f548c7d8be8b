//! What the daemon takes of memory and processor as the work grows: tasks in flight, and pairs that wait.
//!
//! Tasks: the simulator makes them last until the end; each is asked about every ten seconds, as with the shipped settings one of
//! two minutes is. The same daemon has 10, then 1 000, then 10 000 of them, and is looked at after each has been asked about.
//! Pairs: another daemon has one task that never ends and may have no other, so that everything that is moved in waits.
//!
//! Reports and judges nothing: a missed aim is a line, not a failure. `cargo bench --bench scale -- 10` looks on for 10 seconds each
//! instead of 30.

mod backlog;
mod picture;
mod process;
#[expect(dead_code, reason = "other benchmarks use more of it")]
mod rig;
mod wakes;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jimengd::simulator::{Settings, Simulator};
use process::{MEMORY, Memory, cpu};
use rig::Rig;
use wakes::{Spent, watch};

/// Seconds that each state is looked at.
const SECONDS: u64 = 30;

/// Tasks in flight.
const TASKS: [usize; 3] = [10, 1_000, 10_000];

/// Pairs that wait.
const PAIRS: usize = 100_000;

/// The aim at the most tasks.
const TASKS_AIM_KB: u64 = 80_000;

/// The aim with all pairs waiting.
const PAIRS_AIM_KB: u64 = 150_000;

/// Bytes of the picture of the one task.
const PICTURE_BYTES: usize = 20_000;

/// How long a state may take to come about.
const PATIENCE: Duration = Duration::from_secs(900);

/// Tasks that last until the simulator is told otherwise.
fn endless() -> Settings {
    Settings { task_seconds: f64::INFINITY, ..Settings::default() }
}

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo itself adds `--bench`.
    let seconds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(SECONDS).max(1);
    println!("scale: memory and processor as the work grows, release build, child process, durability on");
    println!("  load average of the last minute: {}", process::load()?);
    let time = Duration::from_secs(seconds);
    in_flight(time).await?;
    waiting(time).await
}

async fn in_flight(time: Duration) -> Result<()> {
    let simulator = Simulator::start(endless())?;
    let settings = "tasks: {max: 10000}\npoll: {first: 10s, every: 10s, slowest: 10s}\n";
    let rig = Rig::start(&simulator.base_url(), "  uploads: 64\n", settings).await?;
    println!("  tasks in flight: tasks.max 10000, api.uploads 64, requests_per_second 0, each asked about every 10 s");
    println!(
        "  {:<16} {MEMORY} {:>9} {:>8} {:>10} {:>9} {:>9} {:>9}",
        "", "accepted", "cpu ms/s", "us/task/s", "polls/s", "us/poll", "wakes/s"
    );
    let mut began = 0;
    let mut each = Vec::new();
    let mut highest = 0;
    row("none", Memory::of(rig.pid())?, "-", &Look::on(&simulator, rig.pid(), time).await?, 1);
    for tasks in TASKS {
        let start = Instant::now();
        for number in began..tasks {
            let text =
                format!("prompt: Take {number}\nseed: 7\nimage_urls: [\"https://pictures.example/{number}.png\"]\n");
            let path = rig.path("staging").join(format!("{number}.yaml"));
            fs::write(&path, text)?;
            fs::rename(&path, rig.path("inbox").join(format!("{number}.yaml")))?;
        }
        began = tasks;
        let accepted = simulator.wait_until(PATIENCE, |world| world.paid() == tasks as u64).await;
        ensure!(accepted, "{} of {tasks} tasks were accepted in {PATIENCE:?}", simulator.paid());
        let took = format!("{:.1} s", start.elapsed().as_secs_f64());
        let asked = async {
            while simulator.with_world(|world| world.tasks().iter().any(|task| task.polls == 0)) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.context("a task is never asked about")?;
        let look = Look::on(&simulator, rig.pid(), time).await?;
        let memory = Memory::of(rig.pid())?;
        row(&format!("{tasks}"), memory, &took, &look, tasks);
        each.push(look.cpu_ms / tasks as f64);
        highest = memory.peak;
    }
    let judged = if highest <= TASKS_AIM_KB { "aim met" } else { "aim missed" };
    println!("  {judged}: VmHWM <= {TASKS_AIM_KB} kB at {} in flight", TASKS[TASKS.len() - 1]);
    // With ten the steps in which time is told are larger than what is measured.
    let judged = if each[2] <= each[1] * 1.1 { "aim met" } else { "aim missed" };
    println!("  {judged}: the processor's time a task at {} is at most that at {}", TASKS[2], TASKS[1]);
    ensure!(simulator.violations().is_empty(), "the simulator complains: {:?}", simulator.violations());
    rig.stop().await?;
    simulator.shutdown().await;
    Ok(())
}

/// What was seen in a while.
struct Look {
    cpu_ms: f64,
    polls: f64,
    wakes: f64,
}

impl Look {
    async fn on(simulator: &Simulator, pid: u32, time: Duration) -> Result<Self> {
        let seen = || simulator.with_world(|world| world.requests_seen());
        let before = seen();
        let spent = watch(pid, time).await?;
        let seconds = spent.time.as_secs_f64();
        Ok(Self {
            cpu_ms: spent.cpu.as_secs_f64() * 1e3 / seconds,
            polls: (seen() - before) as f64 / seconds,
            wakes: spent.wakes as f64 / seconds,
        })
    }
}

fn row(what: &str, memory: Memory, took: &str, look: &Look, tasks: usize) {
    let Look { cpu_ms, polls, wakes } = look;
    let (task, poll) = (cpu_ms * 1e3 / tasks as f64, cpu_ms * 1e3 / polls);
    let poll = if *polls > 0.0 { format!("{poll:.0}") } else { "-".to_owned() };
    println!("  {what:<16} {memory} {took:>9} {cpu_ms:>8.2} {task:>10.2} {polls:>9.1} {poll:>9} {wakes:>9.1}");
}

async fn waiting(time: Duration) -> Result<()> {
    let simulator = Simulator::start(endless())?;
    let settings = "tasks: {max: 1}\nlog: {level: \"info,jimengd::daemon::turning=debug\"}\n";
    let mut rig = Rig::start(&simulator.base_url(), "", settings).await?;
    let pid = rig.pid();
    rig.told("scanned the inbox", 1).await?;
    backlog::lay(&rig.path("staging"), PAIRS)?;
    let shelves = fs::read_dir(rig.path("staging"))?.collect::<Result<Vec<_>, _>>()?;
    rig.stage("first", &picture::png(PICTURE_BYTES, 0))?;
    rig.move_in("first")?;
    ensure!(simulator.wait_until(PATIENCE, |world| world.paid() == 1).await, "the first task was never accepted");
    println!("  pairs waiting: tasks.max 1, shipped poll and inbox settings, {PAIRS} pairs in 100 nested folders");
    println!("  {:<44} {MEMORY} {:>10} {:>10}", "", "cpu ms/s", "wakes/s");
    let spent = watch(pid, time).await?;
    resting("none waits", Memory::of(pid)?, &spent);

    let (start, before) = (Instant::now(), cpu(pid)?);
    for shelf in shelves {
        fs::rename(shelf.path(), rig.path("inbox").join(shelf.file_name()))?;
    }
    let took = process::rests(pid).await?.saturating_duration_since(start);
    let spent = cpu(pid)?.saturating_sub(before);
    let spent_resting = watch(pid, time).await?;
    let memory = Memory::of(pid)?;
    resting(&format!("{PAIRS} wait"), memory, &spent_resting);
    let (took, spent) = (took.as_secs_f64(), spent.as_secs_f64());
    println!("    moved in, all looked at, judged and at rest: {took:.1} s, of the processor {spent:.1} s");

    // What was said before is told at once; then comes a scan that has just ended.
    loop {
        let start = Instant::now();
        rig.told("scanned the inbox", 1).await?;
        if start.elapsed() > Duration::from_secs(1) {
            break;
        }
    }
    let (start, before) = (Instant::now(), cpu(pid)?);
    rig.told("scanned the inbox", 1).await?;
    let (scan, every) = (cpu(pid)?.saturating_sub(before), start.elapsed());
    println!(
        "    from one full scan to the next: {} ms of the processor in {:.0} s",
        scan.as_millis(),
        every.as_secs_f64()
    );
    for arguments in [&["status"][..], &["status", "--json"]] {
        let (took, bytes) = status(&rig.path("jimengd.yaml"), arguments)?;
        println!("    jimengd {}: {:.2} s, {bytes} bytes", arguments.join(" "), took.as_secs_f64());
    }
    let judged = if memory.peak <= PAIRS_AIM_KB { "aim met" } else { "aim missed" };
    println!("  {judged}: VmHWM <= {PAIRS_AIM_KB} kB with {PAIRS} waiting; {} kB afterwards", Memory::of(pid)?.peak);
    rig.stop().await?;
    simulator.shutdown().await;
    Ok(())
}

fn resting(what: &str, memory: Memory, spent: &Spent) {
    let seconds = spent.time.as_secs_f64();
    let (cpu, wakes) = (spent.cpu.as_secs_f64() * 1e3 / seconds, spent.wakes as f64 / seconds);
    println!("  {what:<44} {memory} {cpu:>10.2} {wakes:>10.1}");
}

/// How long the command takes, and how much it says.
fn status(configuration: &Path, arguments: &[&str]) -> Result<(Duration, usize)> {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_jimengd"))
        .args(arguments)
        .arg("--config")
        .arg(configuration)
        .stdin(Stdio::null())
        .output()
        .context("cannot ask for the status")?;
    ensure!(output.status.success(), "status ended with {}", output.status);
    Ok((start.elapsed(), output.stdout.len()))
}
