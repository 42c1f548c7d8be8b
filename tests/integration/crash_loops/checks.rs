//! What must hold after each run of a loop, whatever it went through.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use jimengd::daemon::LEDGER;
use jimengd::ledger::Reader;

use crate::rig::{Rig, read_yaml, sha256};

use super::scenario::{End, Expected, Scenario};

/// Points of a run, as the fail points' log tells them, without their numbers; and whether the effect was had.
#[derive(Clone, Debug, Default)]
pub struct Points(Vec<(String, bool)>);

/// Why a job may be in doubt after a run was stopped dead, or its answer was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// Between the intent and the request.
    NeverSent,
    /// Between the request and its answer.
    OnItsWay,
    /// Between the answer and its record.
    Answered,
}

impl Points {
    /// Reads what a run has logged.
    pub fn read(text: &str) -> Self {
        let mut points = BTreeMap::new();
        for (number, point) in text.lines().filter_map(|line| line.split_once(' ')) {
            // What was refused was told before.
            match number.strip_suffix(['!', '-']) {
                None => points.insert(number.parse().unwrap_or(usize::MAX), (point.to_owned(), true)),
                Some(number) => number.parse().ok().and_then(|number| points.get_mut(&number)).and_then(|(_, had)| {
                    *had = false;
                    None
                }),
            };
        }
        Self(points.into_values().collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The effects that were had, in order.
    pub fn had(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, had)| *had).map(|(point, _)| point.as_str())
    }

    /// The one of that number, counted from 1.
    pub fn at(&self, number: usize) -> Option<&str> {
        self.0.get(number - 1).map(|(point, _)| point.as_str())
    }

    /// Whether a run that was stopped dead before its last point may leave a job in doubt: between an intent and the record of
    /// what came of it, with nothing in between that could have waited.
    pub fn window(&self) -> Option<Window> {
        let ((last, _), passed) = self.0.split_last()?;
        let count = |is: fn(&str) -> bool| passed.iter().filter(|(point, _)| is(point)).count();
        let recorded = |words: &[&str]| -> usize {
            let commits = passed.iter().filter_map(|(point, _)| point.strip_prefix("commit ")?.rsplit_once('/'));
            commits.flat_map(|(_, what)| what.split(',')).filter(|word| words.contains(word)).count()
        };
        let intents = count(is_announcement);
        let requests = count(|point| point == "request submit");
        let answers = count(|point| point == "answer submit");
        if last == "answer submit" || answers > recorded(&["submitted", "in_doubt", "give-back"]) {
            Some(Window::Answered)
        } else if requests > answers {
            Some(Window::OnItsWay)
        } else {
            (intents.max(recorded(&["submitting"])) > requests).then_some(Window::NeverSent)
        }
    }

    /// The same of a run with several jobs, of which one write may announce more than one.
    pub fn window_of_several(&self) -> Option<Window> {
        let announced = self.had().any(is_announcement);
        self.window().or(announced.then_some(Window::NeverSent))
    }
}

fn is_announcement(point: &str) -> bool {
    point.starts_with("write ") && point.ends_with("/.intents")
}

/// What came of a run and of those that mended it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Points at which something was done to it.
    pub points: usize,
    /// Runs of the program.
    pub runs: usize,
    /// Jobs that ended in doubt though nothing was sent.
    pub never_sent: usize,
    /// Jobs that ended in doubt between request and answer.
    pub on_its_way: usize,
    /// Jobs that ended in doubt between answer and record.
    pub answered: usize,
}

impl Tally {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            points: self.points + other.points,
            runs: self.runs + other.runs,
            never_sent: self.never_sent + other.never_sent,
            on_its_way: self.on_its_way + other.on_its_way,
            answered: self.answered + other.answered,
        }
    }
}

/// Asserts what must hold at every instant: nothing is lost, what has its final name is whole, a receipt lies beside its video, and a
/// report beside all that it names.
pub fn assert_order(rig: &Rig) {
    rig.assert_nothing_lost();
    let outbox = rig.list("outbox");
    let videos = outbox.iter().filter_map(|name| name.strip_suffix(".mp4"));
    for name in videos.filter(|name| fs::read(rig.outbox(format!("{name}.mp4"))).unwrap() != SOMEBODY_ELSES) {
        assert!(outbox.contains(&format!("{name}.receipt.yaml")), "{name}.mp4 has no receipt\n{}", rig.scene());
        assert_whole(rig, name);
    }
    for folder in ["archive", "error"] {
        let is_hidden = |name: &str| name.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
        for name in rig.list(folder).iter().filter(|name| !is_hidden(name) && !name.ends_with(".error.yaml")) {
            let bytes = fs::read(rig.root().join(folder).join(name)).unwrap();
            assert!(
                bytes == SOMEBODY_ELSES || rig.was_dropped(&bytes),
                "{folder}/{name} is not whole\n{}",
                rig.scene()
            );
        }
    }
    let error = rig.list("error");
    for name in error.iter().filter_map(|name| name.strip_suffix(".error.yaml")) {
        let report = rig.report(name);
        let files = report["files"].as_sequence().unwrap().iter().map(|file| file.as_str().unwrap());
        let folder = name.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
        let beside = files.filter(|file| error.contains(&format!("{folder}{file}"))).count();
        // Of a pair that was moved back nothing is there.
        let all = report["files"].as_sequence().unwrap().len();
        assert!(beside == all || beside == 0, "the report of {name} lies beside half of a pair\n{}", rig.scene());
    }
}

/// What the files of others hold that lie in the way.
pub const SOMEBODY_ELSES: &[u8] = b"somebody else's";

/// The jobs of which the ledger says that the API has accepted them, and their attempt.
pub fn accepted(rig: &Rig) -> BTreeSet<(String, u64)> {
    let reader = Reader::open(&rig.root().join(LEDGER)).unwrap();
    let live = reader.map(|reader| reader.live().unwrap()).unwrap_or_default();
    live.into_iter()
        .filter(|job| job.state.task().is_some())
        .map(|job| (job.id.to_string(), job.attempts.into()))
        .collect()
}

/// Asserts that none of these attempts ended in doubt.
pub fn assert_undoubted(rig: &Rig, attempts: &BTreeSet<(String, u64)>) {
    for name in rig.list("error").iter().filter_map(|name| name.strip_suffix(".error.yaml")) {
        let report = rig.report(name);
        let attempt = report["job"].as_str().map(str::to_owned).zip(report["attempts"].as_u64());
        let is_one = attempt.is_some_and(|attempt| attempts.contains(&attempt));
        assert!(
            !is_one || report["reason"] != "in_doubt",
            "{name} was accepted, and that was recorded\n{}",
            rig.scene()
        );
    }
}

/// Asserts that everything is as it must be at the end; `windows` tell why a job may be in doubt.
pub fn assert_ended(rig: &Rig, scenario: Scenario, windows: &[Window]) -> Tally {
    rig.assert_all_is_well();
    let mut tally = Tally::default();
    let mut wanted: Vec<String> = scenario.bystanders().iter().map(|&file| file.to_owned()).collect();
    let (mut paid, mut doubts) = (0, 0);
    for expected in scenario.expected() {
        let Expected { name, files, end, in_doubt, .. } = expected;
        paid += expected.paid;
        let reports = rig.error(format!("{in_doubt}.error.yaml"));
        let doubtful =
            end != End::Failed("in_doubt") && reports.exists() && read_yaml(&reports)["reason"] == "in_doubt";
        let mut put = |folder: &str, name: &str, extensions: &[&str]| {
            wanted.extend(extensions.iter().map(|extension| format!("{folder}/{name}.{extension}")));
        };
        match end {
            _ if doubtful => {
                doubts += 1;
                put("error", in_doubt, files);
                put("error", in_doubt, &["error.yaml"]);
            }
            End::Delivered => {
                put("outbox", name, &["mp4", "receipt.yaml"]);
                put("archive", name, files);
                assert_whole(rig, name);
            }
            End::Failed(reason) => {
                put("error", name, files);
                put("error", name, &["error.yaml"]);
                assert_eq!(rig.report(name)["reason"], reason, "{}", rig.scene());
            }
        }
    }
    wanted.sort();
    let mut found: Vec<String> = Vec::new();
    for folder in ["inbox", "outbox", "archive", "error"] {
        found.extend(rig.list(folder).into_iter().map(|name| format!("{folder}/{name}")));
    }
    found.sort();
    assert_eq!(found, wanted, "{}", rig.scene());
    for file in scenario.bystanders() {
        assert_eq!(fs::read(rig.root().join(file)).unwrap(), SOMEBODY_ELSES, "{file}");
    }
    match doubts {
        // Whether an answer was lost that would have told of an acceptance, or nothing was sent, looks alike.
        0 if scenario == Scenario::InDoubt => {}
        0 => assert_eq!(rig.vendor().paid(), paid, "{}", rig.scene()),
        _ => {
            assert!(!windows.is_empty(), "{doubts} in doubt without a reason\n{}", rig.scene());
            assert!(rig.vendor().paid() <= paid, "{} paid, not {paid}\n{}", rig.vendor().paid(), rig.scene());
            // Several runs may have had a window; the latest is told.
            match windows.last() {
                Some(Window::NeverSent) | None => tally.never_sent += doubts,
                Some(Window::OnItsWay) => tally.on_its_way += doubts,
                Some(Window::Answered) => tally.answered += doubts,
            }
        }
    }
    assert!(rig.vendor().paid() <= paid, "{} paid, not {paid}\n{}", rig.vendor().paid(), rig.scene());
    tally
}

/// A video under its final name is the one that its receipt tells of.
fn assert_whole(rig: &Rig, name: &str) {
    let video = fs::read(rig.outbox(format!("{name}.mp4"))).unwrap();
    let receipt = rig.receipt(name);
    assert_eq!(receipt["video"]["sha256"], sha256(&video), "{name}");
    assert_eq!(receipt["video"]["bytes"].as_u64(), Some(video.len() as u64), "{name}");
}
