//! Reads single values of the configuration: durations, sizes, numbers, choices, paths, the address, the filter.
//!
//! Each method complains about a value that cannot be used, with what would be accepted, and returns a stand-in, so that the
//! other keys are read as well. A stand-in is never used: a configuration with a complaint is thrown away.
//! What may be a token or a password is never repeated in a complaint.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::RequestRate;
use super::layers::{Origin, Overrides, Said};
use super::units::{parse_duration, parse_size, show_duration};
use super::yaml::Value;
use crate::api::address::private_literal;
use crate::job::Problem;

/// The flag that sets `root`.
pub(super) const ROOT_FLAG: &str = "--root";

/// Requests a second that the API could ever stand.
const REQUESTS_PER_SECOND_MAX: f64 = 1000.0;
/// Characters of a value that a complaint repeats.
const SHOWN_CHARS: usize = 40;
/// What tokens of this vendor begin with; a "path" that does is a token in the wrong place and is not repeated.
const TOKEN_PREFIX: &str = "sk-";

pub(super) struct Reader<'a> {
    leaves: &'a BTreeMap<String, Said>,
    problems: Vec<Problem>,
    /// Keys whose value is a stand-in.
    unsound: BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    /// Begins with every key sound.
    pub(super) fn new(leaves: &'a BTreeMap<String, Said>) -> Self {
        Self { leaves, problems: Vec::new(), unsound: BTreeSet::new() }
    }

    /// Everything that was complained about, in the order of reading.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(super) fn said(&self, key: &'static str) -> &'a Said {
        self.leaves.get(key).expect("the built-in file holds every key, which a test proves")
    }

    /// A complaint about a value that cannot be used.
    pub(super) fn complain(&mut self, key: &'static str, message: impl Into<String>, proposal: impl Into<String>) {
        self.unsound.insert(key);
        self.object(key, message, proposal);
    }

    /// A complaint about a value that is sound by itself.
    pub(super) fn object(&mut self, key: &'static str, message: impl Into<String>, proposal: impl Into<String>) {
        self.problems.push(self.said(key).problem(key, message.into(), Some(proposal.into())));
    }

    /// `null` is `None`; everything else is for `read`.
    pub(super) fn unless_null<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> T,
    ) -> Option<T> {
        match self.said(key).value {
            Value::Null => None,
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                Some(read(self, key))
            }
        }
    }

    pub(super) fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Duration {
        let wanted = format!("write {} to {}", show_duration(*range.start()), show_duration(*range.end()));
        self.duration_or_complaint(key, range, wanted)
    }

    /// The word stands for `None`.
    pub(super) fn duration_unless(
        &mut self,
        key: &'static str,
        word: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        match &self.said(key).value {
            Value::Text(text) if text == word => None,
            _ => {
                let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
                Some(self.duration_or_complaint(key, range, format!("write `{word}`, or {least} to {most}")))
            }
        }
    }

    pub(super) fn duration_or_complaint(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        wanted: String,
    ) -> Duration {
        let said = &self.said(key).value;
        let duration = match said {
            Value::Text(text) => parse_duration(text),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
        };
        match (duration, said) {
            (Some(duration), _) if range.contains(&duration) => return duration,
            (Some(_), _) => self.complain(key, format!("{} is out of range", shown(said)), wanted),
            (None, Value::Integer(number)) => {
                self.complain(key, format!("{number} has no unit"), format!("{wanted}, such as {number}s"));
            }
            (None, _) => self.complain(key, format!("{} is no duration", shown(said)), wanted),
        }
        *range.start()
    }

    pub(super) fn whole(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u64 {
        let said = &self.said(key).value;
        let wanted = format!("write {} to {}", range.start(), range.end());
        match said {
            Value::Integer(number) => match u64::try_from(*number) {
                Ok(number) if range.contains(&number) => return number,
                Ok(_) | Err(_) => self.complain(key, format!("{number} is out of range"), wanted),
            },
            Value::Null | Value::Bool(_) | Value::Float(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.complain(key, format!("{} is no whole number", shown(said)), wanted);
            }
        }
        *range.start()
    }

    pub(super) fn whole_u32(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u32 {
        u32::try_from(self.whole(key, range)).unwrap_or(u32::MAX)
    }

    pub(super) fn size(&mut self, key: &'static str) -> u64 {
        let said = &self.said(key).value;
        let size = match said {
            Value::Text(text) => parse_size(text),
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Null | Value::Bool(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
        };
        match size {
            Some(bytes) => bytes,
            None => {
                let message = format!("{} is no size", shown(said));
                self.complain(key, message, "write a size such as 4.7MB, or null: not checked");
                0
            }
        }
    }

    pub(super) fn number(&self, key: &'static str) -> Option<f64> {
        match self.said(key).value {
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number).filter(|number| number.is_finite()),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub(super) fn ratio(&mut self, key: &'static str) -> f64 {
        match self.number(key) {
            Some(ratio) if (1.0..=1000.0).contains(&ratio) => ratio,
            Some(_) | None => {
                let message = format!("{} is no ratio of the longer to the shorter side", shown(&self.said(key).value));
                self.complain(key, message, "write 1.0 to 1000.0, or null: not checked");
                1.0
            }
        }
    }

    pub(super) fn rate(&mut self, key: &'static str) -> Option<RequestRate> {
        match self.number(key) {
            Some(0.0) => None,
            Some(rate) if (0.001..=REQUESTS_PER_SECOND_MAX).contains(&rate) => {
                Some(RequestRate { per_1000_seconds: (rate * 1000.0).round() as u32 })
            }
            Some(_) | None => {
                let message = format!("{} is no rate", shown(&self.said(key).value));
                self.complain(key, message, format!("write 0.001 to {REQUESTS_PER_SECOND_MAX}, or 0: no limit"));
                None
            }
        }
    }

    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        let said = &self.said(key).value;
        match said {
            Value::Bool(flag) => *flag,
            Value::Null | Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.complain(key, format!("{} is neither true nor false", shown(said)), "write true or false");
                false
            }
        }
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> T {
        let said = &self.said(key).value;
        let chosen = choices.iter().find(|(word, _)| matches!(said, Value::Text(text) if text == word));
        match chosen {
            Some((_, choice)) => *choice,
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                let proposal = format!("write one of {}", words.join(", "));
                self.complain(key, format!("{} is not one of the choices", shown(said)), proposal);
                choices[0].1
            }
        }
    }

    pub(super) fn text(&mut self, key: &'static str) -> &'a str {
        let said = &self.said(key).value;
        match said {
            Value::Text(text) if !text.trim().is_empty() => text.as_str(),
            Value::Text(_) | Value::Null => {
                self.complain(key, "empty", "write a text, or leave the key away");
                ""
            }
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                self.complain(key, format!("{} is no text", shown(said)), "put it into quotes");
                ""
            }
        }
    }

    pub(super) fn path(&mut self, key: &'static str) -> PathBuf {
        let text = self.text(key);
        if text.contains('\0') {
            self.complain(key, "no path can hold a NUL", "write a path");
        } else if text.starts_with("~/") {
            self.complain(key, "`~` does not stand for your home here", "write the whole path");
        } else if text.starts_with(TOKEN_PREFIX) {
            let proposal = "put the token into a file of its own and write the path of that file";
            self.complain(key, "looks like a token, not like a path", proposal);
        }
        PathBuf::from(text)
    }

    pub(super) fn absolute(&mut self, key: &'static str) -> PathBuf {
        let path = self.path(key);
        match std::path::absolute(&path) {
            Ok(path) => path,
            // An empty path has been complained about.
            Err(_) if self.unsound.contains(key) => path,
            Err(error) => {
                self.complain(key, format!("cannot be made absolute: {error}"), "write an absolute path");
                path
            }
        }
    }

    pub(super) fn root(&mut self, overrides: &Overrides) -> PathBuf {
        let said = self.absolute("root");
        let Some(root) = &overrides.root else { return said };
        match std::path::absolute(root) {
            Ok(root) => root,
            Err(error) => {
                let flag = Said { value: Value::Null, origin: Origin::Flag(ROOT_FLAG), column: None };
                let proposal = Some("write an absolute path".to_owned());
                self.problems.push(flag.problem("root", format!("cannot be made absolute: {error}"), proposal));
                self.unsound.insert("root");
                said
            }
        }
    }

    pub(super) fn globs(&mut self, key: &'static str) -> Vec<String> {
        let said = self.said(key);
        let Value::List(nodes) = &said.value else {
            self.complain(key, format!("{} is no list", shown(&said.value)), "write a list such as [\"*.bak\"]");
            return Vec::new();
        };
        let mut globs = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            let fault = match &node.value {
                Value::Text(glob) => match globset::Glob::new(glob) {
                    Ok(_) if !glob.is_empty() => {
                        globs.push(glob.clone());
                        continue;
                    }
                    Ok(_) => "empty".to_owned(),
                    Err(error) => format!("{} is no glob: {}", shown(&node.value), error.kind()),
                },
                other => format!("{} is no text", shown(other)),
            };
            let proposal = Some("write a glob such as \"*.bak\" or \"drafts/**\"".to_owned());
            self.problems.push(said.problem(&format!("{key}[{i}]"), fault, proposal));
        }
        globs
    }

    pub(super) fn base_url(&mut self, allow_insecure: bool) -> String {
        let key = "api.base_url";
        let text = self.text(key);
        if self.unsound.contains(key) {
            return String::new();
        }
        match base_url(text, allow_insecure) {
            Ok(url) => url,
            Err((message, proposal)) => {
                self.complain(key, message, proposal);
                String::new()
            }
        }
    }

    pub(super) fn level(&mut self, key: &'static str) -> String {
        let text = self.text(key);
        // The filter's own parser takes a misspelt level for the name of a module and logs nothing else.
        let bare = |part: &&str| !part.contains('=') && !part.contains('[');
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let stray = text
            .split(',')
            .map(str::trim)
            .filter(bare)
            .find(|part| !part.is_empty() && !levels.iter().any(|level| level.eq_ignore_ascii_case(part)));
        let wanted = "write error, warn, info, debug or trace, or a filter such as info,jimengd::spool=debug";
        match (stray, EnvFilter::builder().parse(text)) {
            (Some(stray), _) => {
                let stray = shown(&Value::Text(stray.to_owned()));
                self.complain(key, format!("{stray} is no level"), wanted);
            }
            (None, Err(error)) => self.complain(key, format!("not a filter: {error}"), wanted),
            (None, Ok(_)) => {}
        }
        text.to_owned()
    }

    pub(super) fn sound(&self, keys: &[&'static str]) -> bool {
        !keys.iter().any(|key| self.unsound.contains(key))
    }

    /// The one of two keys that somebody set, the first if both or none are.
    pub(super) fn more_exact(&self, first: &'static str, second: &'static str) -> &'static str {
        match (&self.said(first).origin, &self.said(second).origin) {
            (Origin::Default, Origin::File(..) | Origin::Environment(_) | Origin::Flag(_)) => second,
            (Origin::Default, Origin::Default) | (Origin::File(..) | Origin::Environment(_) | Origin::Flag(_), _) => {
                first
            }
        }
    }
}

/// The address without `/v1` and without a trailing slash, or what is wrong and what to do. Repeats nothing of an address
/// that may hold a password.
fn base_url(text: &str, allow_insecure: bool) -> Result<String, (String, String)> {
    let wanted = || "write an address such as https://api.gpt.ge".to_owned();
    let url = match reqwest::Url::parse(text) {
        Ok(url) => url,
        Err(error) => return Err((format!("not an address: {error}"), wanted())),
    };
    match url.scheme() {
        "https" => {}
        "http" if allow_insecure => {}
        "http" => {
            let message = "http would send the token and the pictures readable by everyone in between".to_owned();
            return Err((
                message,
                "write https, or set api.allow_insecure: true for a simulator or a gateway".to_owned(),
            ));
        }
        _ => return Err(("neither https nor http".to_owned(), wanted())),
    }
    if let (Some(address), false) = (private_literal(&url), allow_insecure) {
        return Err((
            format!("{address} is not a public address"),
            "name a public one, or set api.allow_insecure: true for a simulator or a gateway".to_owned(),
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("holds a user or a password".to_owned(), "write the address alone".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("holds a `?` or a `#`".to_owned(), "write the address up to its path".to_owned()));
    }
    let trimmed = url.as_str().trim_end_matches('/');
    Ok(trimmed.strip_suffix("/v1").unwrap_or(trimmed).trim_end_matches('/').to_owned())
}

/// The value as a complaint repeats it: short, and only what is one value.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) if text.starts_with(TOKEN_PREFIX) => "what looks like a token".to_owned(),
        Value::Text(text) => match text.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => format!("`{}…`", text[..end].escape_debug()),
            None => format!("`{}`", text.escape_debug()),
        },
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a group of keys".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_loses_its_tail() {
        let cases = [
            ("https://api.gpt.ge", "https://api.gpt.ge"),
            ("https://api.gpt.ge/", "https://api.gpt.ge"),
            ("https://api.gpt.ge/v1", "https://api.gpt.ge"),
            ("https://api.gpt.ge/v1/", "https://api.gpt.ge"),
            ("https://API.gpt.ge:443/v1", "https://api.gpt.ge"),
            ("https://gateway.example/jimeng/v1", "https://gateway.example/jimeng"),
            ("https://gateway.example/v11", "https://gateway.example/v11"),
            ("http://127.0.0.1:8787/", "http://127.0.0.1:8787"),
        ];
        for (text, url) in cases {
            assert_eq!(base_url(text, true).as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn a_base_url_that_leads_astray_is_refused() {
        for text in ["api.gpt.ge", "ftp://api.gpt.ge", "https://", "https://u:p@api.gpt.ge", "https://a.b/?x=1"] {
            assert!(base_url(text, true).is_err(), "{text}");
        }
        let (message, _) = base_url("https://user:hunter2@api.gpt.ge", true).unwrap_err();
        assert!(!message.contains("hunter2"));
        let (_, proposal) = base_url("http://127.0.0.1:8787", false).unwrap_err();
        assert!(proposal.contains("allow_insecure"));
        for (text, address) in [
            ("https://10.0.0.5", "10.0.0.5"),
            ("https://127.0.0.1:1", "127.0.0.1"),
            ("https://2130706433/v1", "127.0.0.1"),
            ("https://[::1]", "::1"),
        ] {
            let (message, proposal) = base_url(text, false).unwrap_err();
            assert_eq!(message, format!("{address} is not a public address"), "{text}");
            assert!(proposal.contains("allow_insecure"));
            assert!(base_url(text, true).is_ok(), "{text}");
        }
        assert!(base_url("https://8.8.8.8", false).is_ok());
    }
}
