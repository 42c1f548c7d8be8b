//! What the API answers: to a submission, to a poll, to a download. Each row has a vendor, a spool and a daemon of its own,
//! because an answer may concern the whole account.

use serde::Deserialize;
use serde_yaml::Value;

use super::{
    Expected, Neighbours, Place, Row, assert_words, paid_for, play, report_of, rows, tell, words_of, words_of_pause,
};
use crate::rig::{Rig, pictures, script, vendor};
use jimengd::simulator::{Script, Settings};

/// The pair that the row is about is called so, and its prompt is that.
const NAME: &str = "case";
const PROMPT: &str = "The case";

/// A row: what the vendor does, and what becomes of the pair.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    case: String,
    /// The simulator's script; `jimengd simulate --help` tells its format. The case's prompt is `The case`; it is the second of
    /// three submissions.
    #[serde(default)]
    script: Value,
    /// More keys of the case's sidecar.
    #[serde(default)]
    sidecar: Value,
    /// Laid over the configuration.
    #[serde(default)]
    with: Value,
    /// Laid over the configuration, too, but mended when the API is. `ADDRESS` stands for the vendor's host and port.
    #[serde(default)]
    with_at_first: Value,
    /// The picture is filled up to that many bytes, so that it does not fit into a connection's buffers.
    picture_bytes: Option<usize>,
    #[serde(default)]
    vendor: Vendor,
    expect: Expected,
    #[serde(default)]
    asked: Asked,
}

/// How often the vendor was asked about the case's tasks. What is left out is not counted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    polls: Option<u64>,
    downloads: Option<u64>,
    /// Downloads that went on where an earlier one had ended.
    resumed: Option<usize>,
}

impl Asked {
    fn assert(&self, rig: &Rig) {
        let tasks: Vec<_> = rig.vendor().tasks().into_iter().filter(|task| task.prompt == PROMPT).collect();
        let resumed = rig.vendor().requests().into_iter().filter(|request| {
            let about = |id: &String| tasks.iter().any(|task| task.task_id == *id);
            request.status == Some(206) && request.task_id.as_ref().is_some_and(about)
        });
        let resumed = resumed.count();
        let polls: u64 = tasks.iter().map(|task| task.polls).sum();
        let downloads: u64 = tasks.iter().map(|task| task.downloads).sum();
        let seen = format!("polls {polls}, downloads {downloads}, of them resumed {resumed}");
        assert!(self.polls.is_none_or(|wanted| wanted == polls), "{self:?}, but {seen}");
        assert!(self.downloads.is_none_or(|wanted| wanted == downloads), "{self:?}, but {seen}");
        assert!(self.resumed.is_none_or(|wanted| wanted == resumed), "{self:?}, but {seen}");
    }
}

/// How the vendor differs from one that is quick and has no limits.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vendor {
    task_seconds: Option<f64>,
    link_seconds: Option<u64>,
    video_bytes: Option<u64>,
    concurrency: Option<usize>,
    requests_per_second: Option<f64>,
    retry_after: Option<u64>,
}

impl Row for Exchange {
    fn case(&self) -> &str {
        &self.case
    }
}

impl Exchange {
    fn settings(&self) -> Settings {
        let usual = vendor();
        Settings {
            script: (!self.script.is_null()).then(|| script(&text(&self.script))),
            task_seconds: self.vendor.task_seconds.unwrap_or(usual.task_seconds),
            link_life: self.vendor.link_seconds.map_or(usual.link_life, std::time::Duration::from_secs),
            video_bytes: self.vendor.video_bytes,
            concurrency: self.vendor.concurrency,
            requests_per_second: self.vendor.requests_per_second,
            retry_after: self.vendor.retry_after,
            ..usual
        }
    }

    fn sidecar(&self) -> String {
        let mut keys: serde_yaml::Mapping = match &self.sidecar {
            Value::Null => serde_yaml::Mapping::new(),
            Value::Mapping(keys) => keys.clone(),
            other => panic!("the sidecar's keys are {other:?}"),
        };
        keys.insert("prompt".into(), PROMPT.into());
        keys.insert("priority".into(), 1.into());
        text(&Value::Mapping(keys))
    }

    /// Plays the row; what an operator reads while it is held back, and in the report, if there is either.
    async fn play(self) -> Option<String> {
        let expected = &self.expect;
        let laid_over = |value: &Value| if value.is_null() { String::new() } else { text(value) };
        let rig = Rig::new(self.settings(), &laid_over(&self.with));
        if !self.with_at_first.is_null() {
            let address = rig.vendor().addr().to_string();
            rig.configure(&laid_over(&self.with_at_first).replace("ADDRESS", &address));
        }
        let neighbours = Neighbours::in_folder("");
        neighbours.drop_before(&rig);
        let mut picture = pictures::png();
        if let Some(bytes) = self.picture_bytes {
            picture.resize(bytes.max(picture.len()), 0);
        }
        rig.copy_in(format!("{NAME}.png"), &picture);
        rig.copy_in(format!("{NAME}.yaml"), self.sidecar().as_bytes());
        neighbours.drop_after(&rig);
        let mut words = String::new();
        if let Some(reason) = &expected.paused {
            words = self.until_paused(&rig, reason).await;
            rig.vendor().follow(Script::default());
            rig.configure(&laid_over(&self.with));
        }
        let outcome = rig.run_once().await;
        assert!(!outcome.held_by_the_api, "held back\n{}", rig.scene());
        assert_eq!(outcome.failed, u64::from(expected.r#in == Place::Error), "failed\n{}", rig.scene());
        neighbours.assert_delivered(&rig);
        assert_eq!(paid_for(&rig, PROMPT), expected.accepted, "accepted submissions\n{}", rig.scene());
        self.asked.assert(&rig);
        rig.assert_all_is_well();
        words.push_str(&self.assert_place(&rig).unwrap_or_default());
        Some(words).filter(|words| !words.is_empty())
    }

    /// Runs the daemon until it holds everything back; what it says then.
    async fn until_paused(&self, rig: &Rig, reason: &str) -> String {
        let paid_before = self.expect.paid_before;
        if paid_before == 0 {
            let outcome = rig.run_once().await;
            assert!(outcome.held_by_the_api && rig.is_paused(reason), "paused for {reason}\n{}", rig.scene());
        } else {
            // With a task under way it would be long before a run gives up by itself.
            let daemon = rig.start();
            // A neighbour's good poll would end the pause.
            let alone = || rig.outbox("before.mp4").is_file() && rig.jobs_in_work() == 1;
            let held = || alone() && rig.is_paused(reason) && paid_for(rig, PROMPT) == paid_before;
            rig.until(&format!("paused for {reason}, nothing else under way"), held).await;
            daemon.stop().await;
        }
        assert_eq!(paid_for(rig, PROMPT), paid_before, "what is paid by the time it is paused");
        assert_eq!(rig.reports(), 0, "no pair fails for it\n{}", rig.scene());
        rig.assert_everywhere_once();
        let said = rig.snapshot().expect("it has said how it is").paused;
        let paused = said.iter().find(|paused| paused.reason == reason);
        let paused = paused.unwrap_or_else(|| panic!("paused for {reason} to the end\n{}", rig.scene()));
        words_of_pause(&self.case, reason, &paused.message, &paused.advice)
    }

    fn assert_place(&self, rig: &Rig) -> Option<String> {
        let pair = [format!("{NAME}.png"), format!("{NAME}.yaml")];
        let lies_in = |folder: &str| {
            let files: Vec<String> = rig.list(folder).into_iter().filter(|name| name.starts_with(NAME)).collect();
            files
        };
        let report = format!("{NAME}.error.yaml");
        let scene = || rig.scene();
        match self.expect.r#in {
            Place::Outbox => {
                assert_eq!(lies_in("outbox"), [format!("{NAME}.mp4"), format!("{NAME}.receipt.yaml")], "{}", scene());
                assert_eq!(lies_in("archive"), pair);
                assert_eq!(lies_in("error"), Vec::<String>::new());
                if let Some(attempts) = self.expect.attempts {
                    assert_eq!(rig.receipt(NAME)["attempts"], attempts);
                }
                None
            }
            Place::Error => {
                assert_eq!(lies_in("error"), [report, pair[0].clone(), pair[1].clone()], "{}", scene());
                assert_eq!(lies_in("outbox"), Vec::<String>::new());
                let report = report_of(rig, NAME);
                self.expect.assert_report(&report);
                Some(words_of(&self.case, &report))
            }
            Place::Inbox => {
                assert_eq!(lies_in("inbox"), pair, "{}", scene());
                assert_eq!(lies_in("outbox"), Vec::<String>::new());
                assert_eq!(lies_in("error"), Vec::<String>::new());
                None
            }
        }
    }
}

fn text(value: &Value) -> String {
    serde_yaml::to_string(value).expect("it was YAML")
}

/// Plays a table of answers.
async fn play_table(name: &str, at_least: usize) {
    let words = play(rows::<Exchange>(name, at_least), Exchange::play).await;
    tell(name, words.len());
    let words: Vec<String> = words.into_iter().flatten().collect();
    assert_words(name, &words.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn codes() {
    play_table("codes", 70).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers() {
    play_table("answers", 158).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers() {
    play_table("transfers", 180).await;
}
