//! The core: what a job is and what may become of it.
//!
//! Everything that decides about money is here, so that it can be read without a runtime and tested by the thousand.
//! No I/O, no async, no clock: time and chance arrive as arguments, effects happen in [`crate::daemon`].
//!
//! - [`sidecar`] and [`picture`] read what the user dropped and name every complaint at once.
//! - [`state`] holds the states, the events and the one transition function, used live and in recovery.
//! - [`plan`] says what to do next with a job.
//! - [`business_code`] is the one table of the vendor's codes.
//! - [`backoff`] says how long to wait.

use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;

pub mod backoff;
pub mod business_code;
pub mod failure;
pub mod name;
pub mod picture;
pub mod plan;
pub mod report;
pub mod sidecar;
pub mod state;
pub mod video;

pub use failure::{Charged, Doubt, Failure, Reason, Stage};
pub use name::{FileName, Folder, PairName};
pub use state::{Event, Input, InputFile, Job, State};

/// Our own identifier of a job: a UUID of version 7, so that jobs sort by their birth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Uuid);

impl JobId {
    /// Wraps a UUID made at the edge, where there is a clock.
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Reads the hyphenated form; `None` if `text` is not one.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// The last eight hexadecimal digits, the random end of the identifier: enough to tell the files of two jobs apart.
    pub fn short(&self) -> String {
        let text = self.0.simple().to_string();
        text[text.len() - 8..].to_owned()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

/// The vendor's identifier of a task. A decimal string that may exceed an `i64`, so it is never read as a number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TaskId(String);

impl TaskId {
    /// Bytes that an identifier may have at most; a longer one is not believed.
    pub const BYTES_MAX: usize = 128;

    /// Takes an identifier that is safe to put into a URL's path: letters, digits, `-`, `_`, `.`; `None` otherwise.
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::BYTES_MAX && text != "." && text != "..";
        let safe = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        (fits && safe).then(|| Self(text.to_owned()))
    }

    /// The identifier as the vendor wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The shape of the video, one of the seven that the API's page lists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AspectRatio {
    /// `16:9`, 1280 x 720 pixels; what the API takes when none is said.
    R16x9,
    /// `9:16`, 720 x 1280 pixels.
    R9x16,
    /// `9:21`, 720 x 1680 pixels.
    R9x21,
    /// `1:1`, 960 x 960 pixels.
    R1x1,
    /// `4:3`, 960 x 720 pixels.
    R4x3,
    /// `3:4`, 720 x 960 pixels.
    R3x4,
    /// `21:9`, 1680 x 720 pixels.
    R21x9,
}

impl AspectRatio {
    /// All seven, in the order of the API's page.
    pub const ALL: [AspectRatio; 7] =
        [Self::R16x9, Self::R9x16, Self::R9x21, Self::R1x1, Self::R4x3, Self::R3x4, Self::R21x9];

    /// The word the API and the sidecar use.
    pub fn label(self) -> &'static str {
        match self {
            Self::R16x9 => "16:9",
            Self::R9x16 => "9:16",
            Self::R9x21 => "9:21",
            Self::R1x1 => "1:1",
            Self::R4x3 => "4:3",
            Self::R3x4 => "3:4",
            Self::R21x9 => "21:9",
        }
    }

    /// Reads exactly one of the seven words.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ratio| ratio.label() == text)
    }

    /// Width and height of the video that the API makes, in pixels.
    pub fn pixels(self) -> (u32, u32) {
        match self {
            Self::R16x9 => (1280, 720),
            Self::R9x16 => (720, 1280),
            Self::R9x21 => (720, 1680),
            Self::R1x1 => (960, 960),
            Self::R4x3 => (960, 720),
            Self::R3x4 => (720, 960),
            Self::R21x9 => (1680, 720),
        }
    }

    /// The ratio nearest to a picture of `width` x `height` pixels as it is shown, compared by the logarithm of
    /// width over height, so that 2:1 is as far from square as 1:2.
    pub fn nearest(width: u32, height: u32) -> Self {
        let wanted = (f64::from(width.max(1)) / f64::from(height.max(1))).ln();
        let distance = |ratio: &AspectRatio| {
            let (w, h) = match ratio {
                Self::R16x9 => (16.0, 9.0),
                Self::R9x16 => (9.0, 16.0),
                Self::R9x21 => (9.0, 21.0),
                Self::R1x1 => (1.0, 1.0),
                Self::R4x3 => (4.0, 3.0),
                Self::R3x4 => (3.0, 4.0),
                Self::R21x9 => (21.0_f64, 9.0_f64),
            };
            ((w / h).ln() - wanted).abs()
        };
        Self::ALL.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(Self::R16x9)
    }
}

impl fmt::Display for AspectRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The number that makes a video repeatable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seed {
    /// Written in the sidecar: kept as it is, also in a second attempt (so there is none).
    Fixed(u32),
    /// Drawn by us because the sidecar names none; drawn anew for another attempt. 1 to 2^31-1.
    Drawn(u32),
    /// `-1`: the API's own choice.
    Api,
}

impl Seed {
    /// The number that goes into the request and into the receipt.
    pub fn number(self) -> i64 {
        match self {
            Self::Fixed(n) | Self::Drawn(n) => i64::from(n),
            Self::Api => -1,
        }
    }

    /// Whether another attempt may come out differently.
    pub fn may_change(self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Drawn(_) | Self::Api => true,
        }
    }
}

/// What the API is asked for, but for the bytes of the picture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// 1 to 150 Unicode code points.
    pub prompt: String,
    /// The shape of the video; `auto` has been decided by now.
    pub aspect_ratio: AspectRatio,
    /// The seed, drawn if the sidecar had none.
    pub seed: Seed,
    /// The address of the picture where the pair has no picture file.
    pub image_url: Option<String>,
}

/// Which account a task was paid with. The fingerprint tells tokens apart and gives nothing of them away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The API's address, without a trailing slash.
    pub base_url: String,
    /// The first 16 hexadecimal digits of a keyed hash of the token.
    pub token_fingerprint: String,
}

/// A task that the API has accepted, so one that may cost money.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// The vendor's identifier.
    pub task_id: TaskId,
    /// The vendor's identifier of the answer that accepted it, for its support.
    pub request_id: Option<String>,
    /// Which account paid.
    pub account: Account,
    /// When the answer came.
    pub submitted_at: Timestamp,
}

/// A signed link to a video. Whoever has it can fetch the video, so it is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct VideoLink(String);

impl VideoLink {
    /// Wraps a link as the API gave it.
    pub fn new(url: String) -> Self {
        Self(url)
    }

    /// The link itself, for the one request that needs it and for the ledger.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for VideoLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VideoLink(…)")
    }
}

/// A complaint about one place in a file, in the words of a careful person: what is wrong, where, what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Problem {
    /// The file, as the user named it, if known where the problem was found.
    pub file: Option<String>,
    /// The key inside the file, such as `aspect_ratio` or `image_urls[0]`.
    pub key: Option<String>,
    /// Line, counted from 1.
    pub line: Option<u64>,
    /// Column, counted from 1 in characters.
    pub column: Option<u64>,
    /// What is wrong: a lowercase fragment without a final stop.
    pub message: String,
    /// What to do about it: the same form.
    pub proposal: Option<String>,
}

impl fmt::Display for Problem {
    /// `cat.yaml:3:7: aspect_ratio: message; proposal`, leaving out what is not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
                if let Some(column) = self.column {
                    write!(f, "{column}:")?;
                }
            }
            f.write_str(" ")?;
        } else if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(proposal) = &self.proposal {
            write!(f, "; {proposal}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
