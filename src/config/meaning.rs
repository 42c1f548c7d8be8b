//! What was said becomes what it means: texts become durations, sizes, paths and choices within their ranges.
//!
//! Every key is read and complained about on its own; combinations are judged only where each part is sound, so that one
//! mistake makes one complaint. A value that cannot be used is replaced by a stand-in that never leaves this module's caller:
//! a configuration with a complaint is thrown away.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::layers::{Origin, Overrides, Said};
use super::units::{parse_duration, parse_size, show_duration};
use super::yaml::Value;
use super::*;

/// The flag that sets `root`.
pub(super) const ROOT_FLAG: &str = "--root";

/// What a pause between two looks may be: short enough for a test, long enough for a sleepy share.
const PAUSE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
/// What a rest may be; none is fine.
const REST: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
/// What the patience with a file or a task may be.
const PATIENCE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30 * 24 * 3600);
/// What a deadline in the network may be.
const DEADLINE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
/// How long something may be kept.
const KEPT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(36_500 * 24 * 3600);
/// Transfers at once: each holds buffers and a file.
const TRANSFERS: RangeInclusive<u64> = 1..=256;
/// Tasks in flight: each is a small record, and no account runs more.
const TASKS: RangeInclusive<u64> = 1..=10_000;
/// Paid attempts beyond the first.
const EXTRA_ATTEMPTS: RangeInclusive<u64> = 0..=10;
/// Pixels of a side.
const SIDE: RangeInclusive<u64> = 1..=1_000_000;
/// Submissions in a window.
const SUBMISSIONS: RangeInclusive<u64> = 1..=1_000_000;
/// Requests a second that the API could ever stand.
const REQUESTS_PER_SECOND_MAX: f64 = 1000.0;
/// Characters of a value that a complaint repeats.
const SHOWN_CHARS: usize = 40;
/// What tokens of this vendor begin with; a "path" that does is a token in the wrong place and is not repeated.
const TOKEN_PREFIX: &str = "sk-";

/// Turns the leaves into the configuration; it is meant only if there are no problems.
pub(super) fn config(leaves: &BTreeMap<String, Said>, overrides: &Overrides) -> (Config, Vec<Problem>) {
    let mut r = Reader { leaves, problems: Vec::new(), unsound: BTreeSet::new() };
    let root = r.root(overrides);
    let allow_insecure = r.flag("api.allow_insecure");
    let config = Config {
        folders: Folders {
            inbox: root.join(r.path("folders.inbox")),
            work: root.join(r.path("folders.work")),
            outbox: root.join(r.path("folders.outbox")),
            error: root.join(r.path("folders.error")),
            archive: root.join(r.path("folders.archive")),
        },
        root,
        inbox: Inbox {
            quiet: r.duration("inbox.quiet", REST),
            settle: r.duration("inbox.settle", PAUSE),
            incomplete_after: r.duration("inbox.incomplete_after", PATIENCE),
            rescan: r.duration("inbox.rescan", PAUSE),
            poll: r.duration("inbox.poll", PAUSE),
            watch: r.choice("inbox.watch", &[("auto", Watch::Auto), ("events", Watch::Events), ("poll", Watch::Poll)]),
            ignore: r.globs("inbox.ignore"),
            orphan_after: r.duration_unless("inbox.orphan_after", "never", PATIENCE),
        },
        picture: picture::Limits {
            bytes_max: r.unless_null("picture.max_bytes", |r, key| r.size(key)),
            side_max: r.unless_null("picture.max_side", |r, key| r.whole_u32(key, SIDE)),
            short_side_min: r.unless_null("picture.min_short_side", |r, key| r.whole_u32(key, SIDE)),
            ratio_max: r.unless_null("picture.max_ratio", Reader::ratio),
        },
        receipt: r.flag("outbox.receipt"),
        on_success: r.choice("on_success", &[("archive", OnSuccess::Archive), ("delete", OnSuccess::Delete)]),
        keep: Keep {
            archive: r.duration_unless("keep.archive", "forever", KEPT),
            ledger: r.duration_unless("keep.ledger", "forever", KEPT),
        },
        min_free_bytes: r.unless_null("min_free", |r, key| r.size(key)).unwrap_or(0),
        api: Api {
            base_url: r.base_url(allow_insecure),
            token_file: r.unless_null("api.token_file", Reader::absolute),
            allow_insecure,
            ca_file: r.unless_null("api.ca_file", Reader::absolute),
            requests_per_second: r.rate("api.requests_per_second"),
            uploads: r.whole("api.uploads", TRANSFERS) as usize,
            downloads: r.whole("api.downloads", TRANSFERS) as usize,
            connect_timeout: r.duration("api.connect_timeout", DEADLINE),
            submit_timeout: r.duration("api.submit_timeout", DEADLINE),
            poll_timeout: r.duration("api.poll_timeout", DEADLINE),
            idle_timeout: r.duration("api.idle_timeout", DEADLINE),
        },
        tasks: Tasks {
            max: r.whole("tasks.max", TASKS) as usize,
            extra_attempts: r.whole_u32("tasks.extra_attempts", EXTRA_ATTEMPTS),
            in_doubt: r.choice("tasks.in_doubt", &[("park", InDoubt::Park), ("resubmit", InDoubt::Resubmit)]),
            give_up_after: r.duration("tasks.give_up_after", PATIENCE),
        },
        poll: Poll {
            first: r.duration("poll.first", PAUSE),
            every: r.duration("poll.every", PAUSE),
            slowest: r.duration("poll.slowest", PAUSE),
        },
        budget: Budget {
            per_hour: r.unless_null("budget.per_hour", |r, key| r.whole_u32(key, SUBMISSIONS)),
            per_day: r.unless_null("budget.per_day", |r, key| r.whole_u32(key, SUBMISSIONS)),
        },
        log: Log {
            format: r.choice(
                "log.format",
                &[
                    ("auto", LogFormat::Auto),
                    ("journal", LogFormat::Journal),
                    ("text", LogFormat::Text),
                    ("json", LogFormat::Json),
                ],
            ),
            level: r.level("log.level"),
        },
    };
    r.judge_combinations(&config);
    (config, r.problems)
}

struct Reader<'a> {
    leaves: &'a BTreeMap<String, Said>,
    problems: Vec<Problem>,
    /// Keys whose value is a stand-in.
    unsound: BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    fn said(&self, key: &'static str) -> &'a Said {
        self.leaves.get(key).expect("the built-in file holds every key, which a test proves")
    }

    /// A complaint about a value that cannot be used.
    fn complain(&mut self, key: &'static str, message: impl Into<String>, proposal: impl Into<String>) {
        self.unsound.insert(key);
        self.object(key, message, proposal);
    }

    /// A complaint about a value that is sound by itself.
    fn object(&mut self, key: &'static str, message: impl Into<String>, proposal: impl Into<String>) {
        self.problems.push(self.said(key).problem(key, message.into(), Some(proposal.into())));
    }

    /// `null` is `None`; everything else is for `read`.
    fn unless_null<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self, &'static str) -> T) -> Option<T> {
        match self.said(key).value {
            Value::Null => None,
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                Some(read(self, key))
            }
        }
    }

    fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Duration {
        let wanted = format!("write {} to {}", show_duration(*range.start()), show_duration(*range.end()));
        self.duration_or_complaint(key, range, wanted)
    }

    /// The word stands for `None`.
    fn duration_unless(
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

    fn duration_or_complaint(
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

    fn whole(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u64 {
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

    fn whole_u32(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u32 {
        u32::try_from(self.whole(key, range)).unwrap_or(u32::MAX)
    }

    fn size(&mut self, key: &'static str) -> u64 {
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

    fn number(&self, key: &'static str) -> Option<f64> {
        match self.said(key).value {
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number).filter(|number| number.is_finite()),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    fn ratio(&mut self, key: &'static str) -> f64 {
        match self.number(key) {
            Some(ratio) if (1.0..=1000.0).contains(&ratio) => ratio,
            Some(_) | None => {
                let message = format!("{} is no ratio of the longer to the shorter side", shown(&self.said(key).value));
                self.complain(key, message, "write 1.0 to 1000.0, or null: not checked");
                1.0
            }
        }
    }

    fn rate(&mut self, key: &'static str) -> Option<RequestRate> {
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

    fn flag(&mut self, key: &'static str) -> bool {
        let said = &self.said(key).value;
        match said {
            Value::Bool(flag) => *flag,
            Value::Null | Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.complain(key, format!("{} is neither true nor false", shown(said)), "write true or false");
                false
            }
        }
    }

    fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> T {
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

    fn text(&mut self, key: &'static str) -> &'a str {
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

    fn path(&mut self, key: &'static str) -> PathBuf {
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

    fn absolute(&mut self, key: &'static str) -> PathBuf {
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

    fn root(&mut self, overrides: &Overrides) -> PathBuf {
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

    fn globs(&mut self, key: &'static str) -> Vec<String> {
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
                    Err(error) => error.to_string(),
                },
                other => format!("{} is no text", shown(other)),
            };
            let proposal = Some("write a glob such as \"*.bak\" or \"drafts/**\"".to_owned());
            self.problems.push(said.problem(&format!("{key}[{i}]"), fault, proposal));
        }
        globs
    }

    fn base_url(&mut self, allow_insecure: bool) -> String {
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

    fn level(&mut self, key: &'static str) -> String {
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
            (Some(stray), _) => self.complain(key, format!("{stray} is no level"), wanted),
            (None, Err(error)) => self.complain(key, format!("not a filter: {error}"), wanted),
            (None, Ok(_)) => {}
        }
        text.to_owned()
    }

    fn sound(&self, keys: &[&'static str]) -> bool {
        !keys.iter().any(|key| self.unsound.contains(key))
    }

    fn judge_combinations(&mut self, config: &Config) {
        let Poll { every, slowest, .. } = config.poll;
        if self.sound(&["poll.every", "poll.slowest"]) && every > slowest {
            let key = self.more_exact("poll.every", "poll.slowest");
            let (every, slowest) = (show_duration(every), show_duration(slowest));
            let message = format!("poll.every ({every}) is longer than poll.slowest ({slowest})");
            self.object(key, message, "raise poll.slowest, or lower poll.every");
        }
        let (short, long) = ("picture.min_short_side", "picture.max_side");
        match (config.picture.short_side_min, config.picture.side_max) {
            (Some(least), Some(most)) if least > most && self.sound(&[short, long]) => {
                let key = self.more_exact(short, long);
                let message =
                    format!("no picture has a short side of {least} and a long side of {most} pixels at most");
                self.object(key, message, format!("lower {short}, or raise {long}"));
            }
            (Some(_) | None, Some(_) | None) => {}
        }
        self.judge_folders(config);
    }

    /// Folders are told apart by their names alone: whether two names lead to one folder is seen at start.
    fn judge_folders(&mut self, config: &Config) {
        let folders = [
            ("folders.inbox", lexical(&config.folders.inbox)),
            ("folders.work", lexical(&config.folders.work)),
            ("folders.outbox", lexical(&config.folders.outbox)),
            ("folders.error", lexical(&config.folders.error)),
            ("folders.archive", lexical(&config.folders.archive)),
        ];
        for (i, (key, path)) in folders.iter().enumerate() {
            for (other_key, other) in &folders[..i] {
                let message = if path == other {
                    format!("{other_key} and {key} are the same folder, {}", path.display())
                } else if path.starts_with(other) {
                    format!("{key}, {}, lies inside {other_key}, {}", path.display(), other.display())
                } else if other.starts_with(path) {
                    format!("{other_key}, {}, lies inside {key}, {}", other.display(), path.display())
                } else {
                    continue;
                };
                if self.sound(&[key, other_key, "root"]) {
                    let at = self.more_exact(key, other_key);
                    self.object(at, message, "give each a folder of its own");
                }
            }
        }
        // The ledger lies in the root, and nothing but what was dropped may lie in the inbox.
        let root = lexical(&config.root);
        for (key, path) in folders.iter().filter(|(_, path)| root.starts_with(path)) {
            if self.sound(&[key, "root"]) {
                let message = format!("{} would hold root, {}, and the ledger in it", path.display(), root.display());
                self.object(key, message, "give it a folder of its own");
            }
        }
    }

    /// The one of two keys that somebody set, the first if both or none are.
    fn more_exact(&self, first: &'static str, second: &'static str) -> &'static str {
        match (&self.said(first).origin, &self.said(second).origin) {
            (Origin::Default, Origin::File(..) | Origin::Environment(_) | Origin::Flag(_)) => second,
            (Origin::Default, Origin::Default) | (Origin::File(..) | Origin::Environment(_) | Origin::Flag(_), _) => {
                first
            }
        }
    }
}

/// The path without `.` and with `..` taken by name.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(component),
        }
    }
    out
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
    }

    #[test]
    fn dots_in_a_path_are_taken_by_name() {
        assert_eq!(lexical(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(lexical(Path::new("/../a")), Path::new("/a"));
    }
}
