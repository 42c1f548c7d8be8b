//! The daemon under test: inside this process, or as the program that people install.
//!
//! Both read the same configuration file. Inside the process it is quick to start and can be told to reload without a signal;
//! the program can be killed, and has a log.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use jimengd::api::{Client, Settings};
use jimengd::cli::run::api_settings;
use jimengd::config::{self, Config, Overrides};
use jimengd::daemon::{self, Controls, DaemonError, Options, Outcome, Reload};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{LOOK_EVERY, PATIENCE};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_jimengd");

/// A trust store with one root that has signed nothing: reading all of the system's takes longer than most programs here run.
pub const TRUST: (&str, &str) = ("SSL_CERT_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nobody.pem"));

/// A daemon in this process. Dropped, it is told to stop and not awaited.
pub struct Running {
    stop: CancellationToken,
    reloads: mpsc::Sender<Reload>,
    task: JoinHandle<Result<Outcome, DaemonError>>,
    config: PathBuf,
}

impl Running {
    pub(super) fn start(file: &Path, once: bool) -> Self {
        let (config, client) = set_up(file);
        let (stop, (reloads, waiting)) = (CancellationToken::new(), mpsc::channel(1));
        let controls = Controls { stop: stop.clone(), reloads: waiting };
        let task = tokio::spawn(daemon::run(config, client, Options { once, observer: None }, controls));
        Self { stop, reloads, task, config: file.to_owned() }
    }

    /// Hands over what the configuration's file and the token's file say now.
    pub async fn reload(&self) {
        let reload = Ok(Box::new(set_up(&self.config)));
        self.reloads.send(reload).await.expect("the daemon listens");
    }

    /// Tells it to stop and waits for its end.
    pub async fn stop(mut self) -> Outcome {
        self.stop.cancel();
        ended(&mut self.task, PATIENCE).await
    }

    /// Waits so long for its end.
    pub async fn finished(mut self, patience: Duration) -> Outcome {
        ended(&mut self.task, patience).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn ended(task: &mut JoinHandle<Result<Outcome, DaemonError>>, patience: Duration) -> Outcome {
    let ended = tokio::time::timeout(patience, task).await.expect("the daemon ends");
    ended.expect("the daemon does not panic").expect("the daemon starts")
}

fn set_up(file: &Path) -> (Config, Client) {
    let config = config::load(Some(file), std::iter::empty(), &Overrides::default()).expect("a good configuration");
    let token = config::token(&config.config, std::iter::empty()).expect("a token");
    // Reading the system's certificates takes longer than most tests.
    let settings = Settings { trust_system: false, ..api_settings(&config.config, token.secret) };
    let client = Client::new(settings).expect("a client");
    (config.config, client)
}

/// The program as a command of `user`.
pub(super) fn command_of(user: u32, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.uid(user).gid(user);
    command
}

/// The program. Dropped, it is killed.
pub struct Binary {
    child: Child,
    log: PathBuf,
}

impl Binary {
    /// Starts `command`, which says which program and whose, with these arguments and this environment alone; its standard error
    /// goes to `log`.
    pub(super) fn start(mut command: Command, arguments: &[&str], environment: &[(&str, &str)], log: &Path) -> Self {
        let stderr = File::create(log).expect("a file for the log");
        let child = command
            .args(arguments)
            .env_clear()
            .envs([TRUST])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        Self { child, log: log.to_owned() }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log can be read")
    }

    /// The whole lines of its JSON log so far. Lines that are no JSON are left out: its last words at an end that failed.
    pub fn lines(&self) -> Vec<serde_json::Value> {
        let said = self.said();
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Whether it watches the inbox.
    pub fn is_ready(&self) -> bool {
        self.lines().iter().any(|line| line["message"] == "ready")
    }

    /// The file that it logs into.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child ends");
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Asks it to read its configuration anew.
    pub fn hang_up(&self) {
        self.send(Signal::HUP);
    }

    /// Makes it stand still.
    pub fn halt(&self) {
        self.send(Signal::STOP);
    }

    /// Lets it go on after a halt.
    pub fn go_on(&self) {
        self.send(Signal::CONT);
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the child lives");
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// Waits for its end; the exit code, or an end by a signal as the shell counts it.
    pub async fn code(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            match self.child.try_wait().expect("the child is ours") {
                Some(status) => return code(status),
                None if start.elapsed() > PATIENCE => panic!("jimengd does not end:\n{}", self.said()),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // It may have ended, and then nobody minds.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
