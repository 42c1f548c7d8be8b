//! Scripts of faults as people write them, in YAML, and what they mean.
//!
//! A script is refused as a whole, with the number of the rule, where a rule says nothing, says two things, or asks for
//! what its kind of request cannot suffer: a test that believes in a fault that never strikes would prove nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::faults::{Action, DownloadFault, Fault, Manner, Moment, On, Page, PollFault, Reel, Rule, Shape};

/// The longest delay that a script may ask for.
const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);

/// The longest header that a script may ask for.
const HEADER_BYTES_MAX: usize = 16 << 20;

/// A list of rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Script {
    pub(super) rules: Vec<Rule>,
}

/// Why a script is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Not YAML, or not of this shape.
    #[error("not a list of rules")]
    Yaml(#[from] serde_yaml::Error),
    /// A rule that cannot be followed.
    #[error("rule {number}: {complaint}")]
    Rule {
        /// Counts from 1.
        number: usize,
        /// What is wrong with it.
        complaint: String,
    },
}

impl Script {
    /// Reads a script; `jimengd simulate --help` tells its format.
    ///
    /// # Errors
    /// The text is not a list of rules, or a rule asks for what cannot be.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let written: Vec<WrittenRule> = match text.trim().is_empty() {
            true => Vec::new(),
            false => serde_yaml::from_str(text)?,
        };
        let rules = written
            .into_iter()
            .enumerate()
            .map(|(index, rule)| rule.mean().map_err(|complaint| ScriptError::Rule { number: index + 1, complaint }));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    on: On,
    prompt: Option<String>,
    over: Option<u64>,
    nth: Option<Numbers>,
    every: Option<u64>,
    times: Option<u64>,
    r#do: WrittenFault,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or a list of numbers")]
enum Numbers {
    One(u64),
    Many(Vec<u64>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or a text")]
enum Scalar {
    Number(i64),
    Text(String),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenFault {
    delay: Option<f64>,
    #[serde(default)]
    early: bool,
    retry_after: Option<Scalar>,
    code: Option<u32>,
    #[serde(default)]
    shape: Shape,
    status: Option<u16>,
    body: Option<String>,
    error_code: Option<String>,
    location: Option<String>,
    close: Option<Moment>,
    hang: Option<Moment>,
    cut: Option<u64>,
    accepted: Option<String>,
    raw: Option<String>,
    word: Option<String>,
    no_link: Option<bool>,
    link_in_resp_data: Option<bool>,
    link: Option<String>,
    expired: Option<bool>,
    length: Option<i64>,
    ignore_range: Option<bool>,
    drip: Option<u64>,
    new_etag: Option<bool>,
    gzip: Option<bool>,
    blanks: Option<u64>,
    bytes: Option<u64>,
    film: Option<Reel>,
    #[serde(default)]
    chunked: bool,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    header_bytes: Option<usize>,
}

impl WrittenRule {
    fn mean(self) -> Result<Rule, String> {
        let nth = match self.nth {
            None => Vec::new(),
            Some(Numbers::One(number)) => vec![number],
            Some(Numbers::Many(numbers)) => numbers,
        };
        if nth.contains(&0) || self.every == Some(0) {
            return Err("`nth` and `every` count from 1".to_owned());
        }
        let fault = self.r#do.mean(self.on)?;
        let unread = fault.early
            || matches!(
                fault.action,
                Action::Close(Moment::Head | Moment::Half) | Action::Hang(Moment::Head | Moment::Half)
            );
        if self.on == On::Submit && self.prompt.is_some() && unread {
            return Err("the prompt is not known before the whole body has been read".to_owned());
        }
        if self.over.is_some() && (self.on != On::Submit || self.prompt.is_some()) {
            return Err("`over` is for submissions, and not together with `prompt`".to_owned());
        }
        Ok(Rule { on: self.on, prompt: self.prompt, over: self.over, nth, every: self.every, times: self.times, fault })
    }
}

impl WrittenFault {
    fn mean(self, on: On) -> Result<Fault, String> {
        let flag = |flag: Option<bool>, action: Action| flag.unwrap_or(false).then_some(action);
        let page = || match (self.body.as_deref(), &self.error_code) {
            (Some("empty"), _) => Page::Empty,
            (Some("huge"), _) => Page::Huge,
            (Some("envelope"), code) => Page::Envelope(code.clone().unwrap_or_default()),
            (None, Some(code)) => Page::Envelope(code.clone()),
            (None | Some("html"), _) => Page::Html,
            (Some(text), _) => Page::Text(text.to_owned()),
        };
        let code = self.code.map(|code| Action::Code { code, status: self.status, shape: self.shape });
        let status = self.status.filter(|_| self.code.is_none() && self.accepted.is_none());
        let status = status.map(|status| Action::Status { status, body: page(), location: self.location.clone() });
        let accepted = self.accepted.map(|words| Action::Accept { status: self.status.unwrap_or(200), words });
        let choices = [
            code,
            status,
            self.close.map(Action::Close),
            self.hang.map(Action::Hang),
            self.cut.map(Action::Cut),
            accepted,
            self.raw.map(Action::Raw),
            self.word.map(|word| Action::Poll(PollFault::Word(word))),
            flag(self.no_link, Action::Poll(PollFault::NoLink)),
            flag(self.link_in_resp_data, Action::Poll(PollFault::LinkInRespData)),
            self.link.map(|link| Action::Poll(PollFault::Link(link))),
            flag(self.expired, Action::Download(DownloadFault::Expired)),
            self.length.map(|bytes| Action::Download(DownloadFault::Length(bytes))),
            flag(self.ignore_range, Action::Download(DownloadFault::IgnoreRange)),
            self.drip.map(Action::Drip),
            flag(self.new_etag, Action::Download(DownloadFault::NewEtag)),
            flag(self.gzip, Action::Gzip),
            self.blanks.map(Action::Blanks),
            self.bytes.map(|bytes| Action::Download(DownloadFault::Bytes(bytes))),
            self.film.map(|reel| Action::Download(DownloadFault::Film(reel))),
        ];
        let header_bytes = self.header_bytes.unwrap_or(0);
        let manner = Manner { chunked: self.chunked, headers: self.headers, header_bytes };
        manner.check(on)?;
        let mut chosen: Vec<Action> = choices.into_iter().flatten().collect();
        let action = match (chosen.pop(), chosen.pop()) {
            (None, _) if self.delay.is_some() || manner != Manner::default() => Action::Wait,
            (None, _) => return Err("`do` says nothing".to_owned()),
            (Some(action), None) => action,
            (Some(_), Some(_)) => return Err("`do` says more than one thing".to_owned()),
        };
        if let Some(status @ (..200 | 600..)) = self.status {
            return Err(format!("{status} is no HTTP status that an answer can have"));
        }
        if !action.suits(on) {
            return Err(format!("{action:?} is not for {on:?}"));
        }
        let delay = Duration::try_from_secs_f64(self.delay.unwrap_or(0.0))
            .ok()
            .filter(|delay| *delay <= DELAY_MAX)
            .ok_or("`delay` is in seconds, from 0 to one day")?;
        let retry_after = self.retry_after.map(|value| match value {
            Scalar::Number(seconds) => seconds.to_string(),
            Scalar::Text(text) => text,
        });
        Ok(Fault { delay, early: self.early, retry_after, manner, action })
    }
}

impl Manner {
    fn check(&self, on: On) -> Result<(), String> {
        if on == On::Submit && *self != Self::default() {
            return Err("`chunked`, `headers` and `header_bytes` are not for submissions".to_owned());
        }
        if self.header_bytes > HEADER_BYTES_MAX {
            return Err(format!("`header_bytes` is {HEADER_BYTES_MAX} at most"));
        }
        for (name, value) in &self.headers {
            let good = HeaderName::try_from(name).is_ok()
                && value.as_ref().is_none_or(|value| HeaderValue::try_from(value).is_ok());
            if !good {
                return Err(format!("{name:?} is no header that an answer can have"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_can_be_written() {
        let status = |status, body| Action::Status { status, body, location: None };
        let code = |code, status, shape| Action::Code { code, status, shape };
        let cases = [
            ("submit", "{code: 50430, status: 200}", code(50430, Some(200), Shape::Number)),
            ("submit", "{code: 50412, shape: quoted}", code(50412, None, Shape::Quoted)),
            ("poll", "{code: 50500, shape: digits}", code(50500, None, Shape::Digits)),
            ("submit", "{status: 502, body: html}", status(502, Page::Html)),
            ("submit", "{status: 429, body: empty}", status(429, Page::Empty)),
            (
                "poll",
                "{status: 403, error_code: insufficient_user_quota}",
                status(403, Page::Envelope("insufficient_user_quota".into())),
            ),
            ("poll", "{status: 200, body: '{}'}", status(200, Page::Text("{}".into()))),
            ("submit", "{close: head}", Action::Close(Moment::Head)),
            ("submit", "{close: half}", Action::Close(Moment::Half)),
            ("submit", "{close: accepted}", Action::Close(Moment::Accepted)),
            ("submit", "{accepted: '{}', status: 202}", Action::Accept { status: 202, words: "{}".into() }),
            ("submit", "{raw: hello}", Action::Raw("hello".into())),
            ("poll", "{status: 200, body: huge}", status(200, Page::Huge)),
            ("download", "{hang: half}", Action::Hang(Moment::Half)),
            ("download", "{cut: 100}", Action::Cut(100)),
            ("poll", "{no_link: true}", Action::Poll(PollFault::NoLink)),
            ("poll", "{link_in_resp_data: true}", Action::Poll(PollFault::LinkInRespData)),
            ("poll", "{link: 'http://10.0.0.1/'}", Action::Poll(PollFault::Link("http://10.0.0.1/".into()))),
            ("download", "{expired: true}", Action::Download(DownloadFault::Expired)),
            ("download", "{length: -5}", Action::Download(DownloadFault::Length(-5))),
            ("download", "{ignore_range: true}", Action::Download(DownloadFault::IgnoreRange)),
            ("download", "{drip: 100, delay: 0.5}", Action::Drip(100)),
            ("poll", "{drip: 1}", Action::Drip(1)),
            ("download", "{new_etag: true}", Action::Download(DownloadFault::NewEtag)),
            ("download", "{gzip: true}", Action::Gzip),
            ("poll", "{blanks: 10000000}", Action::Blanks(10_000_000)),
            ("download", "{bytes: 10000000000}", Action::Download(DownloadFault::Bytes(10_000_000_000))),
            ("download", "{film: no_moov}", Action::Download(DownloadFault::Film(Reel::NoMoov))),
            ("poll", "{chunked: true}", Action::Wait),
            ("poll", "{headers: {etag: null}}", Action::Wait),
            ("download", "{header_bytes: 9, cut: 1}", Action::Cut(1)),
        ];
        for (on, fault, wanted) in cases {
            let script = Script::parse(&format!("- {{on: {on}, do: {fault}}}")).unwrap();
            assert_eq!(script.rules[0].fault.action, wanted, "{fault}");
        }
    }

    #[test]
    fn a_script_that_cannot_be_followed_is_refused() {
        for (script, wanted) in [
            ("{on: poll}", "list"),
            ("- {on: poll, do: {}}", "says nothing"),
            ("- {on: poll, do: {code: 1, word: x}}", "more than one"),
            ("- {on: poll, do: {new_etag: true}}", "not for"),
            ("- {on: submit, do: {gzip: true}}", "not for"),
            ("- {on: submit, do: {chunked: true}}", "not for"),
            ("- {on: poll, do: {headers: {'a b': c}}}", "no header"),
            ("- {on: poll, do: {header_bytes: 100000000}}", "at most"),
            ("- {on: download, do: {close: accepted}}", "not for"),
            ("- {on: poll, do: {accepted: x}}", "not for"),
            ("- {on: poll, over: 1, do: {code: 1}}", "is for submissions"),
            ("- {on: poll, nth: 0, do: {code: 1}}", "count from 1"),
            ("- {on: poll, do: {status: 99}}", "no HTTP status"),
            ("- {on: poll, do: {delay: -1}}", "delay"),
            ("- {on: submit, prompt: x, do: {close: half}}", "not known"),
            ("- {on: poll, do: {cod: 1}}", "unknown field"),
        ] {
            let error = Script::parse(script).expect_err(script);
            let mut told = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                told = format!("{told}: {cause}");
                source = cause.source();
            }
            assert!(told.contains(wanted), "{script}: {told}");
        }
        assert_eq!(Script::parse("\n").unwrap(), Script::default());
    }
}
