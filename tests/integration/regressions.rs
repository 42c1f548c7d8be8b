//! What once went wrong and must not again: races and troubles in which money or files were at stake.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use jimengd::simulator::{Script, Settings};

use crate::rig::{self, Rig, faulty_vendor, patient_vendor, script};

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

/// Each submission is accepted and paid, and answered with this task.
fn always_task(task_id: &str) -> Script {
    let answer = format!(r#"{{"code":10000,"data":{{"task_id":"{task_id}"}},"request_id":"r8"}}"#);
    script(&format!("- {{on: submit, do: {{accepted: '{answer}'}}}}"))
}

fn assert_in_doubt_over(rig: &Rig, name: &str, task_id: &str, holder: &str) {
    let report = rig.report(name);
    assert_eq!((&report["reason"], &report["charged"]), (&"in_doubt".into(), &"unknown".into()), "{report:?}");
    assert_eq!(report["message"], format!("the API accepted it as task {task_id}, which job {holder} has already"));
    assert_eq!((&report["task_id"], &report["request_id"]), (&serde_yaml::Value::Null, &"r8".into()));
    assert_eq!((&report["stage"], &report["attempts"]), (&"submit".into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_a_job_has_already_is_nobody_elses() {
    let rig = Rig::new(patient_vendor(), "");
    let daemon = rig.start();
    rig.drop_pair("first", "The first cat");
    let task_of = |name: &str| {
        let sql = "SELECT job, task_id FROM job WHERE stem = ?1 AND state = 'submitted'";
        ledger(&rig).query_row(sql, [name.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).ok()
    };
    rig.until("accepted", || task_of("first").is_some()).await;
    let (first, task_id): (String, String) = task_of("first").unwrap();
    rig.vendor().follow(always_task(&task_id));
    rig.drop_pair("second", "The second cat");
    rig.until("in doubt", || rig.reports() == 1).await;
    assert_in_doubt_over(&rig, "second", &task_id, &first);
    assert!(rig.vendor().finish(&task_id));
    rig.until_ended(1, 1).await;
    daemon.stop().await;
    assert_eq!(rig.receipt("first")["task_id"], task_id.as_str());
    // The ledger remembers it in another run, when its job has long been delivered.
    rig.drop_pair("third", "The third cat");
    rig.run_once().await;
    assert_in_doubt_over(&rig, "third", &task_id, &first);
    rig.assert_all_is_well();
    assert_eq!((rig.videos(), rig.vendor().paid()), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_the_api_still_works_on_is_never_given_up_and_blocks_nobody() {
    let rig = Rig::new(patient_vendor(), "tasks: {max: 1, give_up_after: 1ms}");
    let daemon = rig.start();
    rig.drop_pair("slow", "A slow cat");
    rig.until("asked often", || rig.vendor().tasks().first().is_some_and(|task| task.polls >= 10)).await;
    rig.drop_pair("quick", "A quick cat");
    rig.until_paid(2).await;
    let tasks = rig.vendor().tasks();
    assert!(rig.vendor().finish(&tasks[1].task_id));
    rig.until("the quick one is there", || rig.list("outbox").contains(&"quick.mp4".to_owned())).await;
    let asked = rig.vendor().tasks()[0].polls;
    rig.until("still asked", || rig.vendor().tasks()[0].polls >= asked + 5).await;
    assert!(rig.vendor().finish(&tasks[0].task_id));
    rig.until_ended(2, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!(rig.receipt("slow")["task_id"], tasks[0].task_id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumped_by_a_day_gives_no_task_up() {
    for silence in ["{word: pondering}", "{status: 200, body: '{}'}", "{word: generating}"] {
        let rig = Rig::new(patient_vendor(), "");
        rig.vendor().follow(script(&format!("- {{on: poll, do: {silence}}}")));
        rig.drop_pair("cat", "A cat");
        let daemon = rig.start();
        let submitted = || {
            let sql = "SELECT count(*) FROM job WHERE state = 'submitted'";
            ledger(&rig).query_row(sql, [], |row| row.get::<_, u32>(0)).is_ok_and(|jobs| jobs == 1)
        };
        rig.until("recorded", || rig.vendor().paid() == 1 && submitted()).await;
        daemon.stop().await;
        // As if the clock had been a day behind when the task was accepted.
        let earlier = "UPDATE job SET detail = json_set(detail, '$.task.submitted_at',
            strftime('%Y-%m-%dT%H:%M:%SZ', json_extract(detail, '$.task.submitted_at'), '-1 day'))";
        assert_eq!(ledger(&rig).execute(earlier, []).unwrap(), 1);
        let asked = rig.vendor().tasks()[0].polls;
        let daemon = rig.start();
        rig.until("asked", || rig.reports() > 0 || rig.vendor().tasks()[0].polls >= asked + 3).await;
        assert_eq!(rig.list("error"), Vec::<String>::new(), "{silence}");
        rig.vendor().follow(Script::default());
        assert!(rig.vendor().finish(&rig.vendor().tasks()[0].task_id));
        rig.until_ended(1, 0).await;
        daemon.stop().await;
        rig.assert_all_is_well();
        assert_eq!(rig.vendor().paid(), 1, "{silence}");
    }
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
async fn a_broken_transfer_whose_folder_was_moved_away_begins_anew() {
    let cuts = faulty_vendor("- {on: download, times: 3, do: {cut: 20000}}");
    let rig = Rig::new(Settings { video_bytes: Some(200_000), ..cuts }, "");
    rig.drop_pair("shoes/cat", "A cat");
    let daemon = rig.start();
    rig.until("broken off", || rig.vendor().tasks().iter().any(|task| task.downloads >= 1)).await;
    fs::rename(rig.root().join("outbox/shoes"), rig.folder().join("taken")).unwrap();
    rig.until("delivered", || rig.videos() == 1).await;
    daemon.stop().await;
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_is_delivered_while_the_archive_is_away_and_fetched_once() {
    let rig = Rig::new(patient_vendor(), "");
    rig.drop_pair("cat", "A cat");
    let daemon = rig.start();
    rig.until_paid(1).await;
    fs::rename(rig.root().join("archive"), rig.root().join("archive-away")).unwrap();
    assert!(rig.vendor().finish(&rig.vendor().tasks()[0].task_id));
    rig.until("delivered", || rig.videos() == 1).await;
    rig.until("paused", || rig.is_paused("read_only")).await;
    fs::rename(rig.root().join("archive-away"), rig.root().join("archive")).unwrap();
    rig.until_ended(1, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!((rig.vendor().paid(), rig.vendor().tasks()[0].downloads), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_written_to_while_it_waits_is_judged_anew() {
    let rig = Rig::new(faulty_vendor("- {on: submit, times: 2, do: {status: 429}}"), "");
    rig.drop_pair("cat", "A cat");
    let picture = fs::OpenOptions::new().write(true).open(rig.inbox("cat.png")).unwrap();
    let daemon = rig.start();
    let refused = || rig.vendor().with_world(|world| world.submissions().any(|request| request.status.is_some()));
    rig.until("refused", refused).await;
    let other = rig::pictures::png_of(640, 480);
    picture.write_all_at(&other, 0).unwrap();
    picture.set_len(other.len() as u64).unwrap();
    rig.until_ended(1, 0).await;
    daemon.stop().await;
    assert_eq!(rig.vendor().paid(), 1);
    assert_eq!(fs::read(rig.archive("cat.png")).unwrap(), other);
    let told = &rig.receipt("cat")["picture"];
    assert_eq!((&told["width"], &told["bytes"]), (&640.into(), &other.len().into()), "what was sent is what is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_keeps_a_task_alive_that_nobody_can_have_any_more() {
    let envelope = r#"'{"error":{"message":"no","type":"new_api_error"}}'"#;
    for answer in [
        format!("{{status: 403, body: {envelope}}}"),
        format!("{{status: 503, body: {envelope}}}"),
        format!("{{status: 500, body: {envelope}}}"),
        "{code: 50400}".to_owned(),
    ] {
        let rig = Rig::new(patient_vendor(), "tasks: {give_up_after: 1s}");
        rig.drop_pair("cat", "A cat");
        let daemon = rig.start();
        let submitted = || {
            let sql = "SELECT count(*) FROM job WHERE state = 'submitted'";
            ledger(&rig).query_row(sql, [], |row| row.get::<_, u32>(0)).is_ok_and(|jobs| jobs == 1)
        };
        rig.until("recorded", || rig.vendor().paid() == 1 && submitted()).await;
        daemon.stop().await;
        rig.vendor().follow(script(&format!("- {{on: poll, do: {answer}}}")));
        let earlier = "UPDATE job SET detail = json_set(detail, '$.task.submitted_at',
            strftime('%Y-%m-%dT%H:%M:%SZ', json_extract(detail, '$.task.submitted_at'), '-1 day'))";
        assert_eq!(ledger(&rig).execute(earlier, []).unwrap(), 1);
        let daemon = rig.start();
        rig.until_ended(0, 1).await;
        daemon.stop().await;
        let report = rig.report("cat");
        assert_eq!((&report["reason"], &report["charged"]), (&"task_gone".into(), &"unknown".into()), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_also_if_the_error_folder_was_away_when_it_came() {
    let rig = Rig::new(faulty_vendor("- {on: submit, prompt: cat, do: {delay: 4.0, code: 50412}}"), "");
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

#[tokio::test(flavor = "multi_thread")]
async fn the_beginning_of_a_video_that_is_given_up_is_taken_away_though_that_fails_once() {
    let rig = Rig::new(faulty_vendor("- {on: download, do: {film: junk}}"), "tasks: {give_up_after: 1ms}");
    rig.drop_pair("red", "A red shoe turns");
    let log = rig.folder().join("points");
    let (begin, place) = ("ledger.db/failing", rig.outbox("."));
    let plan = format!("log={};after={begin};on=unlink {};do=EIO", log.display(), place.display());
    assert_eq!(rig.spawn_failing(&plan, &["--once"]).code().await, 65, "{}", rig.scene());
    let points = fs::read_to_string(log).unwrap();
    assert!(points.contains(" refused"), "it did not fail:\n{points}");
    assert_eq!(rig.report("red")["reason"], "download_failed");
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cut_off_claim_has_left_goes_back_without_a_restart_once_the_inbox_takes_it() {
    let rig = Rig::plain();
    rig.drop_pair("red", "A red shoe turns");
    // Dead between the first file and the second: no row, and no intent.
    let plan = format!("on=sidecar < {};do=kill", rig.inbox("").display());
    assert_eq!(rig.spawn_failing(&plan, &["--once"]).code().await, 137, "{}", rig.scene());
    assert_eq!((rig.list("inbox"), rig.jobs_in_work()), (vec!["red.yaml".to_owned()], 1));

    let (mended, refused) = (rig.folder().join("mended"), "a pair stays in work/ for now");
    let plan = format!("on=rename {};do=EROFS;until={}", rig.inbox("red").display(), mended.display());
    // Asked to end when nothing can move, it does not wait for that.
    let mut once = rig.spawn_failing(&plan, &["--once"]);
    assert_eq!(once.code().await, 74, "{}", once.said());
    assert!(once.said().contains(refused), "{}", once.said());

    let daemon = rig.spawn_failing(&plan, &[]);
    rig.until("it is told", || daemon.said().contains(refused) && rig.is_paused("read_only")).await;
    fs::write(mended, "").unwrap();
    rig.until_ended(1, 0).await;
    assert_eq!(rig.vendor().paid(), 1);
    drop(daemon);
    rig.assert_everywhere_once();
}
