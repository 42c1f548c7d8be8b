//! The vendor's API: one request a call, and what its answer was.
//!
//! This is the only place that knows the vendor's words. What comes out is one of a few answers that say what happened;
//! what to do about it is decided in [`crate::job`]. Nothing is asked twice here: when to ask again is the driver's business.

pub mod address;
pub mod client;
pub mod download;
pub mod error;
mod part;
#[cfg(test)]
mod raw_server;
mod said;
pub mod upload;
pub mod wire;
pub mod words;

pub use client::{Balance, Client};
pub use download::Downloaded;
pub use error::{DownloadError, SetupError};
pub use part::Part;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::job::business_code::BusinessCode;
use crate::job::{TaskId, VideoLink};

/// What the client needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://api.gpt.ge`, without `/v1` and without a trailing slash.
    pub base_url: String,
    /// Sent to the API's host alone.
    pub token: SecretString,
    /// Plain http and private addresses are allowed, for the API and for links.
    pub allow_insecure: bool,
    /// More certificates to trust, PEM.
    pub ca_file: Option<PathBuf>,
    /// Whether the system's certificates are trusted; else those of `ca_file` alone, and reading the system's takes no time.
    pub trust_system: bool,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// From the last byte handed over to the answer.
    pub submit_timeout: Duration,
    /// A whole poll.
    pub poll_timeout: Duration,
    /// A transfer that stands still; no try of a download lasts longer than twenty times this.
    pub idle_timeout: Duration,
}

/// A business code with the API's own words about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VendorError {
    /// Never [`BusinessCode::SUCCESS`].
    pub code: BusinessCode,
    /// The API's `message`, cut to a reasonable length.
    pub message: String,
    /// For the vendor's support.
    pub request_id: Option<String>,
    /// The HTTP status it came with.
    pub http_status: u16,
    /// How long the API wants to be left alone, if it says.
    pub retry_after: Option<Duration>,
}

/// An answer without a business code that is of use: what was said, by whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// `None` where no status line arrived.
    pub http_status: Option<u16>,
    /// What the gateway or the connection said, cut, without secrets and without links.
    pub message: String,
    /// For the vendor's support.
    pub request_id: Option<String>,
    /// `Retry-After`, as a duration from now, if it was sent; not capped.
    pub retry_after: Option<Duration>,
}

/// What came of a submission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SubmitAnswer {
    /// The API has made a task of it.
    Accepted {
        /// The vendor's identifier.
        task_id: TaskId,
        /// For the vendor's support.
        request_id: Option<String>,
    },
    /// A business code other than success.
    Business(VendorError),
    /// 413, or 400 or 422 with an envelope: this request will never do.
    Refused(Refusal),
    /// 401, 402, 403 with an envelope: the account cannot pay or is not let in.
    Account(Refusal),
    /// Wrong path, redirect, an answer of some other server.
    Gateway(Refusal),
    /// 429, or 503 with an envelope: later.
    Throttled(Refusal),
    /// Certainly not accepted: fewer bytes were handed over than the body has.
    Unsent(Refusal),
    /// May have been accepted; nobody can tell.
    InDoubt(Refusal),
    /// Certainly not accepted: the picture could not be read to its end, or is no longer the file it was. Our disk's problem, not
    /// the API's.
    PictureUnreadable(String),
}

/// What came of a poll.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PollAnswer {
    /// Accepted, not begun.
    InQueue,
    /// Being made.
    Generating,
    /// A word that nobody knows: as good as being made.
    UnknownStatus(String),
    /// Finished, and here is the link.
    Done {
        /// Where the video is, for about an hour.
        link: VideoLink,
        /// For the vendor's support.
        request_id: Option<String>,
    },
    /// Finished well, but without a link.
    NoVideo {
        /// For the vendor's support.
        request_id: Option<String>,
    },
    /// A business code other than success.
    Business(VendorError),
    /// The API does not know the task (any more), or has given it up without a business code.
    Gone(Refusal),
    /// 401, 402, 403 with an envelope.
    Account(Refusal),
    /// Wrong path, redirect, an answer of some other server.
    Gateway(Refusal),
    /// 429, or 503 with an envelope.
    Throttled(Refusal),
    /// The API was reached, and what it says is nothing about the task: it does not like this one question, or answers it as it
    /// does for another vendor's task. No reason to hold other jobs back.
    Unrelated(Refusal),
    /// No answer, or one of no use: ask again.
    Unreachable(Refusal),
}

/// Two lowercase digits a byte.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
