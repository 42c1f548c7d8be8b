//! The life of a job: its states, the events, and the one function that turns one into the other.
//!
//! The same function is used live and in recovery, so what a crash leaves behind is never interpreted by other rules than
//! those that made it. Each state holds exactly the data that exists in it: without a task id there is nothing to poll.
//!
//! ```text
//! Queued ──Intended──▶ Submitting ──Accepted──▶ Submitted ──Done──▶ Ready ──Fetched──▶ Fetched ──Published──▶ Delivered
//!   ▲  ▲                 │    │                   │   ▲               │
//!   │  └────NotSent──────┘    └─OutcomeUnknown─┐  │   └─LinkStale─────┘
//!   └──────AnotherAttempt─────────────────────────┘   ┌─LinkBad (asked anew later)
//!   └──────SubmitAgain──────────── InDoubt ◀───┘
//! any of these but Fetched and Delivered ──Condemned──▶ Failing ──Rejected──▶ Failed
//! ```
//!
//! An acceptance with a task that another job has already is an `OutcomeUnknown`, too: two jobs never share a task, but for one
//! that tries an earlier one again.
//!
//! Absent on purpose: no way from `Submitting` back to `Queued` without proof that nothing was accepted, and no way out of
//! `Delivered` and `Failed`.

use jiff::Timestamp;

use super::failure::{Doubt, Failure};
use super::name::{self, FileName};
use super::{JobId, PairName, Request, Seed, Task, VideoLink};

/// What is appended to a pair's name to make that of its report.
const REPORT: &[u8] = b".error.yaml";

/// A job: one pair, from its claim to its end.
#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    /// Ours.
    pub id: JobId,
    /// Where the pair lay and what is made of its name.
    pub pair: PairName,
    /// What the user dropped.
    pub input: Input,
    /// What is asked for; `None` where the sidecar could not be read, so that there is nothing to ask for.
    pub request: Option<Request>,
    /// Higher goes first.
    pub priority: i64,
    /// The job that this one tries again, if it is a retry.
    pub earlier: Option<JobId>,
    /// When the pair was claimed.
    pub claimed_at: Timestamp,
    /// Intents recorded so far: every request that may have left, throttled and unsent ones included. Never goes down.
    pub sends: u32,
    /// Submissions that were judged or accepted, or may have been.
    pub attempts: u32,
    /// Those of them that were accepted, or may have been: for each the API may have charged a video.
    pub charges: u32,
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
}

/// The files of a pair as they were claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// The sidecar; `None` for a picture that is rejected without one.
    pub sidecar: Option<InputFile>,
    /// The picture; `None` for a sidecar with `image_urls`.
    pub picture: Option<InputFile>,
    /// Width and height of the picture in pixels as it is shown, if it could be read.
    pub shown: Option<(u32, u32)>,
}

/// One file of a pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputFile {
    /// Its name in the inbox.
    pub name: FileName,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, lower-case hexadecimal.
    pub sha256: String,
}

/// Where a job stands.
#[derive(Clone, PartialEq, Debug)]
pub enum State {
    /// In `work/`, to be submitted.
    Queued {
        /// Not before this instant, if it waits for one.
        not_before: Option<Timestamp>,
    },
    /// The intent is durable and the request may have left.
    Submitting,
    /// The API has a task for it.
    Submitted {
        /// The task.
        task: Task,
        /// What is known of its end, when its link has to be asked for again.
        finish: Option<Finish>,
        /// Not to be asked about before this instant, if something made us wait.
        ask_at: Option<Timestamp>,
    },
    /// The video is made and can be fetched.
    Ready {
        /// The task.
        task: Task,
        /// What is known of its end.
        finish: Finish,
        /// Where the video is, for about an hour.
        link: VideoLink,
    },
    /// The video lies in the outbox under a temporary name, whole and synced.
    Fetched {
        /// The task.
        task: Task,
        /// What is known of its end.
        finish: Finish,
        /// The video.
        video: Video,
        /// How it is to be published.
        publication: Publication,
    },
    /// The video is in the outbox. Final.
    Delivered {
        /// The task.
        task: Task,
        /// What is known of its end.
        finish: Finish,
        /// The video.
        video: Video,
        /// The number that its names carry; 1: none.
        number: u32,
    },
    /// It may have been accepted; nobody can tell.
    InDoubt {
        /// What was seen.
        doubt: Doubt,
    },
    /// It failed and is being moved to `error/`.
    Failing {
        /// Why.
        failure: Failure,
        /// How it is to be rejected.
        rejection: Rejection,
    },
    /// It failed and lies in `error/`. Final.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// What is known of a task that was seen done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finish {
    /// When it was first seen done.
    pub done_at: Timestamp,
    /// How many links were definitely bad.
    pub bad_links: u32,
}

/// A video that was fetched and checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Video {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Pixels, if the file says.
    pub width: Option<u32>,
    /// Pixels, if the file says.
    pub height: Option<u32>,
    /// Length, if the file says.
    pub seconds: Option<f64>,
}

/// How a video is published: everything that a redo needs to know its own traces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// The temporary name in the outbox.
    pub temporary: FileName,
    /// Device and inode of the outbox folder that holds it.
    pub outbox: (u64, u64),
    /// The number that the final names carry; 1: none.
    pub number: u32,
    /// Numbers given up because a name was taken; traces of ours under them are taken away.
    pub former: Vec<u32>,
    /// When the video counts as delivered, as the receipt says.
    pub delivered_at: Timestamp,
}

/// How a job is rejected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// The number that the final names carry; 1: none.
    pub number: u32,
    /// Numbers given up because a name was taken.
    pub former: Vec<u32>,
    /// When it failed, as the report says.
    pub failed_at: Timestamp,
}

/// What can happen to a job.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// It is about to be submitted.
    Intended,
    /// Certainly not accepted, and no fault of the job: unsent, throttled, or an account or gateway that refuses.
    NotSent {
        /// When to try again, if not at once.
        not_before: Option<Timestamp>,
    },
    /// The API has made a task of it.
    Accepted {
        /// The task.
        task: Task,
        /// The other job of ours that has this task already, if there is one.
        holder: Option<JobId>,
    },
    /// The answer cannot be had.
    OutcomeUnknown {
        /// What was seen.
        doubt: Doubt,
    },
    /// The operator has said that a job in doubt is to be submitted again.
    SubmitAgain,
    /// It failed in a way that another seed may cure, and there is an attempt left.
    AnotherAttempt {
        /// The seed of the next attempt.
        seed: Seed,
        /// When.
        not_before: Option<Timestamp>,
    },
    /// The task was seen done.
    Done {
        /// Where the video is.
        link: VideoLink,
        /// When it was seen.
        at: Timestamp,
    },
    /// The link has gone stale.
    LinkStale,
    /// The link gave a definite bad answer, or there was none.
    LinkBad {
        /// When it was seen.
        at: Timestamp,
        /// When to ask for another.
        ask_at: Timestamp,
    },
    /// Not to be asked about before an instant.
    AskLater {
        /// That instant.
        ask_at: Timestamp,
    },
    /// A task that was to be asked about later only is known to the account that is asked, and under way.
    KnownAgain,
    /// The video was fetched and checked.
    Fetched {
        /// The video.
        video: Video,
        /// How it is to be published.
        publication: Publication,
    },
    /// A final name is taken: all get another number.
    Renumbered {
        /// That number.
        number: u32,
    },
    /// The video is in the outbox and the pair in the archive.
    Published,
    /// The job cannot succeed.
    Condemned {
        /// Why.
        failure: Failure,
        /// How it is to be rejected.
        rejection: Rejection,
    },
    /// The pair and its report are in `error/`.
    Rejected,
}

/// An event that cannot happen in a state: a bug, or a ledger that somebody has edited.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("job {job}: {event} cannot happen while {state}")]
pub struct IllegalEvent {
    /// The job.
    pub job: JobId,
    /// Label of its state.
    pub state: &'static str,
    /// Label of the event.
    pub event: &'static str,
}

impl State {
    /// The word for logs, the ledger and `status`, lower snake_case.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Submitting => "submitting",
            Self::Submitted { .. } => "submitted",
            Self::Ready { .. } => "ready",
            Self::Fetched { .. } => "fetched",
            Self::Delivered { .. } => "delivered",
            Self::InDoubt { .. } => "in_doubt",
            Self::Failing { .. } => "failing",
            Self::Failed { .. } => "failed",
        }
    }

    /// The task, in the states that have one.
    pub fn task(&self) -> Option<&Task> {
        match self {
            Self::Submitted { task, .. }
            | Self::Ready { task, .. }
            | Self::Fetched { task, .. }
            | Self::Delivered { task, .. } => Some(task),
            Self::Queued { .. }
            | Self::Submitting
            | Self::InDoubt { .. }
            | Self::Failing { .. }
            | Self::Failed { .. } => None,
        }
    }

    /// Whether nothing more will happen.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Delivered { .. } | Self::Failed { .. } => true,
            Self::Queued { .. }
            | Self::Submitting
            | Self::Submitted { .. }
            | Self::Ready { .. }
            | Self::Fetched { .. }
            | Self::InDoubt { .. }
            | Self::Failing { .. } => false,
        }
    }

    /// Whether the task, as far as we know, takes one of the account's slots.
    pub fn is_in_flight(&self) -> bool {
        match self {
            Self::Submitting => true,
            // One that is asked about later is another account's.
            Self::Submitted { finish, ask_at, .. } => finish.is_none() && ask_at.is_none(),
            Self::Queued { .. }
            | Self::Ready { .. }
            | Self::Fetched { .. }
            | Self::Delivered { .. }
            | Self::InDoubt { .. }
            | Self::Failing { .. }
            | Self::Failed { .. } => false,
        }
    }
}

impl Event {
    fn label(&self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::NotSent { .. } => "not sent",
            Self::Accepted { .. } => "accepted",
            Self::OutcomeUnknown { .. } => "outcome unknown",
            Self::SubmitAgain => "submit again",
            Self::AnotherAttempt { .. } => "another attempt",
            Self::Done { .. } => "done",
            Self::LinkStale => "link stale",
            Self::LinkBad { .. } => "link bad",
            Self::AskLater { .. } => "ask later",
            Self::KnownAgain => "known again",
            Self::Fetched { .. } => "fetched",
            Self::Renumbered { .. } => "renumbered",
            Self::Published => "published",
            Self::Condemned { .. } => "condemned",
            Self::Rejected => "rejected",
        }
    }
}

impl Job {
    /// The job after `event`, which happened at `at`. This is the only place where a state changes.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the event cannot happen in this state; the job is then as it was.
    pub fn on(&self, event: Event, at: Timestamp) -> Result<Job, IllegalEvent> {
        let illegal = IllegalEvent { job: self.id, state: self.state.label(), event: event.label() };
        let mut next = self.clone();
        next.since = at;
        next.state = match (self.state.clone(), event) {
            (State::Queued { .. }, Event::Intended) if self.request.is_some() => {
                next.sends += 1;
                State::Submitting
            }
            (State::Submitting, Event::NotSent { not_before }) => State::Queued { not_before },
            (State::Submitting, Event::Accepted { task, holder }) => {
                next.attempts += 1;
                next.charges += 1;
                match holder {
                    None => State::Submitted { task, finish: None, ask_at: None },
                    Some(holder) => State::InDoubt { doubt: task_of_another(&task, holder) },
                }
            }
            (State::Submitting, Event::OutcomeUnknown { doubt }) => {
                next.attempts += 1;
                next.charges += 1;
                State::InDoubt { doubt }
            }
            (State::InDoubt { .. }, Event::SubmitAgain) => State::Queued { not_before: None },
            (state @ (State::Submitting | State::Submitted { .. }), Event::AnotherAttempt { seed, not_before }) => {
                if state == State::Submitting {
                    next.attempts += 1;
                }
                if let Some(request) = &mut next.request {
                    request.seed = seed;
                }
                State::Queued { not_before }
            }
            (State::Submitted { task, finish, .. }, Event::Done { link, at }) => {
                State::Ready { task, finish: finish.unwrap_or(Finish { done_at: at, bad_links: 0 }), link }
            }
            (State::Submitted { task, finish, .. }, Event::AskLater { ask_at }) => {
                State::Submitted { task, finish, ask_at: Some(ask_at) }
            }
            (State::Submitted { task, finish: None, ask_at: Some(_) }, Event::KnownAgain) => {
                State::Submitted { task, finish: None, ask_at: None }
            }
            (State::Submitted { task, finish, .. }, Event::LinkBad { at, ask_at }) => {
                let finish = finish.unwrap_or(Finish { done_at: at, bad_links: 0 });
                State::Submitted { task, finish: Some(finish.with_bad_link()), ask_at: Some(ask_at) }
            }
            // From Fetched where the temporary video is lost with its whole folder: it is fetched once more.
            (State::Ready { task, finish, .. } | State::Fetched { task, finish, .. }, Event::LinkStale) => {
                State::Submitted { task, finish: Some(finish), ask_at: None }
            }
            (State::Ready { task, finish, .. }, Event::LinkBad { ask_at, .. }) => {
                State::Submitted { task, finish: Some(finish.with_bad_link()), ask_at: Some(ask_at) }
            }
            (State::Ready { task, finish, .. }, Event::Fetched { video, publication }) => {
                State::Fetched { task, finish, video, publication }
            }
            (State::Fetched { task, finish, video, mut publication }, Event::Renumbered { number }) => {
                publication.former.push(publication.number);
                publication.number = number;
                State::Fetched { task, finish, video, publication }
            }
            (State::Fetched { task, finish, video, publication }, Event::Published) => {
                State::Delivered { task, finish, video, number: publication.number }
            }
            (
                state @ (State::Queued { .. }
                | State::Submitting
                | State::Submitted { .. }
                | State::Ready { .. }
                | State::InDoubt { .. }),
                Event::Condemned { failure, rejection },
            ) => {
                if state == State::Submitting {
                    next.attempts += 1;
                }
                State::Failing { failure, rejection }
            }
            (State::Failing { failure, mut rejection }, Event::Renumbered { number }) => {
                rejection.former.push(rejection.number);
                rejection.number = number;
                State::Failing { failure, rejection }
            }
            (State::Failing { failure, .. }, Event::Rejected) => State::Failed { failure },
            (
                State::Queued { .. }
                | State::Submitting
                | State::Submitted { .. }
                | State::Ready { .. }
                | State::Fetched { .. }
                | State::Delivered { .. }
                | State::InDoubt { .. }
                | State::Failing { .. }
                | State::Failed { .. },
                _,
            ) => return Err(illegal),
        };
        Ok(next)
    }

    /// The names that come out of this job under `number`.
    pub fn names(&self, number: u32) -> Names {
        let picture = self.input.picture.as_ref().map(|file| &file.name);
        let sidecar = self.input.sidecar.as_ref().map(|file| &file.name);
        Names::of(&self.pair.stem, picture, sidecar, number, &self.id.short())
    }
}

/// One task makes one video. Which of the two jobs it makes one for is unknown, and so is whether this request made another task
/// whose identifier was mixed up: the earlier job keeps the task, and this one is nobody's to decide.
fn task_of_another(task: &Task, holder: JobId) -> Doubt {
    Doubt {
        message: format!("the API accepted it as task {}, which job {holder} has already", task.task_id),
        request_id: task.request_id.clone(),
        http_status: None,
    }
}

impl Finish {
    fn with_bad_link(self) -> Self {
        Self { bad_links: self.bad_links + 1, ..self }
    }
}

/// The final names of a job's files; all carry the same number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    /// In the outbox.
    pub video: FileName,
    /// In the outbox.
    pub receipt: FileName,
    /// In `error/`.
    pub report: FileName,
    /// In the archive or in `error/`.
    pub sidecar: Option<FileName>,
    /// In the archive or in `error/`.
    pub picture: Option<FileName>,
}

impl Names {
    /// The names that come out of a pair under `number`; `job_short` marks those that had to be cut.
    pub fn of(
        stem: &FileName,
        picture: Option<&FileName>,
        sidecar: Option<&FileName>,
        number: u32,
        job_short: &str,
    ) -> Self {
        // With an exact sidecar (`cat.jpg.yaml`) the stem is the picture's whole name: the number goes before its
        // extension, so that `cat (2).jpg` and `cat (2).jpg.yaml` are again a picture and its exact sidecar. A file of an
        // ambiguity is called by its whole name, too.
        let is_whole = |name: &FileName| name::folded(name.as_bytes()) == name::folded(stem.as_bytes());
        let (base, middle) = if picture.into_iter().chain(sidecar).any(is_whole) {
            let (base, extension) = name::split_extension(stem);
            (FileName::new(base).unwrap_or_else(|| stem.clone()), extension)
        } else {
            (stem.clone(), &b""[..])
        };
        let full = |suffix: &[u8]| [middle, suffix].concat();
        let sidecar_suffix = |name: &FileName| match name::split_extension(name).1 {
            extension if is_whole(name) => extension.to_vec(),
            extension => full(extension),
        };
        let picture_suffix = |name: &FileName| name::split_extension(name).1.to_vec();
        // Picture, sidecar and report find each other by their common stem, so where one has to be cut all are cut alike. Under
        // the first number the pair keeps its own names, which fit; only the report may be too long.
        let own = picture.map(picture_suffix).into_iter().chain(sidecar.map(sidecar_suffix)).map(|suffix| suffix.len());
        let room = if number > 1 { own.chain([full(REPORT).len()]).max().unwrap_or(0) } else { 0 };
        let alone = |suffix: &[u8]| name::derived(&base, number, &full(suffix), job_short);
        let together = |suffix: &[u8]| name::derived_beside(&base, number, suffix, room, job_short);
        let kept = |name: &FileName, suffix: &[u8]| if number > 1 { together(suffix) } else { name.clone() };
        Self {
            video: alone(b".mp4"),
            receipt: alone(b".receipt.yaml"),
            report: together(&full(REPORT)),
            sidecar: sidecar.map(|name| kept(name, &sidecar_suffix(name))),
            picture: picture.map(|name| kept(name, &picture_suffix(name))),
        }
    }
}

#[cfg(test)]
mod tests;
