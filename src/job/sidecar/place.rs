//! Places in a sidecar's text, and how they are found.
//!
//! The YAML parser tells a place only with an error. So where the place of a key or a value is wanted, the text is parsed
//! once more by a visitor that fails on purpose right there: the place is then the parser's own, in every style of YAML.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Problem;

/// A place in the text, counted from 1, the column in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Line, as editors show them.
    pub line: u64,
    /// Column.
    pub column: u64,
}

/// What of an entry a place is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Key,
    Value,
    /// The first element of a list.
    Element,
}

/// The place of the character at a byte index, with lines as editors show them.
pub fn place_of(text: &str, index: usize) -> Place {
    let mut place = START;
    let mut chars = text[..index].chars().peekable();
    while let Some(c) = chars.next() {
        place = behind(place, c, chars.peek().copied(), matches!(c, '\n' | '\r'));
    }
    place
}

/// The place of an error of the parser, by its index in bytes; its own lines are not those of editors.
pub fn place_of_error(text: &str, error: &serde_yaml::Error) -> Option<Place> {
    let index = error.location()?.index();
    text.is_char_boundary(index).then(|| place_of(text, index))
}

/// The place of what the parser's words call this line and column.
pub(super) fn place_of_mark(text: &str, mark: Place) -> Option<Place> {
    let mut reached = START;
    let mut chars = text.char_indices().peekable();
    while let Some((index, c)) = chars.next() {
        if reached == mark {
            return Some(place_of(text, index));
        }
        reached = behind(reached, c, chars.peek().map(|(_, next)| *next), ends_line(c));
    }
    (reached == mark).then(|| place_of(text, text.len()))
}

/// Where a text begins.
const START: Place = Place { line: 1, column: 1 };

/// The place behind the character `c` at `place`.
fn behind(place: Place, c: char, next: Option<char>, ends_line: bool) -> Place {
    match c {
        '\r' if next == Some('\n') => place,
        _ if ends_line => Place { line: place.line + 1, column: 1 },
        _ => Place { column: place.column + 1, ..place },
    }
}

/// Whether YAML 1.1 ends a line with the character; editors know only the first two.
pub(super) fn ends_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The lines that [`place_of`] counts, without their ends.
pub(super) fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (line, end) = text.split_at(text.find(['\n', '\r']).unwrap_or(text.len()));
        rest = ["\r\n", "\n", "\r"].into_iter().find_map(|ending| end.strip_prefix(ending));
        Some(line)
    })
}

/// Where a part of the entry of this number (from 0) begins; `None` if it is not there.
pub(super) fn place_of_part(text: &str, entry: usize, part: Part) -> Option<Place> {
    match (Probe { entry, part }).deserialize(serde_yaml::Deserializer::from_str(text)) {
        Ok(()) => None,
        Err(error) => place_of_error(text, &error),
    }
}

/// The problem, at a place.
pub(super) fn at(place: Place, problem: Problem) -> Problem {
    Problem { line: Some(place.line), column: Some(place.column), ..problem }
}

/// Fails at one part of one entry, so that the parser's error tells the place.
#[derive(Clone, Copy)]
struct Probe {
    entry: usize,
    part: Part,
}

impl<'de> DeserializeSeed<'de> for Probe {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        for _ in 0..self.entry {
            if map.next_entry::<IgnoredAny, IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        match self.part {
            Part::Key => map.next_key_seed(Stop).map(|_| ()),
            Part::Value => map.next_entry_seed(Skip, Stop).map(|_| ()),
            Part::Element => map.next_entry_seed(Skip, FirstElement).map(|_| ()),
        }
    }
}

struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = IgnoredAny;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<IgnoredAny, D::Error> {
        deserializer.deserialize_ignored_any(IgnoredAny)
    }
}

/// Expects nothing that can be, so that the parser refuses whatever is there.
struct Stop;

impl<'de> DeserializeSeed<'de> for Stop {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Stop {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

struct FirstElement;

impl<'de> DeserializeSeed<'de> for FirstElement {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FirstElement {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        seq.next_element_seed(Stop).map(|_| ())
    }
}
