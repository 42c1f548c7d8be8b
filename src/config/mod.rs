//! The configuration as it is meant: validated, with absolute paths and real durations.
//!
//! - [`layers`] puts the built-in file, the site file, the environment and flags over one another.
//! - `meaning` turns what was said into a [`Config`], or names every mistake.
//! - [`listing`] writes it back, for `check`, for the log at start and for telling what a reload changes.
//! - [`token`] finds the token, which is no part of the configuration and never in its file.
//!
//! Environment variables are read nowhere else, but for the proxy's, which the HTTP library reads for itself. A [`Config`]
//! holds no secret, so it may be shown.

use std::path::PathBuf;
use std::time::Duration;

use crate::job::picture;

pub mod layers;
pub mod listing;
mod meaning;
mod reader;
pub mod token;
pub mod units;
mod yaml;

pub use layers::{ConfigError, Effective, Origin, Overrides, SHIPPED, built_in, load};
pub use listing::{changes_needing_restart, redacted, settings};
pub use token::{Token, TokenError, token};

/// Everything the daemon can be told.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The root of the spool; absolute.
    pub root: PathBuf,
    /// The five folders; absolute.
    pub folders: Folders,
    /// How the inbox is watched.
    pub inbox: Inbox,
    /// Limits of a picture.
    pub picture: picture::Limits,
    /// Whether a receipt is written beside the video.
    pub receipt: bool,
    /// What becomes of a pair that was delivered.
    pub on_success: OnSuccess,
    /// How long things are kept.
    pub keep: Keep,
    /// Bytes that must be free where videos go before a pair is claimed; 0: not checked.
    pub min_free_bytes: u64,
    /// The API.
    pub api: Api,
    /// Jobs and attempts.
    pub tasks: Tasks,
    /// Starting points of the poll cadence.
    pub poll: Poll,
    /// The guard on spending.
    pub budget: Budget,
    /// Logging.
    pub log: Log,
}

/// The five folders of the spool, absolute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folders {
    /// Where pairs are dropped.
    pub inbox: PathBuf,
    /// What is being made; on the inbox's mount.
    pub work: PathBuf,
    /// Where videos appear.
    pub outbox: PathBuf,
    /// What failed, with its report.
    pub error: PathBuf,
    /// The pairs of delivered videos.
    pub archive: PathBuf,
}

/// Key `inbox`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inbox {
    /// Rest after a close before a written file counts as settled.
    pub quiet: Duration,
    /// Rest before a file without telling events counts as settled.
    pub settle: Duration,
    /// Rest before a file that looks unfinished is rejected.
    pub incomplete_after: Duration,
    /// Time between full scans while events work.
    pub rescan: Duration,
    /// Time between full scans while they do not.
    pub poll: Duration,
    /// Events or polling.
    pub watch: Watch,
    /// More globs to ignore, matched against the file's name, or against the path below the inbox if they hold a `/`.
    pub ignore: Vec<String>,
    /// When half and ambiguous pairs go to `error/`; `None`: never.
    pub orphan_after: Option<Duration>,
}

/// Key `inbox.watch`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// Events where the file system has them, else polling.
    Auto,
    /// Events, whatever the file system.
    Events,
    /// Polling.
    Poll,
}

/// Key `on_success`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnSuccess {
    /// The pair moves to `archive/`.
    Archive,
    /// The pair is deleted.
    Delete,
}

/// Key `keep`; `None`: for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Files in `archive/`.
    pub archive: Option<Duration>,
    /// Finished jobs in the ledger.
    pub ledger: Option<Duration>,
}

/// Key `api`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Api {
    /// Without `/v1` and without a trailing slash.
    pub base_url: String,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
    /// Plain http and private addresses are allowed.
    pub allow_insecure: bool,
    /// More certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// Submissions and polls together; `None`: no limit.
    pub requests_per_second: Option<RequestRate>,
    /// Requests that may come at once after a rest; `None`: one second's worth, at least one.
    pub requests_burst: Option<u32>,
    /// Uploads at once, at least 1.
    pub uploads: usize,
    /// Downloads at once, at least 1.
    pub downloads: usize,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// From the last byte handed over to the answer.
    pub submit_timeout: Duration,
    /// A whole poll.
    pub poll_timeout: Duration,
    /// A transfer that stands still.
    pub idle_timeout: Duration,
}

/// Requests a second, in thousandths, so that it can be compared and is never zero or not a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestRate {
    /// Requests in 1000 seconds, at least 1.
    pub per_1000_seconds: u32,
}

/// Key `tasks`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tasks {
    /// Tasks in flight at most, at least 1.
    pub max: usize,
    /// Further paid attempts after a failure that a new seed may cure.
    pub extra_attempts: u32,
    /// What becomes of a submission whose outcome is unknown.
    pub in_doubt: InDoubt,
    /// When a task that the API does not finish is given up.
    pub give_up_after: Duration,
}

/// Key `tasks.in_doubt`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InDoubt {
    /// To `error/`: a person decides.
    Park,
    /// Submit again, which may pay twice.
    Resubmit,
}

/// Key `poll`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Poll {
    /// After the submission.
    pub first: Duration,
    /// Then.
    pub every: Duration,
    /// In the long tail.
    pub slowest: Duration,
}

/// Key `budget`: submissions in a rolling window; `None`: no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// In the last 60 minutes.
    pub per_hour: Option<u32>,
    /// In the last 24 hours.
    pub per_day: Option<u32>,
}

/// Key `log`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// The form.
    pub format: LogFormat,
    /// A level or a filter such as `info,jimengd::spool=debug`.
    pub level: String,
}

/// Key `log.format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// The journal where standard error is connected to it, else text.
    Auto,
    /// The journal.
    Journal,
    /// Readable lines on standard error.
    Text,
    /// JSON lines on standard error.
    Json,
}
