//! The driver alone, on instants that the tests make up.

use super::*;
use crate::config::{self, Overrides};
use crate::daemon::step::Call;
use crate::job::backoff;
use crate::job::state::{Event, Input};
use crate::job::{Account, AspectRatio, Doubt, FileName, Folder, PairName, Request, Seed, Task, TaskId, VideoLink};
use crate::spool::durable::Trouble;

mod clocks;
mod risk;

fn config(extra: &str) -> Config {
    let environment = [("JIMENGD_API", "{requests_per_second: 0}".to_owned()), ("JIMENGD_TASKS", extra.to_owned())];
    let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
    config::load(None, environment, &Overrides::default()).expect("the default configuration is good").config
}

fn clock(now: Instant) -> Clock {
    Clock { wall: Timestamp::now(), at: now, up: Duration::ZERO }
}

fn driver(now: Instant) -> Driver {
    Driver::new(&config("{max: 8}"), None, [], [], clock(now))
}

fn job(number: u8) -> Job {
    let id = JobId::parse(&format!("01920000-0000-7000-8000-0000000000{number:02}")).expect("a UUID");
    let at = Timestamp::now();
    Job {
        id,
        pair: PairName { folder: Folder::root(), stem: FileName::new(&b"cat"[..]).expect("a name") },
        input: Input { sidecar: None, picture: None, shown: None },
        request: Some(Request {
            prompt: "a cat".to_owned(),
            aspect_ratio: AspectRatio::R1x1,
            seed: Seed::Drawn(1),
            image_url: None,
        }),
        priority: 0,
        earlier: None,
        claimed_at: at,
        sends: 0,
        attempts: 0,
        charges: 0,
        state: State::Queued { not_before: None },
        since: at,
    }
}

fn task() -> Task {
    Task {
        task_id: TaskId::new("14117763723766220057").expect("an identifier"),
        request_id: None,
        account: Account { base_url: "https://api.example".to_owned(), token_fingerprint: "0".repeat(16) },
        submitted_at: Timestamp::now(),
    }
}

fn on(job: &Job, events: impl IntoIterator<Item = Event>) -> Job {
    events.into_iter().fold(job.clone(), |job, event| job.on(event, Timestamp::now()).expect("a legal event"))
}

fn accepted(job: &Job) -> Job {
    on(job, [Event::Intended, Event::Accepted { task: task(), holder: None }])
}

fn stepped(job: Job, news: Vec<News>) -> Stepped {
    Stepped { job: Some(job), news, part: None, failed: false, wait: Duration::ZERO, release: false }
}

/// Starts the next thing and expects it to be this step of this job.
fn begins(driver: &mut Driver, step: Step, id: JobId, now: Instant) -> Job {
    match driver.next(false, now) {
        Some(Start::Step(job, begun, _)) if begun == step && job.id == id => *job,
        other => panic!("{step:?} of {id} expected, not {other:?}"),
    }
}

#[test]
fn a_job_goes_through_its_steps_and_leaves() {
    let now = Instant::now();
    let mut driver = driver(now);
    let queued = job(1);
    driver.adopt(queued.clone(), now);
    begins(&mut driver, Step::Submit, queued.id, now);
    assert!(driver.next(false, now).is_none(), "a running job is not started twice");
    let submitted = accepted(&queued);
    driver.absorb(queued.id, stepped(submitted.clone(), vec![News::Accepted]), 0, now);
    assert_eq!(driver.in_flight(), 1);
    assert!(driver.next(false, now).is_none(), "nothing is likely yet");
    let due = driver.next_due(false, now).expect("it rests with a due time");
    begins(&mut driver, Step::Poll, queued.id, due);
    let done = Event::Done { link: VideoLink::new("https://cdn.example/v".to_owned()), at: Timestamp::now() };
    let ready = on(&submitted, [done]);
    driver.absorb(
        queued.id,
        stepped(ready, vec![News::Took(Took { duration: Duration::from_secs(9), queued: None })]),
        0,
        due,
    );
    assert_eq!(driver.in_flight(), 0, "a task that is done takes no slot");
    begins(&mut driver, Step::Download, queued.id, due);
}

#[test]
fn the_window_holds_submissions_back_until_a_slot_is_free() {
    let now = Instant::now();
    let mut driver = driver(now);
    driver.adopt(job(1), now);
    driver.adopt(job(2), now);
    begins(&mut driver, Step::Submit, job(1).id, now);
    assert!(driver.next(false, now).is_none(), "the window starts at one");
    driver.absorb(job(1).id, stepped(accepted(&job(1)), vec![News::Accepted]), 0, now);
    begins(&mut driver, Step::Submit, job(2).id, now);
    let refused = on(&job(2), [Event::Intended, Event::NotSent { not_before: None }]);
    driver.absorb(job(2).id, stepped(refused, vec![News::TooMany(None)]), 0, now);
    assert_eq!(driver.window.size(), 1, "what was in flight is the limit");
    assert!(driver.next(false, now).is_none());
}

#[test]
fn an_account_that_refuses_pauses_everything_and_is_probed_alone() {
    let now = Instant::now();
    let mut driver = driver(now);
    driver.adopt(job(1), now);
    begins(&mut driver, Step::Submit, job(1).id, now);
    let back = on(&job(1), [Event::Intended, Event::NotSent { not_before: None }]);
    let news = vec![News::AccountRefused(Call::Submit, "no balance".to_owned()), News::GivenBack(1)];
    driver.absorb(job(1).id, stepped(back, news), 0, now);
    assert!(driver.pauses.has(PauseReason::Account));
    assert!(matches!(driver.next(true, now), Some(Start::Release(released)) if released.id == job(1).id));
    assert!(driver.next(true, now).is_none(), "nothing is claimed while paused");
    let probe = driver.next_due(true, now).expect("a probe is due some time");
    assert!(probe >= now + Duration::from_secs(30), "not at once");
    assert!(matches!(driver.next(true, probe), Some(Start::Claim(_))));
    assert!(driver.next(true, probe).is_none(), "a probe goes alone");
}

#[test]
fn a_reload_probes_at_once() {
    let now = Instant::now();
    let mut driver = driver(now);
    driver.pauses.refuse(PauseReason::Account, Some(Call::Submit), "bad token".to_owned(), backoff::PROBE, now);
    assert!(driver.next(true, now).is_none());
    driver.reload(&config("{max: 8}"), now);
    assert!(matches!(driver.next(true, now), Some(Start::Claim(_))));
}

#[test]
fn a_good_poll_does_not_mend_an_account_that_refuses_submissions() {
    let now = Instant::now();
    let mut driver = driver(now);
    driver.pauses.refuse(PauseReason::Account, Some(Call::Submit), "no balance".to_owned(), backoff::PROBE, now);
    driver.pauses.answered(Call::Poll);
    assert!(driver.pauses.has(PauseReason::Account));
    driver.pauses.answered(Call::Submit);
    assert!(!driver.pauses.has(PauseReason::Account));
}

#[test]
fn stopping_gives_back_what_was_never_sent_and_starts_nothing_else() {
    let now = Instant::now();
    let mut driver = driver(now);
    driver.adopt(job(1), now);
    let tried = on(
        &job(2),
        [
            Event::Intended,
            Event::Accepted { task: task(), holder: None },
            Event::AnotherAttempt { seed: Seed::Drawn(2), not_before: None },
        ],
    );
    driver.adopt(tried, now);
    driver.adopt(accepted(&job(3)), now);
    driver.stop();
    assert!(matches!(driver.next(true, now), Some(Start::Release(released)) if released.id == job(1).id));
    assert!(driver.next(true, now + Duration::from_secs(3600)).is_none());
}

#[test]
fn a_job_in_doubt_takes_its_slot_for_a_while() {
    let now = Instant::now();
    let mut driver = driver(now);
    driver.adopt(job(1), now);
    begins(&mut driver, Step::Submit, job(1).id, now);
    let doubtful = on(&job(1), [Event::Intended, Event::OutcomeUnknown { doubt: Doubt::unanswered("reset") }]);
    driver.absorb(job(1).id, stepped(doubtful, Vec::new()), 0, now);
    assert_eq!(driver.in_flight(), 1);
    begins(&mut driver, Step::Resolve, job(1).id, now);
    driver.adopt(job(2), now);
    assert!(driver.next(false, now).is_none(), "its task may exist");
    begins(&mut driver, Step::Submit, job(2).id, now + Duration::from_secs(3600));
}

#[test]
fn three_jobs_whose_transfers_fail_stop_submissions_and_one_good_one_lets_them_go_on() {
    let now = Instant::now();
    let mut driver = driver(now);
    for number in 1..=3 {
        driver.learn(job(number).id, News::TransferFailed("reset".to_owned()), now);
    }
    assert!(driver.next(true, now).is_none());
    assert!(driver.pauses.has(PauseReason::DownloadsBehind));
    driver.learn(job(1).id, News::TransferDone, now);
    assert!(matches!(driver.next(true, now), Some(Start::Claim(_))));
}

#[test]
fn three_jobs_whose_links_are_bad_stop_submissions_for_an_hour_or_until_a_video_comes() {
    let now = Instant::now();
    let bad = |driver: &mut Driver, number| {
        driver.learn(job(number).id, News::LinkBad("a web page".to_owned()), now);
    };
    let may_claim = |driver: &mut Driver, at| match driver.next(true, at) {
        Some(Start::Claim(id)) => {
            driver.claim_failed(id);
            true
        }
        Some(_) | None => false,
    };
    let mut driver = driver(now);
    for _ in 0..9 {
        bad(&mut driver, 1);
        bad(&mut driver, 2);
    }
    assert!(may_claim(&mut driver, now), "two jobs may have bad luck");
    bad(&mut driver, 3);
    assert!(!may_claim(&mut driver, now));
    assert!(driver.pauses.has(PauseReason::DownloadsBehind));
    assert!(!may_claim(&mut driver, now + Duration::from_secs(3599)));
    assert!(may_claim(&mut driver, now + Duration::from_secs(3600)), "it may have mended");
    for number in 4..=6 {
        bad(&mut driver, number);
    }
    assert!(!may_claim(&mut driver, now));
    driver.learn(job(7).id, News::TransferDone, now);
    assert!(may_claim(&mut driver, now), "a video has come");
}

#[test]
fn the_budget_is_reserved_before_and_given_back_after_a_refusal() {
    let now = Instant::now();
    let mut config = config("{max: 8}");
    config.budget.per_hour = Some(1);
    let mut driver = Driver::new(&config, Some(Learned { size: 3, found: true }), [], [], clock(now));
    let Some(Start::Claim(id)) = driver.next(true, now) else { panic!("a claim expected") };
    assert!(driver.next(true, now).is_none());
    driver.claim_failed(id);
    assert!(matches!(driver.next(true, now), Some(Start::Claim(_))), "what was not sent is not spent");
    assert!(driver.next(true, now).is_none());
    assert!(driver.pauses.has(PauseReason::Budget), "there are slots, and no money");
}

#[test]
fn a_budget_that_was_raised_or_has_rolled_on_lets_submissions_go_on_before_the_disk_is_asked() {
    let now = Instant::now();
    let mut config = config("{max: 8}");
    config.budget.per_hour = Some(1);
    let spent = |config: &Config| {
        let mut driver = Driver::new(config, Some(Learned { size: 3, found: true }), [], [], clock(now));
        assert!(matches!(driver.next(true, now), Some(Start::Claim(_))));
        assert!(driver.next(true, now).is_none() && driver.pauses.has(PauseReason::Budget));
        assert!(!driver.wants_to_submit(true, now));
        driver
    };
    let mut raised = spent(&config);
    let mut rolled = spent(&config);
    config.budget.per_hour = Some(2);
    raised.reload(&config, now);
    assert!(raised.wants_to_submit(true, now));
    assert!(rolled.wants_to_submit(true, now + Duration::from_secs(3601)));
}

#[test]
fn an_account_that_refuses_thousands_of_questions_is_probed_by_the_first_that_is_due() {
    let now = Instant::now();
    let mut driver = driver(now);
    driver.pauses.refuse(PauseReason::Account, Some(Call::Submit), "no balance".to_owned(), backoff::PROBE, now);
    let probe = driver.next_due(true, now).expect("a probe is due");
    driver.pauses.refuse(PauseReason::Gateway, Some(Call::Submit), "403".to_owned(), backoff::PROBE, probe);
    let second = driver.next_due(true, probe + Duration::from_millis(1)).expect("the other one lies ahead");
    assert!(second > probe + Duration::from_secs(20), "{:?}", second - probe);
}

#[test]
fn a_job_that_a_restart_finds_in_doubt_takes_a_slot_for_a_while() {
    let now = Instant::now();
    let mut driver = Driver::new(&config("{max: 8}"), Some(Learned { size: 1, found: true }), [], [], clock(now));
    let doubtful = on(&job(1), [Event::Intended, Event::OutcomeUnknown { doubt: Doubt::unanswered("killed") }]);
    driver.adopt(doubtful, now);
    begins(&mut driver, Step::Resolve, job(1).id, now);
    assert!(driver.next(true, now).is_none(), "its task may exist");
    assert!(matches!(driver.next(true, now + Duration::from_secs(3600)), Some(Start::Claim(_))));
}

#[test]
fn while_nothing_may_be_sent_nothing_is_taken_for_it() {
    let now = Instant::now();
    let mut config = config("{max: 8}");
    config.api.requests_per_second =
        config::load(None, std::iter::empty(), &Overrides::default()).expect("good").config.api.requests_per_second;
    let mut driver = Driver::new(&config, Some(Learned { size: 3, found: true }), [], [], clock(now));
    driver.adopt(job(1), now);
    driver.set_may_send(false);
    assert!(driver.next(true, now).is_none() && !driver.wants_to_submit(true, now));
    assert_eq!(driver.next_due(true, now), None, "who lets it send wakes the loop");
    let running = accepted(&job(2));
    driver.adopt(running.clone(), now);
    let due = driver.next_due(true, now).expect("questions go on");
    begins(&mut driver, Step::Poll, running.id, due);
    driver.set_may_send(true);
    let later = due + Duration::from_secs(60);
    begins(&mut driver, Step::Submit, job(1).id, later);
}

#[test]
fn a_stale_link_is_not_asked_for_without_a_pause_while_the_gateway_refuses() {
    let now = Instant::now();
    let mut driver = driver(now);
    let submitted = accepted(&job(1));
    let done = Event::Done { link: VideoLink::new("https://cdn.example/v".to_owned()), at: Timestamp::now() };
    let stale = on(&submitted, [done, Event::LinkStale]);
    driver.adopt(stale.clone(), now);
    let mut polls = 0;
    while polls < 1000 && matches!(driver.next(false, now), Some(Start::Step(_, Step::Poll, _))) {
        polls += 1;
        let news = vec![News::GatewayRefused(Call::Poll, "404".to_owned())];
        driver.absorb(stale.id, stepped(stale.clone(), news), 0, now);
    }
    assert!(polls < 3, "{polls} polls at one instant");
}

#[test]
fn a_task_that_is_asked_about_late_and_still_runs_is_polled_in_its_time() {
    let now = Instant::now();
    let mut driver = driver(now);
    let ask_at = Timestamp::now() - jiff::SignedDuration::from_secs(1);
    let late = on(&accepted(&job(1)), [Event::AskLater { ask_at }]);
    driver.adopt(late.clone(), now);
    let mut polls = 0;
    while polls < 1000 && matches!(driver.next(false, now), Some(Start::Step(_, Step::Poll, _))) {
        polls += 1;
        driver.absorb(late.id, stepped(late.clone(), vec![News::Answered(Call::Poll)]), 0, now);
    }
    assert!(polls < 3, "{polls} polls at one instant");
}

#[test]
fn a_pair_that_cannot_be_given_back_now_is_tried_again_later() {
    let now = Instant::now();
    let mut driver = driver(now);
    driver.adopt(job(1), now);
    begins(&mut driver, Step::Submit, job(1).id, now);
    let back = on(&job(1), [Event::Intended, Event::NotSent { not_before: None }]);
    driver.absorb(job(1).id, stepped(back.clone(), vec![News::AccountRefused(Call::Submit, "x".to_owned())]), 0, now);
    let mut releases = 0;
    while releases < 1000 && matches!(driver.next(false, now), Some(Start::Release(_))) {
        releases += 1;
        let failures = driver.failures(back.id);
        let failed =
            Stepped { failed: true, ..stepped(back.clone(), vec![News::Disk(Trouble::Vanished, "inbox".to_owned())]) };
        driver.absorb(back.id, failed, failures, now);
    }
    assert!(releases < 3, "{releases} releases at one instant");
}

#[test]
fn too_little_room_holds_claims_back_also_after_a_full_disk() {
    let now = Instant::now();
    let mut driver = driver(now);
    driver.disk_trouble(Trouble::DiskFull, "no space".to_owned(), now);
    driver.room(Some("1 MB are free".to_owned()));
    let later = now + Duration::from_secs(60);
    assert!(driver.next(true, later).is_none(), "short of room, and yet it claims");
}

#[test]
fn a_task_of_another_account_takes_no_slot_of_this_one() {
    let now = Instant::now();
    let mut driver = Driver::new(&config("{max: 8}"), Some(Learned { size: 1, found: true }), [], [], clock(now));
    let ask_at = Timestamp::now() + jiff::SignedDuration::from_secs(3600);
    driver.adopt(on(&accepted(&job(1)), [Event::AskLater { ask_at }]), now);
    assert!(
        matches!(driver.next(true, now), Some(Start::Claim(_))),
        "a task of another account blocks this one's only slot"
    );
}

#[test]
fn a_step_that_fails_before_its_intent_spends_nothing() {
    let now = Instant::now();
    let mut config = config("{max: 8}");
    config.budget.per_hour = Some(3);
    let mut driver = Driver::new(&config, None, [], [], clock(now));
    driver.adopt(job(1), now);
    let mut at = now;
    for n in 0..5 {
        at += Duration::from_secs(60);
        match driver.next(false, at) {
            Some(Start::Step(_, Step::Submit, _)) => {}
            other => panic!("{n}: {other:?} {:?}", driver.pauses),
        }
        let failures = driver.failures(job(1).id);
        driver.absorb(job(1).id, Stepped { failed: true, ..stepped(job(1), vec![]) }, failures, at);
    }
}

#[test]
fn bad_links_stop_nobody_else() {
    let now = Instant::now();
    let mut driver = driver(now);
    for number in 1..=3 {
        driver.learn(job(number).id, News::TransferFailed("reset".to_owned()), now);
        let done = Event::Done { link: VideoLink::new("https://cdn.example/v".to_owned()), at: Timestamp::now() };
        let ask_at = Timestamp::now() + jiff::SignedDuration::from_secs(3600);
        let bad = on(&accepted(&job(number)), [done, Event::LinkBad { at: Timestamp::now(), ask_at }]);
        driver.adopt(bad, now);
    }
    assert!(matches!(driver.next(true, now + Duration::from_secs(60)), Some(Start::Claim(_))), "{:?}", driver.pauses);
}

#[test]
fn a_good_poll_does_not_mend_a_gateway_that_refuses_submissions() {
    let now = Instant::now();
    let mut driver = driver(now);
    driver.pauses.refuse(PauseReason::Gateway, Some(Call::Submit), "403 waf".to_owned(), backoff::PROBE, now);
    driver.pauses.answered(Call::Poll);
    assert!(driver.next(true, now).is_none(), "a poll lifted what a submission's refusal raised");
}

#[test]
fn a_transfer_is_not_tried_again_before_its_server_wants_it() {
    let now = Instant::now();
    let mut driver = driver(now);
    let done = Event::Done { link: VideoLink::new("https://cdn.example/v".to_owned()), at: Timestamp::now() };
    let ready = on(&accepted(&job(1)), [done]);
    driver.adopt(ready.clone(), now);
    begins(&mut driver, Step::Download, ready.id, now);
    let wait = Duration::from_secs(300);
    driver.absorb(ready.id, Stepped { failed: true, wait, ..stepped(ready.clone(), vec![]) }, 0, now);
    assert!(driver.next(false, now + wait - Duration::from_secs(1)).is_none(), "it comes back too early");
    begins(&mut driver, Step::Download, ready.id, now + wait);
}

#[test]
fn a_task_that_the_api_works_on_for_ever_is_asked_about_rarely_and_takes_no_slot() {
    let now = Instant::now();
    let mut driver = Driver::new(&config("{max: 8}"), Some(Learned { size: 1, found: true }), [], [], clock(now));
    let endless = accepted(&job(1));
    driver.adopt(endless.clone(), now);
    assert!(driver.next(true, now).is_none(), "it takes the only slot");
    let late = now + Duration::from_secs(12 * 60 * 60 + 1);
    for at in [late, late + Duration::from_secs(24 * 60 * 60)] {
        begins(&mut driver, Step::Poll, endless.id, at);
        driver.absorb(endless.id, stepped(endless.clone(), vec![News::Answered(Call::Poll)]), 0, at);
        let due = driver.next_due(false, at).expect("it is never forgotten");
        assert!(due >= at + Duration::from_secs(540) && due <= at + Duration::from_secs(660), "{:?}", due - at);
    }
    assert_eq!(driver.in_flight(), 0);
    assert!(matches!(driver.next(true, late), Some(Start::Claim(_))), "an overdue task blocks the only slot");
}

#[test]
fn a_task_is_taken_up_once_in_a_run_whatever_becomes_of_its_link() {
    let now = Instant::now();
    let mut driver = driver(now);
    let day = Duration::from_secs(24 * 60 * 60);
    let old = Task { submitted_at: Timestamp::now() - jiff::SignedDuration::from_hours(24), ..task() };
    let submitted = on(&job(1), [Event::Intended, Event::Accepted { task: old, holder: None }]);
    driver.adopt(submitted.clone(), now);
    let done = || Event::Done { link: VideoLink::new("https://cdn.example/v".to_owned()), at: Timestamp::now() };
    let ready = on(&submitted, [done()]);
    let later = now + Duration::from_secs(60);
    for job in [&submitted, &ready, &on(&ready, [Event::LinkStale]), &ready] {
        driver.absorb(job.id, stepped(job.clone(), Vec::new()), 0, later);
    }
    let age = driver.taken_up(submitted.id).expect("it has a task").age(later);
    assert_eq!(age.watched, Duration::from_secs(60));
    assert!(age.before > day - Duration::from_secs(60) && age.before < day + Duration::from_secs(600), "{age:?}");
    let again = Event::AnotherAttempt { seed: Seed::Drawn(2), not_before: None };
    let queued = on(&submitted, [again]);
    driver.absorb(queued.id, stepped(queued.clone(), Vec::new()), 0, later);
    assert_eq!(driver.taken_up(queued.id), None);
    let another = Task { task_id: TaskId::new("8").expect("an identifier"), ..task() };
    let next = on(&queued, [Event::Intended, Event::Accepted { task: another, holder: None }]);
    driver.absorb(next.id, stepped(next.clone(), Vec::new()), 0, later);
    let age = driver.taken_up(next.id).expect("it has a task").age(later);
    assert_eq!(age.watched, Duration::ZERO, "its new task is not as old as the first");
    assert!(age.before < day, "{age:?}");
}

/// What an answer may ask for that means to stop us for good: 31 years.
const FOR_GOOD: Duration = Duration::from_secs(1_000_000_000);

#[test]
fn no_word_of_the_api_stops_submissions_for_more_than_ten_minutes() {
    let now = Instant::now();
    for news in [News::TooFast(Some(FOR_GOOD)), News::TooMany(Some(FOR_GOOD))] {
        let mut driver = driver(now);
        driver.learn(job(1).id, news.clone(), now);
        assert!(driver.next(true, now + Duration::from_secs(599)).is_none(), "{news:?}: it is heeded");
        let due = driver.next_due(true, now).expect("it goes on by itself");
        assert!(due <= now + Duration::from_secs(600), "{news:?}");
        assert!(matches!(driver.next(true, now + Duration::from_secs(600)), Some(Start::Claim(_))), "{news:?}");
    }
}

#[test]
fn no_word_of_the_api_stops_polls_for_more_than_ten_minutes() {
    let now = Instant::now();
    let mut driver = driver(now);
    let task = accepted(&job(1));
    driver.adopt(task.clone(), now);
    driver.learn(task.id, News::TooFast(Some(FOR_GOOD)), now);
    assert!(driver.next(false, now + Duration::from_secs(599)).is_none(), "it is heeded");
    begins(&mut driver, Step::Poll, task.id, now + Duration::from_secs(600));
}

#[test]
fn no_server_holds_a_transfer_or_a_poll_back_for_more_than_ten_minutes() {
    let now = Instant::now();
    let submitted = accepted(&job(1));
    let done = Event::Done { link: VideoLink::new("https://cdn.example/v".to_owned()), at: Timestamp::now() };
    for (job, step) in [(on(&submitted, [done]), Step::Download), (submitted, Step::Poll)] {
        let mut driver = driver(now);
        driver.adopt(job.clone(), now);
        let start = driver.next_due(false, now).unwrap_or(now);
        begins(&mut driver, step, job.id, start);
        driver.absorb(job.id, Stepped { failed: true, wait: FOR_GOOD, ..stepped(job.clone(), vec![]) }, 0, start);
        assert!(driver.next(false, start + Duration::from_secs(599)).is_none(), "{step:?}: it is heeded");
        begins(&mut driver, step, job.id, start + Duration::from_secs(600));
    }
}

#[test]
fn a_part_that_waits_for_a_fresh_link_is_kept_through_the_poll() {
    let now = Instant::now();
    let mut driver = driver(now);
    let done = || Event::Done { link: VideoLink::new("https://cdn.example/v".to_owned()), at: Timestamp::now() };
    let ready = on(&accepted(&job(1)), [done()]);
    driver.adopt(ready.clone(), now);
    begins(&mut driver, Step::Download, ready.id, now);
    let stale = on(&ready, [Event::LinkStale]);
    let part = || Some(Part::new("/outbox/.cat.part".into()));
    driver.absorb(ready.id, Stepped { part: part(), ..stepped(stale.clone(), vec![]) }, 0, now);
    let Some(Start::Step(_, Step::Poll, Some(kept))) = driver.next(false, now) else { panic!("no part with the poll") };
    driver.absorb(ready.id, Stepped { part: Some(kept), ..stepped(on(&stale, [done()]), vec![]) }, 0, now);
    assert!(
        matches!(driver.next(false, now), Some(Start::Step(_, Step::Download, Some(_)))),
        "no part with the download"
    );
}
