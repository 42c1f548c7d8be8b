//! From a pair in the inbox to a video in the outbox.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use jimengd::daemon::LEDGER;
use jimengd::simulator::{Settings, Source};
use notify::Watcher;

use crate::rig::{Rig, files, patient_vendor, pictures, script, sha256, sidecar, vendor};

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_is_delivered_in_whatever_order_and_way_it_comes() {
    let rig = Rig::plain();
    let daemon = rig.start();
    let (picture, text) = (pictures::png(), sidecar("The picture is copied first"));
    rig.copy_in("a.png", &picture);
    rig.copy_in("a.yaml", text.as_bytes());
    let (picture, text) = (pictures::png(), sidecar("The sidecar is copied first"));
    rig.copy_in("b.yaml", text.as_bytes());
    rig.copy_in("b.png", &picture);
    let (picture, text) = (pictures::png(), sidecar("The picture is moved first"));
    rig.move_in("c.png", &picture);
    rig.move_in("c.yaml", text.as_bytes());
    let (picture, text) = (pictures::jpeg(1), sidecar("The sidecar is moved first"));
    rig.move_in("d.yml", text.as_bytes());
    rig.move_in("d.jpeg", &picture);
    rig.until_ended(4, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!(rig.list("archive"), ["a.png", "a.yaml", "b.png", "b.yaml", "c.png", "c.yaml", "d.jpeg", "d.yml"]);
    assert_eq!(rig.list("inbox"), Vec::<String>::new());
    assert_eq!(rig.vendor().paid(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_writer_is_waited_for() {
    let rig = Rig::new(vendor(), "inbox: {quiet: 300ms}");
    let daemon = rig.start();
    let picture = pictures::png();
    rig.remember(Path::new("slow.png"), &picture);
    rig.copy_in("slow.yaml", b"prompt: Slowly it");
    rig.forget("slow.yaml");
    let mut file = fs::File::create(rig.inbox("slow.png")).unwrap();
    for piece in picture.chunks(picture.len() / 5) {
        file.write_all(piece).unwrap();
        // This is how slow the writer is; nothing is waited for.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    drop(file);
    // It closes and goes on, as `echo … >> slow.yaml` does: whole at every close, and not yet what was meant.
    for word in [" comes", " together", "\nseed: 7\n"] {
        let mut file = fs::File::options().append(true).open(rig.inbox("slow.yaml")).unwrap();
        file.write_all(word.as_bytes()).unwrap();
        drop(file);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    rig.until_ended(1, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    let tasks = rig.vendor().tasks();
    assert_eq!(tasks.len(), 1);
    assert_eq!((tasks[0].prompt.as_str(), tasks[0].seed), ("Slowly it comes together", 7));
    assert!(matches!(&tasks[0].source, Source::Picture(sent) if sent.sha256 == sha256(&picture)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_fifty_pairs_that_is_moved_in_is_delivered() {
    let rig = Rig::plain();
    let daemon = rig.start();
    let beside = rig.folder().join("batch");
    fs::create_dir(&beside).unwrap();
    for n in 0..50 {
        let (picture, text) = (pictures::png(), sidecar(&format!("Number {n} of fifty")));
        for (name, bytes) in [(format!("{n}.png"), picture.as_slice()), (format!("{n}.yaml"), text.as_bytes())] {
            fs::write(beside.join(&name), bytes).unwrap();
            rig.remember(&Path::new("batch").join(&name), bytes);
        }
    }
    fs::rename(beside, rig.inbox("batch")).unwrap();
    rig.until_ended(50, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), 50);
    assert!(rig.list("outbox").iter().all(|name| name.starts_with("batch/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lay_there_before_the_start_is_delivered_in_its_subfolder() {
    let rig = Rig::plain();
    rig.drop_pair("top", "In no folder");
    rig.drop_pair("shoes/red", "A red shoe");
    rig.drop_pair("shoes/winter/boot", "A boot in the snow");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (3, 0));
    rig.assert_all_is_well();
    let wanted = ["shoes/red", "shoes/winter/boot", "top"];
    let videos: Vec<String> =
        wanted.iter().flat_map(|name| [format!("{name}.mp4"), format!("{name}.receipt.yaml")]).collect();
    assert_eq!(rig.list("outbox"), videos);
    let pairs: Vec<String> = wanted.iter().flat_map(|name| [format!("{name}.png"), format!("{name}.yaml")]).collect();
    assert_eq!(rig.list("archive"), pairs);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_decide_who_belongs_together() {
    let rig = Rig::plain();
    // Capitals are as good.
    rig.copy_in("LOUD.PNG", &pictures::png());
    rig.copy_in("LOUD.YML", sidecar("Capitals").as_bytes());
    // Twins, told apart by exact sidecars.
    rig.copy_in("cat.jpg", &pictures::jpeg(1));
    rig.copy_in("cat.jpg.yaml", sidecar("The one that is a JPEG").as_bytes());
    rig.copy_in("cat.png", &pictures::png());
    rig.copy_in("cat.png.yaml", sidecar("The one that is a PNG").as_bytes());
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (3, 0));
    rig.assert_all_is_well();
    assert_eq!(
        rig.list("outbox"),
        ["LOUD.mp4", "LOUD.receipt.yaml", "cat.jpg.mp4", "cat.jpg.receipt.yaml", "cat.png.mp4", "cat.png.receipt.yaml"]
    );
    assert_eq!(rig.receipt("cat.png")["prompt"], "The one that is a PNG");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_utf_8_are_kept_byte_for_byte() {
    let rig = Rig::plain();
    let named = |bytes: &'static [u8]| Path::new(OsStr::from_bytes(bytes));
    rig.copy_in(named(b"caf\xe9.png"), &pictures::png());
    rig.copy_in(named(b"caf\xe9.yaml"), sidecar("A cup").as_bytes());
    rig.copy_in("猫 🐈.png", &pictures::png());
    rig.copy_in("猫 🐈.yaml", sidecar("一只猫 🐈").as_bytes());
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (2, 0));
    rig.assert_all_is_well();
    assert!(rig.outbox(named(b"caf\xe9.mp4")).exists());
    assert!(rig.archive(named(b"caf\xe9.png")).exists());
    let receipt = fs::read_to_string(rig.outbox(named(b"caf\xe9.receipt.yaml"))).unwrap();
    assert!(receipt.contains(r"caf\xE9.png"), "{receipt}");
    assert!(rig.outbox("猫 🐈.mp4").exists());
    assert_eq!(rig.receipt("猫 🐈")["prompt"], "一只猫 🐈");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_a_picture_is_a_whole_job() {
    let rig = Rig::plain();
    rig.copy_in("far.yaml", b"prompt: A far picture\nimage_urls: ['https://example.com/a.jpg?x=1&y=2']\n");
    rig.run_once().await;
    rig.assert_all_is_well();
    assert_eq!(rig.list("outbox"), ["far.mp4", "far.receipt.yaml"]);
    assert_eq!(rig.vendor().tasks()[0].source, Source::Address("https://example.com/a.jpg?x=1&y=2".to_owned()));
    assert!(rig.receipt("far")["picture"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn aspect_ratio_auto_is_nearest_to_the_picture_as_it_is_shown() {
    let rig = Rig::plain();
    let auto = |prompt: &str| format!("{}aspect_ratio: auto\n", sidecar(prompt));
    for (name, picture) in [
        ("wide.png", pictures::png_of(640, 360)),
        ("tall.png", pictures::png_of(360, 640)),
        ("square.png", pictures::png_of(400, 400)),
        ("lying.jpg", pictures::jpeg(1)),
        ("turned.jpg", pictures::jpeg(6)),
    ] {
        rig.copy_in(name, &picture);
        let (stem, _) = name.split_once('.').unwrap();
        rig.copy_in(format!("{stem}.yaml"), auto(stem).as_bytes());
    }
    rig.run_once().await;
    rig.assert_all_is_well();
    let mut ratios: Vec<_> = rig.vendor().tasks().into_iter().map(|task| (task.prompt, task.aspect_ratio)).collect();
    ratios.sort();
    let wanted = [("lying", "4:3"), ("square", "1:1"), ("tall", "9:16"), ("turned", "3:4"), ("wide", "16:9")];
    assert_eq!(ratios, wanted.map(|(name, ratio)| (name.to_owned(), ratio)));
    let receipt = rig.receipt("turned");
    assert_eq!((&receipt["video"]["width"], &receipt["video"]["height"]), (&720.into(), &960.into()));
    assert_eq!((&receipt["picture"]["width"], &receipt["picture"]["height"]), (&360.into(), &480.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_name_is_taken_all_files_get_the_same_number() {
    let rig = Rig::plain();
    fs::write(rig.outbox("cat.mp4"), "somebody else's").unwrap();
    fs::write(rig.archive("cat (2).yaml"), "somebody else's").unwrap();
    rig.drop_pair("cat", "A cat");
    rig.run_once().await;
    rig.assert_all_is_well();
    assert_eq!(rig.list("outbox"), ["cat (3).mp4", "cat (3).receipt.yaml", "cat.mp4"]);
    assert_eq!(rig.list("archive"), ["cat (2).yaml", "cat (3).png", "cat (3).yaml"]);
    assert_eq!(fs::read(rig.outbox("cat.mp4")).unwrap(), b"somebody else's");
    let receipt = rig.receipt("cat (3)");
    assert_eq!(receipt["video"]["name"], "cat (3).mp4");
    assert_eq!(receipt["files"], serde_yaml::Value::from(vec!["cat (3).png", "cat (3).yaml"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_while_the_video_is_made_is_left_alone() {
    let rig = Rig::new(patient_vendor(), "");
    let daemon = rig.start();
    rig.drop_pair("cat", "A cat");
    rig.until_paid(1).await;
    fs::write(rig.outbox("cat.mp4"), "somebody else's").unwrap();
    rig.vendor().finish(&rig.vendor().tasks()[0].task_id);
    rig.until_ended(2, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!(rig.list("outbox"), ["cat (2).mp4", "cat (2).receipt.yaml", "cat.mp4"]);
    assert_eq!(fs::read(rig.outbox("cat.mp4")).unwrap(), b"somebody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receipt_is_there_before_the_video_and_the_video_is_whole() {
    let rig = Rig::new(Settings { video_bytes: Some(300_000), ..vendor() }, "");
    let (events, heard) = mpsc::channel();
    let outbox = rig.outbox("");
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let named = |path: &&std::path::PathBuf| path.extension().is_some() && !path.to_string_lossy().contains("/.");
        for path in event.paths.iter().filter(named) {
            // How long it is at the first moment at which anybody could see it.
            let length = fs::metadata(path).map_or(0, |facts| facts.len());
            drop(events.send((path.clone(), length)));
        }
    })
    .unwrap();
    watcher.watch(&outbox, notify::RecursiveMode::NonRecursive).unwrap();
    for n in 0..10 {
        rig.drop_pair(&format!("{n}"), &format!("Number {n}"));
    }
    rig.run_once().await;
    rig.assert_all_is_well();
    drop(watcher);
    let mut seen = Vec::new();
    for (path, length) in heard {
        if !seen.contains(&path) {
            assert!(length > 0, "{} appeared empty", path.display());
            if path.extension() == Some(OsStr::new("mp4")) {
                assert_eq!(length, 300_000, "{} appeared unfinished", path.display());
                let receipt = path.with_extension("receipt.yaml");
                assert!(seen.contains(&receipt), "{} appeared before its receipt", path.display());
            }
            seen.push(path);
        }
    }
    assert_eq!(seen.len(), 20, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receipt_tells_the_facts() {
    let rig = Rig::plain();
    let picture = pictures::png();
    rig.copy_in("cat.png", &picture);
    rig.copy_in("cat.yaml", b"prompt: \"A cat, \xE7\x8C\xAB\"\naspect_ratio: \"9:21\"\n");
    let before = jiff::Timestamp::now().as_second();
    rig.run_once().await;
    rig.assert_all_is_well();
    let receipt = rig.receipt("cat");
    let task = &rig.vendor().tasks()[0];
    let video = fs::read(rig.outbox("cat.mp4")).unwrap();
    assert_eq!(receipt["prompt"], "A cat, 猫");
    assert_eq!(receipt["aspect_ratio"], "9:21");
    assert_eq!(receipt["task_id"], task.task_id.as_str());
    assert_eq!(receipt["seed"].as_i64(), Some(task.seed));
    assert!((1..=i64::from(i32::MAX)).contains(&task.seed), "{}", task.seed);
    assert_eq!(receipt["attempts"], 1);
    assert!(receipt["request_id"].is_string());
    assert_eq!(receipt["files"], serde_yaml::Value::from(vec!["cat.png", "cat.yaml"]));
    assert_eq!(receipt["video"]["name"], "cat.mp4");
    assert_eq!(receipt["video"]["bytes"].as_u64(), Some(video.len() as u64));
    assert_eq!(receipt["video"]["sha256"], sha256(&video).as_str());
    assert_eq!((&receipt["video"]["width"], &receipt["video"]["height"]), (&720.into(), &1680.into()));
    assert_eq!(receipt["picture"]["name"], "cat.png");
    assert_eq!(receipt["picture"]["bytes"].as_u64(), Some(picture.len() as u64));
    assert_eq!(receipt["picture"]["sha256"], sha256(&picture).as_str());
    assert_eq!((&receipt["picture"]["width"], &receipt["picture"]["height"]), (&400.into(), &320.into()));
    let at = |key: &str| receipt[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let times = [before, at("submitted_at"), at("done_at"), at("delivered_at"), jiff::Timestamp::now().as_second()];
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(rig.job(receipt["job"].as_str().unwrap()).attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_are_deleted_and_receipts_left_out_if_configured() {
    let rig = Rig::new(vendor(), "on_success: delete\noutbox: {receipt: false}");
    rig.drop_pair("a/cat", "A cat");
    rig.drop_with("a/dog", "promt: misspelt\n");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 1));
    rig.assert_nothing_left();
    assert_eq!(rig.list("outbox"), ["a/cat.mp4"]);
    assert_eq!(rig.list("archive"), Vec::<String>::new());
    assert_eq!(rig.list("inbox"), Vec::<String>::new());
    // What failed is never deleted.
    assert_eq!(rig.list("error"), ["a/dog.error.yaml", "a/dog.png", "a/dog.yaml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn priority_goes_first_and_then_the_folders_take_turns() {
    let rig = Rig::new(patient_vendor(), "tasks: {max: 1}");
    // A folder made later is heard of later.
    for folder in ["many", "few"] {
        fs::create_dir(rig.inbox(folder)).unwrap();
    }
    let daemon = rig.start();
    rig.drop_pair("first", "first");
    rig.until_paid(1).await;
    for n in 0..4 {
        rig.drop_pair(&format!("many/{n}"), &format!("many {n}"));
    }
    rig.drop_pair("few/0", "few 0");
    rig.drop_with("many/last", "prompt: urgent\npriority: 1\n");
    // A bad pair is rejected as soon as it was judged, and judged after those that came before it.
    for (n, folder) in ["many", "few", "many"].iter().enumerate() {
        rig.drop_with(&format!("{folder}/bad{n}"), "prompt: [no]\n");
        rig.until_reports(n + 1).await;
    }
    for n in 1..=6 {
        rig.vendor().finish(&rig.vendor().tasks().last().unwrap().task_id);
        rig.until_paid(n + 1).await;
    }
    rig.vendor().finish(&rig.vendor().tasks().last().unwrap().task_id);
    rig.until_ended(7, 3).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    let order: Vec<_> = rig.vendor().tasks().into_iter().map(|task| task.prompt).collect();
    assert_eq!(order[..2], ["first", "urgent"]);
    let few = order.iter().position(|prompt| prompt == "few 0").unwrap();
    assert!(few <= 3, "one folder is served before the other has its turn: {order:?}");
    let many: Vec<_> = order.iter().filter(|prompt| prompt.starts_with("many")).collect();
    assert_eq!(many, ["many 0", "many 1", "many 2", "many 3"], "the oldest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_pairs_of_one_folder_let_two_others_have_their_turn() {
    let rig = Rig::new(patient_vendor(), "tasks: {max: 1}");
    let folders = ["many", "few", "some"];
    // A folder made later is heard of later.
    for folder in folders {
        fs::create_dir(rig.inbox(folder)).unwrap();
    }
    let daemon = rig.start();
    rig.drop_pair("first", "first");
    rig.until_paid(1).await;
    for (folder, pairs) in [("many", 100), ("few", 2), ("some", 2)] {
        for n in 0..pairs {
            rig.drop_pair(&format!("{folder}/{n:03}"), &format!("{folder} {n}"));
        }
    }
    rig.drop_with("many/last", "prompt: urgent\npriority: 1\n");
    // A bad pair is rejected as soon as it was judged, and judged after those that came before it.
    for (n, folder) in ["many", "few", "some", "many"].iter().enumerate() {
        rig.drop_with(&format!("{folder}/bad{n}"), "prompt: [no]\n");
        rig.until_reports(n + 1).await;
    }
    for n in 1..=9 {
        assert!(rig.vendor().finish(&rig.vendor().tasks().last().unwrap().task_id));
        rig.until_paid(n + 1).await;
    }
    daemon.stop().await;
    rig.assert_everywhere_once();
    let order: Vec<_> = rig.vendor().tasks().into_iter().map(|task| task.prompt).collect();
    assert_eq!(order[..2], ["first", "urgent"]);
    for (n, turn) in order[2..8].chunks(3).enumerate() {
        for folder in folders {
            assert!(turn.contains(&format!("{folder} {n}")), "turn {n}: {order:?}");
        }
    }
    assert_eq!(order[8..], ["many 2", "many 3"], "what is left, the oldest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_went_stale_while_nobody_was_there_is_asked_for_anew_without_a_word() {
    let rig = Rig::new(vendor(), "");
    rig.vendor().follow(script("- {on: download, do: {close: head}}"));
    rig.drop_pair("cat", "A cat");
    let daemon = rig.start();
    rig.until("its video was asked for", || rig.vendor().tasks().first().is_some_and(|task| task.downloads > 0)).await;
    daemon.stop().await;
    // Half an hour has passed.
    let ledger = rusqlite::Connection::open(rig.root().join(LEDGER)).unwrap();
    let older = "UPDATE job SET since = since - 1800 * 1000 WHERE state = 'ready'";
    assert_eq!(ledger.execute(older, []).unwrap(), 1);
    drop(ledger);
    rig.vendor().follow(script("- {on: download, nth: 1, do: {expired: true}}"));
    let before = rig.vendor().requests().len();
    let mut daemon = rig.spawn(&["--once"]);
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    let complaints: Vec<_> = daemon.lines().into_iter().filter(|line| line["level"] == "warn").collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    rig.assert_all_is_well();
    let asked: Vec<_> = rig.vendor().requests().split_off(before);
    let asked: Vec<_> = asked.iter().map(|asked| (asked.path.starts_with("/task/"), asked.status)).collect();
    assert_eq!(asked, [(false, Some(403)), (true, Some(200)), (false, Some(200))]);
    assert_eq!((rig.vendor().paid(), &rig.receipt("cat")["attempts"]), (1, &1.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_lives_too_short_is_asked_for_anew_and_nothing_is_paid_for_it() {
    // The transfers that break take longer than the link lives.
    let settings = Settings { link_life: Duration::from_secs(2), ..vendor() };
    let rig = Rig::new(settings, "");
    rig.vendor().follow(script("- {on: download, times: 4, do: {close: head}}"));
    rig.drop_pair("cat", "A cat");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 0), "{}", rig.scene());
    rig.assert_all_is_well();
    let asked: Vec<_> = rig.vendor().requests().into_iter().filter(|request| request.method == "GET").collect();
    let is_poll = |path: &str| path.starts_with("/task/");
    let stale = asked.iter().position(|request| !is_poll(&request.path) && request.status == Some(403));
    let stale = stale.unwrap_or_else(|| panic!("no link went stale\n{}", rig.scene()));
    let [anew, fetched] = [&asked[stale + 1], &asked[asked.len() - 1]];
    assert!(is_poll(&anew.path), "it is asked for before anything is fetched: {}", anew.path);
    assert_eq!((is_poll(&fetched.path), fetched.status), (false, Some(200)));
    assert_ne!(fetched.path, asked[stale].path, "another link");
    assert_eq!((rig.vendor().paid(), &rig.receipt("cat")["attempts"]), (1, &1.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_transfer_leaves_nothing_half_and_is_taken_up_again() {
    let rig = Rig::new(Settings { video_bytes: Some(400_000), ..vendor() }, "");
    rig.vendor().follow(script(
        "- {on: download, nth: 1, do: {cut: 100000}}\n- {on: download, nth: 2, do: {close: head}}\n- {on: poll, nth: 1, do: {status: 502}}",
    ));
    rig.drop_pair("cat", "A cat");
    rig.run_once().await;
    rig.assert_all_is_well();
    assert_eq!(fs::metadata(rig.outbox("cat.mp4")).unwrap().len(), 400_000);
    let ranges: Vec<_> = rig
        .vendor()
        .requests()
        .into_iter()
        .filter(|request| request.path.starts_with("/files/") || request.path.contains("/video/"))
        .map(|request| request.headers.get("range").map(|range| range.to_str().unwrap().to_owned()))
        .collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert_eq!(ranges[0], None);
    assert!(ranges[2].as_ref().is_some_and(|range| range.starts_with("bytes=")), "{ranges:?}");
    assert_eq!(files(&rig.outbox("")).len(), 2);
}
