//! Says in plain words why a text is no YAML, from what the parser says and from what people usually do wrong.

use super::place::{Place, at, ends_line, lines_of, place_of, place_of_error, place_of_mark};
use super::text::excerpt;
use super::values::named_ratio;
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

/// What the parser notices at its end, and people look for at its beginning.
const SCANNED_FROM: [&str; 2] = ["while scanning a quoted scalar", "while scanning a simple key"];

const CLOSE: &str = "write it, and put texts that hold brackets, commas or colons in quotes";
const QUOTE: &str = "put the whole text in quotes";
const INDENT: &str = "begin every key at the start of its line, and put a text that holds quotes, brackets, #, & or * \
                      in quotes as a whole";

/// The problem for a text that the parser refused with this error.
pub(super) fn explain(text: &str, error: &serde_yaml::Error) -> Problem {
    let said = error.to_string();
    if said.contains("more than one document") {
        return behind_the_document(text);
    }
    let Some(place) = place_of_error(text, error) else {
        return in_words(&said);
    };
    let usual = usual_mistake(text, place);
    match usual {
        Some(found) => found,
        // The end of the file is a poor place for what began long before.
        None if SCANNED_FROM.iter().any(|what| said.contains(what)) => {
            at(opened(text, &said).unwrap_or(place), in_words(&said))
        }
        None => at(place, in_words(&said)),
    }
}

/// The problem for a text that is YAML but only one value.
pub(super) fn explain_scalar(text: &str, scalar: &str) -> Problem {
    let is_content = |line: &str| !line.trim().is_empty() && !line.starts_with('#') && !line.starts_with("---");
    let Some((number, line)) = (1..).zip(lines_of(text)).find(|(_, line)| is_content(line)) else {
        return only(scalar);
    };
    let column_of = |part: &str| line[..line.len() - part.len()].chars().count() as u64 + 1;
    let (column, found) = match (without_colon(line), glued(line)) {
        (Some((key, rest)), _) => (column_of(rest), colon_missing(key, rest)),
        (None, Some((key, value))) => (column_of(value), space_missing(key, value)),
        (None, None) => (column_of(&line[indent(line).len()..]), only(scalar)),
    };
    at(Place { line: number, column }, found)
}

/// The problem for a file that is one value.
fn only(scalar: &str) -> Problem {
    problem(
        format!("the file holds only {:?}, and no key", excerpt(scalar)),
        "write prompt: and a space in front of it, and put the text in quotes",
    )
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
        let (column, found) = in_line(line)?;
        Some(at(on_line(column), found))
    });
    earlier.next().or_else(|| lines.get(last - 1).and_then(|line| in_this_line(&lines, line, place)))
}

/// A mistake that a line shows by itself, and its column, from 1.
fn in_line(line: &str) -> Option<(usize, Problem)> {
    let column_of = |part: &str| line[..line.len() - part.len()].chars().count() + 1;
    if let Some(tab) = indent(line).find('\t') {
        return Some((tab + 1, problem("a tab stands at the beginning of the line", "use spaces there")));
    }
    if let Some((key, value)) = glued(line) {
        return Some((column_of(value), space_missing(key, value)));
    }
    if let Some((key, rest)) = without_colon(line) {
        return Some((column_of(rest), colon_missing(key, rest)));
    }
    let (key, value) = keyed(line)?;
    let found = match (value.chars().next(), key) {
        (Some(sign @ ('-' | '?')), _) if value[1..].starts_with([' ', '\t']) => {
            let meaning = if sign == '-' { "a list" } else { "a key" };
            problem(format!("a text begins with {sign} and a blank, which YAML takes for {meaning}"), QUOTE)
        }
        (Some(sign @ ('|' | '>')), _)
            if value[1..].trim_start_matches(is_of_a_block).starts_with(char::is_alphanumeric) =>
        {
            problem(format!("a text begins with {sign}, which YAML takes for a block of the lines below"), QUOTE)
        }
        (Some(_), "aspect_ratio") if !value.contains('"') => {
            let ratio = named_ratio(value.split(" #").next().unwrap_or(value))?;
            problem("the ratio is written with blanks in it", &format!("write \"{ratio}\" in quotes"))
        }
        (Some(_) | None, _) => return None,
    };
    Some((column_of(value), Problem { key: Some(key.to_owned()), ..found }))
}

/// What may stand between the sign of a block and the end of its line.
fn is_of_a_block(c: char) -> bool {
    matches!(c, '+' | '-' | '0'..='9' | ' ' | '\t')
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
    let (before, behind) = line.split_at(line.char_indices().nth(usize::try_from(place.column).ok()? - 1)?.0);
    if !before.trim_end().ends_with(['"', '\'', ']', '}']) {
        return None;
    }
    let found = match behind.trim() {
        "," => problem("a comma stands behind the value", "remove the comma at the end of the line"),
        _ => problem(
            "a text goes on behind its closing quote or bracket",
            "put the whole text into one pair of quotes, and close every quote that was opened above",
        ),
    };
    Some(at(place, found))
}

/// The blanks at the beginning of a line.
fn indent(line: &str) -> &str {
    let blanks = line.find(|c| c != ' ' && c != '\t').unwrap_or(line.len());
    &line[..blanks]
}

/// The key of a line such as `  seed: 42`, and its value.
fn keyed(line: &str) -> Option<(&'static str, &str)> {
    let line = &line[indent(line).len()..];
    KEYS.into_iter().find_map(|key| {
        let value = line.strip_prefix(key)?.strip_prefix(':')?;
        (value.is_empty() || value.starts_with([' ', '\t'])).then_some((key, value.trim_start_matches([' ', '\t'])))
    })
}

/// The key of a line such as `  seed: 42`.
fn indented_key(line: &str) -> Option<&'static str> {
    keyed(line).map(|(key, _)| key)
}

/// The key of a line such as `seed:42`, which YAML takes for a text, and what stands behind the colon.
fn glued(line: &str) -> Option<(&'static str, &str)> {
    KEYS.into_iter().find_map(|key| {
        let value = line.strip_prefix(key)?.strip_prefix(':')?;
        (!value.is_empty() && !value.starts_with([' ', '\t'])).then_some((key, value))
    })
}

/// The key of a line such as `seed = 42` or `seed 42`, or with the colon of another keyboard, and what stands behind the key.
pub(super) fn without_colon(line: &str) -> Option<(&'static str, &str)> {
    KEYS.into_iter().find_map(|key| {
        let rest = line.strip_prefix(key)?;
        let value = rest.trim_start();
        let other_sign = value.starts_with(['=', ',', ';', '：', '∶']);
        let no_sign = value.len() < rest.len() && !value.is_empty() && !value.contains(':');
        (other_sign || no_sign).then_some((key, rest))
    })
}

/// The sign that hides the value of a line such as `prompt: #hashtag` from YAML, and what it begins there.
pub(super) fn hidden(line: &str) -> Option<(char, &'static str)> {
    let (_, value) = keyed(line)?;
    match value.chars().next()? {
        '#' => Some(('#', "a comment")),
        '&' => Some(('&', "the name of a value")),
        _ => None,
    }
}

fn space_missing(key: &'static str, value: &str) -> Problem {
    let found = match value.chars().next().filter(|c| c.is_whitespace()) {
        Some(blank) => problem(
            format!(
                "the blank behind the colon is the character U+{:04X}, which YAML takes for text",
                u32::from(blank)
            ),
            "write an ordinary space there",
        ),
        None => problem("there is no space behind the colon", &format!("write {key}: with a space behind it")),
    };
    Problem { key: Some(key.to_owned()), ..found }
}

/// The problem of a line that [`without_colon`] found: the key, and what stands behind it.
pub(super) fn colon_missing(key: &'static str, rest: &str) -> Problem {
    let message = match rest.trim_start().chars().next() {
        Some(sign @ ('：' | '∶')) => format!(
            "the colon behind the key is the character U+{:04X} of another keyboard, which YAML takes for text",
            u32::from(sign)
        ),
        Some(sign @ ('=' | ',' | ';')) => format!("the key is followed by {sign} in place of a colon"),
        Some(_) | None => "there is no colon behind the key".to_owned(),
    };
    let found = problem(message, &format!("write {key}: with an ordinary colon and a space behind it"));
    Problem { key: Some(key.to_owned()), ..found }
}

/// The problem of a text that goes on where for YAML it has ended.
fn behind_the_document(text: &str) -> Problem {
    if let Some(place) = second_document(text) {
        let found = "the file holds more than one YAML document";
        return at(place, problem(found, &format!("remove line {} and everything below it", place.line)));
    }
    let is_content = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let mut lines = (1..).zip(lines_of(text)).filter(|(_, line)| is_content(line));
    let first = lines.next().map_or("", |(_, line)| line);
    let depth = indent(first).len();
    match lines.find(|(_, line)| indent(line).len() < depth) {
        Some((number, line)) => {
            let message = format!("this line is indented by {}, the first one by {depth}", indent(line).len());
            let found = problem(message, "begin every key at the start of its line");
            at(Place { line: number, column: indent(line).len() as u64 + 1 }, found)
        }
        None => {
            problem("something stands behind the closing bracket", "remove the brackets, or what stands behind them")
        }
    }
}

/// Where the second document begins: the line `---` or `...` with something in front of it.
fn second_document(text: &str) -> Option<Place> {
    let mut index = 0;
    let mut content = false;
    for line in text.split_inclusive(ends_line) {
        let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
        let marker = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marker && content {
            return Some(place_of(text, index));
        }
        content = content || !(line.trim().is_empty() || line.starts_with(['#', '%']));
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
