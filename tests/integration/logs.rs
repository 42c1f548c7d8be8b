//! What the program says: one job's story in its log, no secret anywhere, and an exit code for every end.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jimengd::daemon::LEDGER;
use jimengd::daemon::message::Message;
use jimengd::job::Reason;
use jimengd::job::business_code::BusinessCode;
use serde_json::Value;

use crate::rig::{Binary, Rig, TOKEN, faulty_vendor, patient_vendor, vendor};

fn of_job(lines: &[Value], job: &str) -> Vec<Value> {
    lines.iter().filter(|line| line["job_id"] == job && line["state"].is_string()).cloned().collect()
}

fn states(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["state"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_jobs_lines_tell_its_whole_story() {
    let rig = Rig::new(vendor(), "log: {level: info}");
    rig.drop_pair("shoes/red", "A red shoe [poll 50511 once]");
    rig.drop_pair("bad", "A bad one [50412]");
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 65, "{}", daemon.said());
    let lines = daemon.lines();

    let story = of_job(&lines, rig.receipt("shoes/red")["job"].as_str().unwrap());
    let transitions: Vec<_> = story.iter().filter(|line| line["business_code"].is_null()).cloned().collect();
    assert_eq!(
        states(&transitions),
        ["queued", "submitting", "submitted", "queued", "submitting", "submitted", "ready", "fetched", "delivered"],
        "{story:#?}"
    );
    assert!(story.iter().all(|line| line["pair"] == "shoes/red"));
    let code = story.iter().find(|line| line["business_code"] == 50511).expect("why there was another attempt");
    let tasks = rig.vendor().tasks();
    assert_eq!(code["task_id"], tasks[0].task_id.as_str());
    for line in story.iter().filter(|line| ["ready", "fetched", "delivered"].contains(&line["state"].as_str().unwrap()))
    {
        assert_eq!(line["task_id"], tasks[1].task_id.as_str());
    }
    assert!(story.iter().filter(|line| line["state"] == "submitted").all(|line| line["request_id"].is_string()));

    let said = |story: &[Value], state: &str, message: Message| {
        let line = story.iter().find(|line| line["state"] == state).expect(state);
        assert_eq!(line["message_id"], message.id(), "{line}");
    };
    said(&story, "delivered", Message::Delivered);

    let story = of_job(&lines, rig.report("bad")["job"].as_str().unwrap());
    said(&story, "queued", Message::Claimed);
    said(&story, "failed", Message::Failed(Reason::Business(BusinessCode(50412))));
    // What a person wants to know of is more than information.
    let catalogue = jimengd::cli::catalogue::text();
    for line in lines.iter().filter(|line| line["message_id"].is_string()) {
        let head = format!("-- {}\n", line["message_id"].as_str().unwrap());
        let entry = catalogue.split_once(&head).expect("it is in the catalogue").1.split("\n-- ").next().unwrap();
        // journalctl fills in what stands between two marks, and leaves it as it is where there is no such field.
        for field in entry.split('@').skip(1).step_by(2) {
            assert!(!line[field.to_ascii_lowercase()].is_null(), "{field} is told of, but not in {line}");
        }
    }
    let levels: Vec<_> = story.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["info", "info", "info", "warn"], "{story:#?}");
    assert_eq!(states(&story), ["queued", "submitting", "failing", "failed"], "{story:#?}");
    for line in &story[2..] {
        assert_eq!((&line["business_code"], &line["reason"]), (&50412.into(), &"text_risk_not_pass".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_nobody_knows_is_told_once_for_each_job() {
    let rig = Rig::new(faulty_vendor("- {on: poll, times: 12, do: {word: pondering}}"), "log: {level: warn}");
    for name in ["cat", "dog"] {
        rig.drop_pair(name, name);
    }
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    let lines = daemon.lines();
    let told = lines.iter().filter(|line| line["message"].as_str().is_some_and(|text| text.contains("pondering")));
    let mut pairs: Vec<_> = told.map(|line| (line["pair"].as_str(), line["level"].as_str())).collect();
    pairs.sort();
    assert_eq!(pairs, [(Some("cat"), Some("warn")), (Some("dog"), Some("warn"))], "{}", daemon.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_line_however_much_is_logged() {
    // Refusals, faults and a link that is refused all have words that could carry a secret along.
    let rig = Rig::new(
        faulty_vendor(&format!(
            "- {{on: submit, nth: 1, do: {{status: 404, body: 'no way for {TOKEN}'}}}}
- {{on: download, nth: 1, do: {{status: 404}}}}
- {{on: download, nth: 2, do: {{cut: 1000}}}}
- {{on: poll, nth: 1, do: {{status: 502, body: 'Bearer {TOKEN} is not liked'}}}}"
        )),
        "log: {level: trace}",
    );
    rig.drop_pair("cat", "A cat");
    let mut daemon = rig.spawn(&[]);
    rig.until("the gateway was wrong", || rig.is_paused("gateway") && rig.list("inbox").len() == 2).await;
    daemon.hang_up();
    rig.until_ended(1, 0).await;
    daemon.terminate();
    assert_eq!(daemon.code().await, 0);
    let said = daemon.said();
    assert!(said.contains("\"level\":\"trace\"") || said.contains("\"level\":\"debug\""), "nothing much was logged");
    for secret in [TOKEN, "sig=", "/video/tos/"] {
        let leaking: Vec<_> = said.lines().filter(|line| line.contains(secret)).collect();
        assert!(leaking.is_empty(), "{secret} is in {leaking:#?}");
    }
    // Nor in what is left behind.
    for folder in ["outbox", "error", "archive", "work"] {
        for name in rig.list(folder) {
            let bytes = fs::read(rig.root().join(folder).join(&name)).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(TOKEN), "{folder}/{name}");
        }
    }
    assert!(!String::from_utf8_lossy(&fs::read(rig.root().join(LEDGER)).unwrap()).contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_daemon_a_root() {
    let rig = Rig::new(patient_vendor(), "");
    let mut first = rig.spawn(&[]);
    rig.until("the first is ready", || first.is_ready()).await;
    let mut second = rig.spawn(&[]);
    assert_eq!(second.code().await, 75, "{}", second.said());
    assert!(first.runs());
    first.terminate();
    assert_eq!(first.code().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_set_up_ends_with_its_code_and_says_what_to_do() {
    let rig = Rig::plain();
    let ends = async |mut daemon: Binary, code: i32, word: &str| {
        assert_eq!(daemon.code().await, code, "{}", daemon.said());
        assert!(daemon.said().contains(word), "{word} is not in {}", daemon.said());
    };
    ends(rig.program(&["run", "--conifg", "x"]), 64, "--config").await;
    ends(rig.program(&["fly"]), 64, "fly").await;
    ends(rig.program(&["run", "--config", "/nowhere/jimengd.yaml"]), 78, "/nowhere/jimengd.yaml").await;
    rig.configure("api: {base_ulr: 'http://127.0.0.1'}");
    ends(rig.spawn(&[]), 78, "base_url").await;
    rig.configure("api: {token_file: null}");
    ends(rig.spawn(&[]), 77, "JIMENGD_API_TOKEN").await;
    let elsewhere = tempfile::TempDir::with_prefix_in("jimengd-", "/dev/shm").unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    // Where both are one mount there is nothing to refuse.
    if device(elsewhere.path()) != device(rig.folder()) {
        rig.configure(&format!("folders: {{work: {}}}", elsewhere.path().display()));
        ends(rig.spawn(&[]), 78, "mount").await;
    }
    rig.configure("");
    fs::write(rig.root().join(LEDGER), "this is no ledger, and was perhaps one once".repeat(100)).unwrap();
    ends(rig.spawn(&[]), 74, "ledger.db").await;
    let kept = fs::read(rig.root().join(LEDGER)).unwrap();
    assert!(kept.starts_with(b"this is no ledger"), "it is not replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn help_and_version_are_no_failures() {
    let rig = Rig::plain();
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["simulate", "--help"]] {
        let mut program = rig.program(arguments);
        assert_eq!(program.code().await, 0, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_once_ends_with_what_became_of_the_pairs() {
    for (prompt, faults, code) in [
        ("A cat", "[]", 0),
        ("A cat [50412]", "[]", 65),
        ("A cat", "- {on: submit, do: {status: 403, error_code: insufficient_user_quota}}", 69),
    ] {
        let rig = Rig::new(faulty_vendor(faults), "");
        rig.drop_pair("cat", prompt);
        let mut daemon = rig.spawn(&["--once"]);
        assert_eq!(daemon.code().await, code, "{}", daemon.said());
        rig.assert_all_is_well();
    }
    let rig = Rig::plain();
    let mut idle = rig.spawn(&["--once"]);
    assert_eq!(idle.code().await, 0, "{}", idle.said());
}
