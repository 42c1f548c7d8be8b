//! The course of jobs, for people: a line a job with its state and totals on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use crate::daemon::Progress;
use crate::job::JobId;

/// Lines of running jobs on a terminal; more would push each other off the screen.
const LINES_MAX: usize = 12;

/// The display.
#[derive(Debug)]
pub struct Display {
    terminal: Option<Terminal>,
    delivered: usize,
    failed: usize,
}

#[derive(Debug)]
struct Terminal {
    lines: MultiProgress,
    jobs: HashMap<JobId, ProgressBar>,
    totals: ProgressBar,
}

impl Default for Display {
    fn default() -> Self {
        Self::new()
    }
}

impl Display {
    /// Live lines if standard error is a terminal, else plain lines on standard output.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal().then(|| {
            let lines = MultiProgress::new();
            let totals = lines.add(ProgressBar::new_spinner().with_style(style("{spinner} {msg}")));
            Terminal { lines, jobs: HashMap::new(), totals }
        });
        Self { terminal, delivered: 0, failed: 0 }
    }

    /// Shows what arrives until the other end is dropped.
    pub async fn show(mut self, mut progress: mpsc::Receiver<Progress>) {
        while let Some(one) = progress.recv().await {
            self.take(&one);
        }
        if let Some(terminal) = &self.terminal {
            terminal.totals.finish_and_clear();
        }
    }

    fn take(&mut self, progress: &Progress) {
        let ended = match progress.state {
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
        let line = line(progress);
        let Some(terminal) = &mut self.terminal else {
            println!("{line}");
            return;
        };
        if ended {
            if let Some(bar) = terminal.jobs.remove(&progress.job) {
                bar.finish_and_clear();
            }
            // Nothing can be done about a terminal that does not take a line; the folders tell the same.
            drop(terminal.lines.println(&line));
        } else if terminal.jobs.len() < LINES_MAX || terminal.jobs.contains_key(&progress.job) {
            let bar = terminal.jobs.entry(progress.job).or_insert_with(|| {
                let bar = ProgressBar::new_spinner().with_style(style("  {spinner} {msg} {elapsed}"));
                terminal.lines.insert_before(&terminal.totals, bar)
            });
            bar.set_message(line);
            bar.tick();
        }
        terminal.totals.set_message(format!(
            "{} delivered, {} failed, {} in work",
            self.delivered,
            self.failed,
            terminal.jobs.len()
        ));
        terminal.totals.tick();
    }
}

fn line(progress: &Progress) -> String {
    match &progress.reason {
        Some(reason) => format!("{:<11} {} ({reason})", progress.state, progress.pair),
        None => format!("{:<11} {}", progress.state, progress.pair),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
