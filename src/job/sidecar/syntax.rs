//! Says in plain words why a text is no YAML, from what the parser says and from what people usually do wrong.

use super::text::{Place, at, excerpt, place_of};
use super::{KEYS, Problem, problem};

/// What the parser says (the beginning of it), what that means, and what to do.
const KNOWN: [(&str, &str, &str); 12] = [
    (
        "mapping values are not allowed",
        "a colon with a space behind it stands inside a text without quotes",
        "put the whole text in quotes, such as prompt: \"The cat: a movie\"",
    ),
    ("found character that cannot start any token", "a text begins with a character that YAML keeps for itself", QUOTE),
    ("found unexpected end of stream", "a quote is opened and never closed", "close it, or remove it"),
    (
        "found unknown escape character",
        "a backslash in double quotes begins something that YAML does not know",
        "write \\\\ for a backslash, or use single quotes",
    ),
    (
        "found invalid Unicode character escape code",
        "an escape such as \\ud83d is half a character",
        "write the character itself, such as 😀, and save the file as UTF-8",
    ),
    ("did not find expected hexdecimal number", "an escape with \\x or \\u lacks hexadecimal digits", QUOTE),
    ("unknown anchor", "a text begins with *, which YAML keeps for references", QUOTE),
    ("did not find expected alphabetic or numeric character", "a text begins with * or &, which YAML keeps", QUOTE),
    ("recursion limit exceeded", "lists and mappings are nested too deeply", "a sidecar needs no nesting"),
    ("repetition limit exceeded", "references (*name) repeat too much", "write the values out"),
    ("could not find expected ':'", "a line is neither a key with a colon nor part of a text", INDENT),
    ("did not find expected", "the line does not fit what stands before it", INDENT),
];

const QUOTE: &str = "put the whole text in quotes";
const INDENT: &str = "begin every key at the start of its line, and put a text that holds quotes, brackets, #, & or * \
                      in quotes as a whole";

/// The problem for a text that the parser refused with this error.
pub(super) fn explain(text: &str, error: &serde_yaml::Error) -> Problem {
    let said = error.to_string();
    if said.contains("more than one document") {
        let found =
            problem("the file holds more than one YAML document", "remove every line ---, and all behind the first");
        return match second_document(text) {
            Some(place) => at(place, found),
            None => found,
        };
    }
    let place = error.location().map(|l| Place { line: l.line() as u64, column: l.column() as u64 });
    let Some(place) = place else {
        return in_words(&said);
    };
    let usual = usual_mistake(text, place);
    match usual {
        Some(found) => found,
        // The end of the file is a poor place for a quote that was opened long before.
        None if said.contains("while scanning a quoted scalar") => at(opened(&said).unwrap_or(place), in_words(&said)),
        None => at(place, in_words(&said)),
    }
}

/// The problem for a text that is YAML but only one value.
pub(super) fn explain_scalar(text: &str, scalar: &str) -> Problem {
    let line = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#'));
    match line.and_then(glued) {
        Some(key) => space_missing(key),
        None => problem(
            format!("the file holds only the text {:?}, and no key", excerpt(scalar)),
            "write prompt: and a space in front of it",
        ),
    }
}

fn in_words(said: &str) -> Problem {
    match KNOWN.iter().find(|(beginning, ..)| said.contains(beginning)) {
        Some((_, message, proposal)) => problem(*message, proposal),
        None => {
            let end = said.find(" at line").or_else(|| said.find(" at position")).unwrap_or(said.len());
            problem(format!("the text is not YAML: {}", &said[..end]), INDENT)
        }
    }
}

/// A mistake that the parser notices only later, or in other words, on the line of `place` or the two before it.
fn usual_mistake(text: &str, place: Place) -> Option<Problem> {
    let last = usize::try_from(place.line).ok()?;
    let near = text.lines().enumerate().take(last).skip(last.saturating_sub(3));
    let mut lines: Vec<(usize, &str)> = near.collect();
    lines.reverse();
    lines.into_iter().find_map(|(number, line)| {
        let line_number = number as u64 + 1;
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some(tab) = indent.chars().position(|c| c == '\t') {
            let found = problem("a tab stands at the beginning of the line", "use spaces there");
            return Some(at(Place { line: line_number, column: tab as u64 + 1 }, found));
        }
        glued(line).map(|key| at(Place { line: line_number, column: key.len() as u64 + 2 }, space_missing(key)))
    })
}

/// The key of a line such as `seed:42`, which YAML takes for a text.
fn glued(line: &str) -> Option<&'static str> {
    KEYS.into_iter().find(|key| {
        let rest = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':'));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(char::is_whitespace))
    })
}

fn space_missing(key: &'static str) -> Problem {
    let found = problem("there is no space behind the colon", &format!("write {key}: with a space behind it"));
    Problem { key: Some(key.to_owned()), ..found }
}

/// Where the second document begins: the line `---` with something in front of it.
fn second_document(text: &str) -> Option<Place> {
    let mut index = 0;
    let mut content = false;
    for line in text.split_inclusive('\n') {
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marker && content {
            return Some(place_of(text, index));
        }
        content = content || marker || !(line.trim().is_empty() || line.starts_with(['#', '%']));
        index += line.len();
    }
    None
}

/// The last place that the parser names: where it began to read what it could not end.
fn opened(said: &str) -> Option<Place> {
    let (_, place) = said.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    Some(Place { line: line.parse().ok()?, column: column.parse().ok()? })
}
