//! `jimengd demo`: simulator and daemon in one process, over a real socket on this machine alone.
//!
//! What a user would see with the real API, in a few seconds and for nothing: videos of all seven shapes, a prompt that is
//! refused, an attempt that fails and is made again, a sidecar that is wrong, an account that takes two tasks at a time. The
//! demo checks itself: it ends well only if the folders hold what it says they hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use secrecy::SecretString;
use tokio::sync::mpsc;

use super::{ExitCode, Failure, print, progress, run, stop_on_signals};
use crate::api::Client;
use crate::config::{self, Config, Overrides};
use crate::daemon::{self, Controls, Options, Outcome};
use crate::job::AspectRatio;
use crate::logging::{self, Format};
use crate::simulator::{self, Simulator};

mod picture;

/// Marks a folder as the demo's own, so that it may be made anew.
const MARK: &str = ".jimengd-demo";

/// Pairs that tell the demo's stories; more are plain ones.
const STORIES: usize = 10;

/// The account of the simulator takes so many tasks at once, which the daemon has to find out.
const CONCURRENCY: usize = 2;

/// What a task takes, in seconds.
const TASK_SECONDS: f64 = 0.8;

/// The shorter side of the pictures, in pixels: the least that the API takes.
const SHORT_SIDE: u32 = 320;

/// A token like the real ones, worth nothing.
const TOKEN: &str = "sk-demo";

/// Lines of the display that may wait.
const PROGRESS_WAITING: usize = 4096;

/// What `--help` says first.
pub(super) const LONG_ABOUT: &str = "Show the whole thing on this machine: the simulator plays the API, the daemon does its work, both in one \
     process over a real socket. It needs no token, speaks to 127.0.0.1 only, and nothing is paid.\n\n\
     The folder is made anew each time; one that the demo did not make is left alone. Exit codes: 0 if all went as \
     the demo says it must, or it was told to stop; 70 if not; 74 its words cannot be printed.";

/// Arguments of `jimengd demo`.
#[derive(Clone, Debug, Args)]
pub struct Demo {
    /// The folder to work in, made anew
    #[arg(long, value_name = "DIR", default_value = "jimengd-demo")]
    pub dir: PathBuf,
    /// How many pairs to drop; the first ten tell the stories
    #[arg(long, value_name = "N", default_value_t = STORIES, value_parser = pairs)]
    pub pairs: usize,
}

fn pairs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(pairs) if (STORIES..=10_000).contains(&pairs) => Ok(pairs),
        Ok(_) | Err(_) => Err(format!("a number from {STORIES} to 10000")),
    }
}

/// Runs the demo and checks what came of it.
///
/// # Errors
/// The folder is not the demo's, or something did not go as it must.
pub async fn run(args: Demo) -> Result<ExitCode, Failure> {
    let log = logging::init(Format::Text, "warn").map_err(|error| Failure::new(ExitCode::Software, error))?;
    let real = make_anew(&args.dir).map_err(|error| Failure::new(ExitCode::Config, error))?;
    let place = Place { given: args.dir, real };
    let stage = Stage::set(&place, args.pairs).map_err(software)?;
    print(&format!(
        "The simulator plays the API at {}; nothing leaves this machine.\n{} pairs lie in {}; the daemon starts.\n\n",
        stage.simulator.base_url(),
        args.pairs,
        place.shown(&stage.config.folders.inbox).display()
    ))?;
    print(&play(stage, &place, args.pairs, Arc::new(log)).await?)?;
    Ok(ExitCode::Ok)
}

fn software(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(ExitCode::Software, error)
}

/// The demo's folder.
struct Place {
    /// As the user named it.
    given: PathBuf,
    /// As the daemon needs it.
    real: PathBuf,
}

impl Place {
    /// What lies in the folder, as the user would name it.
    fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.real).map_or_else(|_| path.to_owned(), |rest| self.given.join(rest))
    }
}

/// Everything before the daemon starts.
struct Stage {
    simulator: Simulator,
    config: Config,
}

/// One pair that the demo drops.
struct Pair {
    name: String,
    ratio: AspectRatio,
    sidecar: String,
}

impl Stage {
    fn set(place: &Place, count: usize) -> anyhow::Result<Self> {
        let simulator = Simulator::start(simulator::Settings {
            token: Some(TOKEN.to_owned()),
            seed: 1,
            task_seconds: TASK_SECONDS,
            concurrency: Some(CONCURRENCY),
            ..simulator::Settings::default()
        })
        .context("cannot start the simulator")?;
        let file = place.real.join("jimengd.yaml");
        std::fs::write(&file, settings(&place.real, &simulator.base_url()))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let config = config::load(Some(&file), std::iter::empty(), &Overrides::default())?.config;
        drop_pairs(&config.folders.inbox, &pairs_to_drop(count))?;
        Ok(Self { simulator, config })
    }
}

/// Runs the daemon and looks at what came of it; what there is to say.
async fn play(stage: Stage, place: &Place, count: usize, log: Arc<logging::Guard>) -> Result<String, Failure> {
    let Stage { simulator, config } = stage;
    let stop = stop_on_signals().map_err(software)?;
    let (observer, progress) = mpsc::channel(PROGRESS_WAITING);
    let display = progress::show(progress, log);
    // Nothing is reloaded, but the channel must stay open.
    let (_reloads, waiting) = mpsc::channel(1);
    let client = Client::new(run::api_settings(&config, SecretString::from(TOKEN))).map_err(software)?;
    let options = Options { once: true, observer: Some(observer) };
    let folders = config.folders.clone();
    let ended = daemon::run(config, client, options, Controls { stop: stop.clone(), reloads: waiting }).await;
    display.await.map_err(software)??;
    let outcome = ended.map_err(software)?;
    if stop.is_cancelled() {
        return Ok("\nstopped; nothing was paid\n".to_owned());
    }
    let told = check(&folders, &simulator, outcome, count, place)
        .with_context(|| format!("the demo did not go as it must; look into {}", place.given.display()))
        .map_err(software)?;
    simulator.shutdown().await;
    Ok(told)
}

/// The demo's configuration; it is left in the folder to be looked at.
fn settings(dir: &Path, base_url: &str) -> String {
    let root = serde_json::Value::from(dir.display().to_string());
    format!(
        "# The configuration of the demo. A real one needs none of this but a token.\n\
         root: {root}\n\
         min_free: 10MB\n\
         inbox: {{quiet: 100ms, settle: 200ms}}\n\
         api: {{base_url: \"{base_url}\", allow_insecure: true, requests_per_second: 20}}   # the simulator, on this machine\n\
         poll: {{first: 300ms, every: 200ms, slowest: 1s}}   # its tasks take a second, not minutes\n"
    )
}

fn pairs_to_drop(count: usize) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = AspectRatio::ALL
        .into_iter()
        .map(|ratio| {
            let name = format!("ratio-{}", ratio.label().replace(':', "x"));
            plain(name, ratio, "Slow waves of colour roll from left to right")
        })
        .collect();
    let wide = AspectRatio::R16x9;
    pairs.push(plain("refused-prompt".to_owned(), wide, "A prompt that does not pass moderation [50412]"));
    pairs.push(plain(
        "second-attempt".to_owned(),
        wide,
        "The first video does not pass, the next one does [poll 50500 once]",
    ));
    pairs.push(Pair {
        name: "wrong-sidecar".to_owned(),
        ratio: wide,
        sidecar: "promt: A key with a typing error\naspect_ratio: 969\n".to_owned(),
    });
    for number in pairs.len()..count {
        pairs.push(plain(format!("more/waves-{number:04}"), wide, "More waves of colour"));
    }
    pairs
}

fn plain(name: String, ratio: AspectRatio, prompt: &str) -> Pair {
    Pair { name, ratio, sidecar: format!("prompt: \"{prompt}\"\naspect_ratio: \"{ratio}\"\n") }
}

fn drop_pairs(inbox: &Path, pairs: &[Pair]) -> anyhow::Result<()> {
    for (number, pair) in pairs.iter().enumerate() {
        let (width, height) = pair.ratio.pixels();
        let scale = |side: u32| side * SHORT_SIDE / width.min(height);
        let hue = u8::try_from(number * 37 % 256).unwrap_or(0);
        let picture = inbox.join(format!("{}.png", pair.name));
        let folder = picture.parent().unwrap_or(inbox);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (path, bytes) in [
            (&picture, picture::png(scale(width), scale(height), hue)),
            (&inbox.join(format!("{}.yaml", pair.name)), pair.sidecar.clone().into_bytes()),
        ] {
            std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// Looks at the folders and the simulator; says what is there, or what is not as it must be.
fn check(
    folders: &config::Folders,
    simulator: &Simulator,
    outcome: Outcome,
    count: usize,
    place: &Place,
) -> anyhow::Result<String> {
    let receipts: Vec<Document> = documents(&folders.outbox, ".receipt.yaml")?;
    let reports: Vec<Document> = documents(&folders.error, ".error.yaml")?;
    let expected = count - 2;
    ensure!(outcome.delivered == expected as u64, "{} videos instead of {expected}", outcome.delivered);
    ensure!(receipts.len() == expected, "{} receipts instead of {expected}", receipts.len());
    for receipt in &receipts {
        let video = receipt.path.with_file_name(receipt.text(&["video", "name"])?);
        let bytes = std::fs::metadata(&video).with_context(|| format!("{} is missing", video.display()))?.len();
        ensure!(
            Some(bytes) == receipt.number(&["video", "bytes"]),
            "{} has not the size that its receipt says",
            video.display()
        );
        let ratio = AspectRatio::parse(&receipt.text(&["aspect_ratio"])?).context("a receipt names no ratio")?;
        let size = (receipt.number(&["video", "width"]), receipt.number(&["video", "height"]));
        let (width, height) = ratio.pixels();
        ensure!(
            size == (Some(u64::from(width)), Some(u64::from(height))),
            "{} is {size:?}, not {ratio}",
            video.display()
        );
    }
    let hashes: BTreeSet<String> =
        receipts.iter().map(|one| one.text(&["video", "sha256"])).collect::<Result<_, _>>()?;
    ensure!(hashes.len() == receipts.len(), "two videos are the same");
    let Some(again) = receipts.iter().find(|one| one.number(&["attempts"]) == Some(2)) else {
        bail!("no video was made at the second attempt");
    };
    let Some(refused) = reports.iter().find(|one| one.number(&["code"]) == Some(50_412)) else {
        bail!("no report has the code 50412");
    };
    let wrong = reports.iter().find(|one| one.text(&["reason"]).is_ok_and(|reason| reason == "invalid_sidecar"));
    let Some(wrong) = wrong else { bail!("no report has the reason invalid_sidecar") };
    ensure!(wrong.number(&["attempts"]) == Some(0), "the wrong sidecar was sent");
    ensure!(reports.len() == 2, "{} reports instead of 2", reports.len());
    // Each delivered pair was paid once, the second attempt twice, the refused ones never.
    let paid = simulator.paid();
    ensure!(paid == expected as u64 + 1, "{paid} submissions were accepted instead of {}", expected + 1);
    let throttled = simulator.requests().iter().filter(|request| request.status == Some(429)).count();
    ensure!(throttled > 0, "the account's limit was never met");
    let violations = simulator.violations();
    ensure!(violations.is_empty(), "the simulator objects: {violations:?}");

    let line = |what: &str, path: &Path| format!("  {what:<44} {}\n", place.shown(path).display());
    let mut told = format!(
        "\nAll went as it must: {expected} videos, 2 refusals, {paid} submissions accepted and paid (by nobody).\n\n"
    );
    told += &line(&format!("{} videos, each with its receipt", receipts.len()), &folders.outbox);
    told += &line("  of which one of each of the seven ratios", &folders.outbox.join("ratio-*.mp4"));
    told += &line("  made at the second attempt, after 50500", &again.path);
    told += &line("the pairs they were made of", &folders.archive);
    told += &line("refused by moderation, code 50412", &refused.path);
    told += &line("refused before anything was sent", &wrong.path);
    told += &format!(
        "\nThe account takes {CONCURRENCY} tasks at once; the daemon found that out by asking, was told to wait {throttled} time{}, and\n\
         lost nothing by it. Look at a report: it says what is wrong and what to do.\n",
        if throttled == 1 { "" } else { "s" }
    );
    Ok(told)
}

/// A report or a receipt.
struct Document {
    path: PathBuf,
    content: serde_yaml::Value,
}

impl Document {
    fn get(&self, keys: &[&str]) -> Option<&serde_yaml::Value> {
        keys.iter().try_fold(&self.content, |value, key| value.get(key))
    }

    fn text(&self, keys: &[&str]) -> anyhow::Result<String> {
        let text = self.get(keys).and_then(serde_yaml::Value::as_str);
        text.map(str::to_owned).with_context(|| format!("{} has no {}", self.path.display(), keys.join(".")))
    }

    fn number(&self, keys: &[&str]) -> Option<u64> {
        self.get(keys).and_then(serde_yaml::Value::as_u64)
    }
}

/// The documents of a kind in a folder and below it, by name.
fn documents(folder: &Path, suffix: &str) -> anyhow::Result<Vec<Document>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let content = serde_yaml::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))?;
                found.push(Document { path, content });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// An empty folder with the demo's mark. What an earlier demo left is removed; what is not the demo's is not touched.
fn make_anew(dir: &Path) -> anyhow::Result<PathBuf> {
    let dir = std::path::absolute(dir).with_context(|| format!("cannot tell where {} is", dir.display()))?;
    if dir.exists() {
        let is_ours = dir.join(MARK).is_file();
        let is_empty = dir.read_dir().is_ok_and(|mut entries| entries.next().is_none());
        if !is_ours && !is_empty {
            bail!(
                "{} is not a folder that the demo made, so it is left alone; name another one with --dir",
                dir.display()
            );
        }
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mark = dir.join(MARK);
    std::fs::write(&mark, "The demo of jimengd made this folder and may remove it.\n")
        .with_context(|| format!("cannot write {}", mark.display()))?;
    Ok(dir)
}
