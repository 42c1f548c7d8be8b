//! How long the worst sidecars within the limits take to be judged, and how much memory. For each input the time of one judgement
//! as the daemon makes it (on the processor, since the machine may be shared; the mean of twenty), and by how much the process grew
//! at its peak.
//!
//! Reports and judges nothing: a missed aim is marked, not a failure.

use std::time::Duration;

use anyhow::{Context, Result};
use jimengd::job::sidecar::{BYTES_MAX, look};

/// The aim for every input.
const AIM: Duration = Duration::from_millis(50);

/// Judgements of one input. The system counts time on the processor in steps of some milliseconds.
const TIMES: u32 = 20;

fn main() -> Result<()> {
    println!("sidecar: the worst inputs within the limits, one judgement each, release build");
    println!("  {:<44} {:>7} {:>9} {:>9} {:>9}", "", "bytes", "ms", "peak kB", "problems");
    let mut missed = 0;
    for (name, text) in inputs() {
        let line = measure(&text)?;
        let late = line.took > AIM;
        missed += usize::from(late);
        println!(
            "  {name:<44} {:>7} {:>9.2} {:>9} {:>9}{}",
            text.len(),
            line.took.as_secs_f64() * 1e3,
            line.peak_kb,
            line.problems,
            if late { "  MISSED" } else { "" }
        );
    }
    println!("  aim: under {} ms each; {missed} missed", AIM.as_millis());
    Ok(())
}

struct Line {
    took: Duration,
    peak_kb: u64,
    problems: usize,
}

fn measure(text: &[u8]) -> Result<Line> {
    // Writing 5 there sets the peak back to what is used now.
    std::fs::write("/proc/self/clear_refs", "5").context("cannot reset the peak")?;
    let before = memory_kb("VmRSS:")?;
    let mut problems = 0;
    let start = on_the_processor()?;
    for _ in 0..TIMES {
        let found = look(text, true);
        problems = found.read.err().map_or(0, |problems| problems.len());
    }
    let took = on_the_processor()?.saturating_sub(start) / TIMES;
    Ok(Line { took, peak_kb: memory_kb("VmHWM:")?.saturating_sub(before), problems })
}

/// How long this thread has been running.
fn on_the_processor() -> Result<Duration> {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = figures.split_whitespace().next().context("the system tells its figures")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// A figure of the process's own status.
fn memory_kb(key: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).context("the system tells its figures")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// As many of `unit` as fit behind `head`, with `tail` behind them.
fn filled(head: &str, unit: &str, tail: &str) -> Vec<u8> {
    let count = (BYTES_MAX - head.len() - tail.len()) / unit.len();
    [head, &unit.repeat(count), tail].concat().into_bytes()
}

/// The same, each unit made from its number.
fn counted(head: &str, unit: impl Fn(usize) -> String) -> Vec<u8> {
    let mut text = head.to_owned();
    for number in 0.. {
        let next = unit(number);
        if text.len() + next.len() > BYTES_MAX {
            break;
        }
        text.push_str(&next);
    }
    text.into_bytes()
}

/// Twenty keys that nobody knows: each is complained of with its place.
fn strays() -> String {
    (0..20).map(|number| format!("k{number}: 1\n")).collect()
}

fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let half = "x".repeat(BYTES_MAX / 2);
    let strays = strays();
    let (open, close) = ("[".repeat(32), "]".repeat(32));
    let (deep, shallow) = ("[".repeat(16), "]".repeat(16));
    vec![
        ("a good one", b"prompt: A dog\nseed: 7\n".to_vec()),
        ("a comment", filled("prompt: A dog\n#", "x", "")),
        ("a long prompt", filled("prompt: ", "x", "")),
        ("a prompt of many lines", filled("prompt: |\n", " x\n", "")),
        ("a folded prompt", filled("prompt:\n", " x\n", "")),
        ("escapes", filled("prompt: \"", "\\x41", "\"")),
        ("empty lines", filled("prompt: A dog\n", "\n", "")),
        ("a quote never closed", filled(&format!("{strays}prompt: \""), "x", "")),
        ("a quote never closed, of lines", filled("prompt: \"", "x\n", "")),
        ("32 brackets never closed", filled(&format!("prompt: {open}"), "1,", "")),
        ("32 brackets, closed", filled(&format!("prompt: {open}"), "1,", &close)),
        ("32 brackets and unknown keys", filled(&format!("{strays}prompt: {open}"), "1,", &close)),
        ("16 brackets and unknown keys", filled(&format!("{strays}prompt: {deep}"), "1,", &shallow)),
        ("16 brackets, short texts, unknown keys", filled(&format!("{strays}prompt: {deep}"), "'',", &shallow)),
        ("16 brackets, keys, unknown keys", filled(&format!("{strays}prompt: {deep}"), "?,", &shallow)),
        (
            "braces in braces and unknown keys",
            filled(&format!("{strays}prompt: {}", "{a: ".repeat(30)), "b,", &"}".repeat(30)),
        ),
        ("a key of 30 brackets", filled(&format!("{strays}? {}", "[".repeat(30)), "1,", &"]".repeat(30))),
        ("deep block lists", filled(&strays, "- ", "")),
        ("deep block lists as value", filled(&format!("{strays}prompt:\n "), "- ", "")),
        ("deep block mappings", counted(&format!("{strays}prompt:\n"), |n| format!("{}a:\n", " ".repeat(n + 1)))),
        ("deep explicit keys", filled(&strays, "? ", "")),
        ("one long key", filled("", "k", ": 1\n")),
        ("long keys", filled("", &format!("{}: 1\n", "k".repeat(1000)), "prompt: A dog\n")),
        ("unknown keys", counted("prompt: A dog\n", |n| format!("{n:x}:\n"))),
        ("unknown keys in one line", counted("{prompt: A dog, ", |n| format!("{n:x}:,"))),
        ("one key again and again", filled("prompt: A dog\n", "seed:\n", "")),
        ("every key's first element wrong", filled(&format!("{strays}image_urls: ["), "1,", "]")),
        ("a list of nothing", filled(&format!("{strays}image_urls:\n"), " -\n", "")),
        ("anchors", counted(&format!("{strays}priority: ["), |n| format!("&{n:x} ,"))),
        ("anchors, then references", {
            let mut text = counted(&format!("{strays}priority: ["), |n| format!("&{n:x} ,"));
            text.truncate(BYTES_MAX / 2);
            let text = String::from_utf8(text).unwrap_or_default();
            filled(&format!("{}\n,", &text[..text.rfind(',').unwrap_or_default()]), "*1 ,", "]")
        }),
        ("references to a long text", filled(&format!("priority: &a {half}\nimage_urls: ["), "*a,", "]")),
        ("references to a long text as keys", filled(&format!("priority: &a {half}\n"), "*a :\n", "")),
        ("references to a long list", {
            let list = "1,".repeat(BYTES_MAX / 4);
            filled(&format!("{strays}priority: &a [{list}]\nimage_urls: ["), "*a,", "]")
        }),
        ("references to a long list, in the first element", {
            let list = "1,".repeat(BYTES_MAX / 4);
            filled(&format!("{strays}priority: &a [{list}]\nimage_urls: [["), "*a,", "]]")
        }),
        ("references to references", {
            let rows: String = (1..120).map(|n| format!("k{n}: &k{n} [*k{}, *k{}]\n", n - 1, n - 1)).collect();
            format!("k0: &k0 [1]\n{rows}image_urls: *k119\nprompt: *k119\n").into_bytes()
        }),
        ("references to references, first elements", {
            let rows: String = (1..100).map(|n| format!("k{n}: &k{n} [*k{}, *k{}]\n", n - 1, n - 1)).collect();
            let list: String = (0..100).map(|n| format!("[*k{n}],")).collect();
            format!("k0: &k0 [1]\n{rows}image_urls: *k99\nseed: [{list}]\nprompt: *k99\n").into_bytes()
        }),
        ("tags", filled(&format!("{strays}priority: ["), "!a ,", "]")),
        ("tags with a long name", filled(&format!("{strays}priority: ["), &format!("!{} ,", "a".repeat(1000)), "]")),
        ("tag directives", counted("", |n| format!("%TAG !{n:x}! !\n"))),
        ("tag directives, then a mapping", {
            let mut text = counted("", |n| format!("%TAG !{n:x}! !\n"));
            let end = text[..BYTES_MAX - 100].iter().rposition(|&b| b == b'\n').unwrap_or_default();
            text.truncate(end + 1);
            text.extend(format!("---\n{}", "k: 1\nj: 2\n").bytes());
            text
        }),
        ("a long tag directive", filled(&format!("%TAG !a! {half}\n---\nprompt: ["), "!a!b ,", "]")),
        ("documents", filled("prompt: A dog\n", "---\n", "")),
        ("merge keys", filled("prompt: &a {a: b}\n", "<<: *a\n", "")),
        ("only colons", filled("", ": ", "")),
        ("only question marks", filled("", "?\n", "")),
        ("a plain text of lines with colons", filled("prompt: a\n", " b\n", " c: d\n")),
        ("a tab in every line", filled("prompt:\n", "\tx\n", "")),
        ("a number of many digits", filled("seed: ", "9", "")),
        ("a number of many digits in quotes", filled("seed: \"", "9", "\"")),
        ("a ratio of many digits", filled("aspect_ratio: ", "9", "")),
        ("Chinese", filled("prompt: ", "猫", "")),
        ("next lines", filled("prompt: A dog\n", "\u{85}", "seed: x\n")),
        ("carriage returns", filled("prompt: A dog\r", "#\r", "seed: x\r")),
        ("short items in a list", filled(&format!("{strays}prompt: ["), "1,", "]")),
        ("pairs in a list", filled(&format!("{strays}prompt: ["), "a: ,", "]")),
        ("pairs in one line", filled(&format!("{strays}prompt: {{"), "a:,", "}")),
        ("quoted keys", counted(&strays, |n| format!("'{n:x}':\n"))),
        ("explicit keys and nothing", filled(&strays, "?\n:\n", "")),
        ("explicit keys in a list", filled(&format!("{strays}prompt: ["), "? ,", "]")),
        ("empty texts in quotes", filled(&format!("{strays}prompt: ["), "'',", "]")),
        ("anchors and tags of nothing", filled(&format!("{strays}prompt: ["), "&a !!,", "]")),
        ("an address of blanks", filled("image_urls: ['http://", " x", "']\n")),
    ]
}
