//! The daemon's own driver on a clock that is made up: what it decides is what a running daemon decides.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use jimengd::config::{self, Config, Overrides};
use jimengd::daemon::driver::{Driver, Start};
use jimengd::daemon::{Call, Clock, News, Stepped};
use jimengd::job::plan::Step;
use jimengd::job::state::{Event, Input, State};
use jimengd::job::{
    Account as Payer, AspectRatio, FileName, Folder, Job, JobId, PairName, Request, Seed, Task, TaskId, VideoLink,
};
use jimengd::throttle::cadence::Phase;
use jimengd::throttle::durations::Took;
use jimengd::throttle::window::Learned;

use super::account::{Account, Figures};
use super::played::{POLL_ARRIVES, Played, SUBMISSION_ANSWERED, SUBMISSION_ARRIVES, Status};

/// Tasks of which one that knows the distribution has heard beforehand.
const HEARD_OF: usize = 2_000;

/// What is on its way.
enum Coming {
    Submission(Box<Job>),
    Poll(Box<Job>, usize),
    Answer(JobId, Box<Stepped>),
}

/// The driver, the account, and what is between them.
struct Run {
    driver: Driver,
    played: Played,
    start: Clock,
    now: f64,
    /// By when, in microseconds, and a number that keeps the order.
    coming: BinaryHeap<Reverse<(u64, u64)>>,
    parcels: BTreeMap<u64, Coming>,
    sent: u64,
    tasks: HashMap<JobId, usize>,
}

/// One run over so many jobs. `knows`: limit and distribution are known beforehand.
pub fn run(account: &Account, seed: u64, jobs: usize, knows: bool) -> Result<Figures> {
    let start = Clock { wall: Timestamp::UNIX_EPOCH, at: Instant::now(), up: Duration::ZERO };
    let config = configuration(account)?;
    let driver = if knows {
        let mut chance = fastrand::Rng::with_seed(!seed);
        let heard_of = (0..HEARD_OF).map(|_| {
            let (takes, queued) = account.draw(&mut chance);
            Took { duration: Duration::from_secs_f64(takes), queued: Some(Duration::from_secs_f64(queued)) }
        });
        let learned = Learned { size: account.limit, found: true };
        Driver::new(&config, Some(learned), heard_of, [], start)
    } else {
        Driver::new(&config, None, [], [], start)
    };
    let mut run = Run {
        driver: driver.seeded(seed),
        played: Played::new(*account, seed),
        start,
        now: 0.0,
        coming: BinaryHeap::new(),
        parcels: BTreeMap::new(),
        sent: 0,
        tasks: HashMap::new(),
    };
    while run.played.accepted() < jobs {
        run.turn()?;
    }
    Ok(run.played.figures())
}

impl Run {
    fn turn(&mut self) -> Result<()> {
        while let Some(begun) = self.driver.next(true, self.instant()) {
            self.begin(begun)?;
        }
        let due = self.driver.next_due(true, self.instant());
        let due = due.map(|at| at.duration_since(self.start.at).as_secs_f64());
        let coming = self.coming.peek().map(|Reverse((at, _))| *at as f64 / 1e6);
        match (due, coming) {
            (due, Some(coming)) if due.is_none_or(|due| due >= coming) => {
                self.now = coming;
                let Some(Reverse((_, number))) = self.coming.pop() else { bail!("nothing comes") };
                let parcel = self.parcels.remove(&number).context("a parcel is lost")?;
                self.arrived(parcel)
            }
            // Never twice at the same instant: the clock of the machine moves on, too.
            (Some(due), _) => {
                self.now = due.max(self.now + 1e-6);
                Ok(())
            }
            (None, _) => bail!("the driver waits for nothing"),
        }
    }

    fn begin(&mut self, begun: Start) -> Result<()> {
        match begun {
            Start::Claim(id) => self.send(SUBMISSION_ARRIVES, Coming::Submission(Box::new(claimed(id)?))),
            Start::Step(job, Step::Submit, _) => self.send(SUBMISSION_ARRIVES, Coming::Submission(job)),
            Start::Step(job, Step::Poll, _) => {
                let task = *self.tasks.get(&job.id).context("a poll without a task")?;
                self.send(POLL_ARRIVES, Coming::Poll(job, task));
            }
            Start::Step(job, Step::Download, _) => {
                let task = *self.tasks.get(&job.id).context("a download without a task")?;
                self.played.fetch(task, self.now);
                self.send(0.0, Coming::Answer(job.id, Box::new(stepped(None, vec![News::TransferDone]))));
            }
            other => bail!("not expected: {other:?}"),
        }
        Ok(())
    }

    fn arrived(&mut self, parcel: Coming) -> Result<()> {
        let at = self.start.wall(self.instant());
        match parcel {
            Coming::Submission(job) => {
                let job = job.on(Event::Intended, at)?;
                let (job, news) = match self.played.submit(self.now) {
                    Some(number) => {
                        self.tasks.insert(job.id, number);
                        let account = Payer { base_url: String::new(), token_fingerprint: String::new() };
                        let task_id = TaskId::new(&number.to_string()).context("a number is an identifier")?;
                        let task = Task { task_id, request_id: None, account, submitted_at: at };
                        let news = vec![News::Answered(Call::Submit), News::Accepted];
                        (job.on(Event::Accepted { task, holder: None }, at)?, news)
                    }
                    None => {
                        let news = vec![News::Answered(Call::Submit), News::TooMany(None), News::GivenBack(job.sends)];
                        (job.on(Event::NotSent { not_before: None }, at)?, news)
                    }
                };
                self.send(SUBMISSION_ANSWERED, Coming::Answer(job.id, Box::new(stepped(Some(job), news))));
            }
            Coming::Poll(job, number) => {
                let (job, more) = match self.played.poll(number, self.now) {
                    Status::Queued => (*job, News::Running(Phase::Queued)),
                    Status::Made => (*job, News::Running(Phase::Made)),
                    Status::Done => {
                        let seen = self.driver.seen(job.id).unwrap_or_default();
                        let age = self.driver.age(job.id, self.instant()).context("a task without an age")?;
                        let link = VideoLink::new("https://cdn.example/v".to_owned());
                        let took = seen.took(age).context("every answer tells")?;
                        (job.on(Event::Done { link, at }, at)?, News::Took(took))
                    }
                };
                let answer = stepped(Some(job), vec![News::Answered(Call::Poll), more]);
                let id = answer.job.as_ref().map(|job| job.id).context("a poll keeps its job")?;
                self.send(POLL_ARRIVES, Coming::Answer(id, Box::new(answer)));
            }
            Coming::Answer(id, stepped) => {
                let failures = self.driver.failures(id);
                let now = self.instant();
                self.driver.absorb(id, *stepped, failures, now);
            }
        }
        Ok(())
    }

    fn send(&mut self, after: f64, parcel: Coming) {
        self.sent += 1;
        // Truncation is meant: microseconds.
        let at = ((self.now + after) * 1e6).ceil() as u64;
        self.coming.push(Reverse((at, self.sent)));
        self.parcels.insert(self.sent, parcel);
    }

    fn instant(&self) -> Instant {
        self.start.at + Duration::from_secs_f64(self.now)
    }
}

/// As shipped, but for the requests a second.
fn configuration(account: &Account) -> Result<Config> {
    let api = format!("{{requests_per_second: {}, requests_burst: {}}}", account.per_second, account.burst);
    let environment = [("JIMENGD_API".into(), api.into())].into_iter();
    Ok(config::load(None, environment, &Overrides::default())?.config)
}

fn stepped(job: Option<Job>, news: Vec<News>) -> Stepped {
    Stepped { job, news, part: None, failed: false, wait: Duration::ZERO, release: false }
}

fn claimed(id: JobId) -> Result<Job> {
    Ok(Job {
        id,
        pair: PairName { folder: Folder::root(), stem: FileName::new(&b"cat"[..]).context("a name")? },
        input: Input { sidecar: None, picture: None, shown: None },
        request: Some(Request {
            prompt: "a cat".to_owned(),
            aspect_ratio: AspectRatio::R1x1,
            seed: Seed::Drawn(1),
            image_url: None,
        }),
        priority: 0,
        earlier: None,
        claimed_at: Timestamp::UNIX_EPOCH,
        sends: 0,
        attempts: 0,
        charges: 0,
        state: State::Queued { not_before: None },
        since: Timestamp::UNIX_EPOCH,
    })
}
