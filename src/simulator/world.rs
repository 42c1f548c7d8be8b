//! What the vendor knows: its tasks, what was paid, every request that came, and every breach of the API's page.
//!
//! Nothing here waits or talks. A task's state is a function of its age, so time needs no timer. Tasks are kept as long as
//! the simulator lives; of requests and breaches only the latest are, so that a long run stays small.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Method};
use bytes::Bytes;

use super::answer::{CONCURRENCY_LIMIT, RATE_LIMIT};
use super::faults::Fates;
use super::prompt_words::{Doom, Words};
use super::submission::{Source, Submission};
use super::{Settings, film};

/// Requests that are remembered.
const REQUESTS_KEPT: usize = 20_000;

/// Breaches that are remembered.
const VIOLATIONS_KEPT: usize = 1_000;

/// The task id on the API's page: beyond what a signed 64-bit integer holds.
const FIRST_TASK_ID: u64 = 14_117_763_723_766_220_057;

/// Width of the range above the first that runs start in.
const TASK_ID_SPREAD: u64 = 1 << 61;

/// No task runs longer; far enough away, and near enough for every clock.
const RUNNING_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How a task is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// Accepted, not picked up.
    InQueue,
    /// Being made.
    Generating,
    /// The video is there.
    Done,
    /// It ended with a business code.
    Failed(u32),
    /// Too long ago.
    NotFound,
}

impl Status {
    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::InQueue => "in_queue",
            Self::Generating => "generating",
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::NotFound => "not_found",
        }
    }
}

/// An accepted submission.
#[derive(Clone)]
pub struct Task {
    /// A decimal number above `i64::MAX`.
    pub task_id: String,
    /// Counts the tasks from 1, in the order of their acceptance.
    pub number: u64,
    /// As it was sent.
    pub prompt: String,
    /// As it was sent; -1 if it was not.
    pub seed: i64,
    /// As it was sent, or the default.
    pub aspect_ratio: &'static str,
    /// The first frame.
    pub source: Source,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// How often somebody asked for it.
    pub polls: u64,
    /// How often its video was asked for.
    pub downloads: u64,
    /// When its video was asked for the first time; `None`: not yet.
    pub fetched_at: Option<Instant>,
    pub(super) format: &'static film::Format,
    pace: Pace,
    life: Duration,
    fails: Option<u32>,
    ended_by_hand_at: Option<Instant>,
}

/// How fast a task is made.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Pace {
    takes: Duration,
    /// The first part of what it takes.
    queued: Duration,
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Task")
            .field("task_id", &self.task_id)
            .field("prompt", &self.prompt)
            .field("seed", &self.seed)
            .field("aspect_ratio", &self.aspect_ratio)
            .field("source", &self.source)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Task {
    /// How it is now.
    pub fn status(&self) -> Status {
        self.status_at(Instant::now())
    }

    fn status_at(&self, now: Instant) -> Status {
        let age = now.saturating_duration_since(self.accepted_at);
        if age >= self.life {
            Status::NotFound
        } else if self.ended_by_hand_at.is_some() || age >= self.pace.takes {
            self.fails.map_or(Status::Done, Status::Failed)
        } else if age < self.pace.queued {
            Status::InQueue
        } else {
            Status::Generating
        }
    }

    /// The time it takes if nobody ends it by hand; `Duration::MAX`: it never ends by itself.
    pub fn takes(&self) -> Duration {
        self.pace.takes
    }

    /// When it is done or has failed, which may lie ahead; `None`: not before somebody ends it by hand.
    pub fn finished_at(&self) -> Option<Instant> {
        self.ended_by_hand_at.or_else(|| self.accepted_at.checked_add(self.pace.takes))
    }

    /// When it takes no slot any more if nobody ends it by hand.
    fn ends_at(&self) -> Instant {
        self.accepted_at + self.pace.takes.min(self.life).min(RUNNING_MAX)
    }

    /// The seed that the vendor used: its own choice where none was sent.
    pub(super) fn used_seed(&self) -> i64 {
        match self.seed {
            -1 => i64::from(u32::try_from(self.number * 2_654_435_761 % u64::from(u32::MAX)).unwrap_or(0)),
            seed => seed,
        }
    }
}

/// A request that came. Its `Authorization` is kept, and never shown by `Debug`.
#[derive(Clone, Debug)]
pub struct Request {
    /// Counts the requests from 1.
    pub number: u64,
    /// Counts the connections from 1.
    pub connection: u64,
    /// As it was sent.
    pub method: Method,
    /// Without the query, which may hold a signature.
    pub path: String,
    /// All of them; `Authorization` is marked sensitive.
    pub headers: HeaderMap,
    /// `None` where the body came in chunks, or there was none.
    pub content_length: Option<u64>,
    /// When its first byte came.
    pub first_byte_at: Instant,
    /// When its head was read.
    pub head_at: Instant,
    /// When its body had come wholly; `None` if it did not, or not yet.
    pub last_byte_at: Option<Instant>,
    /// Bytes of its body that came.
    pub body_bytes: u64,
    /// Its body, where [`Settings::keep_bodies`] says so and it came wholly.
    pub body: Option<Bytes>,
    /// The prompt of a submission, as soon as that has come.
    pub prompt: Option<String>,
    /// The HTTP status it was answered with; `None` if it was not, or not yet.
    pub status: Option<u16>,
    /// When the last byte of its answer was handed to the system; `None` if it was not, or not yet.
    pub answered_at: Option<Instant>,
    /// The task it was about, or made.
    pub task_id: Option<String>,
}

/// Everything that happened so far.
pub struct World {
    paid: u64,
    tasks: Vec<Task>,
    numbers: HashMap<String, usize>,
    limit: Option<usize>,
    /// Tasks that were running at the last submission, by when they end; all others have ended for good.
    running: BTreeSet<(Instant, usize)>,
    refused: HashMap<u32, u64>,
    requests: VecDeque<Request>,
    requests_seen: u64,
    violations: VecDeque<String>,
    in_flight_max: usize,
    once: HashMap<(String, Source, Stage), u64>,
    bucket: Bucket,
    first_task_id: u64,
    pub(super) fates: Fates,
}

/// Where a word strikes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Stage {
    Submit,
    Poll,
}

/// What came of a good submission.
pub(super) enum Verdict {
    /// There is a task now, and it is paid.
    Accepted { task_id: String, answer_lost: bool },
    /// There is none.
    Refused(u32),
}

impl World {
    pub(super) fn new(settings: &Settings, started_micros: u64) -> Self {
        let script = settings.script.clone().unwrap_or_default();
        Self {
            paid: 0,
            tasks: Vec::new(),
            numbers: HashMap::new(),
            limit: settings.concurrency,
            running: BTreeSet::new(),
            refused: HashMap::new(),
            requests: VecDeque::new(),
            requests_seen: 0,
            violations: VecDeque::new(),
            in_flight_max: 0,
            once: HashMap::new(),
            bucket: Bucket::new(settings.requests_per_second, settings.requests_burst),
            // A thousand ids for every microsecond: no run gives out one that an earlier run has.
            first_task_id: FIRST_TASK_ID + started_micros.wrapping_shl(10) % TASK_ID_SPREAD,
            fates: Fates::new(script, settings.misbehave, settings.seed),
        }
    }

    /// Accepted submissions, whether or not their answers arrived.
    pub fn paid(&self) -> u64 {
        self.paid
    }

    /// Every task, oldest first.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The task with that id.
    pub fn task(&self, task_id: &str) -> Option<&Task> {
        self.numbers.get(task_id).map(|index| &self.tasks[*index])
    }

    /// The latest requests, oldest first.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = &Request> + DoubleEndedIterator {
        self.requests.iter()
    }

    /// The submissions among the latest requests, refused ones too, oldest first.
    pub fn submissions(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.method == Method::POST)
    }

    /// How many requests came, forgotten ones too.
    pub fn requests_seen(&self) -> u64 {
        self.requests_seen
    }

    /// The latest breaches of the API's page, oldest first. A correct client commits none.
    pub fn violations(&self) -> impl ExactSizeIterator<Item = &str> {
        self.violations.iter().map(String::as_str)
    }

    /// The most tasks that were ever made at once.
    pub fn in_flight_max(&self) -> usize {
        self.in_flight_max
    }

    /// The tasks being made now.
    pub fn in_flight(&self) -> usize {
        self.running.len() - self.running.range(..=(Instant::now(), usize::MAX)).count()
    }

    /// How many tasks may be made at once now; `None`: any number.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// How many requests a limit of the account has refused with that code: 50429 for their rate, submissions and polls
    /// together; 50430 for the tasks at once, submissions alone.
    pub fn refused(&self, code: u32) -> u64 {
        self.refused.get(&code).copied().unwrap_or_default()
    }

    /// Lets only so many tasks be made at once from now on. Those that are being made go on.
    pub(super) fn limit_to(&mut self, limit: Option<usize>) {
        self.limit = limit;
    }

    fn refuse(&mut self, code: u32) -> u32 {
        *self.refused.entry(code).or_default() += 1;
        code
    }

    pub(super) fn note_request(&mut self, mut request: Request) -> u64 {
        self.requests_seen += 1;
        request.number = self.requests_seen;
        if self.requests.len() == REQUESTS_KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
        self.requests_seen
    }

    /// The request with that number, unless it is forgotten.
    pub(super) fn request_mut(&mut self, number: u64) -> Option<&mut Request> {
        let oldest = self.requests.front()?.number;
        self.requests.get_mut(usize::try_from(number.checked_sub(oldest)?).ok()?)
    }

    pub(super) fn note_violation(&mut self, violation: String) {
        if self.violations.len() == VIOLATIONS_KEPT {
            self.violations.pop_front();
        }
        self.violations.push_back(violation);
    }

    pub(super) fn note_poll(&mut self, task_id: &str) -> Option<Task> {
        let task = &mut self.tasks[*self.numbers.get(task_id)?];
        task.polls += 1;
        Some(task.clone())
    }

    pub(super) fn note_download(&mut self, task_id: &str) -> Option<Task> {
        let task = &mut self.tasks[*self.numbers.get(task_id)?];
        task.downloads += 1;
        task.fetched_at.get_or_insert_with(Instant::now);
        Some(task.clone())
    }

    /// Ends a task now, however long it was to take; false if there is no such task.
    pub(super) fn finish(&mut self, task_id: &str) -> bool {
        let Some(index) = self.numbers.get(task_id) else { return false };
        let task = &mut self.tasks[*index];
        self.running.remove(&(task.ends_at(), *index));
        let now = Instant::now();
        if task.finished_at().is_none_or(|finished_at| finished_at > now) {
            task.ended_by_hand_at = Some(now);
        }
        true
    }

    /// Whether one more request may come now.
    pub(super) fn admit(&mut self) -> Result<(), u32> {
        match self.bucket.take(Instant::now()) {
            true => Ok(()),
            false => Err(self.refuse(RATE_LIMIT)),
        }
    }

    /// Judges a submission that is well formed.
    pub(super) fn submit(&mut self, submission: Submission, settings: &Settings) -> Verdict {
        let now = Instant::now();
        while self.running.first().is_some_and(|(ends_at, _)| *ends_at <= now) {
            self.running.pop_first();
        }
        let in_flight = self.running.len();
        if self.limit.is_some_and(|limit| in_flight >= limit) {
            return Verdict::Refused(self.refuse(CONCURRENCY_LIMIT));
        }
        let words = Words::of(&submission.prompt);
        if let Some(code) = self.strike(&submission, Stage::Submit, words.submit) {
            return Verdict::Refused(code);
        }
        let fails = self.strike(&submission, Stage::Poll, words.poll);
        let index = self.tasks.len();
        let number = index as u64 + 1;
        let task_id = (self.first_task_id + index as u64).to_string();
        let task = Task {
            task_id: task_id.clone(),
            number,
            prompt: submission.prompt,
            seed: submission.seed,
            aspect_ratio: submission.format.aspect_ratio,
            source: submission.source,
            accepted_at: now,
            polls: 0,
            downloads: 0,
            fetched_at: None,
            format: submission.format,
            pace: Pace::of(settings, number, words.seconds),
            life: settings.task_life,
            fails,
            ended_by_hand_at: None,
        };
        self.running.insert((task.ends_at(), index));
        self.tasks.push(task);
        self.numbers.insert(task_id.clone(), index);
        self.paid += 1;
        self.in_flight_max = self.in_flight_max.max(in_flight + 1);
        Verdict::Accepted { task_id, answer_lost: words.answer_lost }
    }

    fn strike(&mut self, submission: &Submission, stage: Stage, doom: Option<Doom>) -> Option<u32> {
        let doom = doom?;
        if doom.once {
            let key = (submission.prompt.clone(), submission.source.clone(), stage);
            let times = self.once.entry(key).or_default();
            *times += 1;
            return (*times == 1).then_some(doom.code);
        }
        Some(doom.code)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("World")
            .field("paid", &self.paid)
            .field("tasks", &self.tasks)
            .field("requests_seen", &self.requests_seen)
            .field("violations", &self.violations)
            .finish_non_exhaustive()
    }
}

impl Pace {
    /// That of the task with that number: the same for the same seed, whatever came in between.
    fn of(settings: &Settings, number: u64, told: Option<Duration>) -> Self {
        let mut chance = fastrand::Rng::with_seed(settings.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // Box and Muller; one minus, because the logarithm of zero is no number.
        let normal = (-2.0 * (1.0 - chance.f64()).ln()).sqrt() * (std::f64::consts::TAU * chance.f64()).cos();
        let takes = told.unwrap_or_else(|| takes(settings.task_seconds, settings.task_sigma, normal));
        let queued = takes.as_secs_f64() * within(&settings.queued_part, chance.f64());
        Self { takes, queued: Duration::try_from_secs_f64(queued).unwrap_or(Duration::MAX) }
    }
}

/// How long a task takes: lognormal around `mean`.
fn takes(mean: f64, sigma: f64, normal: f64) -> Duration {
    if mean.is_nan() || mean <= 0.0 {
        return Duration::ZERO;
    }
    let seconds = (mean.ln() - sigma.powi(2) / 2.0 + sigma * normal).exp();
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn within(range: &RangeInclusive<f64>, part: f64) -> f64 {
    range.start() + (range.end() - range.start()) * part
}

/// Requests that may still come, refilled as time goes by.
#[derive(Debug)]
struct Bucket {
    rate: Option<f64>,
    size: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn new(rate: Option<f64>, burst: Option<f64>) -> Self {
        let size = burst.or(rate).unwrap_or_default().max(1.0);
        Self { rate, size, tokens: size, filled_at: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let Some(rate) = self.rate else { return true };
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(self.size);
        self.filled_at = now;
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(prompt: &str) -> Submission {
        let source = Source::Address("https://a.example/b.png".to_owned());
        Submission { prompt: prompt.to_owned(), seed: 1, format: &film::FORMATS[0], source }
    }

    fn submit(world: &mut World, settings: &Settings, prompt: &str) -> Result<String, u32> {
        match world.submit(submission(prompt), settings) {
            Verdict::Accepted { task_id, .. } => Ok(task_id),
            Verdict::Refused(code) => Err(code),
        }
    }

    #[test]
    fn durations_are_the_same_for_the_same_seed_and_have_the_wished_mean() {
        let settings = |mean, seed| Settings { task_seconds: mean, seed, ..Settings::default() };
        let takes = |mean, seed, number| Pace::of(&settings(mean, seed), number, None).takes;
        assert_eq!(takes(60.0, 9, 17), takes(60.0, 9, 17));
        assert_ne!(takes(60.0, 9, 17), takes(60.0, 10, 17));
        assert_eq!(takes(0.0, 9, 1), Duration::ZERO);
        assert_eq!(takes(f64::INFINITY, 9, 1), Duration::MAX);
        for sigma in [0.0, 0.35, 0.8] {
            let settings = Settings { task_sigma: sigma, ..settings(60.0, 9) };
            let seconds: Vec<f64> =
                (1..=20_000).map(|number| Pace::of(&settings, number, None).takes.as_secs_f64()).collect();
            let (mean, _) = mean_and_deviation(&seconds);
            assert!((mean - 60.0).abs() < 2.0, "{sigma}: {mean}");
            let logarithms: Vec<f64> = seconds.iter().map(|seconds| seconds.ln()).collect();
            let (_, deviation) = mean_and_deviation(&logarithms);
            assert!((deviation - sigma).abs() < 0.02, "{sigma}: {deviation}");
        }
    }

    #[test]
    fn the_part_spent_in_the_queue_is_fixed_or_drawn_whatever_the_task_takes() {
        let settings = Settings { task_seconds: 60.0, task_sigma: 0.8, seed: 9, ..Settings::default() };
        let part = |pace: Pace| pace.queued.as_secs_f64() / pace.takes.as_secs_f64();
        let paces = |settings: &Settings| (1..=4000).map(|number| Pace::of(settings, number, None)).collect::<Vec<_>>();
        assert!(paces(&settings).into_iter().all(|pace| (part(pace) - 0.1).abs() < 1e-6), "a tenth unless told");
        let drawn = paces(&Settings { queued_part: 0.0..=0.5, ..settings.clone() });
        let [mut short, mut long] = [Vec::new(), Vec::new()];
        for pace in drawn {
            assert!((0.0..=0.5).contains(&part(pace)));
            if pace.takes.as_secs() < 44 { short.push(part(pace)) } else { long.push(part(pace)) }
        }
        for parts in [short, long] {
            let (mean, deviation) = mean_and_deviation(&parts);
            // What a uniform distribution has, for tasks of every length.
            assert!((mean - 0.25).abs() < 0.01, "{mean}");
            assert!((deviation - 0.5 / 12.0_f64.sqrt()).abs() < 0.01, "{deviation}");
        }
        let told = Pace::of(&settings, 1, Some(Duration::from_secs(30)));
        assert_eq!(told, Pace { takes: Duration::from_secs(30), queued: Duration::from_secs(3) });
    }

    fn mean_and_deviation(numbers: &[f64]) -> (f64, f64) {
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        (mean, (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count).sqrt())
    }

    #[test]
    fn a_task_goes_through_its_states() {
        let settings = Settings { task_seconds: 1e9, ..Settings::default() };
        let mut world = World::new(&settings, 1);
        let task_id = submit(&mut world, &settings, "p").unwrap();
        assert!(task_id.parse::<u64>().unwrap() > i64::MAX as u64);
        assert_eq!(world.tasks()[0].status(), Status::InQueue);
        world.tasks[0].pace.takes = Duration::from_millis(1);
        while world.tasks()[0].status() != Status::Done {
            std::thread::yield_now();
        }
        world.tasks[0].life = Duration::ZERO;
        assert_eq!(world.tasks()[0].status(), Status::NotFound);

        let failing = submit(&mut world, &settings, "[poll 50500]").unwrap();
        assert!(world.finish(&failing));
        assert_eq!(world.tasks()[1].status(), Status::Failed(50500));
        assert!(!world.finish("1"));
    }

    #[test]
    fn only_so_many_tasks_run_at_once() {
        let settings = Settings { task_seconds: f64::INFINITY, concurrency: Some(2), ..Settings::default() };
        let mut world = World::new(&settings, 1);
        let first = submit(&mut world, &settings, "a").unwrap();
        submit(&mut world, &settings, "b").unwrap();
        assert_eq!(submit(&mut world, &settings, "c"), Err(50430));
        world.finish(&first);
        assert!(submit(&mut world, &settings, "c").is_ok());
        assert_eq!((world.paid(), world.in_flight(), world.in_flight_max()), (3, 2, 2));
        assert_eq!((world.refused(50430), world.refused(50429)), (1, 0));
    }

    #[test]
    fn a_limit_that_falls_cancels_nothing_and_one_that_rises_lets_more_in() {
        let settings = Settings { task_seconds: f64::INFINITY, concurrency: Some(3), ..Settings::default() };
        let mut world = World::new(&settings, 1);
        let running = ["a", "b", "c"].map(|prompt| submit(&mut world, &settings, prompt).unwrap());
        world.limit_to(Some(1));
        assert_eq!((world.in_flight(), world.limit()), (3, Some(1)));
        for task_id in &running {
            assert_eq!(submit(&mut world, &settings, "d"), Err(50430));
            assert!(world.finish(task_id));
        }
        assert!(submit(&mut world, &settings, "d").is_ok());
        assert_eq!(submit(&mut world, &settings, "e"), Err(50430));
        world.limit_to(None);
        for _ in 0..100 {
            submit(&mut world, &settings, "e").unwrap();
        }
        assert_eq!((world.in_flight(), world.in_flight_max(), world.refused(50430)), (101, 101, 4));
    }

    #[test]
    fn what_has_ended_takes_no_slot_by_itself_by_hand_or_forgotten() {
        let settings = Settings { task_seconds: 0.0, ..Settings::default() };
        let mut world = World::new(&settings, 1);
        for _ in 0..10 {
            submit(&mut world, &settings, "p").unwrap();
        }
        assert_eq!((world.in_flight(), world.in_flight_max()), (0, 1));
        let forever = Settings { task_seconds: f64::INFINITY, task_life: Duration::MAX, ..Settings::default() };
        let task_id = submit(&mut world, &forever, "p").unwrap();
        assert_eq!((world.in_flight(), world.task(&task_id).unwrap().finished_at()), (1, None));
        let before = Instant::now();
        assert!(world.finish(&task_id) && world.finish(&task_id));
        let finished_at = world.task(&task_id).unwrap().finished_at().unwrap();
        assert!(before <= finished_at && finished_at <= Instant::now());
        assert_eq!(world.in_flight(), 0);
        let forgotten = Settings { task_life: Duration::ZERO, ..forever };
        submit(&mut world, &forgotten, "p").unwrap();
        assert_eq!(world.in_flight(), 0);
        let first = &world.tasks()[0];
        assert_eq!((first.takes(), first.finished_at()), (Duration::ZERO, Some(first.accepted_at)));
    }

    #[test]
    fn the_first_download_is_remembered() {
        let settings = Settings { task_seconds: 0.0, ..Settings::default() };
        let mut world = World::new(&settings, 1);
        let task_id = submit(&mut world, &settings, "p").unwrap();
        assert_eq!(world.tasks()[0].fetched_at, None);
        let first = world.note_download(&task_id).unwrap().fetched_at;
        assert!(first.is_some_and(|at| at >= world.tasks()[0].accepted_at));
        let second = world.note_download(&task_id).unwrap();
        assert_eq!((second.fetched_at, second.downloads), (first, 2));
    }

    #[test]
    fn once_is_for_one_prompt_and_picture() {
        let settings = Settings { task_seconds: 0.0, ..Settings::default() };
        let mut world = World::new(&settings, 1);
        assert_eq!(submit(&mut world, &settings, "a [50511 once]"), Err(50511));
        assert!(submit(&mut world, &settings, "a [50511 once]").is_ok());
        assert_eq!(submit(&mut world, &settings, "b [50511 once]"), Err(50511));
        assert_eq!(submit(&mut world, &settings, "[50412]"), Err(50412));
        assert_eq!(submit(&mut world, &settings, "[50412]"), Err(50412));
        submit(&mut world, &settings, "[poll 50500 once]").unwrap();
        submit(&mut world, &settings, "[poll 50500 once]").unwrap();
        let statuses: Vec<Status> = world.tasks().iter().map(Task::status).collect();
        assert_eq!(statuses, [Status::Done, Status::Failed(50500), Status::Done]);
        assert_eq!(world.paid(), 3);
    }

    #[test]
    fn requests_beyond_the_rate_are_refused_until_time_has_passed() {
        let mut bucket = Bucket::new(Some(2.0), None);
        let start = bucket.filled_at;
        let at = |millis| start + Duration::from_millis(millis);
        let granted = [0, 0, 0, 400, 500, 501, 5000, 5000, 5000].map(|millis| bucket.take(at(millis)));
        assert_eq!(granted, [true, true, false, false, true, false, true, true, false]);
        let mut large = Bucket::new(Some(2.0), Some(4.0));
        let start = large.filled_at;
        let at = |millis| start + Duration::from_millis(millis);
        let granted = [0, 0, 0, 0, 0, 500, 500, 9000, 9000, 9000, 9000, 9000].map(|millis| large.take(at(millis)));
        let [all, none] = [true, false];
        assert_eq!(granted, [all, all, all, all, none, all, none, all, all, all, all, none]);
        let mut small = Bucket::new(Some(0.5), None);
        let start = small.filled_at;
        assert_eq!([small.take(start), small.take(start)], [true, false], "one at least");
        let mut unlimited = Bucket::new(None, Some(1.0));
        assert!((0..1000).all(|_| unlimited.take(start)));
    }

    #[test]
    fn old_requests_are_forgotten_and_counted() {
        let mut world = World::new(&Settings::default(), 1);
        let now = Instant::now();
        let request = Request {
            number: 0,
            connection: 1,
            method: Method::GET,
            path: String::new(),
            headers: HeaderMap::new(),
            content_length: None,
            first_byte_at: now,
            head_at: now,
            last_byte_at: None,
            body_bytes: 0,
            body: None,
            prompt: None,
            status: None,
            answered_at: None,
            task_id: None,
        };
        for _ in 0..REQUESTS_KEPT + 3 {
            world.note_request(request.clone());
        }
        assert_eq!(world.requests().len(), REQUESTS_KEPT);
        assert_eq!(world.requests_seen(), REQUESTS_KEPT as u64 + 3);
        assert!(world.request_mut(3).is_none());
        assert_eq!(world.request_mut(4).map(|request| request.number), Some(4));
    }
}
