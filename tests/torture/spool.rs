//! One spool on its way through many lives of the program.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use jimengd::simulator::Settings;

use crate::audit::{self, End, Life, Moment};
use crate::pairs;
use crate::rig::{Binary, LOOK_EVERY, Rig, TOKEN, script, vendor};
use crate::tally::{Breach, Tally};

/// How long a life may take to end by itself: a pair may have to wait a minute for another link.
pub const ENDING_MAX: Duration = Duration::from_secs(180);

/// How long a fact of a story may take to become true: a dead watch is noticed after 40 seconds.
const FACT_MAX: Duration = Duration::from_secs(100);

/// How often a run may be held back by the vendor's misbehaviour before it must end well.
const ENDINGS_MAX: u32 = 6;

/// Lines of each log that are shown when something is wrong.
const LINES_SHOWN: usize = 60;

/// How long an answer is awaited; the default is minutes, and some never come here.
pub const SUBMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// The log tells of each transition.
const CONFIG: &str = "
log: {level: info}
api: {submit_timeout: 4s, idle_timeout: 10s}
";

/// A spool and what has happened to it.
pub struct Spool {
    pub rig: Rig,
    pub lives: Vec<Life>,
    /// What was wrong on the way.
    found: Tally,
}

/// A life that goes on.
pub struct Living {
    pub daemon: Binary,
    from: Instant,
}

/// A vendor that misbehaves as much as one can.
pub fn misbehaving(chance: &mut Rng) -> Settings {
    Settings {
        token: Some(TOKEN.to_owned()),
        task_seconds: 0.2,
        concurrency: Some(6),
        misbehave: pairs::MISBEHAVE,
        script: Some(script(pairs::SCRIPT)),
        seed: chance.u64(..),
        ..vendor()
    }
}

impl Spool {
    /// An empty one, at `root` if that is said.
    pub fn new(root: Option<&Path>, vendor: Settings, program: Option<&Path>) -> Self {
        Self::with(root, vendor, program, "")
    }

    /// The same, with more of a configuration.
    pub fn with(root: Option<&Path>, vendor: Settings, program: Option<&Path>, config: &str) -> Self {
        let mut rig = match root {
            Some(root) => Rig::at(root, vendor, CONFIG),
            None => Rig::new(vendor, CONFIG),
        };
        if !config.is_empty() {
            rig.configure(&format!("{CONFIG}{config}"));
        }
        if let Some(program) = program {
            rig.set_program(program);
        }
        Self { rig, lives: Vec::new(), found: Tally::default() }
    }

    /// Starts a life.
    pub fn start(&self, more: &[&str]) -> Living {
        let from = Instant::now();
        Living { daemon: self.rig.spawn(more), from }
    }

    /// Starts a life with a plan of its fail points.
    pub fn start_failing(&self, plan: &str, more: &[&str]) -> Living {
        let from = Instant::now();
        Living { daemon: self.rig.spawn_failing(plan, more), from }
    }

    /// Starts a life under a tracer.
    pub fn start_under(&self, tracer: std::process::Command, more: &[&str]) -> Living {
        let from = Instant::now();
        Living { daemon: self.rig.spawn_under(tracer, more), from }
    }

    /// Kills, and looks at what lies there.
    pub async fn kill(&mut self, living: Living) {
        self.kill_after(living, || ()).await;
        self.look();
    }

    /// Deals a blow, such as a power cut, and then kills. A life that is over before that was ended by nobody: it is dealt none.
    pub async fn kill_after(&mut self, mut living: Living, blow: impl FnOnce()) {
        if !living.daemon.runs() {
            let code = living.daemon.code().await;
            return self.note(&living, End::Unasked(code));
        }
        let after = Moment::now();
        blow();
        let log = living.daemon.log().to_owned();
        living.daemon.kill();
        self.lives.push(Life { from: living.from, end: End::Killed { after }, log });
    }

    /// Looks at what lies there while no life goes on: the next one would mend what this one must not have left.
    pub fn look(&mut self) {
        let when = format!("after life {}", self.lives.len());
        audit::finals(&self.rig, &when, &mut self.found);
    }

    /// Notes what must not be, for the end.
    pub fn complain(&mut self, breach: Breach, what: impl Into<String>) {
        self.found.complain(breach, what);
    }

    /// Notes a life that has ended.
    pub fn note(&mut self, living: &Living, end: End) {
        self.lives.push(Life { from: living.from, end, log: living.daemon.log().to_owned() });
    }

    /// Waits for the end of a life; `None`: it does not end, and is killed.
    pub async fn end(&mut self, mut living: Living) -> Option<i32> {
        let code = ended(&mut living.daemon).await;
        match code {
            Some(code) => self.note(&living, End::Itself(code)),
            None => self.kill(living).await,
        }
        code
    }

    /// Waits until the fact holds, as long as a fact may take here.
    ///
    /// # Panics
    /// It does not; says what there is instead.
    pub async fn until(&self, fact: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < FACT_MAX, "not within {FACT_MAX:?}: {fact}\n{}", self.rig.scene());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until `jimengd status --json` tells of one of these pauses.
    pub async fn until_paused(&self, reasons: &[&str]) {
        self.until(&format!("status tells of {reasons:?}"), || {
            pauses(&self.rig.status()).iter().any(|said| reasons.contains(&said.as_str()))
        })
        .await;
    }

    /// Waits until there are so many videos and reports, nothing is being made, and nothing is paused.
    pub async fn until_over(&self, videos: usize, reports: usize) {
        let fact = format!("{videos} videos, {reports} reports, nothing in work/ and no pause");
        let rig = &self.rig;
        let moved = || rig.jobs_in_work() == 0 && rig.videos() == videos && rig.reports() == reports;
        self.until(&fact, || moved() && pauses(&rig.status()).is_empty()).await;
    }

    /// Stops a life as an operator does.
    pub async fn stop(&mut self, living: Living) {
        living.daemon.terminate();
        let code = self.end(living).await;
        assert_eq!(code, Some(0), "told to stop");
    }

    /// Lets it finish, undisturbed.
    pub async fn finish(&mut self, tally: &mut Tally) {
        for _ in 0..ENDINGS_MAX {
            let living = self.start(&["--once"]);
            match self.end(living).await {
                Some(0 | 65) => return,
                Some(69) => {}
                Some(code) => return tally.complain(Breach::Odd, format!("the last run ends with {code}")),
                None => return tally.complain(Breach::Stuck, format!("the last run does not end in {ENDING_MAX:?}")),
            }
        }
        tally.complain(Breach::Stuck, "the last run is held back again and again".to_owned());
    }

    /// Lets it finish and looks at everything. Says all there is if something is wrong.
    pub async fn close(mut self, what: &str) -> Tally {
        let mut tally = std::mem::take(&mut self.found);
        self.finish(&mut tally).await;
        tally += audit::audit(&self.rig, &self.lives);
        self.tell(what, &mut tally);
        tally
    }

    /// Says all there is if something is wrong.
    pub fn tell(&self, what: &str, tally: &mut Tally) {
        if tally.complaints.is_empty() {
            return;
        }
        let mut said = format!("\n==== FAILED: {what}\n");
        for complaint in &tally.complaints {
            writeln!(said, "  {complaint}").unwrap();
        }
        said.push_str(&self.rig.scene());
        for (number, life) in self.lives.iter().enumerate() {
            writeln!(said, "---- life {}: {:?}, {}", number + 1, life.end, life.log.display()).unwrap();
            let log = fs::read_to_string(&life.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
                writeln!(said, "{line}").unwrap();
            }
        }
        eprintln!("{said}");
        tally.complaints.iter_mut().for_each(|complaint| *complaint = format!("{what}: {complaint}"));
    }
}

/// Waits for a program's end; `None`: it does not end.
pub async fn ended(daemon: &mut Binary) -> Option<i32> {
    let start = Instant::now();
    while daemon.runs() {
        if start.elapsed() > ENDING_MAX {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Some(daemon.code().await)
}

fn pauses(status: &serde_json::Value) -> Vec<String> {
    let paused = status["paused"].as_array().into_iter().flatten();
    paused.filter_map(|pause| pause["reason"].as_str().map(str::to_owned)).collect()
}
