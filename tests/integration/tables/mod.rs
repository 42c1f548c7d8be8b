//! Tables: what people drop and what the API answers, a row a case, each played by the daemon from end to end.
//!
//! The rows are data, in `tests/fixtures/tables/NAME.yaml` or a file each in a folder of fixtures: to add a case is to add a row
//! or a file. Each row asserts
//!
//! - where the files end, and what the report says;
//! - how many submissions were accepted, and so paid;
//! - that every byte that was dropped lies in exactly one place, and nothing else is left behind;
//! - that its neighbours, a good pair dropped before it and one after it, were delivered.
//!
//! The words of every report are kept beside the rows (`NAME.snap`), to be read as their user will read them. How many rows
//! were played is printed past libtest's capture.

mod arrivals;
mod exchange;
mod inbox;
mod names;
mod pictures;
mod public;
mod sidecars;
mod together;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::rig::{Rig, read_yaml};

/// Rows that are played at the same time: they wait more than they work.
const AT_ONCE: usize = 20;

/// Where a pair's files are when nothing can move any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A video and its receipt in the outbox, the pair in the archive.
    Outbox,
    /// The pair and its report in the error folder.
    Error,
    /// As they were dropped.
    Inbox,
}

/// What a row expects. What is left out is not asked for, but for `accepted`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Where the files are in the end.
    pub r#in: Place,
    /// Submissions of this pair that the API accepted: what is paid.
    pub accepted: u64,
    /// The report's `reason`; of what stays in the inbox, the reason of its waiting.
    pub reason: Option<String>,
    /// The report's `code`.
    pub code: Option<u32>,
    /// The report's `stage`.
    pub stage: Option<String>,
    /// The report's `charged`.
    pub charged: Option<String>,
    /// The report's or the receipt's `attempts`.
    pub attempts: Option<u32>,
    /// The report's `http_status`.
    pub http_status: Option<u16>,
    /// The report's `request_id`.
    pub request_id: Option<String>,
    /// The report's `message` contains this.
    pub says: Option<String>,
    /// The daemon holds everything back for that reason until the API is mended; `in` tells what then becomes of the files.
    /// Unless `paid_before` says otherwise nothing is paid by then, and the files lie untouched in the inbox.
    pub paused: Option<String>,
    /// Submissions of this pair that were accepted before the pause: more than none where a poll raises it.
    #[serde(default)]
    pub paid_before: u64,
}

impl Expected {
    /// Holds what the report `NAME.error.yaml` says against what is expected of it.
    pub fn assert_report(&self, report: &Value) {
        let shown = serde_yaml::to_string(report).expect("it was YAML");
        let told = |key: &str, wanted: Option<Value>| {
            if let Some(wanted) = wanted {
                assert_eq!(report[key], wanted, "{key} in\n{shown}");
            }
        };
        told("reason", self.reason.clone().map(Value::from));
        told("stage", self.stage.clone().map(Value::from));
        told("charged", self.charged.clone().map(Value::from));
        told("attempts", self.attempts.map(Value::from));
        told("http_status", self.http_status.map(Value::from));
        told("request_id", self.request_id.clone().map(Value::from));
        // Without a code it must say so: null, not nothing.
        assert_eq!(report["code"], self.code.map_or(Value::Null, Value::from), "code in\n{shown}");
        if let Some(words) = &self.says {
            let message = report["message"].as_str().unwrap_or_default();
            assert!(message.contains(words), "{words:?} is not in {message:?}");
        }
        for sentence in ["meaning", "advice"] {
            let text = report[sentence].as_str().unwrap_or_default();
            assert!(text.ends_with('.') && text.len() > 10, "{sentence} is no sentence: {text:?}");
        }
    }
}

/// The folder of the tables.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tables")
}

/// A row with a name that no other row of its table has.
pub trait Row: Send + 'static {
    /// What it is about, in a few words.
    fn case(&self) -> &str;
}

/// The rows of `NAME.yaml`.
///
/// # Panics
/// They cannot be read, or two have one name, or there are fewer than `at_least`: a table only grows.
pub fn rows<R: Row + DeserializeOwned>(name: &str, at_least: usize) -> Vec<R> {
    let path = folder().join(format!("{name}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<R> = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let names: BTreeSet<&str> = rows.iter().map(R::case).collect();
    assert_eq!(names.len(), rows.len(), "two rows of {name} have one name");
    assert!(rows.len() >= at_least, "{name} has {} rows, and had {at_least}", rows.len());
    rows
}

/// For whoever works on one row: `ONLY='part of its name' cargo test …`. The snapshot then fails, as it should.
pub fn is_asked_for(case: &str) -> bool {
    std::env::var("ONLY").map_or(true, |only| case.contains(&only))
}

/// Plays each row in a task of its own, several at once, and returns what each gives, in their order.
///
/// # Panics
/// Rows failed: all of them are told, each with its name.
pub async fn play<R, T, F>(rows: Vec<R>, played: impl Fn(R) -> F) -> Vec<T>
where
    R: Row,
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    let mut cases = std::collections::HashMap::new();
    for (number, row) in rows.into_iter().enumerate() {
        if !is_asked_for(row.case()) {
            continue;
        }
        let (case, room) = (row.case().to_owned(), Arc::clone(&room));
        let playing = played(row);
        let task = tasks.spawn(async move {
            let _room = room.acquire().await.expect("nobody closes it");
            (number, playing.await)
        });
        cases.insert(task.id(), case);
    }
    let (mut given, mut failed) = (Vec::new(), String::new());
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(ended) => given.push(ended),
            Err(error) => {
                let case = &cases[&error.id()];
                let why = error.into_panic();
                let why = why.downcast_ref::<String>().map(String::as_str).or(why.downcast_ref::<&str>().copied());
                writeln!(failed, "=== {case}\n{}", why.unwrap_or("it panicked")).expect("a String takes all");
            }
        }
    }
    assert!(failed.is_empty(), "rows failed:\n{failed}");
    given.sort_by_key(|(number, _)| *number);
    given.into_iter().map(|(_, given)| given).collect()
}

/// Says how many rows of a table were played, past libtest's capture.
pub fn tell(name: &str, rows: usize) {
    writeln!(std::io::stderr(), "table {name}: {rows} rows played").expect("standard error is open");
}

/// Holds the words of a table's reports against those that were read and found good.
pub fn assert_words(name: &str, words: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, words));
}

/// What a user reads in a report, without what differs from run to run.
pub fn words_of(case: &str, report: &Value) -> String {
    let mut words = format!("{case}\n");
    for key in ["code", "reason", "message", "meaning", "advice", "stage", "charged", "attempts"] {
        let value = match &report[key] {
            Value::Null => continue,
            Value::String(text) => without_instant(&without_identifiers(text)),
            other => serde_yaml::to_string(other).expect("it was YAML").trim_end().to_owned(),
        };
        writeln!(words, "    {key}: {value}").expect("a String takes all");
    }
    for problem in report["problems"].as_sequence().into_iter().flatten() {
        let part = |key: &str| match &problem[key] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => serde_yaml::to_string(other).expect("it was YAML").trim_end().to_owned(),
        };
        let place = format!("{}:{}:{} {}", part("file"), part("line"), part("column"), part("key"));
        writeln!(words, "    - {place}: {}; {}", part("message"), part("proposal")).expect("a String takes all");
    }
    words
}

/// What an operator reads while everything is held back for `reason`, without what differs from host to host.
pub fn words_of_pause(case: &str, reason: &str, message: &str, advice: &str) -> String {
    // What follows are the words of the system's resolver, which depend on whether it can ask anybody.
    let message = match message.split_once(UNRESOLVED) {
        Some((before, _)) => format!("{before}{UNRESOLVED} …"),
        None => without_identifiers(message),
    };
    format!("{case}\n    paused for {reason}: {message}; {advice}\n")
}

/// Before the words of a resolver.
const UNRESOLVED: &str = "the host's name cannot be resolved:";

/// The text with the instant before which something must be done, which differs from run to run, as a word.
fn without_instant(text: &str) -> String {
    match text.split_once(", before 20") {
        Some((before, instant)) => {
            let (_, after) = instant.split_once("Z:").expect("an instant in UTC");
            format!("{before}, before INSTANT:{after}")
        }
        None => text.to_owned(),
    }
}

/// Digits in a row that make an identifier, of a task or of a request.
const IDENTIFIER_DIGITS: usize = 14;

/// The text without identifiers, which differ from run to run.
fn without_identifiers(text: &str) -> String {
    let mut clean = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(std::iter::once('\n')) {
        if c.is_ascii_hexdigit() && !c.is_ascii_lowercase() {
            digits.push(c);
            continue;
        }
        clean.push_str(if digits.len() >= IDENTIFIER_DIGITS { "NNN" } else { &digits });
        digits.clear();
        clean.push(c);
    }
    clean.pop();
    clean
}

/// The good pairs around a case.
pub struct Neighbours {
    folder: String,
}

impl Neighbours {
    /// The neighbours in a folder of the inbox, which ends with a slash or is empty.
    pub fn in_folder(folder: &str) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Drops the one before.
    pub fn drop_before(&self, rig: &Rig) {
        self.drop(rig, "before", 2);
    }

    /// Drops the one after.
    pub fn drop_after(&self, rig: &Rig) {
        self.drop(rig, "zafter", 0);
    }

    fn drop(&self, rig: &Rig, name: &str, priority: u32) {
        let prompt = serde_json::Value::from(format!("A good pair {}{name}", self.folder));
        rig.drop_with(&format!("{}{name}", self.folder), &format!("prompt: {prompt}\npriority: {priority}\n"));
    }

    /// Whether both have their video.
    pub fn are_delivered(&self, rig: &Rig) -> bool {
        ["before", "zafter"].iter().all(|name| rig.outbox(format!("{}{name}.mp4", self.folder)).is_file())
    }

    /// Both have their video and their receipt, and were paid once.
    pub fn assert_delivered(&self, rig: &Rig) {
        for name in ["before", "zafter"] {
            let name = format!("{}{name}", self.folder);
            for ending in ["mp4", "receipt.yaml"] {
                let path = rig.outbox(format!("{name}.{ending}"));
                assert!(path.is_file(), "the neighbour {name} has no {ending}\n{}", rig.scene());
            }
            assert_eq!(paid_for(rig, &format!("A good pair {name}")), 1, "for the neighbour {name}");
        }
    }
}

/// Submissions with that prompt that were accepted.
pub fn paid_for(rig: &Rig, prompt: &str) -> u64 {
    rig.vendor().tasks().iter().filter(|task| task.prompt == prompt).count() as u64
}

/// The report of a pair, read from the error folder.
pub fn report_of(rig: &Rig, name: &str) -> Value {
    read_yaml(&rig.error(format!("{name}.error.yaml")))
}
