//! The index alone, on instants that the tests make up.

use proptest::prelude::*;

use super::*;
use crate::daemon::intake::verdict::{Finding, PairVerdict, WaitingReason};
use crate::spool::settle::Shape;

const QUIET: Duration = Duration::from_millis(250);
const SETTLE: Duration = Duration::from_secs(2);
const INCOMPLETE: Duration = Duration::from_secs(600);
const ORPHAN: Duration = Duration::from_secs(3_600);

/// An index on a clock of its own.
struct Bench {
    index: Index,
    now: Instant,
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a test's name is a name")
}

fn split(path: &str) -> (Folder, FileName) {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    (Folder::new(folder).expect("a test's folder is a folder"), name(file))
}

fn identity(inode: u64, size: u64) -> Identity {
    Identity { device: 1, inode, size, mtime_ns: 0, ctime_ns: 0 }
}

fn good(priority: i64) -> Finding {
    Finding::Good { priority, picture: None }
}

fn bad() -> Bad {
    Bad { reason: BadReason::InvalidSidecar, problems: Vec::new() }
}

impl Bench {
    fn new() -> Self {
        let rests = Rests { quiet: QUIET, settle: SETTLE, incomplete_after: INCOMPLETE };
        Self { index: Index::new(Times { rests, orphan_after: Some(ORPHAN) }), now: Instant::now() }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.index.tick(self.now);
    }

    fn hint(&mut self, path: &str, hint: Hint, inode: u64) {
        let (folder, file) = split(path);
        self.index.saw(&folder, &file, Some(hint), identity(inode, 9), self.now, self.now);
    }

    fn scan(&mut self, path: &str, inode: u64) -> bool {
        let (folder, file) = split(path);
        self.index.scanned(&folder, &file, identity(inode, 9), self.now, self.now)
    }

    fn lost(&mut self, path: &str) {
        let (folder, file) = split(path);
        self.index.lost(&folder, &file, self.now);
    }

    /// Judges the next grouping; `false` if there is none to judge.
    fn judge(&mut self, finding: Finding) -> bool {
        let Some(asked) = self.index.next_to_judge() else { return false };
        self.index.judged(&asked, finding, self.now);
        true
    }

    /// A pair moved in and found good.
    fn ready(&mut self, stem: &str, inode: u64, priority: i64) {
        self.hint(&format!("{stem}.jpg"), Hint::MovedIn, inode);
        self.hint(&format!("{stem}.yaml"), Hint::MovedIn, inode + 1);
        assert!(self.judge(good(priority)));
    }

    fn take(&mut self) -> Option<String> {
        self.index.take().map(|pair| pair.name.to_string())
    }

    fn reasons(&self) -> Vec<String> {
        self.index.listing().map(|standing| format!("{} {}", standing.pair, standing.reason.label())).collect()
    }
}

#[test]
fn a_pair_moved_in_is_judged_and_ready_at_once() {
    let mut bench = Bench::new();
    bench.hint("cat.jpg", Hint::MovedIn, 1);
    assert_eq!(bench.reasons(), ["cat half"]);
    assert!(!bench.judge(good(0)));
    bench.hint("cat.yaml", Hint::MovedIn, 2);
    assert!(bench.judge(good(0)));
    let pair = bench.index.take().expect("ready");
    assert_eq!(pair.picture.map(|seen| seen.name), Some(name("cat.jpg")));
    assert_eq!(pair.sidecar.map(|seen| seen.name), Some(name("cat.yaml")));
}

#[test]
fn a_closed_pair_waits_for_quiet_and_any_event_starts_it_anew() {
    let mut bench = Bench::new();
    bench.hint("cat.jpg", Hint::Closed, 1);
    bench.hint("cat.yaml", Hint::Closed, 2);
    bench.pass(QUIET / 2);
    assert!(!bench.judge(good(0)));
    bench.hint("cat.yaml", Hint::Closed, 2);
    bench.pass(QUIET / 2);
    assert!(!bench.judge(good(0)), "the second close must start the rest anew");
    bench.pass(QUIET / 2);
    assert!(bench.judge(good(0)));
    assert_eq!(bench.take().as_deref(), Some("cat"));
}

#[test]
fn a_scanned_pair_rests_for_settle_and_one_being_written_for_long() {
    let mut bench = Bench::new();
    assert!(bench.scan("a.jpg", 1));
    assert!(bench.scan("a.yaml", 2));
    bench.hint("b.jpg", Hint::Wrote, 3);
    bench.hint("b.yaml", Hint::Closed, 4);
    bench.pass(SETTLE);
    assert!(bench.judge(good(0)));
    assert!(!bench.judge(good(0)));
    assert_eq!(bench.reasons(), ["a turn", "b settling"]);
    bench.pass(INCOMPLETE);
    assert!(bench.judge(good(0)));
}

#[test]
fn what_is_unfinished_is_judged_again_and_then_rejected() {
    let unfinished = |picture, sidecar| Finding::Unfinished { picture, sidecar, bad: bad() };
    for (picture, sidecar, rest) in [
        (Shape::Unfinished, Shape::Whole, INCOMPLETE),
        (Shape::Whole, Shape::Unparsed, SETTLE),
        (Shape::Unfinished, Shape::Unparsed, INCOMPLETE),
    ] {
        let mut bench = Bench::new();
        bench.hint("cat.jpg", Hint::MovedIn, 1);
        bench.hint("cat.yaml", Hint::MovedIn, 2);
        assert!(bench.judge(unfinished(picture, sidecar)));
        bench.pass(rest - Duration::from_millis(1));
        assert!(!bench.judge(unfinished(picture, sidecar)), "{picture:?} {sidecar:?}");
        assert!(bench.index.take_bad().is_none());
        bench.pass(Duration::from_millis(1));
        assert!(bench.judge(unfinished(picture, sidecar)));
        assert!(bench.index.take_bad().is_some());
    }
}

#[test]
fn an_unfinished_picture_that_is_completed_goes_on() {
    let mut bench = Bench::new();
    bench.hint("cat.jpg", Hint::MovedIn, 1);
    bench.hint("cat.yaml", Hint::MovedIn, 2);
    assert!(bench.judge(Finding::Unfinished { picture: Shape::Unfinished, sidecar: Shape::Whole, bad: bad() }));
    bench.pass(QUIET);
    bench.hint("cat.jpg", Hint::Closed, 1);
    bench.pass(QUIET);
    assert!(bench.judge(good(0)));
    assert_eq!(bench.take().as_deref(), Some("cat"));
}

#[test]
fn an_empty_file_waits_and_says_so() {
    let mut bench = Bench::new();
    let (folder, file) = split("cat.jpg");
    bench.index.saw(&folder, &file, Some(Hint::MovedIn), identity(1, 0), bench.now, bench.now);
    bench.hint("cat.yaml", Hint::MovedIn, 2);
    assert_eq!(bench.reasons(), ["cat empty"]);
    assert!(!bench.judge(good(0)));
    bench.pass(INCOMPLETE);
    assert!(bench.judge(Finding::Bad(bad())));
}

#[test]
fn a_finding_about_files_that_have_changed_since_is_passed_over() {
    let mut bench = Bench::new();
    bench.hint("cat.jpg", Hint::MovedIn, 1);
    bench.hint("cat.yaml", Hint::MovedIn, 2);
    let asked = bench.index.next_to_judge().expect("complete");
    bench.hint("cat.jpg", Hint::MovedIn, 3);
    bench.index.judged(&asked, good(0), bench.now);
    assert_eq!(bench.take(), None);
    assert!(bench.judge(good(0)));
    assert_eq!(bench.take().as_deref(), Some("cat"));
}

#[test]
fn a_ready_pair_that_is_touched_must_rest_again() {
    let mut bench = Bench::new();
    bench.ready("cat", 1, 0);
    bench.hint("cat.yaml", Hint::Closed, 2);
    assert_eq!(bench.take(), None);
    bench.pass(QUIET);
    assert!(bench.judge(good(0)));
    assert_eq!(bench.take().as_deref(), Some("cat"));
}

#[test]
fn a_third_file_makes_a_ready_pair_ambiguous_and_its_going_mends_it() {
    let mut bench = Bench::new();
    bench.ready("cat", 1, 0);
    bench.hint("cat.png", Hint::MovedIn, 9);
    assert_eq!(bench.take(), None);
    assert_eq!(bench.reasons(), ["cat ambiguous"]);
    bench.lost("cat.png");
    assert!(bench.judge(good(0)));
    assert_eq!(bench.take().as_deref(), Some("cat"));
}

#[test]
fn what_is_claimed_is_not_offered_twice_and_a_new_drop_waits_for_its_end() {
    let mut bench = Bench::new();
    bench.ready("cat", 1, 0);
    let pair = bench.index.take().expect("ready");
    // A rescan still sees the files, and then the claim moves them.
    assert!(bench.scan("cat.jpg", 1) && bench.scan("cat.yaml", 2));
    assert_eq!(bench.take(), None);
    bench.lost("cat.jpg");
    bench.lost("cat.yaml");
    // Meanwhile somebody drops another pair under the same names.
    bench.hint("cat.jpg", Hint::MovedIn, 11);
    bench.hint("cat.yaml", Hint::MovedIn, 12);
    assert!(!bench.judge(good(0)));
    let again = bench.index.claim_ended(&pair, true, bench.now);
    assert_eq!(again.len(), 2);
    assert!(bench.judge(good(0)));
    let second = bench.index.take().expect("the new pair");
    assert_eq!(second.picture.map(|seen| seen.identity.inode), Some(11));
}

#[test]
fn a_claim_that_failed_rests_before_it_is_offered_again() {
    let mut bench = Bench::new();
    bench.ready("cat", 1, 0);
    let pair = bench.index.take().expect("ready");
    bench.index.claim_ended(&pair, false, bench.now);
    assert!(!bench.judge(good(0)));
    bench.pass(SETTLE);
    assert!(bench.judge(good(0)));
    assert_eq!(bench.take().as_deref(), Some("cat"));
}

#[test]
fn a_claim_that_ended_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.ready("cat", 1, 0);
    let pair = bench.index.take().expect("ready");
    bench.index.claim_ended(&pair, true, bench.now);
    assert!(bench.index.groups.is_empty());
    assert!(bench.index.timers.is_empty());
    assert_eq!(bench.index.counts(), Counts::default());
}

#[test]
fn the_order_is_priority_then_folders_in_turn_then_age() {
    let mut bench = Bench::new();
    for (stem, inode, priority) in
        [("a/1", 10, 0), ("a/2", 20, 0), ("b/deep/3", 30, 0), ("4", 40, 0), ("a/5", 50, 9), ("b/6", 60, -1)]
    {
        bench.ready(stem, inode, priority);
        bench.now += Duration::from_secs(1);
    }
    let taken: Vec<String> = std::iter::from_fn(|| bench.take()).collect();
    assert_eq!(taken, ["a/5", "4", "a/1", "b/deep/3", "a/2", "b/6"]);
}

#[test]
fn halves_and_ambiguities_go_when_their_time_is_up_all_pieces_together() {
    let mut bench = Bench::new();
    for (inode, file) in ["half.jpg", "two.jpg", "two.png", "two.yaml", "two.yml"].into_iter().enumerate() {
        bench.hint(file, Hint::MovedIn, inode as u64);
    }
    assert_eq!(bench.reasons(), ["half half", "two ambiguous"]);
    bench.pass(ORPHAN);
    let mut taken = Vec::new();
    while let Some(pair) = bench.index.take_bad() {
        let PairVerdict::Bad(bad) = &pair.verdict else { panic!("an orphan is bad") };
        let files: Vec<String> = pair.files().map(|seen| seen.name.to_string()).collect();
        taken.push(format!("{} {}", bad.reason.label(), files.join("+")));
        if bad.reason == BadReason::AmbiguousPair {
            // A piece is gone: what is left must not become a pair.
            bench.index.claim_ended(&pair, true, bench.now);
            assert!(!bench.judge(good(0)));
            assert_eq!(pair.name.to_string(), files[0], "called by its whole name");
        }
    }
    let pieces = ["two.yaml", "two.yml", "two.jpg", "two.png"].map(|name| format!("ambiguous_pair {name}"));
    assert_eq!(taken, [&["orphan half.jpg".to_owned()][..], &pieces].concat());
    assert!(!bench.judge(good(0)));
}

#[test]
fn a_sidecar_alone_is_half_unless_it_names_an_address() {
    let mut bench = Bench::new();
    bench.hint("half.yaml", Hint::MovedIn, 1);
    assert!(bench.judge(Finding::Half));
    bench.hint("whole.yaml", Hint::MovedIn, 2);
    assert!(bench.judge(good(0)));
    assert_eq!(bench.reasons(), ["half half", "whole turn"]);
    bench.hint("half.jpg", Hint::MovedIn, 3);
    assert!(bench.judge(good(0)));
    assert_eq!(bench.index.counts().ready, 2);
}

#[test]
fn twins_with_exact_sidecars_are_two_pairs() {
    let mut bench = Bench::new();
    for (inode, file) in ["cat.jpg", "cat.png", "cat.jpg.yaml", "cat.png.yaml"].into_iter().enumerate() {
        bench.hint(file, Hint::MovedIn, inode as u64);
    }
    assert!(bench.judge(good(0)) && bench.judge(good(0)));
    assert_eq!(bench.take().as_deref(), Some("cat.jpg"));
    assert_eq!(bench.take().as_deref(), Some("cat.png"));
}

#[test]
fn a_full_scan_drops_what_it_did_not_see_and_tries_the_stuck_again() {
    let mut bench = Bench::new();
    bench.ready("gone", 1, 0);
    bench.hint("locked.jpg", Hint::MovedIn, 3);
    bench.hint("locked.yaml", Hint::MovedIn, 4);
    assert!(bench.judge(Finding::Stuck(WaitingReason::Unmovable { why: "closed".to_owned() })));
    assert_eq!(bench.reasons(), ["gone turn", "locked unmovable"]);
    bench.index.begin_scan();
    assert!(bench.scan("locked.jpg", 3) && bench.scan("locked.yaml", 4));
    bench.index.end_scan(bench.now);
    assert!(bench.judge(good(0)));
    assert_eq!(bench.reasons(), ["locked turn"]);
}

#[test]
fn a_scan_that_disagrees_asks_for_a_fresh_look() {
    let mut bench = Bench::new();
    bench.ready("cat", 1, 0);
    assert!(!bench.scan("cat.jpg", 77), "the scan's sight may be older than the event's");
    assert_eq!(bench.index.counts().ready, 1);
}

#[test]
fn a_lost_folder_takes_what_lies_beneath_and_nothing_else() {
    let mut bench = Bench::new();
    for (place, stem) in ["a/x", "a/b/x", "a/b/c/x", "a/b-c/x", "a/bb/x", "ab/x"].into_iter().enumerate() {
        bench.ready(stem, 10 * place as u64, 0);
    }
    bench.index.lost_folder(&Folder::new("a/b").expect("a folder"), bench.now);
    assert_eq!(bench.reasons(), ["a/x turn", "a/b-c/x turn", "a/bb/x turn", "ab/x turn"]);
}

#[test]
fn a_file_whose_close_was_lost_does_not_wait_as_one_being_written() {
    let mut bench = Bench::new();
    bench.hint("cat.jpg", Hint::Wrote, 1);
    bench.hint("cat.yaml", Hint::MovedIn, 2);
    bench.index.events_lost(bench.now);
    bench.pass(SETTLE);
    assert!(bench.judge(good(0)));
}

#[test]
fn fresh_drops_are_judged_before_a_backlog() {
    let mut bench = Bench::new();
    for number in 0..5 {
        assert!(bench.scan(&format!("old{number}.jpg"), 10 * number));
        assert!(bench.scan(&format!("old{number}.yaml"), 10 * number + 1));
    }
    bench.pass(SETTLE);
    bench.hint("new.jpg", Hint::MovedIn, 1_000);
    bench.hint("new.yaml", Hint::MovedIn, 1_001);
    let first = bench.index.next_to_judge().expect("six wait");
    assert_eq!(first.sidecar.name, name("new.yaml"));
}

#[test]
fn a_reload_judges_everything_again() {
    let mut bench = Bench::new();
    bench.ready("cat", 1, 0);
    let times = bench.index.times;
    bench.index.reload(times, bench.now);
    assert_eq!(bench.take(), None);
    assert!(bench.judge(Finding::Bad(bad())));
    assert!(bench.index.take_bad().is_some());
}

/// What may happen to an index.
#[derive(Clone, Debug)]
enum Act {
    Hint(usize, Hint, u64, u64),
    Scan(usize, u64),
    Lost(usize),
    LostFolder,
    FullScan,
    EventsLost,
    Pass(u64),
    Judge(u8),
    Take,
    TakeBad,
    EndClaim(bool),
}

const PATHS: [&str; 7] = ["a.jpg", "a.png", "a.yaml", "a.yml", "a.jpg.yaml", "f/a.jpg", "f/a.yaml"];

fn act() -> impl Strategy<Value = Act> {
    let hint = prop_oneof![
        Just(Hint::MovedIn),
        Just(Hint::Closed),
        Just(Hint::Wrote),
        Just(Hint::Created),
        Just(Hint::Touched)
    ];
    let path = 0..PATHS.len();
    prop_oneof![
        6 => (path.clone(), hint, 0_u64..3, 0_u64..2).prop_map(|(p, h, i, s)| Act::Hint(p, h, i, s)),
        2 => (path.clone(), 0_u64..3).prop_map(|(p, i)| Act::Scan(p, i)),
        2 => path.prop_map(Act::Lost),
        1 => Just(Act::LostFolder),
        1 => Just(Act::FullScan),
        1 => Just(Act::EventsLost),
        3 => prop_oneof![Just(1), Just(250), Just(2_000), Just(600_000), Just(3_600_000)].prop_map(Act::Pass),
        6 => (0_u8..6).prop_map(Act::Judge),
        2 => Just(Act::Take),
        2 => Just(Act::TakeBad),
        3 => any::<bool>().prop_map(Act::EndClaim),
    ]
}

/// Everything that must hold between any two acts.
fn check(bench: &Bench, claims: &[ReadyPair]) {
    let index = &bench.index;
    let mut counts = Counts::default();
    for (key, group) in &index.groups {
        assert!(!group.files.is_empty() || !group.claimed.is_empty(), "{key:?} is empty");
        let mut placed = 0;
        for unit in &group.units {
            *counts.of(&unit.state) += 1;
            placed += unit.members.all().count();
            let queued =
                |queue: &VecDeque<(Arc<GroupKey>, Members)>| queue.contains(&(Arc::clone(key), unit.members.clone()));
            let moving = match &unit.state {
                State::Settling { .. } | State::Unfinished { .. } | State::Half { .. } | State::Ambiguous { .. } => {
                    group.due.is_some_and(|due| unit.state.due().is_some_and(|own| due <= own))
                        && index.timers.contains(&(group.due.expect("just seen"), Arc::clone(key)))
                }
                State::Judging { started: false } => queued(&index.urgent) || queued(&index.patient),
                State::Judging { started: true } | State::Stuck(_) => true,
                State::Ready { age, priority, .. } => {
                    let item = (Arc::clone(key), unit.members.sidecars()[0]);
                    index.order.holds(&key.place(*priority, *age), item)
                }
                State::Bad(_) => queued(&index.bad),
                State::Held => !group.claimed.is_empty(),
            };
            assert!(moving, "{key:?} waits for nothing: {:?}", unit.state);
        }
        assert_eq!(placed, group.files.len(), "{key:?} has files outside any grouping, or in two");
    }
    assert_eq!(counts, index.counts());
    let claimed: usize = index.groups.values().map(|group| group.claimed.len()).sum();
    let expected: usize = claims.iter().chain(&index.pieces).map(|pair| pair.files().count()).sum();
    assert_eq!(claimed, expected);
    for (at, one) in claims.iter().enumerate() {
        for other in &claims[at + 1..] {
            let shared =
                one.files().any(|a| one.name.folder == other.name.folder && other.files().any(|b| a.name == b.name));
            assert!(!shared, "{} was offered twice", one.name);
        }
    }
}

proptest! {
    #[test]
    fn nothing_waits_without_a_way_on_and_nothing_is_offered_twice(acts in prop::collection::vec(act(), 1..60)) {
        let mut bench = Bench::new();
        let mut claims: Vec<ReadyPair> = Vec::new();
        for act in acts {
            match act {
                Act::Hint(path, hint, inode, size) => {
                    let (folder, file) = split(PATHS[path]);
                    let inode = path as u64 * 100 + inode;
                    bench.index.saw(&folder, &file, Some(hint), identity(inode, size), bench.now, bench.now);
                }
                Act::Scan(path, inode) => {
                    bench.scan(PATHS[path], path as u64 * 100 + inode);
                }
                Act::Lost(path) => bench.lost(PATHS[path]),
                Act::LostFolder => bench.index.lost_folder(&Folder::new("f").expect("a folder"), bench.now),
                Act::FullScan => {
                    bench.index.begin_scan();
                    bench.scan(PATHS[2], 202);
                    bench.index.end_scan(bench.now);
                }
                Act::EventsLost => bench.index.events_lost(bench.now),
                Act::Pass(millis) => bench.pass(Duration::from_millis(millis)),
                Act::Judge(kind) => {
                    bench.judge(match kind {
                        0 | 1 => good(i64::from(kind)),
                        2 => Finding::Bad(bad()),
                        3 => Finding::Unfinished { picture: Shape::Unfinished, sidecar: Shape::Whole, bad: bad() },
                        4 => Finding::Stuck(WaitingReason::Unmovable { why: "closed".to_owned() }),
                        _ => Finding::Changed,
                    });
                }
                Act::Take => claims.extend(bench.index.take()),
                Act::TakeBad => claims.extend(bench.index.take_bad()),
                Act::EndClaim(gone) => {
                    if let Some(pair) = claims.pop() {
                        bench.index.claim_ended(&pair, gone, bench.now);
                    }
                }
            }
            check(&bench, &claims);
        }
    }
}
