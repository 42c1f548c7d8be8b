//! Says in plain words why a text is no YAML, from what the parser says and from what people usually do wrong.

use super::place::{Place, at, ends_line, lines_of, place_of, place_of_error, place_of_mark};
use super::text::excerpt;
use super::{KEYS, Problem, problem};

/// What the parser says (the beginning of it), what that means, and what to do.
const KNOWN: [(&str, &str, &str); 14] = [
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
        "an escape stands for no character, or for half of one as \\ud83d does",
        "write the character itself, such as 😀, and save the file as UTF-8",
    ),
    (
        "did not find expected hexadecimal number",
        "a backslash with x, u or U in double quotes lacks hexadecimal digits",
        "write \\\\ for a backslash, or use single quotes",
    ),
    ("did not find expected ',' or '}'", "a comma or the closing } is missing", CLOSE),
    ("did not find expected ',' or ']'", "a comma or the closing ] is missing", CLOSE),
    ("unknown anchor", "a text begins with *, which YAML keeps for references", QUOTE),
    (
        "did not find expected alphabetic or numeric character",
        "a text begins with * or &, which YAML keeps for references",
        QUOTE,
    ),
    ("recursion limit exceeded", "lists and mappings are nested too deeply", "a sidecar needs no nesting"),
    ("repetition limit exceeded", "references (*name) repeat too much", "write the values out"),
    ("could not find expected ':'", "a line is neither a key with a colon nor part of a text", INDENT),
    ("did not find expected", "the line does not fit what stands before it", INDENT),
];

const CLOSE: &str = "write it, and put texts that hold brackets, commas or colons in quotes";
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
    let Some(place) = place_of_error(text, error) else {
        return in_words(&said);
    };
    let usual = usual_mistake(text, place);
    match usual {
        Some(found) => found,
        // The end of the file is a poor place for a quote that was opened long before.
        None if said.contains("while scanning a quoted scalar") => {
            at(opened(text, &said).unwrap_or(place), in_words(&said))
        }
        None => at(place, in_words(&said)),
    }
}

/// The problem for a text that is YAML but only one value.
pub(super) fn explain_scalar(text: &str, scalar: &str) -> Problem {
    let line = lines_of(text).find(|line| !line.trim().is_empty() && !line.starts_with('#'));
    if let Some(key) = line.and_then(without_colon) {
        let found = problem("there is no colon behind the key", &format!("write {key}: with a space behind it"));
        return Problem { key: Some(key.to_owned()), ..found };
    }
    match line.and_then(glued) {
        Some(key) => space_missing(key),
        None => problem(
            format!("the file holds only {:?}, and no key", excerpt(scalar)),
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

/// A mistake that the parser notices only later, or in other words: on the line of `place` or the two before it.
fn usual_mistake(text: &str, place: Place) -> Option<Problem> {
    let last = usize::try_from(place.line).ok()?;
    let lines: Vec<&str> = lines_of(text).take(last).collect();
    let near = lines.iter().enumerate().skip(last.saturating_sub(3)).rev();
    let mut earlier = near.filter_map(|(number, line)| {
        let on_line = |column: usize| Place { line: number as u64 + 1, column: column as u64 };
        if let Some(tab) = indent(line).find('\t') {
            return Some(at(
                on_line(tab + 1),
                problem("a tab stands at the beginning of the line", "use spaces there"),
            ));
        }
        glued(line).map(|key| at(on_line(key.len() + 2), space_missing(key)))
    });
    earlier.next().or_else(|| lines.get(last - 1).and_then(|line| in_this_line(&lines, line, place)))
}

/// A mistake in the line where the parser stopped.
fn in_this_line(lines: &[&str], line: &str, place: Place) -> Option<Problem> {
    let first = lines.iter().find(|line| indented_key(line).is_some());
    if let (Some(key), Some(first)) = (indented_key(line), first)
        && indent(line) != indent(first)
    {
        let message =
            format!("the key is indented by {}, the first one by {}", indent(line).len(), indent(first).len());
        let found = problem(message, "begin every key at the start of its line");
        let column = indent(line).len() as u64 + 1;
        return Some(at(Place { column, ..place }, Problem { key: Some(key.to_owned()), ..found }));
    }
    let before: String = line.chars().take(usize::try_from(place.column).ok()? - 1).collect();
    before.trim_end().ends_with(['"', '\'', ']', '}']).then(|| {
        let found = problem(
            "a text goes on behind its closing quote or bracket",
            "put the whole text into one pair of quotes, and close every quote that was opened above",
        );
        at(place, found)
    })
}

/// The blanks at the beginning of a line.
fn indent(line: &str) -> &str {
    let blanks = line.find(|c| c != ' ' && c != '\t').unwrap_or(line.len());
    &line[..blanks]
}

/// The key of a line such as `  seed: 42`.
fn indented_key(line: &str) -> Option<&'static str> {
    let line = &line[indent(line).len()..];
    KEYS.into_iter().find(|key| {
        let rest = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
    })
}

/// The key of a line such as `seed:42`, which YAML takes for a text.
fn glued(line: &str) -> Option<&'static str> {
    KEYS.into_iter().find(|key| {
        let rest = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':'));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(char::is_whitespace))
    })
}

/// The key of a line such as `seed = 42`, or with the colon of another keyboard.
fn without_colon(line: &str) -> Option<&'static str> {
    KEYS.into_iter().find(|key| {
        let rest = line.strip_prefix(key).map(str::trim_start);
        rest.is_some_and(|rest| rest.starts_with(['=', ',', ';', '：', '∶']))
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
    for line in text.split_inclusive(ends_line) {
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
fn opened(text: &str, said: &str) -> Option<Place> {
    let (_, place) = said.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    place_of_mark(text, Place { line: line.parse().ok()?, column: column.parse().ok()? })
}
