//! The commands, one file each, and the exit codes that they share.
//!
//! Exit codes are those of `sysexits.h`, so that systemd and scripts can tell what to do: each has one meaning, in
//! [`ExitCode`]. Nothing below this module ends the process.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, ConfigError, Effective, Overrides};

pub mod catalogue;
pub mod check;
pub mod codes;
pub mod completions;
pub mod demo;
pub mod man;
pub mod progress;
pub mod reload;
pub mod run;
pub mod simulate;
pub mod status;
mod table;

/// How a process ends that was told to stop twice: as if SIGTERM had ended it.
const ENDED_BY_SIGNAL: i32 = 128 + 15;

/// Turns pictures with YAML sidecars in a folder into videos through the Jimeng image-to-video API.
#[derive(Debug, Parser)]
#[command(name = "jimengd", version, about, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Try it without a token and without paying: jimengd demo")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands. The long texts are named here, because the line on a variant hides those on its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: watch the inbox, submit, poll, deliver
    #[command(long_about = run::LONG_ABOUT)]
    Run(run::Run),
    /// Show the whole thing on this machine: simulator and daemon in one process, nothing is paid
    #[command(long_about = demo::LONG_ABOUT)]
    Demo(demo::Demo),
    /// Play the API on this machine, to try things out without paying
    Simulate(simulate::Simulate),
    /// Check the configuration, the folders and the token; or sidecars and pictures, free of charge
    #[command(long_about = check::LONG_ABOUT)]
    Check(check::Check),
    /// Tell what waits, runs and failed, and why
    #[command(long_about = status::LONG_ABOUT)]
    Status(status::Status),
    /// Tell what a business code or the reason in a report means, and what is done about it
    #[command(long_about = codes::LONG_ABOUT)]
    Codes(codes::Codes),
    /// Print what completes commands in a shell
    #[command(long_about = completions::LONG_ABOUT)]
    Completions(completions::Completions),
    /// Write the manual pages into a folder
    #[command(long_about = man::LONG_ABOUT)]
    Man(man::Man),
    /// Have a running daemon read its configuration again, and wait for its word
    #[command(long_about = reload::LONG_ABOUT)]
    Reload(reload::Reload),
}

/// Where the configuration is.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// The configuration file [default: /etc/jimengd/jimengd.yaml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder that holds inbox, work, outbox, archive and error [default: as configured]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

impl ConfigArgs {
    /// Reads the configuration in all its layers.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(&self) -> Result<Effective, ConfigError> {
        config::load(self.config.as_deref(), environment(), &Overrides { root: self.root.clone() })
    }
}

/// How the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitCode {
    /// All went well.
    Ok,
    /// The command line is wrong (`EX_USAGE`).
    Usage,
    /// A pair, a sidecar or a picture is wrong or failed (`EX_DATAERR`).
    Data,
    /// The account or the gateway holds the work back (`EX_UNAVAILABLE`).
    Unavailable,
    /// A bug (`EX_SOFTWARE`).
    Software,
    /// Files or the ledger cannot be read or written (`EX_IOERR`).
    Io,
    /// Another daemon runs on this root (`EX_TEMPFAIL`).
    Busy,
    /// There is no usable token (`EX_NOPERM`).
    NoToken,
    /// The configuration or the set-up is wrong (`EX_CONFIG`).
    Config,
}

impl ExitCode {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::Io => 74,
            Self::Busy => 75,
            Self::NoToken => 77,
            Self::Config => 78,
        }
    }
}

/// A failed command: what to say, and how to end.
#[derive(Debug)]
pub struct Failure {
    /// How to end.
    pub code: ExitCode,
    /// What to say, with its causes.
    pub error: anyhow::Error,
    /// Whether the log has said it already, and to where standard error leads, too.
    pub logged: bool,
}

impl Failure {
    /// Says `error` and ends with `code`.
    pub fn new(code: ExitCode, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into(), logged: false }
    }
}

/// Runs a command to its end.
///
/// # Errors
/// [`Failure`]: what to print on standard error and the exit code.
pub async fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Simulate(args) => {
            let stop = stop_on_signals().map_err(|error| Failure::new(ExitCode::Software, error))?;
            simulate::run(args, stop).await.map_err(|error| Failure::new(ExitCode::Io, error))?;
            Ok(ExitCode::Ok)
        }
        Command::Check(args) => check::run(args).await,
        Command::Status(args) => status::run(&args),
        Command::Codes(args) => codes::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Reload(args) => reload::run(&args).await,
    }
}

/// Writes `text` to standard output. A reader that has gone away, as `head` does, is no failure.
///
/// # Errors
/// Standard output takes nothing, as on a full disk.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(ExitCode::Io, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Cancelled at the first SIGTERM or SIGINT. The second one ends the process at once, as if it had never been caught.
///
/// # Errors
/// The signals cannot be caught.
pub fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let told = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.is_cancelled() {
                // Nothing is said, for nothing may wait here; and nothing is saved by unwinding: whatever moment this
                // is, recovery knows it.
                std::process::exit(ENDED_BY_SIGNAL);
            }
            told.cancel();
        }
    });
    Ok(stop)
}

/// The environment, read here and handed down: nothing below reads it by itself.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}
