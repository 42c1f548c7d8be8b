//! How well the slots of an account are used whose limit nobody tells, and how many questions that takes.
//!
//! The same decisions twice: the daemon's driver alone on a clock that is made up, over many seeds in a moment; and the real daemon
//! against the simulator, over HTTP and with every sync, in time that is shortened. Beside them clients without a memory, and the
//! driver when it knows limit and distribution beforehand.
//!
//! Reports and judges nothing: a missed aim is a line, not a failure. `cargo bench --bench slots -- 5` takes 5 seeds instead of 20;
//! `-- pure` leaves the real daemon out.

#[path = "slots/account.rs"]
mod account;
#[path = "slots/fixed.rs"]
mod fixed;
mod picture;
#[path = "slots/played.rs"]
mod played;
#[path = "slots/pure.rs"]
mod pure;
#[path = "slots/real.rs"]
mod real;
#[expect(dead_code, reason = "other benchmarks use more of it")]
mod rig;

use std::time::Instant;

use account::{Account, Figures, WARM_UP};
use anyhow::{Result, ensure};
use fixed::Manner;
use tokio::task::JoinSet;

/// Runs that the figures are the mean of.
const SEEDS: u64 = 20;

/// Limits of the accounts.
const LIMITS: [usize; 3] = [1, 2, 8];

/// Jobs of a run on the made-up clock, for each slot.
const JOBS_PURE: usize = 100;

/// Jobs of a run of the real daemon: enough for each slot to be filled many times.
fn jobs_real(limit: usize) -> usize {
    WARM_UP + if limit > 2 { 20 * limit } else { 40 * limit }
}

/// The real daemon's time goes so many times faster.
const SCALE: f64 = 20.0;

/// The aims: the part of the slots' time that is used, polls and refused submissions a job, and the delay as a part of a task.
const AIMS: Figures =
    Figures { busy: 0.95, polls: 12.0, refused: 1.0, delay_seconds: f64::INFINITY, delay_share: 0.05, jobs: 0 };

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo itself adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let seeds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(SEEDS).max(1);
    let pure_alone = arguments.iter().any(|argument| argument == "pure");

    println!("slots: how well an account is used whose limit is not told, mean over {seeds} seeds");
    println!(
        "  task times lognormal, sigma 0.8, mean 60 s; a share of each, even from 0 to 1, in the queue; the inbox never empty"
    );
    println!(
        "  requests 1 a second, none saved up (limit 8: 2 a second, a burst of 2); shipped settings else; the first {WARM_UP} jobs not counted"
    );
    println!(
        "  made-up clock: {JOBS_PURE} jobs a slot and seed; a submission arrives after {} s, its answer {} s later; a poll {} s there and back",
        played::SUBMISSION_ARRIVES,
        played::SUBMISSION_ANSWERED,
        2.0 * played::POLL_ARRIVES
    );
    if !pure_alone {
        println!(
            "  real daemon: release build, durability on, over HTTP; {SCALE} times faster, all seeds at once; {:?} jobs a seed",
            LIMITS.map(jobs_real)
        );
    }
    for limit in LIMITS {
        let account = Account::of(limit);
        let jobs = WARM_UP + JOBS_PURE * limit;
        println!(
            "\n  limit {limit:<34} {:>8} {:>8} {:>8} {:>10} {:>9} {:>7}",
            "busy", "polls", "refused", "delay", "of task", "jobs"
        );
        let over_seeds = |run: &dyn Fn(u64) -> Result<Figures>| -> Result<Figures> {
            Ok(Figures::mean(&(0..seeds).map(run).collect::<Result<Vec<_>>>()?))
        };
        let waits = over_seeds(&|seed| Ok(fixed::run(&account, seed, jobs, Manner::Waits)))?;
        let insists = over_seeds(&|seed| Ok(fixed::run(&account, seed, jobs, Manner::Insists)))?;
        let knows = over_seeds(&|seed| Ok(fixed::run(&account, seed, jobs, Manner::Knows)))?;
        let pure = over_seeds(&|seed| pure::run(&account, seed, jobs, false))?;
        let knowing = over_seeds(&|seed| pure::run(&account, seed, jobs, true))?;
        show("asks every 5 s, submits when one is done", &waits);
        show("asks every 5 s, submits every 5 s", &insists);
        show("asks every 5 s, was told the limit", &knows);
        show("the driver, made-up clock", &pure);
        show("the same, knowing limit and times", &knowing);
        let mut ours = vec![("made-up clock", pure)];
        if !pure_alone {
            let real = real_runs(account, seeds, jobs_real(limit)).await?;
            show("the real daemon, shortened time", &real);
            println!(
                "  {:<40} {:>+8.3} {:>+8.2} {:>+8.2} {:>+8.2} s",
                "  differs from the driver by",
                real.busy - pure.busy,
                real.polls - pure.polls,
                real.refused - pure.refused,
                real.delay_seconds - pure.delay_seconds
            );
            ours.push(("real", real));
        }
        for (which, figures) in ours {
            judge(which, &figures, &waits);
        }
    }
    Ok(())
}

/// Runs of the real daemon, all at once: they wait most of the time.
async fn real_runs(account: Account, seeds: u64, jobs: usize) -> Result<Figures> {
    let begun = Instant::now();
    let mut runs = JoinSet::new();
    for seed in 0..seeds {
        runs.spawn(async move { real::run(&account, seed, jobs, SCALE).await });
    }
    let mut figures = Vec::new();
    while let Some(run) = runs.join_next().await {
        figures.push(run??);
    }
    ensure!(!figures.is_empty(), "no run");
    eprintln!("  (took {:.0?})", begun.elapsed());
    Ok(Figures::mean(&figures))
}

fn show(what: &str, figures: &Figures) {
    let Figures { busy, polls, refused, delay_seconds, delay_share, jobs } = figures;
    println!(
        "  {what:<40} {busy:>8.3} {polls:>8.2} {refused:>8.2} {delay_seconds:>8.2} s {:>7.1} % {jobs:>7}",
        delay_share * 100.0
    );
}

fn judge(which: &str, ours: &Figures, fixed: &Figures) {
    let aims = [
        ("busy", ours.busy >= AIMS.busy),
        ("polls", ours.polls <= AIMS.polls),
        ("refused", ours.refused <= AIMS.refused),
        ("delay", ours.delay_share < AIMS.delay_share),
    ];
    let better = [
        ("busy", ours.busy > fixed.busy),
        ("polls", ours.polls < fixed.polls),
        ("refused", ours.refused < fixed.refused),
        ("delay", ours.delay_seconds < fixed.delay_seconds),
    ];
    let missed = |of: [(&'static str, bool); 4]| {
        let missed: Vec<&str> = of.iter().filter(|(_, met)| !met).map(|(name, _)| *name).collect();
        if missed.is_empty() { "all four".to_owned() } else { format!("not {}", missed.join(", ")) }
    };
    println!(
        "  {which}: aims (busy >= 0.95, polls <= 12, refused <= 1, delay < 5 % of a task) met: {}; better than the first row: {}",
        missed(aims),
        missed(better)
    );
}
