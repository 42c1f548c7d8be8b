//! What cannot be avoided: the bytes of a pair read, encoded, sent, asked for, fetched and kept, by a loop that does nothing else.
//!
//! For each pair one POST with the picture as base64, one GET that finds the task done (one in two thousand takes another), one GET of the video to a temporary
//! file, a short receipt, the renames that bring four files where they belong. It remembers nothing, retries nothing, checks
//! nothing, and a crash would lose what is under way.
//!
//! Its syncs are those of the daemon's order of writes, as if sharing them cost nothing: each pair waits at four barriers (before
//! it is sent, once its task is known, once its video is there, once everything lies where it belongs), with one record appended to a
//! journal at each. Whoever waits at a barrier shares one sync of the whole file system.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::rig::sidecar;

/// A task is asked about once it is almost certainly done: so often its mean time has passed then.
const ALMOST_SURELY_DONE: u32 = 3;

/// Bytes of a record of the journal, as long as the daemon's rows.
const RECORD_BYTES: usize = 600;

/// How much at once, as the daemon is told.
pub struct Limits {
    pub tasks: usize,
    pub uploads: usize,
    pub downloads: usize,
    pub task: Duration,
}

struct Bare {
    root: PathBuf,
    base_url: String,
    client: reqwest::Client,
    barrier: mpsc::UnboundedSender<oneshot::Sender<()>>,
    tasks: Semaphore,
    uploads: Semaphore,
    downloads: Semaphore,
    wait: Duration,
}

/// How long so many pairs take.
pub async fn run(root: &Path, base_url: &str, pairs: usize, pictures: &[Vec<u8>], limits: Limits) -> Result<Duration> {
    for folder in ["inbox", "work", "outbox", "archive"] {
        fs::create_dir(root.join(folder))?;
    }
    for number in 0..pairs {
        let pair = root.join("inbox").join(number.to_string());
        fs::write(pair.with_extension("png"), &pictures[number % pictures.len()])?;
        fs::write(pair.with_extension("yaml"), sidecar(&number.to_string()))?;
    }
    rustix::fs::syncfs(File::open(root)?)?;
    let bare = Arc::new(Bare {
        root: root.to_owned(),
        base_url: base_url.to_owned(),
        client: reqwest::Client::new(),
        barrier: start_barrier(root)?,
        tasks: Semaphore::new(limits.tasks),
        uploads: Semaphore::new(limits.uploads),
        downloads: Semaphore::new(limits.downloads),
        wait: limits.task * ALMOST_SURELY_DONE,
    });
    let start = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..pairs {
        let bare = bare.clone();
        running.spawn(async move { bare.one(&number.to_string()).await });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(start.elapsed())
}

impl Bare {
    async fn one(&self, name: &str) -> Result<()> {
        let _slot = self.tasks.acquire().await?;
        let task = {
            let _upload = self.uploads.acquire().await?;
            self.submit(name).await?
        };
        let link = loop {
            tokio::time::sleep(self.wait).await;
            if let Some(link) = self.poll(&task).await? {
                break link;
            }
        };
        let _download = self.downloads.acquire().await?;
        self.fetch(name, &link).await
    }

    async fn submit(&self, name: &str) -> Result<String> {
        for extension in ["png", "yaml"] {
            self.rename("inbox", "work", name, extension)?;
        }
        let picture = fs::read(self.path("work", name, "png"))?;
        let text = fs::read_to_string(self.path("work", name, "yaml"))?;
        let prompt = text.lines().find_map(|line| line.strip_prefix("prompt: ")).context("no prompt")?;
        let body = json!({"prompt": prompt, "seed": 7, "binary_data_base64": [STANDARD.encode(picture)]}).to_string();
        self.pass_barrier().await?;
        let request = self.client.post(format!("{}/task/jimeng/image2video", self.base_url));
        let answer =
            request.bearer_auth("benchmark").header("Content-Type", "application/json").body(body).send().await?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let task = answer["data"]["task_id"].as_str().with_context(|| format!("refused: {answer}"))?;
        self.pass_barrier().await?;
        Ok(task.to_owned())
    }

    async fn poll(&self, task: &str) -> Result<Option<String>> {
        let request = self.client.get(format!("{}/task/{task}", self.base_url)).bearer_auth("benchmark");
        let answer: Value = serde_json::from_slice(&request.send().await?.bytes().await?)?;
        ensure!(answer["code"] == 10000, "refused: {answer}");
        let link = answer["data"]["video_url"].as_str().filter(|link| !link.is_empty());
        Ok(link.map(str::to_owned))
    }

    async fn fetch(&self, name: &str, link: &str) -> Result<()> {
        let video = self.client.get(link).send().await?.error_for_status()?.bytes().await?;
        fs::write(self.path("outbox", name, "part"), &video)?;
        self.pass_barrier().await?;
        fs::write(self.path("outbox", name, "receipt.yaml"), vec![b'#'; RECORD_BYTES])?;
        fs::rename(self.path("outbox", name, "part"), self.path("outbox", name, "mp4"))?;
        for extension in ["png", "yaml"] {
            self.rename("work", "archive", name, extension)?;
        }
        self.pass_barrier().await
    }

    fn path(&self, folder: &str, name: &str, extension: &str) -> PathBuf {
        self.root.join(folder).join(format!("{name}.{extension}"))
    }

    fn rename(&self, from: &str, to: &str, name: &str, extension: &str) -> Result<()> {
        Ok(fs::rename(self.path(from, name, extension), self.path(to, name, extension))?)
    }

    async fn pass_barrier(&self) -> Result<()> {
        let (told, synced) = oneshot::channel();
        self.barrier.send(told)?;
        Ok(synced.await?)
    }
}

/// Somebody who takes all that wait, writes a record for each, syncs once, and lets them go.
fn start_barrier(root: &Path) -> Result<mpsc::UnboundedSender<oneshot::Sender<()>>> {
    let mut journal = File::create(root.join("journal"))?;
    let (sender, mut waiting) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let mut batch: Vec<oneshot::Sender<()>> = Vec::new();
        while waiting.blocking_recv_many(&mut batch, usize::MAX) > 0 {
            let written = journal.write_all(&vec![b'#'; RECORD_BYTES * batch.len()]);
            if written.is_err() || rustix::fs::syncfs(&journal).is_err() {
                // Who waits sees that nobody answers.
                return;
            }
            for told in batch.drain(..) {
                told.send(()).ok();
            }
        }
    });
    Ok(sender)
}
