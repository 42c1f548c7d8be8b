//! The course of jobs, for people: a line a job with its state and totals on a terminal, plain lines elsewhere.
//!
//! A state has the word that `status` has for it, and is told when that word changes. While the display owns the terminal, the
//! log goes through it and appears above. It runs on a thread of its own, because a pipe or a terminal may keep it waiting.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Failure, print};
use crate::daemon::Progress;
use crate::job::JobId;
use crate::logging::Guard;

/// Lines of running jobs on a terminal; more would push each other off the screen.
const LINES_MAX: usize = 12;

/// Between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(120);

/// Shows what arrives until the other end is dropped: live lines if standard error is a terminal, else plain lines on standard
/// output. The task ends when nothing of it is left on the terminal, with a failure if a line could not be printed; what
/// arrives is taken in any case.
pub fn show(mut progress: mpsc::Receiver<Progress>, log: Arc<Guard>) -> JoinHandle<Result<(), Failure>> {
    tokio::task::spawn_blocking(move || {
        let mut tally = Tally::default();
        let mut terminal = std::io::stderr().is_terminal().then(Terminal::new);
        if let Some(terminal) = &terminal {
            let lines = terminal.lines.clone();
            log.print_through(move |line| lines.println(line));
        }
        let mut printed = Ok(());
        while let Some(one) = progress.blocking_recv() {
            let news = tally.take(&one);
            match (&mut terminal, news) {
                (Some(terminal), news) => terminal.show(&one.job, news, &tally),
                // Who has not taken a line takes no other one.
                (None, Some(news)) if printed.is_ok() => printed = print(&format!("{}\n", news.line)),
                (None, Some(_) | None) => {}
            }
        }
        if let Some(terminal) = terminal {
            terminal.clear();
            log.print_directly();
        }
        printed
    })
}

/// What is known of the jobs.
#[derive(Debug, Default)]
struct Tally {
    /// Those in work, with the word that was told last.
    in_work: HashMap<JobId, &'static str>,
    delivered: usize,
    failed: usize,
}

/// Something to tell about a job.
#[derive(PartialEq, Eq, Debug)]
struct News {
    line: String,
    /// Whether it is the last about this job.
    last: bool,
}

impl Tally {
    /// Counts a transition; what is to be told, unless it was told already.
    fn take(&mut self, progress: &Progress) -> Option<News> {
        let word = match progress.state {
            // How far our own files are moved concerns nobody.
            "fetched" => "ready",
            // Its report is not written yet; that it failed is told when there is something to look at.
            "failing" => return None,
            word => word,
        };
        let last = match word {
            "delivered" => {
                self.delivered += 1;
                true
            }
            "failed" => {
                self.failed += 1;
                true
            }
            _ => false,
        };
        let before = if last { self.in_work.remove(&progress.job) } else { self.in_work.insert(progress.job, word) };
        (before != Some(word)).then(|| News { line: line(word, progress), last })
    }

    fn totals(&self) -> String {
        format!("{} delivered, {} failed, {} in work", self.delivered, self.failed, self.in_work.len())
    }
}

/// The live lines.
#[derive(Debug)]
struct Terminal {
    lines: MultiProgress,
    /// An empty line above the others. The `^C` that a terminal echoes moves everything down by one line, and so the first
    /// line stays behind.
    gap: ProgressBar,
    jobs: HashMap<JobId, ProgressBar>,
    totals: ProgressBar,
}

impl Terminal {
    fn new() -> Self {
        let lines = MultiProgress::new();
        let gap = lines.add(ProgressBar::new_spinner().with_style(style(" ")));
        gap.tick();
        let totals = lines.add(ProgressBar::new_spinner().with_style(style("{spinner} {wide_msg}")));
        totals.enable_steady_tick(TICK);
        Self { lines, gap, jobs: HashMap::new(), totals }
    }

    fn show(&mut self, job: &JobId, news: Option<News>, tally: &Tally) {
        match news {
            Some(News { line, last: true }) => {
                if let Some(bar) = self.jobs.remove(job) {
                    bar.finish_and_clear();
                    self.lines.remove(&bar);
                }
                // Nothing can be done about a terminal that does not take a line; the folders tell the same.
                drop(self.lines.println(&line));
            }
            Some(News { line, last: false }) if self.jobs.len() < LINES_MAX || self.jobs.contains_key(job) => {
                let bar = self.jobs.entry(*job).or_insert_with(|| {
                    let bar = ProgressBar::new_spinner().with_style(style("  {spinner} {elapsed:>4} {wide_msg}"));
                    let bar = self.lines.insert_before(&self.totals, bar);
                    bar.enable_steady_tick(TICK);
                    bar
                });
                bar.set_message(line);
            }
            Some(News { last: false, .. }) | None => {}
        }
        self.totals.set_message(tally.totals());
    }

    fn clear(self) {
        self.jobs.values().chain([&self.gap, &self.totals]).for_each(ProgressBar::finish_and_clear);
    }
}

fn line(word: &str, progress: &Progress) -> String {
    match &progress.reason {
        Some(reason) => format!("{word:<11} {} ({reason})", progress.pair),
        None => format!("{word:<11} {}", progress.pair),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_when_its_word_changes() {
        let job = JobId::from_uuid(uuid::Uuid::nil());
        let told = |states: &[&'static str]| {
            let mut tally = Tally::default();
            let take = |state: &&'static str| {
                tally.take(&Progress { job, pair: "cat".to_owned(), state, reason: None }).map(|news| news.line)
            };
            let lines: Vec<String> = states.iter().filter_map(take).collect();
            (lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>(), tally.totals())
        };
        assert_eq!(
            told(&["queued", "submitting", "submitted", "ready", "fetched", "delivered"]),
            (
                ["queued", "submitting", "submitted", "ready", "delivered"].map(str::to_owned).to_vec(),
                "1 delivered, 0 failed, 0 in work".to_owned()
            )
        );
        let (words, totals) = told(&["queued", "failing"]);
        assert_eq!((words, totals.as_str()), (vec!["queued".to_owned()], "0 delivered, 0 failed, 1 in work"));
        let (words, totals) = told(&["queued", "failing", "failed"]);
        assert_eq!(words, ["queued", "failed"]);
        assert_eq!(totals, "0 delivered, 1 failed, 0 in work");
    }
}
