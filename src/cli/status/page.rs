//! The page that people read: what needs them first, then the numbers, then what is in work and what waits.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::{Counts, JobView, View, WaitingView};
use crate::cli::table::{age, aligned, instant};

/// Lines of one list; what is more is only counted.
pub(super) const LISTED_MAX: usize = 20;

/// The page about `view` as of `now`.
pub(super) fn page(view: &View, inbox: &Path, error: &Path, now: Timestamp) -> String {
    let mut page = headline(view, inbox);
    for paused in &view.paused {
        page.push_str(&format!("\nPAUSED ({}) for {}: {}\n", paused.reason, age(paused.since, now), paused.message));
        if let Some(until) = paused.until.filter(|until| *until > now) {
            page.push_str(&format!("    tried again at {}\n", instant(until)));
        }
        page.push_str(&format!("    what to do: {}\n", paused.advice));
    }
    // Before the first start there is none to look at.
    if let Some(error) = view.inbox_error.as_ref().filter(|_| view.ledger) {
        page.push_str(&format!("\nThe inbox {} cannot be looked at: {error}\n", inbox.display()));
    }
    if let Some(why) = &view.polling {
        page.push_str(&format!("\nThe inbox is looked through every few seconds: {why}\n"));
    }
    page.push('\n');
    page.push_str(&numbers(&view.counts));
    page.push_str(&failed(&view.failed, error, now));
    page.push_str(&jobs(&view.jobs, now));
    page.push_str(&waiting(&view.waiting, now));
    page.push_str(&ignored(&view.waiting));
    page
}

fn headline(view: &View, inbox: &Path) -> String {
    let version = view.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    match (view.running, view.ledger) {
        (true, _) => {
            let pid = view.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
            let flight = format!("{} in flight of at most {} for now", view.in_flight, view.limit);
            format!("jimengd {version} is running{pid}: {flight}\n")
        }
        (false, true) => {
            "jimengd is not running: nothing moves until it is started (systemctl start jimengd, or jimengd run)\n"
                .to_owned()
        }
        (false, false) => {
            format!(
                "jimengd has not run here yet: there is no ledger for the inbox {}.\n\
                 Start it with systemctl start jimengd, or jimengd run; --root names another place.\n",
                inbox.display()
            )
        }
    }
}

fn numbers(counts: &Counts) -> String {
    // Taken apart without `..`, so that a new count fails to compile here.
    let Counts { waiting, queued, submitting, submitted, ready, delivered, failed, in_doubt } = counts;
    let cells = [
        ("waiting", waiting),
        ("queued", queued),
        ("submitting", submitting),
        ("submitted", submitted),
        ("ready", ready),
        ("delivered", delivered),
        ("failed", failed),
        ("in doubt", in_doubt),
    ];
    let names = cells.iter().map(|(name, _)| (*name).to_owned()).collect();
    let numbers = cells.iter().map(|(name, count)| format!("{count:>width$}", width = name.len())).collect();
    aligned("", &[names, numbers])
}

fn failed(jobs: &[JobView], error: &Path, now: Timestamp) -> String {
    if jobs.is_empty() {
        return String::new();
    }
    let row = |job: &JobView| {
        let why = [&job.reason, &job.detail].into_iter().flatten().cloned().collect::<Vec<_>>().join(": ");
        vec![age(job.since, now), job.pair.clone(), why]
    };
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    format!("\nFailed last, each with its report in {}\n{}", error.display(), aligned("    ", &rows))
}

fn jobs(jobs: &[JobView], now: Timestamp) -> String {
    if jobs.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .take(LISTED_MAX)
        .map(|job| {
            let task = job.task_id.as_ref().map(|id| format!("task {id}"));
            let more = [&task, &job.reason, &job.detail].into_iter().flatten().cloned().collect::<Vec<_>>();
            vec![job.state.to_owned(), age(job.since, now), job.pair.clone(), more.join(", ")]
        })
        .collect();
    format!("\nIn work\n{}{}", aligned("    ", &rows), rest(jobs.len()))
}

fn waiting(waiting: &[WaitingView], now: Timestamp) -> String {
    let mut groups: BTreeMap<usize, Vec<&WaitingView>> = BTreeMap::new();
    for one in waiting.iter().filter(|one| !one.is_ignored()) {
        let place = MEANINGS.iter().position(|(reason, _)| *reason == one.reason).unwrap_or(MEANINGS.len());
        groups.entry(place).or_default().push(one);
    }
    let mut text = String::new();
    for (place, group) in groups {
        let (reason, meaning) = MEANINGS.get(place).copied().unwrap_or((group[0].reason, ""));
        let head = if text.is_empty() { "\nWaiting in the inbox\n" } else { "" };
        text.push_str(&format!("{head}  {reason} ({}): {meaning}\n", group.len()));
        let row =
            |one: &&WaitingView| vec![age(one.since, now), one.pair.clone(), one.detail.clone().unwrap_or_default()];
        let rows: Vec<Vec<String>> = group.iter().take(LISTED_MAX).map(row).collect();
        text.push_str(&aligned("    ", &rows));
        text.push_str(&rest(group.len()));
    }
    text
}

/// The reasons in the order in which they are told, what needs a person first.
const MEANINGS: [(&str, &str); 8] = [
    ("unreadable", "the daemon may not read it, or could not"),
    ("unmovable", "its files cannot be moved out of their folder; let the daemon write there"),
    (
        "ambiguous",
        "it cannot be told what belongs together; name each sidecar after its picture, as in cat.jpg.yaml, and take away what is one too many",
    ),
    ("half", "the picture or the sidecar of the same name is missing"),
    ("empty", "a file of it is empty; it may still be written"),
    ("settling", "it may still be written, or is about to be judged"),
    ("paused", "complete, until the pause ends"),
    ("turn", "complete, others go first"),
];

/// What is ignored, counted by rule with one example each.
fn ignored(waiting: &[WaitingView]) -> String {
    let mut rules: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for one in waiting.iter().filter(|one| one.is_ignored()) {
        rules.entry(one.detail.as_deref().unwrap_or_default()).or_insert((0, &one.pair)).0 += 1;
    }
    if rules.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = rules
        .iter()
        .take(LISTED_MAX)
        .map(|(rule, (count, example))| vec![(*rule).to_owned(), count.to_string(), format!("such as {example}")])
        .collect();
    let count: usize = rules.values().map(|(count, _)| count).sum();
    format!("\nLeft alone in the inbox ({count}), by rule\n{}{}", aligned("    ", &rows), rest(rules.len()))
}

fn rest(count: usize) -> String {
    match count.checked_sub(LISTED_MAX) {
        None | Some(0) => String::new(),
        Some(more) => format!("    and {more} more\n"),
    }
}
