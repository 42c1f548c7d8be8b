//! Killed anywhere: nothing is paid twice, nothing is lost, and the next start finishes what was begun.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jimengd::simulator::Settings;

use crate::rig::{Rig, patient_vendor, vendor};

/// Pairs that are dropped before the killing begins.
const PAIRS: usize = 200;

/// How often the program is killed.
const KILLS: u64 = 10;

/// Decides when.
const SEED: u64 = 20_261_123;

#[tokio::test(flavor = "multi_thread")]
async fn killed_ten_times_in_two_hundred_pairs_nothing_is_paid_twice_or_lost() {
    let rig = Rig::new(
        Settings { task_seconds: 0.2, concurrency: Some(24), ..vendor() },
        "log: {level: info}\ntasks: {max: 24}",
    );
    for n in 0..PAIRS {
        rig.drop_pair(&format!("{}/{n}", n % 3), &format!("Number {n}."));
    }
    let mut chance = fastrand::Rng::with_seed(SEED);
    for kill in 1..=KILLS {
        let daemon = rig.spawn(&[]);
        // Somewhere in the course of the work, not at a place that the test has chosen: after some progress, and a bit.
        let requests = rig.vendor().with_world(|world| world.requests_seen()) + chance.u64(1..60);
        rig.until(&format!("kill {kill}"), || rig.vendor().with_world(|world| world.requests_seen()) >= requests).await;
        tokio::time::sleep(Duration::from_micros(chance.u64(0..20_000))).await;
        daemon.kill();
        assert!(rig.videos() < PAIRS, "nothing was left to be killed");
    }
    let in_doubt = ends_well(&rig, PAIRS).await;
    // Each kill can put in doubt only what was on its way at that moment.
    assert!(in_doubt < PAIRS / 4, "{in_doubt} in doubt");
}

/// Where the program can be killed while a job's folder is handed on to the next: it is renamed away, its note is written over and synced,
/// it gets its new name.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_folders_are_handed_on_nothing_is_paid_twice_or_lost() {
    // Enough at once to be a crowd, and so few on their way that the kills leave pairs for each other.
    let settings = "log: {level: info}\ntasks: {max: 64}\napi: {uploads: 16}";
    let rig = Rig::new(Settings { task_seconds: 0.2, ..vendor() }, settings);
    let pairs = 2 * PAIRS;
    for n in 0..pairs {
        rig.drop_pair(&format!("{n}"), &format!("Number {n}."));
    }
    for nth in [1, 2, 3, 4, 5, 6, 8, 11, 15] {
        let mut daemon = rig.spawn_failing(&format!("on=/.spare-;nth={nth};do=kill"), &[]);
        assert_eq!(daemon.code().await, 137, "{nth}: {}", rig.scene());
    }
    let in_doubt = ends_well(&rig, pairs).await;
    assert!(in_doubt < pairs, "nothing was delivered");
}

/// The next run ends what was begun: each pair is delivered once, or in doubt. How many are.
async fn ends_well(rig: &Rig, pairs: usize) -> usize {
    let mut daemon = rig.spawn(&["--once"]);
    let code = daemon.code().await;
    let in_doubt = rig.reports();
    // What is in doubt may have been rejected in an earlier run already.
    assert!(code == 0 || code == 65 && in_doubt > 0, "{code}: {}", daemon.said());
    rig.assert_all_is_well();
    assert_eq!(rig.videos() + in_doubt, pairs, "{}", rig.scene());
    for name in rig.list("error").iter().filter_map(|name| name.strip_suffix(".error.yaml")) {
        assert_eq!(rig.report(name)["reason"], "in_doubt", "{name}");
    }
    let mut paid: HashMap<String, usize> = HashMap::new();
    for task in rig.vendor().tasks() {
        *paid.entry(task.prompt).or_default() += 1;
    }
    let twice: Vec<_> = paid.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "paid more than once: {twice:?}");
    // What was accepted and not put in doubt is delivered, each video with its own receipt.
    let receipts = rig.list("outbox").iter().filter(|name| name.ends_with(".receipt.yaml")).count();
    assert_eq!(receipts, rig.videos());
    in_doubt
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_a_kill_is_delivered_after_it() {
    let rig = Rig::new(patient_vendor(), "");
    let daemon = rig.spawn(&[]);
    for n in 0..5 {
        rig.drop_pair(&format!("{n}"), &format!("Number {n}"));
    }
    rig.until_paid(5).await;
    // An acceptance is in the log once it is in the ledger.
    rig.until("all are recorded", || states(&daemon.lines(), "submitted") == 5).await;
    daemon.kill();
    for task in rig.vendor().tasks() {
        rig.vendor().finish(&task.task_id);
    }
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    rig.assert_all_is_well();
    assert_eq!((rig.videos(), rig.vendor().paid()), (5, 5));
}

fn states(lines: &[serde_json::Value], state: &str) -> usize {
    lines.iter().filter(|line| line["state"] == state).count()
}

fn ledger_files(rig: &Rig) -> Vec<PathBuf> {
    ["ledger.db", "ledger.db-wal", "ledger.db-shm"].iter().map(|name| rig.root().join(name)).collect()
}

/// Three tasks are accepted, the program is killed, `lose` changes the ledger: nothing may be paid again.
async fn memory_is_lost(lose: impl FnOnce(&Rig), before: impl FnOnce(&Rig)) {
    let rig = Rig::new(patient_vendor(), "");
    assert_eq!(rig.run_once().await.delivered, 0);
    before(&rig);
    let daemon = rig.spawn(&[]);
    for n in 0..3 {
        rig.drop_pair(&format!("{n}"), &format!("Number {n}"));
    }
    rig.until_paid(3).await;
    rig.until("all are recorded", || states(&daemon.lines(), "submitted") == 3).await;
    daemon.kill();
    assert!(rig.root().join("work/.intents").exists());
    lose(&rig);
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 65, "{}", daemon.said());
    rig.assert_all_is_well();
    for n in 0..3 {
        let report = rig.report(&format!("{n}"));
        assert_eq!((&report["reason"], &report["charged"]), (&"in_doubt".into(), &"unknown".into()));
    }
    assert_eq!(rig.vendor().paid(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_deleted_pays_nothing_twice() {
    memory_is_lost(
        |rig| {
            for file in ledger_files(rig) {
                drop(fs::remove_file(file));
            }
        },
        |_| {},
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_from_a_backup_pays_nothing_twice() {
    memory_is_lost(
        |rig| {
            for file in ledger_files(rig) {
                drop(fs::remove_file(file));
            }
            fs::copy(rig.root().join("backup.db"), rig.root().join("ledger.db")).unwrap();
        },
        |rig| {
            // As a backup program does: the daemon in this process may still be closing it.
            let ledger = rusqlite::Connection::open(rig.root().join("ledger.db")).unwrap();
            let backup = rig.root().join("backup.db");
            ledger.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_and_witness_both_lost_pay_nothing_twice() {
    memory_is_lost(
        |rig| {
            for file in ledger_files(rig) {
                drop(fs::remove_file(file));
            }
            fs::remove_file(rig.root().join("work/.intents")).unwrap();
        },
        |_| {},
    )
    .await;
}
