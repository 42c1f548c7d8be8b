//! The rules of the house that no lint checks.

use std::fs;
use std::path::{Path, PathBuf};

use crate::architecture::source::{files, tokens};

/// What lies at the top of the repository, beside names that begin with a dot.
const TOP: [&str; 9] =
    ["CHANGELOG.md", "Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "config", "src", "systemd", "tests"];

/// Marks of what was left for later. In pieces, so that this file is not found itself.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("HA", "CK")];

/// Folders that only somebody's own machine has. `/home` alone is a word of manuals.
const MACHINES: [&str; 4] = ["/root/", "/work/", "/Users/", "/home/runner/"];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files that people wrote, as paths and text; what tests feed in is left out.
fn texts() -> Vec<(PathBuf, String)> {
    fn collect(path: &Path, texts: &mut Vec<(PathBuf, String)>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("the folder can be read") {
                collect(&entry.expect("the folder can be read").path(), texts);
            }
        } else if let Ok(text) = fs::read_to_string(path) {
            texts.push((path.strip_prefix(top()).expect("it was found below").to_owned(), text));
        }
    }
    let mut texts = Vec::new();
    for name in ["CHANGELOG.md", "Cargo.toml", "README.md", "config", "src", "systemd", "tests", ".cargo", ".ci"] {
        collect(&top().join(name), &mut texts);
    }
    texts.retain(|(path, _)| !path.starts_with("tests/fixtures") && !path.starts_with("tests/fuzz/corpus"));
    texts
}

/// Whether `line` names a folder of a machine: at its begin, or after a mark that does not go on with a path.
fn names_a_machine(line: &str) -> bool {
    MACHINES.iter().flat_map(|folder| line.match_indices(folder)).any(|(at, _)| {
        line[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && !"_-.}>/*$".contains(before))
    })
}

#[test]
fn the_top_of_the_repository_holds_what_it_should() {
    let ignored = fs::read_to_string(top().join(".gitignore")).unwrap();
    let ignored: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('/')).collect();
    let strange: Vec<String> = fs::read_dir(top())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()) && !ignored.contains(&name.as_str()))
        .collect();
    assert!(strange.is_empty(), "not of the house: {strange:?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> =
        files("src").into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(file, _)| file).collect();
    assert!(silent.is_empty(), "no //! at the begin of {silent:?}");
}

#[test]
fn nothing_is_unsafe() {
    let word = concat!("un", "safe");
    for (file, text) in files("src").iter().chain(&files("tests")) {
        let found: Vec<usize> =
            tokens(text).iter().filter(|token| token.text == word).map(|token| token.line).collect();
        assert!(found.is_empty(), "{file}: {word} in lines {found:?}");
    }
}

#[test]
fn nothing_was_left_for_later_and_nothing_knows_a_machine() {
    let texts = texts();
    assert!(texts.iter().any(|(path, _)| path == Path::new("src/lib.rs")), "the files were not found");
    let found: Vec<String> = texts
        .iter()
        .filter(|(path, _)| path != Path::new(file!()))
        .flat_map(|(path, text)| text.lines().enumerate().map(move |(at, line)| (path, at + 1, line)))
        .filter(|(_, _, line)| MARKS.iter().any(|mark| line.contains(mark)) || names_a_machine(line))
        .map(|(path, at, line)| format!("{}:{at}: {}", path.display(), line.trim()))
        .collect();
    assert!(found.is_empty(), "left over:\n{}", found.join("\n"));
}

#[test]
fn a_machine_is_known_by_its_folders_alone() {
    for line in ["cp /work/x y", "\"/root/.cargo\"", "path=/Users/me", "/work/shared"] {
        assert!(names_a_machine(line), "{line}");
    }
    for line in ["{root}/work/", "inbox/work/x", "$root/work/", "work/<job>/", "/homework/"] {
        assert!(!names_a_machine(line), "{line}");
    }
}

#[test]
fn every_error_in_the_log_has_a_message_id() {
    let begin = "tracing::error!(";
    let mut bare = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| path.starts_with("src")) {
        let code = text.split("#[cfg(test)]").next().expect("a part");
        for (at, _) in code.match_indices(begin) {
            let call = code[at..].split(");").next().expect("a part");
            if !call.contains("message_id") {
                bare.push(format!("{}: {call}", path.display()));
            }
        }
    }
    assert!(bare.is_empty(), "journalctl -x has nothing to say of {bare:#?}");
}
