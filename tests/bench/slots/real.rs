//! An account used by the real program over real HTTP, in a shortened time: a minute of the vendor's takes `60 / scale` seconds.
//!
//! Whatever has a length is divided by `scale`: the time of the tasks and the `poll` settings; rates are multiplied by it. What is
//! not shortened makes the figures worse than they would be at full length, never better: the way of a request, a sync of the disk
//! (there are about ten between a free slot and the request that fills it), and the daemon's waits that no setting names.
//!
//! Counted from the tenth acceptance, by when the limit can be known, to the last one, after which slots drain for want of pairs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jimengd::simulator::{Settings, Simulator, Task, World};

use super::account::{Account, Figures, WARM_UP};
use crate::picture;
use crate::rig::{DEADLINE, Rig};

/// What the account says when too many tasks run.
const TOO_MANY: u32 = 50430;

/// What it says when requests follow too fast.
const TOO_FAST: u32 = 50429;

/// More than any account here has, so that the limit is the daemon's to find.
const CEILING: usize = 256;

/// Bytes of a picture: small, for transfers are not what is measured.
const PICTURE_BYTES: usize = 14_000;

/// The shipped `poll.first`, `poll.every` and `poll.slowest`, in seconds.
const POLL: [f64; 3] = [10.0, 5.0, 30.0];

/// A run takes so many times what its tasks need at least before it is given up.
const PATIENCE: f64 = 4.0;

/// Lets the daemon make `jobs` videos on that account and measures how well it used it. Runs do not share anything, so many
/// may go on at once.
pub async fn run(account: &Account, seed: u64, jobs: usize, scale: f64) -> Result<Figures> {
    ensure!(jobs > WARM_UP + 1, "{jobs} jobs are too few: the first {WARM_UP} are not counted");
    let rate = account.per_second * scale;
    let simulator = Simulator::start(Settings {
        seed,
        task_seconds: account.mean / scale,
        task_sigma: account.sigma,
        queued_part: 0.0..=account.queued_max,
        concurrency: Some(account.limit),
        requests_per_second: Some(rate).filter(|rate| *rate > 0.0),
        // Two requests that left one after the other may come closer together.
        requests_burst: Some(account.burst as f64 + 1.0),
        ..Settings::default()
    })?;
    let api = format!("  requests_per_second: {rate}\n  requests_burst: {}\n", account.burst);
    let [first, every, slowest] = POLL.map(|seconds| format!("{}ms", (seconds / scale * 1000.0).round().max(1.0)));
    let settings = format!("tasks: {{max: {CEILING}}}\npoll: {{first: {first}, every: {every}, slowest: {slowest}}}\n");
    let mut rig = Rig::start(&simulator.base_url(), &api, &settings).await?;

    let names: Vec<String> = (0..jobs).map(|number| format!("{seed}-{number:05}")).collect();
    for (number, name) in (0..).zip(&names) {
        rig.stage(name, &picture::png(PICTURE_BYTES, seed.wrapping_mul(1_000_003) + number))?;
    }
    for name in &names {
        rig.move_in(name)?;
    }

    let least = jobs as f64 / account.limit as f64 * account.mean / scale;
    let patience = DEADLINE + Duration::from_secs_f64(least * PATIENCE);
    let before = refused_by(&simulator, WARM_UP + 1, patience).await?;
    let after = refused_by(&simulator, jobs, patience).await?;
    let all_fetched = |world: &World| world.tasks().iter().rev().all(|task| task.fetched_at.is_some());
    ensure!(simulator.wait_until(patience, all_fetched).await, "not every video was fetched");
    rig.told(": delivered as", jobs).await?;
    rig.stop().await?;

    let too_fast = simulator.with_world(|world| world.refused(TOO_FAST));
    if too_fast > 0 {
        eprintln!("  {account:?}, seed {seed}: {too_fast} requests came too fast (50429), which slows the daemon down");
    }
    let tasks = simulator.tasks();
    ensure!(tasks.len() == jobs, "{jobs} jobs were paid {} times", tasks.len());
    ensure!(simulator.violations().is_empty(), "the simulator complains: {:?}", simulator.violations());
    simulator.shutdown().await;
    figures(account, &tasks, after - before, scale)
}

/// Waits for so many acceptances; how many submissions were refused by then.
async fn refused_by(simulator: &Simulator, accepted: usize, patience: Duration) -> Result<u64> {
    let mut refused = 0;
    let fact = |world: &World| {
        refused = world.refused(TOO_MANY);
        world.tasks().len() >= accepted
    };
    let came = simulator.wait_until(patience, fact).await;
    ensure!(came, "only {} of {accepted} submissions were accepted within {patience:?}", simulator.paid());
    Ok(refused)
}

fn figures(account: &Account, tasks: &[Task], refused: u64, scale: f64) -> Result<Figures> {
    let counted = &tasks[WARM_UP + 1..];
    let (from, to) = (tasks[WARM_UP].accepted_at, counted.last().context("no task is counted")?.accepted_at);
    let mut busy = Duration::ZERO;
    let (mut delays, mut shares) = (Vec::new(), Vec::new());
    for task in tasks {
        let finished_at = task.finished_at().context("a task never ends")?;
        busy += within(task.accepted_at, finished_at, from, to);
    }
    for task in counted {
        let finished_at = task.finished_at().context("a task never ends")?;
        let fetched_at = task.fetched_at.context("a video was never fetched")?;
        let delay = fetched_at.duration_since(finished_at).as_secs_f64();
        delays.push(delay * scale);
        shares.push(delay / task.takes().as_secs_f64());
    }
    let jobs = counted.len() as f64;
    Ok(Figures {
        busy: busy.as_secs_f64() / (account.limit as f64 * to.duration_since(from).as_secs_f64()),
        polls: counted.iter().map(|task| task.polls).sum::<u64>() as f64 / jobs,
        refused: refused as f64 / jobs,
        delay_seconds: median(delays),
        delay_share: median(shares),
        jobs: counted.len(),
    })
}

/// How much of a task's time lies between `from` and `to`.
fn within(accepted_at: Instant, finished_at: Instant, from: Instant, to: Instant) -> Duration {
    finished_at.min(to).saturating_duration_since(accepted_at.max(from))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
