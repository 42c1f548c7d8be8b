//! The two documents that a job leaves behind, as text: the report of a failure and the receipt of a video.
//!
//! Both are made from the job alone, so that a redo after a crash writes the same bytes again. Their strings are quoted so
//! that readers of YAML 1.1 find the same values in them as readers of YAML 1.2.

use jiff::Timestamp;
use serde::Serialize;
use serde_yaml::Value;

use super::name::shown;
use super::state::{Finish, Job, Video};
use super::{Failure, JobId, Problem, Task};

/// Bytes of a document that are worth reading back.
pub const BYTES_MAX: usize = 256 * 1024;

/// Bytes of one value that is read back: a name of 255 bytes, each of them escaped, and more.
const VALUE_BYTES_MAX: usize = 4 * 1024;

/// Names that are read back: those of a pair, and more.
const FILES_MAX: usize = 8;

/// Characters of a message that are worth telling; a gateway's error page may be long.
const MESSAGE_CHARS_MAX: usize = 2_000;

#[derive(Serialize)]
struct Report<'a> {
    code: Option<u32>,
    reason: &'a str,
    message: &'a str,
    meaning: &'a str,
    advice: &'a str,
    stage: &'a str,
    charged: &'a str,
    attempts: u32,
    task_id: Option<&'a str>,
    request_id: Option<&'a str>,
    http_status: Option<u16>,
    job: String,
    files: Vec<String>,
    failed_at: String,
    #[serde(skip_serializing_if = "<[Problem]>::is_empty")]
    problems: &'a [Problem],
}

/// The report of a failed job, `NAME.error.yaml`. `files` are the names under which its pair lies beside it.
pub fn report(job: &Job, failure: &Failure, number: u32, failed_at: Timestamp) -> String {
    let names = job.names(number);
    let files = names.picture.iter().chain(&names.sidecar).map(|name| shown(name.as_bytes())).collect();
    document(&Report {
        code: failure.reason.code().map(|code| code.0),
        reason: &failure.reason.label(),
        message: clipped(&failure.message),
        meaning: &failure.reason.meaning(),
        advice: &failure.advice(failed_at),
        stage: failure.stage.label(),
        charged: failure.charged.label(),
        attempts: job.attempts,
        task_id: failure.task.as_ref().map(|task| task.task_id.as_str()),
        request_id: failure.request_id.as_deref(),
        http_status: failure.http_status,
        job: job.id.to_string(),
        files,
        failed_at: seconds(failed_at),
        problems: &failure.problems,
    })
}

#[derive(Serialize)]
struct Receipt<'a> {
    job: String,
    files: Vec<String>,
    prompt: &'a str,
    aspect_ratio: &'a str,
    seed: i64,
    task_id: &'a str,
    request_id: Option<&'a str>,
    attempts: u32,
    submitted_at: String,
    done_at: String,
    delivered_at: String,
    video: ReceiptVideo<'a>,
    picture: Option<ReceiptPicture<'a>>,
}

#[derive(Serialize)]
struct ReceiptVideo<'a> {
    name: String,
    bytes: u64,
    sha256: &'a str,
    width: Option<u32>,
    height: Option<u32>,
    seconds: Option<f64>,
}

#[derive(Serialize)]
struct ReceiptPicture<'a> {
    name: String,
    sha256: &'a str,
    bytes: u64,
    width: Option<u32>,
    height: Option<u32>,
}

/// The receipt of a video, `NAME.receipt.yaml`. `None` for a job without a request, which cannot have a video.
pub fn receipt(
    job: &Job,
    task: &Task,
    finish: &Finish,
    video: &Video,
    number: u32,
    delivered_at: Timestamp,
) -> Option<String> {
    let request = job.request.as_ref()?;
    let names = job.names(number);
    Some(document(&Receipt {
        job: job.id.to_string(),
        files: names.picture.iter().chain(&names.sidecar).map(|name| shown(name.as_bytes())).collect(),
        prompt: &request.prompt,
        aspect_ratio: request.aspect_ratio.label(),
        seed: request.seed.number(),
        task_id: task.task_id.as_str(),
        request_id: task.request_id.as_deref(),
        attempts: job.attempts,
        submitted_at: seconds(task.submitted_at),
        done_at: seconds(finish.done_at),
        delivered_at: seconds(delivered_at),
        video: ReceiptVideo {
            name: shown(names.video.as_bytes()),
            bytes: video.bytes,
            sha256: &video.sha256,
            width: video.width,
            height: video.height,
            seconds: video.seconds,
        },
        picture: job.input.picture.as_ref().map(|picture| ReceiptPicture {
            name: names.picture.as_ref().map(|name| shown(name.as_bytes())).unwrap_or_default(),
            sha256: &picture.sha256,
            bytes: picture.bytes,
            width: job.input.shown.map(|(width, _)| width),
            height: job.input.shown.map(|(_, height)| height),
        }),
    }))
}

/// What a report or a receipt says about whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The job.
    pub job: JobId,
    /// The names of the pair, as shown.
    pub files: Vec<String>,
}

/// Reads back whose a report or receipt is; `None` if `text` is neither. Anybody may leave a file under such a name, so only the few
/// lines that matter are taken for YAML, as they are written here: a value is on one line, which is not long.
pub fn owner(text: &str) -> Option<Owner> {
    let value = |line: &str| -> Option<String> {
        (line.len() <= VALUE_BYTES_MAX).then(|| serde_yaml::from_str(line).ok()).flatten()
    };
    let job = text.lines().find_map(|line| line.strip_prefix("job: "))?;
    let mut lines = text.lines().skip_while(|line| *line != "files:").skip(1);
    let files = std::iter::from_fn(|| lines.next()?.strip_prefix("- ")).take(FILES_MAX).map(value);
    let files = files.collect::<Option<Vec<String>>>().filter(|files| !files.is_empty())?;
    Some(Owner { job: JobId::parse(&value(job)?)?, files })
}

fn clipped(message: &str) -> &str {
    message.char_indices().nth(MESSAGE_CHARS_MAX).map_or(message, |(end, _)| &message[..end])
}

/// An instant in whole seconds, UTC, as `2026-11-22T07:00:00Z`.
pub fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn document<T: Serialize>(value: &T) -> String {
    let value = serde_yaml::to_value(value).expect("a struct of strings and numbers can be written as YAML");
    let mut text = String::new();
    write_value(&mut text, &value, 0, "");
    text
}

/// Writes `value` below what stands on the line already, which ends in `before`. Documents are made of mappings, lists and
/// scalars; a mapping in a list starts on the line of its dash.
fn write_value(text: &mut String, value: &Value, indent: usize, before: &str) {
    match value {
        Value::Mapping(entries) if !entries.is_empty() => {
            let mut first = before == "-";
            for (key, value) in entries {
                let lead = if first { " ".to_owned() } else { "  ".repeat(indent) };
                if before == ":" && text.ends_with(':') {
                    text.push('\n');
                }
                first = false;
                text.push_str(&lead);
                text.push_str(key.as_str().unwrap_or_default());
                text.push(':');
                write_value(text, value, indent + 1, ":");
            }
        }
        Value::Sequence(items) if !items.is_empty() => {
            text.push('\n');
            for item in items {
                text.push_str(&"  ".repeat(indent.saturating_sub(1)));
                text.push('-');
                write_value(text, item, indent, "-");
            }
        }
        Value::Mapping(_) => text.push_str(" {}\n"),
        Value::Sequence(_) => text.push_str(" []\n"),
        Value::Null => text.push_str(" null\n"),
        Value::Bool(is) => text.push_str(if *is { " true\n" } else { " false\n" }),
        Value::Number(number) => text.push_str(&format!(" {number}\n")),
        Value::String(string) => text.push_str(&format!(" {}\n", scalar(string))),
        Value::Tagged(tagged) => write_value(text, &tagged.value, indent, before),
    }
}

/// Words that a reader of YAML 1.1 takes for truth, falsehood or nothing, in lower case.
const WORDS_OF_YAML_1_1: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// A string that readers of YAML 1.1 and of 1.2 both take for this string. Left bare only where nothing else can be meant:
/// `no`, `16:9` and `1_000` are a truth value and numbers to many.
fn scalar(string: &str) -> String {
    let is_printable =
        |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}');
    let is_bare = string.starts_with(char::is_alphabetic)
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.ends_with([':', ' '])
        && !WORDS_OF_YAML_1_1.contains(&string.to_lowercase().as_str());
    if !string.chars().all(is_printable) {
        let mut quoted = String::from("\"");
        for c in string.chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                '\n' => quoted.push_str("\\n"),
                c if is_printable(c) => quoted.push(c),
                c => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            }
        }
        quoted + "\""
    } else if is_bare || is_identifier(string) {
        string.to_owned()
    } else {
        format!("'{}'", string.replace('\'', "''"))
    }
}

/// Whether it is an instant or a UUID as written here: what starts with a digit and needs no quotes all the same.
fn is_identifier(string: &str) -> bool {
    (string.ends_with('Z') && string.parse::<Timestamp>().is_ok())
        || (string.len() == 36 && JobId::parse(string).is_some())
}

#[cfg(test)]
mod tests;
