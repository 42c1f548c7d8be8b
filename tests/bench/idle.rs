//! What a daemon takes that has nothing to do: the share of a core, how often a thread of it wakes, its memory.
//!
//! Reports and judges nothing: a missed aim is a line, not a failure. `cargo bench --bench idle -- 10` looks on for 10 seconds each
//! instead of 60, which is as often as the inbox is scanned.

mod picture;
mod process;
#[expect(dead_code, reason = "other benchmarks use more of it")]
mod rig;
mod wakes;

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use jimengd::simulator::{Settings, Simulator};
use process::{MEMORY, Memory};
use rig::Rig;
use wakes::watch;

/// Seconds that each state is looked at.
const SECONDS: u64 = 60;

/// Halves of pairs that wait.
const HALVES: usize = 1_000;

/// Whole pairs that wait.
const PAIRS: usize = 10;

/// Bytes of their pictures.
const PICTURE_BYTES: usize = 20_000;

/// The aim, as a share of a core.
const AIM: f64 = 0.001;

/// What keeps the daemon from working.
#[derive(Clone, Copy)]
enum State {
    Empty,
    Halves,
    /// One task was accepted, and more are not allowed; it is done.
    Budget,
    /// The API refuses the account.
    Account,
    /// One task is in flight, and may be no other; a pair waits.
    Full,
}

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo itself adds `--bench`.
    let seconds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(SECONDS).max(1);
    let time = Duration::from_secs(seconds);
    println!("idle: a daemon that has nothing to do, {seconds} s each, release build, child process, shipped settings");
    println!("  but for requests_per_second 0 and what each line says; the processor's time is told in steps of 10 ms");
    println!("  load average of the last minute: {}", process::load()?);
    println!("  {:<40} {:>7} {:>9} {:>8} {MEMORY}", "", "cpu ms", "% of core", "wakes/s");
    for state in [State::Empty, State::Halves, State::Budget, State::Account, State::Full] {
        look(state, time).await?;
    }
    Ok(())
}

async fn look(state: State, time: Duration) -> Result<()> {
    let (what, settings, word) = match state {
        State::Empty => ("empty inbox".to_owned(), "", ""),
        State::Halves => (format!("{HALVES} halves wait"), "", ""),
        State::Budget => (format!("the budget is spent, {PAIRS} pairs wait"), "budget: {per_hour: 1}\n", ""),
        // The simulator's word for a refusal.
        State::Account => (format!("the account is refused, {PAIRS} pairs wait"), "", " [50400]"),
        State::Full => (format!("a task in flight, {PAIRS} pairs wait"), "tasks: {max: 1}\n", ""),
    };
    let task_seconds = if matches!(state, State::Full) { f64::INFINITY } else { 0.0 };
    let simulator = Simulator::start(Settings { task_seconds, ..Settings::default() })?;
    let mut rig = Rig::start(&simulator.base_url(), "", settings).await?;
    match state {
        State::Empty => {}
        State::Halves => {
            for number in 0..HALVES {
                fs::write(rig.path("inbox").join(format!("half-{number}.yaml")), "prompt: Half\n")?;
            }
        }
        State::Budget | State::Account | State::Full => {
            // One more, which is taken. The prompt holds the name.
            for number in 0..=PAIRS {
                let name = format!("{number}{word}");
                rig.stage(&name, &picture::png(PICTURE_BYTES, number as u64))?;
                rig.move_in(&name)?;
            }
        }
    }
    match state {
        State::Empty | State::Halves => {}
        State::Budget => rig.told(": delivered as", 1).await?,
        State::Account => ensure!(
            simulator.wait_until(rig::DEADLINE, |world| world.submissions().count() > 0).await,
            "nothing was submitted"
        ),
        State::Full => {
            ensure!(simulator.wait_until(rig::DEADLINE, |world| world.paid() == 1).await, "nothing was accepted");
        }
    }
    process::rests(rig.pid()).await?;
    let spent = watch(rig.pid(), time).await?;
    let seconds = spent.time.as_secs_f64();
    let share = spent.cpu.as_secs_f64() / seconds;
    let judged = if share < AIM { "aim met" } else { "aim missed" };
    println!(
        "  {what:<40} {:>7} {:>9.3} {:>8.2} {}  {judged}: < {} %",
        spent.cpu.as_millis(),
        share * 100.0,
        spent.wakes as f64 / seconds,
        Memory::of(rig.pid())?,
        AIM * 100.0
    );
    if !matches!(state, State::Account) {
        // An account that is refused is told of as an error, which ends a benchmark that reads on.
        rig.stop().await?;
    }
    simulator.shutdown().await;
    Ok(())
}
