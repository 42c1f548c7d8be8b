//! What must hold after each run of a loop, whatever it went through.

use std::fs;

use crate::rig::{Rig, read_yaml, sha256};

use super::scenario::{End, Expected, Scenario};

/// Points of a run, as the fail points' log tells them, without their numbers.
#[derive(Clone, Debug, Default)]
pub struct Points(Vec<String>);

/// Why a job may be in doubt after a run was stopped dead, or its answer was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// Between the intent and the request.
    NeverSent,
    /// Between the answer and its record.
    Answered,
}

impl Points {
    /// Reads what a run has logged.
    pub fn read(text: &str) -> Self {
        let point = |line: &str| {
            let (number, point) = line.split_once(' ')?;
            // What was refused was told before.
            (!number.ends_with('!')).then(|| point.to_owned())
        };
        Self(text.lines().filter_map(point).collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The one of that number, counted from 1.
    pub fn at(&self, number: usize) -> Option<&str> {
        self.0.get(number - 1).map(String::as_str)
    }

    /// Whether a run that was stopped dead before its last point may leave a job in doubt: between an intent and the record of
    /// what came of it.
    pub fn window(&self) -> Option<Window> {
        let is_intent = |point: &String| point.starts_with("write ") && point.ends_with("/.intents");
        let (last, before) = self.0.split_last()?;
        let answers = before.iter().filter(|point| *point == "answer submit").count();
        let since_answer = before.iter().rposition(|point| point == "answer submit").map_or(before, |at| &before[at..]);
        let is_commit = last.starts_with("commit ");
        let recorded = since_answer.iter().any(|point| point.starts_with("commit "));
        if last == "answer submit" || (answers > 0 && is_commit && !recorded) {
            return Some(Window::Answered);
        }
        let intended = before.iter().rposition(is_intent);
        let requested = before.iter().rposition(|point| point == "request submit");
        let waits = is_commit || is_intent(last) || last.starts_with("sync ") || last == "request submit";
        (waits && intended >= requested).then_some(Window::NeverSent)
    }
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
            answered: self.answered + other.answered,
        }
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
        assert_eq!(fs::read_to_string(rig.root().join(file)).unwrap(), "somebody else's", "{file}");
    }
    match doubts {
        0 => assert_eq!(rig.vendor().paid(), if scenario == Scenario::InDoubt { rig.vendor().paid() } else { paid }),
        _ => {
            assert!(!windows.is_empty(), "{doubts} in doubt without a reason\n{}", rig.scene());
            assert!(rig.vendor().paid() <= paid, "{} paid, not {paid}\n{}", rig.vendor().paid(), rig.scene());
            let answered = windows.contains(&Window::Answered);
            tally.answered += if answered { doubts } else { 0 };
            tally.never_sent += if answered { 0 } else { doubts };
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
