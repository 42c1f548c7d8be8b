//! The ledger on real files: what is written is read again, and nothing else is touched.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::job::business_code::BusinessCode;
use crate::job::state::{Finish, Publication, Rejection, Video};
use crate::job::{
    Account, AspectRatio, Charged, Doubt, Failure, FileName, Folder, Input, InputFile, PairName, Problem, Reason,
    Request, Seed, Stage, State, Task, TaskId, VideoLink,
};

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).expect("in range")
}

fn id(n: u64) -> JobId {
    JobId::parse(&format!("0192e4a0-0000-7000-8000-{n:012x}")).expect("an identifier")
}

fn name(bytes: &[u8]) -> FileName {
    FileName::new(bytes).expect("a test's name is a name")
}

fn task() -> Task {
    Task {
        task_id: TaskId::new("99999999999999999999").expect("an identifier"),
        request_id: Some("r".to_owned()),
        account: Account { base_url: "https://api.example".to_owned(), token_fingerprint: "00".to_owned() },
        submitted_at: at(1),
    }
}

fn failure(reason: Reason) -> Failure {
    Failure {
        reason,
        message: "message 🐈\n".to_owned(),
        stage: Stage::Poll,
        charged: Charged::Unknown,
        task: Some(task()),
        task_over: true,
        request_id: Some("r2".to_owned()),
        http_status: Some(404),
        problems: vec![Problem { line: Some(3), message: "wrong".to_owned(), ..Problem::default() }],
    }
}

fn job(n: u64, state: State) -> Job {
    Job {
        id: id(n),
        pair: PairName { folder: Folder::new(&b"caf\xe9/b"[..]).expect("a folder"), stem: name(b"c\xff'\"\n") },
        input: Input {
            sidecar: Some(InputFile { name: name(b"c\xff'\"\n.yaml"), bytes: u64::MAX, sha256: "bb".to_owned() }),
            picture: Some(InputFile { name: name(b"c\xff'\"\n.jpg"), bytes: 8, sha256: "cc".to_owned() }),
            shown: Some((640, 480)),
        },
        request: Some(Request {
            prompt: "一只猫 🐈".to_owned(),
            aspect_ratio: AspectRatio::R21x9,
            seed: Seed::Fixed(u32::MAX),
            image_url: Some("https://x.example/a".to_owned()),
        }),
        priority: i64::MIN,
        earlier: Some(id(1_000_000)),
        claimed_at: at(0),
        sends: 4,
        attempts: 2,
        charges: 1,
        state,
        since: at(2),
    }
}

fn queued(n: u64) -> Job {
    job(n, State::Queued { not_before: None })
}

fn states() -> Vec<State> {
    let finish = Finish { done_at: at(5), bad_links: 3 };
    let video = Video { bytes: 5, sha256: "aa".to_owned(), width: Some(2), height: None, seconds: Some(5.041_666) };
    let publication = Publication {
        temporary: name(b".\xff.part"),
        outbox: (u64::MAX, 2),
        number: 3,
        former: vec![1, 2],
        delivered_at: at(9),
    };
    let rejection = Rejection { number: 2, former: vec![1], failed_at: at(9) };
    vec![
        State::Queued { not_before: Some(at(3)) },
        State::Submitting,
        State::Submitted { task: task(), finish: None, ask_at: Some(at(4)) },
        State::Submitted { task: task(), finish: Some(finish), ask_at: None },
        State::Ready { task: task(), finish, link: VideoLink::new("https://cdn.example/v?sig=s".to_owned()) },
        State::Fetched { task: task(), finish, video: video.clone(), publication },
        State::InDoubt {
            doubt: Doubt { message: "reset".to_owned(), request_id: Some("r".to_owned()), http_status: Some(502) },
        },
        State::Failing { failure: failure(Reason::Business(BusinessCode(50_412))), rejection },
        State::Delivered { task: task(), finish, video, number: 3 },
        State::Failed { failure: failure(Reason::InDoubt) },
        State::Failed { failure: failure(Reason::Business(BusinessCode(12_345))) },
    ]
}

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary folder") }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ledger.db")
    }

    fn open(&self) -> (Ledger, Memory) {
        Ledger::open(&self.path()).expect("the ledger opens")
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.path()).expect("readable").expect("there is one")
    }
}

fn insert(job: &Job) -> Vec<Change> {
    vec![Change::Insert(Box::new(job.clone()))]
}

fn update(job: &Job) -> Vec<Change> {
    vec![Change::Update(Box::new(job.clone()))]
}

fn is_contradiction(result: Result<(), WriteError>) -> bool {
    matches!(result, Err(WriteError::Contradiction(_)))
}

#[tokio::test]
async fn every_state_comes_back_from_a_file_that_was_closed() {
    let place = Place::new();
    let jobs: Vec<Job> = (1..).zip(states()).map(|(n, state)| job(n, state)).collect();
    let (ledger, _) = place.open();
    for (n, wanted) in jobs.iter().enumerate() {
        // Half of them by way of an update.
        if n % 2 == 0 {
            ledger.write(insert(wanted)).await.unwrap();
        } else {
            let first = Job { request: None, sends: 0, ..queued(n as u64 + 1) };
            ledger.write(insert(&first)).await.unwrap();
            ledger.write(update(wanted)).await.unwrap();
        }
    }
    drop(ledger);
    let (_ledger, memory) = place.open();
    let live: Vec<Job> = jobs.iter().filter(|job| !job.state.is_final()).cloned().collect();
    assert_eq!(memory.live, live);
    let reader = place.reader();
    for wanted in &jobs {
        assert_eq!(reader.job(wanted.id).unwrap().as_ref(), Some(wanted));
    }
    assert_eq!(reader.live().unwrap(), live);
    let counts: Vec<(String, u64)> = reader.counts().unwrap().into_iter().collect();
    let counts: Vec<_> = counts.iter().map(|(state, n)| (state.as_str(), *n)).collect();
    assert_eq!(
        counts,
        [
            ("delivered", 1),
            ("failed", 1),
            ("failing", 1),
            ("fetched", 1),
            ("in_doubt", 2),
            ("queued", 1),
            ("ready", 1),
            ("submitted", 2),
            ("submitting", 1)
        ]
    );
}

#[tokio::test]
async fn seeds_and_missing_parts_come_back() {
    let place = Place::new();
    let (ledger, _) = place.open();
    for (n, seed) in [Seed::Fixed(0), Seed::Drawn(1), Seed::Api].into_iter().enumerate() {
        let mut wanted = queued(n as u64);
        wanted.request = wanted.request.map(|request| Request { seed, image_url: None, ..request });
        wanted.input = Input { sidecar: None, picture: None, shown: None };
        wanted.earlier = None;
        wanted.pair.folder = Folder::root();
        ledger.write(insert(&wanted)).await.unwrap();
        assert_eq!(place.reader().job(wanted.id).unwrap(), Some(wanted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_share_commits_and_each_record_lasts() {
    let place = Place::new();
    let (ledger, _) = place.open();
    ledger.write(insert(&queued(7))).await.unwrap();
    let writes: Vec<_> = (0..500)
        .map(|n| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                // Number 7 is there already; what it brings besides is undone with it.
                ledger.write([insert(&queued(10_000 + n)), insert(&queued(n))].concat()).await
            })
        })
        .collect();
    for (n, write) in (0..).zip(writes) {
        let result = write.await.unwrap();
        assert_eq!(is_contradiction(result), n == 7, "{n}");
        let stored = place.reader().job(id(10_000 + n)).unwrap();
        assert_eq!(stored.is_some(), n != 7, "{n}: on disk when the call returns");
    }
    drop(ledger);
    assert_eq!(place.open().1.live.len(), 1 + 2 * 499);
}

#[tokio::test]
async fn a_contradiction_in_a_batch_undoes_its_own_call_alone() {
    let place = Place::new();
    let mut connection = {
        let (ledger, _) = place.open();
        drop(ledger);
        Connection::open(place.path()).unwrap()
    };
    let calls = [insert(&queued(1)), [insert(&queued(2)), update(&queued(9))].concat(), insert(&queued(3))];
    let batch: Vec<Call> = calls.map(|changes| Call { changes, answer: oneshot::channel().0 }).into();
    let verdicts = commit(&mut connection, &batch);
    assert!(verdicts[0].is_ok() && matches!(verdicts[1], Err(WriteError::Contradiction(_))) && verdicts[2].is_ok());
    let ids: Vec<JobId> = live(&connection).unwrap().iter().map(|job| job.id).collect();
    assert_eq!(ids, [id(1), id(3)]);
}

#[tokio::test]
async fn a_row_that_is_missing_final_or_ahead_is_not_updated() {
    let place = Place::new();
    let (ledger, _) = place.open();
    assert!(is_contradiction(ledger.write(update(&queued(1))).await));
    for state in states().into_iter().filter(State::is_final) {
        let ended = job(2, state);
        drop(ledger.write(insert(&ended)).await);
        assert!(is_contradiction(ledger.write(update(&queued(2))).await));
        assert!(is_contradiction(ledger.write(vec![Change::Delete(id(2))]).await));
    }
    ledger.write(insert(&queued(3))).await.unwrap();
    assert!(is_contradiction(ledger.write(update(&Job { sends: 3, ..queued(3) })).await), "sends never go down");
    assert!(is_contradiction(ledger.write(insert(&queued(3))).await));
}

fn accepted(n: u64, state: impl Fn(Task) -> State, task_id: &str) -> (Job, Vec<Change>) {
    let task_id = TaskId::new(task_id).expect("an identifier");
    let job = job(n, state(Task { task_id: task_id.clone(), ..task() }));
    let changes =
        [update(&job), vec![Change::Unshared { job: job.id, task_id, base_url: task().account.base_url }]].concat();
    (job, changes)
}

#[tokio::test]
async fn a_task_is_accepted_for_one_job_alone_whatever_has_become_of_the_other() {
    let finish = Finish { done_at: at(5), bad_links: 0 };
    let video = Video { bytes: 5, sha256: "aa".to_owned(), width: None, height: None, seconds: None };
    let submitted = |task| State::Submitted { task, finish: None, ask_at: None };
    let delivered = |task| State::Delivered { task, finish, video: video.clone(), number: 1 };
    let failed = |task| State::Failed { failure: Failure { task: Some(task), ..failure(Reason::TaskGone) } };
    let place = Place::new();
    let (ledger, _) = place.open();
    for n in 1..=5 {
        ledger.write(insert(&job(n, State::Submitting))).await.unwrap();
    }
    ledger.write(accepted(1, submitted, "71").1).await.unwrap();
    ledger.write(accepted(1, submitted, "71").1).await.expect("it is its own");
    ledger.write(accepted(2, delivered, "72").1).await.unwrap();
    ledger.write(accepted(3, failed, "73").1).await.unwrap();
    drop(ledger);
    let (ledger, _) = place.open();
    for (n, task_id) in [(1, "71"), (2, "72"), (3, "73")] {
        let refused = ledger.write(accepted(4, submitted, task_id).1).await;
        assert!(matches!(&refused, Err(WriteError::Held(holder)) if *holder == id(n)), "{task_id}: {refused:?}");
        assert_eq!(place.reader().job(id(4)).unwrap(), Some(job(4, State::Submitting)), "nothing of it is written");
    }
    // One that tries job 3 again has its task without asking.
    ledger.write(insert(&Job { claimed_at: at(7), ..accepted(6, submitted, "73").0 })).await.unwrap();
    let refused = ledger.write(accepted(4, submitted, "73").1).await;
    assert!(matches!(&refused, Err(WriteError::Held(holder)) if *holder == id(6)), "{refused:?}");
    // Another API may count its tasks alike.
    let elsewhere = |task: Task| {
        let account = Account { base_url: "https://api.example/\"x".to_owned(), ..task.account };
        State::Submitted { task: Task { account, ..task }, finish: None, ask_at: None }
    };
    let mut there = accepted(4, elsewhere, "73").1;
    if let Some(Change::Unshared { base_url, .. }) = there.last_mut() {
        *base_url = "https://api.example/\"x".to_owned();
    }
    ledger.write(there.clone()).await.expect("it is not the same task");
    if let Some(Change::Unshared { job, .. }) = there.last_mut() {
        *job = id(5);
    }
    let refused = ledger.write(there[1..].to_vec()).await;
    assert!(matches!(&refused, Err(WriteError::Held(holder)) if *holder == id(4)), "{refused:?}");
    ledger.write(accepted(4, submitted, "74").1).await.unwrap();
}

#[tokio::test]
async fn of_two_acceptances_of_one_task_in_one_commit_the_first_has_it() {
    let submitted = |task| State::Submitted { task, finish: None, ask_at: None };
    let place = Place::new();
    let (ledger, _) = place.open();
    for n in [1, 2] {
        ledger.write(insert(&job(n, State::Submitting))).await.unwrap();
    }
    drop(ledger);
    let mut connection = Connection::open(place.path()).unwrap();
    let calls = [accepted(2, submitted, "7").1, accepted(1, submitted, "7").1];
    let batch: Vec<Call> = calls.map(|changes| Call { changes, answer: oneshot::channel().0 }).into();
    let verdicts = commit(&mut connection, &batch);
    assert!(verdicts[0].is_ok(), "{verdicts:?}");
    assert!(matches!(&verdicts[1], Err(WriteError::Held(holder)) if *holder == id(2)), "{verdicts:?}");
}

#[tokio::test]
async fn what_is_asked_while_the_daemon_works_costs_no_scan() {
    let place = Place::new();
    drop(place.open());
    let connection = Connection::open(place.path()).unwrap();
    for (sql, index) in [
        (HOLDER, "SEARCH job USING INDEX job_task_id (task_id=?)"),
        (ENDED, "SEARCH job USING INDEX job_since (since>?)"),
        (FORGET, "SEARCH job USING INDEX job_since (since<?)"),
        (STATES, "SCAN job USING COVERING INDEX job_state"),
        (IN_DOUBT, "SEARCH job USING INDEX job_state (state=?)"),
    ] {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let values = vec!["7"; statement.parameter_count()];
        let mut rows = statement.query(rusqlite::params_from_iter(values)).unwrap();
        let plan: String = rows.next().unwrap().unwrap().get("detail").unwrap();
        assert_eq!(plan, index, "{sql}");
    }
}

#[tokio::test]
async fn damage_in_a_large_ledger_is_found_while_the_work_begins() {
    let place = Place::new();
    let (ledger, _) = place.open();
    for n in 0..100 {
        ledger.write(insert(&job(n, State::Failed { failure: failure(Reason::Poison) }))).await.unwrap();
    }
    ledger.looked_through().await;
    drop(ledger);
    let connection = Connection::open(place.path()).unwrap();
    let page_bytes: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap();
    // Pages that hold nothing but what a start has no use for, and those that it reads.
    let finished: Vec<u64> = pages(&connection, "job").into_iter().skip(2).collect();
    let small: Vec<u64> = ["spending", "duration", "fact"].iter().flat_map(|table| pages(&connection, table)).collect();
    // The writer's thread may not have ended yet.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    connection.close().unwrap();
    let good = std::fs::read(place.path()).unwrap();
    assert!(finished.len() > 3 && small.len() > 2, "{finished:?} {small:?}");
    for (number, (page, at_once_bytes, is_refused)) in finished
        .iter()
        .map(|page| (page, 0, false))
        .chain(finished.iter().map(|page| (page, u64::MAX, true)))
        .chain(small.iter().map(|page| (page, 0, true)))
        .enumerate()
    {
        let mut bytes = good.clone();
        let start = usize::try_from((page - 1) * page_bytes).unwrap();
        bytes[start..start + usize::try_from(page_bytes).unwrap()].fill(0x5A);
        let path = place.dir.path().join(format!("{number}.db"));
        std::fs::write(&path, bytes).unwrap();
        match Ledger::open_looking(&path, at_once_bytes) {
            // The thread may have been quick.
            Err(OpenError::Corrupt { .. }) => {}
            Ok((ledger, _)) if !is_refused => {
                let told = tokio::time::timeout(Duration::from_secs(60), ledger.damaged()).await;
                assert!(told.is_ok(), "page {page} is damaged, and nobody is told");
                let sends = tokio::time::timeout(Duration::from_millis(1), ledger.looked_through()).await;
                assert!(sends.is_err(), "page {page} is damaged, and something may be sent");
            }
            other => panic!("page {page}, {at_once_bytes}: {other:?}"),
        }
    }
    let path = place.dir.path().join("good.db");
    std::fs::write(&path, good).unwrap();
    let (ledger, _) = Ledger::open_looking(&path, 0).unwrap();
    ledger.looked_through().await;
}

/// The pages of a table, without those of its indexes.
fn pages(connection: &Connection, table: &str) -> Vec<u64> {
    let mut statement = connection.prepare("SELECT pageno FROM dbstat WHERE name = ?1 ORDER BY pageno").unwrap();
    statement.query_map([table], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn only_a_queued_job_is_forgotten_on_release() {
    let place = Place::new();
    let (ledger, _) = place.open();
    ledger.write(insert(&queued(1))).await.unwrap();
    ledger.write(insert(&job(2, State::Submitting))).await.unwrap();
    ledger.write(vec![Change::Delete(id(1))]).await.unwrap();
    assert!(is_contradiction(ledger.write(vec![Change::Delete(id(1))]).await));
    assert!(is_contradiction(ledger.write(vec![Change::Delete(id(2))]).await));
    assert_eq!(place.reader().live().unwrap().len(), 1);
}

#[tokio::test]
async fn spending_durations_and_facts_are_remembered_and_pruned() {
    let place = Place::new();
    let (ledger, _) = place.open();
    let reserve = |send, seconds: i64| Change::Reserve { job: id(1), send, at: at(seconds * 1_000) };
    let took = |duration| Took { duration, queued: Some(duration) };
    ledger.write(vec![reserve(2, 20), reserve(1, 10), reserve(3, 30)]).await.unwrap();
    assert!(is_contradiction(ledger.write(vec![reserve(3, 40)]).await));
    ledger.write(vec![Change::GiveBack { job: id(1), send: 2 }]).await.unwrap();
    for n in 0..u64::from(DURATIONS_MAX) + 10 {
        let took = Change::Took { took: took(Duration::from_millis(n)), at: at(0) };
        ledger.write(vec![took]).await.unwrap();
    }
    ledger.write(vec![Change::Took { took: took(Duration::MAX), at: at(0) }]).await.unwrap();
    let remember = |value: &str| vec![Change::Remember { name: "limit", value: value.to_owned() }];
    ledger.write(remember("1")).await.unwrap();
    ledger.write(remember("2")).await.unwrap();
    let old = job(2, State::Failed { failure: failure(Reason::Poison) });
    let new = Job { since: at(9_000), ..job(3, State::Failed { failure: failure(Reason::Poison) }) };
    let live = queued(4);
    for job in [&old, &new, &live] {
        ledger.write(insert(job)).await.unwrap();
    }
    assert_eq!(place.reader().finished_since(at(5_000)).unwrap(), (0, 1));
    assert_eq!(place.reader().fact("limit").unwrap().as_deref(), Some("2"));
    assert_eq!(place.reader().fact("other").unwrap(), None);
    ledger.write(vec![Change::Prune { jobs_before: Some(at(5_000)), spending_before: at(15_000) }]).await.unwrap();
    let shift = |seconds, now| vec![Change::ShiftSpending { by: SignedDuration::from_secs(seconds), now: at(now) }];
    // Ahead by ten of its thirty seconds; not ahead, so it stays; ahead of all there is, so it is now.
    for (seconds, now) in [(-10, 25_000), (-5, 20_000), (9_999, 35_000)] {
        ledger.write(shift(seconds, now)).await.unwrap();
    }
    drop(ledger);
    let (_ledger, memory) = place.open();
    assert_eq!(memory.spending, [(id(1), 3, at(35_000))]);
    assert_eq!(memory.durations.len(), DURATIONS_MAX as usize);
    assert_eq!(memory.durations.first(), Some(&took(Duration::from_millis(11))));
    assert_eq!(memory.live, [live]);
    assert!(place.reader().job(old.id).unwrap().is_none() && place.reader().job(new.id).unwrap().is_some());
}

#[tokio::test]
async fn the_budget_window_fits_into_what_is_kept() {
    assert!(SPENDING_KEPT > crate::throttle::budget::DAY);
}

#[tokio::test]
async fn a_ledger_of_the_first_version_is_brought_up_to_date_with_what_it_knows() {
    let place = Place::new();
    let connection = Connection::open(place.path()).unwrap();
    connection.execute_batch(MIGRATIONS[0]).unwrap();
    let known = "INSERT INTO duration (milliseconds, seen_at) VALUES (1500, 7); PRAGMA user_version = 1;";
    connection.execute_batch(known).unwrap();
    connection.close().unwrap();
    let (ledger, memory) = place.open();
    assert_eq!(memory.durations, [Took { duration: Duration::from_millis(1500), queued: None }]);
    let took = Took { duration: Duration::from_millis(10), queued: Some(Duration::from_millis(3)) };
    ledger.write(vec![Change::Took { took, at: at(0) }]).await.unwrap();
    drop(ledger);
    assert_eq!(place.open().1.durations.last(), Some(&took));
}

fn refused(place: &Place) -> OpenError {
    let before = std::fs::read(place.path()).unwrap();
    let error = Ledger::open(&place.path()).map(drop).expect_err("it must not open");
    assert_eq!(std::fs::read(place.path()).unwrap(), before, "the file is as it was");
    error
}

#[test]
fn a_newer_ledger_is_refused_and_left_as_it_is() {
    for mode in ["DELETE", "WAL"] {
        let place = Place::new();
        let connection = Connection::open(place.path()).unwrap();
        connection.pragma_update(None, "journal_mode", mode).unwrap();
        connection.execute_batch("CREATE TABLE job (job TEXT); PRAGMA user_version = 99;").unwrap();
        connection.close().unwrap();
        assert!(matches!(refused(&place), OpenError::Newer { found: 99, known: 2, .. }));
        assert!(matches!(Reader::open(&place.path()), Err(OpenError::Newer { found: 99, .. })));
    }
}

#[test]
fn what_is_no_ledger_is_refused_and_left_as_it_is() {
    let place = Place::new();
    std::fs::write(place.path(), b"this is no database, but it is long enough to be taken for one".repeat(100))
        .unwrap();
    assert!(matches!(refused(&place), OpenError::Unreadable { .. }));
    assert!(Reader::open(&place.path()).is_err());

    let place = Place::new();
    Connection::open(place.path()).unwrap().execute_batch("CREATE TABLE contacts (name TEXT)").unwrap();
    assert!(matches!(refused(&place), OpenError::Foreign { .. }));
}

#[tokio::test]
async fn a_failure_of_the_first_ledgers_leaves_it_open_whether_its_task_is_over() {
    let place = Place::new();
    let failed = job(1, State::Failed { failure: failure(Reason::TaskGone) });
    let (ledger, _) = place.open();
    ledger.write(insert(&failed)).await.unwrap();
    drop(ledger);
    let connection = Connection::open(place.path()).unwrap();
    connection.busy_timeout(BUSY).unwrap();
    let changed = connection.execute("UPDATE job SET detail = json_remove(detail, '$.failure.task_over')", []).unwrap();
    assert_eq!(changed, 1);
    let read = place.reader().job(failed.id).unwrap().unwrap();
    let failure = Failure { task_over: false, ..failure(Reason::TaskGone) };
    assert_eq!(read, Job { state: State::Failed { failure }, ..failed });
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_refused() {
    let place = Place::new();
    let (ledger, _) = place.open();
    ledger.write(insert(&queued(1))).await.unwrap();
    drop(ledger);
    let connection = Connection::open(place.path()).unwrap();
    connection.busy_timeout(BUSY).unwrap();
    connection.execute("UPDATE job SET detail = '{\"state\":\"unheard_of\"}'", []).unwrap();
    drop(connection);
    assert!(matches!(Ledger::open(&place.path()), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_ledger_in_a_folder_that_is_not_there_is_not_made() {
    let place = Place::new();
    let path = place.dir.path().join("none/ledger.db");
    assert!(matches!(Ledger::open(&path), Err(OpenError::Unmakeable { .. })));
    assert!(matches!(Reader::open(&path), Ok(None)));
}

#[tokio::test]
async fn a_reader_works_before_during_and_after_the_writer() {
    let place = Place::new();
    assert!(Reader::open(&place.path()).unwrap().is_none());
    assert!(!place.path().exists(), "a reader makes nothing");
    std::fs::write(place.path(), b"").unwrap();
    assert!(Reader::open(&place.path()).unwrap().is_none(), "what a crash left of a first start");
    let (ledger, _) = place.open();
    let early = place.reader();
    ledger.write(insert(&queued(1))).await.unwrap();
    assert_eq!(early.live().unwrap().len(), 1);
    drop(ledger);
    assert_eq!(early.live().unwrap().len(), 1);
    drop(early);
    assert_eq!(place.reader().live().unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_else_may_read_the_ledger() {
    let place = Place::new();
    let (ledger, _) = place.open();
    ledger.write(insert(&queued(1))).await.unwrap();
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let mode = std::fs::metadata(place.dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}
