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
    let mut place = Place { line: 1, column: 1 };
    let mut chars = text[..index].chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' => place = Place { line: place.line + 1, column: 1 },
            _ => place.column += 1,
        }
    }
    place
}

/// The place of an error of the parser. Its own lines are not those of editors, since for YAML 1.1 there are more
/// characters that end a line; its index in bytes is beyond doubt.
pub(super) fn place_of_error(text: &str, error: &serde_yaml::Error) -> Option<Place> {
    let index = error.location()?.index();
    text.is_char_boundary(index).then(|| place_of(text, index))
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
