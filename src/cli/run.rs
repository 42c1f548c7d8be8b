//! `jimengd run`: the daemon.

use std::sync::Arc;

use clap::Args;
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{ConfigArgs, ExitCode, Failure, environment, progress, stop_on_signals};
use crate::api::{self, Client};
use crate::config::{self, Config, Effective, LogFormat};
use crate::daemon::message::Message;
use crate::daemon::{self, Controls, DaemonError, Options, Outcome, Reload};
use crate::logging::{self, Format};
use crate::spool;
use crate::systemd;

/// Lines of the display that may wait to be shown.
const PROGRESS_WAITING: usize = 4096;

/// Reloads that may wait: one is enough, for each reads what is there then.
const RELOADS_WAITING: usize = 4;

/// What `--help` says first.
pub(super) const LONG_ABOUT: &str = "Run the daemon: watch the inbox, submit each pair once, poll, and write the videos to the outbox.\n\n\
     SIGTERM or SIGINT: stop; what is running goes on at the next start. SIGHUP: read configuration and token \
     again. The token comes from api.token_file, else the systemd credential `api-token`, which systemd renews at a \
     start alone, else JIMENGD_API_TOKEN.\n\n\
     Exit codes: 0 told to stop; 64 wrong usage; 74 a file or the ledger cannot be used; 75 another daemon runs on \
     this root; 77 no token; 78 the configuration or the set-up is wrong. With --once also: 0 nothing is \
     left to do, or told to stop before that; 65 some pair failed; 69 the account or the gateway held the rest back.";

/// Arguments of `jimengd run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// End when inbox and work hold nothing that can still move
    #[arg(long)]
    pub once: bool,
}

/// Runs the daemon until it is told to stop, or with `--once` until nothing can move.
///
/// # Errors
/// It cannot start.
pub async fn run(args: Run) -> Result<ExitCode, Failure> {
    let ended = run_logged(args).await;
    if let Err(failure) = &ended {
        // The last status line stays: `systemctl status` shows it also to who may not read the journal.
        systemd::status(&format!("{:#}", failure.error));
    }
    ended
}

async fn run_logged(args: Run) -> Result<ExitCode, Failure> {
    let (log, ended) = match begin(&args) {
        Ok((config, log)) => {
            let log = Arc::new(log);
            (Some(Arc::clone(&log)), run_daemon(args, config, &log).await)
        }
        // What the configuration says of the log is not to be had: the journal is told where it listens.
        Err(failure) => (logging::init(Format::Auto, "info").ok().map(Arc::new), Err(failure)),
    };
    let Err(mut failure) = ended else { return ended };
    if log.as_ref().is_some_and(|log| log.format() == Format::Journal) {
        tracing::error!(message_id = Message::CannotRun.id(), "{:#}", failure.error);
        failure.logged = logging::stderr_is_the_journal();
    }
    // Dropped here and not before: it waits until the last words are written.
    drop(log);
    Err(failure)
}

/// Reads the configuration and begins logging as it says.
fn begin(args: &Run) -> Result<(Config, logging::Guard), Failure> {
    let effective = args.config.load().map_err(|error| Failure::new(ExitCode::Config, error))?;
    let log = logging::init(format(&effective.config), &effective.config.log.level)
        .map_err(|error| Failure::new(ExitCode::Config, error))?;
    tell_start(&effective);
    Ok((effective.config, log))
}

async fn run_daemon(args: Run, config: Config, log: &Arc<logging::Guard>) -> Result<ExitCode, Failure> {
    let client = client(&config)?;
    let stop = stop_on_signals().map_err(|error| Failure::new(ExitCode::Software, error))?;
    let (reloads, waiting) = mpsc::channel(RELOADS_WAITING);
    forward_reloads(args.config.clone(), reloads, Arc::clone(log))
        .map_err(|error| Failure::new(ExitCode::Software, error))?;
    let (observer, display) = if args.once {
        let (sender, receiver) = mpsc::channel(PROGRESS_WAITING);
        (Some(sender), Some(progress::show(receiver, Arc::clone(log))))
    } else {
        (None, None)
    };
    let options = Options { once: args.once, observer };
    let ended = daemon::run(config, client, options, Controls { stop, reloads: waiting }).await;
    let shown = match display {
        // It ends with the daemon's end of the channel.
        Some(display) => display.await.unwrap_or_else(|error| Err(Failure::new(ExitCode::Software, error))),
        None => Ok(()),
    };
    let outcome = ended.map_err(|error| Failure::new(code_of(&error), error))?;
    shown?;
    Ok(if args.once { once_code(outcome) } else { ExitCode::Ok })
}

/// The client of the configured API, with the token from where it lies.
///
/// # Errors
/// No token, or settings that no client can be made of.
pub fn client(config: &Config) -> Result<Client, Failure> {
    let token = config::token(config, environment()).map_err(|error| Failure::new(ExitCode::NoToken, error))?;
    for warning in &token.warnings {
        tracing::warn!("{warning}");
    }
    Client::new(api_settings(config, token.secret)).map_err(|error| Failure::new(ExitCode::Config, error))
}

/// The API's part of the configuration.
pub fn api_settings(config: &Config, token: SecretString) -> api::Settings {
    api::Settings {
        base_url: config.api.base_url.clone(),
        token,
        allow_insecure: config.api.allow_insecure,
        ca_file: config.api.ca_file.clone(),
        trust_system: true,
        connect_timeout: config.api.connect_timeout,
        submit_timeout: config.api.submit_timeout,
        poll_timeout: config.api.poll_timeout,
        idle_timeout: config.api.idle_timeout,
    }
}

/// The exit code for a daemon that could not start, or had to end.
pub fn code_of(error: &DaemonError) -> ExitCode {
    match error {
        DaemonError::Spool(spool::OpenError::Busy(_)) => ExitCode::Busy,
        DaemonError::Spool(spool::OpenError::OtherMount { .. } | spool::OpenError::Nested { .. }) => ExitCode::Config,
        DaemonError::Intake(_) => ExitCode::Config,
        DaemonError::Spool(spool::OpenError::File(error)) | DaemonError::File(error) => match error.trouble() {
            spool::durable::Trouble::Forbidden => ExitCode::Config,
            spool::durable::Trouble::DiskFull
            | spool::durable::Trouble::ReadOnly
            | spool::durable::Trouble::Vanished
            | spool::durable::Trouble::Failing => ExitCode::Io,
        },
        DaemonError::Ledger(_) | DaemonError::Recovery(_) => ExitCode::Io,
    }
}

fn once_code(outcome: Outcome) -> ExitCode {
    if outcome.held_by_the_api {
        ExitCode::Unavailable
    } else if outcome.held_by_the_disk {
        // What is left waits for somebody, and the log has told for what.
        ExitCode::Io
    } else if outcome.failed > 0 {
        ExitCode::Data
    } else {
        ExitCode::Ok
    }
}

fn tell_start(effective: &Effective) {
    let sources: Vec<String> = effective.sources.iter().map(ToString::to_string).collect();
    tracing::info!(
        message_id = Message::Starting.id(),
        "jimengd {} starts; configuration from {}: {}",
        env!("CARGO_PKG_VERSION"),
        sources.join(", "),
        config::redacted(&effective.config)
    );
}

fn format(config: &Config) -> Format {
    match config.log.format {
        LogFormat::Auto => Format::Auto,
        LogFormat::Journal => Format::Journal,
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    }
}

/// Reads configuration and token anew at each SIGHUP, and hands them, or the reason why not, to the daemon. Changes the
/// level of the log with them. Ends when the daemon does.
fn forward_reloads(args: ConfigArgs, reloads: mpsc::Sender<Reload>, log: Arc<logging::Guard>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = reloads.closed() => break,
                received = hangup.recv() => if received.is_none() { break },
            }
            let args = args.clone();
            let read = tokio::task::spawn_blocking(move || reread(&args)).await;
            let reload = match read {
                Ok(reload) => reload,
                Err(error) => Err(format!("reading the configuration failed: {error}")),
            };
            if let Ok(new) = &reload
                && let Err(error) = log.set_level(&new.0.log.level)
            {
                tracing::warn!("log.level stays as it was: {error}");
            }
            if reloads.send(reload).await.is_err() {
                break;
            }
        }
    });
    Ok(())
}

fn reread(args: &ConfigArgs) -> Reload {
    let effective = args.load().map_err(|error| error.to_string())?;
    let client = client(&effective.config).map_err(|failure| format!("{:#}", failure.error))?;
    Ok(Box::new((effective.config, client)))
}
