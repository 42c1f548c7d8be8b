//! Told to stop: what was not sent goes back, what was sent is remembered, and nothing is in doubt.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jimengd::simulator::{Script, Settings};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{Rig, faulty_vendor, patient_vendor, pictures, sidecar, vendor};

#[tokio::test(flavor = "multi_thread")]
async fn stopped_in_the_middle_of_everything_the_next_run_delivers_all() {
    let rig = Rig::new(Settings { task_seconds: 0.2, video_bytes: Some(200_000), ..vendor() }, "");
    for n in 0..40 {
        rig.drop_pair(&format!("{n}"), &format!("Number {n}"));
    }
    for requests in [10, 40, 90] {
        let mut daemon = rig.spawn(&[]);
        rig.until("in the middle", || rig.vendor().with_world(|world| world.requests_seen()) >= requests).await;
        daemon.terminate();
        assert_eq!(daemon.code().await, 0, "{}", daemon.said());
        rig.assert_everywhere_once();
        assert_eq!(rig.reports(), 0, "{}", rig.scene());
    }
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    rig.assert_all_is_well();
    assert_eq!((rig.videos(), rig.vendor().paid()), (40, 40));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_on_its_way_is_awaited() {
    let rig = Rig::new(faulty_vendor("- {on: submit, prompt: cat, do: {delay: 1.5}}"), "");
    rig.drop_pair("cat", "A cat");
    let daemon = rig.start();
    rig.until("handed over", || {
        rig.vendor().with_world(|world| world.submissions().any(|request| request.last_byte_at.is_some()))
    })
    .await;
    assert_eq!(rig.vendor().paid(), 0, "it is not accepted yet");
    daemon.stop().await;
    rig.assert_everywhere_once();
    assert_eq!((rig.vendor().paid(), rig.jobs_in_work(), rig.reports()), (1, 1, 0), "{}", rig.scene());
    assert_eq!(rig.run_once().await.delivered, 1);
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_not_handed_over_is_cut_and_its_pair_goes_back() {
    let rig = Rig::new(faulty_vendor("- {on: submit, do: {hang: head}}"), "picture: {max_bytes: null}");
    let mut picture = pictures::jpeg(1);
    picture.resize(4_800_000, 0);
    rig.copy_in("large.jpg", &picture);
    rig.copy_in("large.yaml", sidecar("A large cat").as_bytes());
    let daemon = rig.start();
    rig.until("the upload has begun", || rig.vendor().with_world(|world| world.submissions().count() == 1)).await;
    let told = std::time::Instant::now();
    daemon.stop().await;
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    rig.assert_all_is_well();
    assert_eq!(rig.list("inbox"), ["large.jpg", "large.yaml"]);
    rig.vendor().follow(Script::default());
    assert_eq!(rig.run_once().await.delivered, 1);
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_and_the_next_start_goes_on() {
    let rig = Rig::new(faulty_vendor("- {on: submit, nth: 1, do: {hang: accepted}}"), "");
    rig.drop_pair("cat", "A cat");
    let mut daemon = rig.spawn(&[]);
    rig.until_paid(1).await;
    daemon.terminate();
    rig.until("it waits for the answer", || daemon.said().contains("\"stopping\"")).await;
    assert!(daemon.runs(), "an answer decides about money");
    daemon.terminate();
    assert_eq!(daemon.code().await, 143, "{}", daemon.said());
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 65, "{}", daemon.said());
    rig.assert_all_is_well();
    assert_eq!(rig.report("cat")["reason"], "in_doubt");
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_run_go_on_at_the_next_start() {
    let rig = Rig::new(patient_vendor(), "");
    rig.drop_pair("cat", "A cat");
    let daemon = rig.start();
    rig.until_paid(1).await;
    daemon.stop().await;
    rig.vendor().finish(&rig.vendor().tasks()[0].task_id);
    assert_eq!(rig.run_once().await.delivered, 1);
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_error_that_nobody_reads_holds_nothing_up() {
    for form in ["text", "json"] {
        let rig = Rig::new(vendor(), &format!("log: {{level: trace, format: {form}}}"));
        let (_unread, mut full) = std::io::pipe().unwrap();
        let flags = fcntl_getfl(&full).unwrap();
        fcntl_setfl(&full, flags | OFlags::NONBLOCK).unwrap();
        while full.write(&[b'x'; 4096]).is_ok() {}
        fcntl_setfl(&full, flags).unwrap();
        let config = rig.config_file();
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_jimengd"))
            .args(["run", "--config", config.to_str().unwrap()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(full)
            .spawn()
            .unwrap();
        rig.drop_pair("cat", "A cat");
        rig.until_ended(1, 0).await;
        kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
        let told = Instant::now();
        let ended = loop {
            match daemon.try_wait().unwrap() {
                Some(ended) => break ended,
                None if told.elapsed() > Duration::from_secs(6) => {
                    daemon.kill().unwrap();
                    break daemon.wait().unwrap();
                }
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{form}");
        rig.assert_all_is_well();
    }
}
