//! What the API or we ourselves will not have, and what cannot be known: reports, further attempts, and trying again by hand.

use std::fs;

use jimengd::simulator::Script;

use crate::rig::{Rig, Running, faulty_vendor, pictures, script, sidecar, vendor};

/// A pair as it was dropped lies in `error/` with its report.
fn assert_rejected(rig: &Rig, name: &str) {
    rig.assert_all_is_well();
    assert_eq!(rig.list("error"), [format!("{name}.error.yaml"), format!("{name}.png"), format!("{name}.yaml")]);
    assert_eq!(rig.list("outbox"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_is_refused_at_once_costs_nothing() {
    let rig = Rig::plain();
    rig.drop_pair("cat", "A cat [50412]");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (0, 1));
    assert_rejected(&rig, "cat");
    let report = rig.report("cat");
    assert_eq!(report["code"], 50412);
    assert_eq!(report["reason"], "text_risk_not_pass");
    assert_eq!(report["message"], "Text Risk Not Pass");
    assert_eq!(report["stage"], "submit");
    assert_eq!(report["charged"], "no");
    assert_eq!(report["attempts"], 1);
    assert_eq!(report["http_status"], 400);
    assert!(report["task_id"].is_null());
    assert!(report["request_id"].is_string());
    assert_eq!(report["files"], serde_yaml::Value::from(vec!["cat.png", "cat.yaml"]));
    for sentence in ["meaning", "advice"] {
        assert!(report[sentence].as_str().unwrap().ends_with('.'), "{report:?}");
    }
    assert_eq!(rig.vendor().paid(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_is_reported_with_its_code_and_task() {
    let rig = Rig::plain();
    rig.drop_pair("cat", "A cat [poll 50413]");
    rig.run_once().await;
    assert_rejected(&rig, "cat");
    let report = rig.report("cat");
    assert_eq!(report["code"], 50413);
    assert_eq!(report["reason"], "prompt_sensitive_words");
    assert_eq!(report["stage"], "poll");
    assert_eq!(report["charged"], "unknown");
    assert_eq!(report["task_id"], rig.vendor().tasks()[0].task_id.as_str());
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_a_new_seed_may_cure_is_given_one_more_attempt() {
    let rig = Rig::plain();
    rig.drop_pair("cat", "A cat [poll 50500 once]");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 0), "{}", rig.scene());
    rig.assert_all_is_well();
    let tasks = rig.vendor().tasks();
    assert_eq!(tasks.len(), 2);
    assert_ne!(tasks[0].seed, tasks[1].seed);
    let receipt = rig.receipt("cat");
    assert_eq!(receipt["attempts"], 2);
    assert_eq!(receipt["seed"].as_i64(), Some(tasks[1].seed));
    assert_eq!(receipt["task_id"], tasks[1].task_id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_failure_of_that_kind_is_the_last() {
    let rig = Rig::plain();
    rig.drop_pair("cat", "A cat [poll 50500]");
    rig.run_once().await;
    assert_rejected(&rig, "cat");
    let report = rig.report("cat");
    assert_eq!((&report["code"], &report["attempts"]), (&50500.into(), &2.into()));
    assert_eq!(rig.vendor().paid(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_was_asked_for_is_kept_and_so_is_paid_once() {
    let rig = Rig::plain();
    rig.drop_with("cat", "prompt: 'A cat [poll 50500]'\nseed: 42\n");
    rig.run_once().await;
    assert_rejected(&rig, "cat");
    assert_eq!(rig.report("cat")["attempts"], 1);
    assert_eq!(rig.vendor().paid(), 1);
    assert_eq!(rig.vendor().tasks()[0].seed, 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_sidecar_is_told_before_anything_is_sent() {
    let rig = Rig::plain();
    rig.drop_with("shoes/cat", "promt: A cat\naspect_ratio: 969\nseed: many\n");
    rig.run_once().await;
    rig.assert_all_is_well();
    assert_eq!(rig.list("error"), ["shoes/cat.error.yaml", "shoes/cat.png", "shoes/cat.yaml"]);
    let report = rig.report("shoes/cat");
    assert_eq!(report["reason"], "invalid_sidecar");
    assert_eq!(report["stage"], "read");
    assert_eq!(report["charged"], "no");
    assert!(report["code"].is_null());
    let problems = report["problems"].as_sequence().unwrap();
    let keys: Vec<_> = problems.iter().filter_map(|problem| problem["key"].as_str()).collect();
    for key in ["promt", "aspect_ratio", "seed"] {
        assert!(keys.contains(&key), "every complaint at once: {report:?}");
    }
    let misspelt = problems.iter().find(|problem| problem["key"] == "promt").unwrap();
    assert_eq!(misspelt["line"], 1);
    assert!(misspelt["proposal"].as_str().unwrap().contains("prompt"), "{misspelt:?}");
    assert_eq!(misspelt["file"], "cat.yaml");
    assert_eq!(rig.vendor().requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_or_unfit_picture_is_never_sent() {
    let rig = Rig::new(vendor(), "inbox: {incomplete_after: 200ms}");
    let cut = pictures::png();
    for (name, picture) in [
        ("cut.png", &cut[..cut.len() / 2]),
        ("small.png", &pictures::png_of(100, 100)),
        ("narrow.png", &pictures::png_of(2000, 400)),
        ("words.jpg", b"not a picture at all"),
    ] {
        rig.copy_in(name, picture);
        let (stem, _) = name.split_once('.').unwrap();
        rig.copy_in(format!("{stem}.yaml"), sidecar(stem).as_bytes());
    }
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (0, 4), "{}", rig.scene());
    rig.assert_all_is_well();
    for name in ["cut", "small", "narrow", "words"] {
        let report = rig.report(name);
        assert_eq!(report["reason"], "invalid_picture", "{name}: {report:?}");
        assert_eq!(report["charged"], "no");
    }
    assert_eq!(rig.vendor().requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_refused_without_a_code_fails_alone() {
    let rig = Rig::new(faulty_vendor("- {on: submit, prompt: bad, do: {status: 413, body: html}}"), "");
    rig.drop_pair("bad", "bad");
    rig.drop_pair("good", "good");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 1), "{}", rig.scene());
    let report = rig.report("bad");
    assert_eq!((&report["reason"], &report["http_status"]), (&"request_refused".into(), &413.into()));
    assert_eq!(report["charged"], "no");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_pair_that_is_moved_back_is_a_new_job_that_knows_the_earlier_one() {
    let rig = Rig::plain();
    let daemon = rig.start();
    rig.drop_pair("cat", "A cat [50412]");
    rig.until_ended(0, 1).await;
    let earlier = rig.report("cat")["job"].as_str().unwrap().to_owned();
    rig.forget("cat.yaml");
    fs::remove_file(rig.error("cat.yaml")).unwrap();
    rig.move_back(&["cat.png"]);
    rig.copy_in("cat.yaml", sidecar("A polite cat").as_bytes());
    rig.until_ended(1, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!(rig.list("error"), Vec::<String>::new(), "the old report is gone");
    let receipt = rig.receipt("cat");
    let job = receipt["job"].as_str().unwrap();
    assert_ne!(job, earlier);
    assert_eq!(rig.job(job).earlier.map(|id| id.to_string()), Some(earlier));
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_that_could_not_be_fetched_is_fetched_without_paying_again() {
    let rig = Rig::new(faulty_vendor("- {on: download, do: {status: 404}}"), "tasks: {give_up_after: 1s}");
    let daemon = rig.start();
    rig.drop_pair("cat", "A cat");
    rig.until_ended(0, 1).await;
    let report = rig.report("cat");
    assert_eq!((&report["reason"], &report["stage"]), (&"download_failed".into(), &"download".into()));
    assert_eq!(report["charged"], "yes");
    rig.vendor().follow(Script::default());
    deliver_moved_back(&rig, daemon).await;
    assert_eq!(rig.vendor().paid(), 1);
    assert_eq!(rig.receipt("cat")["task_id"], report["task_id"]);
    assert_eq!(rig.list("error"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_task_goes_on_with_its_own_seed_whatever_the_limits_are_by_now() {
    let rig = Rig::new(faulty_vendor("- {on: download, do: {status: 404}}"), "tasks: {give_up_after: 1s}");
    let daemon = rig.start();
    rig.drop_pair("cat", "A cat");
    rig.until_ended(0, 1).await;
    let report = rig.report("cat");
    daemon.stop().await;
    rig.configure("picture: {max_bytes: 10B}");
    rig.vendor().follow(Script::default());
    let daemon = rig.start();
    deliver_moved_back(&rig, daemon).await;
    assert_eq!(rig.vendor().paid(), 1);
    let receipt = rig.receipt("cat");
    assert_eq!(receipt["task_id"], report["task_id"]);
    assert_eq!(receipt["seed"].as_i64(), Some(rig.vendor().tasks()[0].seed), "the seed that made the video");
}

/// The failed pair `cat` is moved back, unedited, and delivered; then the daemon stops.
async fn deliver_moved_back(rig: &Rig, daemon: Running) {
    rig.move_back(&["cat.png", "cat.yaml"]);
    rig.until_ended(1, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
}

/// A pair whose task fails with `word` as its status is moved back, unedited, to an API that is well again.
async fn moved_back_after(word: &str) -> (Rig, serde_yaml::Value) {
    let faults = format!("- {{on: poll, do: {{word: {word}}}}}");
    let rig = Rig::new(faulty_vendor(&faults), "tasks: {give_up_after: 1s}");
    let daemon = rig.start();
    rig.drop_pair("cat", "A cat");
    rig.until_ended(0, 1).await;
    let report = rig.report("cat");
    assert_eq!((&report["reason"], &report["charged"]), (&"task_gone".into(), &"unknown".into()), "{report:?}");
    rig.vendor().follow(Script::default());
    deliver_moved_back(&rig, daemon).await;
    (rig, report)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguity_that_is_moved_back_as_it_is_stays_one() {
    let rig = Rig::new(vendor(), "inbox: {orphan_after: 1s}");
    let daemon = rig.start();
    let names = ["cat.jpg", "cat.png", "cat.yaml"];
    let set_aside = || {
        let mut all = names.to_vec();
        all.extend(["cat.jpg.error.yaml", "cat.png.error.yaml", "cat.yaml.error.yaml"]);
        all.sort_unstable();
        rig.list("error") == all && rig.jobs_in_work() == 0
    };
    rig.copy_in("cat.jpg", &pictures::jpeg(1));
    rig.copy_in("cat.png", &pictures::png());
    rig.copy_in("cat.yaml", sidecar("A cat").as_bytes());
    for _ in 0..2 {
        rig.until("all is set aside under its own name", set_aside).await;
        assert!(names.iter().all(|name| rig.report(name)["reason"] == "ambiguous_pair"), "{}", rig.scene());
        rig.move_back(&names);
    }
    rig.until("all is set aside once more", set_aside).await;
    daemon.stop().await;
    assert_eq!(rig.vendor().paid(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_attempt_may_have_cost_is_told() {
    let refused = "- {on: submit, nth: 2, do: {code: 50412}}";
    for (before, wishes) in [
        ("- {on: poll, nth: 1, do: {code: 50500}}", ""),
        ("- {on: submit, nth: 1, do: {close: accepted}}", "tasks: {in_doubt: resubmit}"),
    ] {
        let rig = Rig::new(faulty_vendor(&format!("{before}\n{refused}")), wishes);
        let daemon = rig.start();
        rig.drop_pair("cat", "A cat");
        rig.until_ended(0, 1).await;
        daemon.stop().await;
        let report = rig.report("cat");
        assert_eq!((&report["code"], &report["attempts"]), (&50412.into(), &2.into()), "{report:?}");
        assert_eq!((&report["charged"], rig.vendor().paid()), (&"unknown".into(), 1), "{report:?}");
        let said = [&report["message"], &report["advice"]].map(|text| text.as_str().unwrap().to_owned());
        assert!(said[0].ends_with("; an earlier attempt of this job may have been charged"), "{said:?}");
        assert!(said[1].ends_with("Another try is paid anew."), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_only_time_has_given_up_is_asked_for_again_without_paying() {
    let (rig, report) = moved_back_after("pondering").await;
    assert_eq!(rig.vendor().paid(), 1);
    assert_eq!(rig.receipt("cat")["task_id"], report["task_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_that_was_made_is_not_paid_for_again_because_the_api_stumbles() {
    let rig = Rig::new(
        faulty_vendor("- {on: download, do: {expired: true}}"),
        "tasks: {give_up_after: 1s}\npoll: {first: 50ms, every: 50ms}",
    );
    let daemon = rig.start();
    rig.drop_pair("cat", "cat");
    rig.until_reports(1).await;
    let report = rig.report("cat");
    assert_eq!((&report["reason"], &report["charged"]), (&"download_failed".into(), &"yes".into()), "{report:?}");
    daemon.stop().await;
    // Now there is time enough, and the first word about the video is an internal error.
    rig.configure("poll: {first: 50ms, every: 50ms}");
    rig.vendor().follow(script("- {on: poll, nth: 1, do: {code: 50500}}"));
    let daemon = rig.start();
    deliver_moved_back(&rig, daemon).await;
    assert_eq!(rig.vendor().paid(), 1);
    assert_eq!(rig.receipt("cat")["task_id"], report["task_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_the_api_itself_has_given_up_is_paid_for_anew() {
    let (rig, report) = moved_back_after("expired").await;
    assert_eq!(rig.vendor().paid(), 2);
    assert_ne!(rig.receipt("cat")["task_id"], report["task_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_dropped_anew_is_a_new_job_and_leaves_the_report() {
    let rig = Rig::plain();
    let (picture, text) = (pictures::png(), sidecar("A cat [50412 once]"));
    for _ in 0..2 {
        rig.copy_in("cat.png", &picture);
        rig.copy_in("cat.yaml", text.as_bytes());
        rig.run_once().await;
    }
    rig.assert_all_is_well();
    assert_eq!(rig.list("error"), ["cat.error.yaml", "cat.png", "cat.yaml"]);
    assert_eq!(rig.list("outbox"), ["cat.mp4", "cat.receipt.yaml"]);
    assert_eq!(rig.job(rig.receipt("cat")["job"].as_str().unwrap()).earlier, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_whose_answer_is_lost_is_in_doubt_and_never_sent_again() {
    let rig = Rig::plain();
    rig.drop_pair("cat", "A cat [answer lost]");
    rig.run_once().await;
    assert_rejected(&rig, "cat");
    let report = rig.report("cat");
    assert_eq!((&report["reason"], &report["charged"]), (&"in_doubt".into(), &"unknown".into()));
    assert!(report["code"].is_null() && report["task_id"].is_null());
    rig.run_once().await;
    assert_rejected(&rig, "cat");
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_may_hide_an_acceptance_is_in_doubt() {
    let rig = Rig::new(
        faulty_vendor(
            "- {on: submit, prompt: closed, do: {close: accepted}}
- {on: submit, prompt: silent, do: {hang: accepted}}
- {on: submit, prompt: cut, do: {cut: 30}}
- {on: submit, prompt: gateway, do: {status: 504, body: html}}
- {on: submit, prompt: page, do: {status: 200, body: html}}
- {on: submit, prompt: broken, do: {status: 500, body: empty}}",
        ),
        "api: {submit_timeout: 300ms}\npoll: {first: 1ms, every: 1ms}",
    );
    for name in ["closed", "silent", "cut", "gateway", "page", "broken"] {
        rig.drop_pair(name, name);
    }
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (0, 6), "{}", rig.scene());
    rig.assert_all_is_well();
    for name in ["closed", "silent", "cut", "gateway", "page", "broken"] {
        assert_eq!(rig.report(name)["reason"], "in_doubt", "{name}");
    }
    assert_eq!(rig.vendor().with_world(|world| world.submissions().count()), 6, "none was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_is_sent_again_if_the_operator_wants_that() {
    let rig = Rig::new(faulty_vendor("- {on: submit, nth: 1, do: {close: accepted}}"), "tasks: {in_doubt: resubmit}");
    rig.drop_pair("cat", "A cat");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 0), "{}", rig.scene());
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_no_doubt() {
    let mut rig = Rig::new(vendor(), "");
    rig.close_vendor().await;
    rig.drop_pair("cat", "A cat");
    let daemon = rig.start();
    rig.until("the daemon has noticed", || rig.is_paused("gateway")).await;
    rig.open_vendor();
    rig.until_ended(1, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), 1);
    assert_eq!(rig.receipt("cat")["attempts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_away_for_a_while_is_no_doubt() {
    let mut rig = Rig::new(vendor(), "api: {base_url: 'http://api.example'}");
    rig.close_vendor().await;
    rig.drop_pair("cat", "A cat");
    let mut daemon = rig.spawn_behind_proxy();
    rig.until("the daemon has noticed", || rig.is_paused("gateway")).await;
    rig.open_vendor();
    rig.until_ended(1, 0).await;
    daemon.terminate();
    assert_eq!(daemon.code().await, 0);
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), 1);
    assert_eq!(rig.receipt("cat")["attempts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_short_is_sent_again_and_paid_once() {
    let rig = Rig::new(faulty_vendor("- {on: submit, nth: 1, do: {close: head}}"), "picture: {max_bytes: null}");
    // More than the connection's buffers swallow: a request that was handed over whole would be in doubt.
    let mut picture = pictures::jpeg(1);
    picture.resize(4_800_000, 0);
    rig.copy_in("large.jpg", &picture);
    rig.copy_in("large.yaml", sidecar("A large cat").as_bytes());
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 0), "{}", rig.scene());
    assert_eq!(rig.vendor().paid(), 1);
    assert_eq!(rig.vendor().with_world(|world| world.submissions().count()), 2);
    assert_eq!(rig.receipt("large")["attempts"], 1);
}
