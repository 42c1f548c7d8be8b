//! Which names of one folder belong together. Pure: names in, groupings out.
//!
//! Names fall into groups by [`group_key`]: the name without any picture or sidecar extension at its end. A grouping never
//! reaches beyond its group, so a change of one name is judged by looking at the few names of its group alone.
//!
//! Within a group, first each exact sidecar (`cat.jpg.yaml`) takes its picture; what is left pairs by the stem. Two pictures
//! for one sidecar, or two sidecars for one picture, are ambiguous: nothing of it is ever sent.
//!
//! Names are compared as they look ([`folded`]): a picture from macOS, whose accents may be characters of their own, pairs with
//! a sidecar from elsewhere. Two names that look alike are two that want the same partner.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::job::name::{folded, split_extension, told_apart};
use crate::job::{FileName, PairName, Problem};

/// The extensions of a picture, in lower case; names carry them in any case.
const PICTURE_EXTENSIONS: [&[u8]; 3] = [b".jpg", b".jpeg", b".png"];
/// The extensions of a sidecar, in lower case.
const SIDECAR_EXTENSIONS: [&[u8]; 2] = [b".yaml", b".yml"];
/// Ends of the names that we write ourselves, in lower case: never sidecars.
const OUR_ENDINGS: [&[u8]; 4] = [b".error.yaml", b".receipt.yaml", b".error.yml", b".receipt.yml"];

/// What a file's name makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A picture.
    Picture,
    /// A sidecar.
    Sidecar,
}

/// What `name` makes of a file; `None`: nothing to do with a pair.
pub fn role(name: &FileName) -> Option<Role> {
    let (stem, extension) = split_extension(name);
    match () {
        // Nothing can be called after `..jpg`: its stem is no name.
        () if FileName::new(stem).is_none() => None,
        () if is_one_of(extension, &PICTURE_EXTENSIONS) => Some(Role::Picture),
        () if ours(name) => None,
        () if is_one_of(extension, &SIDECAR_EXTENSIONS) => Some(Role::Sidecar),
        () => None,
    }
}

/// Whether `name` ends as the reports and receipts do that we write.
pub fn ours(name: &FileName) -> bool {
    let bytes = name.as_bytes();
    OUR_ENDINGS.iter().any(|end| bytes.len() >= end.len() && bytes[bytes.len() - end.len()..].eq_ignore_ascii_case(end))
}

/// `name` without all the picture and sidecar extensions at its end, folded: equal for names that may have to do with each other.
pub fn group_key(name: &FileName) -> Cow<'_, [u8]> {
    let mut bytes = name.as_bytes();
    while let Some(at) = bytes.iter().rposition(|&b| b == b'.').filter(|&at| at > 0) {
        let extension = &bytes[at..];
        if !is_one_of(extension, &PICTURE_EXTENSIONS) && !is_one_of(extension, &SIDECAR_EXTENSIONS) {
            break;
        }
        bytes = &bytes[..at];
    }
    folded(bytes)
}

/// What some names of one folder are to each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Grouping<'a> {
    /// A picture and its sidecar.
    Pair {
        /// The picture.
        picture: &'a FileName,
        /// The sidecar.
        sidecar: &'a FileName,
    },
    /// A sidecar without a picture: whole by itself if it names an address, else half a pair.
    SidecarAlone {
        /// The sidecar.
        sidecar: &'a FileName,
    },
    /// A picture without a sidecar.
    PictureAlone {
        /// The picture.
        picture: &'a FileName,
    },
    /// Two or more that want the same partner.
    Ambiguous {
        /// The pictures, sorted; at least one.
        pictures: Vec<&'a FileName>,
        /// The sidecars, sorted; at least one, and with the pictures at least three.
        sidecars: Vec<&'a FileName>,
    },
}

impl<'a> Grouping<'a> {
    /// The stem that everything is called by which comes out of this grouping.
    pub fn stem(&self) -> FileName {
        let named_by = match self {
            Self::Pair { sidecar, .. } | Self::SidecarAlone { sidecar } => sidecar,
            Self::PictureAlone { picture } => picture,
            Self::Ambiguous { sidecars, .. } => sidecars.first().expect("an ambiguity has a sidecar"),
        };
        stem_of(named_by)
    }

    /// The names in it, pictures first.
    pub fn members(&self) -> Vec<&'a FileName> {
        match self {
            Self::Pair { picture, sidecar } => vec![picture, sidecar],
            Self::SidecarAlone { sidecar } => vec![sidecar],
            Self::PictureAlone { picture } => vec![picture],
            Self::Ambiguous { pictures, sidecars } => pictures.iter().chain(sidecars).copied().collect(),
        }
    }
}

/// `name` without its extension, as the stem of what comes out.
pub fn stem_of(name: &FileName) -> FileName {
    let (stem, _) = split_extension(name);
    FileName::new(stem).expect("the part of a name before its extension is a name")
}

/// Groups names of one folder, of which at least those of the same group are all there. Names without a [`Role`] are left
/// out; every other name is in exactly one grouping. The result does not depend on the order of `names`.
pub fn pair<'a>(names: impl IntoIterator<Item = &'a FileName>) -> Vec<Grouping<'a>> {
    let mut pictures = Vec::new();
    let mut sidecars = Vec::new();
    for name in names {
        match role(name) {
            Some(Role::Picture) => pictures.push(name),
            Some(Role::Sidecar) => sidecars.push(name),
            None => {}
        }
    }
    pictures.sort_unstable();
    sidecars.sort_unstable();

    let mut by_stem: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for sidecar in sidecars {
        by_stem.entry(folded(split_extension(sidecar).0)).or_default().push(sidecar);
    }
    let mut groupings = Vec::new();
    // An exact sidecar takes its picture, and with it every further claim on that picture by a mere stem.
    let mut free = Vec::new();
    for (whole, twins) in alike(pictures, FileName::as_bytes) {
        let exact = by_stem.remove(&whole).unwrap_or_default();
        if settle_stem(twins.clone(), exact, &mut groupings) {
            free.extend(twins);
        }
    }
    for (stem, same) in alike(free, |picture| split_extension(picture).0) {
        let matching = by_stem.remove(&stem).unwrap_or_default();
        if settle_stem(same.clone(), matching, &mut groupings) {
            groupings.extend(same.into_iter().map(|picture| Grouping::PictureAlone { picture }));
        }
    }
    let mut left: Vec<_> = by_stem.into_values().flatten().collect();
    left.sort_unstable();
    groupings.extend(left.into_iter().map(|sidecar| Grouping::SidecarAlone { sidecar }));
    groupings
}

/// Adds what `pictures` and `sidecars` of one stem make together. Whether the pictures are still free: there was no sidecar.
fn settle_stem<'a>(
    pictures: Vec<&'a FileName>,
    sidecars: Vec<&'a FileName>,
    groupings: &mut Vec<Grouping<'a>>,
) -> bool {
    match (pictures.as_slice(), sidecars.as_slice()) {
        (_, []) => return true,
        ([picture], [sidecar]) => groupings.push(Grouping::Pair { picture, sidecar }),
        _ => groupings.push(Grouping::Ambiguous { pictures, sidecars }),
    }
    false
}

/// `names` by how a part of each looks, in the order of the first of each. Every part is folded once.
fn alike<'a>(
    names: Vec<&'a FileName>,
    part: impl Fn(&'a FileName) -> &'a [u8],
) -> Vec<(Cow<'a, [u8]>, Vec<&'a FileName>)> {
    let mut groups: Vec<(Cow<'a, [u8]>, Vec<&'a FileName>)> = Vec::new();
    let mut numbers = BTreeMap::new();
    for name in names {
        let look = folded(part(name));
        let number = *numbers.entry(look.clone()).or_insert(groups.len());
        match groups.get_mut(number) {
            Some((_, group)) => group.push(name),
            None => groups.push((look, vec![name])),
        }
    }
    groups
}

/// The problem of names of which two want the same partner.
pub fn ambiguity(names: &[&FileName]) -> Problem {
    let looks: BTreeSet<_> = names.iter().map(|name| folded(name.as_bytes())).collect();
    let pictures = names.iter().filter(|name| role(name) == Some(Role::Picture)).count();
    let proposal = match (looks.len() < names.len(), pictures) {
        (true, _) => "rename one of the two that look alike",
        (false, 1) => "keep one of the sidecars",
        (false, _) => "name each sidecar exactly after its picture, as in cat.jpg.yaml",
    };
    Problem {
        message: format!("cannot tell which of these belong together: {}", told_apart(names).join(", ")),
        proposal: Some(proposal.to_owned()),
        ..Problem::default()
    }
}

/// The name of the pair in `folder` that `grouping` makes.
pub fn pair_name(folder: &crate::job::Folder, grouping: &Grouping<'_>) -> PairName {
    PairName { folder: folder.clone(), stem: grouping.stem() }
}

fn is_one_of(extension: &[u8], list: &[&[u8]]) -> bool {
    list.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: impl AsRef<[u8]>) -> FileName {
        FileName::new(bytes.as_ref()).expect("a test's name is a name")
    }

    /// Groupings as words: `stem=a+b` a pair, `stem?a` a half, `stem!a+b+c` an ambiguity.
    fn told(names: &[&str]) -> Vec<String> {
        let names: Vec<FileName> = names.iter().map(name).collect();
        let mut lines: Vec<String> = pair(&names)
            .iter()
            .map(|grouping| {
                let members: Vec<String> = grouping.members().iter().map(ToString::to_string).collect();
                let sign = match grouping {
                    Grouping::Pair { .. } => '=',
                    Grouping::SidecarAlone { .. } | Grouping::PictureAlone { .. } => '?',
                    Grouping::Ambiguous { .. } => '!',
                };
                format!("{}{sign}{}", grouping.stem(), members.join("+"))
            })
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn names_pair_as_the_rules_say() {
        let cases: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["a.jpg", "a.yaml"], &["a=a.jpg+a.yaml"]),
            (&["a.JPG", "a.YML"], &["a=a.JPG+a.YML"]),
            (&["a.jpeg", "a.yml"], &["a=a.jpeg+a.yml"]),
            (&["a.b.c.png", "a.b.c.yaml"], &["a.b.c=a.b.c.png+a.b.c.yaml"]),
            (&["a.jpg", "a.jpg.yaml"], &["a.jpg=a.jpg+a.jpg.yaml"]),
            (&["a.jpg", "a.jpg.yml"], &["a.jpg=a.jpg+a.jpg.yml"]),
            // Case of the stem counts; so does the case of the picture's name in an exact sidecar.
            (&["A.jpg", "a.yaml"], &["A?A.jpg", "a?a.yaml"]),
            (&["a.JPG", "a.jpg.yaml"], &["a.jpg?a.jpg.yaml", "a?a.JPG"]),
            // Halves.
            (&["a.jpg"], &["a?a.jpg"]),
            (&["a.yaml"], &["a?a.yaml"]),
            (&["a.jpg.yaml"], &["a.jpg?a.jpg.yaml"]),
            (&["a.jpg", "a.png"], &["a?a.jpg", "a?a.png"]),
            (&["a.yaml", "a.yml"], &["a?a.yaml", "a?a.yml"]),
            (&["a.jpg", "b.yaml"], &["a?a.jpg", "b?b.yaml"]),
            // Two want one.
            (&["a.jpg", "a.png", "a.yaml"], &["a!a.jpg+a.png+a.yaml"]),
            (&["a.jpg", "a.yaml", "a.yml"], &["a!a.jpg+a.yaml+a.yml"]),
            (&["a.jpg", "a.png", "a.yaml", "a.yml"], &["a!a.jpg+a.png+a.yaml+a.yml"]),
            (&["a.jpg", "a.JPG", "a.yaml"], &["a!a.JPG+a.jpg+a.yaml"]),
            (&["a.jpg", "a.jpg.yaml", "a.jpg.yml"], &["a.jpg!a.jpg+a.jpg.yaml+a.jpg.yml"]),
            // The exact one goes first and resolves what would be ambiguous.
            (&["a.jpg", "a.png", "a.jpg.yaml", "a.yaml"], &["a.jpg=a.jpg+a.jpg.yaml", "a=a.png+a.yaml"]),
            (&["a.jpg", "a.png", "a.jpg.yaml", "a.png.yaml"], &["a.jpg=a.jpg+a.jpg.yaml", "a.png=a.png+a.png.yaml"]),
            (&["a.jpg", "a.jpg.yaml", "a.yaml"], &["a.jpg=a.jpg+a.jpg.yaml", "a?a.yaml"]),
            (&["a.jpg", "a.jpg.yaml", "a.jpg.yml", "a.yaml"], &["a.jpg!a.jpg+a.jpg.yaml+a.jpg.yml", "a?a.yaml"]),
            (&["a.jpg", "a.png", "a.jpg.yaml"], &["a.jpg=a.jpg+a.jpg.yaml", "a?a.png"]),
            // What looks alike is alike: é as one character, and as an e with an accent.
            (&["e\u{301}.jpg", "\u{e9}.yaml"], &["\u{e9}=e\u{301}.jpg+\u{e9}.yaml"]),
            (&["e\u{301}.jpg", "\u{e9}.jpg.yaml"], &["\u{e9}.jpg=e\u{301}.jpg+\u{e9}.jpg.yaml"]),
            (&["e\u{301}.jpg", "\u{e9}.jpg", "\u{e9}.yaml"], &["\u{e9}!e\u{301}.jpg+\u{e9}.jpg+\u{e9}.yaml"]),
            (
                &["e\u{301}.jpg", "\u{e9}.jpg", "\u{e9}.jpg.yaml"],
                &["\u{e9}.jpg!e\u{301}.jpg+\u{e9}.jpg+\u{e9}.jpg.yaml"],
            ),
            (&["e.jpg", "\u{e9}.yaml"], &["e?e.jpg", "\u{e9}?\u{e9}.yaml"]),
            // A picture that is called like another one's stem.
            (&["a.jpg.png", "a.jpg.yaml"], &["a.jpg=a.jpg.png+a.jpg.yaml"]),
            (&["a.jpg", "a.jpg.png", "a.jpg.yaml"], &["a.jpg=a.jpg+a.jpg.yaml", "a.jpg?a.jpg.png"]),
            // What is never of a pair.
            (&["a.jpg", "a.error.yaml", "a.receipt.yaml"], &["a?a.jpg"]),
            (&["a.error.jpg", "a.error.yaml"], &["a.error?a.error.jpg"]),
            (&["a.jpg.ERROR.YAML", "a.jpg"], &["a?a.jpg"]),
            (&["a.gif", "a.txt", "a", ".yaml", ".jpg", "..jpg", "...yaml"], &[]),
        ];
        for (names, expected) in cases {
            assert_eq!(told(names), *expected, "{names:?}");
            let reversed: Vec<&str> = names.iter().rev().copied().collect();
            assert_eq!(told(&reversed), *expected, "the order of {names:?} matters");
        }
    }

    #[test]
    fn what_to_do_about_an_ambiguity_depends_on_who_wants_whom() {
        let cases: [(&[&str], &str); 4] = [
            (&["a.jpg", "a.png", "a.yaml"], "name each sidecar exactly after its picture, as in cat.jpg.yaml"),
            (&["a.jpg", "a.png", "a.yaml", "a.yml"], "name each sidecar exactly after its picture, as in cat.jpg.yaml"),
            (&["a.jpg", "a.yaml", "a.yml"], "keep one of the sidecars"),
            (&["e\u{301}.jpg", "\u{e9}.jpg", "\u{e9}.yaml"], "rename one of the two that look alike"),
        ];
        for (names, proposal) in cases {
            let names: Vec<FileName> = names.iter().map(name).collect();
            let problem = ambiguity(&names.iter().collect::<Vec<_>>());
            assert_eq!(problem.proposal.as_deref(), Some(proposal), "{problem}");
        }
    }

    #[test]
    fn every_subset_of_a_crowded_group_puts_each_name_into_exactly_one_grouping() {
        let crowd =
            ["a.jpg", "a.png", "a.jpeg", "a.yaml", "a.yml", "a.jpg.yaml", "a.jpg.yml", "a.png.yaml", "a.jpg.png"];
        for mask in 0_u32..1 << crowd.len() {
            let names: Vec<FileName> =
                crowd.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, n)| name(n)).collect();
            let mut seen: Vec<FileName> = pair(&names).iter().flat_map(|g| g.members()).cloned().collect();
            seen.sort();
            let mut expected = names.clone();
            expected.sort();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_grouping_never_reaches_beyond_its_group() {
        let names: Vec<FileName> =
            ["a.jpg", "a.jpg.yaml", "a.yaml", "a.png", "b.jpg", "b.yaml", "a.jpg.png"].iter().map(name).collect();
        for grouping in pair(&names) {
            let keys: std::collections::BTreeSet<Cow<'_, [u8]>> =
                grouping.members().into_iter().map(group_key).collect();
            assert_eq!(keys.len(), 1, "{grouping:?}");
        }
    }

    #[test]
    fn the_group_is_the_name_without_its_known_extensions() {
        for (given, key) in [
            ("a.jpg", "a"),
            ("a.jpg.yaml", "a"),
            ("a.PNG.jpg.YML", "a"),
            ("a.b.jpg", "a.b"),
            ("a.txt.jpg", "a.txt"),
            ("a", "a"),
            (".jpg", ".jpg"),
            (".jpg.yaml", ".jpg"),
        ] {
            assert_eq!(group_key(&name(given)).as_ref(), key.as_bytes(), "{given}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_pair_as_well() {
        let names = [name(b"caf\xe9.jpg"), name(b"caf\xe9.yaml")];
        assert!(matches!(pair(&names).as_slice(), [Grouping::Pair { .. }]));
    }

    #[test]
    fn a_group_of_thousands_is_told_apart() {
        let extensions = [".jpg", ".png", ".JPG", ".PNG"];
        let called = |number: usize| -> String {
            let digits = (0..6).map(|digit| extensions[number / 4_usize.pow(digit) % 4]);
            format!("\u{e9}{}", digits.collect::<String>())
        };
        // Compared each with each, these took half a minute.
        let names: Vec<FileName> = (0..4_000).map(|number| name(called(number))).collect();
        assert_eq!(pair(&names).len(), names.len());
        assert_eq!(told_apart(&names.iter().collect::<Vec<_>>()).len(), names.len());
    }
}
