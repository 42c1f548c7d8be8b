//! A pair that brings the daemon down is set aside after three deaths, and nobody else is.
//!
//! The program dies, by its fail points, while it reads a certain file. Which files were in hand is looked up in the notes that it
//! leaves behind.

use std::fs;
use std::path::Path;

use crate::rig::{Binary, Rig, patient_vendor, sidecar};

/// The exit code of a program that was killed, as the shell counts it.
const KILLED: i32 = 128 + 9;

/// Dies whenever `file` is about to be read.
fn deadly(file: &Path) -> String {
    format!("on=judge {};do=kill", file.display())
}

/// Starts the program again and again until it has died so many times.
async fn dies(rig: &Rig, plan: &str, times: u32) {
    for _ in 0..times {
        let mut daemon = rig.spawn_failing(plan, &[]);
        assert_eq!(daemon.code().await, KILLED, "{}", daemon.said());
    }
}

/// The whole program, with that plan, until nothing can move.
async fn run_once(rig: &Rig, plan: &str) -> (i32, Binary) {
    let mut daemon = rig.spawn_failing(plan, &["--once"]);
    (daemon.code().await, daemon)
}

/// The notes of what is being read, and of what is suspect: their first words.
fn notes(rig: &Rig) -> Vec<String> {
    let text = fs::read_to_string(rig.root().join("work/.suspects")).unwrap_or_default();
    let first = |line: &str| line.split(' ').next().map(str::to_owned);
    text.lines().skip(1).filter_map(first).filter(|word| !word.is_empty()).collect()
}

fn assert_poison(rig: &Rig, name: &str) {
    let report = rig.report(name);
    let told = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((told("reason"), told("stage"), told("charged")), ("poison".into(), "read".into(), "no".into()));
    assert!(told("message").contains("crashed 3 times"), "{report:?}");
    assert!(told("advice").contains("move the files back to the inbox"), "{report:?}");
    assert_eq!((&report["attempts"], report["code"].is_null()), (&0.into(), true), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kills_the_daemon_three_times_is_set_aside_unread_and_all_others_are_delivered() {
    let rig = Rig::plain();
    rig.drop_pair("bad", "Never sent.");
    for n in 0..4 {
        rig.drop_pair(&format!("good-{n}"), "Sent.");
    }
    // Were it read once more after the third death, the program would die of it again.
    let plan = deadly(&rig.inbox("bad.yaml"));
    dies(&rig, &plan, 3).await;
    let (code, daemon) = run_once(&rig, &plan).await;
    assert_eq!(code, 65, "{}", daemon.said());
    assert_poison(&rig, "bad");
    assert_eq!((rig.videos(), rig.reports(), rig.vendor().paid()), (4, 1, 4));
    assert!(rig.vendor().tasks().iter().all(|task| task.prompt == "Sent."));
    assert_eq!(notes(&rig), [""; 0]);
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_back_as_it_is_it_is_tried_three_times_again() {
    let rig = Rig::plain();
    rig.drop_pair("bad", "At last.");
    let plan = deadly(&rig.inbox("bad.yaml"));
    for _ in 0..2 {
        dies(&rig, &plan, 3).await;
        assert_eq!(run_once(&rig, &plan).await.0, 65);
        assert_poison(&rig, "bad");
        rig.move_back(&["bad.png", "bad.yaml"]);
    }
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    assert_eq!((rig.videos(), rig.reports(), rig.vendor().paid()), (1, 0, 1));
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kills_it_twice_and_then_does_not_is_delivered() {
    let rig = Rig::plain();
    rig.drop_pair("cat", "Well in the end.");
    let plan = deadly(&rig.inbox("cat.yaml"));
    dies(&rig, &plan, 2).await;
    assert_eq!(notes(&rig), ["reading"]);
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    assert_eq!((rig.videos(), notes(&rig).len()), (1, 0));
    // It is well, so what was held against it is forgotten: the next two deaths are the first two again.
    rig.drop_pair("cat", "Another one.");
    dies(&rig, &plan, 2).await;
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    assert_eq!(rig.videos(), 2);
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_pair_starts_anew() {
    let rig = Rig::plain();
    rig.drop_pair("cat", "At first.");
    let plan = deadly(&rig.inbox("cat.yaml"));
    dies(&rig, &plan, 2).await;
    rig.forget("cat.yaml");
    rig.copy_in("cat.yaml", sidecar("As it was edited.").as_bytes());
    dies(&rig, &plan, 2).await;
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    assert_eq!(rig.vendor().tasks()[0].prompt, "As it was edited.");
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_in_hand_by_chance_is_read_alone_and_delivered() {
    let rig = Rig::plain();
    rig.drop_pair("bad", "Sent in the end.");
    rig.drop_pair("good", "Sent.");
    let released = rig.folder().join("released");
    let waiting = format!("on=judge {};do=wait;until={}", rig.inbox("").display(), released.display());
    let daemon = rig.spawn_failing(&waiting, &[]);
    rig.until("both are being read", || notes(&rig) == ["reading", "reading"]).await;
    daemon.kill();
    // Now both are suspect, so only one of them is read at a time; the other one waits for it, for as long as that takes.
    let daemon = rig.spawn_failing(&waiting, &[]);
    let sorted = || {
        let mut notes = notes(&rig);
        notes.sort();
        notes
    };
    rig.until("one is being read alone", || sorted() == ["reading", "suspect"]).await;
    rig.drop_pair("new", "Sent.");
    fs::write(&released, "").unwrap();
    rig.until_ended(3, 0).await;
    daemon.kill();
    assert_eq!(notes(&rig), [""; 0], "all were read well");
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_deaths_of_one_condemn_no_other() {
    let rig = Rig::plain();
    rig.drop_pair("bad", "Never sent.");
    rig.drop_pair("good", "Sent.");
    let waiting = format!("on=judge {};do=wait", rig.inbox("").display());
    let daemon = rig.spawn_failing(&waiting, &[]);
    rig.until("both are being read", || notes(&rig) == ["reading", "reading"]).await;
    daemon.kill();
    let plan = deadly(&rig.inbox("bad.yaml"));
    dies(&rig, &plan, 2).await;
    let (code, daemon) = run_once(&rig, &plan).await;
    assert_eq!(code, 65, "{}", daemon.said());
    assert_poison(&rig, "bad");
    assert_eq!((rig.videos(), rig.reports()), (1, 1));
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kills_it_only_after_the_claim_is_set_aside_all_the_same() {
    let rig = Rig::plain();
    rig.drop_pair("bad", "Never sent.");
    let plan = deadly(&rig.root().join("work"));
    dies(&rig, &plan, 3).await;
    let (code, daemon) = run_once(&rig, &plan).await;
    assert_eq!(code, 65, "{}", daemon.said());
    assert_poison(&rig, "bad");
    assert_eq!(rig.vendor().paid(), 0);
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_counts_at_once_and_ends_nothing() {
    let rig = Rig::plain();
    let plan = format!("on=judge {};do=panic", rig.inbox("bad.yaml").display());
    let mut daemon = rig.spawn_failing(&plan, &[]);
    rig.drop_pair("bad", "Never sent.");
    rig.drop_pair("good", "Sent.");
    rig.until_ended(1, 1).await;
    assert_poison(&rig, "bad");
    assert!(daemon.runs());
    let told = daemon
        .lines()
        .iter()
        .filter(|line| line["message"].as_str().is_some_and(|m| m.contains("reading bad panicked")))
        .count();
    assert_eq!(told, 3, "{}", daemon.said());
    daemon.terminate();
    assert_eq!(daemon.code().await, 0);
    assert_eq!(rig.vendor().paid(), 1);
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_after_the_claim_counts_too() {
    let rig = Rig::plain();
    let plan = format!("on=judge {};do=panic", rig.root().join("work").display());
    rig.drop_pair("bad", "Never sent.");
    let (code, daemon) = run_once(&rig, &plan).await;
    assert_eq!(code, 65, "{}", daemon.said());
    assert_poison(&rig, "bad");
    assert_eq!(rig.vendor().paid(), 0);
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn being_stopped_while_it_reads_is_held_against_nobody() {
    let rig = Rig::plain();
    rig.drop_pair("slow", "Sent.");
    let released = rig.folder().join("released");
    let waiting = format!("on=judge;do=wait;until={}", released.display());
    let mut daemon = rig.spawn_failing(&waiting, &[]);
    rig.until("it is being read", || notes(&rig) == ["reading"]).await;
    daemon.terminate();
    rig.until("that is no suspicion any more", || notes(&rig).is_empty()).await;
    assert!(daemon.runs(), "what is read has not ended");
    daemon.kill();
    fs::write(&released, "").unwrap();
    assert_eq!(run_once(&rig, &waiting).await.0, 0);
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_may_be_paid_is_never_poison() {
    let rig = Rig::new(patient_vendor(), "");
    let daemon = rig.spawn(&[]);
    rig.drop_pair("paid", "Sent once.");
    rig.until("it is recorded", || daemon.said().contains("accepted as task")).await;
    daemon.kill();
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        drop(fs::remove_file(rig.root().join(file)));
    }
    // Only the witness knows that it was sent, so recovery reads it, and dies of it.
    let plan = deadly(&rig.root().join("work"));
    dies(&rig, &plan, 3).await;
    let (code, daemon) = run_once(&rig, &plan).await;
    assert_eq!(code, 65, "{}", daemon.said());
    let report = rig.report("paid");
    assert_eq!((&report["reason"], &report["charged"]), (&"in_doubt".into(), &"unknown".into()), "{report:?}");
    assert_eq!(rig.vendor().paid(), 1);
    rig.assert_all_is_well();
}
