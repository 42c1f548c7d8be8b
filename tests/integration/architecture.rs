//! The walls of the house: imports go downward only, and the rooms that decide know neither files nor clocks.
//!
//! Tests inside `src` may reach anywhere, so what is marked `#[cfg(test)]` and the files of tests are left out.

pub mod source;

use source::{Named, files, module, named, tokens, without_tests};

/// The rooms, from the top down. A room imports from the rows below its own, and from itself.
const ROWS: [&[&str]; 6] =
    [&["main"], &["cli"], &["daemon"], &["config"], &["spool", "api", "ledger"], &["throttle", "job"]];

/// The rooms that stand aside, and who may import them. They import nothing of ours; the simulator would otherwise
/// share its mistakes with the rooms that are tested against it.
const ASIDE: [(&str, &[&str]); 4] = [
    ("logging", &["main", "cli", "daemon"]),
    ("systemd", &["main", "cli", "daemon"]),
    ("simulator", &["main", "cli"]),
    ("world", &["daemon", "spool", "api", "ledger"]),
];

/// The rooms without I/O, async, clock and chance.
const PURE: [&str; 2] = ["job", "throttle"];

/// Words that a pure room never says.
const IMPURE_WORDS: [&str; 21] = [
    "async",
    "await",
    "axum",
    "dbg",
    "eprint",
    "eprintln",
    "fastrand",
    "getrandom",
    "log",
    "notify",
    "now_v4",
    "now_v7",
    "print",
    "println",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "tokio",
    "tracing",
    "unsafe",
];

/// Parts of the standard library that a pure room never names.
const IMPURE_STD: [&str; 7] = ["*", "env", "fs", "io", "net", "process", "thread"];

/// The rooms that change files by the room `world` alone, where each change has a number.
const NUMBERED: [&str; 4] = ["spool", "api", "ledger", "daemon"];

/// Methods that change files, and nothing else has.
const CHANGING_METHODS: [&str; 7] =
    ["create_new", "set_len", "set_modified", "set_times", "sync_all", "sync_data", "write_all"];

/// Functions of `fs` that change files.
const CHANGING_FUNCTIONS: [&str; 26] = [
    "OpenOptions",
    "chmodat",
    "copy",
    "copy_file_range",
    "create",
    "create_dir",
    "create_dir_all",
    "fallocate",
    "fdatasync",
    "fsync",
    "ftruncate",
    "futimens",
    "hard_link",
    "linkat",
    "mkdirat",
    "mknodat",
    "options",
    "remove_dir",
    "remove_dir_all",
    "remove_file",
    "rename",
    "renameat",
    "renameat_with",
    "unlinkat",
    "utimensat",
    "write",
];

/// What is wrong with `source` as the text of `file` (`src/job/plan.rs`), each as `file:line: what`.
fn violations(file: &str, source: &str) -> Vec<String> {
    let tokens = without_tests(&tokens(source));
    let room = match file {
        "src/main.rs" => "main",
        "src/lib.rs" => "lib",
        _ => module(file)[0],
    };
    let mut found: Vec<(usize, String)> = Vec::new();
    if room != "lib" && row(room).is_none() && aside(room).is_none() {
        found.push((1, format!("{room} is no room of the plan")));
    }
    let named = named(file, &tokens);
    found.extend(named.iter().filter_map(|path| Some((path.line, forbidden_import(room, path)?))));
    for pair in tokens.windows(2) {
        if pair[0].text == "mod" && pair[1].text == "tests" {
            found.push((pair[1].line, "tests without #[cfg(test)]".to_owned()));
        }
    }
    if PURE.contains(&room) {
        for token in tokens.iter().filter(|token| IMPURE_WORDS.contains(&token.text)) {
            found.push((token.line, format!("{room} is pure, but says {}", token.text)));
        }
        let clocks = [("::", "now"), (".", "elapsed")];
        for pair in tokens.windows(2).filter(|pair| clocks.contains(&(pair[0].text, pair[1].text))) {
            found.push((pair[1].line, format!("{room} is pure, but reads a clock")));
        }
        for path in &named {
            match path.segments[..] {
                ["std", part, ..] if IMPURE_STD.contains(&part) => {
                    found.push((path.line, format!("{room} is pure, but names std::{part}")));
                }
                _ => {}
            }
        }
    }
    if NUMBERED.contains(&room) {
        let methods = tokens.windows(2).filter(|pair| pair[0].text == "." && CHANGING_METHODS.contains(&pair[1].text));
        let functions = named.iter().filter(|path| match path.segments[..] {
            [.., "fs" | "File", function] => CHANGING_FUNCTIONS.contains(&function),
            _ => false,
        });
        let methods = methods.map(|pair| (pair[1].line, pair[1].text));
        let functions = functions.map(|path| (path.line, path.segments[path.segments.len() - 1]));
        found.extend(
            methods
                .chain(functions)
                .map(|(line, name)| (line, format!("{room} says {name}: only world changes files"))),
        );
    }
    found.sort();
    found.dedup();
    found.into_iter().map(|(line, what)| format!("{file}:{line}: {what}")).collect()
}

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

fn aside(room: &str) -> Option<&'static [&'static str]> {
    ASIDE.iter().find(|(name, _)| *name == room).map(|(_, importers)| *importers)
}

/// Why `room` must not name `path`; `None` if it may, or if the path leads out of this crate.
fn forbidden_import(room: &str, path: &Named<'_>) -> Option<String> {
    let target = *path.within_crate()?.first().unwrap_or(&"the root");
    let written = path.segments.join("::");
    if target == room {
        return None;
    }
    let allowed = match (row(room), row(target), aside(target)) {
        (Some(from), Some(to), _) => from < to,
        (Some(_), None, Some(importers)) => importers.contains(&room),
        (Some(_), None, None) => return Some(format!("{written} names no room")),
        (None, _, _) => return Some(format!("{room} imports nothing of ours, but names {written}")),
    };
    (!allowed).then(|| format!("{room} must not import {target}, but names {written}"))
}

/// Whether `file` holds tests alone.
fn is_tests(file: &str) -> bool {
    // The last is the server that tests of the client speak to.
    file.ends_with("/tests.rs") || file.contains("/tests/") || file == "src/api/raw_server.rs"
}

#[test]
fn imports_go_downward_only_and_the_core_is_pure() {
    let found: Vec<String> = files("src")
        .iter()
        .filter(|(file, _)| !is_tests(file))
        .flat_map(|(file, source)| violations(file, source))
        .collect();
    assert!(found.is_empty(), "{} walls are broken:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_room_of_the_plan_is_there() {
    let files = files("src");
    for room in ROWS.concat().into_iter().chain(ASIDE.map(|(room, _)| room)) {
        let there = [format!("src/{room}.rs"), format!("src/{room}/mod.rs")];
        assert!(files.iter().any(|(file, _)| there.contains(file)), "{room} is missing");
    }
}

/// Sources that break a wall: the file, its text, and how the complaint begins and what it contains.
#[test]
fn what_breaks_a_wall_is_found_where_it_stands() {
    let cases = [
        ("src/job/plan.rs", "use crate::daemon::run;", "src/job/plan.rs:1: job must not import daemon"),
        ("src/job/plan.rs", "\nuse super::super::daemon;", "src/job/plan.rs:2: job must not import daemon"),
        ("src/job/mod.rs", "use super::throttle::Rate;", "src/job/mod.rs:1: job must not import throttle"),
        (
            "src/throttle/rate.rs",
            "fn f(j: &crate::job::Job) {}",
            "src/throttle/rate.rs:1: throttle must not import job",
        ),
        ("src/spool/mod.rs", "use crate::{\n    job::Job,\n    ledger::Row,\n};", "src/spool/mod.rs:3: spool must"),
        ("src/api/wire.rs", "use crate::{job, simulator as s};", "src/api/wire.rs:1: api must not import simulator"),
        ("src/simulator/mod.rs", "use crate::job::Job;", "src/simulator/mod.rs:1: simulator imports nothing of ours"),
        ("src/simulator/world.rs", "use jimengd::api;", "src/simulator/world.rs:1: simulator imports nothing of ours"),
        ("src/logging.rs", "use crate::config::Config;", "src/logging.rs:1: logging imports nothing of ours"),
        ("src/config/mod.rs", "use self::super::super::cli;", "src/config/mod.rs:1: config must not import"),
        (
            "src/config/mod.rs",
            "mod inner { use super::super::cli; }",
            "src/config/mod.rs:1: config must not import cli",
        ),
        ("src/daemon/step.rs", "use crate::cli;", "src/daemon/step.rs:1: daemon must not import cli"),
        ("src/daemon/step.rs", "use crate::*;", "src/daemon/step.rs:1: crate::* names no room"),
        ("src/daemon/step.rs", "use crate::Job;", "src/daemon/step.rs:1: crate::Job names no room"),
        ("src/cli/mod.rs", "use crate as c;", "src/cli/mod.rs:1: crate names no room"),
        ("src/cli/mod.rs", "use crate::{self as c,};", "src/cli/mod.rs:1: crate names no room"),
        ("src/utils/mod.rs", "", "src/utils/mod.rs:1: utils is no room of the plan"),
        ("src/spool/keep.rs", "fn f() { file.sync_all(); }", "src/spool/keep.rs:1: spool says sync_all"),
        ("src/spool/keep.rs", "fn f() { rustix::fs::fsync(f); }", "src/spool/keep.rs:1: spool says fsync"),
        ("src/api/part.rs", "use std::fs::{\n    File,\n    OpenOptions};", "src/api/part.rs:3: api says OpenOptions"),
        ("src/daemon/step.rs", "fn f() { File::create(p); }", "src/daemon/step.rs:1: daemon says create"),
        ("src/cli/mod.rs", "mod tests;", "src/cli/mod.rs:1: tests without #[cfg(test)]"),
        ("src/job/plan.rs", "use std::fs;", "src/job/plan.rs:1: job is pure, but names std::fs"),
        (
            "src/job/plan.rs",
            "use std::{\n    fmt,\n    io::{self, Read},\n};",
            "src/job/plan.rs:3: job is pure, but names std::io",
        ),
        (
            "src/throttle/rate.rs",
            "fn f() -> String { std::env::var(X) }",
            "src/throttle/rate.rs:1: throttle is pure, but names",
        ),
        (
            "src/job/plan.rs",
            "fn f() {\n    let at = Timestamp::now();\n}",
            "src/job/plan.rs:2: job is pure, but reads a clock",
        ),
        (
            "src/job/plan.rs",
            "use std::time::Instant as Watch;\nfn f() { Watch::now(); }",
            "src/job/plan.rs:2: job is pure, but",
        ),
        ("src/job/plan.rs", "fn f(at: Instant) { at.elapsed(); }", "src/job/plan.rs:1: job is pure, but reads a clock"),
        ("src/job/plan.rs", "fn f() { println!(\"{}\", 1) }", "src/job/plan.rs:1: job is pure, but says println"),
        ("src/job/plan.rs", "pub async fn f() {}", "src/job/plan.rs:1: job is pure, but says async"),
        (
            "src/job/plan.rs",
            "#[cfg(test)]\nmod tests { }\nuse tokio::fs;",
            "src/job/plan.rs:3: job is pure, but says tokio",
        ),
        (
            "src/job/plan.rs",
            "const A: &str = r#\" \" \"#; const B: char = '\"'; use tokio::fs;",
            "src/job/plan.rs:1: job is pure",
        ),
        (
            "src/job/plan.rs",
            "const A: &str = \"two\n\\\" lines\";\nuse crate::api;",
            "src/job/plan.rs:3: job must not import api",
        ),
        (
            "src/job/plan.rs",
            "/* /* nested */ */ fn f<'a>(c: char) -> bool { c == '\\'' }\nuse crate::api;",
            "src/job/plan.rs:2",
        ),
    ];
    for (file, source, complaint) in cases {
        let found = violations(file, source);
        assert!(
            found.len() == 1 && found[0].starts_with(complaint),
            "{file}\n{source}\nfound {found:?}, not {complaint}"
        );
    }
}

#[test]
fn what_breaks_no_wall_is_left_alone() {
    let cases = [
        ("src/main.rs", "use jimengd::{cli, logging};"),
        ("src/cli/demo.rs", "use crate::{config::Config, daemon, simulator::Simulator};"),
        (
            "src/daemon/step.rs",
            "use super::driver;\nuse crate::job::{self, plan::{self, Step}};\nuse crate::{api, ledger, spool, systemd};",
        ),
        (
            "src/spool/scan.rs",
            "use super::pairing;\nuse crate::job::{FileName, Folder};\npub(super) fn f() -> super::Spool {}",
        ),
        ("src/job/sidecar/text.rs", "use super::super::Problem;\nuse super::place::Place;\npub(crate) struct A;"),
        (
            "src/job/mod.rs",
            "//! See [`crate::daemon`], not tokio.\n/* println */ const A: &str = \"std::fs, crate::api and \\\" Instant::now\";",
        ),
        (
            "src/job/mod.rs",
            "const A: &[u8] = br##\"use crate::api \"# tokio\"##; use std::time::Instant; fn f(now: Instant) {}",
        ),
        ("src/job/plan.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n    fn f() { { println!(); } }\n}\n"),
        (
            "src/job/plan.rs",
            "#[cfg(test)]\n#[expect(x)]\nmod tests;\n#[cfg(test)]\nuse std::{fs, io};\nfn f<'env>(a: &'env str) {}",
        ),
        ("src/throttle/rate.rs", "use std::{fmt, time::{Duration, Instant},};\nimpl fmt::Display for Rate {}"),
    ];
    for (file, source) in cases {
        assert_eq!(violations(file, source), [""; 0], "{file}\n{source}");
    }
}
