//! The words and numbers of the core: what is shown of them, and what is read back.

use jiff::Timestamp;

use super::business_code::BusinessCode;
use super::*;

#[test]
fn a_job_is_shown_as_its_uuid_and_told_apart_by_its_end() {
    let text = "0192f3a4-5b6c-7d8e-9f01-23456789abcd";
    let id = JobId::parse(text).expect("a UUID");
    assert_eq!((id.to_string(), format!("{id:?}")), (text.to_owned(), format!("JobId({text})")));
    assert_eq!(id.short(), "6789abcd");
    assert_eq!(JobId::parse("cat"), None);
}

#[test]
fn a_task_keeps_the_vendors_digits_and_is_safe_in_a_path() {
    let id = TaskId::new("14117763723766220057").expect("digits");
    assert_eq!((id.as_str(), id.to_string().as_str()), ("14117763723766220057", "14117763723766220057"));
    assert!(TaskId::new(&"7".repeat(TaskId::BYTES_MAX)).is_some());
    let long = "7".repeat(TaskId::BYTES_MAX + 1);
    for bad in ["", ".", "..", "a/b", "a?b", "a b", "猫", long.as_str()] {
        assert_eq!(TaskId::new(bad), None, "{bad}");
    }
}

/// The API's own page: word, width, height.
const PAGE: [(&str, u32, u32); 7] = [
    ("16:9", 1280, 720),
    ("9:16", 720, 1280),
    ("9:21", 720, 1680),
    ("1:1", 960, 960),
    ("4:3", 960, 720),
    ("3:4", 720, 960),
    ("21:9", 1680, 720),
];

#[test]
fn ratios_are_those_of_the_page() {
    for (ratio, (word, width, height)) in AspectRatio::ALL.into_iter().zip(PAGE) {
        assert_eq!((ratio.label(), ratio.to_string().as_str()), (word, word));
        assert_eq!(AspectRatio::parse(word), Some(ratio));
        assert_eq!(ratio.pixels(), (width, height));
        assert_eq!(AspectRatio::nearest(width, height), ratio, "its own size is nearest to {word}");
    }
    assert_eq!(AspectRatio::parse("16/9"), None);
}

#[test]
fn the_nearest_ratio_is_as_far_one_way_as_the_other() {
    for (width, height, wanted) in [
        (3000, 2000, "4:3"),
        (2000, 3000, "3:4"),
        (2000, 1000, "16:9"),
        (1000, 2000, "9:16"),
        (3000, 1000, "21:9"),
        (1000, 3000, "9:21"),
        (1000, 1100, "1:1"),
        (1100, 1000, "1:1"),
        (1160, 1000, "4:3"),
        (1000, 1160, "3:4"),
        (0, 0, "1:1"),
    ] {
        assert_eq!(AspectRatio::nearest(width, height).label(), wanted, "{width} x {height}");
    }
}

#[test]
fn a_seed_is_a_number_and_the_apis_own_choice_is_minus_one() {
    assert_eq!([Seed::Fixed(7).number(), Seed::Drawn(8).number(), Seed::Api.number()], [7, 8, -1]);
    assert_eq!([Seed::Fixed(7), Seed::Drawn(8), Seed::Api].map(Seed::may_change), [false, true, true]);
}

#[test]
fn a_link_is_exposed_only_on_purpose() {
    let link = VideoLink::new("https://cdn.example/v?sig=secret".to_owned());
    assert_eq!(link.expose(), "https://cdn.example/v?sig=secret");
    assert_eq!(format!("{link:?}"), "VideoLink(…)");
}

#[test]
fn a_problem_says_where_what_and_what_to_do_as_far_as_it_knows() {
    let bare = Problem { message: "it is empty".to_owned(), ..Problem::default() };
    let placed = Problem { line: Some(3), column: Some(7), ..bare.clone() };
    let file = Some("cat.yaml".to_owned());
    let key = Some("seed".to_owned());
    for (problem, wanted) in [
        (bare.clone(), "it is empty"),
        (placed.clone(), "line 3: it is empty"),
        (Problem { file: file.clone(), ..bare.clone() }, "cat.yaml: it is empty"),
        (Problem { file: file.clone(), line: Some(3), ..bare.clone() }, "cat.yaml:3: it is empty"),
        (Problem { key: key.clone(), ..bare }, "seed: it is empty"),
        (
            Problem { file, key, proposal: Some("write a number".to_owned()), ..placed },
            "cat.yaml:3:7: seed: it is empty; write a number",
        ),
    ] {
        assert_eq!(problem.to_string(), wanted);
    }
}

#[test]
fn the_words_of_a_failure_are_read_back() {
    for reason in Reason::OURS {
        assert_eq!(Reason::parse_ours(&reason.label()), Some(reason));
    }
    assert_eq!(Reason::parse_ours("text_risk_not_pass"), None);
    for stage in [Stage::Read, Stage::Submit, Stage::Poll, Stage::Download] {
        assert_eq!(Stage::parse(stage.label()), Some(stage));
    }
    for charged in [Charged::No, Charged::Unknown, Charged::Yes] {
        assert_eq!(Charged::parse(charged.label()), Some(charged));
    }
    assert_eq!((Stage::parse("sleep"), Charged::parse("maybe")), (None, None));
}

#[test]
fn a_doubt_tells_the_status_if_there_was_an_answer() {
    let doubt = Doubt::unanswered("no answer in time");
    assert_eq!(doubt.to_string(), "no answer in time");
    assert_eq!(Doubt { http_status: Some(502), ..doubt }.to_string(), "HTTP 502: no answer in time");
}

#[test]
fn the_advice_says_whether_another_try_is_paid() {
    const HOUR: i64 = 60 * 60;
    let at = |second: i64| Timestamp::from_second(second).expect("an instant");
    let account = Account { base_url: "https://a.example".to_owned(), token_fingerprint: "1".to_owned() };
    let task_id = TaskId::new("7").expect("digits");
    let task = Task { task_id, request_id: None, account, submitted_at: at(0) };
    let advice = |reason, task_over, charged, http_status, now: i64| {
        let failure =
            Failure { reason, task_over, charged, http_status, ..Failure::unread(reason, String::new(), Vec::new()) };
        Failure { task: Some(task.clone()), ..failure }.advice(at(now)).into_owned()
    };
    for reason in [Reason::TaskGone, Reason::NoVideo, Reason::DownloadFailed] {
        let free = advice(reason, false, Charged::Yes, None, 12 * HOUR - 1);
        assert!(
            free.contains("unedited, before 1970-01-01T12:00:00Z: until then") && free.contains("without paying"),
            "{free}"
        );
        for (task_over, now) in [(false, 12 * HOUR), (false, 13 * HOUR), (true, 0)] {
            let paid = advice(reason, task_over, Charged::Yes, None, now);
            assert!(paid.contains("pay for a new task") && !paid.contains("without paying"), "{paid}");
        }
    }
    let code = Reason::Business(BusinessCode(50_412));
    let reworded = code.advice();
    assert_eq!(advice(code, true, Charged::No, Some(400), 0), reworded);
    for charged in [Charged::Unknown, Charged::Yes] {
        assert_eq!(advice(code, true, charged, Some(400), 0), format!("{reworded} Another try is paid anew."));
    }
    let refused = |status| advice(Reason::RequestRefused, false, Charged::No, status, 0);
    assert_eq!(refused(Some(413)), "Use a smaller picture, then move the files back to the inbox.");
    for status in [None, Some(400), Some(422)] {
        assert_eq!(refused(status), Reason::RequestRefused.advice());
    }
    assert_eq!(advice(Reason::Orphan, false, Charged::No, None, 0), Reason::Orphan.advice());
}
