//! A sidecar is either a request within the API's page, or refused with complaints that help.

#![no_main]

use std::fmt::Write;

use jimengd::api::address::{Forbidden, Reach, allowed};
use jimengd::job::sidecar::{self, BYTES_MAX, PROMPT_CHARS_MAX, Sidecar, WantedRatio, WantedSeed};
use jimengd::job::{AspectRatio, Seed};
use jimengd_fuzz::{Input, assert_helpful};
use libfuzzer_sys::fuzz_target;

/// Complaints that are told of one sidecar at most: five keys, twenty strays, how many more, and no picture.
const PROBLEMS_MAX: usize = 32;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let flags = input.byte();
    let has_picture = flags & 1 == 0;
    let text = input.text(flags & 2 != 0, BYTES_MAX);
    match sidecar::read(&text, has_picture) {
        Ok(sidecar) => assert_in_range(&sidecar, has_picture),
        Err(problems) => {
            assert_helpful(&problems, &String::from_utf8_lossy(&text));
            assert!(problems.len() <= PROBLEMS_MAX, "{} complaints", problems.len());
            assert!(problems.iter().all(|problem| problem.proposal.is_some()), "no proposal: {problems:?}");
            assert!(
                problems.is_sorted_by_key(|problem| (problem.line.is_none(), problem.line, problem.column)),
                "not in the order of the lines: {problems:?}"
            );
        }
    }
});

fn assert_in_range(sidecar: &Sidecar, has_picture: bool) {
    let prompt = &sidecar.prompt;
    assert!((1..=PROMPT_CHARS_MAX).contains(&prompt.chars().count()), "{prompt:?}");
    assert_eq!(prompt.trim(), prompt, "blanks at an end");
    assert!(!prompt.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{prompt:?}");
    assert_eq!(sidecar.image_url.is_none(), has_picture, "one picture is sent, not two and not none");
    if let Some(url) = &sidecar.image_url {
        let reached = allowed(url, &Reach::Anywhere);
        assert!(!matches!(reached, Err(Forbidden::Credentials | Forbidden::Scheme)), "{url}: {reached:?}");
        assert!(sidecar.aspect_ratio != WantedRatio::Auto, "no picture to be nearest to");
    }
    for shown in [None, Some((1, 1)), Some((1, u32::MAX)), Some((u32::MAX, 0))] {
        let request = sidecar.request(shown, 7);
        assert_eq!((&request.prompt, &request.image_url), (prompt, &sidecar.image_url));
        assert!((-1..=i64::from(u32::MAX)).contains(&request.seed.number()));
        match (sidecar.seed, request.seed) {
            (WantedSeed::Drawn, Seed::Drawn(7)) | (WantedSeed::Api, Seed::Api) => {}
            (WantedSeed::Fixed(wanted), Seed::Fixed(seed)) if wanted == seed => {}
            (wanted, seed) => panic!("{seed:?} for {wanted:?}"),
        }
        assert!(AspectRatio::ALL.contains(&request.aspect_ratio));
        assert!(match sidecar.aspect_ratio {
            WantedRatio::Fixed(wanted) => wanted == request.aspect_ratio,
            WantedRatio::Auto => true,
        });
    }
    let again = written(sidecar);
    assert_eq!(sidecar::read(again.as_bytes(), has_picture).as_ref(), Ok(sidecar), "read back from {again}");
}

/// The sidecar in the plainest YAML that says the same.
fn written(sidecar: &Sidecar) -> String {
    let mut text = format!("prompt: {}\npriority: {}\n", quoted(&sidecar.prompt), sidecar.priority);
    let mut say = |line: String| writeln!(text, "{line}").expect("a String takes all");
    match sidecar.aspect_ratio {
        WantedRatio::Fixed(ratio) => say(format!("aspect_ratio: \"{ratio}\"")),
        WantedRatio::Auto => say("aspect_ratio: auto".to_owned()),
    }
    match sidecar.seed {
        WantedSeed::Fixed(seed) => say(format!("seed: {seed}")),
        WantedSeed::Api => say("seed: -1".to_owned()),
        WantedSeed::Drawn => {}
    }
    if let Some(url) = &sidecar.image_url {
        say(format!("image_urls: [{}]", quoted(url)));
    }
    text
}

/// Every character as an escape.
fn quoted(text: &str) -> String {
    let escapes: String = text.chars().map(|c| format!("\\U{:08X}", u32::from(c))).collect();
    format!("\"{escapes}\"")
}
