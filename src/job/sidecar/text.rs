//! From the bytes of a sidecar to its keys and values, with the place of each.
//!
//! What could make the parser slow, or its answer larger than the file, is refused or cut here before it is built: the file's
//! size, its brackets, and values that nobody has asked for.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::place::{Part, Place, at, ends_line, lines_of, place_of, place_of_part};
use super::{BYTES_MAX, Problem, problem, syntax};

/// Opening brackets and braces that a sidecar may have at most outside comments; the parser's time grows with their depth times
/// the text.
const BRACKETS_MAX: usize = 32;

/// Bytes that are parsed once more to find the places of complaints. Enough for every place in a text of a few kilobytes, and
/// for the first one in the largest.
const PLACED_BYTES_MAX: usize = BYTES_MAX;

/// Zero bytes at the end that are no text: more than the last character of a UTF-32 text has.
const ZERO_TAIL_BYTES: usize = 4;

/// What web pages begin with, in any case.
const WEB_PAGES: [&str; 2] = ["<!doctype html", "<html"];

/// What a line begins with that gives tags another meaning.
const TAG_DIRECTIVE: &str = "%TAG";

/// Unknown and repeated keys that are kept to complain of; the rest are counted.
const STRAYS_MAX: usize = 20;

/// Characters of a text that is not a prompt which are shown in a complaint.
const SHOWN_MAX: usize = 60;

/// The shape of a sidecar, for those who have written something else.
const SHAPE: &str = "write at least a line such as: prompt: A dog runs along the beach";

/// One key of the mapping, in the order of the file.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its number in the mapping, from 0.
    pub(super) number: usize,
    /// The key, cut to [`SHOWN_MAX`] characters.
    pub(super) key: String,
    /// The value of a key that a sidecar knows, where it stands first; anything else is a stray.
    pub(super) value: Option<Value>,
}

/// A value as far as a sidecar has a use for it.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    /// How many elements, and the first.
    List(usize, Option<Box<Value>>),
    Mapping,
    /// A value with a tag of its own, `!name`.
    Tagged(String),
}

/// A sidecar's text and its entries.
#[derive(Debug)]
pub(super) struct Text<'a> {
    text: &'a str,
    /// How many places may still be looked for; each costs a whole parse.
    places_left: Cell<usize>,
    pub(super) entries: Vec<Entry>,
    /// How many more strays there are than `entries` has.
    pub(super) more: usize,
}

/// Why there are no entries.
#[derive(Debug)]
pub(super) enum Unread {
    /// Not YAML as far as it goes, so it may be the beginning of something better.
    Unparsed(Box<Problem>),
    /// Whatever may still come, it will not do.
    Unfit(Box<Problem>),
}

impl Unread {
    fn unparsed(problem: Problem) -> Self {
        Self::Unparsed(Box::new(problem))
    }

    fn unfit(problem: Problem) -> Self {
        Self::Unfit(Box::new(problem))
    }
}

impl<'a> Text<'a> {
    /// Reads the bytes; refuses what is no YAML mapping, or could not be read safely.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Unread> {
        let text = decode(bytes)?;
        if WEB_PAGES
            .iter()
            .any(|start| text.trim_start().get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start)))
        {
            let message = "the file is a web page (HTML), perhaps an error page";
            return Err(Unread::unfit(problem(
                message,
                "put a sidecar in its place; at least a line such as: prompt: A dog",
            )));
        }
        bounded(text).map_err(Unread::Unfit)?;
        let root = RootSeed.deserialize(serde_yaml::Deserializer::from_str(text));
        let unfit = match root.map_err(|error| Unread::unparsed(syntax::explain(text, &error)))? {
            Root::Mapping(entries, more) => {
                let places_left = Cell::new(PLACED_BYTES_MAX / text.len().max(1));
                return Ok(Self { text, places_left, entries, more });
            }
            Root::Empty => problem("the file holds nothing", SHAPE),
            Root::List => problem("the file holds a list instead of keys and values", SHAPE),
            Root::Tagged => problem("the file begins with a YAML tag (!…) instead of keys and values", SHAPE),
            Root::Scalar(scalar) => syntax::explain_scalar(text, &scalar),
        };
        Err(Unread::unfit(unfit))
    }

    /// The line in which the key of the entry of this number stands.
    pub(super) fn line(&self, entry: usize) -> Option<&'a str> {
        let place = self.place(entry, Part::Key)?;
        lines_of(self.text).nth(usize::try_from(place.line).ok()?.checked_sub(1)?)
    }

    /// Where the part of the entry of this number begins; `None` if it is not there, or the text is so large that looking for
    /// one more place would take too long.
    pub(super) fn place(&self, entry: usize, part: Part) -> Option<Place> {
        self.places_left.set(self.places_left.get().checked_sub(1)?);
        place_of_part(self.text, entry, part)
    }
}

/// The text as it is shown in a complaint: one line, not too long. What follows the path of an address may be a signature that
/// opens it to whoever reads the complaint, and what stands before its host a password.
pub(super) fn excerpt(text: &str) -> String {
    let address = text.find("://").map(|at| at + "://".len());
    let told = match address {
        Some(start) if text[start..].contains(['?', '#', '@']) => {
            let end = text[start..].find(['?', '#', '@']).map_or(text.len(), |at| start + at);
            if text[end..].starts_with('@') { format!("{}…", &text[..start]) } else { format!("{}…", &text[..end]) }
        }
        Some(_) | None => text.to_owned(),
    };
    let mut shown: String = told.chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if told.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// The bytes as text of characters that YAML allows.
fn decode(bytes: &[u8]) -> Result<&str, Unread> {
    if bytes.len() > BYTES_MAX {
        // How many more nobody has counted.
        let message = format!("the file has more than the {BYTES_MAX} bytes that a sidecar may have");
        return Err(Unread::unfit(problem(message, "keep only the keys of a sidecar in it")));
    }
    if let Some(filled) = unfilled(bytes) {
        let message = format!("the file holds only zeros from byte {filled} to its end at byte {}", bytes.len());
        return Err(Unread::unparsed(problem(message, "copy the whole sidecar again")));
    }
    const UTF_8: &str = "save it as UTF-8";
    if bytes.starts_with(b"\xFF\xFE\0\0") || bytes.starts_with(b"\0\0\xFE\xFF") {
        return Err(Unread::unparsed(problem("the file is UTF-32 text", UTF_8)));
    }
    let wide = bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF");
    if wide || matches!(bytes, [0, b, ..] | [b, 0, ..] if *b != 0) {
        let message = "the file is UTF-16 text, as the editor of Windows once saved it";
        return Err(Unread::unparsed(problem(message, UTF_8)));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (good, bad) = bytes.split_at(error.valid_up_to());
        let text = std::str::from_utf8(good).unwrap_or_default();
        let byte = bad.first().copied().unwrap_or_default();
        let message = format!("byte {byte:02X} is not UTF-8 text; perhaps the file is in Latin-1 or GBK");
        Unread::unparsed(at(place_of(text, text.len()), problem(message, UTF_8)))
    })?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    // The parser would refuse these too, but without saying where.
    match text.char_indices().find(|&(_, c)| !is_allowed(c)) {
        Some((index, c)) => {
            let message = format!("there is a character U+{:04X} that YAML does not allow", u32::from(c));
            Err(Unread::unparsed(at(place_of(text, index), problem(message, "remove it"))))
        }
        None => Ok(text),
    }
}

/// How many bytes are filled of a file that holds nothing but zeros behind them, as one does whose size was set before its content
/// came; `None` for any other.
pub(super) fn unfilled(bytes: &[u8]) -> Option<usize> {
    let filled = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    (bytes.len() - filled >= ZERO_TAIL_BYTES).then_some(filled)
}

/// Refuses what would cost the parser much time or memory.
fn bounded(text: &str) -> Result<(), Box<Problem>> {
    if let Some(index) = openings(text).nth(BRACKETS_MAX) {
        let message = format!("there are more than {BRACKETS_MAX} opening brackets");
        let found = problem(message, "keep only the keys of a sidecar in it");
        return Err(Box::new(at(place_of(text, index), found)));
    }
    // Each tag below would be written out with the text that the line gives it.
    let directive =
        text.match_indices(TAG_DIRECTIVE).find(|&(index, _)| text[..index].chars().next_back().is_none_or(ends_line));
    match directive {
        Some((index, _)) => {
            let found = problem("there is a %TAG line, and a sidecar has no use for tags", "remove the line");
            Err(Box::new(at(place_of(text, index), found)))
        }
        None => Ok(()),
    }
}

/// The byte indices of brackets and braces that may open something: of all but those that stand in a comment for certain. Where a
/// quote stands in between, only parsing could tell what is a comment.
fn openings(text: &str) -> impl Iterator<Item = usize> {
    let (mut comment, mut previous) = (false, '\n');
    text.char_indices().filter_map(move |(index, c)| {
        comment = match c {
            '#' => comment || previous == ' ' || previous == '\t' || ends_line(previous),
            '\'' | '"' => false,
            _ => comment && !ends_line(c),
        };
        previous = c;
        (!comment && matches!(c, '[' | '{')).then_some(index)
    })
}

/// Whether a character may stand in a YAML text (YAML 1.1, section 4.1.1).
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{A0}'..='\u{FEFE}' | '\u{FF00}'..='\u{FFFD}' | '\u{10000}'..)
}

enum Root {
    Mapping(Vec<Entry>, usize),
    Empty,
    List,
    Tagged,
    Scalar(String),
}

struct RootSeed;

impl<'de> DeserializeSeed<'de> for RootSeed {
    type Value = Root;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Root, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RootSeed {
    type Value = Root;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Root, A::Error> {
        let (mut entries, mut strays) = (Vec::<Entry>::new(), 0_usize);
        let mut number = 0;
        while let Some(key) = map.next_key_seed(ValueSeed)? {
            let key = match key {
                Value::Text(text) => excerpt(&text),
                other => other.shown(),
            };
            let first = super::KEYS.contains(&key.as_str()) && entries.iter().all(|entry| entry.key != key);
            if first {
                entries.push(Entry { number, key, value: Some(map.next_value_seed(ValueSeed)?) });
            } else {
                // A stray's value is not built: by references it could be much larger than the file.
                map.next_value::<IgnoredAny>()?;
                strays += 1;
                if strays <= STRAYS_MAX {
                    entries.push(Entry { number, key, value: None });
                }
            }
            number += 1;
        }
        Ok(Root::Mapping(entries, strays.saturating_sub(STRAYS_MAX)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Root, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Root::List)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Root, A::Error> {
        let (IgnoredAny, variant) = data.variant()?;
        variant.newtype_variant::<IgnoredAny>().map(|_| Root::Tagged)
    }

    fn visit_unit<E: Error>(self) -> Result<Root, E> {
        Ok(Root::Empty)
    }

    fn visit_none<E: Error>(self) -> Result<Root, E> {
        Ok(Root::Empty)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Root, E> {
        Ok(Root::Scalar(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Root, E> {
        Ok(Root::Scalar(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Root, E> {
        Ok(Root::Scalar(value.to_string()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Root, E> {
        Ok(Root::Scalar(value.to_string()))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Root, E> {
        Ok(Root::Scalar(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Root, E> {
        Ok(Root::Scalar(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Root, E> {
        Ok(Root::Scalar(value.to_owned()))
    }
}

impl Value {
    /// The value in a complaint: what it is, and how it reads if that is short.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Null => "an empty value".to_owned(),
            Self::Bool(value) => format!("the value {value}"),
            Self::Integer(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) => format!("the text {:?}", excerpt(text)),
            Self::List(_, _) => "a list".to_owned(),
            Self::Mapping => "a mapping of keys and values".to_owned(),
            Self::Tagged(tag) => format!("a value with the YAML tag !{tag}"),
        }
    }
}

struct ValueSeed;

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Ok(i128::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let first = seq.next_element_seed(ValueSeed)?;
        let mut count = usize::from(first.is_some());
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Value::List(count, first.map(Box::new)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Mapping)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (tag, variant) = data.variant::<String>()?;
        variant.newtype_variant::<IgnoredAny>().map(|_| Value::Tagged(excerpt(&tag)))
    }
}
