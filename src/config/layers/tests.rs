//! The layers: which one wins, what is refused, and the words for it.

use std::time::Duration;

use super::super::listing::{changes_needing_restart, redacted, settings};
use super::*;
use crate::config::{InDoubt, LogFormat, OnSuccess, RequestRate, Watch};

/// Reads the layers with `text` as the site file.
fn read(text: &str, environment: &[(&str, &str)]) -> Result<Effective, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.yaml");
    std::fs::write(&path, text).unwrap();
    let environment: Vec<_> = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    read_all(&path, true, environment.into_iter(), &Overrides::default())
}

fn shipped() -> Config {
    read("", &[]).unwrap().config
}

/// The complaints without the path of the temporary file.
fn complaints(text: &str) -> Vec<String> {
    let problems = read(text, &[]).unwrap_err().problems;
    problems.into_iter().map(|problem| Problem { file: Some("f".to_owned()), ..problem }.to_string()).collect()
}

fn complaint(text: &str) -> String {
    let complaints = complaints(text);
    assert_eq!(complaints.len(), 1, "{text}: {complaints:#?}");
    complaints[0].clone()
}

#[test]
fn the_built_in_file_says_what_is_promised() {
    let config = shipped();
    let root = Path::new("/var/lib/jimengd");
    assert_eq!(config.root, root);
    assert_eq!(config.folders.inbox, root.join("inbox"));
    assert_eq!(config.folders.archive, root.join("archive"));
    assert_eq!(config.inbox.quiet, Duration::from_millis(250));
    assert_eq!(config.inbox.incomplete_after, Duration::from_secs(600));
    assert_eq!(config.inbox.orphan_after, None);
    assert_eq!(config.inbox.watch, Watch::Auto);
    assert_eq!(config.picture.bytes_max, Some(4_700_000));
    assert_eq!(config.picture.ratio_max, Some(3.0));
    assert_eq!(config.on_success, OnSuccess::Archive);
    assert_eq!(config.keep.archive, None);
    assert_eq!(config.keep.ledger, Some(Duration::from_secs(90 * 86_400)));
    assert_eq!(config.min_free_bytes, 500_000_000);
    assert_eq!(config.api.base_url, "https://api.gpt.ge");
    assert_eq!(config.api.requests_per_second, Some(RequestRate { per_1000_seconds: 1000 }));
    assert_eq!(config.api.submit_timeout, Duration::from_secs(120));
    assert_eq!((config.tasks.max, config.tasks.extra_attempts), (256, 1));
    assert_eq!(config.tasks.in_doubt, InDoubt::Park);
    assert_eq!((config.budget.per_hour, config.budget.per_day), (None, None));
    assert_eq!(config.log.format, LogFormat::Auto);
}

#[test]
fn the_compact_form_of_the_defaults_means_the_same() {
    let text = "
root: /var/lib/jimengd
folders: {inbox: inbox, work: work, outbox: outbox, error: error, archive: archive}
inbox: {quiet: 250ms, settle: 2s, incomplete_after: 10m, rescan: 60s, poll: 2s, watch: auto, ignore: [], orphan_after: never}
picture: {max_bytes: 4.7MB, max_side: 4096, min_short_side: 320, max_ratio: 3.0}
outbox: {receipt: true}
on_success: archive
keep: {archive: forever, ledger: 90d}
min_free: 500MB
api:
  base_url: https://api.gpt.ge
  token_file: null
  allow_insecure: false
  ca_file: null
  requests_per_second: 1
  requests_burst: null
  uploads: 8
  downloads: 8
  connect_timeout: 10s
  submit_timeout: 120s
  poll_timeout: 30s
  idle_timeout: 60s
tasks: {max: 256, extra_attempts: 1, in_doubt: park, give_up_after: 12h}
poll: {first: 10s, every: 5s, slowest: 30s}
budget: {per_hour: null, per_day: null}
log: {format: auto, level: info}
";
    let effective = read(text, &[]).unwrap();
    assert_eq!(effective.config, shipped());
    let all_from_the_file = effective.origins.values().all(|origin| matches!(origin, Origin::File(_, Some(_))));
    assert!(all_from_the_file, "{:#?}", effective.origins);
}

#[test]
fn the_built_in_file_holds_exactly_the_keys_that_are_listed() {
    let effective = read("", &[]).unwrap();
    let mut listed: Vec<_> = settings(&effective.config).into_iter().map(|(key, _)| key).collect();
    listed.sort_unstable();
    assert_eq!(listed, effective.origins.keys().collect::<Vec<_>>());
    assert!(effective.origins.values().all(|origin| *origin == Origin::Default));
}

#[test]
fn every_key_of_the_built_in_file_has_a_comment() {
    let lines: Vec<&str> = SHIPPED.lines().collect();
    let mut keys = 0;
    for (i, line) in lines.iter().enumerate() {
        let Some((key, value)) = line.split_once(':').filter(|(key, _)| !key.contains('#')) else { continue };
        let is_section = value.trim().is_empty();
        let above = i > 0 && lines[i - 1].starts_with('#');
        assert!(is_section || above || value.contains(" # "), "{key} has no comment");
        keys += usize::from(!is_section);
    }
    assert_eq!(keys, settings(&shipped()).len());
}

#[test]
fn the_listing_reads_back_as_the_same() {
    let text = "inbox: {ignore: ['*.bak', 'a, b/**'], orphan_after: 2d}\npicture: {max_bytes: null, max_ratio: 2.5}\n\
                api: {requests_per_second: 0.25, token_file: /run/to ken}\nlog: {level: 'info,jimengd::spool=debug'}\n";
    let first = read(text, &[]).unwrap().config;
    let variables: Vec<_> =
        settings(&first).into_iter().map(|(key, value)| (variable_of(key).into(), value.into())).collect();
    let again = read_all(Path::new("/nonexistent"), false, variables.into_iter(), &Overrides::default()).unwrap();
    assert_eq!(again.config, first);
    assert!(redacted(&first).contains("inbox.orphan_after=2d"));
    assert!(!redacted(&first).contains('\n'));
}

#[test]
fn a_later_layer_wins_key_by_key_and_is_remembered() {
    let text = "api:\n  uploads: 2\n  downloads: 3\ntasks:\n  max: 7\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.yaml");
    std::fs::write(&path, text).unwrap();
    let environment = [("JIMENGD_API__DOWNLOADS", "4"), ("PATH", "/bin"), ("JIMENGD_API_TOKEN", "x")];
    let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
    let overrides = Overrides { root: Some("/srv/spool".into()) };
    let effective = load(Some(&path), environment, &overrides).unwrap();
    let api = &effective.config.api;
    assert_eq!((api.uploads, api.downloads, effective.config.tasks.max), (2, 4, 7));
    assert_eq!(effective.config.folders.inbox, Path::new("/srv/spool/inbox"));
    let origin = |key: &str| effective.origins[key].clone();
    assert_eq!(origin("api.uploads"), Origin::File(path.clone(), Some(2)));
    assert_eq!(origin("tasks.max"), Origin::File(path.clone(), Some(5)));
    assert_eq!(origin("api.downloads"), Origin::Environment("JIMENGD_API__DOWNLOADS".to_owned()));
    assert_eq!(origin("api.base_url"), Origin::Default);
    assert_eq!(origin("root"), Origin::Flag("--root"));
    assert_eq!(effective.sources.len(), 4);
}

#[test]
fn a_variable_may_hold_a_section_and_a_more_exact_one_wins() {
    let environment = [("JIMENGD_POLL__FIRST", "1s"), ("JIMENGD_POLL", "{first: 3s, every: 4s}")];
    let poll = read("", &environment).unwrap().config.poll;
    assert_eq!((poll.first, poll.every), (Duration::from_secs(1), Duration::from_secs(4)));
}

#[test]
fn an_address_in_the_environment_needs_no_quotes() {
    let environment = [("JIMENGD_API__BASE_URL", "http://127.0.0.1:8787/v1"), ("JIMENGD_API__ALLOW_INSECURE", "true")];
    assert_eq!(read("", &environment).unwrap().config.api.base_url, "http://127.0.0.1:8787");
}

#[test]
fn unknown_variables_are_refused_with_a_proposal() {
    let cases = [
        ("JIMENGD_API_BASE_URL", "1", "JIMENGD_API_BASE_URL: no such setting; did you mean JIMENGD_API__BASE_URL?"),
        (
            "JIMENGD_API__TOKEN",
            "x",
            "JIMENGD_API__TOKEN: no such setting; the token's variable is JIMENGD_API_TOKEN, with single underscores; a file with it is named in api.token_file",
        ),
        ("JIMENGD_ROOTS", "/x", "JIMENGD_ROOTS: no such setting; did you mean JIMENGD_ROOT?"),
        (
            "JIMENGD_LOG",
            "debug",
            "JIMENGD_LOG: log: not a value of its own; write keys with values below it: format, level",
        ),
        ("JIMENGD_TASKS__MAX", "0", "JIMENGD_TASKS__MAX: tasks.max: 0 is out of range; write 1 to 10000"),
    ];
    for (name, value, wanted) in cases {
        let problems = read("", &[(name, value)]).unwrap_err().problems;
        assert_eq!(problems.iter().map(Problem::to_string).collect::<Vec<_>>(), [wanted]);
    }
}

#[test]
fn each_mistake_is_told_with_its_place_and_a_proposal() {
    let cases = [
        ("rot: /x\n", "f:1:1: rot: no such key; did you mean `root`?"),
        ("inbox:\n  quite: 1s\n", "f:2:3: inbox.quite: no such key; did you mean `quiet`?"),
        ("base_url: https://x\n", "f:1:1: base_url: no such key; did you mean `api.base_url`?"),
        ("on_success: keep\n", "f:1:13: on_success: `keep` is not one of the choices; write one of archive, delete"),
        ("keep:\n  color: 1\n", "f:2:3: keep.color: no such key; known here: archive, ledger"),
        ("inbox: {settle: 5}\n", "f:1:17: inbox.settle: 5 has no unit; write 1ms to 1d, such as 5s"),
        ("inbox: {settle: soon}\n", "f:1:17: inbox.settle: `soon` is no duration; write 1ms to 1d"),
        (
            "inbox: {orphan_after: null}\n",
            "f:1:23: inbox.orphan_after: null is no duration; write `never`, or 1ms to 30d",
        ),
        ("tasks: {max: 10001}\n", "f:1:14: tasks.max: 10001 is out of range; write 1 to 10000"),
        ("tasks: {max: many}\n", "f:1:14: tasks.max: `many` is no whole number; write 1 to 10000"),
        ("api: {uploads: 0}\n", "f:1:16: api.uploads: 0 is out of range; write 1 to 256"),
        (
            "api: {allow_insecure: yes}\n",
            "f:1:23: api.allow_insecure: `yes` is neither true nor false; write true or false",
        ),
        ("min_free: 4,7MB\n", "f:1:11: min_free: `4,7MB` is no size; write a size such as 4.7MB, or null: not checked"),
        ("tasks:\n  max: 1\n  max: 2\n", "f:3:3: tasks.max: written twice; keep one of the two"),
        (
            "log: {level: inof}\n",
            "f:1:14: log.level: `inof` is no level; write error, warn, info, debug or trace, or a filter such as info,jimengd::spool=debug",
        ),
        (
            "folders: {outbox: ~/videos}\n",
            "f:1:19: folders.outbox: `~` does not stand for your home here; write the whole path",
        ),
        (
            "poll: {every: 1m}\n",
            "f:1:15: poll.every: poll.every (1m) is longer than poll.slowest (30s); raise poll.slowest, or lower poll.every",
        ),
        (
            "api: {requests_per_second: -1}\n",
            "f:1:28: api.requests_per_second: -1 is no rate; write 0.001 to 1000, or 0: no limit",
        ),
        (
            "api: 5\n",
            "f:1:6: api: not a value of its own; write keys with values below it: allow_insecure, base_url, ca_file, connect_timeout, downloads, idle_timeout, poll_timeout, requests_burst, requests_per_second, submit_timeout, token_file, uploads",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(complaint(text), wanted);
    }
}

#[test]
fn a_complaint_is_one_line_whatever_it_repeats() {
    let long = "x".repeat(5000);
    for text in [
        "\"a\\nb\": 1\n".to_owned(),
        format!("{long}: 1\n"),
        format!("log: {{level: {long}}}\n"),
        "inbox: {ignore: [\"[\\n\"]}\n".to_owned(),
    ] {
        let complaint = complaint(&text);
        assert!(complaint.len() < 400 && !complaint.contains(char::is_control), "{complaint}");
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = "rot: /x\ntasks: {max: 0, in_doubt: maybe}\npicture:\n  max_side: 100\n";
    let complaints = complaints(text);
    assert_eq!(complaints.len(), 4, "{complaints:#?}");
    let error = read(text, &[]).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 5, "{error}");
}

#[test]
fn folders_must_be_apart() {
    let cases = [
        ("folders: {outbox: inbox}\n", "are the same folder"),
        ("folders: {outbox: inbox/done}\n", "lies inside folders.inbox"),
        ("folders: {inbox: outbox/../error/in}\n", "lies inside folders.error"),
        ("folders: {inbox: /data}\nroot: /data/state\n", "lies inside folders.inbox"),
    ];
    for (text, wanted) in cases {
        let complaints = complaints(text);
        assert!(complaints[0].contains(wanted), "{text}: {complaints:#?}");
        assert!(complaints.iter().all(|complaint| complaint.starts_with("f:1:")), "{complaints:#?}");
    }
    let around = "root: /data/state\nfolders: {inbox: /i, work: /w, outbox: /data, error: /e, archive: /a}\n";
    assert!(complaint(around).contains("would hold root"));
    assert!(read("folders: {inbox: /mnt/in, work: /mnt/in-work}\n", &[]).is_ok());
}

#[test]
fn a_token_in_the_file_is_refused_and_not_repeated() {
    for text in [
        "api: {token: sk-abcdef}\n",
        "api: {token_file: sk-abcdef}\n",
        "api: {uploads: sk-abcdef}\n",
        "log: {level: sk-abcdef}\n",
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains("token"), "{complaint}");
        assert!(!complaint.contains("abcdef"), "{complaint}");
    }
}

#[test]
fn a_named_file_must_exist_and_the_usual_one_need_not() {
    let missing = Path::new("/nonexistent/jimengd.yaml");
    let problems = load(Some(missing), std::iter::empty(), &Overrides::default()).unwrap_err().problems;
    assert!(problems[0].to_string().starts_with("/nonexistent/jimengd.yaml: cannot be read"), "{}", problems[0]);
    assert!(read_all(missing, false, std::iter::empty(), &Overrides::default()).is_ok());
}

#[test]
fn a_relative_root_counts_from_the_current_directory() {
    let overrides = Overrides { root: Some("spool".into()) };
    let config = read_all(Path::new("/nonexistent"), false, std::iter::empty(), &overrides).unwrap().config;
    assert_eq!(config.root, std::env::current_dir().unwrap().join("spool"));
}

#[test]
fn null_and_the_words_for_ever_switch_things_off() {
    let text = "picture: {max_bytes: null, max_side: ~, min_short_side: null, max_ratio: null}\nmin_free: null\n\
                keep: {ledger: forever}\napi: {requests_per_second: 0}\nbudget: {per_hour: 5}\n";
    let config = read(text, &[]).unwrap().config;
    assert_eq!(config.picture.bytes_max.or(config.picture.side_max.map(u64::from)), None);
    assert_eq!((config.min_free_bytes, config.keep.ledger, config.api.requests_per_second), (0, None, None));
    assert_eq!((config.budget.per_hour, config.budget.per_day), (Some(5), None));
}

#[test]
fn what_is_switched_off_is_listed_by_the_word_that_switches_it_off() {
    for text in ["min_free: null\n", "min_free: 0B\n"] {
        let config = read(text, &[]).unwrap().config;
        assert!(settings(&config).contains(&("min_free", "null".to_owned())), "{text}");
    }
}

#[test]
fn only_what_is_fixed_while_running_needs_a_restart() {
    let old = shipped();
    let new = read("root: /srv/x\ntasks: {max: 3}\nlog: {format: json, level: debug}\n", &[]).unwrap().config;
    let changes = changes_needing_restart(&old, &new);
    assert_eq!(changes.first(), Some(&"root"));
    assert!(changes.contains(&"log.format") && changes.contains(&"folders.work"));
    assert!(!changes.contains(&"tasks.max") && !changes.contains(&"log.level"));
    assert_eq!(changes_needing_restart(&old, &old), Vec::<&str>::new());
}
