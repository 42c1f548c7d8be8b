//! How long a pair takes from "complete" to "submitted", on an idle machine, with every sync that makes it durable.
//!
//! Complete: the second of its two files was moved in, or closed by who wrote it. Submitted: the simulator, in this process,
//! has read the head of the request; both instants are of one clock. At rest each pair comes to an idle daemon: the one before
//! was delivered, which took longer than anything that the daemon keeps warm for a second. Under way a pair is moved in every
//! 20 ms, come what may, while the ones before are asked about, fetched and archived.
//!
//! Reports and judges nothing: a missed aim is a line, not a failure. `cargo bench --bench latency -- 20` measures 20 pairs at
//! rest instead of 60, and under way 20 seconds for each 60.

mod picture;
#[expect(dead_code, reason = "other benchmarks use more of it")]
mod rig;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jimengd::simulator::{Settings, Simulator};
use rig::{DEADLINE, Rig};

/// Pairs of each kind.
const PAIRS: usize = 60;

/// The aim for a pair that is moved in: the median.
const MOVED_AIM: Duration = Duration::from_millis(10);

/// The aim for a pair that is written: the median, of which `inbox.quiet` is 250 ms.
const WRITTEN_AIM: Duration = Duration::from_millis(300);

/// Syncs on the way from "complete" to "submitted" where no folder is handed on, as counted with strace: the note of the claim, its
/// folder, `work/`, picture, sidecar, their folder, the inbox, the ledger, the witness.
const SYNCS: u32 = 9;

/// A small picture.
const SMALL: usize = 20_000;

/// A large one.
const LARGE: usize = 4_000_000;

/// Pairs a second under way.
const PER_SECOND: u32 = 50;

/// Pairs under way for each pair at rest.
const UNDER_WAY_PER_PAIR: usize = 17;

/// The aims under way: the median, and what one in a hundred may take.
const UNDER_WAY_AIMS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(30)];

/// Pairs that make the window larger than what is in flight under way.
const WARM_UP: usize = 150;

/// How a pair comes in.
#[derive(Clone, Copy)]
enum Arrival {
    Moved,
    Written,
}

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo itself adds `--bench`.
    let pairs = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(PAIRS).max(1);
    let simulator = Simulator::start(Settings { task_seconds: 0.0, ..Settings::default() })?;
    // A poll after more than a second: then the daemon has been idle when the next pair comes.
    let mut rig =
        Rig::start(&simulator.base_url(), "", "tasks: {max: 1000}\npoll: {first: 1500ms, every: 1500ms}\n").await?;

    let mut bare = fs::File::create(rig.path("staging").join("bare"))?;

    println!("latency: from complete to submitted, {pairs} pairs of each kind, one after the other, idle daemon");
    println!("  release build, child process, durability on, requests_per_second 0, tasks.max 1000, inbox.quiet 250ms");
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    println!(
        "  load average of the last minute: {load} (idle is near 0: everything else that runs makes the figures worse)"
    );
    println!(
        "  syncs: {SYNCS} bare appends with fdatasync after each pair, the least that its durable steps cost on this disk"
    );
    println!("  {:<40} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "median", "p90", "p99", "max", "syncs");
    for (arrival, bytes, aim) in
        [(Arrival::Moved, SMALL, MOVED_AIM), (Arrival::Moved, LARGE, MOVED_AIM), (Arrival::Written, SMALL, WRITTEN_AIM)]
    {
        let (mut took, mut syncs) = (Vec::with_capacity(pairs), Vec::with_capacity(pairs));
        for number in 0..pairs {
            took.push(one(&simulator, &mut rig, arrival, bytes, number).await?);
            syncs.push(bare_syncs(&mut bare)?);
        }
        took.sort_unstable();
        syncs.sort_unstable();
        let what = match arrival {
            Arrival::Moved => "moved in (two renames)",
            Arrival::Written => "written (open, write, close)",
        };
        let [median, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|part| quantile(&took, part));
        let judged = if median <= aim { "aim met" } else { "aim missed" };
        let judged = format!("{judged}: median <= {}", shown(aim));
        let what = format!("{what}, {} kB", bytes / 1000);
        let [median, p90, p99, max, syncs] = [median, p90, p99, max, quantile(&syncs, 0.5)].map(shown);
        println!("  {what:<40} {median:>9} {p90:>9} {p99:>9} {max:>9} {syncs:>9}  {judged}");
    }
    ensure!(simulator.violations().is_empty(), "the simulator complains: {:?}", simulator.violations());
    rig.stop().await?;
    simulator.shutdown().await;
    under_way(pairs * UNDER_WAY_PER_PAIR).await
}

/// Moves a pair in every so often, whatever becomes of those before.
async fn under_way(pairs: usize) -> Result<()> {
    let simulator = Simulator::start(Settings { task_seconds: 0.0, ..Settings::default() })?;
    let settings = "tasks: {max: 1000}\npoll: {first: 500ms, every: 500ms}\n";
    let mut rig = Rig::start(&simulator.base_url(), "  uploads: 64\n  downloads: 64\n", settings).await?;
    let bare = fs::File::create(rig.path("staging").join("bare"))?;
    let names = |what: &'static str, count: usize| (0..count).map(move |number| format!("{what}-{number}"));
    for (number, name) in names("warm", WARM_UP).chain(names("pair", pairs)).enumerate() {
        rig.stage(&name, &picture::png(SMALL, number as u64))?;
    }
    for name in names("warm", WARM_UP) {
        rig.move_in(&name)?;
    }
    rig.told(": delivered as", WARM_UP).await?;
    let every = Duration::from_secs(1) / PER_SECOND;
    println!(
        "  under way: {pairs} pairs, one every {} ms; tasks.max 1000, uploads and downloads 64, poll 500ms, tasks take no time",
        every.as_millis()
    );
    // What was staged must not be written back while the pairs are timed.
    rustix::fs::syncfs(&bare)?;
    let (mut complete_at, mut syncs) = (Vec::with_capacity(pairs), Vec::new());
    let start = Instant::now();
    for (number, name) in names("pair", pairs).enumerate() {
        tokio::time::sleep_until((start + every * number as u32).into()).await;
        complete_at.push(rig.move_in(&name)?);
        if number % PER_SECOND as usize == 0 {
            let mut bare = bare.try_clone()?;
            syncs.push(tokio::task::spawn_blocking(move || bare_syncs(&mut bare)));
        }
    }
    let fed = start.elapsed();
    rig.told(": delivered as", pairs).await?;
    let mut heads: HashMap<String, Instant> = HashMap::new();
    let refused = simulator.with_world(|world| {
        for request in world.submissions() {
            let prompt = request.prompt.clone().unwrap_or_default();
            // The first: nothing is refused here.
            heads.entry(prompt).or_insert(request.head_at);
        }
        world.submissions().count() - heads.len()
    });
    ensure!(refused == 0, "{refused} submissions were made again");
    let mut took = Vec::with_capacity(pairs);
    for (name, complete_at) in names("pair", pairs).zip(complete_at) {
        let head_at = heads.get(&rig::prompt(&name)).with_context(|| format!("{name} was not submitted"))?;
        took.push(head_at.duration_since(complete_at));
    }
    let mut bare = Vec::with_capacity(syncs.len());
    for syncs in syncs {
        bare.push(syncs.await??);
    }
    took.sort_unstable();
    bare.sort_unstable();
    let [median, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|part| quantile(&took, part));
    let met = median <= UNDER_WAY_AIMS[0] && p99 <= UNDER_WAY_AIMS[1];
    let judged = if met { "aim met" } else { "aim missed" };
    let aims = UNDER_WAY_AIMS.map(|aim| format!("{} ms", aim.as_millis()));
    let judged = format!("{judged}: {}, p99 {}", aims[0], aims[1]);
    let what = format!("moved in, {:.0} a second, {} kB", pairs as f64 / fed.as_secs_f64(), SMALL / 1000);
    let [median, p90, p99, max, syncs] = [median, p90, p99, max, quantile(&bare, 0.5)].map(shown);
    println!("  {what:<40} {median:>9} {p90:>9} {p99:>9} {max:>9} {syncs:>9}  {judged}");
    ensure!(simulator.violations().is_empty(), "the simulator complains: {:?}", simulator.violations());
    rig.stop().await?;
    simulator.shutdown().await;
    Ok(())
}

/// Brings one pair in and waits until it is delivered.
async fn one(simulator: &Simulator, rig: &mut Rig, arrival: Arrival, bytes: usize, number: usize) -> Result<Duration> {
    let paid = simulator.paid();
    let submissions = simulator.with_world(|world| world.submissions().count());
    let name = format!("{}-{paid}", number);
    let picture = picture::png(bytes, paid);
    let complete_at = match arrival {
        Arrival::Moved => {
            rig.stage(&name, &picture)?;
            rig.move_in(&name)?
        }
        Arrival::Written => {
            write(&rig.path("inbox").join(&name).with_extension("png"), &picture)?;
            write(&rig.path("inbox").join(&name).with_extension("yaml"), rig::sidecar(&name).as_bytes())?
        }
    };
    ensure!(simulator.wait_until(DEADLINE, |world| world.paid() == paid + 1).await, "{name} was never accepted");
    let heads: Vec<Instant> =
        simulator.with_world(|world| world.submissions().skip(submissions).map(|request| request.head_at).collect());
    ensure!(heads.len() == 1, "{name} took {} submissions", heads.len());
    rig.told(": delivered as", 1).await?;
    let submitted_at = heads.first().context("no submission was noted")?;
    Ok(submitted_at.duration_since(complete_at))
}

/// Writes a file; the instant before it is closed.
fn write(path: &Path, bytes: &[u8]) -> Result<Instant> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    let written_at = Instant::now();
    drop(file);
    Ok(written_at)
}

/// How long the syncs of one pair take by themselves.
fn bare_syncs(file: &mut fs::File) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..SYNCS {
        file.write_all(b"0192f0c1-2b3c-7d4e-8f50-617283940516 1\n")?;
        file.sync_data()?;
    }
    Ok(start.elapsed())
}

/// The smallest value that so large a part of the sorted values does not exceed.
fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn shown(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}
