//! The account's slots: a limit that changes is followed, an account is shared, and what takes long is asked for patiently.

use std::time::{Duration, Instant};

use jimengd::simulator::{Settings, Task, World};

use crate::rig::{Rig, patient_vendor, vendor};

/// What refuses a submission because too many tasks run.
const TOO_MANY: u32 = 50430;

/// A limit that has changed is known after so many tasks.
const TASKS_TO_FOLLOW: usize = 10;

/// Minutes of the API in tenths of a second.
const QUICK: &str = "poll: {first: 100ms, every: 50ms, slowest: 300ms}";

/// How many of the tasks were being made at that instant.
fn in_flight_at(tasks: &[Task], at: Instant) -> usize {
    let made = |task: &&Task| task.accepted_at <= at && task.finished_at().is_none_or(|finished_at| at < finished_at);
    tasks.iter().filter(made).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_falls_and_rises_is_followed_within_ten_tasks() {
    const PAIRS: usize = 70;
    let rig = Rig::new(Settings { concurrency: Some(8), task_seconds: 0.4, ..vendor() }, QUICK);
    let daemon = rig.start();
    for n in 0..PAIRS {
        rig.drop_pair(&format!("{n}"), &format!("Number {n}"));
    }
    rig.until("eight at once", || rig.vendor().with_world(World::in_flight_max) == 8).await;

    rig.vendor().limit(Some(1));
    let (refused, fell_after) = rig.vendor().with_world(|world| (world.refused(TOO_MANY), world.tasks().len()));
    rig.until("it takes one at a time", || rig.snapshot().is_some_and(|said| said.limit == 1)).await;
    let followed_after = rig.vendor().with_world(|world| world.tasks().len());
    assert!(followed_after - fell_after <= TASKS_TO_FOLLOW, "only after {} tasks", followed_after - fell_after);
    rig.until("work goes on", || rig.vendor().paid() as usize >= followed_after + 4).await;
    let refused = rig.vendor().with_world(|world| world.refused(TOO_MANY)) - refused;
    let since = rig.vendor().paid() as usize - fell_after;
    // One for each slot that is gone, and at most one for each task.
    assert!(refused as usize <= 7 + since, "{refused} refused for {since} tasks");

    rig.vendor().limit(Some(4));
    let rose_after = rig.vendor().with_world(|world| world.tasks().len());
    rig.until("four at once", || rig.vendor().with_world(World::in_flight) == 4).await;
    // Counted from what the vendor knows, for a look may come late.
    let tasks = rig.vendor().tasks();
    let after = tasks[rose_after..].iter().position(|task| in_flight_at(&tasks, task.accepted_at) == 4);
    assert!(after.is_some_and(|after| after < TASKS_TO_FOLLOW), "only after {after:?} tasks");

    rig.vendor().limit(None);
    rig.until_ended(PAIRS, 0).await;
    daemon.stop().await;
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), PAIRS as u64);
    for n in 0..PAIRS {
        assert_eq!(rig.receipt(&format!("{n}"))["attempts"], 1, "a refused submission is no attempt");
    }
}

/// Two daemons on one account that allows so many tasks at once: neither is shut out by the other.
async fn two_share(limit: usize) {
    const PAIRS: usize = 30;
    let settings = Settings { concurrency: Some(limit), task_seconds: 0.3, ..vendor() };
    let rigs = [Rig::new(settings, QUICK), Rig::new(vendor(), "")];
    let [one, other] = &rigs;
    other.configure(&format!("{QUICK}\napi: {{base_url: '{}'}}", one.vendor().base_url()));
    for (rig, name) in [(one, "one"), (other, "other")] {
        for n in 0..PAIRS {
            rig.drop_pair(&format!("{n}"), &format!("{name} {n}"));
        }
    }
    let daemons = [one.start(), other.start()];
    // Neither has run out of pairs by then.
    one.until("as much is delivered as one of them has", || one.videos() + other.videos() >= PAIRS).await;
    let delivered = [one.videos(), other.videos()];
    for daemon in daemons {
        daemon.stop().await;
    }
    // Who meets a free slot is chance, and so is how evenly they share; that one never does is none.
    assert!(delivered.iter().all(|part| *part > 0), "limit {limit}: shared as {delivered:?}");
    assert!(one.vendor().with_world(World::in_flight_max) <= limit);
    for rig in &rigs {
        assert_eq!(rig.reports(), 0, "limit {limit}\n{}", rig.scene());
        rig.assert_everywhere_once();
    }
    let mut prompts: Vec<_> = one.vendor().tasks().into_iter().map(|task| task.prompt).collect();
    let paid = prompts.len();
    prompts.sort_unstable();
    prompts.dedup();
    assert_eq!(prompts.len(), paid, "limit {limit}: something was paid twice");
    assert_eq!(other.vendor().paid(), 0);
    assert_eq!(one.vendor().violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_share_the_only_slot_of_an_account() {
    two_share(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_share_two_slots_of_an_account() {
    two_share(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_takes_too_long_is_asked_for_slowly_until_the_api_gives_it_up() {
    let settings = Settings { task_life: Duration::from_secs(4), ..patient_vendor() };
    let rig = Rig::new(settings, "tasks: {give_up_after: 1s}");
    rig.drop_pair("cat", "A cat that never comes");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (0, 1), "{}", rig.scene());
    let report = rig.report("cat");
    let told = (&report["reason"], &report["charged"], &report["stage"]);
    assert_eq!(told, (&"task_gone".into(), &"unknown".into(), &"poll".into()), "{report:?}");
    let task = rig.vendor().tasks().remove(0);
    assert_eq!(report["task_id"], task.task_id.as_str());
    let asked: Vec<Instant> = rig.vendor().with_world(|world| {
        let polls = world.requests().filter(|request| request.path == format!("/task/{}", task.task_id));
        polls.map(|request| request.head_at).collect()
    });
    let ages: Vec<Duration> = asked.iter().map(|at| at.duration_since(task.accepted_at)).collect();
    let (last, before) = ages.split_last().unwrap();
    assert!(*last >= Duration::from_secs(4), "given up while the API still had it: {ages:?}");
    let slow: Vec<&Duration> = before.iter().filter(|age| **age > Duration::from_millis(1500)).collect();
    assert!(slow.len() >= 3, "it is asked for all the same: {ages:?}");
    // `poll.slowest` is 100 ms, of which chance takes a tenth at most; a request that was held up makes the next gap shorter.
    let mean = (**slow.last().unwrap() - *slow[0]).as_secs_f64() / (slow.len() - 1) as f64;
    assert!(mean >= 0.08, "asked every {mean} s: {ages:?}");
    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_tasks_take_is_remembered() {
    let rig = Rig::new(Settings { task_seconds: 0.2, ..vendor() }, "");
    for n in 0..3 {
        rig.drop_pair(&format!("{n}"), &format!("Number {n}"));
    }
    assert_eq!(rig.run_once().await.delivered, 3, "{}", rig.scene());
    let ledger = rusqlite::Connection::open(rig.root().join("ledger.db")).unwrap();
    let mut rows = ledger.prepare("SELECT milliseconds FROM duration ORDER BY milliseconds").unwrap();
    let remembered = rows.query_map([], |row| row.get::<_, u64>(0)).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(remembered.len(), 3, "{remembered:?}");
    let mut took: Vec<u64> = rig.vendor().tasks().iter().map(|task| task.takes().as_millis() as u64).collect();
    took.sort_unstable();
    // Not before it ended half-way between two questions at the earliest.
    assert!(remembered.iter().zip(&took).all(|(seen, took)| 2 * seen >= *took), "{remembered:?} for {took:?}");
}
