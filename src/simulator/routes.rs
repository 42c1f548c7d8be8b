//! Who is answered what: the routes of the API's page, the files, the free billing routes, and the simulator's own.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{self, Answer, CONCURRENCY_LIMIT, INPUT_INVALID, RATE_LIMIT};
use super::connection::Line;
use super::faults::{Action, Fault, Moment, On, Page, Shape};
use super::film::{Asked, Film, gzip};
use super::link;
use super::sending::{Ending, Sending};
use super::submission::{Complaint, Reading};
use super::world::{self, Status, Task, Verdict};

/// What the simulator calls itself in every answer.
const SERVER: HeaderValue = HeaderValue::from_static("jimengd-simulator");

const SUBMIT: &str = "/task/jimeng/image2video";
const TASK: &str = "/task/";

/// No answer: the connection is closed without a word.
struct Silence;

type Reply = Result<Response, Silence>;

/// Answers one request, whatever it is.
pub(super) async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let stop = shared.stop.clone();
    let (head, body) = request.into_parts();
    let visit = Visit::new(&shared, &line, &head);
    let reply = tokio::select! {
        () = stop.cancelled() => Err(Silence),
        reply = visit.answer(&head, body) => reply,
    };
    match reply {
        Ok(mut response) => {
            response.headers_mut().insert(header::SERVER, SERVER);
            visit.note(|request| request.status = Some(response.status().as_u16()));
            response
        }
        Err(Silence) => {
            line.cut();
            // Never seen: the connection does not take it any more.
            Response::new(Body::empty())
        }
    }
}

/// One request being answered.
struct Visit<'a> {
    shared: &'a Shared,
    line: &'a Line,
    number: u64,
    request_id: String,
}

impl<'a> Visit<'a> {
    fn new(shared: &'a Shared, line: &'a Line, head: &request::Parts) -> Self {
        let head_at = Instant::now();
        let mut headers = head.headers.clone();
        if let header::Entry::Occupied(mut token) = headers.entry(header::AUTHORIZATION) {
            token.iter_mut().for_each(|value| value.set_sensitive(true));
        }
        let content_length = header_text(&headers, header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let is_bare = head.method == Method::GET;
        let number = shared.change(|world| {
            world.note_request(world::Request {
                number: 0,
                connection: line.number,
                method: head.method.clone(),
                path: head.uri.path().to_owned(),
                content_length,
                headers,
                first_byte_at: line.first_byte_at().unwrap_or(head_at),
                head_at,
                last_byte_at: is_bare.then_some(head_at),
                body_bytes: 0,
                body: None,
                status: None,
                task_id: None,
            })
        });
        let request_id = format!("{}{number:020X}", jiff::Timestamp::now().strftime("%Y%m%d%H%M%S"));
        Self { shared, line, number, request_id }
    }

    fn note(&self, change: impl FnOnce(&mut world::Request)) {
        self.shared.change(|world| match world.request_mut(self.number) {
            Some(request) => change(request),
            None => {}
        });
    }

    fn violation(&self, what: &str) {
        self.shared.change(|world| world.note_violation(format!("request {}: {what}", self.number)));
    }

    async fn answer(&self, head: &request::Parts, body: Body) -> Reply {
        let path = head.uri.path();
        match &head.method {
            &Method::GET if path == "/simulator" => Ok(self.send(self.listing())),
            &Method::GET if path.starts_with(link::ROOT) => {
                self.download(path, head.uri.query().unwrap_or_default(), &head.headers).await
            }
            &Method::POST if path == SUBMIT => self.submit(&head.headers, body).await,
            method => {
                let answer = match (method, path) {
                    (&Method::GET, "/v1/dashboard/billing/subscription") => json!({
                        "object": "billing_subscription", "has_payment_method": true, "soft_limit_usd": 100_000_000,
                        "hard_limit_usd": 100_000_000, "system_hard_limit_usd": 100_000_000, "access_until": 0,
                    }),
                    (&Method::GET, "/v1/dashboard/billing/usage") => {
                        json!({"object": "list", "total_usage": self.shared.lock().paid() * 100})
                    }
                    (&Method::GET, "/api/user/self") => self.account(),
                    (&Method::GET, path) => match path.strip_prefix(TASK) {
                        Some(task_id) if !task_id.is_empty() && !task_id.contains('/') => {
                            return self.poll(task_id, &head.headers).await;
                        }
                        Some(_) | None => return Ok(self.send(answer::invalid_url("GET", path))),
                    },
                    (method, path) => return Ok(self.send(answer::invalid_url(method.as_str(), path))),
                };
                Ok(self.send(match self.is_let_in(&head.headers) {
                    true => Answer::json(StatusCode::OK, &answer),
                    false => self.not_let_in(),
                }))
            }
        }
    }

    fn listing(&self) -> Answer {
        let world = self.shared.lock();
        let tasks: Vec<Value> = world
            .tasks()
            .iter()
            .map(|task| {
                let status = task.status().label();
                json!({"task_id": task.task_id, "prompt": task.prompt, "seed": task.seed, "status": status})
            })
            .collect();
        Answer::json(StatusCode::OK, &json!({"schema": 1, "paid": world.paid(), "tasks": tasks}))
    }

    fn account(&self) -> Value {
        let world = self.shared.lock();
        json!({"success": true, "message": "", "data": {
            "id": 1, "username": "simulated", "quota": 500_000_000, "used_quota": world.paid() * 500_000,
            "request_count": world.requests_seen(),
        }})
    }

    fn is_let_in(&self, headers: &HeaderMap) -> bool {
        let given = header_text(headers, header::AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
        match (given, &self.shared.settings.token) {
            (Some(given), Some(wanted)) => given == wanted,
            (Some(given), None) => !given.trim().is_empty(),
            (None, _) => false,
        }
    }

    fn not_let_in(&self) -> Answer {
        answer::envelope(StatusCode::UNAUTHORIZED, "invalid token", "", &self.request_id)
    }

    async fn submit(&self, headers: &HeaderMap, body: Body) -> Reply {
        if !self.is_let_in(headers) {
            self.read(body, None).await?;
            return Ok(self.send(self.not_let_in()));
        }
        let mut fault = self.shared.change(|world| world.fates.of_head());
        let mut half = None;
        if let Some(fault) = &fault {
            tokio::time::sleep(fault.delay).await;
            match fault.action {
                Action::Close(Moment::Head) => return Err(Silence),
                Action::Hang(Moment::Head) => return self.hang().await,
                Action::Close(Moment::Half) | Action::Hang(Moment::Half) => {
                    let length = header_text(headers, header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
                    half = Some(length.unwrap_or(0) / 2);
                }
                _ if fault.early => {
                    if let Some(answer) = self.refusal(fault) {
                        return Ok(self.send(answer));
                    }
                }
                _ => {}
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
                if let Some(answer) = self.refusal(fault) {
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
        match fault.map(|fault| fault.action) {
            _ if answer_lost => Err(Silence),
            Some(Action::Close(Moment::Accepted)) => Err(Silence),
            Some(Action::Hang(Moment::Accepted)) => self.hang().await,
            Some(Action::Cut(bytes)) => Ok(self.send_part(answer, bytes, Ending::Break)),
            _ => Ok(self.send(answer)),
        }
    }

    /// Reads a body, up to the byte where it shall be left.
    async fn read(&self, body: Body, leave_at: Option<u64>) -> Result<Read, Silence> {
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

    async fn poll(&self, task_id: &str, headers: &HeaderMap) -> Reply {
        self.note(|request| request.task_id = Some(task_id.to_owned()));
        if !self.is_let_in(headers) {
            return Ok(self.send(self.not_let_in()));
        }
        if let Err(code) = self.shared.change(world::World::admit) {
            return Ok(self.send(self.limited(code)));
        }
        let (task, fault) = self.shared.change(|world| {
            let task = world.note_poll(task_id);
            let prompt = task.as_ref().map_or("", |task| task.prompt.as_str());
            let done = task.as_ref().is_some_and(|task| task.status() == Status::Done);
            let fault = world.fates.of_task(On::Poll, prompt, done);
            (task, fault)
        });
        let action = match fault {
            None => Action::Wait,
            Some(fault) => {
                tokio::time::sleep(fault.delay).await;
                if let Some(answer) = self.refusal(&fault) {
                    return Ok(self.send(answer));
                }
                fault.action
            }
        };
        match action {
            Action::Close(_) => Err(Silence),
            Action::Hang(Moment::Head | Moment::Body) => self.hang().await,
            Action::Hang(Moment::Half | Moment::Accepted) => {
                let answer = self.progress(task.as_ref(), headers, &Action::Wait);
                let half = answer.body.len() as u64 / 2;
                Ok(self.send_part(answer, half, Ending::Stall))
            }
            Action::Cut(bytes) => {
                let answer = self.progress(task.as_ref(), headers, &Action::Wait);
                Ok(self.send_part(answer, bytes, Ending::Break))
            }
            action => Ok(self.send(self.progress(task.as_ref(), headers, &action))),
        }
    }

    fn progress(&self, task: Option<&Task>, headers: &HeaderMap, action: &Action) -> Answer {
        let request_id = &self.request_id;
        let say = |word: &str| answer::progress(word, "", "", request_id);
        let task = match (task, action) {
            (_, Action::Word(word)) => return say(word),
            (None, _) => return say(Status::NotFound.label()),
            (Some(task), _) => task,
        };
        match task.status() {
            Status::Failed(code) => answer::business(code, request_id),
            Status::Done => {
                let link = match action {
                    Action::Link(link) => link.clone(),
                    _ => self.link_to(task, headers),
                };
                let (video_url, inner) = match action {
                    Action::NoLink => ("", None),
                    Action::LinkInRespData => ("", Some(link.as_str())),
                    _ => (link.as_str(), None),
                };
                answer::progress(Status::Done.label(), video_url, &resp_data(task, inner), request_id)
            }
            status @ (Status::InQueue | Status::Generating | Status::NotFound) => say(status.label()),
        }
    }

    fn link_to(&self, task: &Task, headers: &HeaderMap) -> String {
        let now = unix_seconds();
        let expires = now + self.shared.settings.link_life.as_secs();
        let own = self.shared.address.to_string();
        let host = header_text(headers, header::HOST).unwrap_or(&own);
        format!("http://{host}{}", self.shared.signer.sign(&task.task_id, now, expires, &self.request_id))
    }

    async fn download(&self, path: &str, query: &str, headers: &HeaderMap) -> Reply {
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
        let action = match fault {
            None => Action::Wait,
            Some(fault) => {
                tokio::time::sleep(fault.delay).await;
                if let Some(answer) = self.refusal(&fault) {
                    return Ok(self.send(answer));
                }
                fault.action
            }
        };
        match action {
            Action::Close(_) => Err(Silence),
            Action::Hang(Moment::Head | Moment::Body) => self.hang().await,
            Action::Expired => Ok(self.send(denied())),
            action => Ok(self.film(&task, headers, &action)),
        }
    }

    fn film(&self, task: &Task, headers: &HeaderMap, action: &Action) -> Response {
        let settings = &self.shared.settings;
        let mut film = Film::new(task.format, &task.task_id, &task.prompt, task.seed, settings.video_bytes);
        let mut length = film.length();
        let mut etag = format!("\"{}\"", link::digest(&task.task_id));
        match action {
            Action::Length(fewer @ ..0) => length = length.saturating_sub(fewer.unsigned_abs()),
            Action::NewEtag => etag = format!("\"{}\"", link::digest(&format!("{} {}", task.task_id, self.number))),
            Action::Gzip => {
                film = Film::of_bytes(gzip(&whole(&film)));
                length = film.length();
            }
            _ => {}
        }
        let range = header_text(headers, header::RANGE);
        let still_the_same = header_text(headers, header::IF_RANGE).is_none_or(|given| given == etag);
        let honoured = still_the_same && !matches!(action, Action::IgnoreRange | Action::Gzip);
        let (status, part) = match Asked::parse(range.filter(|_| honoured), length) {
            Asked::Whole => (StatusCode::OK, 0..length),
            Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
            Asked::Unsatisfiable => {
                let answer = answer::page(StatusCode::RANGE_NOT_SATISFIABLE);
                return self.send(answer.with(header::CONTENT_RANGE, &format!("bytes */{length}")));
            }
        };
        let Range { start, end } = part;
        let (upto, ending, claimed) = match action {
            Action::Cut(bytes) => (end.min(start.saturating_add(*bytes)), Ending::Break, end - start),
            Action::Hang(_) => (start + (end - start) / 2, Ending::Stall, end - start),
            Action::Length(more @ 1..) => (end, Ending::Break, end - start + more.unsigned_abs()),
            _ => (end, Ending::Whole, end - start),
        };
        let bytes_per_second = match action {
            Action::Drip(rate) => Some(*rate),
            _ => None,
        };
        let mut answer = Answer::text(status, "video/mp4", Bytes::new())
            .with(header::ACCEPT_RANGES, "bytes")
            .with(header::ETAG, &etag)
            .with(header::CONTENT_LENGTH, &claimed.to_string());
        if status == StatusCode::PARTIAL_CONTENT {
            answer = answer.with(header::CONTENT_RANGE, &format!("bytes {start}-{}/{length}", end - 1));
        }
        if *action == Action::Gzip {
            answer = answer.with(header::CONTENT_ENCODING, "gzip");
        }
        let sending = Sending {
            film,
            at: start,
            end: upto,
            ending,
            bytes_per_second,
            line: self.line.clone(),
            stop: self.shared.stop.clone(),
        };
        respond(answer, sending.into_body())
    }

    /// The answer of a fault that is an answer.
    fn refusal(&self, fault: &Fault) -> Option<Answer> {
        let request_id = &self.request_id;
        let answer = match &fault.action {
            Action::Code { code, status, shape } => {
                let mut answer = match shape {
                    Shape::Number => answer::business(*code, request_id),
                    Shape::Digits => {
                        let (http, message) = answer::words_of(*code);
                        let mut body = answer::coded(*code, message, &Value::Null, request_id);
                        body["code"] = json!(code.to_string());
                        Answer::json(answer::status_of(http), &body)
                    }
                    Shape::Quoted => {
                        let (http, message) = answer::words_of(*code);
                        let quoted = answer::coded(*code, message, &Value::Null, request_id).to_string();
                        let body = json!({"code": "fail_to_fetch_task", "message": quoted, "data": null});
                        Answer::json(answer::status_of(http), &body)
                    }
                };
                if let Some(status) = status {
                    answer.status = answer::status_of(*status);
                }
                answer
            }
            Action::Status { status, body, location } => {
                let status = answer::status_of(*status);
                let answer = match body {
                    Page::Html => answer::page(status),
                    Page::Empty => Answer::text(status, "", Bytes::new()),
                    Page::Envelope(code) => {
                        let words = status.canonical_reason().unwrap_or("Error").to_lowercase();
                        answer::envelope(status, &words, code, request_id)
                    }
                    Page::Text(text) => Answer::text(status, "application/json", text.clone()),
                };
                match location {
                    Some(location) => answer.with(header::LOCATION, location),
                    None => answer,
                }
            }
            _ => return None,
        };
        Some(match &fault.retry_after {
            Some(value) => answer.with(header::RETRY_AFTER, value),
            None => answer,
        })
    }

    /// A business code, with `Retry-After` where the code speaks of a limit.
    fn limited(&self, code: u32) -> Answer {
        let answer = answer::business(code, &self.request_id);
        match self.shared.settings.retry_after {
            Some(seconds) if matches!(code, RATE_LIMIT | CONCURRENCY_LIMIT) => {
                answer.with(header::RETRY_AFTER, &seconds.to_string())
            }
            Some(_) | None => answer,
        }
    }

    async fn hang(&self) -> Reply {
        // Ends with the simulator: `serve` waits for that too, and for the client.
        std::future::pending().await
    }

    fn send(&self, answer: Answer) -> Response {
        let body = Body::from(answer.body.clone());
        respond(answer, body)
    }

    /// The first bytes of an answer that claims to have all of them.
    fn send_part(&self, answer: Answer, bytes: u64, ending: Ending) -> Response {
        let length = answer.body.len() as u64;
        let sending = Sending {
            film: Film::of_bytes(answer.body.clone()),
            at: 0,
            // One byte too few at least, or it would be the whole answer.
            end: bytes.min(length.saturating_sub(1)),
            ending,
            bytes_per_second: None,
            line: self.line.clone(),
            stop: self.shared.stop.clone(),
        };
        respond(answer.with(header::CONTENT_LENGTH, &length.to_string()), sending.into_body())
    }
}

/// How far a body was read.
enum Read {
    All(Reading),
    Half,
    TooMuch,
}

fn respond(answer: Answer, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// What the CDN says to a link that is no good, or no longer.
fn denied() -> Answer {
    let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>AccessDenied</Code><Message>link expired</Message></Error>";
    Answer::text(StatusCode::FORBIDDEN, "application/xml", xml)
}

fn resp_data(task: &Task, link: Option<&str>) -> String {
    let mut data = json!({"infer_ctx": {
        "algorithm_key": "jimengd_simulator_vgfm_i2v",
        "params": {
            "aspect_ratio": task.aspect_ratio, "fps": 24, "frames": 121, "negative_prompt": "",
            "ori_prompt": task.prompt, "seed": task.used_seed(),
            "output_width": task.format.width, "output_height": task.format.height,
        },
    }});
    if let Some(link) = link {
        data["urls"] = json!([link]);
    }
    data.to_string()
}

fn whole(film: &Film) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < film.length() {
        bytes.extend_from_slice(&film.read(bytes.len() as u64..film.length()));
    }
    bytes
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
