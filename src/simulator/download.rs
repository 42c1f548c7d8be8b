//! The videos: signed links, ranges, and all the ways in which a transfer goes wrong.

use std::ops::Range;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use super::answer::{self, Answer};
use super::faults::{Action, DownloadFault, Manner, Moment, On, Reel};
use super::film::{self, Asked, Film, gzip};
use super::link;
use super::routes::{Reply, Silence, Visit, header_text, respond, unix_seconds};
use super::sending::{Ending, Sending};
use super::world::Task;

impl Visit<'_> {
    pub(super) async fn download(&self, path: &str, query: &str, headers: &HeaderMap) -> Reply {
        if headers.contains_key(header::AUTHORIZATION) {
            self.violation("the token was sent to the host of the videos");
            return Ok(self.send(answer::page(StatusCode::BAD_REQUEST)));
        }
        let signed = self.shared.signer.check(path, query, unix_seconds());
        let Ok(task_id) = signed else { return Ok(self.send(denied())) };
        self.note(|request| request.task_id = Some(task_id.to_owned()));
        let struck = self.shared.change(|world| {
            let task = world.note_download(task_id)?;
            let fault = world.fates.of_task(On::Download, &task.prompt, true);
            Some((task, fault))
        });
        let Some((task, fault)) = struck else { return Ok(self.send(denied())) };
        let (action, manner) = match fault {
            None => (Action::Wait, Manner::default()),
            Some(fault) => {
                tokio::time::sleep(fault.delay).await;
                if let Some(answer) = self.refusal(&fault, &self.link_to(&task, headers)) {
                    return Ok(fault.manner.dress(self.send(answer)));
                }
                (fault.action, fault.manner)
            }
        };
        let bytes = match action {
            Action::Download(DownloadFault::Bytes(bytes)) => Some(bytes),
            _ => self.shared.settings.video_bytes,
        };
        let mut delivery = Delivery::of(&task, bytes);
        match action {
            Action::Close(_) => return Err(Silence),
            Action::Hang(Moment::Head | Moment::Body) => return self.hang().await,
            Action::Hang(Moment::Half | Moment::Accepted) => delivery.leave = Leave::SilentAtHalf,
            Action::Cut(bytes) => delivery.leave = Leave::BrokenOffAfter(bytes),
            Action::Raw(words) => return Ok(self.say_instead(&words)),
            Action::Download(DownloadFault::Expired) => return Ok(self.send(denied())),
            Action::Download(DownloadFault::Length(bytes)) => match u64::try_from(bytes) {
                Ok(more) => delivery.leave = Leave::ShortBy(more),
                Err(_) => delivery.length = delivery.length.saturating_sub(bytes.unsigned_abs()),
            },
            Action::Download(DownloadFault::IgnoreRange) => delivery.ranges = false,
            Action::Drip(rate) => delivery.bytes_per_second = Some(rate),
            Action::Blanks(bytes) => delivery.leave = Leave::Blanks(bytes),
            Action::Gzip => delivery.gzip(),
            Action::Download(DownloadFault::Film(reel)) => delivery.put_in(reel),
            Action::Download(DownloadFault::NewEtag) => delivery.etag = etag(&format!("{task_id} {}", self.number)),
            // An answer was given before; a poll's faults are not for downloads.
            Action::Wait
            | Action::Code { .. }
            | Action::Status { .. }
            | Action::Accept { .. }
            | Action::Poll(_)
            | Action::Download(DownloadFault::Bytes(_)) => {}
        }
        Ok(manner.dress(self.deliver(delivery, headers)))
    }

    fn deliver(&self, delivery: Delivery, headers: &HeaderMap) -> Response {
        let length = delivery.length;
        let is_same = header_text(headers, header::IF_RANGE).is_none_or(|given| given == delivery.etag);
        let range = header_text(headers, header::RANGE).filter(|_| is_same && delivery.ranges);
        let (status, part) = match Asked::parse(range, length) {
            Asked::Whole => (StatusCode::OK, 0..length),
            Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
            Asked::Unsatisfiable => {
                let answer = answer::page(StatusCode::RANGE_NOT_SATISFIABLE);
                return self.send(answer.with(header::CONTENT_RANGE, &format!("bytes */{length}")));
            }
        };
        let Range { start, end } = part;
        let (upto, ending, claimed) = match delivery.leave {
            Leave::AtTheEnd => (end, Ending::Whole, end - start),
            Leave::BrokenOffAfter(bytes) => (end.min(start.saturating_add(bytes)), Ending::Break, end - start),
            Leave::SilentAtHalf => (start + (end - start) / 2, Ending::Stall, end - start),
            Leave::ShortBy(bytes) => (end, Ending::Break, (end - start).saturating_add(bytes)),
            Leave::Blanks(bytes) => (end, Ending::Blanks(bytes), (end - start).saturating_add(bytes)),
        };
        let mut answer = Answer::text(status, "video/mp4", Bytes::new())
            .with(header::ACCEPT_RANGES, "bytes")
            .with(header::ETAG, &delivery.etag)
            .with(header::CONTENT_LENGTH, &claimed.to_string());
        if status == StatusCode::PARTIAL_CONTENT {
            answer = answer.with(header::CONTENT_RANGE, &format!("bytes {start}-{}/{length}", end - 1));
        }
        if delivery.is_gzip {
            answer = answer.with(header::CONTENT_ENCODING, "gzip");
        }
        let sending = Sending {
            film: delivery.film,
            at: start,
            end: upto,
            ending,
            bytes_per_second: delivery.bytes_per_second,
            line: self.line.clone(),
            stop: self.shared.stop.clone(),
        };
        respond(answer, sending.into_body())
    }
}

/// A video about to be sent, rightly unless changed.
struct Delivery {
    film: Film,
    /// Bytes of the film that exist for the client.
    length: u64,
    etag: String,
    ranges: bool,
    is_gzip: bool,
    bytes_per_second: Option<u64>,
    leave: Leave,
}

/// Where the sending ends.
enum Leave {
    AtTheEnd,
    BrokenOffAfter(u64),
    SilentAtHalf,
    /// All is sent, and more was announced.
    ShortBy(u64),
    /// All is sent, and so much white space after it.
    Blanks(u64),
}

impl Delivery {
    fn of(task: &Task, bytes: Option<u64>) -> Self {
        let film = Film::new(task.format, &task.task_id, &task.prompt, task.seed, bytes);
        Self {
            length: film.length(),
            film,
            etag: etag(&task.task_id),
            ranges: true,
            is_gzip: false,
            bytes_per_second: None,
            leave: Leave::AtTheEnd,
        }
    }

    fn gzip(&mut self) {
        self.film = Film::of_bytes(gzip(&self.film.whole()));
        self.length = self.film.length();
        self.ranges = false;
        self.is_gzip = true;
    }

    fn put_in(&mut self, reel: Reel) {
        self.film = Film::of_bytes(film::recut(&self.film.whole(), reel));
        self.length = self.film.length();
    }
}

fn etag(text: &str) -> String {
    format!("\"{}\"", link::digest(text))
}

/// What the CDN says to a link that is no good, or no longer.
fn denied() -> Answer {
    let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>AccessDenied</Code><Message>link expired</Message></Error>";
    Answer::text(StatusCode::FORBIDDEN, "application/xml", xml)
}
