//! What goes wrong, and when: by a script, or by chance with a seed.
//!
//! A script is a list of rules. A rule looks at one kind of request, counts those it looks at, and strikes at some of
//! them. The rules are asked in order and the first that strikes decides; all that match have counted it. Chance
//! ([`Settings::misbehave`](super::Settings::misbehave)) strikes only where no rule did, and only with faults that a
//! careful client gets over without paying twice and without asking anybody.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::script::Script;

/// Stands in a written answer or a `Location` for a good link to the task's video.
pub(super) const LINK: &str = "$LINK";

/// The kinds of requests that faults are for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// `POST /task/jimeng/image2video`.
    Submit,
    /// `GET /task/{id}`.
    Poll,
    /// The video.
    Download,
}

/// How far an exchange goes before it is broken off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// The head was read, nothing else.
    Head,
    /// Half of the request's body was read.
    Half,
    /// The whole request was read, and not accepted.
    Body,
    /// The submission was accepted and paid, but the answer never comes.
    Accepted,
}

/// The body that goes with a bare HTTP status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Page {
    /// A page for people.
    Html,
    /// Nothing.
    Empty,
    /// The gateway's `{"error": …}`, with that `error.code`.
    Envelope(String),
    /// More than anybody wants to read: 32 MiB.
    Huge,
    /// These words.
    Text(String),
}

/// How a business code is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// As upstream does.
    #[default]
    Number,
    /// As a string of digits.
    Digits,
    /// Quoted inside the message of `fail_to_fetch_task`.
    Quoted,
}

/// What happens instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Only the delay.
    Wait,
    /// An answer with a business code.
    Code {
        /// The code.
        code: u32,
        /// Instead of upstream's own HTTP status.
        status: Option<u16>,
        /// How it is written.
        shape: Shape,
    },
    /// An answer without a business code.
    Status {
        /// The HTTP status.
        status: u16,
        /// What comes with it.
        body: Page,
        /// `Location`.
        location: Option<String>,
    },
    /// The connection is closed.
    Close(Moment),
    /// Nothing more happens until the client gives up.
    Hang(Moment),
    /// The right answer, its body broken off after that many bytes. A submission is accepted and paid.
    Cut(u64),
    /// A submission is accepted and paid, and answered with these words, in which `$TASK` stands for the task's identifier.
    Accept {
        /// The HTTP status.
        status: u16,
        /// The body.
        words: String,
    },
    /// These very bytes in place of an answer, HTTP or not, then the end of the connection. A submission is accepted and paid;
    /// `$TASK` stands for its task's identifier.
    Raw(String),
    /// The right answer, and so many bytes of white space after it.
    Blanks(u64),
    /// The right answer, at that many bytes a second.
    Drip(u64),
    /// The right answer inside `Content-Encoding: gzip`, though nobody asked.
    Gzip,
    /// A wrong word about a task.
    Poll(PollFault),
    /// A wrong way to give out a video.
    Download(DownloadFault),
}

/// What goes wrong in the answer to a poll.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PollFault {
    /// A state that the API's page does not know.
    Word(String),
    /// Done, and no link anywhere.
    NoLink,
    /// Done, the link only inside `resp_data`.
    LinkInRespData,
    /// Done, with that link; `$PATH` in it is path and query of the right one.
    Link(String),
}

/// What goes wrong in a download.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DownloadFault {
    /// The link is taken for an expired one.
    Expired,
    /// More: `Content-Length` claims that many bytes more than come. Fewer: the file ends that many bytes early, and
    /// `Content-Length` agrees.
    Length(i64),
    /// The whole video, whatever `Range` says.
    IgnoreRange,
    /// Another `ETag` than the last time.
    NewEtag,
    /// The video, filled up to that many bytes.
    Bytes(u64),
    /// Another film.
    Film(Reel),
}

/// A film that is not the task's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reel {
    /// No byte.
    Empty,
    /// One byte.
    Byte,
    /// Without its description.
    NoMoov,
    /// Its description behind the frames.
    MoovLast,
    /// In fragments.
    Fragmented,
    /// Without the box that makes it an mp4.
    NoFtyp,
    /// Something behind it that is no box.
    Junk,
    /// A WebM video.
    Webm,
}

/// What a rule or chance brings upon one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Before anything else.
    pub delay: Duration,
    /// A submission is answered without its body being read.
    pub early: bool,
    /// `Retry-After`, as it is written.
    pub retry_after: Option<String>,
    /// How the answer is sent.
    pub manner: Manner,
    /// What happens then.
    pub action: Action,
}

/// How an answer to a poll or a download is sent, whatever it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manner {
    /// In chunks, its length untold.
    pub chunked: bool,
    /// With these headers; without those that have no value.
    pub headers: BTreeMap<String, Option<String>>,
    /// With one more header of that many bytes.
    pub header_bytes: usize,
}

/// When a fault strikes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    pub(super) on: On,
    pub(super) prompt: Option<String>,
    /// Looks only at submissions of more bytes.
    pub(super) over: Option<u64>,
    pub(super) nth: Vec<u64>,
    pub(super) every: Option<u64>,
    pub(super) times: Option<u64>,
    pub(super) fault: Fault,
}

impl Action {
    fn is_about_links(&self) -> bool {
        match self {
            Self::Poll(PollFault::NoLink | PollFault::LinkInRespData | PollFault::Link(_)) => true,
            Self::Status { body: Page::Text(text), .. } => text.contains(LINK),
            _ => false,
        }
    }

    /// Whether it can happen to requests of that kind.
    pub(super) fn suits(&self, on: On) -> bool {
        match self {
            Self::Wait | Self::Status { .. } | Self::Cut(_) | Self::Raw(_) => true,
            Self::Accept { .. } => on == On::Submit,
            Self::Blanks(_) | Self::Drip(_) | Self::Gzip => on != On::Submit,
            Self::Code { .. } => on != On::Download,
            Self::Close(Moment::Half | Moment::Accepted) | Self::Hang(Moment::Accepted) => on == On::Submit,
            Self::Close(Moment::Head | Moment::Body) | Self::Hang(Moment::Head | Moment::Half | Moment::Body) => true,
            Self::Poll(_) => on == On::Poll,
            Self::Download(_) => on == On::Download,
        }
    }
}

/// The rules with what they have counted, and chance.
#[derive(Debug)]
pub(super) struct Fates {
    rules: Vec<(Rule, Counts)>,
    misbehave: f64,
    chance: fastrand::Rng,
}

#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    seen: u64,
    struck: u64,
}

impl Fates {
    pub(super) fn new(script: Script, misbehave: f64, seed: u64) -> Self {
        let rules = script.rules.into_iter().map(|rule| (rule, Counts::default())).collect();
        Self { rules, misbehave, chance: fastrand::Rng::with_seed(seed) }
    }

    /// For a submission of which only the head has been read, which announces so many bytes.
    pub(super) fn of_head(&mut self, bytes: u64) -> Option<Fault> {
        self.strike(On::Submit, |rule| rule.prompt.is_none() && rule.over.is_none_or(|over| bytes > over))
            .or_else(|| self.whim(On::Submit))
    }

    /// For a submission that was read, and spared at its head.
    pub(super) fn of_prompt(&mut self, prompt: &str) -> Option<Fault> {
        self.strike(On::Submit, |rule| rule.prompt.as_ref().is_some_and(|wanted| prompt.contains(wanted)))
    }

    /// For a poll or a download of the task with that prompt. Rules about links look only at polls of a task that is done.
    pub(super) fn of_task(&mut self, on: On, prompt: &str, done: bool) -> Option<Fault> {
        let suits = |fault: &Fault| done || !fault.action.is_about_links();
        let by_rule = self
            .strike(on, |rule| suits(&rule.fault) && rule.prompt.as_ref().is_none_or(|wanted| prompt.contains(wanted)));
        by_rule.or_else(|| self.whim(on).filter(suits))
    }

    fn strike(&mut self, on: On, matches: impl Fn(&Rule) -> bool) -> Option<Fault> {
        let mut fault = None;
        for (rule, counts) in &mut self.rules {
            if rule.on != on || !matches(rule) {
                continue;
            }
            counts.seen += 1;
            let strikes = (rule.nth.is_empty() || rule.nth.contains(&counts.seen))
                && rule.every.is_none_or(|every| counts.seen % every == 0)
                && rule.times.is_none_or(|times| counts.struck < times);
            if strikes && fault.is_none() {
                counts.struck += 1;
                fault = Some(rule.fault.clone());
            }
        }
        fault
    }

    fn whim(&mut self, on: On) -> Option<Fault> {
        if self.misbehave <= 0.0 || self.chance.f64() >= self.misbehave {
            return None;
        }
        let code = |code| Action::Code { code, status: None, shape: Shape::Number };
        let status = |status, body| Action::Status { status, body, location: None };
        let menu = match on {
            On::Submit => vec![
                code(super::answer::RATE_LIMIT),
                code(super::answer::CONCURRENCY_LIMIT),
                status(429, Page::Empty),
                status(503, Page::Envelope(String::new())),
                Action::Wait,
            ],
            On::Poll => vec![
                code(super::answer::RATE_LIMIT),
                status(502, Page::Html),
                status(429, Page::Empty),
                Action::Close(Moment::Head),
                Action::Cut(20),
                Action::Poll(PollFault::Word("post_processing".to_owned())),
                Action::Poll(PollFault::NoLink),
                Action::Poll(PollFault::LinkInRespData),
                Action::Wait,
            ],
            On::Download => vec![
                Action::Cut(self.chance.u64(1..20_000)),
                Action::Download(DownloadFault::Length(1000)),
                Action::Download(DownloadFault::Expired),
                Action::Download(DownloadFault::IgnoreRange),
                Action::Download(DownloadFault::NewEtag),
                status(200, Page::Html),
                status(502, Page::Html),
                Action::Close(Moment::Head),
                Action::Wait,
            ],
        };
        let action = menu[self.chance.usize(..menu.len())].clone();
        let delay = Duration::from_millis(self.chance.u64(0..300));
        Some(Fault { delay, early: false, retry_after: None, manner: Manner::default(), action })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(fates: &mut Fates, on: On, prompts: &[&str]) -> Vec<bool> {
        prompts.iter().map(|prompt| fates.of_task(on, prompt, true).is_some()).collect()
    }

    fn fates(script: &str) -> Fates {
        Fates::new(Script::parse(script).unwrap(), 0.0, 0)
    }

    #[test]
    fn rules_count_what_they_look_at_and_strike_when_told() {
        let five = ["a", "b", "a", "a", "a"];
        for (script, struck) in [
            ("- {on: poll, do: {code: 50429}}", [true; 5]),
            ("- {on: submit, do: {code: 50429}}", [false; 5]),
            ("- {on: poll, nth: 2, do: {code: 50429}}", [false, true, false, false, false]),
            ("- {on: poll, nth: [1, 5], do: {code: 50429}}", [true, false, false, false, true]),
            ("- {on: poll, every: 2, do: {code: 50429}}", [false, true, false, true, false]),
            ("- {on: poll, times: 3, do: {code: 50429}}", [true, true, true, false, false]),
            ("- {on: poll, prompt: a, nth: 2, do: {code: 50429}}", [false, false, true, false, false]),
            ("- {on: poll, prompt: a, every: 2, times: 1, do: {code: 50429}}", [false, false, true, false, false]),
        ] {
            assert_eq!(actions(&mut fates(script), On::Poll, &five), struck, "{script}");
        }
    }

    #[test]
    fn the_first_rule_that_strikes_decides_and_the_others_have_counted() {
        let mut fates = fates("- {on: poll, nth: 1, do: {word: x}}\n- {on: poll, nth: 2, do: {word: y}}");
        let words: Vec<_> = (0..3).map(|_| fates.of_task(On::Poll, "", true).map(|fault| fault.action)).collect();
        assert_eq!(
            words,
            [Some(Action::Poll(PollFault::Word("x".into()))), Some(Action::Poll(PollFault::Word("y".into()))), None]
        );
    }

    #[test]
    fn a_rule_with_a_prompt_waits_for_the_body() {
        let mut fates =
            fates("- {on: submit, prompt: cat, do: {close: accepted}}\n- {on: submit, nth: 2, do: {delay: 1}}");
        assert_eq!(fates.of_head(0), None);
        assert_eq!(fates.of_prompt("dog"), None);
        assert_eq!(fates.of_prompt("a cat").map(|fault| fault.action), Some(Action::Close(Moment::Accepted)));
        assert_eq!(
            fates.of_head(0).map(|fault| (fault.delay, fault.action)),
            Some((Duration::from_secs(1), Action::Wait))
        );
    }

    #[test]
    fn chance_is_the_same_for_the_same_seed_and_never_loses_a_paid_answer() {
        let run = |seed| {
            let mut fates = Fates::new(Script::default(), 0.5, seed);
            (0..200)
                .map(|n| if n % 2 == 0 { fates.of_head(0) } else { fates.of_task(On::Download, "", true) })
                .collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let submissions: Vec<_> = run(3).into_iter().step_by(2).flatten().collect();
        assert!(!submissions.is_empty());
        for fault in submissions {
            assert!(!matches!(fault.action, Action::Close(_) | Action::Hang(_) | Action::Cut(_)), "{fault:?}");
        }
    }
}
