//! YAML as a tree whose every node can be found again in the text.
//!
//! The parser gives a position to errors alone. So each node gets an ordinal, in the order of reading, and the position of
//! a node is found by reading again and failing on purpose at that ordinal. Files are small and positions are needed
//! for a few dozen nodes, so this costs less than a second parser would.
//!
//! Reports text that is not YAML, is too large, or nests too much, as one [`Problem`] with its place.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

use crate::job::Problem;
use crate::job::sidecar::place_of_error;

/// Bytes that a configuration may have at most.
pub(super) const BYTES_MAX: usize = 64 * 1024;

/// Opening brackets and braces that a configuration may have together: the scanner is quadratic in them.
const OPENINGS_MAX: usize = 256;

/// One node of the tree.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Node {
    /// Its place in the order of reading, for [`locate`].
    pub(super) ordinal: usize,
    /// What it holds.
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction.
    Float(f64),
    /// Anything else that is one value.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order of the text, repetitions included.
    Map(Vec<(Node, Node)>),
}

/// Reads one document; nothing but comments is [`Value::Null`].
///
/// # Errors
/// The first thing that is not YAML, with line and column where the parser knows them.
pub(super) fn parse(text: &str) -> Result<Node, Box<Problem>> {
    let openings = text.bytes().filter(|b| matches!(b, b'[' | b'{')).count();
    if text.len() > BYTES_MAX {
        return Err(problem(format!("larger than {BYTES_MAX} bytes"), "a configuration is a few lines long"));
    }
    if openings > OPENINGS_MAX {
        return Err(problem(format!("more than {OPENINGS_MAX} opening brackets"), "write one key a line"));
    }
    read(text, None).map_err(|error| {
        let place = place_of_error(text, &error);
        let line = place.and_then(|place| text.lines().nth(usize::try_from(place.line).ok()?.checked_sub(1)?));
        let indent = line.map_or("", |line| &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]);
        let (message, proposal) = match indent.contains('\t') {
            true => ("a tab stands at the beginning of the line".to_owned(), "use spaces there"),
            false => (
                format!("not readable as YAML: {}", without_place(&error.to_string())),
                "mend the line or the one above it; the shipped jimengd.yaml shows how they are written",
            ),
        };
        Box::new(Problem {
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            ..*problem(message, proposal)
        })
    })
}

/// Line and column of the node with this ordinal, both counted from 1.
pub(super) fn locate(text: &str, ordinal: usize) -> Option<(u64, u64)> {
    let place = place_of_error(text, &read(text, Some(ordinal)).err()?)?;
    Some((place.line, place.column))
}

fn read(text: &str, fail_at: Option<usize>) -> Result<Node, serde_yaml::Error> {
    let next = Cell::new(0);
    Reading { next: &next, fail_at }.deserialize(serde_yaml::Deserializer::from_str(text))
}

fn problem(message: String, proposal: &str) -> Box<Problem> {
    Box::new(Problem { message, proposal: Some(proposal.to_owned()), ..Problem::default() })
}

/// The parser ends its messages with the place, which a [`Problem`] shows in front.
fn without_place(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

#[derive(Clone, Copy)]
struct Reading<'a> {
    next: &'a Cell<usize>,
    fail_at: Option<usize>,
}

impl Reading<'_> {
    fn node<E: de::Error>(self, ordinal: usize, value: Value) -> Result<Node, E> {
        match self.fail_at == Some(ordinal) {
            true => Err(E::custom("here")),
            false => Ok(Node { ordinal, value }),
        }
    }

    fn number(self) -> usize {
        let ordinal = self.next.get();
        self.next.set(ordinal + 1);
        ordinal
    }

    fn leaf<E: de::Error>(self, value: Value) -> Result<Node, E> {
        self.node(self.number(), value)
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or keys with values")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.leaf(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.leaf(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.leaf(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.leaf(Value::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.leaf(Value::Integer(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.leaf(Value::Integer(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.leaf(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.leaf(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let ordinal = self.number();
        // Before its content is read, so that the position found is that of the list and not of its end.
        self.node(ordinal, Value::Null)?;
        let mut list = Vec::new();
        while let Some(node) = access.next_element_seed(self)? {
            list.push(node);
        }
        self.node(ordinal, Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let ordinal = self.number();
        self.node(ordinal, Value::Null)?;
        let mut map = Vec::new();
        while let Some(key) = access.next_key_seed(self)? {
            let value = access.next_value_seed(self)?;
            map.push((key, value));
        }
        self.node(ordinal, Value::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _access: A) -> Result<Node, A::Error> {
        Err(de::Error::custom("a tag that starts with ! means nothing here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(node: Node) -> Vec<(Node, Node)> {
        match node.value {
            Value::Map(map) => map,
            other => panic!("not a map: {other:?}"),
        }
    }

    #[test]
    fn every_node_is_found_again_where_it_stands() {
        let text = "# first\na: 1\nb:\n  c: [x, y]\n  d: ~\n";
        let top = children(parse(text).unwrap());
        let inner = children(top[1].1.clone());
        let place = |node: &Node| locate(text, node.ordinal).unwrap();
        assert_eq!(place(&top[0].0), (2, 1));
        assert_eq!(place(&top[0].1), (2, 4));
        assert_eq!(place(&top[1].0), (3, 1));
        assert_eq!(place(&inner[0].0), (4, 3));
        assert_eq!(place(&inner[0].1), (4, 6));
        assert_eq!(place(&inner[1].1), (5, 6));
    }

    #[test]
    fn lines_are_those_of_editors() {
        let text = "a: 'x\u{2028}\u{85}'\nb: 1\rc: 2\r\nd: 3\n";
        let top = children(parse(text).unwrap());
        let lines: Vec<u64> = top.iter().map(|(key, _)| locate(text, key.ordinal).unwrap().0).collect();
        assert_eq!(lines, [1, 2, 3, 4]);
    }

    #[test]
    fn an_empty_text_and_one_of_comments_hold_nothing() {
        for text in ["", "\n", "# only a comment\n", "---\n"] {
            assert_eq!(parse(text).map(|node| node.value), Ok(Value::Null), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_place() {
        let problem = parse("a: 1\nb: [\n").unwrap_err();
        assert!(problem.line.is_some(), "{problem}");
        assert!(problem.message.starts_with("not readable as YAML"), "{problem}");
        assert!(!problem.message.contains(" at line "), "{problem}");
        assert!(problem.proposal.is_some_and(|text| text.contains("jimengd.yaml")));
        let tab = parse("a:\n\tb: 1\n").unwrap_err();
        assert_eq!((tab.line, tab.proposal.as_deref()), (Some(2), Some("use spaces there")), "{tab}");
        assert!(parse("a: !tag 1\n").unwrap_err().message.contains('!'));
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
    }

    #[test]
    fn size_and_brackets_are_bounded_before_the_parser_sees_them() {
        assert!(parse(&"#".repeat(BYTES_MAX + 1)).unwrap_err().message.contains("larger than"));
        assert!(parse(&"[".repeat(OPENINGS_MAX + 1)).unwrap_err().message.contains("brackets"));
    }
}
