//! What an answer says, whichever dialect it is in: the vendor's own form, the gateway's envelope or its flat form, or the cloud's.
//!
//! Nothing is decided here. A business code is a five-digit number, however it is written; a word as a code may quote one in its
//! message; every other number in `code` is some other server's. All texts that come out have gone through [`Mask::clean`].

use std::time::Duration;

use serde_json::Value;

use super::wire::{Answer, Body};
use super::words::Mask;
use super::{Refusal, VendorError};
use crate::job::TaskId;
use crate::job::business_code::{self, BusinessCode};

/// The numbers that are business codes, by the vendor's tables; `0`, `200` or `401` in `code` is some other server's dialect.
const BUSINESS_CODES: std::ops::RangeInclusive<u32> = 10_000..=99_999;

/// The numbers that are believed when a text quotes them.
const QUOTED_CODES: std::ops::RangeInclusive<u32> = 50_200..=50_599;

/// Bytes of a text in which a quoted code is looked for.
const QUOTED_BYTES_MAX: usize = 8 * 1024;

/// Bytes beside a number that are looked at for the word `code` and the vendor's own words; more than the longest of these.
const NEAR_BYTES_MAX: usize = 100;

/// Digits of every business code.
const CODE_DIGITS: usize = 5;

/// Bytes that a `request_id` may have at most; a longer one is left out.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The gateway's words for a wrong path.
const INVALID_URL: &str = "invalid url";

/// How a message says that there is no such task. A mere `task` will not do: it is also in the path.
const UNKNOWN_TASK_WORDS: [&str; 9] = [
    "task not found",
    "task_not_found",
    "task not exist",
    "task_not_exist",
    "task does not exist",
    "task doesn't exist",
    "no such task",
    "unknown task",
    "任务不存在",
];

/// What a `code` is.
pub(super) enum Code {
    /// 10000.
    Success,
    /// Another number of the vendor's.
    Business(BusinessCode),
    /// A word, and the business code that its message quotes.
    Word { word: String, quoted: Option<BusinessCode> },
    /// A number that is none of the vendor's.
    Foreign,
}

/// What the body is, as far as it bears on the meaning of a status.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A refusal in JSON: the gateway or the vendor speaks, not some server before them.
    Envelope,
    /// Anything else that came whole.
    Other,
    /// Not all of it came.
    Cut,
}

/// What an answer says, whichever dialect it is in.
pub(super) struct Said {
    status: u16,
    retry_after: Option<Duration>,
    pub(super) kind: Kind,
    /// A JSON object, whatever it says.
    pub(super) is_object: bool,
    pub(super) code: Option<Code>,
    pub(super) task_id: Option<TaskId>,
    pub(super) data: Value,
    /// Cleaned; empty if nothing was said.
    pub(super) message: String,
    pub(super) request_id: Option<String>,
    pub(super) names_a_wrong_path: bool,
    pub(super) denies_the_task: bool,
}

impl Said {
    pub(super) fn read(answer: &Answer<'_>, mask: &Mask) -> Self {
        let mut said = Self {
            status: answer.status,
            retry_after: answer.retry_after,
            kind: Kind::Other,
            is_object: false,
            code: None,
            task_id: None,
            data: Value::Null,
            message: String::new(),
            request_id: answer.request_id.and_then(|id| request_id(id, mask)),
            names_a_wrong_path: false,
            denies_the_task: false,
        };
        let bytes = match answer.body {
            Body::Whole(bytes) => bytes,
            Body::Cut(why) => {
                said.kind = Kind::Cut;
                said.message = mask.clean(why);
                return said;
            }
            Body::Unreadable(why) => {
                said.message = mask.clean(why);
                return said;
            }
        };
        // A byte order mark is no part of JSON, and some proxies add one.
        match serde_json::from_slice::<Value>(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)) {
            Ok(Value::Object(body)) => said.read_object(Value::Object(body), mask),
            Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) | Err(_) => {
                said.message = mask.clean(&foreign(&String::from_utf8_lossy(bytes)));
            }
        }
        said
    }

    fn read_object(&mut self, mut body: Value, mask: &Mask) {
        self.is_object = true;
        let cloud = &body["ResponseMetadata"]["Error"];
        let envelope = &body["error"];
        let own = [&body["message"], &body["msg"], &body["Message"]].into_iter().find_map(Value::as_str).unwrap_or("");
        let (refuses, inner, message) = match (cloud, envelope) {
            (Value::Object(error), _) if !error.is_empty() => {
                (true, &cloud["Code"], error.get("Message").and_then(Value::as_str).unwrap_or(own))
            }
            (_, Value::Object(error)) if !error.is_empty() => {
                (true, &envelope["code"], error.get("message").and_then(Value::as_str).unwrap_or(own))
            }
            (_, Value::String(text)) if !text.is_empty() => (true, &Value::Null, text.as_str()),
            (_, _) => (false, &Value::Null, own),
        };
        let code = read_code(inner, message);
        let code = match code {
            Some(Code::Business(_) | Code::Success) => code,
            // An envelope's own word is worth less than a business code beside it.
            Some(Code::Word { .. } | Code::Foreign) | None => match (read_code(&body["code"], message), code) {
                (Some(Code::Business(code)), _) => Some(Code::Business(code)),
                (Some(Code::Success), _) => Some(Code::Success),
                (outer, inner) => inner.or(outer),
            },
        };
        let flat = match &code {
            Some(Code::Word { .. } | Code::Foreign) => !own.is_empty(),
            Some(Code::Success | Code::Business(_)) | None => false,
        };
        self.kind = if refuses || flat { Kind::Envelope } else { Kind::Other };
        self.task_id = task_id(&body["data"]["task_id"]);
        // A task id under a top-level success is an acceptance, whatever else is beside it: losing it would lose money.
        let accepted = self.task_id.is_some() && matches!(read_code(&body["code"], ""), Some(Code::Success));
        self.code = if accepted { Some(Code::Success) } else { code };
        let lower = message.to_lowercase();
        self.names_a_wrong_path = lower.contains(INVALID_URL);
        self.denies_the_task = UNKNOWN_TASK_WORDS.iter().any(|words| lower.contains(words));
        // What the gateway quotes is the vendor's own answer: its words are worth more than their wrapping.
        let quoted = quoted_answer(message).unwrap_or_default();
        let inner = quoted["message"].as_str().or(quoted["error"]["message"].as_str()).filter(|said| !said.is_empty());
        self.message = match (&self.code, message.is_empty()) {
            (Some(Code::Word { word, .. }), true) => mask.clean(word),
            // The gateway's messages may be in any language, and its word for an empty purse is the same in all.
            (Some(Code::Word { word, quoted: None }), false) if !lower.contains(word.as_str()) => {
                mask.clean(&format!("{word}: {message}"))
            }
            (Some(Code::Foreign) | None, true) => mask.clean(&format!("an answer of another kind: {body}")),
            (Some(Code::Word { .. } | Code::Success | Code::Business(_) | Code::Foreign) | None, _) => {
                mask.clean(inner.unwrap_or(message))
            }
        };
        let ids = [&body["request_id"], &body["ResponseMetadata"]["RequestId"], &quoted["request_id"]];
        if let Some(id) = ids.into_iter().filter_map(Value::as_str).find_map(|id| request_id(id, mask)) {
            self.request_id = Some(id);
        }
        self.data = body["data"].take();
    }

    pub(super) fn vendor_error(&self, code: BusinessCode) -> VendorError {
        VendorError {
            code,
            message: self.message.clone(),
            request_id: self.request_id.clone(),
            http_status: self.status,
            retry_after: self.retry_after,
        }
    }

    /// `otherwise` is the message where nothing was said.
    pub(super) fn refusal(&self, otherwise: &str) -> Refusal {
        let message = match self.message.is_empty() {
            true => otherwise.to_owned(),
            false => self.message.clone(),
        };
        Refusal {
            http_status: Some(self.status),
            message,
            request_id: self.request_id.clone(),
            retry_after: self.retry_after,
        }
    }
}

/// What a whole answer that is no JSON object is.
fn foreign(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "an empty answer".to_owned();
    }
    // Lowercase of the same length, so that places in it are places in the text.
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").map(|at| at + "<title>".len()).and_then(|start| {
        let end = lower[start..].find("</title>")?;
        Some(text[start..start + end].trim()).filter(|title| !title.is_empty())
    });
    match (title, text.starts_with('<')) {
        (Some(title), _) => format!("a web page in place of an answer: {title}"),
        (None, true) => format!("a web page in place of an answer: {text}"),
        (None, false) => format!("not an answer of this API: {text}"),
    }
}

/// The answer that the gateway quotes inside its own message.
fn quoted_answer(message: &str) -> Option<Value> {
    let quoted = &message[message.find('{')?..];
    serde_json::Deserializer::from_str(quoted).into_iter::<Value>().next()?.ok()
}

/// A number, digits in a string, or a word; `None` where there is nothing.
fn read_code(value: &Value, message: &str) -> Option<Code> {
    let number = |n: Option<u32>| match n.map(BusinessCode) {
        Some(BusinessCode::SUCCESS) => Code::Success,
        Some(code) if BUSINESS_CODES.contains(&code.0) => Code::Business(code),
        Some(_) | None => Code::Foreign,
    };
    match value {
        Value::Number(n) => Some(number(n.as_u64().and_then(|n| u32::try_from(n).ok()))),
        Value::String(text) => match text.trim() {
            "" => None,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(number(digits.parse().ok())),
            word => Some(Code::Word { word: word.to_ascii_lowercase(), quoted: quoted_code(message) }),
        },
        Value::Null => None,
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Some(Code::Foreign),
    }
}

/// The business code that a text quotes: a number right behind the word `code`, or right beside the vendor's own words for it. A
/// bare number says nothing: five digits are also a port, a duration, a size.
fn quoted_code(text: &str) -> Option<BusinessCode> {
    let text = beginning(text, QUOTED_BYTES_MAX);
    let mut explained = None;
    let mut end = 0;
    while let Some(start) = text[end..].find(|c: char| c.is_ascii_digit()).map(|at| end + at) {
        end = text[start..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |at| start + at);
        let (before, after) = (&text[..start], &text[end..]);
        let alone = !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
        if !alone || end - start != CODE_DIGITS {
            continue;
        }
        let Ok(number) = text[start..end].parse().map(BusinessCode) else { continue };
        let is_sign = |c: char| !c.is_alphanumeric();
        let near = ending(before, NEAR_BYTES_MAX).trim_end_matches(is_sign).to_lowercase();
        let is_known = number == BusinessCode::SUCCESS || QUOTED_CODES.contains(&number.0);
        if is_known && near.ends_with("code") {
            return Some(number);
        }
        let next = beginning(after, NEAR_BYTES_MAX).trim_start_matches(is_sign).to_lowercase();
        let words = business_code::entry(number).message.map(|words| words.trim_matches(is_sign).to_lowercase());
        if words.is_some_and(|words| next.starts_with(&words) || near.ends_with(&words)) {
            explained = explained.or(Some(number));
        }
    }
    explained
}

/// At most that many bytes of the beginning, to the end of a character.
fn beginning(text: &str, bytes_max: usize) -> &str {
    let cut = (0..=bytes_max.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..cut]
}

/// At most that many bytes of the end, from the beginning of a character.
fn ending(text: &str, bytes_max: usize) -> &str {
    let from = text.len().saturating_sub(bytes_max);
    let cut = (from..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    &text[cut..]
}

/// A task id as text or as an exact integer. A float has lost digits already.
fn task_id(value: &Value) -> Option<TaskId> {
    match value {
        Value::String(text) => TaskId::new(text.trim()),
        Value::Number(number) => number.as_u64().and_then(|number| TaskId::new(&number.to_string())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn request_id(text: &str, mask: &Mask) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX).then(|| mask.clean(text))
}
