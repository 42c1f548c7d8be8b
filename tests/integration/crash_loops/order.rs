//! What a record says is durable: read off the order of the effects.
//!
//! A process that is killed loses nothing that it wrote, so the loops cannot see whether a sync is missing. This can: the effects of
//! whole runs are followed, and at each record, each request and each removal nothing may be left that a power cut could take
//! away again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::checks::Points;
use super::scenario::Scenario;
use super::untouched;

/// What a power cut could still take away.
#[derive(Default, Debug)]
struct Unsynced {
    /// Files whose content is not synced.
    files: BTreeSet<PathBuf>,
    /// Folders whose names are not synced.
    folders: BTreeSet<PathBuf>,
    /// Folders of jobs that a file was moved to already.
    claimed: BTreeSet<PathBuf>,
    /// Whether an intent was recorded since the last request.
    intended: bool,
    /// Receipts that lie under their names.
    receipts: BTreeSet<PathBuf>,
}

/// Names of which nothing durable is wanted.
const PASSING: [&str; 4] = [".lock", ".jimengd-canary", ".jimengd-probe", "ledger.db"];

/// The witness: synced beside the intent's record, and before the request.
const INTENTS: &str = ".intents";

impl Unsynced {
    /// Follows one effect; what it finds wrong.
    fn follow(&mut self, point: &str) -> Result<(), String> {
        let (effect, place) = point.split_once(' ').expect("an effect and its place");
        let (to, from) = match place.split_once(" < ") {
            Some((to, from)) => (Path::new(to), Some(Path::new(from))),
            None => (Path::new(place), None),
        };
        let name = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if PASSING.contains(&name.as_str()) {
            return Ok(());
        }
        let renames = |folders: &mut BTreeSet<PathBuf>, path: &Path| {
            folders.insert(path.parent().expect("it lies in a folder").to_owned());
        };
        if ["make", "write"].contains(&effect) && is_final(to) && !name.starts_with('.') {
            return Err(format!("{} is not made under a hidden name first", to.display()));
        }
        match effect {
            "make" => {
                renames(&mut self.folders, to);
                self.files.insert(to.to_owned());
            }
            "write" | "cut" | "times" => {
                self.files.insert(to.to_owned());
            }
            "sync" => {
                self.files.remove(to);
                self.folders.remove(to);
            }
            "rename" | "link" => {
                let from = from.expect("a rename has two places");
                let is_claim = from.components().any(|part| part.as_os_str() == "inbox");
                // The note of a claim is durable before the first file moves.
                if is_claim && self.claimed.insert(to.parent().expect("it lies in a folder").to_owned()) {
                    self.assert_clean(point, false)?;
                }
                let is_unsynced = self.files.remove(from) || is_claim;
                let is_document = is_final(to) && from.parent() == to.parent();
                if is_unsynced && is_document && !name.starts_with('.') {
                    return Err(format!("{} gets its name before it is synced", to.display()));
                }
                if is_unsynced {
                    self.files.insert(to.to_owned());
                }
                if name.ends_with(".receipt.yaml") {
                    self.receipts.insert(to.to_owned());
                }
                if name.ends_with(".mp4") && !self.receipts.contains(&to.with_extension("receipt.yaml")) {
                    return Err(format!("{} gets its name before its receipt", to.display()));
                }
                renames(&mut self.folders, to);
                renames(&mut self.folders, from);
            }
            "unlink" => {
                self.files.remove(to);
                if ["picture", "sidecar"].contains(&name.as_str()) {
                    self.assert_clean(point, true)?;
                }
                renames(&mut self.folders, to);
            }
            "make-folder" => renames(&mut self.folders, to),
            "remove-folder" => {
                self.folders.remove(to);
                renames(&mut self.folders, to);
            }
            "commit" if name != "fact" => {
                self.intended |= name.contains("submitting");
                self.assert_clean(point, ["fetched", "delivered", "failed"].contains(&name.as_str()))?;
            }
            "request" if name == "submit" => {
                if !std::mem::take(&mut self.intended) {
                    return Err("a submission leaves whose intent is not recorded".to_owned());
                }
                self.assert_clean(point, false)?;
                if self.files.iter().any(|file| file.ends_with(INTENTS)) {
                    return Err("a submission leaves whose intent is not announced".to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Nothing may be left unsynced; in the outbox not before a video is recorded as fetched: until then it may be lost.
    fn assert_clean(&self, point: &str, with_outbox: bool) -> Result<(), String> {
        let in_outbox = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "outbox");
        let files = self.files.iter().filter(|file| !file.ends_with(INTENTS));
        let matters = files.chain(&self.folders).filter(|path| with_outbox || !in_outbox(path));
        let unsynced: Vec<_> = matters.map(|path| path.display().to_string()).collect();
        if unsynced.is_empty() { Ok(()) } else { Err(format!("{point}: not synced: {}", unsynced.join(", "))) }
    }
}

/// Whether it lies where others look.
fn is_final(path: &Path) -> bool {
    ["outbox", "error", "archive"].iter().any(|folder| path.components().any(|part| part.as_os_str() == *folder))
}

fn faults(points: &Points) -> Vec<String> {
    let mut unsynced = Unsynced::default();
    points.had().filter_map(|point| unsynced.follow(point).err()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_record_says_is_durable() {
    let mut broken = Vec::new();
    // Of several jobs one may be in the middle of its writes while another records.
    for scenario in super::scenarios().into_iter().filter(|scenario| *scenario != Scenario::SeveralJobs) {
        let points = untouched(scenario, "").await;
        assert!(points.count() > 20, "{scenario:?} has hardly a point");
        broken.extend(faults(&points).into_iter().map(|fault| format!("{scenario:?}: {fault}")));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn what_is_missing_is_found() {
    let good = "1 make /r/work/j/.job.yaml
2 write /r/work/j/.job.yaml
3 sync /r/work/j/.job.yaml
4 rename /r/work/j/job.yaml < /r/work/j/.job.yaml
5 sync /r/work/j
6 rename /r/work/j/picture < /r/inbox/cat.png
7 rename /r/work/j/sidecar < /r/inbox/cat.yaml
8 sync /r/work/j/picture
9 sync /r/work/j/sidecar
10 sync /r/work/j
11 sync /r/inbox
12 commit /r/ledger.db/submitting
13 write /r/work/.intents
14 sync /r/work/.intents
15 request submit
16 answer submit
17 commit /r/ledger.db/submitted
18 make /r/outbox/.j.part
19 write /r/outbox/.j.part
20 sync /r/outbox/.j.part
21 sync /r/outbox
22 commit /r/ledger.db/fetched
23 make /r/outbox/.j.yaml.part
24 write /r/outbox/.j.yaml.part
25 sync /r/outbox/.j.yaml.part
26 rename /r/outbox/cat.receipt.yaml < /r/outbox/.j.yaml.part
27 rename /r/outbox/cat.mp4 < /r/outbox/.j.part
28 sync /r/outbox
29 commit /r/ledger.db/delivered
";
    assert_eq!(faults(&Points::read(good)), Vec::<String>::new());
    let lines: Vec<&str> = good.lines().collect();
    for left_out in lines.iter().filter(|line| line.contains(" sync ") || line.contains("submitting")) {
        let rest: String = lines.iter().filter(|line| *line != left_out).map(|line| format!("{line}\n")).collect();
        assert!(!faults(&Points::read(&rest)).is_empty(), "not missed: {left_out}");
    }
    let swapped = [
        ("rename /r/outbox/cat.receipt.yaml < /r/outbox/.j.yaml.part", "rename /r/outbox/cat.mp4 < /r/outbox/.j.part"),
        ("commit /r/ledger.db/submitting", "request submit"),
        ("sync /r/work/.intents", "request submit"),
        ("rename /r/work/j/job.yaml < /r/work/j/.job.yaml", "rename /r/work/j/picture < /r/inbox/cat.png"),
        ("sync /r/outbox/.j.part", "commit /r/ledger.db/fetched"),
        ("sync /r/outbox/.j.yaml.part", "rename /r/outbox/cat.receipt.yaml < /r/outbox/.j.yaml.part"),
    ];
    for (one, other) in swapped {
        let (between, begin) = ("what comes first", good.replacen(one, "what comes first", 1));
        let order = begin.replacen(other, one, 1).replacen(between, other, 1);
        assert_ne!(order, good);
        assert!(!faults(&Points::read(&order)).is_empty(), "not missed: {other} before {one}");
    }
    let bare = good.replacen("make /r/outbox/.j.part", "make /r/outbox/cat.mp4", 1);
    assert!(!faults(&Points::read(&bare)).is_empty(), "not missed: a video that grows under its name");
}
