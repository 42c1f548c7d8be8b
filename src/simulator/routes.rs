//! Who is answered what: the routes of the API's page, the files, the free billing routes, and the simulator's own.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{self, Answer, CONCURRENCY_LIMIT, RATE_LIMIT};
use super::connection::Line;
use super::faults::{self, Action, Fault, Manner, Page, Shape};
use super::film::Film;
use super::link;
use super::sending::{Ending, Sending, Watched};
use super::world;

/// What the simulator calls itself in every answer.
const SERVER: HeaderValue = HeaderValue::from_static("jimengd-simulator");

const SUBMIT: &str = "/task/jimeng/image2video";
const TASK: &str = "/task/";

/// Bytes of an answer that is far too long.
const HUGE_BYTES: usize = 32 << 20;

/// No answer: the connection is closed without a word.
pub(super) struct Silence;

pub(super) type Reply = Result<Response, Silence>;

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
            let number = visit.number;
            response.map(|body| Body::new(Watched::new(body, note_once_sent(shared.clone(), line.clone(), number))))
        }
        Err(Silence) => {
            line.cut();
            // Never seen: the connection does not take it any more.
            Response::new(Body::empty())
        }
    }
}

/// To be called when the last piece of an answer was taken: notes when it has left.
fn note_once_sent(shared: Arc<Shared>, line: Line, number: u64) -> impl FnOnce() + Unpin + Send + 'static {
    move || {
        line.once_sent(move || {
            let now = Instant::now();
            shared.change(|world| {
                if let Some(request) = world.request_mut(number) {
                    request.answered_at = Some(now);
                }
            });
        });
    }
}

/// One request being answered.
pub(super) struct Visit<'a> {
    pub(super) shared: &'a Shared,
    pub(super) line: &'a Line,
    pub(super) number: u64,
    pub(super) request_id: String,
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
                prompt: None,
                status: None,
                answered_at: None,
                task_id: None,
            })
        });
        let request_id = format!("{}{number:020X}", jiff::Timestamp::now().strftime("%Y%m%d%H%M%S"));
        Self { shared, line, number, request_id }
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut world::Request)) {
        self.shared.change(|world| {
            if let Some(request) = world.request_mut(self.number) {
                change(request);
            }
        });
    }

    pub(super) fn violation(&self, what: &str) {
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
                    (method, path) => {
                        // As the gateway's own server does: an answer before the end of the body may be lost with the connection.
                        self.read(body, None).await?;
                        return Ok(self.send(answer::invalid_url(method.as_str(), path)));
                    }
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

    pub(super) fn is_let_in(&self, headers: &HeaderMap) -> bool {
        let given = header_text(headers, header::AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
        match (given, &self.shared.settings.token) {
            (Some(given), Some(wanted)) => given == wanted,
            (Some(given), None) => !given.trim().is_empty(),
            (None, _) => false,
        }
    }

    pub(super) fn not_let_in(&self) -> Answer {
        answer::envelope(StatusCode::UNAUTHORIZED, "invalid token", "", &self.request_id)
    }

    /// The answer of a fault that is an answer; `link` is what it may name.
    pub(super) fn refusal(&self, fault: &Fault, link: &str) -> Option<Answer> {
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
                    Page::Huge => Answer::text(status, "application/json", vec![b' '; HUGE_BYTES]),
                    Page::Text(text) => Answer::text(status, "application/json", text.replace(faults::LINK, link)),
                };
                match location {
                    Some(location) => answer.with(header::LOCATION, &location.replace(faults::LINK, link)),
                    None => answer,
                }
            }
            Action::Wait
            | Action::Close(_)
            | Action::Hang(_)
            | Action::Cut(_)
            | Action::Accept { .. }
            | Action::Raw(_)
            | Action::Blanks(_)
            | Action::Drip(_)
            | Action::Gzip
            | Action::Poll(_)
            | Action::Download(_) => {
                return None;
            }
        };
        Some(match &fault.retry_after {
            Some(value) => answer.with(header::RETRY_AFTER, value),
            None => answer,
        })
    }

    /// A business code, with `Retry-After` where the code speaks of a limit.
    pub(super) fn limited(&self, code: u32) -> Answer {
        let answer = answer::business(code, &self.request_id);
        match self.shared.settings.retry_after {
            Some(seconds) if matches!(code, RATE_LIMIT | CONCURRENCY_LIMIT) => {
                answer.with(header::RETRY_AFTER, &seconds.to_string())
            }
            Some(_) | None => answer,
        }
    }

    /// These bytes in place of an answer, whatever they are.
    pub(super) fn say_instead(&self, words: &str) -> Response {
        self.line.say_instead(Bytes::copy_from_slice(words.as_bytes()));
        // Its bytes are replaced on their way.
        Response::new(Body::empty())
    }

    pub(super) async fn hang(&self) -> Reply {
        // Ends with the simulator: `serve` waits for that too, and for the client.
        std::future::pending().await
    }

    pub(super) fn send(&self, answer: Answer) -> Response {
        let body = Body::from(answer.body.clone());
        respond(answer, body)
    }

    /// The first bytes of an answer that claims to have all of them.
    pub(super) fn send_part(&self, answer: Answer, bytes: u64, ending: Ending) -> Response {
        let length = answer.body.len() as u64;
        // One byte too few at least, or it would be the whole answer.
        let end = bytes.min(length.saturating_sub(1));
        let sending = Sending { end, ending, ..self.sending(&answer) };
        respond(answer.with(header::CONTENT_LENGTH, &length.to_string()), sending.into_body())
    }

    /// The whole answer, slowly.
    pub(super) fn send_slowly(&self, answer: Answer, bytes_per_second: u64) -> Response {
        let length = answer.body.len().to_string();
        let sending = Sending { bytes_per_second: Some(bytes_per_second), ..self.sending(&answer) };
        respond(answer.with(header::CONTENT_LENGTH, &length), sending.into_body())
    }

    /// The whole answer, and white space after it.
    pub(super) fn send_with_blanks(&self, answer: Answer, blanks: u64) -> Response {
        let sending = Sending { ending: Ending::Blanks(blanks), ..self.sending(&answer) };
        respond(answer, sending.into_body())
    }

    fn sending(&self, answer: &Answer) -> Sending {
        Sending {
            film: Film::of_bytes(answer.body.clone()),
            at: 0,
            end: answer.body.len() as u64,
            ending: Ending::Whole,
            bytes_per_second: None,
            line: self.line.clone(),
            stop: self.shared.stop.clone(),
        }
    }
}

impl Manner {
    /// Sends an answer in this way.
    pub(super) fn dress(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        // The script has looked at all of them.
        for (name, value) in
            self.headers.iter().filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, value)))
        {
            match value.as_ref().and_then(|value| HeaderValue::try_from(value).ok()) {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
        if self.header_bytes > 0
            && let Ok(long) = HeaderValue::try_from("x".repeat(self.header_bytes))
        {
            headers.insert(HeaderName::from_static("x-long"), long);
        }
        if self.chunked {
            headers.remove(header::CONTENT_LENGTH);
            // A stream has no length, so the server has to send it in chunks.
            return response.map(|body| Body::from_stream(body.into_data_stream()));
        }
        response
    }
}

pub(super) fn respond(answer: Answer, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

pub(super) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
