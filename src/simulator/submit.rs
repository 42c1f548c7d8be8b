//! `POST /task/jimeng/image2video`: read, judged, accepted or not, answered or not.
//!
//! The order: the token, faults that need no prompt, the body, the API's page, the rate, faults that need the prompt, the
//! number of tasks, the words in the prompt. Accepted is paid, whatever becomes of the answer.

use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::BytesMut;
use futures_util::StreamExt;

use super::answer::{self, Answer, INPUT_INVALID};
use super::faults::{Action, Fault, Moment};
use super::routes::{Reply, Silence, Visit, header_text};
use super::sending::Ending;
use super::submission::{Complaint, Reading};
use super::world::{self, Verdict};

/// What a script writes for the identifier of the task.
const TASK: &str = "$TASK";

/// How far a body was read.
pub(super) enum Read {
    All(Reading),
    Half,
    TooMuch,
}

impl Visit<'_> {
    pub(super) async fn submit(&self, headers: &HeaderMap, body: Body) -> Reply {
        if !self.is_let_in(headers) {
            self.read(body, None).await?;
            return Ok(self.send(self.not_let_in()));
        }
        let announced = header_text(headers, header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let announced = announced.unwrap_or(0);
        let mut fault = self.shared.change(|world| world.fates.of_head(announced));
        let mut half = None;
        if let Some(fault) = &fault {
            tokio::time::sleep(fault.delay).await;
            match fault.action {
                Action::Close(Moment::Head) => return Err(Silence),
                Action::Hang(Moment::Head) => return self.hang().await,
                Action::Close(Moment::Half) | Action::Hang(Moment::Half) => {
                    half = Some(announced / 2);
                }
                Action::Code { .. } | Action::Status { .. } if fault.early => {
                    if let Some(answer) = self.refusal(fault, "") {
                        return Ok(self.send(answer));
                    }
                }
                Action::Wait | Action::Code { .. } | Action::Status { .. } | Action::Cut(_) => {}
                Action::Accept { .. } | Action::Raw(_) => {}
                Action::Close(Moment::Body | Moment::Accepted) | Action::Hang(Moment::Body | Moment::Accepted) => {}
                Action::Blanks(_) | Action::Drip(_) | Action::Gzip | Action::Poll(_) | Action::Download(_) => {}
            }
        }
        let judged = match self.read(body, half).await? {
            Read::All(reading) => reading.finish(),
            Read::Half if fault.is_some_and(|fault| matches!(fault.action, Action::Hang(_))) => {
                return self.hang().await;
            }
            Read::Half => return Err(Silence),
            Read::TooMuch => return Ok(self.send(answer::page(StatusCode::PAYLOAD_TOO_LARGE))),
        };
        let is_json =
            header_text(headers, header::CONTENT_TYPE).is_some_and(|text| text.starts_with("application/json"));
        let judged = match is_json {
            true => judged,
            false => Err(Complaint::Gateway("Content-Type is not application/json".to_owned())),
        };
        let submission = match judged {
            Ok(submission) => submission,
            Err(complaint) => {
                self.violation(complaint.text());
                return Ok(self.send(match complaint {
                    Complaint::Gateway(text) => {
                        answer::envelope(StatusCode::BAD_REQUEST, &text, "invalid_request", &self.request_id)
                    }
                    Complaint::Jimeng(_) => answer::business(INPUT_INVALID, &self.request_id),
                }));
            }
        };
        if let Err(code) = self.shared.change(world::World::admit) {
            return Ok(self.send(self.limited(code)));
        }
        if fault.is_none() {
            fault = self.shared.change(|world| world.fates.of_prompt(&submission.prompt));
            if let Some(fault) = &fault {
                tokio::time::sleep(fault.delay).await;
            }
        }
        match &fault {
            Some(Fault { action: Action::Close(Moment::Body), .. }) => return Err(Silence),
            Some(Fault { action: Action::Hang(Moment::Body), .. }) => return self.hang().await,
            Some(fault) => {
                if let Some(answer) = self.refusal(fault, "") {
                    return Ok(self.send(answer));
                }
            }
            None => {}
        }
        let settings = &self.shared.settings;
        let (task_id, answer_lost) = match self.shared.change(|world| world.submit(submission, settings)) {
            Verdict::Accepted { task_id, answer_lost } => (task_id, answer_lost),
            Verdict::Refused(code) => return Ok(self.send(self.limited(code))),
        };
        self.note(|request| request.task_id = Some(task_id.clone()));
        let answer = answer::accepted(&task_id, &self.request_id);
        if answer_lost {
            return Err(Silence);
        }
        match fault.map_or(Action::Wait, |fault| fault.action) {
            Action::Close(Moment::Accepted) => Err(Silence),
            Action::Hang(Moment::Accepted) => self.hang().await,
            Action::Cut(bytes) => Ok(self.send_part(answer, bytes, Ending::Break)),
            Action::Accept { status, words } => {
                let words = words.replace(TASK, &task_id);
                Ok(self.send(Answer::text(answer::status_of(status), "application/json", words)))
            }
            Action::Raw(words) => Ok(self.say_instead(&words.replace(TASK, &task_id))),
            // These have happened by now, or are not for submissions.
            Action::Wait | Action::Code { .. } | Action::Status { .. } | Action::Close(_) | Action::Hang(_) => {
                Ok(self.send(answer))
            }
            Action::Blanks(_) | Action::Drip(_) | Action::Gzip | Action::Poll(_) | Action::Download(_) => {
                Ok(self.send(answer))
            }
        }
    }

    /// Reads a body, up to the byte where it shall be left.
    pub(super) async fn read(&self, body: Body, leave_at: Option<u64>) -> Result<Read, Silence> {
        let settings = &self.shared.settings;
        let mut reading = Reading::default();
        let mut kept = BytesMut::new();
        let mut bytes = 0;
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            // The client went away in the middle: there is nobody to answer.
            let piece = piece.map_err(|_| Silence)?;
            bytes += piece.len() as u64;
            self.note_quietly(|request| request.body_bytes = bytes);
            if bytes > settings.body_max_bytes {
                return Ok(Read::TooMuch);
            }
            if leave_at.is_some_and(|leave_at| bytes >= leave_at) {
                return Ok(Read::Half);
            }
            reading.push(&piece);
            if let Some(prompt) = reading.take_prompt() {
                self.note_quietly(|request| request.prompt = Some(prompt));
            }
            if settings.keep_bodies {
                kept.extend_from_slice(&piece);
            }
        }
        let last_byte_at = Instant::now();
        self.note(|request| {
            request.last_byte_at = Some(last_byte_at);
            request.body = settings.keep_bodies.then(|| kept.freeze());
        });
        match leave_at {
            Some(_) => Ok(Read::Half),
            None => Ok(Read::All(reading)),
        }
    }

    /// Notes what is not worth waking anybody for.
    fn note_quietly(&self, change: impl FnOnce(&mut world::Request)) {
        if let Some(request) = self.shared.lock().request_mut(self.number) {
            change(request);
        }
    }
}
