//! What once went wrong and must not again: races and troubles in which money or files were at stake.

use std::fs;
use std::time::Duration;

use jimengd::simulator::{Script, Settings};

use crate::rig::{self, Rig, faulty_vendor, patient_vendor};

/// How long a lock on the ledger is waited for.
const BUSY: Duration = Duration::from_secs(5);

fn ledger(rig: &Rig) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(rig.root().join("ledger.db")).unwrap();
    connection.busy_timeout(BUSY).unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_an_acceptance_cannot_be_recorded_pays_nothing_twice() {
    let rig = Rig::new(faulty_vendor("- {on: submit, prompt: cat, do: {delay: 1.0}}"), "");
    rig.drop_pair("cat", "A cat");
    let daemon = rig.start();
    rig.until("handed over", || {
        rig.vendor().with_world(|world| world.submissions().any(|request| request.last_byte_at.is_some()))
    })
    .await;
    // Stands for a full disk: every commit of the acceptance fails.
    let full = "CREATE TRIGGER full BEFORE UPDATE ON job WHEN NEW.state = 'submitted'
                BEGIN SELECT abs(-9223372036854775808); END";
    ledger(&rig).execute_batch(full).unwrap();
    rig.until_paid(1).await;
    daemon.stop().await;
    assert_eq!(rig.list("inbox"), Vec::<String>::new(), "a pair that may have been paid is not given back");
    ledger(&rig).execute_batch("DROP TRIGGER full").unwrap();
    rig.vendor().follow(Script::default());
    rig.run_once().await;
    assert_eq!(rig.vendor().paid(), 1);
    assert_eq!(rig.report("cat")["reason"], "in_doubt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_pair_is_rejected_once_the_error_folder_is_back() {
    let rig = Rig::plain();
    let daemon = rig.start();
    rig.until("ready", || rig.root().join("error").is_dir() && rig.snapshot().is_some()).await;
    fs::rename(rig.root().join("error"), rig.root().join("error-away")).unwrap();
    rig.drop_with("bad", "promt: nothing\n");
    rig.until("paused", || rig.is_paused("read_only")).await;
    fs::rename(rig.root().join("error-away"), rig.root().join("error")).unwrap();
    rig.until("rejected", || rig.reports() == 1).await;
    rig.until("going on", || !rig.is_paused("read_only")).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_whose_folder_was_moved_away_is_fetched_again() {
    let drip = faulty_vendor("- {on: download, do: {drip: 100000}}");
    let rig = Rig::new(Settings { video_bytes: Some(200_000), ..drip }, "");
    rig.drop_pair("shoes/cat", "A cat");
    let daemon = rig.start();
    rig.until("downloading", || rig.list("outbox").iter().any(|name| name.ends_with(".part"))).await;
    fs::rename(rig.root().join("outbox/shoes"), rig.folder().join("taken")).unwrap();
    rig.until("delivered", || rig.videos() == 1).await;
    daemon.stop().await;
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_also_if_the_error_folder_was_away_when_it_came() {
    let rig = Rig::new(faulty_vendor("- {on: submit, do: {delay: 4.0, code: 50412}}"), "");
    rig.drop_pair("cat", "A cat");
    let daemon = rig.start();
    rig.until("handed over", || {
        rig.vendor().with_world(|world| world.submissions().any(|request| request.last_byte_at.is_some()))
    })
    .await;
    fs::rename(rig.root().join("error"), rig.root().join("error-away")).unwrap();
    rig.until("answered and paused", || rig.is_paused("read_only")).await;
    fs::rename(rig.root().join("error-away"), rig.root().join("error")).unwrap();
    rig.until("rejected", || rig.reports() == 1).await;
    daemon.stop().await;
    assert_eq!(rig.report("cat")["reason"], "text_risk_not_pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_from_before_the_second_attempt_leads_to_no_third_one() {
    let rig = Rig::new(patient_vendor(), "");
    rig.drop_pair("cat", "A cat");
    let mut daemon = rig.spawn(&[]);
    rig.until_paid(1).await;
    let in_state = |state: &str, sends: u32| {
        let sql = "SELECT count(*) FROM job WHERE state = ?1 AND sends = ?2";
        ledger(&rig).query_row(sql, (state, sends), |row| row.get::<_, u32>(0)).unwrap() == 1
    };
    rig.until("recorded", || in_state("submitted", 1)).await;
    let backup = rig.folder().join("backup.db");
    ledger(&rig).execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    rig.vendor().follow(Script::parse("- {on: poll, nth: 1, do: {code: 50511}}").unwrap());
    rig.until("tried again", || in_state("submitted", 2)).await;
    daemon.terminate();
    daemon.code().await;
    for name in ["ledger.db-wal", "ledger.db-shm"] {
        let path = rig.root().join(name);
        if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
    fs::copy(&backup, rig.root().join("ledger.db")).unwrap();
    rig.run_once().await;
    assert_eq!(rig.vendor().paid(), 2);
    assert_eq!(rig.report("cat")["reason"], "in_doubt");
    assert!(rig::files(&rig.root().join("inbox")).is_empty());
}
