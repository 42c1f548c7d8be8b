//! The files that are installed with the program say what the program understands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jimengd::config::{self, Config, Overrides};
use jimengd::job::{Seed, sidecar};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(shipped(name)).unwrap()
}

fn configuration() -> Config {
    let file = shipped("config/jimengd.yaml");
    config::load(Some(&file), std::iter::empty(), &Overrides::default()).unwrap().config
}

/// Every value of the system unit's keys, in order.
fn unit() -> BTreeMap<String, Vec<String>> {
    keys("systemd/jimengd.service")
}

/// Every value of a unit's keys, in order.
fn keys(file: &str) -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text(file).lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, value)) = line.split_once('=') {
            keys.entry(key.to_owned()).or_default().push(value.to_owned());
        }
    }
    keys
}

#[test]
fn the_shipped_configuration_is_the_default() {
    let nothing = tempfile::NamedTempFile::new().unwrap();
    let default = config::load(Some(nothing.path()), std::iter::empty(), &Overrides::default()).unwrap().config;
    assert_eq!(configuration(), default);
    assert_eq!(default.root, Path::new("/var/lib/jimengd"));
    assert_eq!(default.api.base_url, "https://api.gpt.ge");
    assert!(!default.api.allow_insecure);
}

#[test]
fn the_example_is_a_good_sidecar() {
    let sidecar = sidecar::read(text("config/example.yaml").as_bytes(), true).unwrap();
    assert!(sidecar.prompt.starts_with("A golden retriever"));
    let request = sidecar.request(Some((640, 360)), 1);
    assert_eq!((request.aspect_ratio.label(), request.seed), ("9:16", Seed::Fixed(42)));
}

#[test]
fn the_unit_gives_the_program_what_it_counts_on() {
    let unit = unit();
    let one = |key: &str| match unit.get(key).map(Vec::as_slice) {
        Some([value]) => value.as_str(),
        other => panic!("{key} is {other:?}"),
    };
    assert_eq!(one("Type"), "notify");
    assert!(one("ExecStart").ends_with("/jimengd run"));
    assert!(one("ExecReload").ends_with("/jimengd reload --pid $MAINPID"));
    assert_eq!(one("Restart"), "on-failure");
    // Trying again cures neither wrong usage nor a missing token nor a bad configuration.
    assert_eq!(one("RestartPreventExitStatus"), "64 77 78");
    assert!(one("LoadCredential").starts_with(&format!("{}:", config::token::CREDENTIAL)));
    let root = configuration().root;
    assert_eq!(Path::new("/var/lib").join(one("StateDirectory")), root);
    assert!(unit.contains_key("WatchdogSec"));
    for (key, value) in [("NoNewPrivileges", "yes"), ("ProtectSystem", "strict"), ("CapabilityBoundingSet", "")] {
        assert_eq!(one(key), value);
    }
    let families = one("RestrictAddressFamilies");
    assert!(["AF_UNIX", "AF_INET", "AF_INET6"].iter().all(|family| families.contains(family)), "{families}");
    assert!(!unit.contains_key("ReadWritePaths"), "each would be a mount of its own");
    // With ProcSubset=pid nothing else tells a power cut from a crash.
    assert_eq!(one("Environment"), "BOOT_ID=%b");
}

#[test]
fn an_instance_is_the_same_service_elsewhere() {
    let (unit, mut instance) = (unit(), keys("systemd/jimengd@.service"));
    let expected = [
        ("Description", "Turns pictures and YAML files in a folder into videos through the Jimeng API (%i)"),
        ("ExecStart", "/usr/bin/jimengd run --config /etc/jimengd/%i.yaml"),
        ("LoadCredential", "api-token:/etc/jimengd/%i.api-token"),
        ("StateDirectory", "jimengd-%i"),
    ];
    for (key, value) in expected {
        assert_eq!(instance[key], [value]);
        instance.insert(key.to_owned(), unit[key].clone());
    }
    assert_eq!(instance["Environment"], ["JIMENGD_ROOT=/var/lib/jimengd-%i", "BOOT_ID=%b"]);
    instance.insert("Environment".to_owned(), unit["Environment"].clone());
    assert_eq!(instance, unit);
}

#[test]
fn a_service_for_oneself_ends_and_reloads_like_that_of_the_system() {
    let (unit, own) = (unit(), keys("systemd/user/jimengd.service"));
    let same = [
        "Type",
        "NotifyAccess",
        "ExecReload",
        "Restart",
        "RestartSec",
        "RestartPreventExitStatus",
        "TimeoutStartSec",
        "TimeoutStopSec",
        "WatchdogSec",
    ];
    for key in same.into_iter().chain([
        "SystemCallFilter",
        "RestrictAddressFamilies",
        "NoNewPrivileges",
        "LimitNOFILE",
        "TasksMax",
        "MemoryMax",
    ]) {
        assert_eq!(own[key], unit[key], "{key}");
    }
    assert_eq!(own["UMask"], ["0077"]);
}

#[test]
fn the_service_manager_waits_longer_than_the_program_may_take() {
    let unit = unit();
    let seconds: u64 = unit["TimeoutStopSec"][0].strip_suffix('s').unwrap().parse().unwrap();
    assert!(Duration::from_secs(seconds) > configuration().api.submit_timeout + Duration::from_secs(10));
}

#[test]
fn the_users_and_folders_of_the_package_are_those_of_the_unit() {
    let unit = unit();
    let user = &unit["User"][0];
    assert!(text("systemd/jimengd.sysusers").lines().any(|line| line.split_whitespace().nth(1) == Some(user)));
    let root = configuration().root;
    let folders = text("systemd/jimengd.tmpfiles");
    let made: Vec<_> = folders.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(made.iter().any(|line| line.contains(root.to_str().unwrap())), "{made:?}");
}

#[test]
fn the_readme_tells_the_codes_as_the_program_does() {
    let (begin, end) = ("<!-- codes: printed by jimengd codes --markdown -->\n", "<!-- /codes -->\n");
    let readme = text("README.md");
    let told = readme.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(told, _)| told);
    assert!(
        told == Some(&jimengd::cli::codes::markdown()),
        "README.md: put what `cargo run -- codes --markdown` prints between {begin}and {end}"
    );
}
