//! What a process does in a while: its time on the processors, and how often a thread of it woke.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::process::{cpu, number};

/// How often the threads of a process gave the processor up to wait. A thread that has ended is known by the last look at it, so
/// looks must follow each other quickly.
#[derive(Default)]
pub struct Wakes {
    seen: HashMap<u32, u64>,
    before: u64,
}

impl Wakes {
    /// Counts from now on.
    pub fn start(pid: u32) -> Result<Self> {
        let mut wakes = Self::default();
        wakes.look(pid)?;
        wakes.before = wakes.seen.values().sum();
        Ok(wakes)
    }

    /// How many there were since the start.
    pub fn look(&mut self, pid: u32) -> Result<u64> {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).context("the daemon has ended")? {
            let name = thread?.file_name();
            let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // It may have ended since.
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")) else { continue };
            let count = number(&status, "voluntary_ctxt_switches").context("the system counts them")?;
            let known = self.seen.entry(thread).or_default();
            *known = count.max(*known);
        }
        Ok(self.seen.values().sum::<u64>() - self.before)
    }
}

/// What a process did in a while.
pub struct Spent {
    /// The while.
    pub time: Duration,
    /// On the processors.
    pub cpu: Duration,
    /// Times that a thread woke.
    pub wakes: u64,
}

/// Looks on for so long.
pub async fn watch(pid: u32, time: Duration) -> Result<Spent> {
    let (start, cpu_before, mut wakes) = (Instant::now(), cpu(pid)?, Wakes::start(pid)?);
    let end = start + time;
    let mut count = 0;
    while Instant::now() < end {
        tokio::time::sleep_until((Instant::now() + Duration::from_secs(1)).min(end).into()).await;
        count = wakes.look(pid)?;
    }
    Ok(Spent { time: start.elapsed(), cpu: cpu(pid)?.saturating_sub(cpu_before), wakes: count })
}
