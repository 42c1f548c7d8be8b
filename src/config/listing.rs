//! Writes a configuration back as keys and values: for `check`, for the log at start, for telling what a reload changes.
//!
//! The keys are those of the built-in file, in its order, and each value is YAML that reads back as the same.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::units::{show_duration, show_size};
use super::*;

/// Keys that are looked at once, at start: folders and watches are open by then, and logging has begun.
const FIXED_WHILE_RUNNING: [&str; 8] = [
    "root",
    "folders.inbox",
    "folders.work",
    "folders.outbox",
    "folders.error",
    "folders.archive",
    "inbox.watch",
    "log.format",
];

/// Every key with its value, in the order of the built-in file.
pub fn settings(config: &Config) -> Vec<(&'static str, String)> {
    // Taken apart without `..`, so that a new field fails to compile here.
    let Config {
        root,
        folders,
        inbox,
        picture,
        receipt,
        on_success,
        keep,
        min_free_bytes,
        api,
        tasks,
        poll,
        budget,
        log,
    } = config;
    let Folders { inbox: inbox_folder, work, outbox, error, archive } = folders;
    let Inbox { quiet, settle, incomplete_after, rescan, poll: inbox_poll, watch, ignore, orphan_after } = inbox;
    let picture::Limits { bytes_max, side_max, short_side_min, ratio_max } = picture;
    let Api {
        base_url,
        token_file,
        allow_insecure,
        ca_file,
        requests_per_second,
        requests_burst,
        uploads,
        downloads,
        connect_timeout,
        submit_timeout,
        poll_timeout,
        idle_timeout,
    } = api;
    let Tasks { max, extra_attempts, in_doubt, give_up_after } = tasks;
    vec![
        ("root", path(root)),
        ("folders.inbox", path(inbox_folder)),
        ("folders.work", path(work)),
        ("folders.outbox", path(outbox)),
        ("folders.error", path(error)),
        ("folders.archive", path(archive)),
        ("inbox.quiet", show_duration(*quiet)),
        ("inbox.settle", show_duration(*settle)),
        ("inbox.incomplete_after", show_duration(*incomplete_after)),
        ("inbox.rescan", show_duration(*rescan)),
        ("inbox.poll", show_duration(*inbox_poll)),
        ("inbox.watch", watch.label().to_owned()),
        ("inbox.ignore", format!("[{}]", ignore.iter().map(|glob| quoted(glob)).collect::<Vec<_>>().join(", "))),
        ("inbox.orphan_after", duration_or(*orphan_after, "never")),
        ("picture.max_bytes", or_null(bytes_max.map(show_size))),
        ("picture.max_side", or_null(*side_max)),
        ("picture.min_short_side", or_null(*short_side_min)),
        ("picture.max_ratio", or_null(ratio_max.map(|ratio| format!("{ratio:?}")))),
        ("outbox.receipt", receipt.to_string()),
        ("on_success", on_success.label().to_owned()),
        ("keep.archive", duration_or(keep.archive, "forever")),
        ("keep.ledger", duration_or(keep.ledger, "forever")),
        ("min_free", or_null((*min_free_bytes > 0).then(|| show_size(*min_free_bytes)))),
        ("api.base_url", base_url.clone()),
        ("api.token_file", or_null(token_file.as_deref().map(path))),
        ("api.allow_insecure", allow_insecure.to_string()),
        ("api.ca_file", or_null(ca_file.as_deref().map(path))),
        ("api.requests_per_second", rate(*requests_per_second)),
        ("api.requests_burst", or_null(*requests_burst)),
        ("api.uploads", uploads.to_string()),
        ("api.downloads", downloads.to_string()),
        ("api.connect_timeout", show_duration(*connect_timeout)),
        ("api.submit_timeout", show_duration(*submit_timeout)),
        ("api.poll_timeout", show_duration(*poll_timeout)),
        ("api.idle_timeout", show_duration(*idle_timeout)),
        ("tasks.max", max.to_string()),
        ("tasks.extra_attempts", extra_attempts.to_string()),
        ("tasks.in_doubt", in_doubt.label().to_owned()),
        ("tasks.give_up_after", show_duration(*give_up_after)),
        ("poll.first", show_duration(poll.first)),
        ("poll.every", show_duration(poll.every)),
        ("poll.slowest", show_duration(poll.slowest)),
        ("budget.per_hour", or_null(budget.per_hour)),
        ("budget.per_day", or_null(budget.per_day)),
        ("log.format", log.format.label().to_owned()),
        ("log.level", quoted(&log.level)),
    ]
}

/// The configuration in one line, `key=value` with single spaces between, for the log at start. Holds nothing secret: the
/// token is no part of a configuration, and an address with a password is refused when it is read.
pub fn redacted(config: &Config) -> String {
    settings(config).iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// The keys in which the two differ and that only a new start can change, in the order of the built-in file.
pub fn changes_needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let pairs = settings(old).into_iter().zip(settings(new));
    let changed = pairs.filter(|(old, new)| old.1 != new.1).map(|((key, _), _)| key);
    changed.filter(|key| FIXED_WHILE_RUNNING.contains(key)).collect()
}

impl Watch {
    /// The word of the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Events => "events",
            Self::Poll => "poll",
        }
    }
}

impl OnSuccess {
    /// The word of the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Delete => "delete",
        }
    }
}

impl InDoubt {
    /// The word of the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Park => "park",
            Self::Resubmit => "resubmit",
        }
    }
}

impl LogFormat {
    /// The word of the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Journal => "journal",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

fn path(path: &Path) -> String {
    // `PathBuf`'s own form cuts trailing slashes that joining an empty name leaves.
    quoted(&path.components().collect::<PathBuf>().to_string_lossy())
}

/// As it is where YAML reads it back as the same text, else in double quotes.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-' | '+');
    match text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') && text.chars().all(plain) {
        true => text.to_owned(),
        // A JSON string is YAML too.
        false => serde_json::Value::from(text).to_string(),
    }
}

fn or_null(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

fn duration_or(duration: Option<Duration>, word: &str) -> String {
    duration.map_or_else(|| word.to_owned(), show_duration)
}

fn rate(rate: Option<RequestRate>) -> String {
    match rate {
        Some(RequestRate { per_1000_seconds }) => (f64::from(per_1000_seconds) / 1000.0).to_string(),
        None => "0".to_owned(),
    }
}
