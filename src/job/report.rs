//! The two documents that a job leaves behind, as text: the report of a failure and the receipt of a video.
//!
//! Both are made from the job alone, so that a redo after a crash writes the same bytes again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::name::shown;
use super::state::{Finish, Job, Video};
use super::{Failure, JobId, Problem, Task};

/// Bytes of a document that are worth reading back.
pub const BYTES_MAX: usize = 256 * 1024;

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
        message: &failure.message,
        meaning: &failure.reason.meaning(),
        advice: &failure.reason.advice(),
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

/// Reads back whose a report or receipt is; `None` if `text` is neither.
pub fn owner(text: &str) -> Option<Owner> {
    #[derive(Deserialize)]
    struct Read {
        job: String,
        files: Vec<String>,
    }
    let read: Read = serde_yaml::from_str(text).ok()?;
    Some(Owner { job: JobId::parse(&read.job)?, files: read.files })
}

/// An instant in whole seconds, UTC, as `2026-11-22T07:00:00Z`.
pub fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn document<T: Serialize>(value: &T) -> String {
    serde_yaml::to_string(value).expect("a struct of strings and numbers can be written as YAML")
}
