//! Judges the value of each key, and proposes what was probably meant.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::text::{Value, excerpt};
use super::{AspectRatio, KEYS, PROMPT_CHARS_MAX, WantedRatio, WantedSeed};

/// Bytes that an address may have at most; longer ones are refused by many servers.
const URL_BYTES_MAX: usize = 2048;

/// Letters that a misspelt key may differ in.
const KEY_DISTANCE_MAX: usize = 3;

/// From here on a number is read as a float only because no integer is wide enough; 2^64.
const WHOLE_FROM: f64 = 18_446_744_073_709_551_616.0;

/// Names that other programs use, and ours.
const KEYS_ELSEWHERE: [(&str, &str); 14] = [
    ("text", "prompt"),
    ("description", "prompt"),
    ("promt", "prompt"),
    ("ratio", "aspect_ratio"),
    ("aspect", "aspect_ratio"),
    ("size", "aspect_ratio"),
    ("random_seed", "seed"),
    ("image", "image_urls"),
    ("image_url", "image_urls"),
    ("images", "image_urls"),
    ("url", "image_urls"),
    ("urls", "image_urls"),
    ("picture", "image_urls"),
    ("prio", "priority"),
];

/// Words that say a shape.
const SHAPES: [(&str, AspectRatio); 6] = [
    ("landscape", AspectRatio::R16x9),
    ("horizontal", AspectRatio::R16x9),
    ("wide", AspectRatio::R16x9),
    ("portrait", AspectRatio::R9x16),
    ("vertical", AspectRatio::R9x16),
    ("square", AspectRatio::R1x1),
];

/// What is wrong with a value, before its place is known.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) message: String,
    pub(super) proposal: String,
    /// Whether it is about a list's first element rather than the whole value.
    pub(super) in_element: bool,
}

impl Complaint {
    pub(super) fn new(message: impl Into<String>, proposal: impl Into<String>) -> Self {
        Self { message: message.into(), proposal: proposal.into(), in_element: false }
    }
}

/// 1 to 150 code points that can be seen, line breaks and tabs among them; blanks at both ends are dropped.
pub(super) fn prompt(value: &Value) -> Result<String, Complaint> {
    let text = match value {
        Value::Text(text) if !text.is_empty() => text.trim(),
        Value::Text(_) | Value::Null => {
            return Err(Complaint::new("the prompt is empty", "write what the video should show"));
        }
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
            return Err(Complaint::new(format!("{} is not text", value.shown()), "put it in quotes"));
        }
        Value::List(..) => {
            return Err(Complaint::new(
                "a list is not text",
                "put it in quotes if it begins with [, else make it one text",
            ));
        }
        Value::Mapping => {
            return Err(Complaint::new(
                "a mapping of keys and values is not text",
                "put the text in quotes if it begins with { or holds a colon",
            ));
        }
        Value::Tagged(tag) => {
            return Err(Complaint::new(
                format!("a text that begins with !{tag} is a tag to YAML"),
                "put the whole text in quotes",
            ));
        }
    };
    if text.chars().all(is_unseen) {
        return Err(Complaint::new("the prompt holds nothing but blanks", "write what the video should show"));
    }
    if let Some(c) = text.chars().find(|&c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err(Complaint::new(
            format!("the prompt holds the control character U+{:04X}", u32::from(c)),
            "remove it",
        ));
    }
    match text.chars().count() {
        count if count > PROMPT_CHARS_MAX => Err(Complaint::new(
            format!("the prompt has {count} characters, the API takes {PROMPT_CHARS_MAX} at most"),
            format!("shorten it by {}", count - PROMPT_CHARS_MAX),
        )),
        _ => Ok(text.to_owned()),
    }
}

/// Whether nobody sees the character: blanks, and the marks of no width that copied text brings along.
fn is_unseen(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}')
}

/// One of the seven ratios, or `auto`.
pub(super) fn aspect_ratio(value: &Value) -> Result<WantedRatio, Complaint> {
    match value {
        Value::Text(text) => match (text.trim(), AspectRatio::parse(text.trim())) {
            ("auto", _) => Ok(WantedRatio::Auto),
            (_, Some(ratio)) => Ok(WantedRatio::Fixed(ratio)),
            (text, None) => Err(wrong_ratio(text, value)),
        },
        Value::Integer(number) => Err(wrong_ratio(&number.to_string(), value)),
        Value::Float(number) => Err(wrong_ratio(&number.to_string(), value)),
        Value::Null => {
            Err(Complaint::new("the value is empty", "remove the line for 16:9, or write a ratio behind the colon"))
        }
        Value::Bool(_) | Value::List(..) | Value::Mapping | Value::Tagged(_) => {
            Err(Complaint::new(format!("{} is no ratio", value.shown()), all_ratios()))
        }
    }
}

fn wrong_ratio(text: &str, value: &Value) -> Complaint {
    let quoted = |ratio: AspectRatio| format!("write \"{ratio}\" in quotes");
    let sexagesimal = |ratio: &AspectRatio| {
        let (minutes, seconds) = two_numbers(ratio.label())?;
        Some(minutes * 60.0 + seconds)
    };
    let number = text.parse::<f64>().ok();
    if let Some(ratio) = AspectRatio::ALL.into_iter().find(|ratio| number.is_some() && sexagesimal(ratio) == number) {
        return Complaint::new(
            format!("{ratio} without quotes is read as a number in base 60, {text}, by YAML 1.1 tools"),
            quoted(ratio),
        );
    }
    let message = format!("{} is no ratio that the API knows", value.shown());
    let lower = plain(text);
    if lower == "auto" {
        return Complaint::new(message, "write auto");
    }
    if let Some((_, ratio)) = SHAPES.iter().find(|(shape, _)| *shape == lower) {
        return Complaint::new(message, quoted(*ratio));
    }
    let sides = two_numbers(&lower).or(number.map(|ratio| (ratio, 1.0)));
    let proposal = match sides.and_then(|(width, height)| Some((nearest(width / height)?, (width, height)))) {
        Some((ratio, sides)) if two_numbers(ratio.label()) == Some(sides) => quoted(ratio),
        Some((ratio, _)) => format!("the nearest is \"{ratio}\"; {}", all_ratios()),
        None => all_ratios(),
    };
    Complaint::new(message, proposal)
}

/// The ratio that a text names in a way that only people understand, as `16 : 9` or `１６：９`.
pub(super) fn named_ratio(text: &str) -> Option<AspectRatio> {
    let sides = two_numbers(&plain(text))?;
    AspectRatio::ALL.into_iter().find(|ratio| two_numbers(ratio.label()) == Some(sides))
}

/// The text in small letters, without quotes of any kind, digits and signs as on an American keyboard.
fn plain(text: &str) -> String {
    let is_quote = |c: char| matches!(c, '"' | '\'' | '\u{2018}'..='\u{201F}' | '«' | '»' | '「' | '」');
    let narrow = |c: char| match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        _ => c,
    };
    text.trim().trim_matches(is_quote).trim().chars().map(narrow).collect::<String>().to_lowercase()
}

fn all_ratios() -> String {
    let labels: Vec<&str> = AspectRatio::ALL.into_iter().map(AspectRatio::label).collect();
    format!("write one of {}, or auto", labels.join(" "))
}

/// The two numbers in `16:9`, `16/9`, `16x9`, `16 by 9` and the like.
fn two_numbers(text: &str) -> Option<(f64, f64)> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let first = text.find(|c| !is_part(c))?;
    let second = text.rfind(|c| !is_part(c)).map(|at| at + text[at..].chars().next().map_or(1, char::len_utf8))?;
    let between = text[first..second].trim();
    let known = matches!(between, ":" | "∶" | "/" | "x" | "×" | "*" | "-" | "_" | "," | "by" | "to" | "");
    let (width, height) = (text[..first].parse().ok()?, text[second..].parse().ok()?);
    known.then_some((width, height))
}

/// The ratio nearest to width over height; `None` for a number that was never meant as a shape.
fn nearest(ratio: f64) -> Option<AspectRatio> {
    const HEIGHT: u32 = 10_000;
    // A little wider than the widest ratio, and a little narrower than the narrowest.
    const SHAPES: RangeInclusive<f64> = 0.3..=3.5;
    // The cast keeps all but the fraction.
    SHAPES.contains(&ratio).then(|| AspectRatio::nearest((ratio * f64::from(HEIGHT)) as u32, HEIGHT))
}

/// -1 or 0 to 4294967295.
pub(super) fn seed(value: &Value) -> Result<WantedSeed, Complaint> {
    const ALLOWED: &str =
        "write a whole number from 0 to 4294967295, or -1 for the API's own choice, or remove the line";
    let number = integer(value, -1..=u32::MAX.into(), ALLOWED)?;
    Ok(u32::try_from(number).map_or(WantedSeed::Api, WantedSeed::Fixed))
}

/// Any `i64`.
pub(super) fn priority(value: &Value) -> Result<i64, Complaint> {
    const ALLOWED: &str = "write a whole number such as 0 or 10, or remove the line";
    integer(value, i64::MIN..=i64::MAX, ALLOWED)
}

/// A whole number of the range, also one in quotes.
fn integer(value: &Value, range: RangeInclusive<i64>, allowed: &str) -> Result<i64, Complaint> {
    let no_number = || Complaint::new(format!("{} is not a whole number", value.shown()), allowed);
    let number = match value {
        Value::Integer(number) => *number,
        Value::Text(text) => {
            let text = text.trim();
            let digits = text.strip_prefix('-').unwrap_or(text);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(no_number());
            }
            if digits.len() > 1 && digits.starts_with('0') {
                return Err(Complaint::new(
                    format!("{} begins with a zero, so that some tools read it in base 8", value.shown()),
                    "write it without the zero",
                ));
            }
            // More digits than that are over every range.
            text.parse().unwrap_or(i128::MAX)
        }
        Value::Null => return Err(Complaint::new("the value is empty", allowed)),
        Value::Float(number) if number.abs() >= WHOLE_FROM => {
            return Err(Complaint::new("the number is out of range", allowed));
        }
        // A cast of a float stops at the integer's ends, and this one is far from them.
        Value::Float(number) if number.fract() == 0.0 && is_in(&range, *number as i128).is_some() => {
            return Err(Complaint::new(
                format!("{} is written with a decimal point or an exponent", value.shown()),
                format!("write it in digits alone: {number}"),
            ));
        }
        Value::Float(number) if number.fract() == 0.0 => *number as i128,
        Value::Bool(_) | Value::Float(_) | Value::List(..) | Value::Mapping | Value::Tagged(_) => {
            return Err(no_number());
        }
    };
    is_in(&range, number).ok_or_else(|| Complaint::new(format!("{} is out of range", value.shown()), allowed))
}

fn is_in(range: &RangeInclusive<i64>, number: i128) -> Option<i64> {
    i64::try_from(number).ok().filter(|number| range.contains(number))
}

/// No address, or one.
pub(super) fn image_url(value: &Value) -> Result<Option<String>, Complaint> {
    let first = match value {
        Value::List(0, _) | Value::List(_, None) => return Ok(None),
        Value::List(1, Some(first)) => first,
        Value::List(count, Some(_)) => {
            return Err(Complaint::new(format!("there are {count} addresses, the API takes one picture"), "keep one"));
        }
        Value::Text(_) => {
            return Err(Complaint::new(
                "the value is not a list",
                "put the address in brackets: image_urls: [\"https://…\"]",
            ));
        }
        Value::Null => {
            return Err(Complaint::new("the value is empty", "remove the line, or write [] behind the colon"));
        }
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Mapping | Value::Tagged(_) => {
            let message = format!("{} is not a list", value.shown());
            return Err(Complaint::new(message, "write image_urls: [\"https://example.com/cat.jpg\"]"));
        }
    };
    let judged = match first.as_ref() {
        Value::Text(text) if text.trim().is_empty() => {
            Err(Complaint::new("the address is empty", "write one http or https address, or [] for none"))
        }
        Value::Text(text) => url(text.trim()),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::List(..)
        | Value::Mapping
        | Value::Tagged(_)) => {
            Err(Complaint::new(format!("{} is not an address", other.shown()), "write one http or https address"))
        }
    };
    judged.map(Some).map_err(|complaint| Complaint { in_element: true, ..complaint })
}

/// The text, if it is an http or https address that a stranger can fetch: no name and password, nothing unprintable. The
/// scheme is given in lower case, since not everybody knows another. The address itself is never part of a complaint, since it may be a signed one.
fn url(text: &str) -> Result<String, Complaint> {
    let bad = |message: &str, proposal: &str| Err(Complaint::new(message, proposal));
    let scheme_end = text.find("://");
    let (scheme, rest) = match scheme_end.map(|end| (text[..end].to_ascii_lowercase(), &text[end + 3..])) {
        Some((scheme, rest)) if scheme == "http" || scheme == "https" => (scheme, rest),
        Some(_) | None if text.starts_with("data:") => {
            return bad("a picture inside an address (data:) is not fetched", "drop the picture file itself");
        }
        Some(_) | None => {
            return bad(
                "the address begins with neither http:// nor https://",
                "write the whole address, or drop the picture file itself",
            );
        }
    };
    if text.len() > URL_BYTES_MAX {
        let message = format!("the address has {} bytes, {URL_BYTES_MAX} are allowed", text.len());
        return bad(&message, "use a shorter one, or drop the picture file itself");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return bad("the address holds a blank", "write %20 for a blank");
    }
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if authority.contains('@') {
        return bad(
            "the address holds a name or password",
            "use one that needs neither, or drop the picture file itself",
        );
    }
    let (host, port) = match authority.rfind(':').filter(|_| !authority.ends_with(']')) {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    };
    let odd = |c: char| matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' | '%');
    let whole = "write the whole address, such as https://example.com/cat.jpg";
    if host.trim_matches(['.', '[', ']']).is_empty() {
        return bad("the address names no host", whole);
    }
    if host.contains(odd) || !is_host(host) {
        return bad(&format!("{:?} in the address is the name of no host", excerpt(host)), whole);
    }
    match port.map(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|n| n > 0)) {
        Some(false) => bad("the address has an impossible port", "write a number from 1 to 65535, or none"),
        Some(true) | None => Ok(format!("{scheme}://{rest}")),
    }
}

/// Whether what claims to be a number of the network, in brackets or of digits and dots alone, is one.
fn is_host(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or(host);
    match host.strip_prefix('[') {
        Some(number) => number.strip_suffix(']').is_some_and(|number| number.parse::<Ipv6Addr>().is_ok()),
        // No top-level domain is made of digits.
        None if last.bytes().all(|b| b.is_ascii_digit()) => host.parse::<Ipv4Addr>().is_ok(),
        None => !host.contains(['[', ']']),
    }
}

/// The key that was probably meant.
pub(super) fn nearest_key(wrong: &str) -> Option<&'static str> {
    let plain = wrong.trim().to_lowercase().replace(['-', ' ', '.'], "_");
    let elsewhere = KEYS_ELSEWHERE.into_iter().find(|(name, _)| *name == plain).map(|(_, key)| key);
    elsewhere.or_else(|| {
        let (distance, key) = KEYS.into_iter().map(|key| (distance(&plain, key), key)).min()?;
        // Half of a short word may not change, or every short word would be near.
        (distance <= KEY_DISTANCE_MAX && distance * 2 < key.len()).then_some(key)
    })
}

/// Letters to insert, remove or replace to make `b` out of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
