//! What the intake has to say about a pair: the words that the rest of the daemon and `status` use.

use std::time::Instant;

use crate::job::picture::Picture;
use crate::job::{FileName, PairName, Problem};
use crate::spool::judge::{Complaints, Judgement};
use crate::spool::scan::Identity;
use crate::spool::settle::Shape;

/// A file as it was when last looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSeen {
    /// Its name in the pair's folder.
    pub name: FileName,
    /// Which file it was.
    pub identity: Identity,
}

/// A pair that is to be claimed, and why.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadyPair {
    /// What it is called and where it lies.
    pub name: PairName,
    /// The picture; always there in a good pair whose sidecar names no address.
    pub picture: Option<FileSeen>,
    /// The sidecar; always there in a good pair.
    pub sidecar: Option<FileSeen>,
    /// What is to become of it.
    pub verdict: PairVerdict,
    /// The later of the two files' first sights.
    pub first_seen: Instant,
    /// When it was found to be ready, or bad.
    pub completed_at: Instant,
}

impl ReadyPair {
    /// Its files, the picture first.
    pub fn files(&self) -> impl Iterator<Item = &FileSeen> {
        self.picture.iter().chain(&self.sidecar)
    }
}

/// What is to become of a pair.
#[derive(Clone, PartialEq, Debug)]
pub enum PairVerdict {
    /// It may be sent. What it asks for is read again after the claim, so only this much is kept.
    Good {
        /// The sidecar's priority.
        priority: i64,
        /// The picture, unless the sidecar names an address.
        picture: Option<Picture>,
    },
    /// It goes to `error/`.
    Bad(Bad),
}

/// Why a pair is rejected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bad {
    /// The reason of the report.
    pub reason: BadReason,
    /// Every complaint, with the file's name.
    pub problems: Vec<Problem>,
}

/// The reasons for which the intake rejects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadReason {
    /// The sidecar, or both files.
    InvalidSidecar,
    /// The picture alone.
    InvalidPicture,
    /// It could not be told for too long what belongs together.
    AmbiguousPair,
    /// The other half did not come in time.
    Orphan,
    /// The daemon died too often while it read the files.
    Poison,
}

impl BadReason {
    /// The word of the report.
    pub fn label(self) -> &'static str {
        match self {
            Self::InvalidSidecar => "invalid_sidecar",
            Self::InvalidPicture => "invalid_picture",
            Self::AmbiguousPair => "ambiguous_pair",
            Self::Orphan => "orphan",
            Self::Poison => "poison",
        }
    }
}

/// Why something in the inbox is not moving.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WaitingReason {
    /// It may still be written, or is about to be judged.
    Settling,
    /// A file of it is empty.
    Empty,
    /// Half a pair.
    Half {
        /// What was perhaps meant for the other half, and why it will not do.
        hint: Option<String>,
    },
    /// It cannot be told what belongs together.
    Ambiguous {
        /// The names in question, as shown.
        candidates: Vec<String>,
    },
    /// It cannot be read.
    Unreadable {
        /// What the system said, or what to do about it.
        why: String,
    },
    /// Its files cannot be renamed out of their folder.
    Unmovable {
        /// What to do about it.
        why: String,
    },
    /// It is left alone.
    Ignored {
        /// By this rule.
        rule: String,
    },
    /// Others go first.
    Turn,
    /// The queue is paused.
    Paused,
}

impl WaitingReason {
    /// The word of `status`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Settling => "settling",
            Self::Empty => "empty",
            Self::Half { .. } => "half",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Unreadable { .. } => "unreadable",
            Self::Unmovable { .. } => "unmovable",
            Self::Ignored { .. } => "ignored",
            Self::Turn => "turn",
            Self::Paused => "paused",
        }
    }

    /// What else there is to say.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Ambiguous { candidates } => Some(candidates.join(", ")),
            Self::Unreadable { why } | Self::Unmovable { why } => Some(why.clone()),
            Self::Ignored { rule } => Some(rule.clone()),
            Self::Half { hint } => hint.clone(),
            Self::Settling | Self::Empty | Self::Turn | Self::Paused => None,
        }
    }
}

/// What came of judging a grouping.
#[derive(Clone, Debug)]
pub(super) enum Finding {
    /// It may be sent.
    Good { priority: i64, picture: Option<Picture> },
    /// It is whole and must be rejected.
    Bad(Bad),
    /// It is not whole; `bad` is the verdict if that does not change.
    Unfinished { picture: Shape, sidecar: Shape, bad: Bad },
    /// A sidecar that is no job by itself.
    Half,
    /// It cannot be read or moved.
    Stuck(WaitingReason),
    /// A file is not the one that was to be judged.
    Changed,
    /// Judging it ended in a panic: tried again after a while, for it is counted.
    Panicked,
}

impl Finding {
    /// What follows from a judgement of these files.
    pub(super) fn of(judgement: &Judgement, picture: Option<&FileSeen>, sidecar: &FileSeen) -> Self {
        let same_picture = judgement.picture.as_ref().map(|found| found.identity) == picture.map(|seen| seen.identity);
        if !same_picture || judgement.sidecar.identity != sidecar.identity {
            return Self::Changed;
        }
        if picture.is_none() && !judgement.sidecar.names_address {
            return Self::Half;
        }
        let complaints = match judgement.accepted() {
            Ok((values, picture)) if judgement.whole() => {
                return Self::Good { priority: values.priority, picture: picture.copied() };
            }
            Ok(_) => Complaints::default(),
            Err(complaints) => complaints,
        };
        let reason = match judgement.sidecar.read {
            Ok(_) => BadReason::InvalidPicture,
            Err(_) => BadReason::InvalidSidecar,
        };
        let named = |problems: Vec<Problem>, seen: &FileSeen| {
            let file = seen.name.to_string();
            problems.into_iter().map(move |problem| Problem { file: Some(file.clone()), ..problem }).collect::<Vec<_>>()
        };
        let mut problems = named(complaints.sidecar, sidecar);
        if let Some(seen) = picture {
            problems.extend(named(complaints.picture, seen));
        }
        let bad = Bad { reason, problems };
        if judgement.whole() {
            return Self::Bad(bad);
        }
        Self::Unfinished {
            picture: match &judgement.picture {
                Some(found) if !found.whole() => Shape::Unfinished,
                Some(_) | None => Shape::Whole,
            },
            sidecar: match (judgement.sidecar.unfilled, judgement.sidecar.parses) {
                (true, _) => Shape::Unfinished,
                (false, true) => Shape::Whole,
                (false, false) => Shape::Unparsed,
            },
            bad,
        }
    }
}
