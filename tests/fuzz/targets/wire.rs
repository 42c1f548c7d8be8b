//! What money depends on in an answer, and that nothing secret comes out of one.
//!
//! The rules are those of the daemon's design, asked of the answer with a JSON reader alone: a clear yes is never missed, nothing
//! but a clear yes is an acceptance, and what nobody can tell is in doubt exactly if the API may have had the whole request.

#![no_main]

use std::time::{Duration, SystemTime};

use jimengd::api::client::ANSWER_BYTES_MAX;
use jimengd::api::wire::{Answer, Body, HandOver, poll_answer, retry_after, submit_answer};
use jimengd::api::words::{MESSAGE_CHARS_MAX, Mask};
use jimengd::api::{PollAnswer, Refusal, SubmitAnswer, VendorError};
use jimengd::job::TaskId;
use jimengd::job::business_code::BusinessCode;
use jimengd_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Stands in an input for the token.
const TOKEN_MARK: u8 = 2;
const TOKEN: &str = "Qz7TokenQz7TokenQz7";

/// Stand in an input for a link, as different writers write one.
const LINK_MARKS: [(u8, &str); 4] = [
    (3, "https://v.example/f.mp4?a=1&sig=Xy9SecretXy9"),
    (4, r"https:\/\/v.example\/f.mp4?a=1\u0026sig=Xy9SecretXy9"),
    (5, "https%3A%2F%2Fv.example%2Ff.mp4%3Fa=1%26sig=Xy9SecretXy9"),
    (6, r"https:\u002f\u002fv.example\u002ff.mp4?a=1\u0026sig=Xy9SecretXy9"),
];
const LINK_SECRET: &str = "Xy9Secret";

/// Statuses that mean something of their own, beside whatever number the input holds.
const STATUSES: [u16; 24] = [
    200, 201, 204, 301, 307, 400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 429, 500, 501, 502, 503, 504, 520, 524,
    100,
];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let flags = input.byte();
    let status = match usize::from(input.byte()) {
        near if near < STATUSES.len() => STATUSES[near],
        far => 100 + (far as u16) * 3,
    };
    let text = input.text(flags & 1 != 0, ANSWER_BYTES_MAX / 16);
    if String::from_utf8_lossy(&text).to_lowercase().contains(&LINK_SECRET.to_lowercase()) {
        // Found by looking at what this target compares with: it is a secret only inside a link.
        return;
    }
    let text = filled_in(&text);
    let lossy = String::from_utf8_lossy(&text);
    let body = match flags >> 1 & 3 {
        0 | 1 => Body::Whole(&text),
        2 => Body::Cut(&lossy),
        _ => Body::Unreadable(&lossy),
    };
    let request_id = (flags & 8 != 0).then_some(&*lossy);
    let retry_after = retried(&lossy);
    let answer = Answer { status, retry_after, request_id, redirect: request_id, body };
    let mask = Mask::new(TOKEN.to_owned().into());

    let whole = submit_answer(&answer, HandOver::Whole, &mask);
    let short = submit_answer(&answer, HandOver::Short, &mask);
    assert_submission(&answer, &whole, &short);
    submission_texts(&whole).into_iter().for_each(assert_clean);

    let poll = poll_answer(&answer, &mask);
    assert_poll(&answer, &poll);
    poll_texts(&poll).into_iter().for_each(assert_clean);
    assert!(!format!("{poll:?}").contains(LINK_SECRET), "a link in the debug form");
});

/// The text with the token and the links where their marks stand.
fn filled_in(text: &[u8]) -> Vec<u8> {
    let secret = |byte: &u8| match LINK_MARKS.iter().find(|(mark, _)| mark == byte) {
        Some((_, link)) => link.as_bytes().to_vec(),
        None if *byte == TOKEN_MARK => TOKEN.as_bytes().to_vec(),
        None => vec![*byte],
    };
    text.iter().flat_map(secret).collect()
}

/// Seconds and dates, and nothing else.
fn retried(text: &str) -> Option<Duration> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let wait = retry_after(text, now);
    let digits = !text.trim().is_empty() && text.trim().bytes().all(|byte| byte.is_ascii_digit());
    match wait {
        Some(wait) if digits => {
            assert_eq!(wait, Duration::from_secs(text.trim().parse::<u32>().unwrap_or(u32::MAX).into()))
        }
        Some(wait) => assert!(text.contains(':') && now.checked_add(wait).is_some(), "{wait:?} for {text:?}"),
        None => assert!(!digits, "{text:?}"),
    }
    wait
}

/// The body as an object of JSON, if it is one and came whole.
fn object(answer: &Answer<'_>) -> Option<Value> {
    let Body::Whole(bytes) = answer.body else { return None };
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    serde_json::from_slice::<Value>(bytes).ok().filter(Value::is_object)
}

fn assert_submission(answer: &Answer<'_>, whole: &SubmitAnswer, short: &SubmitAnswer) {
    let object = object(answer);
    match (whole, short) {
        (SubmitAnswer::InDoubt(one), SubmitAnswer::Unsent(other)) => assert_eq!(one, other),
        (SubmitAnswer::InDoubt(_) | SubmitAnswer::Unsent(_) | SubmitAnswer::PictureUnreadable(_), _)
        | (_, SubmitAnswer::InDoubt(_) | SubmitAnswer::Unsent(_) | SubmitAnswer::PictureUnreadable(_)) => {
            panic!("handed over whole: {whole:?}; short: {short:?}")
        }
        (_, _) => assert_eq!(whole, short, "a clear answer holds however much was handed over"),
    }
    let said_yes = object.as_ref().and_then(|body| {
        let id = match &body["data"]["task_id"] {
            Value::String(id) => TaskId::new(id.trim()),
            Value::Number(id) => id.as_u64().and_then(|id| TaskId::new(&id.to_string())),
            _ => None,
        };
        let success = matches!(&body["code"], Value::Number(code) if code.as_u64() == Some(10_000))
            || matches!(&body["code"], Value::String(code) if code.trim() == "10000");
        id.filter(|_| success)
    });
    if let Some(id) = said_yes {
        assert!(
            matches!(whole, SubmitAnswer::Accepted { task_id, .. } if *task_id == id),
            "a paid task is lost: {whole:?}"
        );
    }
    let denies = match whole {
        SubmitAnswer::Accepted { task_id, .. } => {
            let said = object.as_ref().map(|body| &body["data"]["task_id"]).expect("only JSON accepts");
            assert!(said.to_string().contains(task_id.as_str()), "{task_id} was not said");
            assert!(String::from_utf8_lossy(whole_bytes(answer)).contains("10000"), "nobody said success");
            return;
        }
        SubmitAnswer::Business(error) => {
            assert_business(error);
            assert!(object.is_some(), "a code out of nothing");
            true
        }
        SubmitAnswer::Refused(_) | SubmitAnswer::Account(_) | SubmitAnswer::Gateway(_) | SubmitAnswer::Throttled(_) => {
            true
        }
        SubmitAnswer::Unsent(_) | SubmitAnswer::InDoubt(_) | SubmitAnswer::PictureUnreadable(_) => false,
    };
    // Where the status does not say no, only an object of JSON can.
    let may_have_accepted = matches!(answer.status, 100..=299 | 408 | 500..);
    assert!(!(denies && may_have_accepted && object.is_none()), "sent again though it may be paid: {whole:?}");
    match answer.status {
        408 | 500..=502 | 504.. if !matches!(whole, SubmitAnswer::Business(_)) => assert!(!denies, "{whole:?}"),
        _ => {}
    }
}

fn assert_poll(answer: &Answer<'_>, poll: &PollAnswer) {
    let told = object(answer);
    match poll {
        PollAnswer::Done { link, .. } => {
            let link = link.expose().to_ascii_lowercase();
            assert!(link.starts_with("http://") || link.starts_with("https://"), "{link}");
        }
        PollAnswer::Business(error) => assert_business(error),
        PollAnswer::InQueue
        | PollAnswer::Generating
        | PollAnswer::UnknownStatus(_)
        | PollAnswer::NoVideo { .. }
        | PollAnswer::Gone(_)
        | PollAnswer::Unrelated(_)
        | PollAnswer::Account(_) => {}
        PollAnswer::Gateway(_) | PollAnswer::Throttled(_) | PollAnswer::Unreachable(_) => return,
    }
    // A paid task ends, or is said to be alive, by what the API itself says.
    assert!(told.is_some(), "nobody said so: {poll:?}");
}

fn whole_bytes<'a>(answer: &Answer<'a>) -> &'a [u8] {
    match answer.body {
        Body::Whole(bytes) => bytes,
        Body::Cut(_) | Body::Unreadable(_) => b"",
    }
}

fn assert_business(error: &VendorError) {
    assert!((10_000..=99_999).contains(&error.code.0) && error.code != BusinessCode::SUCCESS, "{error:?}");
}

/// All that is said of an answer to a submission, but for the task's identifier, which is the API's to choose.
fn submission_texts(answer: &SubmitAnswer) -> Vec<&str> {
    match answer {
        SubmitAnswer::Accepted { request_id, .. } => request_id.iter().map(String::as_str).collect(),
        SubmitAnswer::Business(error) => error_texts(error),
        SubmitAnswer::Refused(refusal)
        | SubmitAnswer::Account(refusal)
        | SubmitAnswer::Gateway(refusal)
        | SubmitAnswer::Throttled(refusal)
        | SubmitAnswer::Unsent(refusal)
        | SubmitAnswer::InDoubt(refusal) => refusal_texts(refusal),
        SubmitAnswer::PictureUnreadable(message) => vec![message],
    }
}

fn poll_texts(answer: &PollAnswer) -> Vec<&str> {
    match answer {
        PollAnswer::InQueue | PollAnswer::Generating => Vec::new(),
        PollAnswer::UnknownStatus(word) => vec![word],
        PollAnswer::Done { link: _, request_id } | PollAnswer::NoVideo { request_id } => {
            request_id.iter().map(String::as_str).collect()
        }
        PollAnswer::Business(error) => error_texts(error),
        PollAnswer::Gone(refusal)
        | PollAnswer::Account(refusal)
        | PollAnswer::Gateway(refusal)
        | PollAnswer::Throttled(refusal)
        | PollAnswer::Unrelated(refusal)
        | PollAnswer::Unreachable(refusal) => refusal_texts(refusal),
    }
}

fn error_texts(error: &VendorError) -> Vec<&str> {
    error.request_id.iter().map(String::as_str).chain([error.message.as_str()]).collect()
}

fn refusal_texts(refusal: &Refusal) -> Vec<&str> {
    assert!(!refusal.message.is_empty(), "nothing is said: {refusal:?}");
    refusal.request_id.iter().map(String::as_str).chain([refusal.message.as_str()]).collect()
}

/// One short line without the token and without a link, in whatever case.
fn assert_clean(text: &str) {
    let lower = text.to_lowercase();
    for secret in [TOKEN, LINK_SECRET, "://", "%3a%2f%2f"] {
        assert!(!lower.contains(&secret.to_lowercase()), "{secret} in {text:?}");
    }
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.chars().count() <= MESSAGE_CHARS_MAX + 1, "{} characters", text.chars().count());
}
