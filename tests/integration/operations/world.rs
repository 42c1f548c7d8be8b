//! One spool, its vendor and its ledger, to which operations happen; and what must hold after each of them.
//!
//! The program has no clock that a test can turn. Where time passes, the instants in the ledger of the stopped daemon that it
//! compares with the present are set back, and links that it holds are expired at the vendor: that is what a machine finds that
//! was off for so long. Only the vendor's tasks grow no older; it still knows in the morning what it should have forgotten,
//! and so a task that must not be asked for any more would be found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use jimengd::daemon::LEDGER;
use jimengd::simulator::Settings;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value as Json;
use serde_yaml::Value;

use super::operation::{Account, Case, Edit, Name, Operation, Pair, Point, Time, Trouble, Vendor};
use crate::rig::{self, LOOK_EVERY, PATIENCE, Rig, pictures, read_yaml, sha256, vendor};

/// How long the vendor's tasks take, in seconds.
const TASK_SECONDS: f64 = 0.02;

/// How often the ledger of a daemon that runs is looked at.
const LOOK_AT_LEDGER_EVERY: Duration = Duration::from_millis(50);

/// The longest run of the daemon that ends by itself.
const RUN_MAX: Duration = Duration::from_secs(300);

/// A job that is to wait longer than this is not waited for: time passes where an operation says so.
const WORTH_WAITING: SignedDuration = SignedDuration::from_millis(1_000);

/// The API keeps a task for so long.
const TASK_LIFE: SignedDuration = SignedDuration::from_hours(12);

/// What the program ends with where nothing is wrong with it: all done, some pair failed, the API holds the rest back.
const ENDS: [i32; 3] = [0, 65, 69];

/// The same where an effect fails: it may not be able to start.
const ENDS_IN_TROUBLE: [i32; 5] = [0, 65, 69, 74, 78];

/// The end of a program that was killed.
const KILLED: i32 = 128 + 9;

/// Reasons of failures after which the API may still have the task, so that the same pair is not paid again.
const TASK_MAY_LIVE: [&str; 3] = ["task_gone", "no_video", "download_failed"];

/// The ledger's files, one behind the other.
const LEDGER_FILES: [&str; 3] = ["", "-wal", "-shm"];

/// Carries a list of operations out in an empty folder.
///
/// # Panics
/// What must hold does not.
pub async fn replay(case: &Case) -> Tally {
    let mut world = World::new(case.slots);
    for (number, operation) in case.operations.iter().enumerate() {
        world.step = format!("operation {}, {operation:?}", number + 1);
        world.perform(*operation).await;
        world.check();
        world.keep_backup();
    }
    world.step = "the last turn".to_owned();
    world.end().await;
    world.tally()
}

/// What has come of lists, so that it shows whether they stir anything.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    pub lists: usize,
    pub operations: usize,
    pub runs: usize,
    pub kills: usize,
    pub failed_effects: usize,
    pub retries: usize,
    pub resumed: usize,
    pub ghosts: usize,
    pub pairs: usize,
    pub paid: u64,
    pub videos: usize,
    pub reports: usize,
    pub in_doubt: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.lists += other.lists;
        self.operations += other.operations;
        self.runs += other.runs;
        self.kills += other.kills;
        self.failed_effects += other.failed_effects;
        self.retries += other.retries;
        self.resumed += other.resumed;
        self.ghosts += other.ghosts;
        self.pairs += other.pairs;
        self.paid += other.paid;
        self.videos += other.videos;
        self.reports += other.reports;
        self.in_doubt += other.in_doubt;
    }
}

/// What was dropped once.
struct Dropped {
    pair: Pair,
    prompt: String,
    sidecar_sha256: String,
    /// How the rig remembers its sidecar.
    sidecar_label: PathBuf,
    /// Submissions that may be accepted.
    allowed: u64,
    /// The failed job that this pair, moved back under this name, must go on with unpaid.
    goes_on_with: Option<(String, PathBuf)>,
}

/// How a run of the daemon ended.
struct Ran {
    code: i32,
    /// It was told to stop, for everything waits.
    waits: bool,
    /// The fail points that were passed.
    points: Vec<String>,
}

struct World {
    rig: Rig,
    slots: u8,
    account: Account,
    dropped: Vec<Dropped>,
    /// The ledger's files after each operation.
    backups: Vec<Vec<(&'static str, Vec<u8>)>>,
    /// Jobs that have ended, and how.
    ended: BTreeMap<String, (String, String)>,
    /// Jobs whose report may lie alone: their pair was moved back.
    moved_back: BTreeSet<String>,
    /// Jobs of which a ledger that was put back knows less than what has become of their files: nothing is paid for them or lost,
    /// but a report may lie alone.
    ghosts: BTreeSet<String>,
    /// Pairs that were on their way out of `work/` when that was forgotten. One half may be back in the inbox.
    torn: BTreeSet<String>,
    /// Something has happened after which a submission may be in doubt.
    may_doubt: bool,
    /// The last run went on until nothing could move, whatever had been before.
    is_calm: bool,
    runs: usize,
    step: String,
    tally: Tally,
}

/// A row of the ledger.
struct Row {
    job: String,
    /// Folder and stem, as the file's name begins.
    pair: String,
    state: String,
    earlier: Option<String>,
    detail: String,
}

impl Row {
    fn is_final(&self) -> bool {
        ["delivered", "failed"].contains(&self.state.as_str())
    }

    /// Whether its files may lie in two folders.
    fn is_ending(&self) -> bool {
        ["fetched", "failing"].contains(&self.state.as_str())
    }

    fn detail(&self) -> Json {
        serde_json::from_str(&self.detail).expect("the ledger holds JSON")
    }

    /// Until when the job waits, as the ledger tells.
    fn waits_until(&self) -> Option<Timestamp> {
        let detail = self.detail();
        let told = match self.state.as_str() {
            "queued" => &detail["not_before"],
            "submitted" => &detail["ask_at"],
            _ => return None,
        };
        told.as_str().map(|told| told.parse().expect("an instant"))
    }
}

impl World {
    fn new(slots: u8) -> Self {
        let rig = Rig::new(Settings { token: None, task_seconds: TASK_SECONDS, ..vendor() }, "");
        Self {
            rig,
            slots,
            account: Account::Own,
            dropped: Vec::new(),
            backups: vec![Vec::new()],
            ended: BTreeMap::new(),
            moved_back: BTreeSet::new(),
            ghosts: BTreeSet::new(),
            torn: BTreeSet::new(),
            may_doubt: false,
            is_calm: false,
            runs: 0,
            step: String::new(),
            tally: Tally::default(),
        }
    }

    // ---- what happens ----

    async fn perform(&mut self, operation: Operation) {
        self.is_calm = false;
        self.tally.operations += 1;
        match operation {
            Operation::Drop(name, pair) => self.drop_pair(name, pair),
            Operation::Turn(vendor) => self.turn(vendor).await,
            Operation::Crash(point, vendor) => self.crash(point, vendor).await,
            Operation::Fail(point, trouble, vendor) => self.fail(point, trouble, vendor).await,
            Operation::Stop(points) => self.stop(points).await,
            Operation::Pass(time) => self.pass(time),
            Operation::Retry(which, edit) => self.retry(which, edit),
            Operation::Restore(back) => self.restore(back),
            Operation::Lose => self.put_ledger(&[]),
            Operation::Switch(account) => self.account = account,
        }
    }

    fn drop_pair(&mut self, name: Name, pair: Pair) {
        let (picture, sidecar) = match name {
            Name::A => ("a.png", "a.yaml"),
            Name::B => ("b.png", "b.yaml"),
            Name::Below => ("below/deep/c.png", "below/deep/c.yaml"),
            Name::Exact => ("d.png", "d.png.yaml"),
        };
        let (picture, sidecar) = (self.rig.inbox(picture), self.rig.inbox(sidecar));
        if picture.exists() || sidecar.exists() {
            return;
        }
        fs::create_dir_all(picture.parent().unwrap()).unwrap();
        // One that was moved back and is being claimed finds its name taken, if it comes back, and its report with it.
        self.forget_tasks_of(|name| name == sidecar);
        let number = self.dropped.len();
        if pair != Pair::Address {
            let bytes = pictures::png();
            self.rig.remember(Path::new(&format!("picture {number}")), &bytes);
            fs::write(picture, bytes).unwrap();
        }
        self.write_sidecar(&sidecar, pair);
    }

    /// Writes a sidecar of a new pair.
    fn write_sidecar(&mut self, path: &Path, pair: Pair) {
        let number = self.dropped.len();
        let prompt = format!("Number {number} {}", pair.words()).trim_end().to_owned();
        let key = if pair == Pair::Wrong { "promt" } else { "prompt" };
        let mut text = format!("{key}: {}\n", Json::from(prompt.as_str()));
        match pair {
            Pair::Seeded | Pair::FailsSeeded => text.push_str("seed: 7\n"),
            Pair::Address => text.push_str(&format!("image_urls: [\"https://pictures.example/{number}.png\"]\n")),
            Pair::Good
            | Pair::Wrong
            | Pair::Refused
            | Pair::RefusedOnce
            | Pair::Fails
            | Pair::FailsOnce
            | Pair::AnswerLost => {}
        }
        let sidecar_label = PathBuf::from(format!("sidecar {number}"));
        self.rig.remember(&sidecar_label, text.as_bytes());
        fs::write(path, &text).unwrap();
        self.dropped.push(Dropped {
            pair,
            prompt,
            sidecar_sha256: sha256(text.as_bytes()),
            sidecar_label,
            allowed: pair.accepted_max(),
            goes_on_with: None,
        });
    }

    async fn turn(&mut self, vendor: Vendor) {
        let ran = self.run(vendor, "", None).await;
        assert!(ran.waits || ENDS.contains(&ran.code), "{}: it ended with {}\n{}", self.step, ran.code, self.scene());
        self.is_calm = true;
        let may_be_held = vendor == Vendor::NoCredit || !self.account.is_let_in();
        assert!(ran.code != 69 || may_be_held, "{}: the API holds nothing back\n{}", self.step, self.scene());
    }

    async fn crash(&mut self, point: Point, vendor: Vendor) {
        let ran = self.run(vendor, &format!("{};do=kill", point.plan()), None).await;
        self.may_doubt |= ran.code == KILLED;
        self.tally.kills += usize::from(ran.code == KILLED);
        assert!(ran.waits || ran.code == KILLED || ENDS.contains(&ran.code), "{}: {}", self.step, ran.code);
    }

    async fn fail(&mut self, point: Point, trouble: Trouble, vendor: Vendor) {
        let ran = self.run(vendor, &format!("{};do={}", point.plan(), trouble.label()), None).await;
        assert!(ran.waits || ENDS_IN_TROUBLE.contains(&ran.code), "{}: {}\n{}", self.step, ran.code, self.scene());
        let failed = self.failed_at(point, &ran.points);
        self.may_doubt |= failed.is_some_and(|failed| failed.contains(" answer submit"));
        self.tally.failed_effects += usize::from(failed.is_some());
    }

    /// The line of the point that a plan names.
    fn failed_at<'a>(&self, point: Point, points: &'a [String]) -> Option<&'a String> {
        let plan = point.plan();
        match plan.strip_prefix("at=") {
            Some(number) => points.iter().find(|line| line.split(' ').next() == Some(number)),
            None => {
                let (on, nth) = plan.strip_prefix("on=").and_then(|plan| plan.split_once(";nth=")).expect("a plan");
                points.iter().filter(|line| line.contains(on)).nth(nth.parse::<usize>().expect("a number") - 1)
            }
        }
    }

    async fn stop(&mut self, points: u16) {
        let ran = self.run(Vendor::Plain, "", Some(points)).await;
        assert!(ENDS.contains(&ran.code), "{}: it ended with {}\n{}", self.step, ran.code, self.scene());
    }

    /// Runs the program until it ends by itself, until nothing moves but by waiting, or until it has passed so many points.
    async fn run(&mut self, vendor: Vendor, plan: &str, stop_after: Option<u16>) -> Ran {
        self.runs += 1;
        self.may_doubt |= vendor.loses_answers();
        let script = format!("{}{}{}", self.account.script(), vendor.script(), self.expired_links());
        self.rig.vendor().follow(rig::script(&script));
        self.rig.set_token(self.account.token());
        let patience = if vendor == Vendor::GivenUp { "1ms" } else { "12h" };
        self.rig.configure(&format!(
            "inbox: {{settle: 5ms}}\ntasks: {{max: {}, give_up_after: {patience}}}\nlog: {{level: info}}",
            self.slots
        ));
        let log = self.rig.folder().join(format!("points-{}", self.runs));
        let mut daemon = self.rig.spawn_failing(&format!("log={};{plan}", log.display()), &["--once"]);
        let passed = || fs::read_to_string(&log).unwrap_or_default();
        let mut looked = Instant::now();
        let (begun, mut moved, mut bytes) = (Instant::now(), Instant::now(), 0);
        let (mut told, mut waits) = (false, false);
        while daemon.runs() {
            let said = || format!("{}: it does not end\n{}\n{}", self.step, self.scene(), daemon.said());
            // On a busy machine a long list of pairs may take long, but nothing stands still for long.
            let written = fs::metadata(&log).map_or(0, |facts| facts.len());
            if written != bytes {
                (moved, bytes) = (Instant::now(), written);
            }
            assert!(moved.elapsed() < PATIENCE && begun.elapsed() < RUN_MAX, "{}", said());
            if !told && stop_after.is_some_and(|points| passed().lines().count() >= usize::from(points)) {
                told = true;
                daemon.terminate();
            }
            if !told && looked.elapsed() >= LOOK_AT_LEDGER_EVERY {
                looked = Instant::now();
                // A program that pays without end is not waited for.
                self.check_payments();
                waits = self.waits();
                if waits {
                    told = true;
                    daemon.terminate();
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let code = daemon.code().await;
        let said = daemon.said();
        for bug in ["panicked", "a bug", "a step failed; it is tried again", "which is a bug"] {
            assert!(!said.contains(bug), "{}: {said}", self.step);
        }
        let points = passed().lines().map(str::to_owned).collect();
        Ran { code, waits, points }
    }

    /// Whether there are jobs, each of them waits for an instant that is told, and what lies in the inbox is held back.
    fn waits(&self) -> bool {
        let live: Vec<Row> = self.rows().into_iter().filter(|row| !row.is_final()).collect();
        let soon = Timestamp::now() + WORTH_WAITING;
        let all_wait = !live.is_empty() && live.iter().all(|row| row.waits_until().is_some_and(|until| until > soon));
        let paused = || self.rig.snapshot().is_some_and(|snapshot| !snapshot.paused.is_empty());
        all_wait && self.rig.jobs_in_work() <= live.len() && (self.untaken().is_empty() || paused())
    }

    /// What the vendor has to say of links that the daemon holds since before a while in which time passed.
    fn expired_links(&self) -> String {
        let old = Timestamp::now() - SignedDuration::from_hours(1);
        let expired = self.rows().into_iter().filter(|row| row.state == "ready").filter(|row| {
            let detail = row.detail();
            detail["finish"]["done_at"].as_str().is_some_and(|at| at.parse::<Timestamp>().expect("an instant") < old)
        });
        match expired.count() {
            0 => String::new(),
            links => format!("- {{on: download, times: {links}, do: {{expired: true}}}}\n"),
        }
    }

    fn pass(&mut self, time: Time) {
        self.age_ledger(SignedDuration::from_secs(time.seconds()));
        if time == Time::Night {
            self.forget_tasks();
        }
    }

    /// Sets back each instant that is compared with the present.
    fn age_ledger(&mut self, by: SignedDuration) {
        let Some(connection) = self.open_ledger(OpenFlags::SQLITE_OPEN_READ_WRITE) else { return };
        let milliseconds = i64::try_from(by.as_millis()).expect("a few hours");
        for row in self.rows() {
            let mut detail = row.detail();
            set_back(&mut detail, by);
            let sql = "UPDATE job SET detail = ?2, since = since - ?3, claimed_at = claimed_at - ?3 WHERE job = ?1";
            connection.execute(sql, (&row.job, detail.to_string(), milliseconds)).unwrap();
        }
        connection.execute("UPDATE spending SET reserved_at = reserved_at - ?1", [milliseconds]).unwrap();
        connection.execute("UPDATE duration SET seen_at = seen_at - ?1", [milliseconds]).unwrap();
        drop(connection);
        self.ended = self.ended_jobs();
    }

    fn retry(&mut self, which: u8, edit: Edit) {
        let mut reports = self.reports();
        reports.retain(|(path, report)| !report_files(path, report).is_empty() && lies_beside(path, report));
        if reports.is_empty() {
            return;
        }
        let (path, report) = &reports[usize::from(which) % reports.len()];
        let files = report_files(path, report);
        let targets: Vec<PathBuf> = files.iter().map(|file| self.in_inbox(file)).collect();
        if targets.iter().any(|target| target.exists()) {
            return;
        }
        let sidecar = files.iter().position(|file| file.extension().is_some_and(|extension| extension == "yaml"));
        let sidecar = sidecar.expect("each pair has a sidecar");
        let hash = sha256(&fs::read(&files[sidecar]).unwrap());
        for (file, target) in files.iter().zip(&targets) {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::rename(file, target).unwrap();
        }
        self.tally.retries += 1;
        let job = report["job"].as_str().expect("a report names its job").to_owned();
        let number = self.dropped.iter().position(|dropped| dropped.sidecar_sha256 == hash).expect("it was dropped");
        match edit {
            Edit::New => {
                self.rig.forget(&self.dropped[number].sidecar_label);
                let pair = if files.len() == 1 { Pair::Address } else { Pair::Good };
                self.write_sidecar(&targets[sidecar], pair);
            }
            Edit::Same if self.must_go_on(&job, report) => {
                self.dropped[number].goes_on_with = Some((job.clone(), targets[sidecar].clone()));
            }
            Edit::Same => self.dropped[number].allowed += self.dropped[number].pair.accepted_max(),
        }
        self.moved_back.insert(job);
    }

    /// Whether the task of a failed job is asked for again, and not paid anew, if its pair is moved back unedited.
    fn must_go_on(&self, job: &str, report: &Value) -> bool {
        let may_live = report["reason"].as_str().is_some_and(|reason| TASK_MAY_LIVE.contains(&reason));
        let Some(row) = self.rows().into_iter().find(|row| row.job == job && row.state == "failed") else {
            return false;
        };
        let detail = row.detail();
        let submitted_at = detail["failure"]["task"]["submitted_at"].as_str();
        let submitted_at = submitted_at.map(|at| at.parse::<Timestamp>().expect("an instant"));
        may_live && submitted_at.is_some_and(|at| Timestamp::now().duration_since(at) < TASK_LIFE)
    }

    /// What was to go on unpaid is a new job now, unless it has gone on already.
    fn forget_tasks(&mut self) {
        self.forget_tasks_of(|_| true);
    }

    fn forget_tasks_of(&mut self, is_meant: impl Fn(&Path) -> bool) {
        self.see_what_goes_on();
        for dropped in &mut self.dropped {
            if dropped.goes_on_with.take_if(|(_, name)| is_meant(name)).is_some() {
                dropped.allowed += dropped.pair.accepted_max();
            }
        }
    }

    /// Pairs that go on with their task are claimed, and no memory is asked any more.
    fn see_what_goes_on(&mut self) {
        let earlier: BTreeSet<String> = self.rows().into_iter().filter_map(|row| row.earlier).collect();
        for dropped in &mut self.dropped {
            let gone_on = dropped.goes_on_with.take_if(|(job, _)| earlier.contains(job));
            self.tally.resumed += usize::from(gone_on.is_some());
        }
    }

    fn restore(&mut self, back: u8) {
        let number = self.backups.len().saturating_sub(1 + usize::from(back));
        let backup = self.backups[number].clone();
        self.put_ledger(&backup);
    }

    /// Puts these files in the place of the ledger's.
    fn put_ledger(&mut self, files: &[(&'static str, Vec<u8>)]) {
        self.may_doubt = true;
        self.forget_tasks();
        let before = self.rows();
        for suffix in LEDGER_FILES {
            let path = self.ledger_file(suffix);
            if path.exists() {
                fs::remove_file(path).unwrap();
            }
        }
        for (suffix, bytes) in files {
            fs::write(self.ledger_file(suffix), bytes).unwrap();
        }
        self.ended = self.ended_jobs();
        let now = self.rows();
        let has_gone_on = |row: &&Row| !row.is_final() && !self.rig.root().join("work").join(&row.job).exists();
        let ghosts: Vec<String> = now.iter().filter(has_gone_on).map(|row| row.job.clone()).collect();
        self.tally.ghosts += ghosts.len();
        self.ghosts.extend(ghosts);
        let is_known = |row: &&Row| now.iter().any(|now| (&now.job, &now.state) == (&row.job, &row.state));
        for row in before.iter().filter(|row| row.is_ending() && !is_known(row)) {
            self.ghosts.insert(row.job.clone());
            self.torn.insert(row.pair.clone());
        }
    }

    fn keep_backup(&mut self) {
        // What is beside them is made anew from these two.
        let kept =
            LEDGER_FILES[..2].iter().filter_map(|suffix| Some((*suffix, fs::read(self.ledger_file(suffix)).ok()?)));
        self.backups.push(kept.collect());
    }

    /// The trouble is over: everything comes to its end.
    async fn end(&mut self) {
        self.account = Account::Own;
        self.age_ledger(SignedDuration::from_hours(2));
        self.turn(Vendor::Plain).await;
        self.check();
        let live: Vec<String> = self.rows().iter().filter(|row| !row.is_final()).map(|row| row.job.clone()).collect();
        assert!(live.is_empty(), "{}: {live:?} have not ended\n{}", self.step, self.scene());
        assert_eq!(self.untaken(), Vec::<String>::new(), "{}: left in the inbox\n{}", self.step, self.scene());
        if self.ghosts.is_empty() {
            self.rig.assert_all_is_well();
        }
        assert_eq!(self.rig.vendor().violations(), Vec::<String>::new(), "{}", self.scene());
    }

    fn tally(&self) -> Tally {
        let in_doubt = self.reports().iter().filter(|(_, report)| report["reason"] == "in_doubt").count();
        Tally {
            lists: 1,
            runs: self.runs,
            pairs: self.dropped.len(),
            paid: self.rig.vendor().paid(),
            videos: self.rig.videos(),
            reports: self.rig.reports(),
            in_doubt,
            ..self.tally
        }
    }

    // ---- what must hold ----

    fn check(&mut self) {
        self.rig.assert_everywhere_once();
        self.see_what_goes_on();
        self.check_payments();
        self.check_outbox();
        self.check_reports();
        self.check_ledger();
        if self.is_calm {
            self.check_calm();
        }
    }

    /// No submission more was accepted than may be.
    fn check_payments(&self) {
        let mut paid: BTreeMap<String, u64> = BTreeMap::new();
        for task in self.rig.vendor().tasks() {
            *paid.entry(task.prompt).or_default() += 1;
        }
        for (prompt, paid) in paid {
            let dropped = self.dropped.iter().find(|dropped| dropped.prompt == prompt).expect("it was dropped");
            let allowed = dropped.allowed;
            assert!(paid <= allowed, "{}: {prompt:?} is paid {paid} times, not {allowed}\n{}", self.step, self.scene());
        }
    }

    /// Each video is whole and has its receipt.
    fn check_outbox(&self) {
        for name in self.rig.list("outbox") {
            let Some(stem) = name.strip_suffix(".mp4") else { continue };
            let receipt = self.rig.outbox(format!("{stem}.receipt.yaml"));
            assert!(receipt.exists(), "{}: {name} has no receipt\n{}", self.step, self.scene());
            let told = &read_yaml(&receipt)["video"];
            let bytes = fs::read(self.rig.outbox(&name)).unwrap();
            assert_eq!(told["bytes"].as_u64(), Some(bytes.len() as u64), "{}: {name}", self.step);
            assert_eq!(told["sha256"].as_str(), Some(sha256(&bytes).as_str()), "{}: {name}", self.step);
        }
    }

    /// Each report is whole, has its files beside it, and a reason that can be.
    fn check_reports(&self) {
        for (path, report) in self.reports() {
            let job = report["job"].as_str().expect("a report names its job");
            if self.moved_back.contains(job) || self.ghosts.contains(job) {
                continue;
            }
            let about = || format!("{}: {}: {report:?}\n{}", self.step, path.display(), self.scene());
            assert!(lies_beside(&path, &report), "not all is beside it: {}", about());
            let reason = report["reason"].as_str().expect("a report has a reason");
            let sidecars = report_files(&path, &report);
            let sidecar = sidecars.iter().find(|file| file.extension().is_some_and(|extension| extension == "yaml"));
            let hash = sha256(&fs::read(sidecar.expect("each pair has a sidecar")).unwrap());
            let dropped = self.dropped.iter().find(|dropped| dropped.sidecar_sha256 == hash).expect("it was dropped");
            let may_be = match reason {
                "in_doubt" => dropped.pair.reason() == Some("in_doubt") || self.may_doubt,
                reason if TASK_MAY_LIVE.contains(&reason) => true,
                reason => dropped.pair.reason() == Some(reason),
            };
            assert!(may_be, "nothing gives reason to it: {}", about());
        }
    }

    /// What has ended has ended for good.
    fn check_ledger(&mut self) {
        let ended = self.ended_jobs();
        for (job, end) in &self.ended {
            assert_eq!(ended.get(job), Some(end), "{}: job {job} had ended", self.step);
        }
        self.ended = ended;
    }

    /// Nothing can move: what has not ended waits for an instant that is told, and nothing half made lies about.
    fn check_calm(&self) {
        let live: Vec<Row> = self.rows().into_iter().filter(|row| !row.is_final()).collect();
        let held = self.rig.snapshot().is_some_and(|snapshot| !snapshot.paused.is_empty());
        for row in &live {
            let waits = row.waits_until().is_some() || (row.state == "queued" && held);
            assert!(waits, "{}: job {} is {} and waits for nothing\n{}", self.step, row.job, row.state, self.scene());
        }
        let is_live = |name: &str| live.iter().any(|row| name.contains(&row.job));
        // The beginning of a report stays where nobody knows any more that there is one.
        let is_ghost = |name: &str| self.ghosts.iter().any(|job| name.contains(job));
        for folder in ["inbox", "outbox", "error", "archive"] {
            let hidden = |name: &String| name.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
            let known = |name: &str| is_live(name) || (folder == "error" && is_ghost(name));
            let left: Vec<String> =
                self.rig.list(folder).into_iter().filter(|name| hidden(name) && !known(name)).collect();
            assert!(left.is_empty(), "{}: left in {folder}: {left:?}\n{}", self.step, self.scene());
        }
        let own = [".intents", ".jimengd-canary", ".lock", ".suspects"];
        let left: Vec<String> =
            self.rig.list("work").into_iter().filter(|name| !own.contains(&name.as_str()) && !is_live(name)).collect();
        assert!(left.is_empty(), "{}: left in work: {left:?}\n{}", self.step, self.scene());
        let inbox = self.untaken();
        assert!(held || inbox.is_empty(), "{}: {inbox:?} are not taken\n{}", self.step, self.scene());
    }

    // ---- what is there ----

    /// What lies in the inbox and is not half of a pair that was torn.
    fn untaken(&self) -> Vec<String> {
        let is_torn = |name: &String| self.torn.iter().any(|pair| name.starts_with(pair));
        self.rig.list("inbox").into_iter().filter(|name| !is_torn(name)).collect()
    }

    fn reports(&self) -> Vec<(PathBuf, Value)> {
        let names = self.rig.list("error").into_iter().filter(|name| name.ends_with(".error.yaml"));
        names.map(|name| self.rig.error(name)).map(|path| (path.clone(), read_yaml(&path))).collect()
    }

    /// Where a file in `error/` came from.
    fn in_inbox(&self, path: &Path) -> PathBuf {
        self.rig.inbox(path.strip_prefix(self.rig.error("")).expect("it lies in error/"))
    }

    fn ledger_file(&self, suffix: &str) -> PathBuf {
        self.rig.root().join(format!("{LEDGER}{suffix}"))
    }

    fn open_ledger(&self, flags: OpenFlags) -> Option<Connection> {
        let path = self.ledger_file("");
        let connection = path.exists().then(|| Connection::open_with_flags(path, flags).unwrap())?;
        connection.busy_timeout(PATIENCE).unwrap();
        // A daemon that was stopped early has made the file and nothing in it.
        let made = connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'job'", [], |row| row.get(0));
        (made == Ok(1)).then_some(connection)
    }

    fn rows(&self) -> Vec<Row> {
        let Some(connection) = self.open_ledger(OpenFlags::SQLITE_OPEN_READ_ONLY) else { return Vec::new() };
        let mut statement =
            connection.prepare("SELECT job, folder, stem, state, earlier, detail FROM job ORDER BY job").unwrap();
        let rows = statement.query_map([], |row| {
            let (folder, stem) = (String::from_utf8(row.get(1)?), String::from_utf8(row.get(2)?));
            let pair = Path::new(&folder.unwrap()).join(stem.unwrap()).to_str().unwrap().to_owned();
            Ok(Row { job: row.get(0)?, pair, state: row.get(3)?, earlier: row.get(4)?, detail: row.get(5)? })
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn ended_jobs(&self) -> BTreeMap<String, (String, String)> {
        self.rows().into_iter().filter(Row::is_final).map(|row| (row.job, (row.state, row.detail))).collect()
    }

    /// Everything that may tell why a list failed.
    fn scene(&self) -> String {
        let mut scene = self.rig.scene();
        for row in self.rows() {
            scene.push_str(&format!("{} {} {}\n", row.job, row.state, row.detail));
        }
        for run in 1..=self.runs {
            scene.push_str(&format!("--- run {run}\n"));
            let log = fs::read_to_string(self.rig.folder().join(format!("log-{run}.jsonl"))).unwrap_or_default();
            let told = |line: &str| serde_json::from_str::<Json>(line).ok()?["message"].as_str().map(str::to_owned);
            for line in log.lines() {
                scene.push_str(&format!("{}\n", told(line).unwrap_or_else(|| line.to_owned())));
            }
        }
        scene
    }
}

/// The files that a report names, where it lies.
fn report_files(path: &Path, report: &Value) -> Vec<PathBuf> {
    let names = report["files"].as_sequence().expect("a report names files");
    names.iter().map(|name| path.with_file_name(name.as_str().expect("a name"))).collect()
}

/// Whether all files that a report names lie beside it.
fn lies_beside(path: &Path, report: &Value) -> bool {
    report_files(path, report).iter().all(|file| file.exists())
}

/// Sets back each instant in a job's detail that is compared with the present.
fn set_back(detail: &mut Json, by: SignedDuration) {
    let Json::Object(fields) = detail else { return };
    for (key, value) in fields {
        match value {
            Json::String(at) if ["submitted_at", "done_at", "ask_at", "not_before"].contains(&key.as_str()) => {
                let instant: Timestamp = at.parse().expect("an instant");
                *at = (instant - by).to_string();
            }
            other => set_back(other, by),
        }
    }
}
