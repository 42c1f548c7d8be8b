//! A job as a row, and back. The shapes here are what old ledgers hold: they may grow, never change their meaning.

use jiff::Timestamp;
use rusqlite::{Row, named_params, types::Type};
use serde::{Deserialize, Serialize};

use crate::job::business_code::BusinessCode;
use crate::job::state::{Finish, Publication, Rejection, Video};
use crate::job::{
    Account, AspectRatio, Charged, Doubt, Failure, FileName, Folder, Input, InputFile, Job, JobId, PairName, Reason,
    Request, Seed, Stage, State, Task, TaskId, VideoLink,
};

/// Inserts a job.
pub(super) const INSERT: &str = "-- insert a job
    INSERT INTO job (job, folder, stem, priority, earlier, claimed_at, sends, attempts, charges, state, since, task_id, code,
                     reason, input, request, detail)
    VALUES (:job, :folder, :stem, :priority, :earlier, :claimed_at, :sends, :attempts, :charges, :state, :since, :task_id,
            :code, :reason, :input, :request, :detail)";

/// Writes a job after a transition. `sends` never goes down.
pub(super) const UPDATE: &str = "-- write a job after a transition
    UPDATE job SET folder = :folder, stem = :stem, priority = :priority, earlier = :earlier, claimed_at = :claimed_at,
                   sends = :sends, attempts = :attempts, charges = :charges, state = :state, since = :since, task_id = :task_id,
                   code = :code, reason = :reason, input = :input, request = :request, detail = :detail
    WHERE job = :job AND sends <= :sends AND state NOT IN ('delivered', 'failed')";

/// The columns that [`read`] takes, in its order.
pub(super) const COLUMNS: &str =
    "job, folder, stem, priority, earlier, claimed_at, sends, attempts, charges, since, input, request, detail";

#[derive(Serialize, Deserialize)]
struct InputRecord {
    sidecar: Option<FileRecord>,
    picture: Option<FileRecord>,
    width: Option<u32>,
    height: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct FileRecord {
    name: Vec<u8>,
    bytes: u64,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct RequestRecord {
    prompt: String,
    aspect_ratio: String,
    seed: SeedRecord,
    image_url: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SeedRecord {
    Fixed(u32),
    Drawn(u32),
    Api,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Detail {
    Queued {
        not_before: Option<Timestamp>,
    },
    Submitting,
    Submitted {
        task: TaskRecord,
        finish: Option<FinishRecord>,
        ask_at: Option<Timestamp>,
    },
    Ready {
        task: TaskRecord,
        finish: FinishRecord,
        link: String,
    },
    Fetched {
        task: TaskRecord,
        finish: FinishRecord,
        video: VideoRecord,
        publication: PublicationRecord,
    },
    Delivered {
        task: TaskRecord,
        finish: FinishRecord,
        video: VideoRecord,
        number: u32,
    },
    InDoubt {
        why: String,
        // Absent in the first ledgers.
        request_id: Option<String>,
        http_status: Option<u16>,
    },
    Failing {
        failure: FailureRecord,
        rejection: RejectionRecord,
    },
    Failed {
        failure: FailureRecord,
    },
}

#[derive(Serialize, Deserialize)]
struct TaskRecord {
    task_id: String,
    request_id: Option<String>,
    base_url: String,
    token_fingerprint: String,
    submitted_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct FinishRecord {
    done_at: Timestamp,
    bad_links: u32,
}

#[derive(Serialize, Deserialize)]
struct VideoRecord {
    bytes: u64,
    sha256: String,
    width: Option<u32>,
    height: Option<u32>,
    seconds: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct PublicationRecord {
    temporary: Vec<u8>,
    outbox_device: u64,
    outbox_inode: u64,
    number: u32,
    former: Vec<u32>,
    delivered_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct RejectionRecord {
    number: u32,
    former: Vec<u32>,
    failed_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct FailureRecord {
    code: Option<u32>,
    reason: Option<String>,
    message: String,
    stage: String,
    charged: String,
    task: Option<TaskRecord>,
    // Absent in the first ledgers: then the API is asked once more, which costs nothing.
    #[serde(default)]
    task_over: bool,
    request_id: Option<String>,
    http_status: Option<u16>,
    problems: Vec<ProblemRecord>,
}

#[derive(Serialize, Deserialize)]
struct ProblemRecord {
    file: Option<String>,
    key: Option<String>,
    line: Option<u64>,
    column: Option<u64>,
    message: String,
    proposal: Option<String>,
}

/// Runs `statement`, one of [`INSERT`] and [`UPDATE`], with the job's values; returns how many rows it touched.
pub(super) fn write(statement: &mut rusqlite::CachedStatement<'_>, job: &Job) -> rusqlite::Result<usize> {
    let failure = match &job.state {
        State::Failing { failure, .. } | State::Failed { failure } => Some(failure),
        State::Queued { .. }
        | State::Submitting
        | State::Submitted { .. }
        | State::Ready { .. }
        | State::Fetched { .. }
        | State::Delivered { .. }
        | State::InDoubt { .. } => None,
    };
    let task = job.state.task().or(failure.and_then(|failure| failure.task.as_ref()));
    statement.execute(named_params! {
        ":job": job.id.to_string(),
        ":folder": job.pair.folder.as_bytes(),
        ":stem": job.pair.stem.as_bytes(),
        ":priority": job.priority,
        ":earlier": job.earlier.map(|id| id.to_string()),
        ":claimed_at": job.claimed_at.as_millisecond(),
        ":sends": job.sends,
        ":attempts": job.attempts,
        ":charges": job.charges,
        ":state": job.state.label(),
        ":since": job.since.as_millisecond(),
        ":task_id": task.map(|task| task.task_id.as_str()),
        ":code": failure.and_then(|failure| failure.reason.code()).map(|code| code.0),
        ":reason": failure.map(|failure| failure.reason.label().into_owned()),
        ":input": json(&input_record(&job.input)),
        ":request": job.request.as_ref().map(|request| json(&request_record(request))),
        ":detail": json(&detail(&job.state)),
    })
}

/// Reads a row of [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Job> {
    let id: String = row.get(0)?;
    let input: InputRecord = parse(10, &row.get::<_, String>(10)?)?;
    let request: Option<String> = row.get(11)?;
    let detail: Detail = parse(12, &row.get::<_, String>(12)?)?;
    Ok(Job {
        id: JobId::parse(&id).ok_or_else(|| bad(0, "not a job's identifier"))?,
        pair: PairName {
            folder: Folder::new(row.get::<_, Vec<u8>>(1)?).ok_or_else(|| bad(1, "not a folder"))?,
            stem: FileName::new(row.get::<_, Vec<u8>>(2)?).ok_or_else(|| bad(2, "not a name"))?,
        },
        priority: row.get(3)?,
        earlier: row.get::<_, Option<String>>(4)?.and_then(|text| JobId::parse(&text)),
        claimed_at: instant(5, row.get(5)?)?,
        sends: row.get(6)?,
        attempts: row.get(7)?,
        charges: row.get(8)?,
        since: instant(9, row.get(9)?)?,
        input: Input {
            sidecar: input.sidecar.map(file).transpose()?,
            picture: input.picture.map(file).transpose()?,
            shown: input.width.zip(input.height),
        },
        request: request.map(|text| request_back(parse(11, &text)?)).transpose()?,
        state: state(detail)?,
    })
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records are made of strings and numbers")
}

fn parse<'de, T: Deserialize<'de>>(column: usize, text: &'de str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn bad(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}

fn instant(column: usize, milliseconds: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| bad(column, "not an instant"))
}

fn input_record(input: &Input) -> InputRecord {
    let file = |file: &InputFile| FileRecord {
        name: file.name.as_bytes().to_vec(),
        bytes: file.bytes,
        sha256: file.sha256.clone(),
    };
    InputRecord {
        sidecar: input.sidecar.as_ref().map(file),
        picture: input.picture.as_ref().map(file),
        width: input.shown.map(|(width, _)| width),
        height: input.shown.map(|(_, height)| height),
    }
}

fn file(record: FileRecord) -> rusqlite::Result<InputFile> {
    let name = FileName::new(record.name).ok_or_else(|| bad(10, "not a name"))?;
    Ok(InputFile { name, bytes: record.bytes, sha256: record.sha256 })
}

fn request_record(request: &Request) -> RequestRecord {
    RequestRecord {
        prompt: request.prompt.clone(),
        aspect_ratio: request.aspect_ratio.label().to_owned(),
        seed: match request.seed {
            Seed::Fixed(n) => SeedRecord::Fixed(n),
            Seed::Drawn(n) => SeedRecord::Drawn(n),
            Seed::Api => SeedRecord::Api,
        },
        image_url: request.image_url.clone(),
    }
}

fn request_back(record: RequestRecord) -> rusqlite::Result<Request> {
    Ok(Request {
        prompt: record.prompt,
        aspect_ratio: AspectRatio::parse(&record.aspect_ratio).ok_or_else(|| bad(11, "not a ratio"))?,
        seed: match record.seed {
            SeedRecord::Fixed(n) => Seed::Fixed(n),
            SeedRecord::Drawn(n) => Seed::Drawn(n),
            SeedRecord::Api => Seed::Api,
        },
        image_url: record.image_url,
    })
}

fn detail(state: &State) -> Detail {
    match state {
        State::Queued { not_before } => Detail::Queued { not_before: *not_before },
        State::Submitting => Detail::Submitting,
        State::Submitted { task, finish, ask_at } => {
            Detail::Submitted { task: task_record(task), finish: finish.map(finish_record), ask_at: *ask_at }
        }
        State::Ready { task, finish, link } => {
            Detail::Ready { task: task_record(task), finish: finish_record(*finish), link: link.expose().to_owned() }
        }
        State::Fetched { task, finish, video, publication } => Detail::Fetched {
            task: task_record(task),
            finish: finish_record(*finish),
            video: video_record(video),
            publication: PublicationRecord {
                temporary: publication.temporary.as_bytes().to_vec(),
                outbox_device: publication.outbox.0,
                outbox_inode: publication.outbox.1,
                number: publication.number,
                former: publication.former.clone(),
                delivered_at: publication.delivered_at,
            },
        },
        State::Delivered { task, finish, video, number } => Detail::Delivered {
            task: task_record(task),
            finish: finish_record(*finish),
            video: video_record(video),
            number: *number,
        },
        State::InDoubt { doubt } => Detail::InDoubt {
            why: doubt.message.clone(),
            request_id: doubt.request_id.clone(),
            http_status: doubt.http_status,
        },
        State::Failing { failure, rejection } => Detail::Failing {
            failure: failure_record(failure),
            rejection: RejectionRecord {
                number: rejection.number,
                former: rejection.former.clone(),
                failed_at: rejection.failed_at,
            },
        },
        State::Failed { failure } => Detail::Failed { failure: failure_record(failure) },
    }
}

fn state(detail: Detail) -> rusqlite::Result<State> {
    Ok(match detail {
        Detail::Queued { not_before } => State::Queued { not_before },
        Detail::Submitting => State::Submitting,
        Detail::Submitted { task, finish, ask_at } => {
            State::Submitted { task: task_back(task)?, finish: finish.map(finish_back), ask_at }
        }
        Detail::Ready { task, finish, link } => {
            State::Ready { task: task_back(task)?, finish: finish_back(finish), link: VideoLink::new(link) }
        }
        Detail::Fetched { task, finish, video, publication } => State::Fetched {
            task: task_back(task)?,
            finish: finish_back(finish),
            video: video_back(video),
            publication: Publication {
                temporary: FileName::new(publication.temporary).ok_or_else(|| bad(12, "not a name"))?,
                outbox: (publication.outbox_device, publication.outbox_inode),
                number: publication.number,
                former: publication.former,
                delivered_at: publication.delivered_at,
            },
        },
        Detail::Delivered { task, finish, video, number } => {
            State::Delivered { task: task_back(task)?, finish: finish_back(finish), video: video_back(video), number }
        }
        Detail::InDoubt { why, request_id, http_status } => {
            State::InDoubt { doubt: Doubt { message: why, request_id, http_status } }
        }
        Detail::Failing { failure, rejection } => State::Failing {
            failure: failure_back(failure)?,
            rejection: Rejection { number: rejection.number, former: rejection.former, failed_at: rejection.failed_at },
        },
        Detail::Failed { failure } => State::Failed { failure: failure_back(failure)? },
    })
}

/// How the detail of a row writes the address that its task was paid at.
pub(super) fn base_url_in_detail(base_url: &str) -> String {
    format!("\"base_url\":{}", serde_json::Value::from(base_url))
}

fn task_record(task: &Task) -> TaskRecord {
    TaskRecord {
        task_id: task.task_id.as_str().to_owned(),
        request_id: task.request_id.clone(),
        base_url: task.account.base_url.clone(),
        token_fingerprint: task.account.token_fingerprint.clone(),
        submitted_at: task.submitted_at,
    }
}

fn task_back(record: TaskRecord) -> rusqlite::Result<Task> {
    Ok(Task {
        task_id: TaskId::new(&record.task_id).ok_or_else(|| bad(12, "not a task's identifier"))?,
        request_id: record.request_id,
        account: Account { base_url: record.base_url, token_fingerprint: record.token_fingerprint },
        submitted_at: record.submitted_at,
    })
}

fn finish_record(finish: Finish) -> FinishRecord {
    FinishRecord { done_at: finish.done_at, bad_links: finish.bad_links }
}

fn finish_back(record: FinishRecord) -> Finish {
    Finish { done_at: record.done_at, bad_links: record.bad_links }
}

fn video_record(video: &Video) -> VideoRecord {
    VideoRecord {
        bytes: video.bytes,
        sha256: video.sha256.clone(),
        width: video.width,
        height: video.height,
        seconds: video.seconds,
    }
}

fn video_back(record: VideoRecord) -> Video {
    Video {
        bytes: record.bytes,
        sha256: record.sha256,
        width: record.width,
        height: record.height,
        seconds: record.seconds,
    }
}

fn failure_record(failure: &Failure) -> FailureRecord {
    let code = failure.reason.code();
    FailureRecord {
        code: code.map(|code| code.0),
        reason: code.is_none().then(|| failure.reason.label().into_owned()),
        message: failure.message.clone(),
        stage: failure.stage.label().to_owned(),
        charged: failure.charged.label().to_owned(),
        task: failure.task.as_ref().map(task_record),
        task_over: failure.task_over,
        request_id: failure.request_id.clone(),
        http_status: failure.http_status,
        problems: failure
            .problems
            .iter()
            .map(|problem| ProblemRecord {
                file: problem.file.clone(),
                key: problem.key.clone(),
                line: problem.line,
                column: problem.column,
                message: problem.message.clone(),
                proposal: problem.proposal.clone(),
            })
            .collect(),
    }
}

fn failure_back(record: FailureRecord) -> rusqlite::Result<Failure> {
    let reason = match record.code {
        Some(code) => Reason::Business(BusinessCode(code)),
        None => record.reason.as_deref().and_then(Reason::parse_ours).ok_or_else(|| bad(12, "not a reason"))?,
    };
    Ok(Failure {
        reason,
        message: record.message,
        stage: Stage::parse(&record.stage).ok_or_else(|| bad(12, "not a stage"))?,
        charged: Charged::parse(&record.charged).ok_or_else(|| bad(12, "not a charge"))?,
        task: record.task.map(task_back).transpose()?,
        task_over: record.task_over,
        request_id: record.request_id,
        http_status: record.http_status,
        problems: record
            .problems
            .into_iter()
            .map(|problem| crate::job::Problem {
                file: problem.file,
                key: problem.key,
                line: problem.line,
                column: problem.column,
                message: problem.message,
                proposal: problem.proposal,
            })
            .collect(),
    })
}
