//! What the vendor says, word for word: the codes with their texts and HTTP statuses, and the shapes of the answers.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use serde_json::{Value, json};

/// An answer whose body is short and known.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// A JSON document.
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", body.to_string())
    }

    /// Anything else; no `Content-Type` if that is empty.
    pub(super) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Self { status, headers, body: body.into() }
    }

    /// The same with one more header; a value that no header may have is left out.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// The business code of success.
pub(super) const SUCCESS: u32 = 10000;
/// The input is of no use, or the task is unknown.
pub(super) const INPUT_INVALID: u32 = 50215;
/// Too many requests a second.
pub(super) const RATE_LIMIT: u32 = 50429;
/// Too many tasks at once.
pub(super) const CONCURRENCY_LIMIT: u32 = 50430;

/// The HTTP status and the text that upstream sends with a business code.
pub(super) fn words_of(code: u32) -> (u16, &'static str) {
    match code {
        SUCCESS => (200, "Success"),
        INPUT_INVALID => (400, "Input invalid for this service."),
        50218 => (400, "Resource exists risk"),
        50400 => (401, "Access Denied: Internal Error"),
        50411 => (400, "Pre Img Risk Not Pass"),
        50412 => (400, "Text Risk Not Pass"),
        50413 => (400, "Post Text Risk Not Pass"),
        RATE_LIMIT => (429, "Request Has Reached API Limit, Please Try Later"),
        CONCURRENCY_LIMIT => (429, "Request Has Reached API Concurrent Limit, Please Try Later"),
        50500 => (500, "Internal Error"),
        50501 => (500, "Internal RPC Error"),
        50511 => (400, "Post Img Risk Not Pass"),
        50512 => (400, "Post Text Risk Not Pass"),
        50513 => (400, "Pre Video Risk Not Pass"),
        50514 => (400, "Pre Audio Risk Not Pass"),
        50516 => (400, "Post Video Risk Not Pass"),
        50517 => (400, "Post Audio Risk Not Pass"),
        50518 => (400, "Pre Img Risk Not Pass: Copyright"),
        50519 => (400, "Post Img Risk Not Pass: Copyright"),
        50520 => (400, "Risk Internal Error"),
        50521 => (400, "Antidirt Internal Error"),
        50522 => (400, "Image Copyright Internal Error"),
        _ => (400, "General Error"),
    }
}

/// An answer with a business code and whatever belongs to it.
pub(super) fn coded(code: u32, message: &str, data: &Value, request_id: &str) -> Value {
    // The duration is Go's way to write one, micro sign included; it means nothing here.
    json!({"code": code, "data": data, "message": message, "request_id": request_id, "status": code, "time_elapsed": "84.4µs"})
}

/// Refused by Jimeng, with upstream's own status and text.
pub(super) fn business(code: u32, request_id: &str) -> Answer {
    let (status, message) = words_of(code);
    Answer::json(status_of(status), &coded(code, message, &Value::Null, request_id))
}

/// Accepted: nothing but the task's identifier.
pub(super) fn accepted(task_id: &str, request_id: &str) -> Answer {
    Answer::json(StatusCode::OK, &coded(SUCCESS, "Success", &json!({"task_id": task_id}), request_id))
}

/// How a task is.
pub(super) fn progress(status: &str, video_url: &str, resp_data: &str, request_id: &str) -> Answer {
    let data = json!({
        "status": status, "video_url": video_url, "resp_data": resp_data, "image_urls": null, "binary_data_base64": [],
    });
    Answer::json(StatusCode::OK, &coded(SUCCESS, "Success", &data, request_id))
}

/// Refused by the gateway: it did not reach Jimeng.
pub(super) fn envelope(status: StatusCode, message: &str, code: &str, request_id: &str) -> Answer {
    let message = format!("{message} (request id: {request_id})");
    let error = json!({"message": message, "type": "new_api_error", "param": "", "code": code});
    Answer::json(status, &json!({"error": error}))
}

/// A path that does not exist.
pub(super) fn invalid_url(method: &str, path: &str) -> Answer {
    let message = format!("Invalid URL ({method} {path})");
    let error = json!({"message": message, "type": "invalid_request_error", "param": "", "code": ""});
    Answer::json(StatusCode::NOT_FOUND, &json!({"error": error}))
}

/// A page for people, as proxies send them.
pub(super) fn page(status: StatusCode) -> Answer {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let html = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>jimengd-simulator</center>\r\n</body>\r\n</html>\r\n"
    );
    Answer::text(status, "text/html", html)
}

/// The status of a number that was checked before.
pub(super) fn status_of(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
