//! The daemon as a user runs it: the real binary on a fresh root, with its own process and real syncs.
//!
//! What it does is known from the lines it logs, which is also what a person would look at; nothing here guesses by time.
//! Dropped, it is killed, so a benchmark that fails leaves no process behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// How long a fact may take before the benchmark gives up.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A root on the disk of the build, and the daemon on it.
pub struct Rig {
    child: Child,
    lines: UnboundedReceiver<String>,
    root: TempDir,
}

impl Rig {
    /// Starts the daemon against `base_url` with `settings`, which are YAML below the root of the configuration, and `api`,
    /// which is YAML below `api`, and waits until it says that it is ready. No rate is kept unless `api` names one.
    pub async fn start(base_url: &str, api: &str, settings: &str) -> Result<Self> {
        Self::start_planned(base_url, api, settings, "").await
    }

    /// The same with a plan for the daemon's fail points.
    pub async fn start_planned(base_url: &str, api: &str, settings: &str, plan: &str) -> Result<Self> {
        // The folder of the build is on a real disk, which the system's folder for temporary files often is not.
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).context("cannot make a root")?;
        fs::create_dir(root.path().join("staging"))?;
        let configuration = root.path().join("jimengd.yaml");
        let rate = if api.contains("requests_per_second") { "" } else { "  requests_per_second: 0\n" };
        let text = format!(
            "root: {}\nmin_free: null\napi:\n  base_url: {base_url}\n  allow_insecure: true\n{rate}{api}{settings}",
            root.path().display()
        );
        fs::write(&configuration, text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_jimengd"));
        if !plan.is_empty() {
            command.env("FAILPOINTS", plan);
        }
        let mut child = command
            .args(["run", "--config"])
            .arg(&configuration)
            .env("JIMENGD_API_TOKEN", "benchmark")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the daemon")?;
        let stderr = child.stderr.take().context("the daemon has no standard error")?;
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            // Ends with the daemon, or with the rig.
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut rig = Self { child, lines, root };
        rig.told("INFO ready", 1).await?;
        Ok(rig)
    }

    /// A folder below the root.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(name)
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the daemon has said `word` in so many more lines; a failure it tells of ends the benchmark.
    pub async fn told(&mut self, word: &str, times: usize) -> Result<()> {
        for _ in 0..times {
            loop {
                let line = match tokio::time::timeout(DEADLINE, self.lines.recv()).await {
                    Ok(Some(line)) => line,
                    Ok(None) => bail!("the daemon has ended before it said {word:?}"),
                    Err(_) => bail!("the daemon has not said {word:?} for {DEADLINE:?}"),
                };
                match line.split_whitespace().nth(1) {
                    Some("ERROR") => bail!("the daemon complains: {line}"),
                    Some("WARN") => eprintln!("  {line}"),
                    Some(_) | None => {}
                }
                if line.contains(word) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Lays a pair down beside the inbox, whole and synced, so that two renames bring it in.
    pub fn stage(&self, name: &str, picture: &[u8]) -> Result<()> {
        for (extension, bytes) in [("png", picture), ("yaml", sidecar(name).as_bytes())] {
            let path = self.path("staging").join(name).with_extension(extension);
            fs::write(&path, bytes)?;
            fs::File::open(&path)?.sync_all()?;
        }
        Ok(())
    }

    /// Moves a pair in that was staged; the instant before its second file is moved.
    pub fn move_in(&self, name: &str) -> Result<Instant> {
        let mut began = Instant::now();
        for extension in ["png", "yaml"] {
            let file = Path::new(name).with_extension(extension);
            began = Instant::now();
            fs::rename(self.path("staging").join(&file), self.path("inbox").join(&file))?;
        }
        Ok(began)
    }

    /// Tells the daemon to stop and waits for its end.
    pub async fn stop(mut self) -> Result<()> {
        self.end().await
    }

    /// The same; the root stays, and is the caller's to remove.
    pub async fn stop_and_keep(mut self) -> Result<PathBuf> {
        self.end().await?;
        self.root.disable_cleanup(true);
        Ok(self.root.path().to_owned())
    }

    async fn end(&mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("the daemon has no process id")?;
        kill_process(pid, Signal::TERM)?;
        self.told("INFO stopped", 1).await?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the daemon ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A sidecar that asks for a film of that name.
pub fn sidecar(name: &str) -> String {
    format!("prompt: {}\nseed: 7\n", prompt(name))
}

/// What it asks for.
pub fn prompt(name: &str) -> String {
    format!("A walk along the shore, take {name}")
}
