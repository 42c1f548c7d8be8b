//! What was said becomes what it means: texts become durations, sizes, paths and choices within their ranges.
//!
//! Here is which key means what and which combinations make no sense; how a single value is read is in `reader`.
//! Combinations are judged only where each part is sound, so that one mistake makes one complaint.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::layers::{Overrides, Said};
use super::reader::Reader;
use super::units::show_duration;
use super::*;
use crate::job::Problem;

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
/// Requests at once after a rest.
const BURST: RangeInclusive<u64> = 1..=1_000;
/// Tasks in flight: each is a small record, and no account runs more.
const TASKS: RangeInclusive<u64> = 1..=10_000;
/// Paid attempts beyond the first.
const EXTRA_ATTEMPTS: RangeInclusive<u64> = 0..=10;
/// Pixels of a side.
const SIDE: RangeInclusive<u64> = 1..=1_000_000;
/// Submissions in a window.
const SUBMISSIONS: RangeInclusive<u64> = 1..=1_000_000;

/// Turns the leaves into the configuration; it is meant only if there are no problems.
pub(super) fn config(leaves: &BTreeMap<String, Said>, overrides: &Overrides) -> (Config, Vec<Problem>) {
    let mut r = Reader::new(leaves);
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
            requests_burst: r.unless_null("api.requests_burst", |r, key| r.whole_u32(key, BURST)),
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
    judge_combinations(&mut r, &config);
    (config, r.into_problems())
}

fn judge_combinations(r: &mut Reader<'_>, config: &Config) {
    let Poll { every, slowest, .. } = config.poll;
    if r.sound(&["poll.every", "poll.slowest"]) && every > slowest {
        let key = r.more_exact("poll.every", "poll.slowest");
        let (every, slowest) = (show_duration(every), show_duration(slowest));
        let message = format!("poll.every ({every}) is longer than poll.slowest ({slowest})");
        r.object(key, message, "raise poll.slowest, or lower poll.every");
    }
    let (short, long) = ("picture.min_short_side", "picture.max_side");
    match (config.picture.short_side_min, config.picture.side_max) {
        (Some(least), Some(most)) if least > most && r.sound(&[short, long]) => {
            let key = r.more_exact(short, long);
            let message = format!("no picture has a short side of {least} and a long side of {most} pixels at most");
            r.object(key, message, format!("lower {short}, or raise {long}"));
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    judge_folders(r, config);
}

/// Folders are told apart by their names alone: whether two names lead to one folder is seen at start.
fn judge_folders(r: &mut Reader<'_>, config: &Config) {
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
            if r.sound(&[key, other_key, "root"]) {
                let at = r.more_exact(key, other_key);
                r.object(at, message, "give each a folder of its own");
            }
        }
    }
    // The ledger lies in the root, and nothing but what was dropped may lie in the inbox.
    let root = lexical(&config.root);
    for (key, path) in folders.iter().filter(|(_, path)| root.starts_with(path)) {
        if r.sound(&[key, "root"]) {
            let message = format!("{} would hold root, {}, and the ledger in it", path.display(), root.display());
            r.object(key, message, "give it a folder of its own");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_in_a_path_are_taken_by_name() {
        assert_eq!(lexical(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(lexical(Path::new("/../a")), Path::new("/a"));
    }
}
