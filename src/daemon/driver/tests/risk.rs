//! Submissions that are risked where a slot is likely free, and what they teach.

use super::*;
use crate::throttle::cadence::Phase;

/// A driver that knows a limit of one and tasks of a minute, and the job that is in flight on it.
fn at_its_limit(now: Instant) -> (Driver, Job) {
    let minutes = (0..100u64).map(|n| Took { duration: Duration::from_secs(50 + n / 5), queued: None });
    let learned = Some(Learned { size: 1, found: true });
    let mut driver = Driver::new(&config("{max: 8}"), learned, minutes, [], clock(now));
    driver.adopt(job(1), now);
    begins(&mut driver, Step::Submit, job(1).id, now);
    let running = accepted(&job(1));
    driver.absorb(running.id, stepped(running.clone(), vec![News::Accepted]), 0, now);
    (driver, running)
}

/// Answers questions about the job until a submission is risked; when, and what for.
fn risked(driver: &mut Driver, running: &Job, mut now: Instant) -> (Instant, JobId) {
    for _ in 0..20 {
        now = driver.next_due(true, now).expect("there is something to do").max(now);
        match driver.next(true, now) {
            Some(Start::Claim(id)) => return (now, id),
            Some(Start::Step(_, Step::Poll, _)) => {
                let news = vec![News::Answered(Call::Poll), News::Running(Phase::Made)];
                driver.absorb(running.id, stepped(running.clone(), news), 0, now);
            }
            None => {}
            other => panic!("not expected: {other:?}"),
        }
    }
    panic!("nothing was risked")
}

#[test]
fn where_a_task_is_likely_done_one_submission_is_risked_and_refused_at_most_once() {
    let start = Instant::now();
    let (mut driver, running) = at_its_limit(start);
    assert!(driver.next(true, start + Duration::from_secs(20)).is_none(), "nothing is likely yet");
    let (now, id) = risked(&mut driver, &running, start);
    assert!(now >= start + Duration::from_secs(30), "{:?}", now - start);
    let refused = on(&Job { id, ..job(2) }, [Event::Intended, Event::NotSent { not_before: None }]);
    driver.absorb(id, stepped(refused, vec![News::TooMany(None), News::GivenBack(1)]), 0, now);
    let mut now = now;
    for _ in 0..50 {
        now = driver.next_due(true, now).expect("there is something to do").max(now);
        match driver.next(true, now) {
            Some(Start::Step(_, Step::Poll, _)) => {
                driver.absorb(running.id, stepped(running.clone(), vec![News::Running(Phase::Made)]), 0, now);
            }
            None => {}
            other => panic!("once is enough: {other:?}"),
        }
    }
    let done = Event::Done { link: VideoLink::new("https://cdn.example/v".to_owned()), at: Timestamp::now() };
    driver.absorb(running.id, stepped(on(&running, [done]), Vec::new()), 0, now);
    begins(&mut driver, Step::Download, running.id, now);
    begins(&mut driver, Step::Submit, id, now);
}

#[test]
fn a_risk_that_is_taken_while_all_run_on_shows_a_larger_account() {
    let start = Instant::now();
    let (mut driver, running) = at_its_limit(start);
    let (now, id) = risked(&mut driver, &running, start);
    let second = accepted(&Job { id, ..job(2) });
    driver.absorb(id, stepped(second, vec![News::Accepted]), 0, now);
    assert_eq!(driver.window.learned(), Learned { size: 1, found: true }, "the first may be done");
    begins(&mut driver, Step::Poll, running.id, now);
    driver.absorb(running.id, stepped(running.clone(), vec![News::Running(Phase::Made)]), 0, now);
    assert_eq!(driver.window.learned(), Learned { size: 3, found: false }, "two run, and there may be room for more");
}

#[test]
fn a_risk_that_a_task_made_room_for_shows_nothing() {
    let start = Instant::now();
    let (mut driver, running) = at_its_limit(start);
    let (now, id) = risked(&mut driver, &running, start);
    driver.absorb(id, stepped(accepted(&Job { id, ..job(2) }), vec![News::Accepted]), 0, now);
    begins(&mut driver, Step::Poll, running.id, now);
    let done = Event::Done { link: VideoLink::new("https://cdn.example/v".to_owned()), at: Timestamp::now() };
    driver.absorb(running.id, stepped(on(&running, [done]), Vec::new()), 0, now);
    assert_eq!(driver.window.learned(), Learned { size: 1, found: true });
    assert_eq!(driver.in_flight(), 1);
}
