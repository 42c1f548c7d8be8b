//! What the system says of a process: its memory, and its time on the processors.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The kernel tells times in steps of this length, on every machine.
const STEP: Duration = Duration::from_millis(10);

/// Fields of `/proc/PID/stat` behind the name, of which the time in the program and in the system are the twelfth and thirteenth.
const TIMES_AT: usize = 11;

/// A process that ran for no more than one step in so long a time rests.
const REST: Duration = Duration::from_secs(3);

/// Memory now, in kB.
#[derive(Clone, Copy)]
pub struct Memory {
    /// All of it.
    pub resident: u64,
    /// What is no file's.
    pub anon: u64,
    /// The most there ever was.
    pub peak: u64,
}

impl Memory {
    /// Of a process that runs.
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the daemon has ended")?;
        let of = |key| number(&status, key).with_context(|| format!("no {key}"));
        Ok(Self { resident: of("VmRSS")?, anon: of("RssAnon")?, peak: of("VmHWM")? })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, anon, peak } = self;
        write!(formatter, "{resident:>8} {anon:>8} {peak:>8}")
    }
}

/// The head of its columns, which are kB.
pub const MEMORY: &str = "   VmRSS  RssAnon    VmHWM";

/// How long all threads of a process have run, those that have ended, too.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the daemon has ended")?;
    // The name may hold anything; it ends at the last bracket.
    let (_, fields) = stat.rsplit_once(')').context("the system tells a name")?;
    let times = fields.split_whitespace().skip(TIMES_AT).take(2).map(str::parse::<u32>);
    Ok(STEP * times.sum::<Result<u32, _>>()?)
}

/// Waits until the process does next to nothing for some seconds: what was begun is done. Since when, give or take a quarter of a
/// second.
pub async fn rests(pid: u32) -> Result<Instant> {
    let (mut since, mut known) = (Instant::now(), cpu(pid)?);
    while since.elapsed() < REST {
        tokio::time::sleep(REST / 12).await;
        let now = cpu(pid)?;
        if now > known + STEP {
            (since, known) = (Instant::now(), now);
        }
    }
    Ok(since)
}

/// The load average of the last minute.
pub fn load() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split(' ').next().unwrap_or_default().to_owned())
}

/// A number of `/proc/PID/status`.
pub fn number(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}
