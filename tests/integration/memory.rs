//! A lost memory: whatever became of the ledger, of `work/` and of the witness in it, there is a clear answer, and nothing is paid
//! twice. See also the ledgers that are lost or restored in [`super::crash_recovery`].

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::rig::{Rig, patient_vendor};

/// The exit code for a ledger that cannot be used.
const IO: i32 = 74;

/// The ledger's file and its companions.
fn ledger_files(rig: &Rig) -> Vec<PathBuf> {
    ["ledger.db", "ledger.db-wal", "ledger.db-shm"].iter().map(|name| rig.root().join(name)).collect()
}

fn ledger(rig: &Rig) -> PathBuf {
    rig.root().join("ledger.db")
}

fn remove(files: impl IntoIterator<Item = PathBuf>) {
    for file in files {
        // What is not there need not be removed.
        drop(fs::remove_file(file));
    }
}

fn accepted(said: &str) -> usize {
    said.matches("accepted as task").count()
}

/// One video is delivered and two tasks are accepted; then the program is killed, and only the ledger's own file is left of it.
async fn under_way(rig: &Rig) {
    let daemon = rig.spawn(&[]);
    rig.drop_pair("done", "Delivered before.");
    rig.until_paid(1).await;
    rig.vendor().finish(&rig.vendor().tasks()[0].task_id);
    rig.until_ended(1, 0).await;
    for name in ["one", "two"] {
        rig.drop_pair(name, "Accepted before.");
    }
    rig.until("all are recorded", || accepted(&daemon.said()) == 3).await;
    daemon.kill();
    let connection = Connection::open(ledger(rig)).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    remove(ledger_files(rig).into_iter().skip(1));
    rig.give(&ledger(rig));
}

fn finish_all(rig: &Rig) {
    for task in rig.vendor().tasks() {
        rig.vendor().finish(&task.task_id);
    }
}

/// With its memory as it was, everything goes on, and nothing is paid again.
async fn goes_on(rig: &Rig) {
    finish_all(rig);
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    assert_eq!((rig.videos(), rig.reports(), rig.vendor().paid()), (3, 0, 3));
    rig.assert_all_is_well();
}

/// The start is refused with words that name the ledger and say what to do, and neither the ledger nor any pair is touched.
async fn assert_refused(rig: &Rig, case: &str, words: &[&str]) {
    let before = fs::read(ledger(rig)).ok();
    let listed = ["inbox", "work", "outbox", "error", "archive"].map(|folder| rig.list(folder));
    let mut daemon = rig.spawn(&[]);
    assert_eq!(daemon.code().await, IO, "{case}: {}", daemon.said());
    let said = daemon.said();
    let last = said.lines().last().unwrap_or_default();
    for word in words.iter().chain(&["ledger.db"]) {
        assert!(last.contains(word), "{case}: no {word:?} in {last}");
    }
    assert_eq!(fs::read(ledger(rig)).ok(), before, "{case}: it is as it was");
    assert_eq!(["inbox", "work", "outbox", "error", "archive"].map(|folder| rig.list(folder)), listed, "{case}");
    assert_eq!(rig.vendor().paid(), 3, "{case}");
}

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_cannot_be_used_is_refused_and_never_replaced() {
    let rig = Rig::new(patient_vendor(), "");
    under_way(&rig).await;
    let good = fs::read(ledger(&rig)).unwrap();
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, &[&str]); 5] = [
        ("no database", |path| fs::write(path, "not a ledger\n".repeat(1000)).unwrap(), &["not a database", "restore"]),
        ("a newer version's", |path| execute(path, "PRAGMA user_version = 99"), &["newer version", "install that"]),
        (
            "another program's",
            |path| {
                fs::remove_file(path).unwrap();
                execute(path, "CREATE TABLE song (title TEXT)");
            },
            &["not a ledger of this program"],
        ),
        (
            "another program's with a number like ours",
            |path| {
                fs::remove_file(path).unwrap();
                execute(path, "CREATE TABLE job (title TEXT); PRAGMA user_version = 1");
            },
            &["not a ledger of this program"],
        ),
        (
            "a folder",
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            &["restore it from a backup"],
        ),
    ];
    for (case, spoil, words) in cases {
        spoil(&ledger(&rig));
        assert_refused(&rig, case, words).await;
        drop(fs::remove_dir(ledger(&rig)));
        remove(ledger_files(&rig));
        fs::write(ledger(&rig), &good).unwrap();
    }
    goes_on(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_page_of_the_ledger_is_damaged_it_is_found_at_the_start() {
    let rig = Rig::new(patient_vendor(), "");
    under_way(&rig).await;
    let good = fs::read(ledger(&rig)).unwrap();
    let page_bytes = usize::from(u16::from_be_bytes([good[16], good[17]]));
    let pages = good.len() / page_bytes;
    assert!(pages > 5, "{pages} pages");
    for page in 0..pages {
        let file = fs::File::options().write(true).open(ledger(&rig)).unwrap();
        file.write_all_at(&vec![0x5A; page_bytes], (page * page_bytes) as u64).unwrap();
        assert_refused(&rig, &format!("page {page} of {pages}"), &["restore it from a backup"]).await;
        remove(ledger_files(&rig));
        fs::write(ledger(&rig), &good).unwrap();
    }
    goes_on(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_must_not_be_written_is_refused_at_the_start() {
    let mut rig = Rig::new(patient_vendor(), "");
    rig.hand_over();
    under_way(&rig).await;
    let shm = rig.root().join("ledger.db-shm");
    for (case, path, mode, good) in [
        ("a file", ledger(&rig), 0o400, 0o600),
        ("its folder", rig.root(), 0o555, 0o755),
        ("unreadable", ledger(&rig), 0, 0o600),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_refused(&rig, case, &["mend the rights"]).await;
        fs::set_permissions(&path, fs::Permissions::from_mode(good)).unwrap();
    }
    assert!(!shm.exists(), "a start that was refused has left nothing that the next one cannot write");
    fs::write(&shm, "").unwrap();
    fs::set_permissions(&shm, fs::Permissions::from_mode(0o400)).unwrap();
    rig.give(&shm);
    assert_refused(&rig, "what lies beside it", &["mend the rights", "ledger.db-shm"]).await;
    fs::remove_file(&shm).unwrap();
    goes_on(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_cannot_be_made_on_a_full_disk_is_said_and_made_later() {
    let rig = Rig::plain();
    rig.drop_pair("cat", "Sent later.");
    let mut daemon = rig.spawn_failing("on=commit;do=ENOSPC", &[]);
    assert_eq!(daemon.code().await, IO, "{}", daemon.said());
    assert!(daemon.said().lines().last().is_some_and(|last| last.contains("ledger.db")), "{}", daemon.said());
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    assert_eq!((rig.videos(), rig.vendor().paid()), (1, 1));
    rig.assert_all_is_well();
}

/// `change` is made while the program is not there; then the two that were accepted are in doubt.
async fn puts_in_doubt(change: impl FnOnce(&Rig)) {
    let rig = Rig::new(patient_vendor(), "");
    under_way(&rig).await;
    change(&rig);
    finish_all(&rig);
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 65, "{}", daemon.said());
    for name in ["one", "two"] {
        let report = rig.report(name);
        assert_eq!((&report["reason"], &report["charged"]), (&"in_doubt".into(), &"unknown".into()), "{report:?}");
    }
    assert_eq!((rig.videos(), rig.reports(), rig.vendor().paid()), (1, 2, 3));
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_ledger_puts_in_doubt_what_may_have_been_sent() {
    puts_in_doubt(|rig| fs::write(ledger(rig), "").unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ledger_a_witness_of_which_one_line_is_damaged_is_not_believed() {
    puts_in_doubt(|rig| {
        remove(ledger_files(rig));
        let path = rig.root().join("work/.intents");
        let text = fs::read_to_string(&path).unwrap();
        let last = text.lines().last().unwrap();
        // One byte of its identifier has changed.
        fs::write(&path, text.replace(last, &format!("?{}", &last[1..]))).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ledger_a_witness_of_garbage_is_not_believed() {
    puts_in_doubt(|rig| {
        remove(ledger_files(rig));
        fs::write(rig.root().join("work/.intents"), [b"\xFF\0\n".repeat(500), b"x".to_vec()].concat()).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_was_cut_off_says_nothing_of_others() {
    puts_in_doubt(|rig| {
        remove(ledger_files(rig));
        let path = rig.root().join("work/.intents");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{}", &text[..20])).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_ledger_the_daemon_needs_no_witness() {
    for text in [None, Some("garbage\n"), Some("")] {
        let rig = Rig::new(patient_vendor(), "");
        under_way(&rig).await;
        let path = rig.root().join("work/.intents");
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        goes_on(&rig).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_work_folder_the_daemon_still_fetches_what_is_paid() {
    let rig = Rig::new(patient_vendor(), "");
    under_way(&rig).await;
    // Its user has taken the pairs away with it.
    fs::remove_dir_all(rig.root().join("work")).unwrap();
    for name in ["one", "two"] {
        rig.forget(format!("{name}.png"));
        rig.forget(format!("{name}.yaml"));
    }
    goes_on(&rig).await;
}

/// The folder and all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_and_came_back_with_a_work_folder_from_a_backup_is_not_sent() {
    let rig = Rig::new(patient_vendor(), "");
    under_way(&rig).await;
    let (work, backup) = (rig.root().join("work"), rig.folder().join("backup"));
    copy(&work, &backup);
    goes_on(&rig).await;
    fs::remove_dir_all(&work).unwrap();
    copy(&backup, &work);
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    assert_eq!((rig.videos(), rig.reports(), rig.vendor().paid()), (3, 0, 3));
    assert_eq!((rig.list("inbox").len(), rig.jobs_in_work()), (0, 2), "both are left alone\n{}", rig.scene());
    assert_eq!(daemon.said().matches("its job has ended (delivered)").count(), 2, "{}", daemon.said());

    // And with the ledger lost, too, they are in doubt: the witness came back with them.
    remove(ledger_files(&rig));
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 65, "{}", daemon.said());
    assert_eq!((rig.reports(), rig.jobs_in_work(), rig.vendor().paid()), (2, 0, 3));
    assert_eq!(rig.report("one")["reason"], "in_doubt");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_shows_at_a_record_ends_the_daemon_and_nothing_is_paid_twice() {
    for nth in 2..9 {
        let rig = Rig::plain();
        for n in 0..3 {
            rig.drop_pair(&format!("{n}"), &format!("Paid once: {n}."));
        }
        let mut daemon = rig.spawn_failing(&format!("on=commit;nth={nth};do=EBADMSG"), &[]);
        assert_eq!(daemon.code().await, IO, "{nth}: {}", daemon.said());
        let said = daemon.said();
        let last = said.lines().last().unwrap_or_default();
        for word in ["ledger.db is damaged", "restore it from a backup", "in doubt"] {
            assert!(last.contains(word), "{nth}: no {word:?} in {last}");
        }
        // Each task that was accepted and cannot be recorded is named at least in the log.
        for task in rig.vendor().tasks() {
            assert!(said.contains(&task.task_id), "{nth}: {} is not told", task.task_id);
        }
        let mut daemon = rig.spawn(&["--once"]);
        let code = daemon.code().await;
        assert!([0, 65].contains(&code), "{nth}: {}", daemon.said());
        assert_eq!(rig.videos() + rig.reports(), 3, "{nth}");
        let prompts: Vec<String> = rig.vendor().tasks().into_iter().map(|task| task.prompt).collect();
        let pairs: BTreeSet<&String> = prompts.iter().collect();
        assert_eq!(pairs.len(), prompts.len(), "{nth}: paid twice: {prompts:?}");
        assert!(prompts.len() + rig.reports() >= 3, "{nth}: {prompts:?}");
        rig.assert_all_is_well();
    }
}
