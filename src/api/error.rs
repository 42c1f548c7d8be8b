//! What can go wrong here besides the API's answers: the set-up, and a download, by what the caller can do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why there can be no client with these settings. A person must act.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address is no address of an API.
    #[error("api.base_url cannot be used: {why}")]
    BaseUrl {
        /// What is wrong with it.
        why: String,
    },
    /// The token would travel readable by everyone on the way.
    #[error(
        "api.base_url is plain http, so the token would be sent unencrypted; use https, or set api.allow_insecure for a simulator or an in-house gateway"
    )]
    Insecure,
    /// The token is empty or holds bytes that no header can.
    #[error("the api token is empty or holds characters that cannot be sent")]
    Token,
    /// The file of more certificates cannot be read.
    #[error("api.ca_file {path} cannot be read")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of more certificates holds none.
    #[error("api.ca_file {path} holds no PEM certificate")]
    CaFormat {
        /// The file.
        path: PathBuf,
    },
    /// No TLS: most often there is no trust store (package ca-certificates).
    #[error("https cannot be set up; is a trust store installed (ca-certificates)?")]
    Tls(#[source] reqwest::Error),
}

/// Why a download did not end with a video, by what the caller can do about it. No message holds a link.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The link is not (or no longer) good: ask the API for it anew.
    #[error("the link is refused with HTTP {http_status}")]
    Stale {
        /// 401, 403, 404, 410, or another refusal of the 400s.
        http_status: u16,
    },
    /// The transfer did not come to its end: try again.
    #[error("the transfer broke off: {message}")]
    Broken {
        /// What happened.
        message: String,
        /// Whether the next try with the same part goes on where this one ended.
        resumable: bool,
        /// `Retry-After`, if it was sent; not capped.
        retry_after: Option<Duration>,
    },
    /// All that the link leads to has come, or was announced, and it is no video.
    #[error("the link leads to no whole video: {message}")]
    NotAVideo {
        /// What it was instead.
        message: String,
    },
    /// The link leads where nothing is fetched from.
    #[error("the link is not followed: {why}")]
    Forbidden {
        /// The rule that forbids it.
        why: String,
    },
    /// Our own disk: by the source's kind, pause (full, read-only) or give up.
    #[error("{path} cannot be written")]
    Local {
        /// The part.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the HTTP library says around a cause, which tells a user nothing that the cause does not.
const WRAPPERS: [&str; 6] = [
    "error sending request",
    "error decoding response body",
    "client error (Connect)",
    "client error (SendRequest)",
    "error reading a body from connection",
    "connection error",
];

/// The HTTP library's words, and those for whoever does not know the library.
const PLAIN: [(&str, &str); 6] = [
    ("connection closed before message completed", "the connection was closed instead of an answer"),
    ("end of file before message length reached", "it is shorter than announced"),
    ("unexpected EOF during chunk size line", "it ended in the middle"),
    ("tcp connect error", "cannot connect"),
    ("received corrupt message of type InvalidContentType", "the answer is not TLS, perhaps plain http"),
    ("dns error", "the host's name cannot be resolved"),
];

/// How the library ends its words on what is no HTTP.
const NO_HTTP: &str = " parsed";

/// The causes of the error in one line, without the address it happened at.
pub(super) fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut causes = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(next) = cause {
        causes.push(next.to_string());
        cause = next.source();
    }
    let last = causes.len() - 1;
    let telling: Vec<String> = causes
        .iter()
        .enumerate()
        .filter(|(at, cause)| *at == last || !WRAPPERS.contains(&cause.as_str()))
        .map(|(_, cause)| in_plain_words(cause))
        .collect();
    telling.join(": ")
}

fn in_plain_words(cause: &str) -> String {
    if let Some((_, plain)) = PLAIN.iter().find(|(words, _)| *words == cause) {
        return (*plain).to_owned();
    }
    if cause.ends_with(NO_HTTP) {
        return format!("the answer is not HTTP: {cause}");
    }
    // The system's own words begin with a capital and end with a number.
    match cause.rsplit_once(" (os error ") {
        Some((words, _)) => {
            let mut letters = words.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
        None => cause.to_owned(),
    }
}

/// The first cause of this type.
pub(super) fn cause<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut cause = error.source();
    while let Some(next) = cause {
        match next.downcast_ref::<T>() {
            Some(found) => return Some(found),
            None => cause = next.source(),
        }
    }
    None
}
