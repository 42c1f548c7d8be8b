//! A configuration either means something that the rest of the program can use, or is refused with complaints that help.
//!
//! An input is the site file, and after each NUL one environment variable, `NAME=value` without our prefix.

#![no_main]

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jimengd::config::layers::SHIPPED;
use jimengd::config::{Config, ConfigError, Effective, Overrides, load, redacted, settings};
use jimengd::job::Problem;
use jimengd::spool::scan::Rules;
use jimengd_fuzz::{Input, assert_helpful};
use libfuzzer_sys::fuzz_target;

/// Bytes that a configuration may have at most, and one more.
const TEXT_BYTES: usize = 64 * 1024 + 1;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let repeat = input.byte() & 1 != 0;
    let text = input.text(repeat, TEXT_BYTES);
    let mut parts = text.split(|&byte| byte == 0);
    let file = parts.next().unwrap_or_default();
    let variables: Vec<(OsString, OsString)> = parts.map(variable).collect();
    match loaded(file, variables) {
        Ok(effective) => assert_usable(&effective),
        Err(error) => assert_refused(file, &error.problems),
    }
});

fn variable(text: &[u8]) -> (OsString, OsString) {
    let end = text.iter().position(|&byte| byte == b'=').unwrap_or(text.len());
    let name = [&b"JIMENGD_"[..], &text[..end]].concat();
    let value = text.get(end + 1..).unwrap_or_default();
    (std::ffi::OsStr::from_bytes(&name).to_owned(), std::ffi::OsStr::from_bytes(value).to_owned())
}

/// Reads the layers with `text` as the site file, which lies in memory.
fn loaded(text: &[u8], variables: Vec<(OsString, OsString)>) -> Result<Effective, ConfigError> {
    static SITE: Mutex<Option<File>> = Mutex::new(None);
    let mut site = SITE.lock().unwrap_or_else(PoisonError::into_inner);
    let file = site.get_or_insert_with(|| {
        let file =
            rustix::fs::memfd_create("site", rustix::fs::MemfdFlags::CLOEXEC).expect("Linux has files in memory");
        File::from(file)
    });
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text)).expect("there is memory");
    load(Some(&site_path(file)), variables.into_iter(), &Overrides::default())
}

fn site_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn assert_usable(Effective { config, origins, sources }: &Effective) {
    let Config { root, folders, inbox, picture, api, tasks, poll, budget, .. } = config;
    let five = [&folders.inbox, &folders.work, &folders.outbox, &folders.error, &folders.archive];
    assert!(root.is_absolute() && five.iter().all(|folder| folder.is_absolute()), "{folders:?}");
    assert!(!five.iter().any(|folder| folder.as_os_str().as_bytes().contains(&0)), "{folders:?}");
    // Where a name leads that goes up again is seen at the start, on the disk.
    let plain = |path: &Path| !path.components().any(|part| part == Component::ParentDir);
    let five: Vec<_> = five.into_iter().filter(|folder| plain(folder)).collect();
    for (i, one) in five.iter().enumerate() {
        assert!(five[..i].iter().all(|other| !one.starts_with(other) && !other.starts_with(one)), "{folders:?}");
        assert!(!root.starts_with(one), "{one:?} would hold the ledger");
    }
    Rules::new(&inbox.ignore).expect("every glob is one for the scan, too");
    assert!(
        (1..=256).contains(&api.uploads) && (1..=256).contains(&api.downloads) && (1..=10_000).contains(&tasks.max)
    );
    assert!(tasks.extra_attempts <= 10, "each may be paid");
    assert!(budget.per_hour != Some(0) && budget.per_day != Some(0), "nothing could ever be sent");
    assert!(poll.every <= poll.slowest && !poll.first.is_zero() && !poll.every.is_zero());
    assert!(picture.ratio_max.is_none_or(|ratio| ratio >= 1.0));
    assert!(api.requests_per_second.is_none_or(|rate| rate.per_1000_seconds > 0));
    assert!(api.base_url.starts_with("https://") || (api.allow_insecure && api.base_url.starts_with("http://")));
    assert!(!api.base_url.ends_with('/') && !api.base_url.contains(['@', '?', '#']), "{}", api.base_url);
    assert!(!redacted(config).contains('\n'));

    let listed = settings(config);
    assert!(listed.iter().all(|(key, _)| origins.contains_key(*key)) && listed.len() == origins.len());
    assert!(sources.len() >= 2, "the built-in file and the site file");
    let name = |key: &str| format!("JIMENGD_{}", key.to_uppercase().replace('.', "__")).into();
    let again = listed.iter().map(|(key, value)| (name(key), value.into())).collect();
    let again = loaded(b"", again).unwrap_or_else(|error| panic!("{error}, but was listed: {listed:#?}"));
    assert_eq!(settings(&again.config), listed, "the listing reads back as something else");
}

fn assert_refused(text: &[u8], problems: &[Problem]) {
    let text = String::from_utf8_lossy(text);
    assert!(problems.iter().all(|problem| problem.file.is_some()), "whose mistake? {problems:?}");
    let in_file = |problem: &&Problem| problem.file.as_deref().is_some_and(|file| Path::new(file).starts_with("/proc"));
    let (file, others): (Vec<_>, Vec<_>) = problems.iter().partition(in_file);
    let owned = |problems: Vec<&Problem>| problems.into_iter().cloned().collect::<Vec<_>>();
    if !file.is_empty() {
        assert_helpful(&owned(file), &text);
    }
    if !others.is_empty() {
        assert_helpful(&owned(others), SHIPPED);
    }
    assert!(!problems.is_empty());
}
