//! Clocks that are set, sleep, and answers that tell nothing of a task's time.

use super::*;
use crate::throttle::cadence::Phase;

const HOUR: Duration = Duration::from_secs(60 * 60);
const SECOND: Duration = Duration::from_secs(1);

/// A job that waits for an instant of the wall clock to be submitted.
fn waits_until(at: Timestamp) -> Job {
    on(&job(1), [Event::Intended, Event::NotSent { not_before: Some(at) }])
}

/// A driver with one job that is to be submitted in an hour of the wall clock; what its clock says, too.
fn in_an_hour(now: Instant) -> (Driver, Clock) {
    let start = clock(now);
    let mut driver = Driver::new(&config("{max: 8}"), None, [], [], start);
    driver.adopt(waits_until(start.wall + HOUR), now);
    (driver, start)
}

#[test]
fn what_waits_for_the_wall_clock_waits_by_the_one_that_was_set() {
    let now = Instant::now();
    for (set, at) in [(0i64, 3600), (600, 3000), (-600, 4200), (7200, 1)] {
        let (mut driver, start) = in_an_hour(now);
        let later = Clock { wall: start.wall + SECOND + SignedDuration::from_secs(set), at: now + SECOND, up: SECOND };
        driver.look_at_the_clock(later);
        let due = now + Duration::from_secs(at);
        assert!(driver.next(false, due.max(now + SECOND) - SECOND / 2).is_none(), "{set} s: it waits");
        begins(&mut driver, Step::Submit, job(1).id, due);
    }
}

#[test]
fn what_waits_for_the_wall_clock_has_waited_while_the_machine_slept() {
    let now = Instant::now();
    let (mut driver, start) = in_an_hour(now);
    assert!(driver.next(false, now + SECOND).is_none());
    let awake = Clock { wall: start.wall + HOUR, at: now + SECOND, up: HOUR };
    assert_eq!(driver.look_at_the_clock(awake), None, "nobody has set it");
    begins(&mut driver, Step::Submit, job(1).id, now + SECOND);
}

#[test]
fn what_waits_for_our_own_side_waits_no_less_when_the_clock_is_set() {
    let now = Instant::now();
    let start = clock(now);
    let mut driver = Driver::new(&config("{max: 8}"), None, [], [], start);
    let late = waits_until(start.wall - SECOND);
    driver.adopt(late.clone(), now);
    begins(&mut driver, Step::Submit, late.id, now);
    driver.absorb(late.id, Stepped { failed: true, ..stepped(late.clone(), Vec::new()) }, 4, now);
    driver.look_at_the_clock(Clock { wall: start.wall + HOUR, ..start });
    assert!(driver.next(false, now + SECOND).is_none(), "the disk has not become better by that");
}

#[test]
fn a_task_that_was_asked_for_in_vain_teaches_nothing_of_how_long_tasks_take() {
    let now = Instant::now();
    let mut driver = driver(now);
    let running = accepted(&job(1));
    driver.adopt(running.clone(), now);
    let untold = |driver: &Driver| driver.seen(running.id).expect("it has a task").is_unsure;
    let first = driver.next_due(false, now).expect("it is asked for");
    begins(&mut driver, Step::Poll, running.id, first);
    let told = vec![News::Answered(Call::Poll), News::Running(Phase::Made)];
    driver.absorb(running.id, stepped(running.clone(), told.clone()), 0, first);
    assert!(!untold(&driver), "it was seen to run");
    let due = driver.next_due(false, first).expect("it is asked for again");
    begins(&mut driver, Step::Poll, running.id, due);
    let nothing = Stepped { failed: true, ..stepped(running.clone(), Vec::new()) };
    driver.absorb(running.id, nothing, 0, due);
    assert!(untold(&driver), "it may have ended since");
    let due = driver.next_due(false, due).expect("it is asked for again");
    begins(&mut driver, Step::Poll, running.id, due);
    driver.absorb(running.id, stepped(running.clone(), told), 0, due);
    assert!(!untold(&driver), "it runs on");
}

#[test]
fn answers_that_tell_nothing_of_a_task_are_asked_for_ever_more_rarely() {
    let now = Instant::now();
    let mut driver = driver(now);
    let running = accepted(&job(1));
    driver.adopt(running.clone(), now);
    let mut at = now;
    let mut waits = Vec::new();
    for _ in 0..400 {
        let due = driver.next_due(false, at).expect("it is never forgotten");
        waits.push(due - at);
        at = due;
        begins(&mut driver, Step::Poll, running.id, at);
        driver.absorb(running.id, stepped(running.clone(), vec![News::UnknownStatus("moot".to_owned())]), 0, at);
    }
    // As `poll` has it: first 10 s, every 5 s, slowest 30 s; and rarer only when it has been so for long.
    assert!(waits[1] >= 5 * SECOND && waits[1] < 6 * SECOND, "{:?}", waits[1]);
    assert!(waits[60] >= 25 * SECOND && waits[60] <= 33 * SECOND, "{:?}", waits[60]);
    assert!(waits[399] > 60 * SECOND && waits[399] <= 660 * SECOND, "{:?}", waits[399]);
    assert!(waits.is_sorted_by(|a, b| a.as_secs_f64() < b.as_secs_f64() * 1.2 + 5.0), "{waits:?}");
}
