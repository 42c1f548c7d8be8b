//! Names as Linux has them: any bytes but `/` and NUL.
//!
//! A name is kept as bytes from the inbox to the outbox and only *shown* as text: what is not UTF-8, and what would break a
//! line, is written `\xNN`. Whether two names are the same to a reader is asked of their [`folded`] forms.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use icu_normalizer::ComposingNormalizerBorrowed;

/// Bytes that a file's name may have at most on the file systems of Linux.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of the longest UTF-8 character.
const CHARACTER_BYTES_MAX: usize = 4;

/// Shows bytes as text: UTF-8 as it is, other bytes and control characters as `\xNN`. No two names are shown alike: a backslash
/// with an `x` behind it is written `\x5C`.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut chars = chunk.valid().chars().peekable();
        while let Some(c) = chars.next() {
            if c.is_control() || (c == '\\' && chars.peek() == Some(&'x')) {
                text.push_str(&escaped(c.encode_utf8(&mut [0; CHARACTER_BYTES_MAX]).as_bytes()));
            } else {
                text.push(c);
            }
        }
        text.push_str(&escaped(chunk.invalid()));
    }
    text
}

/// The same bytes for names that look alike: a letter and its accent as one character (Unicode's form NFC), as Linux and Windows
/// write it, while macOS may write two. Bytes that are not UTF-8 stay as they are; the case of letters counts.
pub fn folded(bytes: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_ascii() => match ComposingNormalizerBorrowed::new_nfc().normalize(text) {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
        Ok(_) | Err(_) => Cow::Borrowed(bytes),
    }
}

/// Names as text of which no two look alike: where two would, what is not ASCII is written `\xNN` in both.
pub fn told_apart(names: &[&FileName]) -> Vec<String> {
    let mut looks: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for name in names {
        looks.entry(folded(&name.0)).or_default().insert(*name);
    }
    let has_twin = |name: &FileName| looks[&folded(&name.0)].len() > 1;
    let bytewise = |name: &FileName| {
        name.0
            .utf8_chunks()
            .map(|chunk| {
                let valid = chunk.valid().chars().map(|c| match c.is_ascii() {
                    true => shown(&[c as u8]),
                    false => escaped(c.encode_utf8(&mut [0; CHARACTER_BYTES_MAX]).as_bytes()),
                });
                valid.collect::<String>() + &escaped(chunk.invalid())
            })
            .collect()
    };
    names.iter().map(|name| if has_twin(name) { bytewise(name) } else { name.to_string() }).collect()
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02X}")).collect()
}

/// The name of one file or folder: not empty, no `/`, no NUL, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Vec<u8>);

impl FileName {
    /// Takes bytes that can be the name of a directory entry; `None` otherwise.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        let bad = bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|&b| b == b'/' || b == 0);
        (!bad).then_some(Self(bytes))
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as a path of one component.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", shown(&self.0))
    }
}

/// A subfolder, relative to the root of the inbox, the outbox, the archive or the error folder; empty for the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Folder(Vec<u8>);

impl Folder {
    /// The root of the spool folder.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads `a/b/c`; `None` if a component is empty, `.`, `..` or holds a NUL.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Some(Self::root());
        }
        let fine = bytes.split(|&b| b == b'/').all(|part| FileName::new(part).is_some());
        fine.then_some(Self(bytes))
    }

    /// The folder `name` in this folder.
    pub fn join(&self, name: &FileName) -> Self {
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.as_bytes());
        Self(bytes)
    }

    /// The first component: what the turns of section "order" go over. `None` in the root.
    pub fn top(&self) -> Option<&[u8]> {
        self.0.split(|&b| b == b'/').next().filter(|part| !part.is_empty())
    }

    /// The components, from the top.
    pub fn parts(&self) -> impl Iterator<Item = FileName> + '_ {
        self.0.split(|&b| b == b'/').filter_map(FileName::new)
    }

    /// Whether this is the root of the spool folder.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, `a/b/c`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The folder as a relative path, empty for the root.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The path of `name` in this folder, relative to the root of the spool folder.
    pub fn path_of(&self, name: &FileName) -> PathBuf {
        self.as_path().join(name.as_path())
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", shown(&self.0))
    }
}

/// What a pair is called and where it lay: the base of every name that comes out of it.
///
/// `inbox/shoes/red.png` with `red.yaml` is `shoes/red`; with the exact sidecar `red.png.yaml` it is `shoes/red.png`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairName {
    /// The subfolder of the inbox.
    pub folder: Folder,
    /// The stem, to which `.mp4`, `.receipt.yaml` and `.error.yaml` are appended.
    pub stem: FileName,
}

impl fmt::Display for PairName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.folder.is_root() {
            write!(f, "{}/", self.folder)?;
        }
        self.stem.fmt(f)
    }
}

impl fmt::Debug for PairName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// `stem`, ` (number)` if that is over 1, and `suffix` as one name of at most 255 bytes.
///
/// A longer one loses bytes of the stem (never a part of a UTF-8 character) and gets `~` and `job_short`, the eight
/// hexadecimal digits of the job, in their place.
pub fn derived(stem: &FileName, number: u32, suffix: &[u8], job_short: &str) -> FileName {
    derived_beside(stem, number, suffix, 0, job_short)
}

/// As [`derived`], but the stem is cut as for a suffix of at least `suffix_bytes`, so that names with different suffixes keep
/// a common stem.
pub fn derived_beside(stem: &FileName, number: u32, suffix: &[u8], suffix_bytes: usize, job_short: &str) -> FileName {
    let count = if number > 1 { format!(" ({number})") } else { String::new() };
    let after = count.len() + suffix.len().max(suffix_bytes);
    let mut bytes = stem.as_bytes().to_vec();
    if bytes.len() + after > NAME_BYTES_MAX {
        let room = NAME_BYTES_MAX.saturating_sub(after + 1 + job_short.len());
        bytes.truncate(boundary(&bytes, room));
        bytes.push(b'~');
        bytes.extend_from_slice(job_short.as_bytes());
    }
    bytes.extend_from_slice(count.as_bytes());
    bytes.extend_from_slice(suffix);
    FileName(bytes)
}

/// Splits `name` into the part before its last dot and the rest with the dot; a leading dot is part of the stem.
pub fn split_extension(name: &FileName) -> (&[u8], &[u8]) {
    let bytes = name.as_bytes();
    match bytes.iter().rposition(|&b| b == b'.') {
        Some(at) if at > 0 => bytes.split_at(at),
        Some(_) | None => (bytes, &[]),
    }
}

/// The largest cut at or below `room` that does not split a UTF-8 character. Bytes that are no UTF-8 are cut anywhere, so
/// that a name made of nothing but continuation bytes keeps its beginning.
fn boundary(bytes: &[u8], room: usize) -> usize {
    let room = room.min(bytes.len());
    let is_start = |cut: &usize| bytes.get(*cut).is_none_or(|byte| byte & 0xC0 != 0x80);
    (room.saturating_sub(CHARACTER_BYTES_MAX - 1)..=room).rev().find(is_start).unwrap_or(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> FileName {
        FileName::new(bytes).expect("a test's name is a name")
    }

    #[test]
    fn a_name_is_cut_between_characters_and_anywhere_among_bytes_that_are_none() {
        assert_eq!(["aé", "a猫", "a🐈"].map(|text| boundary(text.as_bytes(), text.len() - 1)), [1, 1, 1]);
        assert_eq!(boundary(b"abcd\x80\x80\x80\x80", 7), 7, "no character has four such bytes behind its first");
        assert_eq!(boundary("abc".as_bytes(), 9), 3);
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_as_hexadecimal() {
        assert_eq!(shown(b"caf\xe9 \xF0\x9F\x98\x80\n"), "caf\\xE9 😀\\x0A");
    }

    #[test]
    fn no_two_names_are_shown_alike() {
        assert_eq!(shown(b"caf\\xE9"), "caf\\x5CxE9");
        assert_eq!(shown(b"a\\b\\\xe9"), "a\\b\\\\xE9");
    }

    #[test]
    fn what_looks_alike_is_folded_to_the_same_bytes() {
        assert_eq!(folded("e\u{301}.jpg".as_bytes()), folded("\u{e9}.jpg".as_bytes()));
        assert_eq!(folded("\u{1112}\u{1161}\u{11ab}".as_bytes()).as_ref(), "\u{d55c}".as_bytes());
        assert_eq!(folded(b"caf\xe9").as_ref(), b"caf\xe9");
        assert_ne!(folded(b"A.jpg"), folded(b"a.jpg"));
    }

    #[test]
    fn names_that_look_alike_are_told_apart() {
        let (one, two, other) =
            (name("\u{e9}.jpg".as_bytes()), name("e\u{301}.jpg".as_bytes()), name("é.png".as_bytes()));
        assert_eq!(told_apart(&[&one, &two, &other]), ["\\xC3\\xA9.jpg", "e\\xCC\\x81.jpg", "é.png"]);
    }

    #[test]
    fn a_name_is_one_directory_entry() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
            assert!(FileName::new(bad).is_none(), "{bad:?}");
        }
        assert!(Folder::new(&b"a//b"[..]).is_none());
        assert!(Folder::new(&b"../b"[..]).is_none());
        assert_eq!(Folder::new(&b"a/b"[..]).and_then(|f| f.top().map(<[u8]>::to_vec)), Some(b"a".to_vec()));
        assert_eq!(Folder::root().top(), None);
    }

    #[test]
    fn a_folder_is_its_components() {
        let (root, shoes) = (Folder::root(), Folder::root().join(&name(b"shoes")));
        let red = shoes.join(&name(b"r\xE9d"));
        assert!(root.is_root() && !red.is_root());
        assert_eq!((root.as_bytes(), red.as_bytes()), (&b""[..], &b"shoes/r\xE9d"[..]));
        assert_eq!(red.parts().collect::<Vec<_>>(), [name(b"shoes"), name(b"r\xE9d")]);
        assert_eq!(root.parts().count(), 0);
        assert_eq!(red.path_of(&name(b"a.jpg")), Path::new(OsStr::from_bytes(b"shoes/r\xE9d/a.jpg")));
        assert_eq!(root.path_of(&name(b"a.jpg")), Path::new("a.jpg"));
        assert_eq!(
            (red.to_string(), format!("{red:?}")),
            ("shoes/r\\xE9d".to_owned(), r#""shoes/r\\xE9d""#.to_owned())
        );
    }

    #[test]
    fn a_pair_is_shown_with_its_folder() {
        let pair = PairName { folder: Folder::root(), stem: name(b"red") };
        assert_eq!((pair.to_string(), format!("{pair:?}")), ("red".to_owned(), "\"red\"".to_owned()));
        let pair = PairName { folder: Folder::root().join(&name(b"shoes")), ..pair };
        assert_eq!(pair.to_string(), "shoes/red");
        assert_eq!(format!("{:?}", pair.stem), "\"red\"");
    }

    #[test]
    fn numbers_come_before_the_suffix() {
        assert_eq!(derived(&name(b"cat"), 1, b".mp4", "00112233").as_bytes(), b"cat.mp4");
        assert_eq!(derived(&name(b"cat"), 2, b".receipt.yaml", "00112233").as_bytes(), b"cat (2).receipt.yaml");
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_marked() {
        let long = "é".repeat(127);
        let cut = derived(&name(long.as_bytes()), 3, b".error.yaml", "00112233");
        assert!(cut.as_bytes().len() <= NAME_BYTES_MAX);
        let text = std::str::from_utf8(cut.as_bytes()).expect("cut between characters");
        assert!(text.ends_with("é~00112233 (3).error.yaml"), "{text}");
    }

    #[test]
    fn a_long_name_that_is_no_text_keeps_its_beginning() {
        let cut = derived(&name(&[0x80; 255]), 1, b".mp4", "00112233");
        assert_eq!(cut.as_bytes().len(), NAME_BYTES_MAX);
        assert!(cut.as_bytes().starts_with(&[0x80; 242]));
    }

    #[test]
    fn a_name_of_just_the_right_length_is_not_cut() {
        let stem = "x".repeat(NAME_BYTES_MAX - 4);
        assert_eq!(
            derived(&name(stem.as_bytes()), 1, b".mp4", "00112233").as_bytes(),
            format!("{stem}.mp4").as_bytes()
        );
        assert!(derived(&name(stem.as_bytes()), 1, b".yaml", "00112233").as_bytes().ends_with(b"x~00112233.yaml"));
    }

    #[test]
    fn the_extension_starts_at_the_last_dot() {
        assert_eq!(split_extension(&name(b"a.b.jpg")), (&b"a.b"[..], &b".jpg"[..]));
        assert_eq!(split_extension(&name(b".hidden")), (&b".hidden"[..], &b""[..]));
    }
}
