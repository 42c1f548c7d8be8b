//! What every test here stands on: a folder, the vendor played by the simulator, and the daemon.
//!
//! ```ignore
//! let rig = Rig::new(vendor(), "tasks: {max: 1}");   // a folder of its own, the simulator on a port of its own
//! let daemon = rig.start();                          // or rig.spawn(&[]) for the real program
//! rig.drop_pair("shoes/red", "A red shoe turns");    // shoes/red.png and shoes/red.yaml, unique bytes
//! rig.until_ended(1, 0).await;                       // one video, no report, nothing in work/
//! daemon.stop().await;
//! rig.assert_all_is_well();                          // nothing lost, nothing doubled, nothing left, no breach of the API
//! ```
//!
//! Tests wait for facts ([`Rig::until`]), never for time. Everything that is dropped is remembered by its hash, so that at the
//! end each file must be in exactly one place.

mod daemons;
pub mod pictures;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jimengd::daemon::{DAEMON_FACT, LEDGER, Outcome, Snapshot};
use jimengd::job::{Job, JobId};
use jimengd::ledger::Reader;
use jimengd::simulator::{Script, Settings, Simulator};
use serde_yaml::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub use daemons::{Binary, Running};

/// The token that the simulator lets in.
pub const TOKEN: &str = "sk-rig-Zm9yIHRlc3RzIG9ubHk";

/// How long a fact may take to become true.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How often a fact is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A user without any rights of its own, as Linux calls it.
const NOBODY: u32 = 65_534;

/// A vendor that is quick and has no limits.
pub fn vendor() -> Settings {
    Settings { token: Some(TOKEN.to_owned()), task_seconds: 0.05, ..Settings::default() }
}

/// A vendor whose tasks last until they are finished by hand.
pub fn patient_vendor() -> Settings {
    Settings { task_seconds: f64::INFINITY, ..vendor() }
}

/// A vendor that follows a script of faults.
pub fn faulty_vendor(script: &str) -> Settings {
    Settings { script: Some(self::script(script)), ..vendor() }
}

/// A script of faults.
pub fn script(text: &str) -> Script {
    Script::parse(text).expect("a good script")
}

/// One test's world.
pub struct Rig {
    folder: TempDir,
    root: PathBuf,
    settings: Settings,
    vendor: Option<Simulator>,
    base_url: String,
    /// What was dropped: the hash and how it was called.
    dropped: Mutex<Vec<(String, PathBuf)>>,
    logs: AtomicU32,
    /// Whose programs are started, if not ours.
    user: Option<u32>,
    program: PathBuf,
}

/// A file that was dropped and does not lie in exactly as many places as it was dropped at.
#[derive(Debug)]
pub struct Misplaced {
    /// How it was called.
    pub name: PathBuf,
    /// How often these bytes were dropped.
    pub wanted: usize,
    /// In how many places they lie.
    pub found: usize,
}

impl Rig {
    /// A vendor like that, an empty spool, and a configuration that is quick with `extra` laid over it.
    pub fn new(settings: Settings, extra: &str) -> Self {
        let folder = TempDir::with_prefix("jimengd-").expect("a temporary folder");
        let root = folder.path().join("spool");
        Self::of(folder, root, settings, extra)
    }

    /// The same, all of it in a folder of its own in `place`.
    pub fn new_in(place: &Path, settings: Settings, extra: &str) -> Self {
        let folder = TempDir::with_prefix_in("jimengd-", place).expect("a temporary folder");
        let root = folder.path().join("spool");
        Self::of(folder, root, settings, extra)
    }

    /// The same, its spool at `root`; configuration and logs lie elsewhere.
    pub fn at(root: &Path, settings: Settings, extra: &str) -> Self {
        let folder = TempDir::with_prefix("jimengd-").expect("a temporary folder");
        Self::of(folder, root.to_owned(), settings, extra)
    }

    fn of(folder: TempDir, root: PathBuf, settings: Settings, extra: &str) -> Self {
        let vendor = Simulator::start(settings.clone()).expect("a free port");
        let base_url = vendor.base_url();
        let settings = Settings { listen: vendor.addr(), ..settings };
        let rig = Self {
            folder,
            root,
            settings,
            vendor: Some(vendor),
            base_url,
            dropped: Mutex::default(),
            logs: AtomicU32::default(),
            user: None,
            program: PathBuf::from(daemons::PROGRAM),
        };
        rig.set_token(TOKEN);
        rig.configure(extra);
        for name in ["inbox", "work", "outbox", "error", "archive"] {
            fs::create_dir_all(rig.root().join(name)).unwrap();
        }
        rig
    }

    /// A rig with nothing special about it.
    pub fn plain() -> Self {
        Self::new(vendor(), "")
    }

    // ---- the set-up ----

    /// Writes the configuration: the rig's own with `extra` over it.
    pub fn configure(&self, extra: &str) {
        let own = format!(
            "root: {root}
inbox: {{quiet: 5ms, settle: 50ms, incomplete_after: 1s, poll: 50ms}}
min_free: 1MB
api:
  base_url: {url}
  token_file: {token}
  allow_insecure: true
  requests_per_second: 0
poll: {{first: 20ms, every: 20ms, slowest: 100ms}}
log: {{format: json, level: debug}}
",
            root = self.root().display(),
            url = self.base_url,
            token = self.token_file().display(),
        );
        let mut config: Value = serde_yaml::from_str(&own).unwrap();
        if !extra.is_empty() {
            lay_over(&mut config, serde_yaml::from_str(extra).expect("good YAML"));
        }
        fs::write(self.config_file(), serde_yaml::to_string(&config).unwrap()).unwrap();
    }

    /// Writes the token's file.
    pub fn set_token(&self, token: &str) {
        use std::os::unix::fs::PermissionsExt;
        fs::write(self.token_file(), token).unwrap();
        fs::set_permissions(self.token_file(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The folder that holds everything of this rig.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The spool's root.
    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// The program that is started from now on.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// The configuration's file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("jimengd.yaml")
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// The vendor.
    pub fn vendor(&self) -> &Simulator {
        self.vendor.as_ref().expect("the vendor is open")
    }

    /// The vendor is gone: connections are refused.
    pub async fn close_vendor(&mut self) {
        if let Some(vendor) = self.vendor.take() {
            vendor.shutdown().await;
        }
    }

    /// The vendor is there again under the same address, knowing nothing of before.
    pub fn open_vendor(&mut self) {
        self.vendor = Some(Simulator::start(self.settings.clone()).expect("the port is still free"));
    }

    // ---- the daemon ----

    /// Starts the daemon in this process.
    pub fn start(&self) -> Running {
        Running::start(&self.config_file(), false)
    }

    /// Runs the daemon in this process until nothing can move.
    pub async fn run_once(&self) -> Outcome {
        self.run_once_within(PATIENCE).await
    }

    /// The same with more patience, for who has dropped much.
    pub async fn run_once_within(&self, patience: Duration) -> Outcome {
        Running::start(&self.config_file(), true).finished(patience).await
    }

    /// Starts the program: `jimengd run --config …` and more arguments.
    pub fn spawn(&self, more: &[&str]) -> Binary {
        let config = self.config_file();
        let mut arguments = vec!["run", "--config", config.to_str().expect("a plain path")];
        arguments.extend(more);
        self.program(&arguments)
    }

    /// Starts the program with just these arguments.
    pub fn program(&self, arguments: &[&str]) -> Binary {
        self.program_in(arguments, &[])
    }

    /// Starts the program with just these arguments and this environment.
    pub fn program_in(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Binary {
        let number = self.logs.fetch_add(1, Ordering::Relaxed) + 1;
        let log = self.folder().join(format!("log-{number}.jsonl"));
        Binary::start(self.command(), arguments, environment, &log)
    }

    /// Starts `jimengd run --config …` with more arguments under another program, such as a tracer.
    pub fn spawn_under(&self, mut tracer: Command, more: &[&str]) -> Binary {
        let number = self.logs.fetch_add(1, Ordering::Relaxed) + 1;
        let log = self.folder().join(format!("log-{number}.jsonl"));
        let config = self.config_file();
        let mut arguments = vec!["run", "--config", config.to_str().expect("a plain path")];
        arguments.extend(more);
        tracer.arg(&self.program);
        Binary::start(tracer, &arguments, &[], &log)
    }

    /// Starts `jimengd run --config …` with more arguments and a plan of its fail points: see `src/world/failpoint.rs`.
    pub fn spawn_failing(&self, plan: &str, more: &[&str]) -> Binary {
        let config = self.config_file();
        let mut arguments = vec!["run", "--config", config.to_str().expect("a plain path")];
        arguments.extend(more);
        self.program_in(&arguments, &[("FAILPOINTS", plan)])
    }

    /// Starts the program with a proxy for all that it asks for: the vendor's own address, whatever host is meant.
    pub fn spawn_behind_proxy(&self) -> Binary {
        let config = self.config_file();
        let arguments = ["run", "--config", config.to_str().expect("a plain path")];
        self.program_in(&arguments, &[("http_proxy", self.base_url.as_str())])
    }

    /// Runs the program to its end: `jimengd SUBCOMMAND --config …` and more arguments.
    pub fn output(&self, subcommand: &str, more: &[&str]) -> Output {
        let mut command = self.command();
        command
            .args([subcommand, "--config"])
            .arg(self.config_file())
            .args(more)
            .env_clear()
            .envs([daemons::TRUST])
            .stdin(Stdio::null());
        command.output().expect("the program starts")
    }

    /// What `jimengd status --json` says.
    pub fn status(&self) -> serde_json::Value {
        let output = self.output("status", &["--json"]);
        let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said()))
    }

    fn command(&self) -> Command {
        match self.user {
            Some(user) => daemons::command_of(user, &self.own_program()),
            None => Command::new(&self.program),
        }
    }

    /// The program at a place where whoever owns this rig may reach it.
    fn own_program(&self) -> PathBuf {
        self.folder().join("jimengd")
    }

    /// Gives everything to a user without rights, whose programs [`Rig::program`], [`Rig::spawn`] and [`Rig::output`] start from
    /// now on. Where the test itself is not the superuser's, it has none, and nothing changes.
    pub fn hand_over(&mut self) {
        if rustix::process::geteuid().is_root() {
            let program = self.own_program();
            if fs::hard_link(&self.program, &program).is_err() {
                fs::copy(&self.program, &program).unwrap();
            }
            self.user = Some(NOBODY);
            std::os::unix::fs::chown(self.folder(), Some(NOBODY), Some(NOBODY)).unwrap();
            self.give(&self.root());
            for file in [self.config_file(), self.token_file()] {
                self.give(&file);
            }
        }
    }

    /// Gives a file, or a folder with all that is in it, to the owner of this rig; links are not followed.
    pub fn give(&self, path: &Path) {
        let Some(user) = self.user else { return };
        std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
        if fs::symlink_metadata(path).is_ok_and(|facts| facts.is_dir()) {
            for entry in fs::read_dir(path).unwrap().flatten() {
                self.give(&entry.path());
            }
        }
    }

    // ---- dropping ----

    /// Copies `NAME.png` and then `NAME.yaml` with that prompt into the inbox.
    pub fn drop_pair(&self, name: &str, prompt: &str) {
        self.drop_with(name, &sidecar(prompt));
    }

    /// Copies `NAME.png` and then that sidecar into the inbox.
    pub fn drop_with(&self, name: &str, sidecar: &str) {
        self.copy_in(format!("{name}.png"), &pictures::png());
        self.copy_in(format!("{name}.yaml"), sidecar.as_bytes());
    }

    /// Writes a file into the inbox, as `cp` does.
    pub fn copy_in(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        self.remember(name.as_ref(), bytes);
        write(&self.inbox(name), bytes);
    }

    /// Renames a file into the inbox, as `mv` does.
    pub fn move_in(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        self.remember(name.as_ref(), bytes);
        let beside = self.folder().join("staged");
        write(&beside, bytes);
        let target = self.inbox(name);
        fs::create_dir_all(target.parent().expect("it lies in the inbox")).unwrap();
        fs::rename(beside, target).unwrap();
    }

    /// Notes that these bytes were dropped, and so must be found in one place at the end.
    pub fn remember(&self, name: &Path, bytes: &[u8]) {
        self.dropped().push((sha256(bytes), name.to_owned()));
    }

    /// Forgets what was dropped under that name: its user has taken it away or changed it.
    pub fn forget(&self, name: impl AsRef<Path>) {
        self.dropped().retain(|(_, dropped)| dropped != name.as_ref());
    }

    /// Whether a file with these bytes was dropped.
    pub fn was_dropped(&self, bytes: &[u8]) -> bool {
        let hash = sha256(bytes);
        self.dropped().iter().any(|(dropped, _)| *dropped == hash)
    }

    /// How often something was dropped under that name.
    pub fn times_dropped(&self, name: &str) -> usize {
        self.dropped().iter().filter(|(_, dropped)| dropped == Path::new(name)).count()
    }

    fn dropped(&self) -> MutexGuard<'_, Vec<(String, PathBuf)>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves files from `error/` back into the inbox, as they are.
    pub fn move_back(&self, names: &[&str]) {
        for name in names {
            fs::rename(self.error(name), self.inbox(name)).unwrap();
        }
    }

    // ---- the folders ----

    /// A path in the inbox.
    pub fn inbox(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join("inbox").join(name)
    }

    /// A path in the outbox.
    pub fn outbox(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join("outbox").join(name)
    }

    /// A path in the error folder.
    pub fn error(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join("error").join(name)
    }

    /// A path in the archive.
    pub fn archive(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join("archive").join(name)
    }

    /// The files below `inbox`, `outbox`, …, relative to it, sorted.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let top = self.root().join(folder);
        let shown = |path: &PathBuf| path.strip_prefix(&top).expect("it lies below").to_string_lossy().into_owned();
        files(&top).iter().map(shown).collect()
    }

    /// Videos in the outbox.
    pub fn videos(&self) -> usize {
        self.list("outbox").iter().filter(|name| name.ends_with(".mp4")).count()
    }

    /// Reports in the error folder.
    pub fn reports(&self) -> usize {
        self.list("error").iter().filter(|name| name.ends_with(".error.yaml")).count()
    }

    /// Folders of jobs in `work/`.
    pub fn jobs_in_work(&self) -> usize {
        self.folders_in_work().iter().filter(|name| !name.starts_with('.')).count()
    }

    /// Every folder in `work/`: those of jobs, and those that are handed on while there are some.
    pub fn folders_in_work(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root().join("work")) else { return Vec::new() };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// `NAME.receipt.yaml` from the outbox.
    pub fn receipt(&self, name: &str) -> Value {
        read_yaml(&self.outbox(format!("{name}.receipt.yaml")))
    }

    /// `NAME.error.yaml` from the error folder.
    pub fn report(&self, name: &str) -> Value {
        read_yaml(&self.error(format!("{name}.error.yaml")))
    }

    // ---- the ledger ----

    /// What the daemon last said of itself.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let reader = Reader::open(&self.root().join(LEDGER)).ok().flatten()?;
        serde_json::from_str(&reader.fact(DAEMON_FACT).ok().flatten()?).ok()
    }

    /// Whether the daemon says that it is paused for that reason.
    pub fn is_paused(&self, reason: &str) -> bool {
        self.snapshot().is_some_and(|snapshot| snapshot.paused.iter().any(|paused| paused.reason == reason))
    }

    /// A job as the ledger knows it.
    pub fn job(&self, id: &str) -> Job {
        let id = JobId::parse(id).expect("a job's id");
        let reader = Reader::open(&self.root().join(LEDGER)).unwrap().expect("there is a ledger");
        reader.job(id).unwrap().expect("the ledger knows the job")
    }

    // ---- waiting ----

    /// Waits until the fact holds.
    ///
    /// # Panics
    /// It does not within [`PATIENCE`]; says what there is instead.
    pub async fn until(&self, fact: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {fact}\n{}", self.scene());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until there are so many videos and reports and nothing is being made.
    pub async fn until_ended(&self, videos: usize, reports: usize) {
        let fact = format!("{videos} videos, {reports} reports and nothing in work/");
        self.until(&fact, || self.folders_in_work().is_empty() && self.videos() == videos && self.reports() == reports)
            .await;
    }

    /// Waits until there are so many reports.
    pub async fn until_reports(&self, reports: usize) {
        self.until(&format!("{reports} reports"), || self.reports() == reports).await;
    }

    /// Waits until the vendor has accepted so many submissions.
    pub async fn until_paid(&self, paid: u64) {
        self.until(&format!("{paid} paid"), || self.vendor().paid() == paid).await;
    }

    /// Everything that may tell why a test failed.
    pub fn scene(&self) -> String {
        let mut scene = String::new();
        for folder in ["inbox", "work", "outbox", "error", "archive"] {
            scene.push_str(&format!("{folder}: {:?}\n", self.list(folder)));
        }
        for name in self.list("error").iter().filter(|name| name.ends_with(".error.yaml")).take(3) {
            scene.push_str(&format!("--- {name}\n{}", fs::read_to_string(self.error(name)).unwrap_or_default()));
        }
        if let Some(snapshot) = self.snapshot() {
            scene.push_str(&format!("{snapshot:?}\n"));
        }
        if let Some(vendor) = &self.vendor {
            scene.push_str(&format!("paid {}, violations {:?}\n", vendor.paid(), vendor.violations()));
            for request in vendor.requests().iter().rev().take(12) {
                scene.push_str(&format!("{} {} → {:?}\n", request.method, request.path, request.status));
            }
        }
        scene
    }

    // ---- what must hold at the end ----

    /// Nothing lost, nothing doubled, nothing left behind, and no breach of the API's page.
    pub fn assert_all_is_well(&self) {
        self.assert_everywhere_once();
        self.assert_nothing_left();
    }

    /// Every file that was dropped lies in exactly one of inbox, work, archive and error.
    pub fn assert_everywhere_once(&self) {
        if let Some(Misplaced { name, found, .. }) = self.misplaced().first() {
            panic!("{} lies in {found} places\n{}", name.display(), self.scene());
        }
    }

    /// Every file that was dropped lies somewhere: perhaps in two places, in the middle of a move to another mount.
    pub fn assert_nothing_lost(&self) {
        if let Some(Misplaced { name, found, wanted }) = self.misplaced().iter().find(|file| file.found < file.wanted) {
            panic!("{} lies in {found} places, not {wanted}\n{}", name.display(), self.scene());
        }
    }

    /// The files that were dropped and do not lie in exactly one of inbox, work, archive and error.
    pub fn misplaced(&self) -> Vec<Misplaced> {
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        for (hash, _) in self.dropped().iter() {
            *wanted.entry(hash.clone()).or_default() += 1;
        }
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for folder in ["inbox", "work", "archive", "error"] {
            // The daemon's own files in `work/` are dot-files, and some are as empty as a file that was dropped may be.
            let own =
                |path: &PathBuf| folder == "work" && path.file_name().is_some_and(|name| name.as_bytes()[0] == b'.');
            for path in files(&self.root().join(folder)).into_iter().filter(|path| !own(path)) {
                *found.entry(sha256(&fs::read(&path).unwrap())).or_default() += 1;
            }
        }
        let dropped = self.dropped();
        let placed = dropped.iter().map(|(hash, name)| Misplaced {
            name: name.clone(),
            wanted: wanted[hash],
            found: found.get(hash).copied().unwrap_or_default(),
        });
        placed.filter(|placed| placed.found != placed.wanted).collect()
    }

    /// No temporary video, no job's folder in `work/`, nothing dropped is left in the inbox, and the vendor has nothing to
    /// complain about.
    pub fn assert_nothing_left(&self) {
        // Ours are hidden; another `.part` is its user's.
        let own = |name: &str| name.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
        let temporary = |name: &String| (own(name) && name.ends_with(".part")) || name.contains("jimengd-probe");
        for folder in ["outbox", "error", "archive", "inbox"] {
            let left: Vec<_> = self.list(folder).into_iter().filter(temporary).collect();
            assert!(left.is_empty(), "left in {folder}: {left:?}");
        }
        assert!(self.folders_in_work().is_empty(), "{}", self.scene());
        if let Some(vendor) = &self.vendor {
            assert_eq!(vendor.violations(), Vec::<String>::new(), "{}", self.scene());
        }
    }
}

/// A sidecar with that prompt alone.
pub fn sidecar(prompt: &str) -> String {
    format!("prompt: {}\n", serde_json::Value::from(prompt))
}

/// SHA-256 in lowercase hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a YAML file.
pub fn read_yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", path.display()))
}

/// All regular files below a folder, sorted. What vanishes meanwhile is left out.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            Ok(_) | Err(_) => {}
        }
    }
    found.sort();
    found
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file lies in a folder")).unwrap();
    fs::write(path, bytes).unwrap();
}

fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Mapping(below), Value::Mapping(above)) => {
            for (key, value) in above {
                match below.get_mut(&key) {
                    Some(place) => lay_over(place, value),
                    None => {
                        below.insert(key, value);
                    }
                }
            }
        }
        (below, above) => *below = above,
    }
}
