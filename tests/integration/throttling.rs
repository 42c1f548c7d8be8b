//! An account with limits that nobody has told the daemon: it finds them and loses nothing.

use std::time::{Duration, Instant, SystemTime};

use jimengd::simulator::{Settings, World};

use crate::rig::{Rig, faulty_vendor, vendor};

async fn twelve_pairs_pass(concurrency: usize) {
    let rig = Rig::new(Settings { concurrency: Some(concurrency), ..vendor() }, "");
    for n in 0..12 {
        rig.drop_pair(&format!("{n}"), &format!("Number {n}"));
    }
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (12, 0), "{}", rig.scene());
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), 12);
    assert_eq!(rig.vendor().with_world(World::in_flight_max), concurrency, "the account's slots are used");
    for n in 0..12 {
        assert_eq!(rig.receipt(&format!("{n}"))["attempts"], 1, "a throttled submission is no attempt");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_one_slot_is_found_out() {
    twelve_pairs_pass(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_two_slots_is_found_out() {
    twelve_pairs_pass(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_tasks_than_configured_are_in_flight() {
    let rig = Rig::new(vendor(), "tasks: {max: 3}");
    for n in 0..12 {
        rig.drop_pair(&format!("{n}"), &format!("Number {n}"));
    }
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (12, 0), "{}", rig.scene());
    let most = rig.vendor().with_world(World::in_flight_max);
    assert!((2..=3).contains(&most), "{most}");
}

/// A submission that was throttled is sent again, not before the time is up, and is no attempt.
async fn is_sent_again_after(fault: &str, wait: Duration) {
    // A rest is two fifths of the time between two questions.
    let every = "poll: {first: 20ms, every: 3s, slowest: 3s}";
    let rig = Rig::new(faulty_vendor(&format!("- {{on: submit, nth: 1, do: {fault}}}")), every);
    rig.drop_pair("cat", "A cat");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 0), "{fault}\n{}", rig.scene());
    rig.assert_all_is_well();
    assert_eq!(rig.receipt("cat")["attempts"], 1, "{fault}");
    let came: Vec<_> = rig.vendor().with_world(|world| world.submissions().map(|request| request.head_at).collect());
    assert_eq!(came.len(), 2, "{fault}");
    assert!(came[1] - came[0] >= wait, "{fault}: {:?}", came[1] - came[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_told_to_slow_down_does() {
    let second = Duration::from_secs(1);
    tokio::join!(
        is_sent_again_after("{code: 50429}", second),
        is_sent_again_after("{code: 50430}", second),
        is_sent_again_after("{status: 429, body: empty, retry_after: 1}", second),
        is_sent_again_after("{status: 429, body: html, retry_after: 3}", 3 * second),
        is_sent_again_after("{status: 503, body: envelope}", second),
        is_sent_again_after("{code: 50430, status: 200, shape: digits}", second),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_to_come_back_at_is_kept() {
    let (clock, start) = (SystemTime::now(), Instant::now());
    let date = httpdate::fmt_http_date(clock + Duration::from_secs(4));
    let due = start + httpdate::parse_http_date(&date).unwrap().duration_since(clock).unwrap();
    let fault = format!("{{status: 429, body: html, retry_after: '{date}'}}");
    let rig = Rig::new(faulty_vendor(&format!("- {{on: submit, nth: 1, do: {fault}}}")), "");
    rig.drop_pair("cat", "A cat");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 0), "{}", rig.scene());
    assert_eq!(rig.receipt("cat")["attempts"], 1);
    let came: Vec<_> = rig.vendor().with_world(|world| world.submissions().map(|request| request.head_at).collect());
    assert_eq!(came.len(), 2);
    // The two clocks that were read may be a little apart.
    assert!(came[1] + Duration::from_millis(10) >= due, "{:?} too early", due - came[1]);
}

/// An answer that means to stop us for good: the pair fails not, is not sent before its time, and a start asks anew.
async fn is_not_stopped_for_good_by(retry_after: &str) {
    let fault = format!("{{status: 429, body: empty, retry_after: {retry_after}}}");
    let rig = Rig::new(faulty_vendor(&format!("- {{on: submit, nth: 1, do: {fault}}}")), "");
    rig.drop_pair("cat", "A cat");
    let daemon = rig.start();
    let asked =
        || rig.vendor().with_world(|world| world.submissions().filter(|asked| asked.answered_at.is_some()).count());
    rig.until("refused", || asked() == 1).await;
    daemon.stop().await;
    assert_eq!((asked(), rig.reports(), rig.list("inbox").len()), (1, 0, 2), "{retry_after}\n{}", rig.scene());
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 0), "{retry_after}\n{}", rig.scene());
    rig.assert_all_is_well();
    assert_eq!((rig.vendor().paid(), &rig.receipt("cat")["attempts"]), (1, &1.into()), "{retry_after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_time_to_come_back_at_fails_nobody_and_lasts_no_longer_than_this_run() {
    let in_ten_years = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3653 * 24 * 3600));
    let in_ten_years = format!("'{in_ten_years}'");
    tokio::join!(
        is_not_stopped_for_good_by("315576000"),
        is_not_stopped_for_good_by(&in_ten_years),
        is_not_stopped_for_good_by("'99999999999999999999'"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_poll_says_nothing_about_the_task() {
    let rig = Rig::new(
        faulty_vendor(
            "- {on: poll, nth: 1, do: {code: 50429}}\n- {on: poll, nth: 2, do: {code: 50430, retry_after: 1}}",
        ),
        "",
    );
    rig.drop_pair("cat", "A cat");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 0), "{}", rig.scene());
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_rate_holds_for_submissions_and_polls_together() {
    let rig = Rig::new(Settings { task_seconds: 0.3, ..vendor() }, "api: {requests_per_second: 10}");
    for n in 0..6 {
        rig.drop_pair(&format!("{n}"), &format!("Number {n}"));
    }
    rig.run_once().await;
    rig.assert_all_is_well();
    let came: Vec<_> = rig.vendor().with_world(|world| {
        let asked = world.requests().filter(|request| request.path.starts_with("/task/"));
        asked.map(|request| request.first_byte_at).collect()
    });
    // A burst of one second's worth, and ten a second from then on.
    let seconds = (came[came.len() - 1] - came[0]).as_secs_f64();
    let allowed = 10.0 + 10.0 * (seconds + 0.2);
    assert!(came.len() as f64 <= allowed, "{} requests in {seconds:.2} s", came.len());
}
