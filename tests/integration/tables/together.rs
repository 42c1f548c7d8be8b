//! What people drop: one spool and one daemon for a whole table, each row in a top-level folder of its own between its neighbours.
//! So each row is also a neighbour of all others.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;

use jimengd::simulator::{Source, Task};
use serde_yaml::Value;

use super::{Expected, Neighbours, Place, Row, is_asked_for, play, report_of, words_of};
use crate::rig::{PATIENCE, Rig, sha256};

/// Every case's files are called so, in the folder of their case.
const NAME: &str = "case";
const SIDECAR: &str = "case.yaml";

/// Rows that may take as long as any fact may take to become true.
const ROWS_A_PATIENCE: usize = 50;

/// Seeds that the daemon draws are above 0 and below this.
const DRAWN_BELOW: i64 = 1 << 31;

/// The files of a row and what becomes of them.
pub struct Case {
    pub name: String,
    /// Its ending and its bytes, which no other case has.
    pub picture: Option<(String, Vec<u8>)>,
    pub sidecar: Vec<u8>,
    pub expect: Expected,
}

impl Row for Case {
    fn case(&self) -> &str {
        &self.name
    }
}

/// Drops all cases with their neighbours, runs the daemon until nothing can move, and holds each case against what it expects.
/// Gives the words of each: of a report, or of what was sent.
pub async fn play_together(rig: Rig, cases: Vec<Case>) -> Vec<String> {
    let cases: Vec<Numbered> = cases
        .into_iter()
        .filter(|case| is_asked_for(&case.name))
        .enumerate()
        .map(|(number, case)| Numbered { folder: format!("{number:03}-{}/", case.name.replace([' ', '/'], "-")), case })
        .collect();
    for Numbered { folder, case } in &cases {
        let neighbours = Neighbours::in_folder(folder);
        neighbours.drop_before(&rig);
        if let Some((ending, bytes)) = &case.picture {
            rig.copy_in(format!("{folder}{NAME}.{ending}"), bytes);
        }
        rig.copy_in(format!("{folder}{SIDECAR}"), &case.sidecar);
        neighbours.drop_after(&rig);
    }
    let patience = PATIENCE * u32::try_from(cases.len().div_ceil(ROWS_A_PATIENCE)).expect("a table has few rows");
    let outcome = rig.run_once_within(patience).await;

    let ends_in = |place| cases.iter().filter(|numbered| numbered.case.expect.r#in == place).count() as u64;
    let (failed, delivered, paid) = (ends_in(Place::Error), ends_in(Place::Outbox), rig.vendor().paid());
    let all = cases.len() as u64;
    let end = Arc::new(End::of(rig));
    let end_of_row = Arc::clone(&end);
    let words = play(cases, move |numbered: Numbered| {
        let end = Arc::clone(&end_of_row);
        async move { numbered.assert_end(&end) }
    })
    .await;
    // What no row can tell: nothing was paid besides.
    assert_eq!(paid, delivered + 2 * all, "accepted submissions");
    assert_eq!((outcome.failed, outcome.held_by_the_api), (failed, false));
    end.rig.assert_all_is_well();
    words
}

struct Numbered {
    /// With a slash behind it.
    folder: String,
    case: Case,
}

impl Row for Numbered {
    fn case(&self) -> &str {
        &self.case.name
    }
}

/// What there is when nothing can move any more.
struct End {
    rig: Rig,
    /// Of inbox, outbox, error and archive.
    files: [(&'static str, Vec<String>); 4],
    tasks: Vec<Task>,
    /// What `jimengd status` lists as waiting.
    waiting: serde_json::Value,
}

impl End {
    fn of(rig: Rig) -> Self {
        let files = ["inbox", "outbox", "error", "archive"].map(|folder| (folder, rig.list(folder)));
        let status = Command::new(env!("CARGO_BIN_EXE_jimengd"))
            .args(["status", "--json", "--config"])
            .arg(rig.config_file())
            .env_clear()
            .output()
            .expect("the program starts");
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("status writes JSON");
        Self { files, tasks: rig.vendor().tasks(), waiting: status["waiting"].clone(), rig }
    }

    /// Where the files of a case lie: `FOLDER/NAME`, sorted by the folder.
    fn files_of(&self, folder: &str) -> Vec<String> {
        let mine = format!("{folder}{NAME}");
        let in_one = |(top, files): &(&str, Vec<String>)| -> Vec<String> {
            let mine = files.iter().filter_map(|path| path.strip_prefix(folder).filter(|_| path.starts_with(&mine)));
            mine.map(|name| format!("{top}/{name}")).collect()
        };
        self.files.iter().flat_map(in_one).collect()
    }
}

impl Numbered {
    fn assert_end(&self, end: &End) -> String {
        let Self { folder, case } = self;
        Neighbours::in_folder(folder).assert_delivered(&end.rig);
        let picture = case.picture.as_ref().map(|(ending, _)| format!("{NAME}.{ending}"));
        let dropped = || picture.iter().map(String::as_str).chain([SIDECAR]);
        let beneath = |top: &str| dropped().map(|name| format!("{top}/{name}")).collect::<Vec<_>>();
        let wanted = match case.expect.r#in {
            Place::Outbox => {
                [vec![format!("outbox/{NAME}.mp4"), format!("outbox/{NAME}.receipt.yaml")], beneath("archive")].concat()
            }
            Place::Error => [beneath("error"), vec![format!("error/{NAME}.error.yaml")]].concat(),
            Place::Inbox => beneath("inbox"),
        };
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let found = end.files_of(folder);
        let report = end.rig.error(format!("{folder}{NAME}.error.yaml"));
        let told = || std::fs::read_to_string(&report).unwrap_or_else(|_| format!("{}", end.waiting));
        assert_eq!(sorted(found), sorted(wanted), "where its files lie\n{}", told());

        if let Some((_, bytes)) = &case.picture {
            let sha256 = sha256(bytes);
            let is_mine = |task: &&Task| matches!(&task.source, Source::Picture(picture) if picture.sha256 == sha256);
            let accepted = end.tasks.iter().filter(is_mine).count() as u64;
            assert_eq!(accepted, case.expect.accepted, "accepted submissions of its picture");
        }
        match case.expect.r#in {
            Place::Outbox => self.assert_sent(end),
            Place::Error => self.assert_report(&report_of(&end.rig, &format!("{folder}{NAME}"))),
            Place::Inbox => self.assert_waits(end),
        }
    }

    /// What the API was really asked for; the receipt says the same.
    fn assert_sent(&self, end: &End) -> String {
        let receipt = end.rig.receipt(&format!("{}{NAME}", self.folder));
        let mine: Vec<&Task> = end.tasks.iter().filter(|task| receipt["task_id"] == task.task_id.as_str()).collect();
        let [task] = mine[..] else { panic!("the receipt names {} tasks: {receipt:?}", mine.len()) };
        assert_eq!(receipt["prompt"], task.prompt.as_str());
        assert_eq!(receipt["aspect_ratio"], task.aspect_ratio);
        assert_eq!(receipt["seed"], task.seed);
        assert_eq!(receipt["attempts"], 1);
        let names_a_seed = self.case.sidecar.windows(4).any(|word| word == b"seed");
        let seed = match task.seed {
            number if names_a_seed => number.to_string(),
            drawn => {
                assert!((1..DRAWN_BELOW).contains(&drawn), "the seed {drawn} was drawn");
                "drawn".to_owned()
            }
        };
        let source = match &task.source {
            Source::Address(address) => {
                assert_eq!(receipt["picture"], Value::Null);
                address.clone()
            }
            Source::Picture(sent) => {
                let (_, bytes) = self.case.picture.as_ref().expect("nothing but its picture could be sent");
                assert_eq!(sent.sha256, sha256(bytes), "the picture that was sent");
                let picture = &receipt["picture"];
                assert_eq!(picture["sha256"], sent.sha256.as_str());
                assert_eq!(picture["bytes"], sent.bytes);
                let side = |key: &str| picture[key].as_u64().expect("a picture has its sides");
                format!("a picture of {} x {}", side("width"), side("height"))
            }
        };
        format!("{}\n    sent: {:?}, {}, seed {seed}, {source}\n", self.case.name, task.prompt, task.aspect_ratio)
    }

    fn assert_report(&self, report: &Value) -> String {
        self.case.expect.assert_report(report);
        let files =
            [self.case.picture.as_ref().map(|(ending, _)| format!("{NAME}.{ending}")), Some(SIDECAR.to_owned())];
        let files: Vec<Value> = files.into_iter().flatten().map(Value::from).collect();
        assert_eq!(report["files"], Value::from(files.clone()));
        assert_eq!((&report["task_id"], &report["http_status"]), (&Value::Null, &Value::Null));
        let problems = report["problems"].as_sequence().expect("what is wrong is listed");
        assert!(!problems.is_empty());
        for problem in problems {
            assert!(files.contains(&problem["file"]), "the file of {problem:?}");
            assert!(problem["message"].as_str().is_some_and(|text| !text.is_empty()), "{problem:?}");
            assert!(problem["proposal"].as_str().is_some_and(|text| !text.is_empty()), "what to do about {problem:?}");
            assert_eq!(problem["line"].is_null(), problem["column"].is_null(), "{problem:?}");
        }
        words_of(&self.case.name, report)
    }

    fn assert_waits(&self, end: &End) -> String {
        let mine = |pair: &str| pair.starts_with(&format!("{}{NAME}", self.folder));
        let waiting = end.waiting.as_array().expect("a list");
        let mine: Vec<_> = waiting.iter().filter(|waits| waits["pair"].as_str().is_some_and(mine)).collect();
        let [waits] = mine[..] else { panic!("status lists it {} times: {waiting:?}", mine.len()) };
        if let Some(reason) = &self.case.expect.reason {
            assert_eq!(waits["reason"], reason.as_str());
        }
        let mut words = format!("{}\n", self.case.name);
        writeln!(words, "    waits: {}", waits["reason"]).expect("a String takes all");
        words
    }
}
