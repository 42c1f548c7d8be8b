//! Every event in every state, and the names that come out of a pair.

use proptest::prelude::*;

use super::*;
use crate::job::failure::{Charged, Reason, Stage};
use crate::job::{Account, AspectRatio, Folder, TaskId};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a test's name is a name")
}

fn task(id: &str) -> Task {
    Task {
        task_id: TaskId::new(id).expect("an identifier"),
        request_id: Some("r".to_owned()),
        account: Account { base_url: "https://api.example".to_owned(), token_fingerprint: "00".to_owned() },
        submitted_at: at(1),
    }
}

fn video() -> Video {
    Video { bytes: 5, sha256: "aa".to_owned(), width: Some(2), height: Some(1), seconds: Some(5.0) }
}

fn publication() -> Publication {
    Publication { temporary: name(".x.part"), outbox: (1, 2), number: 1, former: vec![], delivered_at: at(9) }
}

fn rejection() -> Rejection {
    Rejection { number: 1, former: vec![], failed_at: at(9) }
}

fn failure() -> Failure {
    Failure {
        reason: Reason::TaskGone,
        message: "gone".to_owned(),
        stage: Stage::Poll,
        charged: Charged::Unknown,
        task: Some(task("7")),
        task_over: true,
        request_id: None,
        http_status: None,
        problems: vec![],
    }
}

fn finish(bad_links: u32) -> Finish {
    Finish { done_at: at(5), bad_links }
}

fn link() -> VideoLink {
    VideoLink::new("https://cdn.example/v.mp4".to_owned())
}

fn holder() -> JobId {
    JobId::parse("0192e4a0-0000-7000-8000-0000cafecafe").expect("an identifier")
}

fn job(state: State) -> Job {
    Job {
        id: JobId::parse("0192e4a0-0000-7000-8000-0000deadbeef").expect("an identifier"),
        pair: PairName { folder: Folder::root(), stem: name("cat") },
        input: Input {
            sidecar: Some(InputFile { name: name("cat.yaml"), bytes: 9, sha256: "bb".to_owned() }),
            picture: Some(InputFile { name: name("cat.jpg"), bytes: 8, sha256: "cc".to_owned() }),
            shown: Some((640, 480)),
        },
        request: Some(Request {
            prompt: "a cat".to_owned(),
            aspect_ratio: AspectRatio::R16x9,
            seed: Seed::Drawn(7),
            image_url: None,
        }),
        priority: 0,
        earlier: None,
        claimed_at: at(0),
        sends: 4,
        attempts: 2,
        charges: 1,
        state,
        since: at(0),
    }
}

/// One of each state, with what tells its data apart.
fn states() -> Vec<State> {
    vec![
        State::Queued { not_before: Some(at(3)) },
        State::Submitting,
        State::Submitted { task: task("7"), finish: None, ask_at: Some(at(4)) },
        State::Submitted { task: task("7"), finish: Some(finish(1)), ask_at: None },
        State::Ready { task: task("7"), finish: finish(1), link: link() },
        State::Fetched { task: task("7"), finish: finish(1), video: video(), publication: publication() },
        State::Delivered { task: task("7"), finish: finish(1), video: video(), number: 1 },
        State::InDoubt { doubt: Doubt::unanswered("reset") },
        State::Failing { failure: failure(), rejection: rejection() },
        State::Failed { failure: failure() },
    ]
}

/// One of each event.
fn events() -> Vec<Event> {
    vec![
        Event::Intended,
        Event::NotSent { not_before: Some(at(20)) },
        Event::Accepted { task: task("8"), holder: None },
        Event::Accepted { task: task("8"), holder: Some(holder()) },
        Event::OutcomeUnknown { doubt: Doubt::unanswered("timeout") },
        Event::SubmitAgain,
        Event::AnotherAttempt { seed: Seed::Drawn(9), not_before: None },
        Event::Done { link: link(), at: at(21) },
        Event::LinkStale,
        Event::LinkBad { at: at(22), ask_at: at(23) },
        Event::AskLater { ask_at: at(24) },
        Event::KnownAgain,
        Event::Fetched { video: video(), publication: publication() },
        Event::Renumbered { number: 3 },
        Event::Published,
        Event::Condemned { failure: failure(), rejection: rejection() },
        Event::Rejected,
    ]
}

/// What the table says: the state afterwards and what is added to `sends` and `attempts`; `None`: it cannot happen.
fn expected(state: &State, event: &Event) -> Option<(State, u32, u32)> {
    let submitted = |finish, ask_at| State::Submitted { task: task("7"), finish, ask_at };
    let failing = State::Failing { failure: failure(), rejection: rejection() };
    let renumbered = (3, vec![1]);
    let next = match (state.label(), event.label()) {
        ("queued", "intended") => (State::Submitting, 1, 0),
        ("submitting", "not sent") => (State::Queued { not_before: Some(at(20)) }, 0, 0),
        ("submitting", "accepted") if matches!(event, Event::Accepted { holder: Some(_), .. }) => {
            let message = "the API accepted it as task 8, which job 0192e4a0-0000-7000-8000-0000cafecafe has already";
            let doubt = Doubt { message: message.to_owned(), request_id: Some("r".to_owned()), http_status: None };
            (State::InDoubt { doubt }, 0, 1)
        }
        ("submitting", "accepted") => (State::Submitted { task: task("8"), finish: None, ask_at: None }, 0, 1),
        ("submitting", "outcome unknown") => (State::InDoubt { doubt: Doubt::unanswered("timeout") }, 0, 1),
        ("in_doubt", "submit again") => (State::Queued { not_before: None }, 0, 0),
        ("submitting", "another attempt") => (State::Queued { not_before: None }, 0, 1),
        ("submitted", "another attempt") => (State::Queued { not_before: None }, 0, 0),
        ("submitted", "done") => {
            let known = if matches!(state, State::Submitted { finish: Some(_), .. }) { at(5) } else { at(21) };
            let bad_links = u32::from(known == at(5));
            (State::Ready { task: task("7"), finish: Finish { done_at: known, bad_links }, link: link() }, 0, 0)
        }
        ("submitted", "ask later") => {
            let known = matches!(state, State::Submitted { finish: Some(_), .. }).then(|| finish(1));
            (submitted(known, Some(at(24))), 0, 0)
        }
        ("submitted", "known again") if matches!(state, State::Submitted { finish: None, ask_at: Some(_), .. }) => {
            (submitted(None, None), 0, 0)
        }
        ("submitted", "link bad") => match state {
            State::Submitted { finish: Some(_), .. } => (submitted(Some(finish(2)), Some(at(23))), 0, 0),
            _ => (submitted(Some(Finish { done_at: at(22), bad_links: 1 }), Some(at(23))), 0, 0),
        },
        ("ready" | "fetched", "link stale") => (submitted(Some(finish(1)), None), 0, 0),
        ("ready", "link bad") => (submitted(Some(finish(2)), Some(at(23))), 0, 0),
        ("ready", "fetched") => {
            (State::Fetched { task: task("7"), finish: finish(1), video: video(), publication: publication() }, 0, 0)
        }
        ("fetched", "renumbered") => {
            let publication = Publication { number: renumbered.0, former: renumbered.1, ..publication() };
            (State::Fetched { task: task("7"), finish: finish(1), video: video(), publication }, 0, 0)
        }
        ("fetched", "published") => {
            (State::Delivered { task: task("7"), finish: finish(1), video: video(), number: 1 }, 0, 0)
        }
        ("submitting", "condemned") => (failing, 0, 1),
        ("queued" | "submitted" | "ready" | "in_doubt", "condemned") => (failing, 0, 0),
        ("failing", "renumbered") => {
            let rejection = Rejection { number: renumbered.0, former: renumbered.1, ..rejection() };
            (State::Failing { failure: failure(), rejection }, 0, 0)
        }
        ("failing", "rejected") => (State::Failed { failure: failure() }, 0, 0),
        _ => return None,
    };
    Some(next)
}

#[test]
fn each_state_knows_what_each_event_makes_of_it() {
    let mut legal = 0;
    for state in states() {
        for event in events() {
            let before = job(state.clone());
            let kept = before.clone();
            let result = before.on(event.clone(), at(100));
            assert_eq!(before, kept, "a transition makes a new job");
            match expected(&state, &event) {
                Some((state, sends, attempts)) => {
                    legal += 1;
                    let mut wanted = Job { state, since: at(100), ..kept };
                    wanted.sends += sends;
                    wanted.attempts += attempts;
                    if matches!(event, Event::Accepted { .. } | Event::OutcomeUnknown { .. }) {
                        wanted.charges += 1;
                    }
                    if let (Event::AnotherAttempt { seed, .. }, Some(request)) = (&event, &mut wanted.request) {
                        request.seed = *seed;
                    }
                    assert_eq!(result, Ok(wanted), "{} while {}", event.label(), kept.state.label());
                }
                None => {
                    let illegal = IllegalEvent { job: kept.id, state: state.label(), event: event.label() };
                    assert_eq!(result, Err(illegal));
                }
            }
        }
    }
    assert_eq!(legal, 30, "the table has as many rows as the life of a job");
}

#[test]
fn a_job_without_a_request_is_never_intended() {
    let unread = Job { request: None, ..job(State::Queued { not_before: None }) };
    assert!(unread.on(Event::Intended, at(1)).is_err());
    assert!(unread.on(Event::Condemned { failure: failure(), rejection: rejection() }, at(1)).is_ok());
}

#[test]
fn states_say_whether_they_are_final_and_whether_they_take_a_slot() {
    for state in states() {
        let slot = matches!(&state, State::Submitting | State::Submitted { finish: None, ask_at: None, .. });
        assert_eq!(state.is_in_flight(), slot, "{}", state.label());
        assert_eq!(state.is_final(), ["delivered", "failed"].contains(&state.label()));
        let has_task = ["submitted", "ready", "fetched", "delivered"].contains(&state.label());
        assert_eq!(state.task().is_some(), has_task);
    }
}

#[test]
fn a_link_is_shown_nowhere() {
    let ready = job(State::Ready { task: task("7"), finish: finish(0), link: link() });
    assert!(!format!("{ready:?}").contains("cdn.example"));
}

proptest! {
    #[test]
    fn whatever_happens_nothing_is_forgotten_and_what_is_final_stays(
        first in prop::sample::select(states()),
        events in prop::collection::vec(prop::sample::select(events()), 0..60),
    ) {
        let mut job = job(first);
        for (n, event) in events.into_iter().enumerate() {
            let n = i64::try_from(n).expect("few");
            let Ok(next) = job.on(event.clone(), at(n)) else { continue };
            prop_assert!(next.sends >= job.sends && next.attempts >= job.attempts);
            prop_assert!(next.charges >= job.charges && next.charges <= next.attempts);
            prop_assert!(!job.state.is_final());
            prop_assert!((next.sends > job.sends) == matches!(event, Event::Intended));
            let from_submitting = job.state == State::Submitting;
            let to_queued = matches!(next.state, State::Queued { .. });
            if from_submitting && to_queued {
                let proof = matches!(event, Event::NotSent { .. } | Event::AnotherAttempt { .. });
                prop_assert!(proof);
            }
            // A request that may leave is always announced by a new number.
            if next.state == State::Submitting {
                prop_assert!(next.sends == job.sends + 1);
            }
            let same = (next.id, &next.pair, &next.input, next.claimed_at) == (job.id, &job.pair, &job.input, job.claimed_at);
            prop_assert!(same);
            job = next;
        }
    }
}

#[test]
fn names_fit_and_picture_sidecar_and_report_stay_together() {
    for letters in 1..252 {
        for number in [1, 2, 17, 99_999] {
            for (wide, exact) in [(false, false), (false, true), (true, false), (true, true)] {
                assert_together(letters, wide, exact, number);
            }
        }
    }
}

fn assert_together(letters: usize, wide: bool, exact: bool, number: u32) {
    let letters = if exact { letters.min(246) } else { letters.min(250) };
    let stem = if wide { "é".repeat(letters.div_ceil(2)) } else { "x".repeat(letters) };
    let picture = format!("{stem}.jpg");
    let stem = if exact { picture.clone() } else { stem };
    let sidecar = format!("{stem}.yaml");
    if sidecar.len() > 255 {
        return;
    }
    let (picture, sidecar) = (name(&picture), name(&sidecar));
    let names = Names::of(&name(&stem), Some(&picture), Some(&sidecar), number, "00112233");
    let new_picture = names.picture.expect("there is one").to_string();
    let new_sidecar = names.sidecar.expect("there is one").to_string();
    for name in [&names.video, &names.receipt, &names.report] {
        assert!(name.as_bytes().len() <= 255);
    }
    assert!(new_picture.len() <= 255 && new_sidecar.len() <= 255);
    if number == 1 {
        assert_eq!((&new_picture, &new_sidecar), (&picture.to_string(), &sidecar.to_string()));
        let (base, suffix) = match stem.strip_suffix(".jpg").filter(|_| exact) {
            Some(base) => (base, &b".jpg.error.yaml"[..]),
            None => (stem.as_str(), &b".error.yaml"[..]),
        };
        let report = name::derived(&name(base), 1, suffix, "00112233");
        assert_eq!(names.report, report, "only the report is cut, and no more than it must be");
    }
    // What they have in common is what makes them a pair again in the inbox.
    let stem = if exact { new_picture.as_str() } else { new_picture.strip_suffix(".jpg").expect("kept") };
    assert_eq!(new_sidecar, format!("{stem}.yaml"));
    if number > 1 {
        assert_eq!(names.report.to_string(), format!("{stem}.error.yaml"));
    }
}

#[test]
fn names_come_out_as_the_pair_was_named() {
    type Case =
        (&'static str, Option<&'static str>, Option<&'static str>, u32, [&'static str; 3], [Option<&'static str>; 2]);
    let cases: [Case; 11] = [
        (
            "cat",
            Some("cat.jpg"),
            Some("cat.yaml"),
            1,
            ["cat.mp4", "cat.receipt.yaml", "cat.error.yaml"],
            [Some("cat.jpg"), Some("cat.yaml")],
        ),
        (
            "cat",
            Some("cat.JPG"),
            Some("cat.YML"),
            2,
            ["cat (2).mp4", "cat (2).receipt.yaml", "cat (2).error.yaml"],
            [Some("cat (2).JPG"), Some("cat (2).YML")],
        ),
        (
            "cat.jpg",
            Some("cat.jpg"),
            Some("cat.jpg.yaml"),
            1,
            ["cat.jpg.mp4", "cat.jpg.receipt.yaml", "cat.jpg.error.yaml"],
            [Some("cat.jpg"), Some("cat.jpg.yaml")],
        ),
        (
            "cat.jpg",
            Some("cat.jpg"),
            Some("cat.jpg.yaml"),
            2,
            ["cat (2).jpg.mp4", "cat (2).jpg.receipt.yaml", "cat (2).jpg.error.yaml"],
            [Some("cat (2).jpg"), Some("cat (2).jpg.yaml")],
        ),
        (
            "cat",
            None,
            Some("cat.yaml"),
            3,
            ["cat (3).mp4", "cat (3).receipt.yaml", "cat (3).error.yaml"],
            [None, Some("cat (3).yaml")],
        ),
        (
            "cat",
            Some("cat.png"),
            None,
            2,
            ["cat (2).mp4", "cat (2).receipt.yaml", "cat (2).error.yaml"],
            [Some("cat (2).png"), None],
        ),
        (
            "a.b",
            Some("a.b.jpeg"),
            Some("a.b.yaml"),
            2,
            ["a.b (2).mp4", "a.b (2).receipt.yaml", "a.b (2).error.yaml"],
            [Some("a.b (2).jpeg"), Some("a.b (2).yaml")],
        ),
        // A picture whose name only looks like that of its sidecar keeps it.
        (
            "caf\u{e9}",
            Some("cafe\u{301}.jpg"),
            Some("caf\u{e9}.yaml"),
            1,
            ["caf\u{e9}.mp4", "caf\u{e9}.receipt.yaml", "caf\u{e9}.error.yaml"],
            [Some("cafe\u{301}.jpg"), Some("caf\u{e9}.yaml")],
        ),
        // The files of an ambiguity, each called by its whole name.
        (
            "cat.yaml",
            None,
            Some("cat.yaml"),
            1,
            ["cat.yaml.mp4", "cat.yaml.receipt.yaml", "cat.yaml.error.yaml"],
            [None, Some("cat.yaml")],
        ),
        (
            "cat.yaml",
            None,
            Some("cat.yaml"),
            2,
            ["cat (2).yaml.mp4", "cat (2).yaml.receipt.yaml", "cat (2).yaml.error.yaml"],
            [None, Some("cat (2).yaml")],
        ),
        (
            "cat.jpg",
            Some("cat.jpg"),
            None,
            2,
            ["cat (2).jpg.mp4", "cat (2).jpg.receipt.yaml", "cat (2).jpg.error.yaml"],
            [Some("cat (2).jpg"), None],
        ),
    ];
    for (stem, picture, sidecar, number, [video, receipt, report], [new_picture, new_sidecar]) in cases {
        let (picture, sidecar) = (picture.map(name), sidecar.map(name));
        let names = Names::of(&name(stem), picture.as_ref(), sidecar.as_ref(), number, "00112233");
        let wanted = Names {
            video: name(video),
            receipt: name(receipt),
            report: name(report),
            sidecar: new_sidecar.map(name),
            picture: new_picture.map(name),
        };
        assert_eq!(names, wanted);
    }
}
