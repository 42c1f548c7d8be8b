//! One group of names: its files, the groupings they make, and the state of each.
//!
//! A file gets a new [`Version`] whenever there is news of it, and a grouping is known by the versions of its files. So
//! "has anything changed since?" is one comparison, and an answer about files that have changed since finds nothing to apply to.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::order::Place;
use super::verdict::{Bad, FileSeen, PairVerdict, ReadyPair, WaitingReason};
use crate::job::picture::Picture;
use crate::job::{FileName, Folder, PairName, Problem};
use crate::spool::pairing::{self, Grouping};
use crate::spool::settle::{Evidence, FileRest, Shape};

/// The group of a name: its folder, and the name without its known extensions.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct GroupKey {
    pub(super) folder: Folder,
    pub(super) key: Box<[u8]>,
}

impl GroupKey {
    /// The place in the order of a pair of this group.
    pub(super) fn place(&self, priority: i64, age: Instant) -> Place {
        Place { priority, top: self.folder.top().unwrap_or_default().into(), age }
    }
}

/// What a file was at one moment; a later look with news gives the file another one. Never used twice.
pub(super) type Version = u64;

/// Which files, in which state, a grouping is made of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Members {
    Pair { picture: Version, sidecar: Version },
    SidecarAlone { sidecar: Version },
    PictureAlone { picture: Version },
    Ambiguous { pictures: Box<[Version]>, sidecars: Box<[Version]> },
}

impl Members {
    pub(super) fn pictures(&self) -> &[Version] {
        match self {
            Self::Pair { picture, .. } | Self::PictureAlone { picture } => std::slice::from_ref(picture),
            Self::SidecarAlone { .. } => &[],
            Self::Ambiguous { pictures, .. } => pictures,
        }
    }

    pub(super) fn sidecars(&self) -> &[Version] {
        match self {
            Self::Pair { sidecar, .. } | Self::SidecarAlone { sidecar } => std::slice::from_ref(sidecar),
            Self::PictureAlone { .. } => &[],
            Self::Ambiguous { sidecars, .. } => sidecars,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Version> + '_ {
        self.pictures().iter().chain(self.sidecars()).copied()
    }
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) name: FileName,
    pub(super) rest: FileRest,
    pub(super) first_seen: Instant,
    pub(super) version: Version,
    pub(super) generation: u32,
}

#[derive(Debug)]
pub(super) enum State {
    /// Its files must rest until `due`; then it is judged.
    Settling { due: Instant },
    /// To be judged, or being judged.
    Judging { started: bool },
    /// Judged, but a file does not show its end: judged again when it has rested until `due`.
    Unfinished { due: Instant },
    /// Half a pair; an orphan at `due`.
    Half { due: Option<Instant> },
    /// Two want the same partner; rejected at `due`.
    Ambiguous { due: Option<Instant> },
    /// Cannot be read or moved; judged again after each full scan.
    Stuck(WaitingReason),
    /// Waits for its turn.
    Ready { age: Instant, priority: i64, picture: Option<Picture> },
    /// Waits to be rejected.
    Bad(Box<Bad>),
    /// Is being claimed.
    Held,
}

impl State {
    pub(super) fn is_settling(&self) -> bool {
        match self {
            Self::Settling { .. } | Self::Judging { .. } | Self::Unfinished { .. } => true,
            Self::Half { .. }
            | Self::Ambiguous { .. }
            | Self::Stuck(_)
            | Self::Ready { .. }
            | Self::Bad(_)
            | Self::Held => false,
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Settling { due } | Self::Unfinished { due } => Some(*due),
            Self::Half { due } | Self::Ambiguous { due } => *due,
            Self::Judging { .. } | Self::Stuck(_) | Self::Ready { .. } | Self::Bad(_) | Self::Held => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Unit {
    pub(super) members: Members,
    pub(super) state: State,
    pub(super) since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) files: Vec<File>,
    pub(super) units: Vec<Unit>,
    /// What is being claimed of it, by name and identity.
    pub(super) claimed: Vec<FileSeen>,
    pub(super) due: Option<Instant>,
}

impl Group {
    pub(super) fn file(&self, version: Version) -> Option<&File> {
        self.files.iter().find(|file| file.version == version)
    }

    pub(super) fn seen(&self, version: Version) -> Option<FileSeen> {
        self.file(version).map(|file| FileSeen { name: file.name.clone(), identity: file.rest.identity })
    }

    pub(super) fn rests(&self, members: &Members) -> Vec<(FileRest, Shape)> {
        files_of(members, &self.files).map(|file| (file.rest, Shape::Whole)).collect()
    }
}

/// How many groupings are in which state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Coming to rest, or being judged.
    pub settling: usize,
    /// Half a pair.
    pub half: usize,
    /// Ambiguous.
    pub ambiguous: usize,
    /// Cannot be read or moved.
    pub stuck: usize,
    /// Waiting for their turn.
    pub ready: usize,
    /// Waiting to be rejected.
    pub bad: usize,
    /// Being claimed.
    pub held: usize,
}

impl Counts {
    pub(super) fn of(&mut self, state: &State) -> &mut usize {
        match state {
            State::Settling { .. } | State::Judging { .. } | State::Unfinished { .. } => &mut self.settling,
            State::Half { .. } => &mut self.half,
            State::Ambiguous { .. } => &mut self.ambiguous,
            State::Stuck(_) => &mut self.stuck,
            State::Ready { .. } => &mut self.ready,
            State::Bad(_) => &mut self.bad,
            State::Held => &mut self.held,
        }
    }
}

/// The groupings of a group's files.
pub(super) fn members(files: &[File]) -> Vec<Members> {
    let versions: BTreeMap<&FileName, Version> = files.iter().map(|file| (&file.name, file.version)).collect();
    let version = |name: &FileName| versions.get(name).copied().expect("the name came from these files");
    pairing::pair(files.iter().map(|file| &file.name))
        .iter()
        .map(|grouping| match grouping {
            Grouping::Pair { picture, sidecar } => {
                Members::Pair { picture: version(picture), sidecar: version(sidecar) }
            }
            Grouping::SidecarAlone { sidecar } => Members::SidecarAlone { sidecar: version(sidecar) },
            Grouping::PictureAlone { picture } => Members::PictureAlone { picture: version(picture) },
            Grouping::Ambiguous { pictures, sidecars } => Members::Ambiguous {
                pictures: pictures.iter().map(|name| version(name)).collect(),
                sidecars: sidecars.iter().map(|name| version(name)).collect(),
            },
        })
        .collect()
}

/// What is claimed at once, of which all of `members` consists. Every file of an ambiguity goes alone and keeps its name, so that it is
/// the same ambiguity when all are moved back; and in an order in which what is left is never a pair.
pub(super) fn pieces(members: &Members) -> Vec<Members> {
    match members {
        Members::Pair { .. } | Members::SidecarAlone { .. } | Members::PictureAlone { .. } => vec![members.clone()],
        Members::Ambiguous { pictures, sidecars } => {
            let pictures = pictures.iter().map(|&picture| Members::PictureAlone { picture });
            let sidecars = sidecars.iter().map(|&sidecar| Members::SidecarAlone { sidecar });
            if pictures.len() == 1 { pictures.chain(sidecars).collect() } else { sidecars.chain(pictures).collect() }
        }
    }
}

/// The piece of an ambiguity as a pair that is to be rejected. It is called by the whole name of its file, as are its report and
/// what else comes out of it, for several pieces have the same name without their extension.
pub(super) fn bad_piece(key: &GroupKey, group: &Group, piece: &Members, bad: Bad, since: Instant) -> ReadyPair {
    let whole = names(piece, &group.files).first().map(|&name| name.clone());
    let pair = ready_pair(key, group, piece, PairVerdict::Bad(bad), since);
    match whole {
        Some(stem) => ReadyPair { name: PairName { stem, ..pair.name }, ..pair },
        None => pair,
    }
}

pub(super) fn ready_pair(
    key: &GroupKey,
    group: &Group,
    members: &Members,
    verdict: PairVerdict,
    completed_at: Instant,
) -> ReadyPair {
    let first_seen = files_of(members, &group.files).map(|file| file.first_seen).max();
    let stem = stem(members, &group.files).expect("a grouping has a member with a stem");
    ReadyPair {
        name: PairName { folder: key.folder.clone(), stem },
        picture: members.pictures().first().and_then(|version| group.seen(*version)),
        sidecar: members.sidecars().first().and_then(|version| group.seen(*version)),
        verdict,
        first_seen: first_seen.unwrap_or(completed_at),
        completed_at,
    }
}

/// The files, pictures first, found in one pass: an ambiguity may have thousands.
pub(super) fn files_of<'a>(members: &Members, files: &'a [File]) -> impl Iterator<Item = &'a File> {
    let by_version: HashMap<Version, &File> = files.iter().map(|file| (file.version, file)).collect();
    members.all().filter_map(|version| by_version.get(&version).copied()).collect::<Vec<_>>().into_iter()
}

/// The files' names, pictures first.
pub(super) fn names<'a>(members: &Members, files: &'a [File]) -> Vec<&'a FileName> {
    files_of(members, files).map(|file| &file.name).collect()
}

/// The sidecar names what comes out; without one the picture does.
pub(super) fn stem(members: &Members, files: &[File]) -> Option<FileName> {
    let namer = members.sidecars().first().or_else(|| members.pictures().first())?;
    files.iter().find(|file| file.version == *namer).map(|file| pairing::stem_of(&file.name))
}

/// Whether an event brought the last news of one of them: somebody has just dropped it and may be watching.
pub(super) fn hot(members: &Members, files: &[File]) -> bool {
    files_of(members, files).any(|file| matches!(file.rest.evidence, Evidence::MovedIn | Evidence::Closed))
}

pub(super) fn orphan_problem(members: &Members) -> Problem {
    let (message, proposal) = match members {
        Members::PictureAlone { .. } => {
            ("no sidecar came for this picture", "drop it again together with a YAML file of the same name")
        }
        Members::SidecarAlone { .. } | Members::Pair { .. } | Members::Ambiguous { .. } => (
            "no picture came for this sidecar",
            "drop it again together with a picture of the same name, or give it image_urls",
        ),
    };
    Problem { message: message.to_owned(), proposal: Some(proposal.to_owned()), ..Problem::default() }
}
