//! Killed at each effect, and each effect failing: loops that move the fault to the next place until no place is left.
//!
//! The program numbers its effects on the world (`src/world`). A loop plays a [`Scenario`] for `i = 1, 2, 3 …`, each time in a
//! world of its own, does something to effect `i`, lets the program finish, and checks all promises; it ends with the first run
//! that has no effect `i` any more.
//!
//! - `each_crash`: the program is stopped dead at effect `i`, in the middle of a write or before anything else.
//! - `each_error`: effect `i` fails, with each error that it can have, once and then for good until the operator has mended it;
//!   and it is had, but said to have failed.
//! - `each_crash_of_a_recovery`: stopped dead at `i`, the next run is stopped at its first effect on what was left, the one after
//!   that at its second, and so on until one gets through. One chain for each `i`: each recovery finds what the one before has left.
//!
//! Recoveries are not stopped at the first effects of a run, which open the folders and are always alike, nor at syncs.
//!
//! Scenarios that are not played whole are played at points that a seed chooses; `CRASH_LOOPS=whole` plays all of them whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use self::checks::{Points, Tally, Window, accepted, assert_ended, assert_order, assert_undoubted};
use self::scenario::{KILLED, Scenario};
use crate::rig::Rig;

mod checks;
mod order;
mod scenario;

/// Worlds at once: they mostly wait.
const AT_ONCE: usize = 8;

/// Those in which something fails wait far more, for the next try.
const FAILING_AT_ONCE: usize = 24;

/// Decides which points are played where not all are.
const SEED: u64 = 20_261_127;

/// So many points of a scenario that is not played whole.
const SAMPLE: usize = 3;

/// The first effect of a run that has opened the folders: the lock, and the probe whether a pair can be claimed, are had before that,
/// always alike. Recoveries are stopped from here on.
const OPENED: usize = 10;

/// What is made before that.
const OPENING: [&str; 2] = ["/.lock", "/.jimengd-probe"];

/// The same where syncs are not numbered.
const OPENED_BUT_FOR_SYNCS: usize = OPENED - 1;

/// Says that syncs are not numbered: a process that is stopped dead at one leaves what it leaves if it is stopped right after it, and
/// the first loop stops it at all of them.
const BUT_FOR_SYNCS: &str = "syncs=0;";

/// So soon an effect that failed is tried again, if nothing else is waited for.
const TRIED_AGAIN_WITHIN: Duration = Duration::from_secs(3);

/// Far above any number of effects here: a loop that gets there does not end.
const POINTS_MAX: usize = 2_000;

/// Faults that are told at most, of all that were found.
const TOLD_MAX: usize = 4;

/// Asked for by `CRASH_LOOPS=whole`.
fn is_whole() -> bool {
    std::env::var("CRASH_LOOPS").is_ok_and(|value| value == "whole")
}

/// All scenarios, or those whose name contains the text of `ONLY`.
fn scenarios() -> Vec<Scenario> {
    let only = std::env::var("ONLY").unwrap_or_default();
    let found: Vec<_> = Scenario::ALL.into_iter().filter(|scenario| format!("{scenario:?}").contains(&only)).collect();
    assert!(!found.is_empty(), "no scenario is called {only}");
    found
}

/// One thing that is done to one run.
#[derive(Clone, Debug)]
struct Fault {
    at: usize,
    deed: &'static str,
    lasting: bool,
    /// Whether what only looks is numbered, too.
    looks: bool,
}

impl Fault {
    fn new(at: usize, deed: &'static str) -> Self {
        Self { at, deed, lasting: false, looks: false }
    }
}

/// What a played fault came to: what was counted, and whether the run had such a point at all.
type Played = (Tally, bool);

/// Plays faults, so many at once; what they came to is in the tally, what broke a promise in `broken`.
async fn play_all<F>(
    scenario: Scenario,
    faults: Vec<Fault>,
    broken: &mut Vec<String>,
    play: impl Fn(Fault) -> F,
) -> Tally
where
    F: Future<Output = Played> + Send + 'static,
{
    let at_once = if faults.iter().any(|fault| fault.deed != "kill") { FAILING_AT_ONCE } else { AT_ONCE };
    let mut waiting = faults.into_iter();
    let mut running = JoinSet::new();
    let mut faults_of = BTreeMap::new();
    let mut tally = Tally::default();
    loop {
        while running.len() < at_once
            && let Some(fault) = waiting.next()
        {
            let handle = running.spawn(play(fault.clone()));
            faults_of.insert(handle.id(), fault);
        }
        match running.join_next_with_id().await {
            None => return tally,
            Some(Ok((_, (played, _)))) => tally = tally.and(played),
            Some(Err(error)) => {
                broken.push(format!("{scenario:?}, {:?}: {}", faults_of[&error.id()], said(error)));
            }
        }
    }
}

/// Tells the first of what broke a promise.
fn assert_unbroken(broken: &[String]) {
    let first = &broken[..broken.len().min(TOLD_MAX)];
    assert!(broken.is_empty(), "{} broken\n{}", broken.len(), first.join("\n\n"));
}

fn said(error: tokio::task::JoinError) -> String {
    let panic = error.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Tells what a loop came to, past libtest's capture.
fn tell(of: &str, scenario: Scenario, tally: Tally) {
    let Tally { points, runs, never_sent, on_its_way, answered } = tally;
    writeln!(
        std::io::stderr(),
        "crash loops, {of}, {scenario:?}: {points} points, {runs} runs; in doubt: \
         {never_sent} never sent, {on_its_way} without an answer, {answered} between answer and record"
    )
    .expect("standard error is open");
}

/// The plan of fail points as the program reads it.
fn plan(rig: &Rig, run: usize, more: &str) -> String {
    format!("log={};{more}", points_file(rig, run).display())
}

fn points_file(rig: &Rig, run: usize) -> std::path::PathBuf {
    rig.folder().join(format!("points-{run}"))
}

fn points(rig: &Rig, run: usize) -> Points {
    Points::read(&fs::read_to_string(points_file(rig, run)).unwrap_or_default())
}

/// Why the run that was stopped dead may have left a job in doubt.
fn window(rig: &Rig, run: usize, scenario: Scenario) -> Option<Window> {
    let points = points(rig, run);
    if scenario == Scenario::SeveralJobs { points.window_of_several() } else { points.window() }
}

/// Lets what is left finish, and checks everything.
async fn finish(rig: &Rig, scenario: Scenario, windows: &[Window]) -> Tally {
    let mut daemon = rig.spawn(&["--once"]);
    let code = daemon.code().await;
    assert!([0, 65].contains(&code), "{code}: {}\n{}", daemon.said(), rig.scene());
    Tally { runs: 1, ..assert_ended(rig, scenario, windows) }
}

/// The points of a run to which nothing is done; `numbered` is the part of the plan that says which they are.
async fn untouched(scenario: Scenario, numbered: &str) -> Points {
    let staged = scenario.prepare().await;
    let rig = &staged.rig;
    let code = scenario.play(rig, &plan(rig, 0, numbered)).await;
    assert!([0, 65].contains(&code), "{scenario:?} ends with {code}\n{}", rig.scene());
    finish(rig, scenario, &[]).await;
    let points = points(rig, 0);
    let opened = match numbered {
        "" => OPENED,
        BUT_FOR_SYNCS => OPENED_BUT_FOR_SYNCS,
        _ => return points,
    };
    // What the loops leave out is that and nothing else.
    let is_opening = |at| points.at(at).is_some_and(|point| OPENING.iter().any(|name| point.contains(name)));
    assert!((1..opened).all(is_opening) && !is_opening(opened), "{scenario:?} opens its folders otherwise: {points:?}");
    points
}

/// A run that is stopped dead at a point, and those that come after it. `false`: it had no such point.
async fn crash(scenario: Scenario, at: usize) -> Played {
    let staged = scenario.prepare().await;
    let rig = &staged.rig;
    let code = scenario.play(rig, &plan(rig, 0, &format!("at={at};do=kill"))).await;
    let windows: Vec<Window> = (code == KILLED).then(|| window(rig, 0, scenario)).flatten().into_iter().collect();
    assert_order(rig);
    let accepted = accepted(rig);
    let tally = finish(rig, scenario, &windows).await;
    assert_undoubted(rig, &accepted);
    (Tally { points: usize::from(code == KILLED), runs: 2, ..tally }, code == KILLED)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_crash() {
    let mut broken = Vec::new();
    for scenario in scenarios() {
        let next = Arc::new(AtomicUsize::new(1));
        let workers = (0..AT_ONCE).map(|at| Fault::new(at, "kill")).collect();
        let tally = play_all(scenario, workers, &mut broken, |_| {
            let next = next.clone();
            async move {
                let mut tally = Tally::default();
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    assert!(at < POINTS_MAX, "no end of points");
                    let played = tokio::spawn(crash(scenario, at)).await;
                    let (more, had) = played.unwrap_or_else(|error| panic!("stopped dead at {at}: {}", said(error)));
                    tally = tally.and(more);
                    if !had {
                        return (tally, true);
                    }
                }
            }
        })
        .await;
        tell("stopped dead", scenario, tally);
        assert!(!broken.is_empty() || tally.points > 20, "{scenario:?} has hardly a point");
    }
    assert_unbroken(&broken);
}

/// A run that is stopped dead at a point, the next at its first point after the folders were opened, the one after that at its
/// second, until one gets through.
async fn crash_of_recovery(scenario: Scenario, at: usize) -> Played {
    let staged = scenario.prepare().await;
    let rig = &staged.rig;
    let stopped = |at| format!("{BUT_FOR_SYNCS}at={at};do=kill");
    let code = scenario.play(rig, &plan(rig, 0, &stopped(at))).await;
    let mut tally = Tally { runs: 1, ..Tally::default() };
    let mut windows: Vec<Window> = (code == KILLED).then(|| window(rig, 0, scenario)).flatten().into_iter().collect();
    let mut accepted = accepted(rig);
    for run in 1..POINTS_MAX {
        let at = OPENED_BUT_FOR_SYNCS - 1 + run;
        let code = rig.spawn_failing(&plan(rig, run, &stopped(at)), &["--once"]).code().await;
        tally.runs += 1;
        assert_order(rig);
        if code != KILLED {
            assert!([0, 65].contains(&code), "recovery ends with {code}\n{}", rig.scene());
            let tally = tally.and(finish(rig, scenario, &windows).await);
            assert_undoubted(rig, &accepted);
            return (tally, true);
        }
        tally.points += 1;
        accepted.extend(checks::accepted(rig));
        windows.extend(window(rig, run, scenario));
    }
    panic!("no run gets through\n{}", rig.scene());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_crash_of_a_recovery() {
    let mut broken = Vec::new();
    for scenario in scenarios() {
        let count = untouched(scenario, BUT_FOR_SYNCS).await.count();
        let at = chosen(scenario, count);
        let faults = at.into_iter().map(|at| Fault::new(at, "kill")).collect();
        let play = |fault: Fault| crash_of_recovery(scenario, fault.at);
        let tally = play_all(scenario, faults, &mut broken, play).await;
        tell("recovery stopped dead", scenario, tally);
        assert!(!broken.is_empty() || tally.points > 20, "{scenario:?} has hardly a point");
    }
    assert_unbroken(&broken);
}

/// All points of the scenarios that are played whole, some of the others.
fn chosen(scenario: Scenario, count: usize) -> Vec<usize> {
    let all: Vec<usize> = (1..=count).collect();
    if is_whole() || matches!(scenario, Scenario::Delivery | Scenario::RejectedSubmit) {
        return all;
    }
    let mut chance = fastrand::Rng::with_seed(SEED ^ scenario as u64);
    chance.choose_multiple(all, SAMPLE)
}

/// The errors that an effect can have.
fn errors(point: &str) -> Vec<&'static str> {
    let of_all: &[&str] = match point.split(' ').next().unwrap_or_default() {
        "make" => &["ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "EMFILE", "ENAMETOOLONG"],
        "make-folder" => &["ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "ENAMETOOLONG"],
        "write" => &["ENOSPC", "EDQUOT", "EIO"],
        "cut" | "times" => &["EIO", "EROFS"],
        "sync" => &["ENOSPC", "EDQUOT", "EIO", "EROFS"],
        "rename" => &["ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "ENAMETOOLONG", "EIO!"],
        "link" => &["ENOSPC", "EIO", "EROFS", "EACCES", "EIO!"],
        "unlink" | "remove-folder" => &["EIO", "EROFS", "EACCES", "EIO!"],
        "commit" => &["ENOSPC", "EIO"],
        "request" | "answer" => &["EIO"],
        other => panic!("nobody knows how {other} fails"),
    };
    let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let leaves = point
        .split_once(" < ")
        .is_some_and(|(to, from)| folder(to.split_once(' ').expect("an effect and its place").1) != folder(from));
    of_all.iter().copied().chain(leaves.then_some("EXDEV")).collect()
}

/// Some of what only looks, each of which cannot be opened: no descriptors are left, the disk fails, a right is missing.
async fn failing_looks(scenario: Scenario) -> Vec<Fault> {
    let points = untouched(scenario, "looks=1;").await;
    let is_look = |at: &usize| points.at(*at).is_some_and(|point| point.starts_with("open "));
    let looks: Vec<usize> = (1..=points.count()).filter(is_look).collect();
    let sampled = if is_whole() { looks.len() } else { SAMPLE };
    let chosen = fastrand::Rng::with_seed(SEED ^ scenario as u64).choose_multiple(looks, sampled);
    let faults = |at| ["EMFILE", "EIO", "EACCES"].map(|deed| Fault { looks: true, ..Fault::new(at, deed) });
    chosen.into_iter().flat_map(faults).collect()
}

/// A run in which an effect fails, and what comes after it.
async fn fail(scenario: Scenario, fault: Fault) -> Played {
    let staged = scenario.prepare().await;
    let rig = &staged.rig;
    let Fault { at, deed, lasting, looks } = fault;
    let looks = if looks { "looks=1;" } else { "" };
    let (mended, more) = (rig.folder().join("mended"), format!("{looks}at={at};do={deed}"));
    if lasting {
        let plan = plan(rig, 0, &format!("{more};until={}", mended.display()));
        let mut daemon = rig.spawn_failing(&plan, &[]);
        let refusals = || fs::read_to_string(points_file(rig, 0)).unwrap_or_default().matches(" refused").count();
        let mut refused_at = None;
        let mut has_failed = || {
            let refusals = refusals();
            let first = *refused_at.get_or_insert_with(Instant::now);
            if refusals == 0 {
                refused_at = None;
            }
            // What is not tried again soon waits for something else.
            refusals > 1 || (refusals == 1 && first.elapsed() > TRIED_AGAIN_WITHIN)
        };
        rig.until("it fails, or ends, or all is done", || has_failed() || !daemon.runs() || is_idle(rig)).await;
        fs::write(&mended, "").unwrap();
        rig.until("all is done, or it has ended", || !daemon.runs() || is_idle(rig)).await;
        if daemon.runs() {
            daemon.terminate();
        }
        let code = daemon.code().await;
        assert!([0, 74, 78].contains(&code), "{code}: {}", daemon.said());
    } else {
        let code = scenario.play(rig, &plan(rig, 0, &more)).await;
        assert!([0, 65, 69, 74, 78].contains(&code), "{code}\n{}", rig.scene());
    }
    assert_order(rig);
    let points = points(rig, 0);
    let failed = points.at(at).unwrap_or_default();
    if looks.is_empty() && !failed.is_empty() && !errors(failed).contains(&deed) {
        // Jobs side by side have their effects in another order each time: what it struck can have no such error.
        return (Tally { runs: 1, ..Tally::default() }, true);
    }
    if deed == "EACCES" && failed.starts_with("open ") && failed.ends_with(".error.yaml") {
        // A report that may not be read is somebody else's: no pair tries that one again, and it stays.
        rig.assert_everywhere_once();
        return (Tally { points: 1, runs: 1, ..Tally::default() }, true);
    }
    // A lost answer is a lost answer, whichever of several it is.
    let told = fs::read_to_string(points_file(rig, 0)).unwrap_or_default();
    let windows: Vec<Window> =
        told.contains("! answer submit refused").then_some(Window::Answered).into_iter().collect();
    // A run that got over it has done all by itself, but for a folder that could not be taken away.
    let tally = match is_idle(rig) && rig.folders_in_work().is_empty() && scenario != Scenario::Retried {
        true => assert_ended(rig, scenario, &windows),
        false => finish(rig, scenario, &windows).await,
    };
    (Tally { points: usize::from(points.count() >= at), runs: tally.runs + 1, ..tally }, true)
}

/// Whether no file waits in the inbox or in `work/`.
fn is_idle(rig: &Rig) -> bool {
    let is_claimed = |name: &String| name.ends_with("/picture") || name.ends_with("/sidecar");
    rig.list("inbox").is_empty() && !rig.list("work").iter().any(is_claimed)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error() {
    let mut broken = Vec::new();
    for scenario in scenarios() {
        let points = untouched(scenario, "").await;
        let mut faults = Vec::new();
        for at in chosen(scenario, points.count()) {
            for deed in errors(points.at(at).expect("it is one of them")) {
                let fault = Fault::new(at, deed);
                faults.push(fault.clone());
                // A name is not on another mount for a while only.
                if !deed.ends_with('!') && deed != "EXDEV" {
                    faults.push(Fault { lasting: true, ..fault });
                }
            }
        }
        faults.extend(failing_looks(scenario).await);
        let play = |fault: Fault| fail(scenario, fault);
        let tally = play_all(scenario, faults, &mut broken, play).await;
        tell("each error", scenario, tally);
        assert!(!broken.is_empty() || tally.points > 10, "{scenario:?} has hardly a point");
    }
    assert_unbroken(&broken);
}
