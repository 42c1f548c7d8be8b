//! Looks at a picture without decoding it: which kind, whole to its end marker, how many pixels, within the limits.

use super::Problem;

/// The limits of the configuration, key `picture`; `None`: not checked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes_max: Option<u64>,
    /// Pixels of the longer side.
    pub side_max: Option<u32>,
    /// Pixels of the shorter side.
    pub short_side_min: Option<u32>,
    /// Longer side over shorter side.
    pub ratio_max: Option<f64>,
}

/// What kind of file it is, by its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
}

/// What is known of a whole picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Picture {
    /// By content, not by name.
    pub kind: Kind,
    /// Bytes of the file.
    pub bytes: u64,
    /// Width in pixels as the picture is shown (EXIF orientation counts).
    pub width: u32,
    /// Height in pixels as the picture is shown.
    pub height: u32,
}

/// What the walk found at the end of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Whole to the end marker.
    Whole(Picture),
    /// A beginning of a picture without its end: perhaps still being written. The problem says how it looks.
    Incomplete(Problem),
    /// Not a JPEG or PNG, or one that is broken whatever may still follow.
    Invalid(Problem),
}

/// A walk over a picture's bytes in pieces of any size; holds at most a few kilobytes.
#[derive(Debug, Default)]
pub struct Walk {}

impl Walk {
    /// Starts before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, _bytes: &[u8]) {}

    /// Says what it was, at the end of the file.
    pub fn finish(self) -> Outcome {
        Outcome::Invalid(Problem::default())
    }
}

/// Every limit that the picture breaks, with advice.
pub fn complaints(_picture: &Picture, _limits: &Limits) -> Vec<Problem> {
    Vec::new()
}
