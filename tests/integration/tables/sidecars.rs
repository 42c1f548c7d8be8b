//! Sidecars: a row a file in `tests/fixtures/sidecars`. Its folder tells the place: `valid` is sent, `invalid` refused, `waiting`
//! left where it lies. `alone_*` has no picture. What is too large to be kept as a file is made here.

use std::path::Path;

use jimengd::job::sidecar::{BYTES_MAX, PROMPT_CHARS_MAX};

use super::together::{Case, play_together};
use super::{Expected, assert_words, folder, tell};
use crate::rig::{Rig, pictures};

const SENT: &str = "{in: outbox, accepted: 1}";
const REFUSED: &str = "{in: error, accepted: 0, reason: invalid_sidecar, stage: read, charged: 'no', attempts: 0}";
const WAITING: &str = "{in: inbox, accepted: 0, reason: half}";

/// The table only grows.
const ROWS_MIN: usize = 250;

fn case(name: &str, sidecar: Vec<u8>, expect: &str) -> Case {
    let expect: Expected = serde_yaml::from_str(expect).expect("an expectation");
    let picture = (!name.starts_with("alone_")).then(|| ("png".to_owned(), pictures::png()));
    Case { name: name.to_owned(), picture, sidecar, expect }
}

/// The files of a folder, by name.
fn files(folder: &Path, expect: &str) -> Vec<Case> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a fixture's name is text");
        case(name, std::fs::read(path).expect("a fixture can be read"), expect)
    };
    paths.iter().map(read).collect()
}

/// What is large.
fn made() -> Vec<Case> {
    let dog = "prompt: A dog\n";
    let comment = |bytes: usize| format!("{dog}#{}", "x".repeat(bytes - dog.len() - 1)).into_bytes();
    let nested = |depth: usize| format!("{dog}image_urls: {}{}\n", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                  d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\nimage_urls: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nprompt: x\n";
    let blocks: String = (1..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let list = format!("priority: &a [{}]\nimage_urls: [{}]\n", "1,".repeat(10_000), "*a,".repeat(10_000));
    let unknown: String = (0..1_000).map(|number| format!("key{number}: 1\n")).collect();
    let escaped: String = "\\u732b".repeat(PROMPT_CHARS_MAX);
    vec![
        case("size_at_the_limit", comment(BYTES_MAX), SENT),
        case("size_over_the_limit", comment(BYTES_MAX + 1), REFUSED),
        case("size_of_ten_megabytes", comment(10_000_000), REFUSED),
        case("nested_to_the_limit_of_brackets", nested(32), REFUSED),
        case("nested_over_the_limit_of_brackets", nested(33), REFUSED),
        case("nested_lists", format!("{dog}image_urls:\n {}\n", "- ".repeat(200)).into_bytes(), REFUSED),
        case("nested_blocks", format!("{dog}image_urls:\n{blocks}").into_bytes(), REFUSED),
        case("references_to_references", laughs.into(), REFUSED),
        case("references_to_a_list", list.into_bytes(), REFUSED),
        case("unknown_by_the_thousand", format!("{dog}{unknown}").into_bytes(), REFUSED),
        case("longest_escaped", format!("prompt: \"{escaped}\"\n").into_bytes(), SENT),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars() {
    let fixtures = folder().parent().expect("a folder of fixtures").join("sidecars");
    let mut cases = files(&fixtures.join("valid"), SENT);
    cases.extend(files(&fixtures.join("invalid"), REFUSED));
    cases.extend(files(&fixtures.join("waiting"), WAITING));
    cases.extend(made());
    assert!(cases.len() >= ROWS_MIN, "there are {} sidecars, and were {ROWS_MIN}", cases.len());

    let words = play_together(Rig::plain(), cases).await;
    tell("sidecars", words.len());
    assert_words("sidecars", &words.join("\n"));
}
