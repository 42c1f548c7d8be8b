//! What lies beside half a pair and was perhaps meant for its other half. Pure: the names of one folder in, a hint out.
//!
//! Names are compared without regard to capitals: a hint may be wrong where a pairing may not.

use std::collections::BTreeMap;

use crate::job::FileName;
use crate::job::name::{folded, split_extension};
use crate::spool::pairing::{self, Grouping};

/// The names of one folder that are no pair.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// What is left alone, with the rule.
    ignored: BTreeMap<Box<[u8]>, (FileName, String)>,
    /// Pictures without a sidecar, by stem and by their whole name.
    pictures: BTreeMap<Box<[u8]>, FileName>,
    /// Sidecars without a picture, by stem.
    sidecars: BTreeMap<Box<[u8]>, FileName>,
}

impl Beside {
    /// Takes note of a name that is left alone. Nobody meant a report or a receipt for half a pair.
    pub(super) fn ignores(&mut self, name: &FileName, rule: &str) {
        if pairing::ours(name) {
            return;
        }
        self.ignored.insert(look(name.as_bytes()), (name.clone(), rule.to_owned()));
    }

    /// Takes note of half a pair.
    pub(super) fn has(&mut self, half: &Grouping<'_>) {
        match half {
            Grouping::PictureAlone { picture } => {
                self.pictures.insert(look(picture.as_bytes()), (*picture).clone());
                self.pictures.insert(look(split_extension(picture).0), (*picture).clone());
            }
            Grouping::SidecarAlone { sidecar } => {
                self.sidecars.insert(look(split_extension(sidecar).0), (*sidecar).clone());
            }
            Grouping::Pair { .. } | Grouping::Ambiguous { .. } => {}
        }
    }

    /// What was perhaps meant for the half that is missing, and why it will not do.
    pub(super) fn hint(&self, half: &Grouping<'_>) -> Option<String> {
        let (name, other, ending) = match half {
            Grouping::PictureAlone { picture } => {
                let other = [picture.as_bytes(), split_extension(picture).0].map(|stem| self.sidecars.get(&look(stem)));
                (picture, other.into_iter().flatten().next(), "the name of a sidecar ends in .yaml or .yml")
            }
            Grouping::SidecarAlone { sidecar } => {
                let other = self.pictures.get(&look(split_extension(sidecar).0));
                (sidecar, other, "a picture is a JPEG or PNG, and its name ends in .jpg, .jpeg or .png")
            }
            Grouping::Pair { .. } | Grouping::Ambiguous { .. } => return None,
        };
        if let Some(other) = other {
            return Some(format!("{other} is there, but its name differs in capitals"));
        }
        let stem = look(split_extension(name).0);
        let (found, rule) = self.ignored.get(&stem).or_else(|| {
            let start: Box<[u8]> = [&stem, &b"."[..]].concat().into();
            let (look, found) = self.ignored.range(start.clone()..).next()?;
            look.starts_with(&start).then_some(found)
        })?;
        let ending = if pairing::role(found).is_none() { format!("; {ending}") } else { String::new() };
        Some(format!("{found} is there, but left alone ({rule}){ending}"))
    }
}

/// What half a pair lacks.
pub(super) fn missing(half: &Grouping<'_>) -> Option<String> {
    let stem = half.stem();
    match half {
        Grouping::PictureAlone { picture } => Some(format!("{picture} has no sidecar {stem}.yaml")),
        Grouping::SidecarAlone { sidecar } => Some(format!("{sidecar} has no picture {stem}.jpg, .jpeg or .png")),
        Grouping::Pair { .. } | Grouping::Ambiguous { .. } => None,
    }
}

/// How a name looks to somebody who does not look closely.
fn look(name: &[u8]) -> Box<[u8]> {
    match std::str::from_utf8(&folded(name)) {
        Ok(text) => text.to_lowercase().into_bytes().into(),
        Err(_) => name.into(),
    }
}
