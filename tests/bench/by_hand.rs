//! The other way to do it: the shell loop of `loop.sh`.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::mpsc;

use super::rig::{DEADLINE, sidecar};

/// What it is made of, and the packages of Debian that have it.
const PROGRAMS: [(&str, &str); 4] =
    [("bash", "bash"), ("inotifywait", "inotify-tools"), ("jq", "jq"), ("curl", "curl")];

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/loop.sh");

/// The packages of the programs that are missing.
pub fn missing() -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    PROGRAMS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect()
}

/// The script with its own process group, so that all of it can be ended.
struct Loop(Child);

impl Drop for Loop {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            kill_process_group(group, Signal::TERM).ok();
        }
        drop(self.0.wait());
    }
}

/// How long the loop takes for so many pairs, once it watches, with so many workers.
pub async fn run(root: &Path, base_url: &str, workers: usize, pairs: usize, picture: &[u8]) -> Result<Duration> {
    for folder in ["staging", "inbox", "work", "outbox", "archive"] {
        fs::create_dir(root.join(folder))?;
    }
    for number in 0..pairs {
        let staged = root.join("staging").join(number.to_string());
        fs::write(staged.with_extension("png"), picture)?;
        fs::write(staged.with_extension("yaml"), sidecar(&number.to_string()))?;
    }
    let mut child = Command::new("bash")
        .arg(SCRIPT)
        .arg(root)
        .arg(base_url)
        .arg(workers.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot start the loop")?;
    let (out, err) = (child.stdout.take().context("no output")?, child.stderr.take().context("no output")?);
    let _running = Loop(child);
    let mut said = lines(out);
    let mut complained = lines(err);
    // Inotifywait says so itself.
    while !next(&mut complained).await?.contains("Watches established") {}
    let start = Instant::now();
    move_in(root, pairs)?;
    for _ in 0..pairs {
        let line = next(&mut said).await?;
        ensure!(line.starts_with("delivered "), "the loop says {line:?}");
    }
    Ok(start.elapsed())
}

fn move_in(root: &Path, pairs: usize) -> Result<()> {
    for number in 0..pairs {
        for extension in ["png", "yaml"] {
            let name = Path::new(&number.to_string()).with_extension(extension);
            fs::rename(root.join("staging").join(&name), root.join("inbox").join(&name))?;
        }
    }
    Ok(())
}

fn lines(from: impl Read + Send + 'static) -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

async fn next(lines: &mut mpsc::UnboundedReceiver<String>) -> Result<String> {
    match tokio::time::timeout(DEADLINE, lines.recv()).await {
        Ok(Some(line)) => Ok(line),
        Ok(None) => bail!("the loop has ended"),
        Err(_) => bail!("the loop has said nothing for {DEADLINE:?}"),
    }
}
