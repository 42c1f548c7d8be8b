//! What must hold of a spool that has come to its end, and why each job in doubt is so.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jimengd::daemon::LEDGER;
use jimengd::job::JobId;
use jimengd::ledger::Reader;
use jimengd::simulator::{Request, Status, Task};
use serde_yaml::Value;

use crate::pairs::is_losing;
use crate::rig::{Rig, read_yaml, sha256};
use crate::spool::SUBMIT_TIMEOUT;
use crate::tally::{Breach, Tally};

/// Second attempts after a definite failure, as the configuration's default allows.
const EXTRA_ATTEMPTS: usize = 1;

/// A program that keeps an answer for so long without writing it down does not wait for the disk.
const KEPT_MAX: Duration = Duration::from_secs(5);

/// No program sends a request sooner after its start. What comes sooner was sent by the one before.
const START_MIN: Duration = Duration::from_millis(20);

/// What a report says of an answer that was given up.
const LATE: &str = "no answer in time";

/// What a report says that was written by the next life.
const ENDED: [&str; 3] =
    ["the daemon ended while", "work/.intents does not confirm", "the ledger does not know this job"];

/// What a log says where the program itself is at fault, whatever is done to it.
const BUGS: [&str; 2] = ["panicked", "a bug"];

/// An instant, as we measure and as logs tell it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub at: Instant,
    pub told: Timestamp,
}

impl Moment {
    pub fn now() -> Self {
        Self { at: Instant::now(), told: Timestamp::now() }
    }
}

/// One life of the program.
#[derive(Debug)]
pub struct Life {
    pub from: Instant,
    pub end: End,
    pub log: PathBuf,
}

/// How a life ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// By force, not sooner than that.
    Killed { after: Moment },
    /// By itself, with that exit code.
    Itself(i32),
    /// By itself, because it was kept from starting or from working, or has lost its ledger, and said so.
    Refused(i32),
    /// By itself, though nobody had asked it to.
    Unasked(i32),
}

/// Looks at everything. The daemon must have come to its end.
pub fn audit(rig: &Rig, lives: &[Life]) -> Tally {
    let mut tally = Tally { rounds: 1, ..Tally::default() };
    tally.kills = lives.iter().filter(|life| life.was_killed()).count() as u64;
    for misplaced in rig.misplaced() {
        tally.complain(Breach::Lost, format!("{misplaced:?}"));
    }
    delivered(rig, &mut tally);
    rejected(rig, lives, &mut tally);
    moving(rig, &mut tally);
    paid(rig, &mut tally);
    for violation in rig.vendor().violations() {
        tally.complain(Breach::Odd, violation);
    }
    for life in lives {
        match life.end {
            End::Itself(0 | 65 | 69) | End::Killed { .. } | End::Refused(_) => {}
            End::Itself(code) => tally.complain(Breach::Odd, format!("exit code {code}: {}", life.log.display())),
            End::Unasked(code) => {
                tally.complain(Breach::Odd, format!("ended unasked with {code}: {}", life.log.display()));
            }
        }
        let log = fs::read(&life.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        for line in log.lines().filter(|line| BUGS.iter().any(|bug| line.contains(bug))) {
            tally.complain(Breach::Odd, format!("{}: {line}", life.log.display()));
        }
    }
    tally
}

/// What bears a final name is whole at every instant: a video with its receipt, a file that was dropped, a document that tells its
/// job. To be asked while no daemon runs.
pub fn finals(rig: &Rig, when: &str, tally: &mut Tally) {
    let mut look = |folder: &str, is_final: &dyn Fn(&str) -> Result<(), String>| {
        for name in rig.list(folder).iter().filter(|name| !is_hidden(name)) {
            if let Err(why) = is_final(name) {
                tally.complain(Breach::Partial, format!("{when}, {folder}/{name}: {why}"));
            }
        }
    };
    look("outbox", &|name| match name.strip_suffix(".mp4") {
        Some(stem) => is_whole(rig, stem),
        None if name.ends_with(".receipt.yaml") => tells_its_job(&rig.outbox(name)),
        None => Err("neither a video nor a receipt".to_owned()),
    });
    look("archive", &|name| is_as_dropped(rig, &rig.archive(name)));
    look("error", &|name| match name.ends_with(".error.yaml") {
        true => tells_its_job(&rig.error(name)),
        false => is_as_dropped(rig, &rig.error(name)),
    });
}

fn tells_its_job(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let document: Value = serde_yaml::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    match document["job"].as_str().and_then(JobId::parse) {
        Some(_) => Ok(()),
        None => Err(format!("it tells no job: {text}")),
    }
}

fn is_as_dropped(rig: &Rig, path: &Path) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    match rig.was_dropped(&bytes) {
        true => Ok(()),
        false => Err(format!("nobody dropped these {} bytes", bytes.len())),
    }
}

/// Whether a name in a folder is one of the program's own.
fn is_hidden(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|name| name.starts_with('.'))
}

/// Every video is whole and has its receipt, and nothing else lies there.
fn delivered(rig: &Rig, tally: &mut Tally) {
    let names: HashSet<String> = rig.list("outbox").into_iter().collect();
    for name in &names {
        if let Some(stem) = name.strip_suffix(".receipt.yaml") {
            if !names.contains(&format!("{stem}.mp4")) {
                tally.complain(Breach::Partial, format!("outbox/{name} without its video"));
            }
        } else if let Some(stem) = name.strip_suffix(".mp4") {
            tally.delivered += 1;
            if !names.contains(&format!("{stem}.receipt.yaml")) {
                tally.complain(Breach::Partial, format!("outbox/{name} without its receipt"));
            } else if let Err(why) = is_whole(rig, stem) {
                tally.complain(Breach::Partial, format!("outbox/{name}: {why}"));
            }
        } else {
            tally.complain(Breach::Partial, format!("outbox/{name} is left"));
        }
    }
    let (kept, wanted) = (rig.list("archive").len() as u64, 2 * tally.delivered);
    if kept != wanted {
        tally.complain(Breach::Partial, format!("{kept} files in the archive, not {wanted}"));
    }
}

fn is_whole(rig: &Rig, stem: &str) -> Result<(), String> {
    let text = fs::read_to_string(rig.outbox(format!("{stem}.receipt.yaml"))).map_err(|error| error.to_string())?;
    let receipt: Value = serde_yaml::from_str(&text).map_err(|error| format!("its receipt: {error}"))?;
    let video = fs::read(rig.outbox(format!("{stem}.mp4"))).map_err(|error| error.to_string())?;
    let (said, is) = (&receipt["video"], sha256(&video));
    if said["sha256"] != is.as_str() || said["bytes"] != video.len() as u64 {
        return Err(format!("its receipt tells of {said:?}, but it has {} bytes and {is}", video.len()));
    }
    let task = receipt["task_id"].as_str().ok_or("no task in its receipt")?;
    match rig.vendor().video(task) {
        Some(film) if film == video => Ok(()),
        Some(film) => Err(format!("{} bytes, and the vendor's film has {}", video.len(), film.len())),
        None => Err(format!("the vendor knows no task {task}")),
    }
}

/// Every report is whole and has its files beside it, and nothing else lies there. What is in doubt is so for a reason.
fn rejected(rig: &Rig, lives: &[Life], tally: &mut Tally) {
    let names = rig.list("error");
    let mut told = HashSet::new();
    for name in names.iter().filter(|name| name.ends_with(".error.yaml")) {
        told.insert(name.clone());
        let text = fs::read_to_string(rig.error(name)).unwrap_or_default();
        let Ok(report) = serde_yaml::from_str::<Value>(&text) else {
            tally.complain(Breach::Partial, format!("error/{name} cannot be read: {text}"));
            continue;
        };
        let folder = Path::new(name).parent().unwrap_or(Path::new(""));
        let files = report["files"].as_sequence().cloned().unwrap_or_default();
        let files: Vec<String> = files
            .iter()
            .filter_map(Value::as_str)
            .map(|file| folder.join(file).to_string_lossy().into_owned())
            .collect();
        for file in &files {
            if !names.contains(file) {
                tally.complain(Breach::Partial, format!("error/{name} without {file}"));
            }
        }
        match report["reason"].as_str() {
            Some("in_doubt") => match explain(rig, lives, &report, &files) {
                Ok(Why::Lost) => tally.doubt.lost += 1,
                Ok(Why::Before) => tally.doubt.before += 1,
                Ok(Why::Between) => tally.doubt.between += 1,
                Ok(Why::Unsent) => tally.doubt.unsent += 1,
                Err(why) => tally.complain(Breach::Unexplained, format!("error/{name}: {why}\n{text}")),
            },
            Some(_) => tally.rejected += 1,
            None => tally.complain(Breach::Partial, format!("error/{name} gives no reason: {text}")),
        }
        told.extend(files);
    }
    for name in names.iter().filter(|name| !told.contains(*name)) {
        tally.complain(Breach::Partial, format!("error/{name} without a report"));
    }
}

/// Why a job is in doubt.
enum Why {
    Lost,
    Before,
    Between,
    Unsent,
}

fn explain(rig: &Rig, lives: &[Life], report: &Value, files: &[String]) -> Result<Why, String> {
    let sidecar = files.iter().find(|file| file.ends_with(".yaml")).ok_or("it names no sidecar")?;
    let prompt = read_yaml(&rig.error(sidecar))["prompt"].as_str().ok_or("no prompt")?.to_owned();
    let id = report["job"].as_str().ok_or("no job")?;
    let known = || Reader::open(&rig.root().join(LEDGER)).ok()??.job(JobId::parse(id)?).ok()?;
    let sends = known().ok_or("the ledger does not know it")?.sends as usize;
    let requests: Vec<Request> = rig.vendor().with_world(|world| world.submissions().cloned().collect());
    let ours: Vec<&Request> = requests.iter().filter(|request| request.prompt.as_deref() == Some(&prompt)).collect();
    let said = report["message"].as_str().unwrap_or_default();
    let by_the_next_life = ENDED.iter().any(|words| said.contains(words));
    if let Some(line) = acceptance(lives, id, report["attempts"].as_u64()) {
        return Err(format!("the daemon had it as accepted: {line}"));
    }
    if !by_the_next_life {
        // The daemon lived to see that no answer came.
        return match ours.last() {
            Some(last) if is_losing(&prompt) && last.last_byte_at.is_some() => Ok(Why::Lost),
            Some(last) if said == LATE && is_late(last) => Ok(Why::Lost),
            last => Err(format!("the vendor lost no answer of it: {last:?}")),
        };
    }
    let Some(last) = ours.last().filter(|_| ours.len() == sends) else {
        // Its last request never came, or so little of it that nobody can say whose it was.
        let killed: Vec<&Life> = lives.iter().filter(|life| life.was_killed()).collect();
        let mut nobodys = requests.iter().filter(|request| request.prompt.is_none());
        return match nobodys.any(|request| life_of(lives, request).is_some_and(|life| life.was_killed())) {
            _ if killed.is_empty() => Err("no request came, and nobody killed the daemon".to_owned()),
            true => Ok(Why::Before),
            false => Ok(Why::Unsent),
        };
    };
    let life = life_of(lives, last).ok_or("its request came in no life of the daemon")?;
    match (life.end, last.answered_at) {
        (End::Itself(code) | End::Refused(code) | End::Unasked(code), _) => {
            Err(format!("nobody killed that daemon, which ended with {code}: {last:?}"))
        }
        (End::Killed { .. }, _) if is_losing(&prompt) && last.last_byte_at.is_some() => Ok(Why::Lost),
        (End::Killed { .. }, None) => Ok(Why::Before),
        (End::Killed { after, .. }, Some(at)) if at >= after.at => Ok(Why::Before),
        (End::Killed { after, .. }, Some(at)) if after.at - at <= KEPT_MAX => Ok(Why::Between),
        (End::Killed { after, .. }, Some(at)) => {
            Err(format!("its answer was there {:?} before the daemon was killed: {last:?}", after.at - at))
        }
    }
}

/// Whether the vendor was so slow that the daemon may have given up waiting. It shares a busy machine with all that happens here.
fn is_late(request: &Request) -> bool {
    request.answered_at.is_none_or(|at| at - request.head_at >= SUBMIT_TIMEOUT / 2)
}

/// The line of a log that says that the ledger has this attempt of a job as accepted. What a daemon says after the power has gone
/// would not have been said.
fn acceptance(lives: &[Life], id: &str, attempt: Option<u64>) -> Option<String> {
    let says_so = |life: &Life, line: &str| {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { return false };
        let told = line["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let in_time = match life.end {
            End::Killed { after } => told.is_some_and(|told| told < after.told),
            End::Itself(_) | End::Refused(_) | End::Unasked(_) => true,
        };
        // An error tells of a state that cannot be written.
        let is_said = line["state"] == "submitted" && line["level"] == "info";
        line["job_id"] == id && is_said && line["attempt"].as_u64() == attempt && in_time
    };
    lives.iter().find_map(|life| {
        let log = fs::read_to_string(&life.log).ok()?;
        log.lines().find(|line| says_so(life, line)).map(str::to_owned)
    })
}

/// The life that sent a request.
fn life_of<'a>(lives: &'a [Life], request: &Request) -> Option<&'a Life> {
    lives.iter().rev().find(|life| life.from + START_MIN <= request.head_at)
}

impl Life {
    fn was_killed(&self) -> bool {
        matches!(self.end, End::Killed { .. })
    }
}

/// Nothing is under way any more, and nothing waits.
fn moving(rig: &Rig, tally: &mut Tally) {
    let status = rig.status();
    for list in ["jobs", "waiting"] {
        for one in status[list].as_array().into_iter().flatten() {
            tally.complain(Breach::Stuck, format!("{list}: {one}"));
        }
    }
    let count = |state: &str| status["counts"][state].as_u64().unwrap_or_default();
    let doubt = tally.doubt;
    let in_doubt = doubt.lost + doubt.before + doubt.between + doubt.unsent + doubt.unexplained;
    let counted = [count("delivered"), count("failed"), count("in_doubt")];
    let found = [tally.delivered, tally.rejected, in_doubt];
    if counted != found {
        let what =
            format!("delivered, failed and in doubt are {counted:?} by the ledger, and {found:?} by the folders");
        tally.complain(Breach::Odd, what);
    }
    let ours = |name: &String| is_hidden(name) || name.contains("probe");
    for folder in ["inbox", "archive", "error"] {
        for name in rig.list(folder).into_iter().filter(ours) {
            tally.complain(Breach::Partial, format!("{folder}/{name} is left"));
        }
    }
    if rig.jobs_in_work() > 0 {
        tally.complain(Breach::Partial, format!("left in work: {:?}", rig.list("work")));
    }
}

/// No pair was accepted more often than it may be.
fn paid(rig: &Rig, tally: &mut Tally) {
    let mut tasks: BTreeMap<String, Vec<Task>> = BTreeMap::new();
    for task in rig.vendor().tasks() {
        tasks.entry(task.prompt.clone()).or_default().push(task);
    }
    for (prompt, tasks) in tasks {
        let earlier = &tasks[..tasks.len() - 1];
        let failed = earlier.iter().filter(|task| matches!(task.status(), Status::Failed(_))).count();
        if tasks.len() > 1 + failed.min(EXTRA_ATTEMPTS) {
            tally.complain(Breach::Twice, format!("{prompt:?} was accepted {} times", tasks.len()));
        }
    }
}
