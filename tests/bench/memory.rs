//! How much more memory 64 uploads take than none: what the system says of the daemon's process, idle and at its peak.
//!
//! The window first grows past 64 by small pairs, each delivered before the large ones come; what was learned stays, and
//! no task is in flight any more. Then 64 pictures of the largest size are moved in while a gate before the simulator holds
//! every upload in its middle, so that all 64 are under way at one moment; the simulator's record proves it. At last the gate
//! opens, and each pair must be paid once and delivered.
//!
//! Reports and judges nothing: a missed aim is a line, not a failure.

mod gate;
mod picture;
#[expect(dead_code, reason = "other benchmarks use more of it")]
mod rig;

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gate::Gate;
use jimengd::simulator::{Settings, Simulator};
use rig::{DEADLINE, Rig};

/// Uploads at once.
const UPLOADS: usize = 64;

/// The largest picture that the default limits let through.
const PICTURE_BYTES: usize = 4_700_000;

/// The aim for all uploads together, over the idle daemon.
const AIM_KB: u64 = 60_000;

/// Pairs that make the window grow, by one each.
const WARM_UP: usize = UPLOADS + 16;

/// Bytes of a picture of the warm-up.
const WARM_UP_BYTES: usize = 20_000;

/// An upload is held after so many of its 6.3 million bytes. The system takes up to 4 MB more into its own buffers, and
/// the rest is then still with the daemon.
const HELD_AFTER: u64 = 1_000_000;

/// Time between two looks at the daemon's memory.
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[tokio::main]
async fn main() -> Result<()> {
    let simulator = Simulator::start(Settings { task_seconds: 0.0, ..Settings::default() })?;
    let mut gate = Gate::start(simulator.addr()).await?;
    let api = format!("  uploads: {UPLOADS}\n");
    let settings = "tasks: {max: 256}\npoll: {first: 1s, every: 1s}\n";
    let mut rig = Rig::start(&gate.base_url(), &api, settings).await?;
    println!("memory: {UPLOADS} uploads at once of {PICTURE_BYTES} bytes each, release build, child process");
    println!("  api.uploads {UPLOADS}, tasks.max 256, requests_per_second 0; all uploads held in their middle");
    println!("  {:<40} {:>9} {:>9} {:>9} {:>8}", "kB", "VmRSS", "RssAnon", "VmHWM", "threads");
    let started = Memory::of(rig.pid())?;
    println!("  {:<40} {started}", "idle, just started");

    for number in 0..WARM_UP {
        rig.stage(&format!("small-{number}"), &picture::png(WARM_UP_BYTES, number as u64))?;
    }
    for number in 0..WARM_UP {
        rig.move_in(&format!("small-{number}"))?;
    }
    rig.told(": delivered as", WARM_UP).await?;
    let idle = Memory::of(rig.pid())?;
    println!("  {:<40} {idle}", format!("idle, after {WARM_UP} small pairs"));

    for number in 0..UPLOADS {
        rig.stage(&format!("large-{number}"), &picture::png(PICTURE_BYTES, number as u64))?;
    }
    let before = simulator.with_world(|world| world.submissions().count());
    gate.hold_after(HELD_AFTER);
    // From here on the highest mark is the uploads' alone.
    fs::write(format!("/proc/{}/clear_refs", rig.pid()), "5").context("cannot set the peak back")?;
    let looking = Looking::start(rig.pid());
    for number in 0..UPLOADS {
        rig.move_in(&format!("large-{number}"))?;
    }
    tokio::time::timeout(DEADLINE, gate.holds(UPLOADS)).await.context("the uploads do not come together")??;
    let held = Memory::of(rig.pid())?;
    let heads = simulator.with_world(|world| {
        let large = world.submissions().skip(before);
        large.map(|request| (request.body_bytes, request.last_byte_at.is_none() && request.status.is_none())).collect()
    });
    let heads: Vec<(u64, bool)> = heads;
    ensure!(heads.len() == UPLOADS, "the simulator has seen {} heads", heads.len());
    ensure!(heads.iter().all(|(_, unfinished)| *unfinished), "an upload has ended already");
    let open = pictures_open(rig.pid())?;
    ensure!(open == UPLOADS, "the daemon reads {open} pictures only: the rest lies in the system's buffers");
    println!("  {:<40} {held}", format!("{UPLOADS} uploads held"));
    let least = heads.iter().map(|(bytes, _)| bytes).min().context("no upload")?;
    println!("    the daemon: {open} pictures open, not read to their end");
    println!("    the simulator: {UPLOADS} heads, no body whole, none answered, at least {least} bytes of each read");

    gate.open();
    rig.told(": delivered as", UPLOADS).await?;
    let peak_anon = looking.end();
    let after = Memory::of(rig.pid())?;
    println!("  {:<40} {after}", "all accepted and delivered");
    let paid = simulator.paid();
    ensure!(paid == (WARM_UP + UPLOADS) as u64, "{paid} paid for {} pairs", WARM_UP + UPLOADS);
    ensure!(simulator.violations().is_empty(), "the simulator complains: {:?}", simulator.violations());
    println!("    the simulator: {paid} paid for {} pairs", WARM_UP + UPLOADS);

    println!(
        "  highest RssAnon of all looks: {peak_anon} kB, {} kB over the start",
        peak_anon.saturating_sub(started.anon)
    );
    for (what, from) in [("the start", started), ("the warm idle", idle)] {
        let more = after.peak.saturating_sub(from.resident);
        let judged = if more <= AIM_KB { "aim met" } else { "aim missed" };
        println!("  peak over {what}: {more} kB, {} kB an upload  {judged}: <= {AIM_KB} kB", more / UPLOADS as u64);
    }
    rig.stop().await?;
    simulator.shutdown().await;
    Ok(())
}

/// Claimed pictures that a process has open.
fn pictures_open(pid: u32) -> Result<usize> {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Ok(files.filter(|path| path.ends_with("picture")).count())
}

/// What the system says of a process, in kB.
#[derive(Clone, Copy)]
struct Memory {
    resident: u64,
    anon: u64,
    peak: u64,
    threads: u64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the daemon has ended")?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).with_context(|| format!("no {key}"))
        };
        let (resident, anon) = (number("VmRSS")?, number("RssAnon")?);
        Ok(Self { resident, anon, peak: number("VmHWM")?, threads: number("Threads")? })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, anon, peak, threads } = self;
        write!(formatter, "{resident:>9} {anon:>9} {peak:>9} {threads:>8}")
    }
}

/// Somebody who looks again and again, since the system keeps no peak of the anonymous part.
struct Looking {
    ended: Arc<AtomicBool>,
    highest: std::thread::JoinHandle<u64>,
}

impl Looking {
    fn start(pid: u32) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        let highest = std::thread::spawn(move || {
            let mut highest = 0;
            while !told.load(Ordering::Relaxed) {
                highest = Memory::of(pid).map_or(highest, |memory| memory.anon.max(highest));
                std::thread::sleep(LOOK_EVERY);
            }
            highest
        });
        Self { ended, highest }
    }

    /// The highest `RssAnon` that was seen, in kB.
    fn end(self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        self.highest.join().unwrap_or_default()
    }
}
