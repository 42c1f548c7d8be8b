//! What is to be done next, and what each answer means, as tables.

use super::*;
use crate::job::failure::{Charged, Doubt, Reason, Stage};
use crate::job::state::{Finish, Publication, Rejection, Video};
use crate::job::{Account, AspectRatio, Failure, FileName, Folder, Input, JobId, PairName, Request, TaskId, VideoLink};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a test's name is a name")
}

fn task() -> Task {
    Task {
        task_id: TaskId::new("7").expect("an identifier"),
        request_id: None,
        account: Account { base_url: "https://api.example".to_owned(), token_fingerprint: "00".to_owned() },
        submitted_at: at(0),
    }
}

fn job(seed: Seed, attempts: u32, state: State) -> Job {
    Job {
        id: JobId::parse("0192e4a0-0000-7000-8000-0000deadbeef").expect("an identifier"),
        pair: PairName { folder: Folder::root(), stem: name("cat") },
        input: Input { sidecar: None, picture: None, shown: None },
        request: Some(Request { prompt: "a cat".to_owned(), aspect_ratio: AspectRatio::R16x9, seed, image_url: None }),
        priority: 0,
        earlier: None,
        claimed_at: at(0),
        sends: attempts,
        attempts,
        charges: attempts,
        state,
        since: at(0),
    }
}

fn policy(extra_attempts: u32) -> Policy {
    Policy { extra_attempts, resubmit_in_doubt: false, give_up_after: Duration::from_secs(43_200) }
}

/// A task that this run has submitted so many seconds ago.
fn watched(seconds: u64) -> Age {
    Age { before: Duration::ZERO, watched: Duration::from_secs(seconds) }
}

const FIXED: Seed = Seed::Fixed(42);
const DRAWN: Seed = Seed::Drawn(42);

#[test]
fn a_refused_submission_is_ruled_by_its_code_and_by_what_was_tried() {
    use Ruling::{AnotherAttempt, Fail, Fewer, PauseAccount, SlowDown};
    // Code, seed, attempts counted before this one, extra attempts allowed.
    let cases = [
        (50_412, DRAWN, 0, 1, Fail),
        (50_215, DRAWN, 0, 1, Fail),
        (50_200, DRAWN, 0, 9, Fail),
        (50_204, DRAWN, 0, 9, PauseAccount),
        (50_429, DRAWN, 0, 0, SlowDown),
        (50_430, FIXED, 9, 0, Fewer),
        (50_400, DRAWN, 0, 1, PauseAccount),
        (50_500, DRAWN, 0, 0, Fail),
        (50_500, DRAWN, 0, 1, AnotherAttempt),
        (50_500, DRAWN, 1, 1, Fail),
        (50_516, DRAWN, 1, 2, AnotherAttempt),
        (50_516, DRAWN, 2, 2, Fail),
        (50_516, FIXED, 0, 5, Fail),
        (50_511, Seed::Api, 0, 1, AnotherAttempt),
        (50_599, DRAWN, 0, 1, AnotherAttempt),
        (59_999, DRAWN, 0, 1, Fail),
    ];
    for (code, seed, attempts, extra, ruling) in cases {
        let job = job(seed, attempts, State::Submitting);
        assert_eq!(on_submit(&job, BusinessCode(code), &policy(extra)), ruling, "{code} {seed:?} {attempts} {extra}");
    }
}

#[test]
fn a_code_given_to_a_poll_is_ruled_by_the_age_of_its_task_too() {
    use Ruling::{AnotherAttempt, AskAgain, Fail, PauseAccount, SlowDown};
    // Code, seed, attempts counted (this one among them), extra attempts, seconds since the submission.
    let cases = [
        (50_215, DRAWN, 1, 1, 0, AskAgain),
        (50_215, DRAWN, 1, 1, 29, AskAgain),
        (50_215, DRAWN, 1, 1, 30, Fail),
        (50_412, DRAWN, 1, 1, 0, Fail),
        (50_429, DRAWN, 1, 1, 60, SlowDown),
        (50_430, FIXED, 9, 0, 60, SlowDown),
        (50_400, DRAWN, 1, 1, 60, PauseAccount),
        (50_500, DRAWN, 1, 0, 60, Fail),
        (50_500, DRAWN, 1, 1, 60, AnotherAttempt),
        (50_500, DRAWN, 2, 1, 60, Fail),
        (50_500, FIXED, 1, 1, 60, Fail),
        (50_519, Seed::Api, 1, 1, 60, AnotherAttempt),
    ];
    for (code, seed, attempts, extra, age, ruling) in cases {
        let job = job(seed, attempts, State::Submitted { task: task(), finish: None, ask_at: None });
        let got = on_poll(&job, watched(age), BusinessCode(code), &policy(extra));
        assert_eq!(got, ruling, "{code} {seed:?} {attempts} {extra} {age}");
    }
}

#[test]
fn a_ruling_has_a_word_and_a_task_lives_for_half_a_day() {
    use Ruling::{AnotherAttempt, AskAgain, Fail, Fewer, PauseAccount, SlowDown};
    let words = [Fail, AnotherAttempt, SlowDown, Fewer, PauseAccount, AskAgain].map(Ruling::label);
    assert_eq!(words, ["reject", "another_attempt", "slow_down", "fewer", "pause_account", "ask_again"]);
    assert_eq!(TASK_LIFE, Duration::from_secs(43_200));
}

#[test]
fn a_video_that_was_seen_done_is_not_paid_for_again() {
    let finish = Some(Finish { done_at: at(0), bad_links: 1 });
    let made = job(DRAWN, 1, State::Submitted { task: task(), finish, ask_at: None });
    let long = 13 * 60 * 60;
    for (code, early, late) in [
        (50_500, Ruling::AskAgain, Ruling::Fail),
        (50_519, Ruling::AskAgain, Ruling::Fail),
        (50_599, Ruling::AskAgain, Ruling::Fail),
        (50_412, Ruling::AskAgain, Ruling::Fail),
        (50_520, Ruling::AskAgain, Ruling::Fail),
        (50_215, Ruling::Fail, Ruling::Fail),
        (50_429, Ruling::SlowDown, Ruling::SlowDown),
        (50_400, Ruling::PauseAccount, Ruling::PauseAccount),
    ] {
        for (age, ruling) in [(60, early), (long, late)] {
            assert_eq!(on_poll(&made, watched(age), BusinessCode(code), &policy(9)), ruling, "{code} after {age} s");
        }
    }
}

#[test]
fn a_task_is_young_for_half_a_minute_and_never_once_it_is_overdue() {
    let short = Policy { give_up_after: Duration::from_secs(2), ..policy(0) };
    for (seconds, usual, soon_overdue) in
        [(0, true, true), (1, true, true), (2, true, false), (29, true, false), (30, false, false)]
    {
        assert_eq!(watched(seconds).is_young(&policy(0)), usual, "{seconds} s");
        assert_eq!(watched(seconds).is_young(&short), soon_overdue, "{seconds} s, overdue after 2 s");
    }
}

#[test]
fn the_wall_clock_is_believed_about_the_time_before_and_never_alone_if_a_video_may_be_lost() {
    for (submitted, says, before) in [(0, 7, 7), (7, 0, 0)] {
        let task = Task { submitted_at: at(submitted), ..task() };
        assert_eq!(age(&task, at(says)), Duration::from_secs(before));
    }
    let short = Policy { give_up_after: Duration::from_secs(2), ..policy(0) };
    // Seconds before this run and in it; whether it is overdue and may be given up after 12 hours, and after 2 seconds.
    for (before, in_run, usual, soon) in [
        (0, 2, (false, false), (false, false)),
        (0, 3, (false, false), (true, true)),
        (0, 43_200, (false, false), (true, true)),
        (0, 43_201, (true, true), (true, true)),
        (1, 1, (false, false), (false, false)),
        (2, 1, (false, false), (true, false)),
        (86_400, 0, (true, false), (true, false)),
        (86_400, 2, (true, false), (true, true)),
        (86_400, 3599, (true, false), (true, true)),
        (86_400, 3600, (true, true), (true, true)),
    ] {
        let age = Age { before: Duration::from_secs(before), ..watched(in_run) };
        for (policy, wanted) in [(policy(0), usual), (short, soon)] {
            let found = (age.is_overdue(policy.give_up_after), age.may_be_given_up(&policy));
            assert_eq!(found, wanted, "{age:?} {:?}", policy.give_up_after);
        }
    }
}

#[test]
fn a_task_is_forgotten_beyond_the_memory_of_the_api_and_only_if_it_may_be_given_up() {
    let short = Policy { give_up_after: Duration::from_secs(2), ..policy(0) };
    // Seconds before this run and in it; whether it is forgotten if it may be given up after 12 hours, and after 2 seconds.
    for (before, in_run, usual, soon) in [
        (0, 3, false, false),
        (0, 43_200, false, false),
        (0, 43_201, true, true),
        (43_199, 1, false, false),
        (43_199, 2, false, true),
        (86_400, 1, false, false),
        (86_400, 2, false, true),
        (86_400, 3600, true, true),
    ] {
        let age = Age { before: Duration::from_secs(before), ..watched(in_run) };
        assert_eq!((age.is_forgotten(&policy(0)), age.is_forgotten(&short)), (usual, soon), "{age:?}");
    }
}

#[test]
fn a_job_without_a_request_gets_no_other_attempt() {
    let unread = Job { request: None, ..job(DRAWN, 0, State::Submitting) };
    assert_eq!(on_submit(&unread, BusinessCode(50_500), &policy(5)), Ruling::Fail);
}

#[test]
fn each_state_has_its_next_step() {
    let finish = Finish { done_at: at(5), bad_links: 0 };
    let video = Video { bytes: 5, sha256: "aa".to_owned(), width: None, height: None, seconds: None };
    let failure = Failure {
        reason: Reason::TaskGone,
        message: "gone".to_owned(),
        stage: Stage::Poll,
        charged: Charged::Unknown,
        task: None,
        task_over: false,
        request_id: None,
        http_status: None,
        problems: vec![],
    };
    let rejection = Rejection { number: 1, former: vec![], failed_at: at(9) };
    let publication =
        Publication { temporary: name(".x.part"), outbox: (1, 2), number: 1, former: vec![], delivered_at: at(9) };
    let submitted = |finish, ask_at| State::Submitted { task: task(), finish, ask_at };
    let cases = [
        (State::Queued { not_before: None }, Next::Now(Step::Submit)),
        (State::Queued { not_before: Some(at(7)) }, Next::At(at(7), Step::Submit)),
        (State::Submitting, Next::Now(Step::Resolve)),
        (State::InDoubt { doubt: Doubt::unanswered("reset") }, Next::Now(Step::Resolve)),
        (submitted(None, None), Next::WhenLikely(Step::Poll)),
        (submitted(Some(finish), None), Next::Now(Step::Poll)),
        (submitted(None, Some(at(8))), Next::At(at(8), Step::Poll)),
        (submitted(Some(finish), Some(at(8))), Next::At(at(8), Step::Poll)),
        (State::Ready { task: task(), finish, link: VideoLink::new("l".to_owned()) }, Next::Now(Step::Download)),
        (State::Fetched { task: task(), finish, video: video.clone(), publication }, Next::Now(Step::Publish)),
        (State::Delivered { task: task(), finish, video, number: 1 }, Next::Finished),
        (State::Failing { failure: failure.clone(), rejection }, Next::Now(Step::Reject)),
        (State::Failed { failure }, Next::Finished),
    ];
    for (state, next) in cases {
        let label = state.label();
        assert_eq!(next_step(&job(DRAWN, 1, state)), next, "{label}");
    }
}

#[test]
fn only_a_drawn_seed_is_drawn_again() {
    assert_eq!(next_seed(FIXED, 9), FIXED);
    assert_eq!(next_seed(DRAWN, 9), Seed::Drawn(9));
    assert_eq!(next_seed(Seed::Api, 9), Seed::Api);
}
