//! Pictures: a recipe a row in `tests/fixtures/tables/pictures.yaml`, of a file of `tests/fixtures/pictures` and of what is done
//! to it. Each is dropped with the sidecar `aspect_ratio: auto`, so that the ratio tells how the daemon sees the picture.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_yaml::Value;

use super::together::{Case, play_together};
use super::{Expected, Place, Row, assert_words, folder, is_asked_for, rows, tell};
use crate::rig::{Rig, pictures, vendor};

/// The table only grows.
const ROWS_MIN: usize = 130;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    case: String,
    of: Base,
    /// Done in this order.
    #[serde(default, rename = "do")]
    steps: Vec<Step>,
    /// The ending of its name; else that of what it is made of.
    named: Option<String>,
    /// Laid over the configuration.
    #[serde(default)]
    with: Value,
    /// The ratio that `auto` must become.
    ratio: Option<String>,
    expect: Expected,
}

/// What a picture is made of.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Base {
    /// A file of the fixtures.
    File(String),
    /// A PNG of this width and height.
    Png(u32, u32),
    /// These bytes, in hexadecimal.
    Hex(String),
    /// This text.
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    /// Keeps so many tenths.
    Tenths(usize),
    /// Keeps so many bytes.
    Keep(usize),
    /// Takes so many bytes away from the end.
    Drop(usize),
    /// Makes zeros of everything behind so many tenths.
    ZerosBehindTenths(usize),
    /// So many zeros behind the end.
    AppendZeros(usize),
    /// A text behind the end.
    AppendText(String),
    /// A file of the fixtures behind the end.
    AppendFile(String),
    /// Letters behind the end, up to so many bytes.
    FillTo(usize),
    /// What the EXIF block of a JPEG of the fixtures says of its turn.
    Orientation(u8),
    /// What the header says of width and height.
    Size(u32, u32),
    /// Replaces the first occurrence of a text by bytes in hexadecimal of the same length.
    Replace { text: String, hex: String },
    /// Turns over one bit so many bytes behind the first occurrence of a text.
    Flip { behind: String, by: usize },
    /// A chunk of a PNG before the first pixels: its type, and so many bytes.
    Chunk(String, usize),
    /// The same, its data given in hexadecimal.
    ChunkHex(String, String),
    /// A segment of a JPEG behind the start marker: the marker's second byte and the data, both in hexadecimal.
    Segment(String, String),
    /// The same with a file of the fixtures as data.
    SegmentFile(String, String),
}

impl Row for Recipe {
    fn case(&self) -> &str {
        &self.case
    }
}

impl Recipe {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = match &self.of {
            Base::File(name) => fixture(name),
            Base::Png(width, height) => pictures::png_of(*width, *height),
            Base::Hex(hex) => unhex(hex),
            Base::Text(text) => text.clone().into_bytes(),
        };
        for step in &self.steps {
            step.apply(&mut bytes);
        }
        bytes
    }

    fn ending(&self) -> String {
        let of = match &self.of {
            Base::File(name) => name.rsplit('.').next().expect("a fixture has an ending"),
            Base::Png(..) => "png",
            Base::Hex(_) | Base::Text(_) => "jpg",
        };
        self.named.clone().unwrap_or_else(|| of.to_owned())
    }

    fn case(self) -> Case {
        let sidecar = format!("prompt: {}\naspect_ratio: auto\n", serde_json::Value::from(self.case.as_str()));
        let picture = Some((self.ending(), self.bytes()));
        Case { name: self.case, picture, sidecar: sidecar.into_bytes(), expect: self.expect }
    }
}

impl Step {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let behind = |bytes: &[u8], tenths: usize| bytes.len() * tenths / 10;
        match self {
            Self::Tenths(tenths) => bytes.truncate(behind(bytes, *tenths)),
            Self::Keep(count) => bytes.truncate(*count),
            Self::Drop(count) => bytes.truncate(bytes.len() - count),
            Self::ZerosBehindTenths(tenths) => {
                let from = behind(bytes, *tenths);
                bytes[from..].fill(0);
            }
            Self::AppendZeros(count) => bytes.resize(bytes.len() + count, 0),
            Self::AppendText(text) => bytes.extend(text.as_bytes()),
            Self::AppendFile(name) => bytes.extend(fixture(name)),
            Self::FillTo(count) => {
                assert!(bytes.len() <= *count, "it has {} bytes already", bytes.len());
                bytes.resize(*count, b'x');
            }
            Self::Orientation(orientation) => pictures::turn(bytes, *orientation),
            Self::Size(width, height) => resize(bytes, *width, *height),
            Self::Replace { text, hex } => {
                let at = find(bytes, text.as_bytes());
                bytes.splice(at..at + text.len(), unhex(hex));
            }
            Self::Flip { behind, by } => {
                let at = find(bytes, behind.as_bytes()) + behind.len() + by;
                bytes[at] ^= 1;
            }
            Self::Chunk(kind, count) => insert_chunk(bytes, kind, &vec![b'x'; *count]),
            Self::ChunkHex(kind, hex) => insert_chunk(bytes, kind, &unhex(hex)),
            Self::Segment(marker, hex) => insert_segment(bytes, marker, &unhex(hex)),
            Self::SegmentFile(marker, name) => insert_segment(bytes, marker, &fixture(name)),
        }
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = folder().parent().expect("a folder of fixtures").join("pictures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(|pair| byte(pair).unwrap_or_else(|| panic!("{text:?} is not hexadecimal"))).collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|found| found == wanted).unwrap_or_else(|| panic!("no {wanted:?}"))
}

/// Has the header of a PNG, or of a JPEG that begins its frame with FFC0, say another size.
fn resize(bytes: &mut [u8], width: u32, height: u32) {
    if bytes.starts_with(b"\x89PNG") {
        let header = 16..24;
        bytes[header.clone()].copy_from_slice(&[width.to_be_bytes(), height.to_be_bytes()].concat());
        let sum = pictures::crc(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&sum.to_be_bytes());
    } else {
        let side = |side: u32| u16::try_from(side).expect("two bytes in a JPEG").to_be_bytes();
        let at = find(bytes, &[0xFF, 0xC0]) + 5;
        bytes[at..at + 4].copy_from_slice(&[side(height), side(width)].concat());
    }
}

fn insert_chunk(bytes: &mut Vec<u8>, kind: &str, data: &[u8]) {
    let kind: &[u8; 4] = kind.as_bytes().try_into().expect("a type has four letters");
    // The length of the chunk of pixels lies before its type.
    let at = find(bytes, b"IDAT") - 4;
    let mut chunk = Vec::new();
    pictures::chunk(&mut chunk, kind, data);
    bytes.splice(at..at, chunk);
}

fn insert_segment(bytes: &mut Vec<u8>, marker: &str, data: &[u8]) {
    let length = u16::try_from(data.len() + 2).expect("a segment is short");
    let segment = [&[0xFF][..], &unhex(marker), &length.to_be_bytes(), data].concat();
    bytes.splice(2..2, segment);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_every_kind() {
    let rows = rows::<Recipe>("pictures", ROWS_MIN);
    let mut ratios: BTreeMap<String, String> = BTreeMap::new();
    // A spool for each configuration, in the order of the table.
    let mut spools: Vec<(Value, Vec<Case>)> = Vec::new();
    for row in rows.into_iter().filter(|row| is_asked_for(Row::case(row))) {
        let with = row.with.clone();
        let ratio = row.ratio.clone();
        assert_eq!(ratio.is_some(), row.expect.r#in == Place::Outbox, "{}: a ratio is of what is sent", row.case);
        let case = Recipe::case(row);
        ratios.extend(ratio.map(|ratio| (case.name.clone(), ratio)));
        match spools.iter_mut().find(|(other, _)| *other == with) {
            Some((_, cases)) => cases.push(case),
            None => spools.push((with, vec![case])),
        }
    }
    let mut words = Vec::new();
    for (with, cases) in spools {
        let with = if with.is_null() { String::new() } else { serde_yaml::to_string(&with).expect("it was YAML") };
        words.extend(play_together(Rig::new(vendor(), &with), cases).await);
    }
    let wrong: Vec<String> = words.iter().filter_map(|words| wrong_ratio(&ratios, words)).collect();
    assert!(wrong.is_empty(), "another ratio was sent:\n{}", wrong.join("\n"));
    tell("pictures", words.len());
    assert_words("pictures", &words.join("\n"));
}

/// The complaint about what was sent, if it names another ratio than its row.
fn wrong_ratio(ratios: &BTreeMap<String, String>, words: &str) -> Option<String> {
    let ratio = ratios.get(words.lines().next().unwrap_or_default())?;
    (!words.contains(&format!(", {ratio}, seed"))).then(|| format!("not {ratio}: {words}"))
}
