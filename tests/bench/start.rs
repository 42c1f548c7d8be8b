//! How long a start takes, from the process's making until it tells the service manager that it is ready: with nothing to do, with
//! very many pairs in the inbox, and with a ledger that has grown for months.
//!
//! A socket of ours is the service manager's; the clock starts before the process is made. Files and ledger are in the system's
//! cache, as they are at a restart. What goes on afterwards beside the work is told apart.
//!
//! Reports and judges nothing: a missed aim is a line, not a failure. `cargo bench --bench start -- 2` starts twice each instead of
//! 5 times.

mod backlog;
mod process;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jimengd::daemon::LEDGER;
use jimengd::simulator::{Settings, Simulator};
use process::{MEMORY, Memory, cpu};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Starts of each kind.
const STARTS: usize = 5;

/// Pairs in the inbox.
const PAIRS: usize = 100_000;

/// Finished jobs in the ledger.
const JOBS: usize = 1_000_000;

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Between two looks at whether the daemon is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The aims, in the order of the table.
const AIMS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(1)];

/// Copies of a job that was delivered, ended within the last 89 days; what is kept longer than 90 days is forgotten.
const COPY: &str = "
    WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?1)
    INSERT INTO job
    SELECT printf('%08x', n) || substr(job, 9), folder, CAST('take-' || n AS BLOB), priority, earlier,
        claimed_at - 7689600000 / ?1 * n, sends, attempts, charges, state, since - 7689600000 / ?1 * n,
        task_id || n, code, reason, input, request, detail
    FROM counted, (SELECT * FROM job LIMIT 1)";

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo itself adds `--bench`.
    let starts = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(STARTS).max(1);
    println!("start: from the making of the process to READY=1, {starts} starts each, release build, durability on");
    println!("  load average of the last minute: {}", process::load()?);
    println!(
        "  seconds from the start: ready (median and slowest), then the slowest first full scan and rest; all that the budget allows is spent"
    );
    println!("  {:<22} {:>7} {:>7} {:>8} {:>8} {:>7} {MEMORY}", "", "ready", "slowest", "scanned", "at rest", "cpu s");
    let simulator = Simulator::start(Settings { task_seconds: 0.0, ..Settings::default() })?;
    let url = simulator.base_url();

    let root = Root::new(&url)?;
    root.measure("an empty spool", starts, AIMS[0]).await?;

    let root = Root::new(&url)?;
    backlog::lay(&root.path("inbox"), PAIRS)?;
    root.measure(&format!("{PAIRS} pairs wait"), starts, AIMS[1]).await?;

    let root = Root::new(&url)?;
    root.grow()?;
    root.measure(&format!("{JOBS} finished jobs"), starts, AIMS[2]).await?;
    simulator.shutdown().await;
    Ok(())
}

/// A root on the disk of the build.
struct Root {
    folder: TempDir,
}

impl Root {
    /// A root on which one pair was delivered, which is all that the budget allows: what else lies in the inbox waits.
    fn new(base_url: &str) -> Result<Self> {
        // The folder of the build is on a real disk, which the system's folder for temporary files often is not.
        let root = Self { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).context("cannot make a root")? };
        let text = format!(
            "root: {}\nmin_free: null\nlog: {{level: \"info,jimengd::daemon::turning=debug\"}}\nbudget: {{per_hour: 1}}\n\
             poll: {{first: 20ms, every: 20ms}}\napi:\n  base_url: {base_url}\n  allow_insecure: true\n  requests_per_second: 0\n",
            root.folder.path().display()
        );
        fs::write(root.path("jimengd.yaml"), text)?;
        let mut run = Run::start(&root)?;
        run.is_ready()?;
        let text = "prompt: A walk along the shore\nimage_urls: [\"https://pictures.example/1.png\"]\n";
        fs::write(root.path("1.yaml"), text)?;
        fs::rename(root.path("1.yaml"), root.path("inbox/1.yaml"))?;
        run.says(": delivered as")?;
        run.stop()?;
        Ok(root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts again and again, and tells.
    async fn measure(&self, what: &str, starts: usize, aim: Duration) -> Result<()> {
        let (mut ready, mut scanned, mut rested) = (Vec::new(), Vec::new(), Vec::new());
        let (mut spent, mut memory) = (Duration::ZERO, None);
        for _ in 0..starts {
            let mut run = Run::start(self)?;
            ready.push(run.is_ready()?);
            scanned.push(run.says("scanned the inbox")?);
            rested.push(process::rests(run.pid()).await?.saturating_duration_since(run.began));
            spent = spent.max(cpu(run.pid())?);
            memory = Some(Memory::of(run.pid())?);
            run.stop()?;
        }
        let memory = memory.context("it was started")?;
        let [ready, scanned, rested] = [ready, scanned, rested].map(|mut times| {
            times.sort_unstable();
            times
        });
        let (median, slowest) = (ready[(ready.len() - 1) / 2], ready[ready.len() - 1]);
        let judged = if median <= aim { "aim met" } else { "aim missed" };
        let [median, slowest, scanned, rested, spent] =
            [median, slowest, scanned[scanned.len() - 1], rested[rested.len() - 1], spent]
                .map(|time| format!("{:.3}", time.as_secs_f64()));
        println!(
            "  {what:<22} {median:>7} {slowest:>7} {scanned:>8} {rested:>8} {spent:>7} {memory}  {judged}: <= {} s",
            aim.as_secs()
        );
        Ok(())
    }

    /// Makes very many copies of the one job's row.
    fn grow(&self) -> Result<()> {
        let mut connection = Connection::open(self.path(LEDGER))?;
        let transaction = connection.transaction()?;
        transaction.execute(COPY, [JOBS - 1])?;
        transaction.commit()?;
        let jobs: usize =
            connection.query_row("SELECT count(*) FROM job WHERE state = 'delivered'", [], |row| row.get(0))?;
        ensure!(jobs == JOBS, "the ledger holds {jobs} jobs");
        connection.close().map_err(|(_, error)| error)?;
        println!("  a ledger of {JOBS} jobs: {} MB", fs::metadata(self.path(LEDGER))?.len() / 1_000_000);
        Ok(())
    }
}

/// A daemon that we are the service manager of. Dropped, it is killed.
struct Run {
    child: Child,
    began: Instant,
    manager: UnixDatagram,
    lines: Receiver<(Instant, String)>,
}

impl Run {
    fn start(root: &Root) -> Result<Self> {
        let socket = root.path("manager");
        if socket.exists() {
            fs::remove_file(&socket)?;
        }
        let manager = UnixDatagram::bind(&socket)?;
        manager.set_read_timeout(Some(LOOK_EVERY))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_jimengd"));
        command.args(["run", "--config"]).arg(root.path("jimengd.yaml"));
        command.env("JIMENGD_API_TOKEN", "benchmark").env("NOTIFY_SOCKET", &socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn().context("cannot start the daemon")?;
        let stderr = child.stderr.take().context("the daemon has no standard error")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Ends with the daemon, or with who listens.
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, began, manager, lines })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says that it is ready; how long that took.
    fn is_ready(&mut self) -> Result<Duration> {
        let mut message = [0; 4096];
        while self.began.elapsed() < PATIENCE {
            let count = match self.manager.recv(&mut message) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ensure!(self.child.try_wait()?.is_none(), "the daemon has ended: {:?}", self.lines.iter().last());
                    continue;
                }
                Err(error) => return Err(error).context("the service manager hears nothing"),
            };
            let took = self.began.elapsed();
            if String::from_utf8_lossy(&message[..count]).lines().any(|line| line == "READY=1") {
                return Ok(took);
            }
        }
        bail!("the daemon never said that it is ready")
    }

    /// Waits until it logs `word`; how long after the start that was.
    fn says(&mut self, word: &str) -> Result<Duration> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (at, line) =
                self.lines.recv_timeout(left).with_context(|| format!("the daemon never said {word:?}"))?;
            match line.split_whitespace().nth(1) {
                Some("ERROR") => bail!("the daemon complains: {line}"),
                Some("WARN") if !line.contains("the budget is spent") => eprintln!("  {line}"),
                Some(_) | None => {}
            }
            if line.contains(word) {
                return Ok(at.saturating_duration_since(self.began));
            }
        }
    }

    fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("the daemon has no process id")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
