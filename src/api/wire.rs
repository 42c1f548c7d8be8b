//! What an answer of the API means: bytes and a status in, one of a few words out.
//!
//! Pure. The vendor speaks in several dialects at once (its own, the gateway's two, the cloud's in front of it), with codes as
//! numbers, digits or words and with any HTTP status, so everything is read tolerantly. The one thing that is never guessed is
//! whether a submission was accepted: what is not a clear yes or a clear no is [`SubmitAnswer::InDoubt`].

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::said::{Code, Kind, Said};
use super::words::Mask;
use super::{PollAnswer, Refusal, SubmitAnswer};
use crate::job::VideoLink;
use crate::job::business_code::BusinessCode;

/// How deep a link is looked for inside `resp_data`.
const LINK_DEPTH_MAX: usize = 8;

/// The gateway's codes for a task it does not know.
const UNKNOWN_TASK: [&str; 3] = ["task_not_exist", "task_not_found", "task_not_exists"];

/// Accepted, not begun.
const WAITING: [&str; 5] = ["in_queue", "queued", "pending", "submitted", "not_start"];

/// Being made.
const WORKING: [&str; 4] = ["generating", "processing", "running", "in_progress"];

/// Finished, with or without success.
const FINISHED: [&str; 4] = ["done", "success", "succeeded", "completed"];

/// Finished without success, in words that the vendor does not document.
const FAILED: [&str; 3] = ["failed", "failure", "error"];

/// The task is not there any more.
const GONE: [&str; 4] = ["not_found", "expired", "cancelled", "canceled"];

/// What HTTP 413 says.
const TOO_LARGE: &str = "the request was too large for the API (HTTP 413)";

/// How much of the request body the connection has taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandOver {
    /// All of it: the API may have read it to the end.
    Whole,
    /// Less than all of it, and the rest never will be: the API cannot have a whole request.
    Short,
}

/// An answer as it came over the wire.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, already a duration.
    pub retry_after: Option<Duration>,
    /// An identifier from the headers, where the body has none.
    pub request_id: Option<&'a str>,
    /// The host that a redirect leads to.
    pub redirect: Option<&'a str>,
    /// What followed the head.
    pub body: Body<'a>,
}

/// What followed the head of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It broke off, or was longer than is believed. The text says which.
    Cut(&'a str),
    /// All of it, in a form that was not asked for, such as gzip. The text says which.
    Unreadable(&'a str),
}

/// What came of a submission, by the answer and by how much of the body was handed over.
pub fn submit_answer(answer: &Answer<'_>, handed: HandOver, mask: &Mask) -> SubmitAnswer {
    let said = Said::read(answer, mask);
    let unknown = |refusal| match handed {
        HandOver::Whole => SubmitAnswer::InDoubt(refusal),
        HandOver::Short => SubmitAnswer::Unsent(refusal),
    };
    match (&said.code, &said.task_id) {
        (Some(Code::Success), Some(task_id)) => {
            return SubmitAnswer::Accepted { task_id: task_id.clone(), request_id: said.request_id.clone() };
        }
        (Some(Code::Success), None) => {
            // Its own words are "Success", which explain nothing.
            let mut refusal = said.refusal("");
            refusal.message = "the API accepted the request, but its answer holds no readable task id".to_owned();
            return unknown(refusal);
        }
        // No refusal comes with a task: this answer contradicts itself.
        (Some(Code::Business(_) | Code::Word { .. }), Some(task_id)) => {
            let message = format!("the API refused the request and yet named the task {task_id}: {}", said.message);
            return unknown(Refusal { message, ..said.refusal("") });
        }
        (Some(Code::Foreign) | None, Some(task_id)) => {
            let message =
                format!("the answer names the task {task_id}, but not with the code of a success: {}", said.message);
            return unknown(Refusal { message, ..said.refusal("") });
        }
        (Some(Code::Business(code)), None) => return SubmitAnswer::Business(said.vendor_error(*code)),
        // Somebody between us and the vendor failed after the vendor had said yes.
        (Some(Code::Word { quoted: Some(BusinessCode::SUCCESS), .. }), None) => {
            return unknown(said.refusal("an error that quotes a success"));
        }
        (Some(Code::Word { quoted: Some(code), .. }), None) => return SubmitAnswer::Business(said.vendor_error(*code)),
        (Some(Code::Word { quoted: None, .. } | Code::Foreign) | None, None) => {}
    }
    let refusal = said.refusal("no usable answer");
    match (answer.status, said.kind) {
        (300..=399, _) => SubmitAnswer::Gateway(redirected(refusal, answer.redirect, mask)),
        (413, kind) => SubmitAnswer::Refused(too_large(refusal, kind)),
        (429, _) => SubmitAnswer::Throttled(refusal),
        (408, _) | (_, Kind::Cut) => unknown(refusal),
        (200..=299, Kind::Envelope) if said.names_a_wrong_path => SubmitAnswer::Gateway(refusal),
        (401..=403, Kind::Envelope) => SubmitAnswer::Account(refusal),
        (400 | 422, Kind::Envelope) => SubmitAnswer::Refused(refusal),
        (503, Kind::Envelope) => SubmitAnswer::Throttled(refusal),
        (400..=499, Kind::Envelope | Kind::Other) => SubmitAnswer::Gateway(refusal),
        (_, Kind::Envelope | Kind::Other) => unknown(refusal),
    }
}

/// A refusal for the size, which says so whatever the body says: it often is empty, or the page of a server before the API.
fn too_large(refusal: Refusal, kind: Kind) -> Refusal {
    let message = match kind {
        Kind::Envelope => format!("{TOO_LARGE}: {}", refusal.message),
        Kind::Other | Kind::Cut => TOO_LARGE.to_owned(),
    };
    Refusal { message, ..refusal }
}

/// A redirect, whose body is of no use: only the address is worth knowing.
fn redirected(refusal: Refusal, host: Option<&str>, mask: &Mask) -> Refusal {
    let to = host.map_or_else(|| "another address".to_owned(), |host| format!("the host {host}"));
    Refusal { message: mask.clean(&format!("it sends us on to {to}, which is not followed")), ..refusal }
}

/// What came of a poll.
///
/// A task that is said to have failed without a business code is [`PollAnswer::Gone`]: nothing more is to be had of it. What cannot
/// be read is [`PollAnswer::Unreachable`]: a task that was paid for is not given up because of a gateway's bad day. JSON without a
/// word on the task, as the gateway's other vendors write it, is [`PollAnswer::Unrelated`].
pub fn poll_answer(answer: &Answer<'_>, mask: &Mask) -> PollAnswer {
    let said = Said::read(answer, mask);
    match &said.code {
        Some(Code::Success) if said.kind != Kind::Envelope => return task_state(said, mask),
        Some(Code::Business(code)) => return PollAnswer::Business(said.vendor_error(*code)),
        Some(Code::Word { word, .. }) if UNKNOWN_TASK.contains(&word.as_str()) => {
            return PollAnswer::Gone(said.refusal("unknown task"));
        }
        Some(Code::Word { quoted: Some(code), .. }) if *code != BusinessCode::SUCCESS => {
            return PollAnswer::Business(said.vendor_error(*code));
        }
        Some(Code::Success | Code::Word { .. } | Code::Foreign) | None => {}
    }
    let refusal = said.refusal("no usable answer");
    match (answer.status, said.kind) {
        (300..=399, _) => PollAnswer::Gateway(redirected(refusal, answer.redirect, mask)),
        (429, _) => PollAnswer::Throttled(refusal),
        (408, _) | (_, Kind::Cut) => PollAnswer::Unreachable(refusal),
        (200..=299 | 400..=499, Kind::Envelope) if said.names_a_wrong_path => PollAnswer::Gateway(refusal),
        (401..=403, Kind::Envelope) => PollAnswer::Account(refusal),
        (404, Kind::Envelope) if said.denies_the_task => PollAnswer::Gone(refusal),
        (503, Kind::Envelope) => PollAnswer::Throttled(refusal),
        // Nobody knows the gateway's words for a task that it does not know; a wrong path, it says.
        (200..=299 | 400..=499, Kind::Envelope) => PollAnswer::Unrelated(refusal),
        (200..=299, Kind::Other) if said.is_object => {
            PollAnswer::Unrelated(said.refusal("the answer says nothing of the task"))
        }
        (400..=499, Kind::Other) => PollAnswer::Gateway(refusal),
        (_, Kind::Envelope | Kind::Other) => PollAnswer::Unreachable(refusal),
    }
}

/// `Retry-After` as a duration from `now`: seconds, or an HTTP date (in the past: zero); `None` if it is neither. Not capped, but
/// for what no duration should hold.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    match !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        true => Some(Duration::from_secs(value.parse::<u32>().unwrap_or(u32::MAX).into())),
        false => httpdate::parse_http_date(value).ok().map(|date| date.duration_since(now).unwrap_or(Duration::ZERO)),
    }
}

/// What a poll's `data` says of the task, after `code` said success.
fn task_state(said: Said, mask: &Mask) -> PollAnswer {
    let word = said.data["status"].as_str().unwrap_or("").trim().to_lowercase();
    let is = |words: &[&str]| words.contains(&word.as_str());
    if is(&WAITING) {
        PollAnswer::InQueue
    } else if is(&WORKING) {
        PollAnswer::Generating
    } else if is(&FINISHED) {
        match video_link(&said.data) {
            Some(link) => PollAnswer::Done { link, request_id: said.request_id },
            None => PollAnswer::NoVideo { request_id: said.request_id },
        }
    } else if is(&FAILED) || is(&GONE) {
        let mut refusal = said.refusal("");
        refusal.message = format!("the API says that the task's status is {word}");
        PollAnswer::Gone(refusal)
    } else {
        PollAnswer::UnknownStatus(mask.clean(&word))
    }
}

/// The link of a finished task: `video_url`, else what `resp_data` holds (older answers have it only there), else anything in `data`.
fn video_link(data: &Value) -> Option<VideoLink> {
    let inner = match &data["resp_data"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    };
    as_link(&data["video_url"])
        .or_else(|| {
            // A video's own key anywhere is better than a general one further up, which may be the picture's.
            [&inner, data].into_iter().find_map(|tree| {
                ["video_url", "urls", "url"].into_iter().find_map(|key| link_under(tree, key, LINK_DEPTH_MAX))
            })
        })
        .map(VideoLink::new)
}

fn link_under(tree: &Value, key: &str, depth: usize) -> Option<String> {
    let deeper = depth.checked_sub(1)?;
    match tree {
        Value::Object(map) => map
            .get(key)
            .and_then(|value| as_link(value).or_else(|| value.get(0).and_then(as_link)))
            .or_else(|| map.values().find_map(|value| link_under(value, key, deeper))),
        Value::Array(items) => items.iter().find_map(|value| link_under(value, key, deeper)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// A text that is a link. Whether it may be followed is decided at the download.
fn as_link(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    let lower = text.get(..8).unwrap_or("").to_ascii_lowercase();
    (lower.starts_with("https://") || lower.starts_with("http://")).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::VendorError;

    fn mask() -> Mask {
        Mask::new("sk-secret0123456789".to_owned().into())
    }

    fn answer(status: u16, body: &str) -> Answer<'_> {
        Answer { status, retry_after: None, request_id: None, redirect: None, body: Body::Whole(body.as_bytes()) }
    }

    fn submitted(status: u16, body: &str, handed: HandOver) -> SubmitAnswer {
        submit_answer(&answer(status, body), handed, &mask())
    }

    /// The answer in a short form that a table can hold.
    fn in_short(answer: &SubmitAnswer) -> String {
        match answer {
            SubmitAnswer::Accepted { task_id, .. } => format!("accepted {task_id}"),
            SubmitAnswer::Business(error) => format!("business {}", error.code),
            SubmitAnswer::Refused(_) => "refused".to_owned(),
            SubmitAnswer::Account(_) => "account".to_owned(),
            SubmitAnswer::Gateway(_) => "gateway".to_owned(),
            SubmitAnswer::Throttled(_) => "throttled".to_owned(),
            SubmitAnswer::Unsent(_) => "unsent".to_owned(),
            SubmitAnswer::InDoubt(_) => "in doubt".to_owned(),
            SubmitAnswer::PictureUnreadable(_) => "picture".to_owned(),
        }
    }

    fn poll_in_short(answer: &PollAnswer) -> String {
        match answer {
            PollAnswer::InQueue => "in queue".to_owned(),
            PollAnswer::Generating => "generating".to_owned(),
            PollAnswer::UnknownStatus(word) => format!("unknown {word}"),
            PollAnswer::Done { link, .. } => format!("done {}", link.expose()),
            PollAnswer::NoVideo { .. } => "no video".to_owned(),
            PollAnswer::Business(error) => format!("business {}", error.code),
            PollAnswer::Gone(_) => "gone".to_owned(),
            PollAnswer::Account(_) => "account".to_owned(),
            PollAnswer::Gateway(_) => "gateway".to_owned(),
            PollAnswer::Throttled(_) => "throttled".to_owned(),
            PollAnswer::Unrelated(_) => "unrelated".to_owned(),
            PollAnswer::Unreachable(_) => "unreachable".to_owned(),
        }
    }

    const ENVELOPE: &str =
        r#"{"error":{"message":"no (request id: 20250101)","type":"new_api_error","param":"","code":""}}"#;
    const HTML: &str = "<html><title>bad</title></html>";

    #[test]
    fn every_row_of_the_table_of_submissions_holds() {
        let wrong_path = r#"{"error":{"message":"Invalid URL (POST /task/x)","type":"one_api_error","code":null}}"#;
        let cases: &[(&[u16], &str, &str)] = &[
            // Accepted, whatever the status.
            (
                &[200, 201, 202, 400, 500],
                r#"{"code":10000,"data":{"task_id":"14117763723766220057"}}"#,
                "accepted 14117763723766220057",
            ),
            (
                &[200],
                r#"{"code":"10000","data":{"task_id":14117763723766220057},"message":"Success","status":10000}"#,
                "accepted 14117763723766220057",
            ),
            (&[200], "\u{feff}{\"code\":10000.0,\"error\":null,\"data\":{\"task_id\":\" 7 \"}}", "in doubt"),
            (&[200], "\u{feff}{\"code\":10000,\"error\":null,\"data\":{\"task_id\":\" 7 \"}}", "accepted 7"),
            (&[200], r#"{"code":10000,"error":{"message":"late"},"data":{"task_id":"7"}}"#, "accepted 7"),
            // Another business code, whatever the status.
            (
                &[200, 400, 401, 404, 413, 429, 500, 503],
                r#"{"code":50412,"data":null,"message":"Text Risk Not Pass"}"#,
                "business 50412",
            ),
            (&[200, 401], r#"{"code":50400,"message":"Access Denied"}"#, "business 50400"),
            (&[429], r#"{"code":"50430","message":"Concurrent"}"#, "business 50430"),
            (&[400], r#"{"error":{"code":50411,"message":"x"}}"#, "business 50411"),
            (&[400], r#"{"error":{"code":"50411","message":"x"}}"#, "business 50411"),
            (
                &[400],
                r#"{"ResponseMetadata":{"RequestId":"r","Error":{"Code":"50215","Message":"x"}}}"#,
                "business 50215",
            ),
            (&[200], r#"{"code":50999,"data":{"resp_data":""}}"#, "business 50999"),
            // Success without a readable id.
            (&[200, 400], r#"{"code":10000,"data":null}"#, "in doubt"),
            (&[200, 400, 503], r#"{"code":10000,"error":{"message":"late","code":"late"}}"#, "in doubt"),
            (&[200], r#"{"code":10000,"data":{"task_id":1.4117763723766220057e19}}"#, "in doubt"),
            (&[200], r#"{"code":10000,"data":{"task_id":99999999999999999999}}"#, "in doubt"),
            (&[200], r#"{"code":10000,"data":{"task_id":"../x"}}"#, "in doubt"),
            (&[200], r#"{"code":10000,"data":{"task_id":["7"]}}"#, "in doubt"),
            // Not JSON, not this API's JSON.
            (&[200, 201, 204, 408, 500, 502, 503, 504, 520, 524, 599, 100], HTML, "in doubt"),
            (&[200, 500, 502, 503, 504], "", "in doubt"),
            (&[200], "[]", "in doubt"),
            (&[200], r#"{"code":0,"data":{"task_id":"7"}}"#, "in doubt"),
            (&[200], r#"{"id":"7","state":"created"}"#, "in doubt"),
            (&[200, 408, 500, 502, 504], ENVELOPE, "in doubt"),
            // Account.
            (&[401, 402, 403], ENVELOPE, "account"),
            (&[403], r#"{"error":{"message":"quota","code":"insufficient_user_quota"}}"#, "account"),
            (
                &[401],
                r#"{"ResponseMetadata":{"Error":{"Code":"InvalidAccessKey","CodeN":100009,"Message":"x"}}}"#,
                "account",
            ),
            (&[401], r#"{"error":"bad token"}"#, "account"),
            // Gateway.
            (&[200, 404], wrong_path, "gateway"),
            (&[301, 302, 304, 307, 308], "", "gateway"),
            (&[307], ENVELOPE, "gateway"),
            (&[401, 402, 403, 400, 422, 404, 405, 409, 415, 451], HTML, "gateway"),
            (&[404, 405, 409, 415], ENVELOPE, "gateway"),
            // A word as a code.
            (
                &[400, 500],
                r#"{"code":"fail_to_fetch_task","message":"{\"code\":50412,\"message\":\"x\"}","data":null}"#,
                "business 50412",
            ),
            (
                &[500],
                r#"{"code":"fail","message":"upstream said 50511: Post Img Risk Not Pass (request id: 2025010112345)"}"#,
                "business 50511",
            ),
            (&[500], r#"{"code":"fail","message":"Text Risk Not Pass (50412)"}"#, "business 50412"),
            (&[500], r#"{"code":"fail","message":"Input invalid for this service. (50215)"}"#, "business 50215"),
            (&[500], r#"{"code":"fail","message":"error code = 50430"}"#, "business 50430"),
            // A number alone may be anything.
            (&[500], r#"{"code":"fail","message":"upstream said 50511 (request id: 2025010112345)"}"#, "in doubt"),
            (
                &[500],
                r#"{"code":"do_request_failed","message":"read tcp 172.17.0.3:50516->14.0.0.1:443: read: connection reset by peer"}"#,
                "in doubt",
            ),
            (&[500], r#"{"code":"fail","message":"timeout: took 50500 ms, an internal error"}"#, "in doubt"),
            // A refusal that names a task contradicts itself.
            (&[200, 400], r#"{"code":50500,"message":"Internal Error","data":{"task_id":"7"}}"#, "in doubt"),
            (&[200], r#"{"code":20000,"message":"success","data":{"task_id":"7"}}"#, "in doubt"),
            (&[500], r#"{"code":"fail","message":"code 50500","data":{"task_id":"7"}}"#, "in doubt"),
            (&[400, 429, 503], r#"{"error":{"message":"no"},"data":{"task_id":"7"}}"#, "in doubt"),
            (&[400, 500], r#"{"code":"fail","message":"got {\"code\":10000,\"data\":{}}"}"#, "in doubt"),
            (&[400], r#"{"code":"invalid_request","message":"took 12345 ms"}"#, "refused"),
            (&[500], r#"{"code":"fail","message":"no channel"}"#, "in doubt"),
            // Refused.
            (&[413], HTML, "refused"),
            (&[413], "", "refused"),
            (&[400, 422, 413], ENVELOPE, "refused"),
            // Throttled.
            (&[429], "", "throttled"),
            (&[429], HTML, "throttled"),
            (&[429, 503], ENVELOPE, "throttled"),
        ];
        for (statuses, body, expected) in cases {
            for status in *statuses {
                let whole = in_short(&submitted(*status, body, HandOver::Whole));
                assert_eq!(&whole, expected, "{status} {body}");
                let short = in_short(&submitted(*status, body, HandOver::Short));
                let expected = if *expected == "in doubt" { "unsent" } else { expected };
                assert_eq!(short, expected, "{status} {body}, not wholly handed over");
            }
        }
    }

    #[test]
    fn a_cut_answer_counts_by_its_status_only_where_the_status_says_it_all() {
        for (status, expected) in [
            (200, "in doubt"),
            (400, "in doubt"),
            (401, "in doubt"),
            (500, "in doubt"),
            (302, "gateway"),
            (413, "refused"),
            (429, "throttled"),
        ] {
            let cut = Answer { body: Body::Cut("broke off"), ..answer(status, "") };
            assert_eq!(in_short(&submit_answer(&cut, HandOver::Whole, &mask())), expected, "{status}");
        }
        let cut = Answer { body: Body::Cut("broke off"), ..answer(200, "") };
        assert_eq!(in_short(&submit_answer(&cut, HandOver::Short, &mask())), "unsent");
        assert_eq!(poll_in_short(&poll_answer(&cut, &mask())), "unreachable");
        let gzip = Answer { body: Body::Unreadable("gzip"), ..answer(200, "") };
        assert_eq!(in_short(&submit_answer(&gzip, HandOver::Whole, &mask())), "in doubt");
        assert_eq!(poll_in_short(&poll_answer(&gzip, &mask())), "unreachable");
    }

    #[test]
    fn every_shape_of_a_poll_is_read() {
        let state =
            |word: &str| format!(r#"{{"code":10000,"data":{{"status":"{word}","video_url":"","resp_data":""}}}}"#);
        for (words, expected) in [
            (&["in_queue", "QUEUED", "pending", "submitted", "not_start"][..], "in queue"),
            (&["generating", "Processing", "running", "in_progress"], "generating"),
            (&["done", "success", "succeeded", "COMPLETED"], "no video"),
            (&["not_found", "expired", "cancelled", "canceled", "failed", "Failure", "error"], "gone"),
            (&["resting"], "unknown resting"),
            (&[""], "unknown "),
        ] {
            for word in words {
                assert_eq!(poll_in_short(&poll_answer(&answer(200, &state(word)), &mask())), expected, "{word}");
            }
        }
        let wrong_path = r#"{"error":{"message":"Invalid URL (GET /task/x)"}}"#;
        let cases: &[(&[u16], &str, &str)] = &[
            (&[200], r#"{"code":10000,"data":null}"#, "unknown "),
            (&[200], r#"{"code":10000,"data":{}}"#, "unknown "),
            (
                &[200, 400],
                r#"{"code":10000,"data":{"status":"done","video_url":"https://c/v?s=1"}}"#,
                "done https://c/v?s=1",
            ),
            (
                &[200],
                r#"{"code":10000,"data":{"status":"done","resp_data":"{\"urls\":[\"https://c/u\",\"https://c/w\"]}"}}"#,
                "done https://c/u",
            ),
            (
                &[200],
                r#"{"code":10000,"data":{"status":"done","video_url":null,"resp_data":{"a":{"url":"https://c/n"}}}}"#,
                "done https://c/n",
            ),
            (
                &[200],
                r#"{"code":10000,"data":{"status":"done","resp_data":"{\"url\":\"https://c/picture\",\"a\":[{\"video_url\":\"https://c/v\"}]}"}}"#,
                "done https://c/v",
            ),
            (
                &[200],
                r#"{"code":10000,"data":{"status":"done","video_url":"cdn/v","resp_data":"not json"}}"#,
                "no video",
            ),
            (&[200], r#"{"code":10000,"data":{"status":"done","image_urls":["https://c/i"]}}"#, "no video"),
            (
                &[200, 400],
                r#"{"code":50413,"data":null,"message":"Post Text Risk Not Pass","status":50413}"#,
                "business 50413",
            ),
            (&[429], r#"{"code":50429,"message":"x"}"#, "business 50429"),
            (&[401], r#"{"code":50400,"message":"x"}"#, "business 50400"),
            (&[200], r#"{"code":50511,"data":{"status":"done"}}"#, "business 50511"),
            (&[400, 200], r#"{"code":"task_not_exist","message":"task_not_exist","data":null}"#, "gone"),
            (&[404], r#"{"error":{"message":"task not found"}}"#, "gone"),
            (&[502], r#"{"code":"fail_to_fetch_task","message":"{\"code\":50511}","data":null}"#, "business 50511"),
            (&[500], r#"{"code":"fail_to_fetch_task","message":"{\"code\":10000}","data":null}"#, "unreachable"),
            (&[404], r#"{"code":404,"message":"The task does not exist"}"#, "gone"),
            (&[404, 405], r#"{"error":{"message":"no route for GET /task/7"}}"#, "unrelated"),
            (&[200, 404], wrong_path, "gateway"),
            (&[404, 409], HTML, "gateway"),
            (&[302], "", "gateway"),
            (&[401, 402, 403], ENVELOPE, "account"),
            (&[401, 403], HTML, "gateway"),
            (&[429], "", "throttled"),
            (&[503], ENVELOPE, "throttled"),
            (&[200, 500, 502, 503, 504], HTML, "unreachable"),
            (&[500], ENVELOPE, "unreachable"),
            (&[200, 400, 404, 409, 422], ENVELOPE, "unrelated"),
            (&[200], r#"{"base_resp":{"status_code":0},"status":"Success"}"#, "unrelated"),
            (&[500], r#"{"base_resp":{"status_code":0},"status":"Success"}"#, "unreachable"),
            (&[200], r#"{"code":0,"data":{"status":"done","video_url":"https://c/v"}}"#, "unrelated"),
            (&[200], "[]", "unreachable"),
        ];
        for (statuses, body, expected) in cases {
            for status in *statuses {
                let polled = poll_in_short(&poll_answer(&answer(*status, body), &mask()));
                assert_eq!(&polled, expected, "{status} {body}");
            }
        }
    }

    #[test]
    fn what_the_vendor_says_is_kept_without_links_and_tokens() {
        let body = r#"{"code":50412,"message":"see https://c/v?sig=1 sk-secret0123456789","request_id":"2025"}"#;
        assert_eq!(
            submitted(400, body, HandOver::Whole),
            SubmitAnswer::Business(VendorError {
                code: BusinessCode(50412),
                message: "see [link] [token]".to_owned(),
                request_id: Some("2025".to_owned()),
                http_status: 400,
                retry_after: None,
            })
        );
        let body = r#"{"code":"fail_to_fetch_task","message":"{\"code\":50412,\"message\":\"Text Risk\",\"request_id\":\"7\"}"}"#;
        let PollAnswer::Business(error) = poll_answer(&answer(400, body), &mask()) else { panic!("{body}") };
        assert_eq!((error.message.as_str(), error.request_id.as_deref()), ("Text Risk", Some("7")));
        let answer = Answer {
            status: 503,
            retry_after: Some(Duration::from_secs(7)),
            request_id: Some("from-header"),
            redirect: None,
            body: Body::Whole(ENVELOPE.as_bytes()),
        };
        assert_eq!(
            submit_answer(&answer, HandOver::Whole, &mask()),
            SubmitAnswer::Throttled(Refusal {
                http_status: Some(503),
                message: "no (request id: 20250101)".to_owned(),
                request_id: Some("from-header".to_owned()),
                retry_after: Some(Duration::from_secs(7)),
            })
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let cases = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("1000000000", Some(1_000_000_000)),
            ("99999999999999999999", Some(u64::from(u32::MAX))),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sat, 06 Nov 2004 08:49:37 GMT", Some(3653 * 24 * 3600)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ];
        for (value, expected) in cases {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value:?}");
        }
    }
}
