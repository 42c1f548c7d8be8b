//! The two documents, to the letter.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::job::business_code::BusinessCode;
use crate::job::{
    Account, AspectRatio, Charged, FileName, Folder, Input, InputFile, PairName, Reason, Request, Seed, Stage, State,
    TaskId,
};

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn name(text: &[u8]) -> FileName {
    FileName::new(text).expect("a test's name is a name")
}

fn task() -> Task {
    Task {
        task_id: TaskId::new("7587386293853470755").expect("an identifier"),
        request_id: Some("20251122070000AB".to_owned()),
        account: Account { base_url: "https://api.example".to_owned(), token_fingerprint: "00".to_owned() },
        submitted_at: at("2026-11-22T06:58:00.123456Z"),
    }
}

fn job() -> Job {
    let file =
        |text: &str, bytes, sha256: &str| InputFile { name: name(text.as_bytes()), bytes, sha256: sha256.repeat(32) };
    Job {
        id: JobId::parse("0192e4a0-1111-7000-8000-0000deadbeef").expect("an identifier"),
        pair: PairName { folder: Folder::new(&b"shoes"[..]).expect("a folder"), stem: name(b"cat") },
        input: Input {
            sidecar: Some(file("cat.yaml", 31, "ab")),
            picture: Some(file("cat.jpg", 4_096, "12")),
            shown: Some((640, 480)),
        },
        request: Some(Request {
            prompt: "一只猫 🐈: it's \"fine\" # really".to_owned(),
            aspect_ratio: AspectRatio::R9x16,
            seed: Seed::Drawn(42),
            image_url: None,
        }),
        priority: 0,
        earlier: None,
        claimed_at: at("2026-11-22T06:57:00Z"),
        sends: 1,
        attempts: 1,
        charges: 1,
        state: State::Submitting,
        since: at("2026-11-22T06:57:00Z"),
    }
}

fn failure(reason: Reason) -> Failure {
    Failure {
        reason,
        message: "Text Risk Not Pass".to_owned(),
        stage: Stage::Submit,
        charged: Charged::No,
        task: None,
        task_over: false,
        request_id: Some("20251122070000AB".to_owned()),
        http_status: Some(400),
        problems: vec![],
    }
}

#[test]
fn a_report_with_a_business_code() {
    let text = report(&job(), &failure(Reason::Business(BusinessCode(50_412))), 1, at("2026-11-22T07:00:00.9Z"));
    assert_snapshot!(text, @r#"
    code: 50412
    reason: text_risk_not_pass
    message: Text Risk Not Pass
    meaning: The prompt did not pass moderation, so no video was made.
    advice: Reword the prompt in the sidecar, then move the files back to the inbox.
    stage: submit
    charged: 'no'
    attempts: 1
    task_id: null
    request_id: '20251122070000AB'
    http_status: 400
    job: 0192e4a0-1111-7000-8000-0000deadbeef
    files:
    - cat.jpg
    - cat.yaml
    failed_at: 2026-11-22T07:00:00Z
    "#);
}

#[test]
fn a_report_of_our_own_with_problems() {
    let problems = vec![
        Problem {
            file: Some("cat.yaml".to_owned()),
            key: Some("aspect_ratio".to_owned()),
            line: Some(2),
            column: Some(15),
            message: "969 is no ratio: a YAML 1.1 tool read 16:9 as a number".to_owned(),
            proposal: Some("write \"16:9\"".to_owned()),
        },
        Problem { message: "no prompt".to_owned(), ..Problem::default() },
    ];
    let failure = Failure::unread(Reason::InvalidSidecar, "2 problems in cat.yaml".to_owned(), problems);
    let job = Job { request: None, attempts: 0, sends: 0, ..job() };
    assert_snapshot!(report(&job, &failure, 2, at("2026-11-22T07:00:00Z")), @r#"
    code: null
    reason: invalid_sidecar
    message: '2 problems in cat.yaml'
    meaning: The sidecar cannot be used, so nothing was sent.
    advice: Mend what is listed under problems, then move the files back to the inbox.
    stage: read
    charged: 'no'
    attempts: 0
    task_id: null
    request_id: null
    http_status: null
    job: 0192e4a0-1111-7000-8000-0000deadbeef
    files:
    - cat (2).jpg
    - cat (2).yaml
    failed_at: 2026-11-22T07:00:00Z
    problems:
    - file: cat.yaml
      key: aspect_ratio
      line: 2
      column: 15
      message: '969 is no ratio: a YAML 1.1 tool read 16:9 as a number'
      proposal: write "16:9"
    - file: null
      key: null
      line: null
      column: null
      message: no prompt
      proposal: null
    "#);
}

fn video() -> Video {
    Video { bytes: 1_234_567, sha256: "0e".repeat(32), width: Some(720), height: Some(1280), seconds: Some(5.0) }
}

fn a_receipt(job: &Job, video: &Video) -> String {
    let finish = Finish { done_at: at("2026-11-22T06:59:30Z"), bad_links: 0 };
    receipt(job, &task(), &finish, video, 1, at("2026-11-22T07:00:01Z")).expect("the job has a request")
}

#[test]
fn a_receipt_of_a_pair() {
    assert_snapshot!(a_receipt(&job(), &video()), @r#"
    job: 0192e4a0-1111-7000-8000-0000deadbeef
    files:
    - cat.jpg
    - cat.yaml
    prompt: '一只猫 🐈: it''s "fine" # really'
    aspect_ratio: '9:16'
    seed: 42
    task_id: '7587386293853470755'
    request_id: '20251122070000AB'
    attempts: 1
    submitted_at: 2026-11-22T06:58:00Z
    done_at: 2026-11-22T06:59:30Z
    delivered_at: 2026-11-22T07:00:01Z
    video:
      name: cat.mp4
      bytes: 1234567
      sha256: '0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e'
      width: 720
      height: 1280
      seconds: 5.0
    picture:
      name: cat.jpg
      sha256: '1212121212121212121212121212121212121212121212121212121212121212'
      bytes: 4096
      width: 640
      height: 480
    "#);
}

#[test]
fn a_receipt_without_a_picture() {
    let mut job = job();
    job.input = Input { picture: None, shown: None, ..job.input };
    let video = Video { width: None, height: None, seconds: None, ..video() };
    let text = a_receipt(&job, &video);
    assert!(text.ends_with("  width: null\n  height: null\n  seconds: null\npicture: null\n"), "{text}");
    assert!(text.contains("files:\n- cat.yaml\n"), "{text}");
}

#[test]
fn a_job_without_a_request_has_no_receipt() {
    let finish = Finish { done_at: at("2026-11-22T06:59:30Z"), bad_links: 0 };
    let unread = Job { request: None, ..job() };
    assert_eq!(receipt(&unread, &task(), &finish, &video(), 1, at("2026-11-22T07:00:01Z")), None);
}

#[test]
fn documents_tell_whose_they_are() {
    let owned = Owner { job: job().id, files: vec!["cat (2).jpg".to_owned(), "cat (2).yaml".to_owned()] };
    let text = report(&job(), &failure(Reason::Poison), 2, at("2026-11-22T07:00:00Z"));
    assert_eq!(owner(&text), Some(owned));
    assert_eq!(owner(&a_receipt(&job(), &video())).map(|owner| owner.job), Some(job().id));
    let job_line = format!("job: {}\n", job().id);
    for text in ["", "prompt: a cat", "job: none\nfiles:\n- a", "job: [", "files:\n- a\njob: 7", &job_line] {
        assert_eq!(owner(text), None, "{text}");
    }
    let deep = "[".repeat(200_000);
    for text in [deep.clone(), format!("job: {deep}\nfiles:\n- a\n"), format!("{job_line}files:\n- {deep}\n")] {
        assert_eq!(owner(&text), None);
    }
}

#[test]
fn what_is_empty_and_what_begins_with_a_digit_is_written_so_that_it_is_read_back() {
    #[derive(Serialize)]
    struct Odd {
        list: [u8; 0],
        map: std::collections::BTreeMap<u8, u8>,
        zone: &'static str,
    }
    let text = document(&Odd { list: [], map: std::collections::BTreeMap::new(), zone: "0Z" });
    assert_eq!(text, "list: []\nmap: {}\nzone: '0Z'\n");
}

#[test]
fn names_are_read_back_as_they_are_shown() {
    let names: [&[u8]; 8] =
        [b"a'b\"c.jpg", b"- [x]: {y} #z.jpg", b"caf\xe9\n.jpg", b"no", b"16:9", b" \t.jpg", &[b'['; 255], &[0xFF; 255]];
    for bytes in names {
        let mut job = job();
        job.input.picture = Some(InputFile { name: name(bytes), bytes: 1, sha256: String::new() });
        let text = report(&job, &failure(Reason::Orphan), 1, at("2026-11-22T07:00:00Z"));
        let files = owner(&text).unwrap_or_else(|| panic!("{text}")).files;
        let shown = job.names(1).picture.expect("it has a picture").to_string();
        assert!(files.contains(&shown), "{files:?} does not hold {shown}");
    }
}

#[test]
fn bytes_that_are_no_text_are_written_as_hexadecimal() {
    let mut job = job();
    job.pair.stem = name(b"caf\xe9\n");
    job.input.picture = Some(InputFile { name: name(b"caf\xe9\n.jpg"), bytes: 1, sha256: String::new() });
    job.input.sidecar = None;
    let text = report(&job, &failure(Reason::Orphan), 1, at("2026-11-22T07:00:00Z"));
    assert!(text.contains("- caf\\xE9\\x0A.jpg\n"), "{text}");
}

#[test]
fn a_page_of_html_in_place_of_a_message_is_cut() {
    let failure = Failure { message: "é".repeat(1_000_000), ..failure(Reason::RequestRefused) };
    let text = report(&job(), &failure, 1, at("2026-11-22T07:00:00Z"));
    assert!(text.len() < 10_000 && owner(&text).is_some());
}

#[test]
fn the_longest_report_is_short_enough_to_be_read_back() {
    let wide = |times: usize| "\u{1F408}".repeat(times);
    let problem = Problem {
        file: Some(wide(60)),
        key: Some(wide(60)),
        line: Some(u64::MAX),
        column: Some(u64::MAX),
        message: wide(600),
        proposal: Some(wide(600)),
    };
    let failure = Failure {
        message: wide(MESSAGE_CHARS_MAX),
        request_id: Some(wide(60)),
        task: Some(task()),
        problems: vec![problem; 32],
        ..failure(Reason::InvalidSidecar)
    };
    let text = report(&job(), &failure, 1, at("2026-11-22T07:00:00Z"));
    assert!(text.len() > 100_000 && text.len() < BYTES_MAX, "{} bytes", text.len());
    assert!(owner(&text).is_some());
}

#[test]
fn what_yaml_1_1_would_misread_is_quoted() {
    let misread = [
        "no",
        "No",
        "YES",
        "y",
        "N",
        "on",
        "Off",
        "true",
        "NULL",
        "~",
        "",
        "16:9",
        "1:30",
        "190:20:30.15",
        "1_000",
        "017",
        "0b11",
        "2026-01-01",
        "=",
        "<<",
        ".5",
        ".inf",
        "123456e789",
        "0x1F",
        "- a",
        "? a",
        "a: b",
        "a #b",
        "a:",
        "a ",
        " a",
        "&a",
        "*a",
        "!a",
        "@a",
        "%a",
        "[a]",
        "{a}",
        "|",
        ">",
        "\"a\"",
    ];
    for text in misread {
        let written = scalar(text);
        assert_eq!(written, format!("'{text}'"));
        assert_eq!(serde_yaml::from_str::<String>(&written).ok().as_deref(), Some(text));
    }
    for text in ["text_risk_not_pass", "A cat, it's here", "一只猫", "cat (2).jpg", "2026-11-22T07:00:00Z", "a:b"] {
        assert_eq!(scalar(text), text);
    }
    for text in ["a\nb", "a\u{7f}", "\u{85}\u{2028}\u{feff}", "\t\"\\\0"] {
        assert!(scalar(text).starts_with('"'));
    }
}

proptest! {
    #[test]
    fn any_prompt_and_message_come_back_as_they_were(prompt in "\\PC{0,40}|[ -~\\n\\t]{0,40}|(?s:.{0,20})") {
        let mut job = job();
        if let Some(request) = &mut job.request {
            request.prompt = prompt.clone();
        }
        let read: serde_yaml::Value = serde_yaml::from_str(&a_receipt(&job, &video())).expect("YAML");
        prop_assert_eq!(read.get("prompt").and_then(|value| value.as_str()), Some(prompt.as_str()));
        prop_assert_eq!(read.get("video").and_then(|v| v.get("bytes")).and_then(|v| v.as_u64()), Some(1_234_567));
    }
}
