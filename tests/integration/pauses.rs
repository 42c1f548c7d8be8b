//! What is nobody's fault in the inbox makes the daemon wait, say why, and go on: no pair fails for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jimengd::simulator::{Script, Settings};

use crate::rig::{Rig, Running, TOKEN, faulty_vendor, patient_vendor, pictures, script, sidecar, vendor};

/// The daemon holds back for `reason`, and the pair lies in the inbox as if nothing had been.
async fn until_held(rig: &Rig, reason: &str, files: &[&str]) {
    let fact = format!("paused for {reason}, {files:?} in the inbox");
    rig.until(&fact, || rig.is_paused(reason) && rig.jobs_in_work() == 0 && rig.list("inbox") == files).await;
    assert_eq!(rig.reports(), 0, "{}", rig.scene());
}

async fn goes_on(rig: &Rig, daemon: Running, videos: usize) {
    daemon.reload().await;
    rig.until_ended(videos, 0).await;
    rig.until("no pause is left", || rig.snapshot().is_some_and(|said| said.paused.is_empty())).await;
    daemon.stop().await;
    rig.assert_everywhere_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_makes_one_loud_message_and_waits_for_the_right_one() {
    let rig = Rig::plain();
    rig.set_token("sk-wrong");
    for name in ["a", "b", "c"] {
        rig.drop_pair(name, name);
    }
    let mut daemon = rig.spawn(&[]);
    until_held(&rig, "account", &["a.png", "a.yaml", "b.png", "b.yaml", "c.png", "c.yaml"]).await;
    let lines = daemon.lines();
    let loud: Vec<_> = lines.iter().filter(|line| line["level"] == "error").collect();
    assert_eq!(loud.len(), 1, "{loud:?}");
    assert_eq!(loud[0]["reason"], "account");
    assert!(loud[0]["message"].as_str().unwrap().contains("token"), "{loud:?}");
    assert!(daemon.runs());
    rig.set_token(TOKEN);
    daemon.hang_up();
    rig.until_ended(3, 0).await;
    daemon.terminate();
    assert_eq!(daemon.code().await, 0);
    rig.assert_everywhere_once();
    assert_eq!(rig.vendor().paid(), 3);
}

/// A token that the API does not take.
const NOT_LET_IN: &str = "{status: 401, body: envelope}";

/// The inbox's files: which they are, and what is in them.
fn as_they_are(rig: &Rig) -> BTreeMap<String, (u64, Vec<u8>)> {
    let file = |name: String| {
        let path = rig.inbox(&name);
        (name, (fs::metadata(&path).unwrap().ino(), fs::read(&path).unwrap()))
    };
    rig.list("inbox").into_iter().map(file).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_token_is_refused_the_inbox_is_left_alone_and_work_goes_on_by_itself() {
    let rig = Rig::new(patient_vendor(), "");
    let daemon = rig.start();
    rig.drop_pair("first", "first");
    rig.until_paid(1).await;
    rig.until("asked", || rig.vendor().tasks()[0].polls > 0).await;
    rig.vendor().follow(script(&format!("- {{on: submit, do: {NOT_LET_IN}}}\n- {{on: poll, do: {NOT_LET_IN}}}")));
    rig.until("paused", || rig.is_paused("account")).await;
    for name in ["a", "b", "c"] {
        rig.drop_pair(name, &format!("{name} [seconds 0]"));
    }
    let before = as_they_are(&rig);
    rig.until("the pairs were seen", || rig.snapshot().is_some_and(|said| said.waiting == 3)).await;
    let asked = rig.vendor().tasks()[0].polls;
    rig.until("still asked", || rig.vendor().tasks()[0].polls >= asked + 3).await;
    assert!(rig.is_paused("account"));
    assert_eq!(as_they_are(&rig), before);
    assert_eq!((rig.vendor().paid(), rig.reports()), (1, 0), "{}", rig.scene());
    // Neither a reload nor a restart: the next poll is the probe.
    rig.vendor().follow(Script::default());
    rig.until_paid(4).await;
    assert!(rig.vendor().finish(&rig.vendor().tasks()[0].task_id));
    rig.until_ended(4, 0).await;
    rig.until("no pause is left", || rig.snapshot().is_some_and(|said| said.paused.is_empty())).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_refused_to_submissions_is_tried_again_by_itself() {
    let rig = Rig::new(faulty_vendor(&format!("- {{on: submit, do: {NOT_LET_IN}}}")), "");
    let names = ["a", "b", "c"];
    for name in names {
        rig.drop_pair(name, name);
    }
    let before = as_they_are(&rig);
    let daemon = rig.start();
    let files: Vec<&str> = before.keys().map(String::as_str).collect();
    until_held(&rig, "account", &files).await;
    assert_eq!(as_they_are(&rig), before, "the pair that was tried is back as it was");
    rig.vendor().follow(Script::default());
    // The first probe comes after half a minute to a minute.
    let goes_on = rig.vendor().wait_until(Duration::from_secs(120), |world| world.paid() == 3);
    assert!(goes_on.await, "{}", rig.scene());
    rig.until_ended(3, 0).await;
    rig.until("no pause is left", || rig.snapshot().is_some_and(|said| said.paused.is_empty())).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    for name in names {
        assert_eq!(rig.receipt(name)["attempts"], 1, "a refused token is no attempt");
    }
}

/// Submissions are refused with `fault`; once they are not, it goes on.
async fn is_waited_out(reason: &str, fault: &str) {
    let rig = Rig::new(faulty_vendor(&format!("- {{on: submit, do: {fault}}}")), "");
    let daemon = rig.start();
    rig.drop_pair("cat", "A cat");
    until_held(&rig, reason, &["cat.png", "cat.yaml"]).await;
    rig.vendor().follow(Script::default());
    goes_on(&rig, daemon, 1).await;
    rig.assert_nothing_left();
    assert_eq!(rig.vendor().paid(), 1, "{fault}");
    assert_eq!(rig.receipt("cat")["attempts"], 1, "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_pay_is_waited_for() {
    tokio::join!(
        is_waited_out("account", "{status: 403, error_code: insufficient_user_quota}"),
        is_waited_out("account", "{status: 402, body: envelope}"),
        is_waited_out("account", "{code: 50400}"),
        is_waited_out("account", "{code: 50400, status: 401}"),
        is_waited_out("account", "{code: 50204}"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_no_gateway_is_waited_for() {
    tokio::join!(
        is_waited_out("gateway", "{status: 302, location: 'https://example.com/login'}"),
        is_waited_out("gateway", "{status: 404, body: html}"),
        is_waited_out("gateway", "{status: 405, body: empty}"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_of_the_api_pauses_and_can_be_mended_by_a_reload() {
    let rig = Rig::plain();
    rig.configure(&format!("api: {{base_url: '{}/wrong'}}", rig.vendor().base_url()));
    let daemon = rig.start();
    rig.drop_pair("cat", "A cat");
    until_held(&rig, "gateway", &["cat.png", "cat.yaml"]).await;
    rig.configure("");
    goes_on(&rig, daemon, 1).await;
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_still_asked_for_and_delivered_while_the_account_is_refused() {
    let rig = Rig::new(patient_vendor(), "");
    let daemon = rig.start();
    rig.drop_pair("first", "first");
    rig.until_paid(1).await;
    rig.vendor().follow(script("- {on: submit, do: {status: 403, error_code: insufficient_user_quota}}"));
    rig.drop_pair("second", "second");
    rig.until("refused and back in the inbox", || {
        rig.is_paused("account") && rig.list("inbox") == ["second.png", "second.yaml"]
    })
    .await;
    rig.vendor().finish(&rig.vendor().tasks()[0].task_id);
    rig.until_ended(1, 0).await;
    assert_eq!(rig.list("outbox"), ["first.mp4", "first.receipt.yaml"]);
    assert!(rig.is_paused("account"), "a poll that goes well does not fill the account");
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!(rig.list("inbox"), ["second.png", "second.yaml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_kept_also_over_a_restart() {
    let rig = Rig::new(vendor(), "budget: {per_hour: 2}");
    for name in ["a", "b", "c", "d"] {
        rig.drop_pair(name, name);
    }
    let daemon = rig.start();
    rig.until_ended(2, 0).await;
    rig.until("paused for the budget", || rig.is_paused("budget")).await;
    daemon.stop().await;
    // The second run ends by itself: nothing may move.
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (0, 0));
    assert_eq!(rig.vendor().paid(), 2);
    assert_eq!(rig.list("inbox").len(), 4);
    assert!(rig.snapshot().unwrap().paused[0].until.is_some());
    rig.assert_all_is_well();
    rig.configure("budget: {per_hour: 3}");
    assert_eq!(rig.run_once().await.delivered, 1);
    assert_eq!(rig.vendor().paid(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_ten_an_hour_is_ten_and_everybody_is_told_until_when() {
    let rig = Rig::new(patient_vendor(), "budget: {per_hour: 10}\ntasks: {max: 4}");
    for n in 0..14 {
        rig.drop_pair(&format!("{n:02}"), &format!("Number {n}"));
    }
    let daemon = rig.start();
    rig.until_paid(4).await;
    daemon.stop().await;
    rig.configure("budget: {per_hour: 10}");
    let daemon = rig.start();
    rig.until("all that may be spent is spent and delivered", || {
        rig.vendor().tasks().iter().for_each(|task| assert!(rig.vendor().finish(&task.task_id)));
        rig.is_paused("budget") && rig.videos() == 10 && rig.jobs_in_work() == 0
    })
    .await;

    let status = rig.status();
    let pause = &status["paused"][0];
    let until: Timestamp = pause["until"].as_str().unwrap().parse().unwrap();
    let left = until.duration_since(Timestamp::now());
    assert!(left > SignedDuration::from_mins(50) && left <= SignedDuration::from_hours(1), "{pause}");
    let waiting = status["waiting"].as_array().unwrap();
    assert!(waiting.len() == 4 && waiting.iter().all(|one| one["reason"] == "paused"), "{status}");
    let page = rig.output("status", &[]);
    let said = String::from_utf8(page.stdout).unwrap();
    assert!(said.contains("PAUSED (budget)") && said.contains("tried again at"), "{said}");
    assert_eq!(page.status.code(), Some(69));
    daemon.stop().await;

    // The service manager's line, from the program itself.
    let path = rig.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let config = rig.config_file();
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let mut daemon = rig.program_in(&arguments, &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let mut told = Vec::new();
    rig.until("the service manager is told", || {
        let mut buffer = [0; 4096];
        while let Ok(length) = manager.recv(&mut buffer) {
            told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        told.iter().any(|line| line.starts_with("STATUS=Paused: budget (") && line.contains(", until "))
    })
    .await;
    daemon.terminate();
    assert_eq!(daemon.code().await, 0);
    assert_eq!((rig.vendor().paid(), rig.reports()), (10, 0), "not one more, over two restarts");
    assert_eq!(rig.list("inbox").len(), 8);
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_raised_lets_work_go_on_at_the_reload() {
    let rig = Rig::new(vendor(), "budget: {per_hour: 1}");
    rig.drop_pair("a", "a");
    rig.drop_pair("b", "b");
    let daemon = rig.start();
    rig.until_ended(1, 0).await;
    rig.until("paused for the budget", || rig.is_paused("budget")).await;
    rig.configure("budget: {per_hour: 2}");
    goes_on(&rig, daemon, 2).await;
    assert_eq!(rig.vendor().paid(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_at_once_is_not_spent() {
    let rig = Rig::new(vendor(), "budget: {per_hour: 1}\ntasks: {max: 1}");
    rig.drop_pair("bad", "bad [50412]");
    assert_eq!(rig.run_once().await.failed, 1, "{}", rig.scene());
    rig.drop_pair("good", "good");
    assert_eq!(rig.run_once().await.delivered, 1, "{}", rig.scene());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_pairs_in_the_inbox() {
    let rig = Rig::new(vendor(), "min_free: 1000TB");
    rig.drop_pair("cat", "A cat");
    // What is rejected costs no space worth speaking of, but a full disk is a full disk.
    let daemon = rig.start();
    until_held(&rig, "disk_full", &["cat.png", "cat.yaml"]).await;
    assert_eq!(rig.vendor().requests().len(), 0);
    rig.configure("");
    goes_on(&rig, daemon, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_vanishes_is_waited_for_and_never_made_anew() {
    let rig = Rig::new(Settings { ..vendor() }, "inbox: {rescan: 100ms}");
    let daemon = rig.start();
    rig.drop_pair("before", "before");
    rig.until_ended(1, 0).await;
    let away = rig.folder().join("away");
    fs::rename(rig.inbox(""), &away).unwrap();
    rig.until("the inbox is unavailable", || rig.is_paused("inbox_unavailable")).await;
    assert!(!rig.inbox("").exists());
    fs::rename(&away, rig.inbox("")).unwrap();
    rig.drop_pair("after", "after");
    rig.until_ended(2, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_that_vanishes_fails_nobody() {
    let rig = Rig::new(vendor(), "");
    let daemon = rig.start();
    rig.drop_pair("first", "first");
    rig.until_ended(1, 0).await;
    let away = rig.folder().join("away");
    fs::rename(rig.root().join("outbox"), &away).unwrap();
    rig.drop_pair("second", "second");
    rig.until("the daemon says that a folder is not there", || {
        rig.is_paused("read_only") || rig.is_paused("disk_full")
    })
    .await;
    fs::rename(&away, rig.root().join("outbox")).unwrap();
    rig.until_ended(2, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_held_holds_nobody_else_back() {
    let mut rig = Rig::new(vendor(), "tasks: {max: 1}\ninbox: {incomplete_after: 1h}");
    rig.hand_over();
    // All of them came first and would go first.
    let urgent = |name: &str| format!("{}priority: 9\n", sidecar(name));
    rig.drop_with("ambiguous", &urgent("ambiguous"));
    rig.copy_in("ambiguous.yml", urgent("ambiguous, too").as_bytes());
    rig.copy_in("half.yaml", urgent("half").as_bytes());
    rig.drop_with("closed", &urgent("closed"));
    let closed = rig.inbox("closed.png");
    rig.give(&rig.inbox(""));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let picture = pictures::png();
    rig.remember("growing.png".as_ref(), &picture);
    let mut growing = File::create(rig.inbox("growing.png")).unwrap();
    growing.write_all(&picture[..1000]).unwrap();
    rig.copy_in("growing.yaml", urgent("growing").as_bytes());

    let mut daemon = rig.spawn(&[]);
    rig.until("ready", || daemon.is_ready()).await;
    for name in ["a", "b", "c"] {
        rig.drop_pair(name, name);
    }
    rig.until_ended(3, 0).await;
    let status = rig.status();
    let waiting: BTreeMap<_, _> = status["waiting"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["pair"].as_str().unwrap(), one["reason"].as_str().unwrap()))
        .collect();
    for (pair, reason) in [("ambiguous", "ambiguous"), ("half", "half"), ("closed", "unreadable")] {
        assert_eq!(waiting.get(pair), Some(&reason), "{status}");
    }
    assert!(waiting.contains_key("growing"), "{status}");
    growing.write_all(&picture[1000..]).unwrap();
    drop(growing);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o644)).unwrap();
    rig.until_ended(5, 0).await;
    daemon.terminate();
    assert_eq!(daemon.code().await, 0);
    rig.assert_all_is_well();
    assert_eq!(rig.list("inbox"), ["ambiguous.png", "ambiguous.yaml", "ambiguous.yml", "half.yaml"]);
}
