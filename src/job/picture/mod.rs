//! Looks at a picture without decoding it: which kind, whole to its end marker, how many pixels, within the limits.
//!
//! The walk takes the file's bytes in pieces of any size, says the same however they are cut, and holds a few kilobytes
//! (an EXIF block of up to 64 KiB at the worst). What the file is called does not matter. Three ends are possible: the
//! picture is whole; it is a beginning, so somebody may still be writing it; or it is nothing that the API takes, whatever
//! may still follow. Bytes after the end marker are allowed, since cameras and phones append data there. A file that
//! is zeros from some point on counts as a beginning, because copying programs reserve the room before they fill it.
//!
//! The compressed pixels themselves are not checked, but for the checksums that a PNG carries.

use super::Problem;

mod exif;
mod foreign;
mod jpeg;
mod png;

/// Bytes of the beginning that are kept to find out, and to name, what the file is.
const HEAD_BYTES_MAX: usize = 512;

/// Zero bytes at the end of a file that look like room made in advance and not filled yet.
const ZERO_TAIL_BYTES: u64 = 16;

/// Bytes of an EXIF block that are read at most: all that a JPEG's segment can hold.
const EXIF_BYTES_MAX: usize = 64 * 1024;

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

impl Kind {
    /// What people call it.
    fn label(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
        }
    }
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

/// A walk over a picture's bytes in pieces of any size; holds at most a few kilobytes, and an EXIF block of up to 64 KiB.
#[derive(Debug, Default)]
pub struct Walk {
    bytes: u64,
    /// Bytes up to the last one that is no zero.
    filled: u64,
    stage: Stage,
}

/// How far the walk knows what it walks over.
#[derive(Debug)]
enum Stage {
    /// Not known yet; the bytes so far.
    Head(Vec<u8>),
    Jpeg(jpeg::Walk),
    Png(png::Walk),
    /// Neither; the first bytes.
    Foreign(Vec<u8>),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

/// How the walk over one kind of picture ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The end marker was there; the pixels as the picture is shown.
    Whole { width: u32, height: u32 },
    /// The end marker was not there.
    Cut,
    /// Where it breaks the format's rules, and from there on, there are only zeros.
    Zeros,
    /// It breaks the format's rules; what is wrong, as a fragment.
    Broken(String),
}

/// The first breach of a format's rules, and whether the file may merely not have been filled from there on.
#[derive(Debug)]
struct Breach {
    what: String,
    only_zeros: bool,
}

impl Breach {
    /// A breach seen in `byte`.
    fn new(byte: u8, what: String) -> Self {
        Self { what, only_zeros: byte == 0 }
    }

    /// Takes the bytes behind the breach.
    fn push(&mut self, bytes: &[u8]) {
        self.only_zeros = self.only_zeros && bytes.iter().all(|&b| b == 0);
    }

    fn end(self) -> End {
        if self.only_zeros { End::Zeros } else { End::Broken(self.what) }
    }
}

impl Walk {
    /// Starts before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
            self.filled = self.bytes.saturating_add(last as u64 + 1);
        }
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        match &mut self.stage {
            Stage::Head(head) => {
                let take = bytes.len().min(HEAD_BYTES_MAX - head.len());
                let (first, rest) = bytes.split_at(take);
                head.extend_from_slice(first);
                let head = std::mem::take(head);
                self.stage = Stage::of(head);
                self.stage.push(rest);
            }
            stage @ (Stage::Jpeg(_) | Stage::Png(_) | Stage::Foreign(_)) => stage.push(bytes),
        }
    }

    /// Whether the file ends in zeros so far, as one does whose size was set before its content came.
    pub fn is_unfilled(&self) -> bool {
        self.bytes - self.filled >= ZERO_TAIL_BYTES
    }

    /// Says what it was, at the end of the file.
    pub fn finish(self) -> Outcome {
        let (bytes, filled, is_unfilled) = (self.bytes, self.filled, self.is_unfilled());
        let (kind, end) = match self.stage {
            Stage::Head(head) | Stage::Foreign(head) => return foreign::judge(&head),
            Stage::Jpeg(walk) => (Kind::Jpeg, walk.end()),
            Stage::Png(walk) => (Kind::Png, walk.end()),
        };
        let name = kind.label();
        match end {
            End::Whole { width: 0, .. } | End::Whole { height: 0, .. } => Outcome::Invalid(problem(
                format!("the {name} says that it is 0 pixels wide or high"),
                "export the picture again as JPEG or PNG",
            )),
            End::Whole { width, height } => Outcome::Whole(Picture { kind, bytes, width, height }),
            End::Cut if is_unfilled => incomplete(format!(
                "the {name} stops after {bytes} bytes, before its end marker, and holds only zeros from byte {filled} on"
            )),
            End::Cut => incomplete(format!("the {name} stops after {bytes} bytes, before its end marker")),
            End::Zeros => {
                incomplete(format!("the {name} holds only zeros from byte {filled} to its end at byte {bytes}"))
            }
            End::Broken(what) => Outcome::Invalid(problem(
                format!("the {name} is damaged: {what}"),
                "copy the picture again, or export it again as JPEG or PNG",
            )),
        }
    }
}

impl Stage {
    /// The stage after these first bytes, at most [`HEAD_BYTES_MAX`] of them.
    fn of(head: Vec<u8>) -> Self {
        let mut stage = if head.starts_with(&jpeg::SIGNATURE) {
            Self::Jpeg(jpeg::Walk::default())
        } else if head.starts_with(&png::SIGNATURE) {
            Self::Png(png::Walk::default())
        } else if head.len() == HEAD_BYTES_MAX {
            return Self::Foreign(head);
        } else {
            return Self::Head(head);
        };
        stage.push(&head);
        stage
    }

    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Jpeg(walk) => walk.push(bytes),
            Self::Png(walk) => walk.push(bytes),
            // The head is full or this is its empty rest; what follows cannot change what the file is.
            Self::Head(_) | Self::Foreign(_) => {}
        }
    }
}

/// Every limit that the picture breaks, with advice. Each names its key of the configuration: what the API takes may change.
pub fn complaints(picture: &Picture, limits: &Limits) -> Vec<Problem> {
    let Picture { kind: _, bytes, width, height } = *picture;
    let (long, short) = (width.max(height), width.min(height));
    // As width and height: the longer side of this picture first where it stands first.
    let sides = |long: u64, short: u64| if width >= height { (long, short) } else { (short, long) };
    let mut found = Vec::new();
    if let Some(max) = limits.bytes_max.filter(|&max| bytes > max) {
        let (has, most) = megabytes(bytes, max);
        found.push(problem(
            format!("the file has {has}, the API takes {most} at most (picture.max_bytes)"),
            "save it as a JPEG of lower quality, or scale it down",
        ));
    }
    let ratio = f64::from(long) / f64::from(short.max(1));
    let too_long = limits.ratio_max.filter(|&max| ratio > max);
    let cropped = too_long.map(|max| (f64::from(short) * max) as u64);
    if let (Some(max), Some(cropped)) = (too_long, cropped) {
        let (width_left, height_left) = sides(cropped, short.into());
        found.push(problem(
            format!(
                "the picture is {width} x {height} pixels, so its longer side is {} times the shorter one, \
                 the API takes {max} times at most (picture.max_ratio)",
                ratio_shown(ratio, max)
            ),
            &format!("crop it to {width_left} x {height_left} at most"),
        ));
    }
    if let Some(max) = limits.side_max.filter(|&max| long > max) {
        // Rounded up, so that the shape does not become longer than it is.
        let scaled = (u64::from(short) * u64::from(max)).div_ceil(u64::from(long.max(1))).max(1);
        let (width_left, height_left) = sides(max.into(), scaled);
        let proposal = match (cropped, limits.short_side_min.filter(|&min| scaled < min.into())) {
            (None, None) => format!("scale it down to {width_left} x {height_left}"),
            (Some(cropped), _) if cropped <= max.into() => "crop it; then it fits".to_owned(),
            (Some(_), _) | (None, Some(_)) => "crop its longer side, then scale it down".to_owned(),
        };
        found.push(problem(
            format!("the picture is {width} x {height} pixels, the API takes {max} on the longer side at most (picture.max_side)"),
            &proposal,
        ));
    }
    if let Some(min) = limits.short_side_min.filter(|&min| short < min) {
        let proposal = match too_long {
            None => "take a larger picture, or scale this one up",
            Some(_) => "take a larger picture, or scale this one up once it is cropped",
        };
        found.push(problem(
            format!("the picture is {width} x {height} pixels, the API wants {min} on the shorter side at least (picture.min_short_side)"),
            proposal,
        ));
    }
    found
}

/// Both sizes in megabytes (10^6 bytes) with one decimal, or in bytes where the megabytes would look alike.
fn megabytes(has: u64, most: u64) -> (String, String) {
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    if mb(has) == mb(most) || most < 100_000 {
        (format!("{has} bytes"), format!("{most} bytes"))
    } else {
        (mb(has), mb(most))
    }
}

/// The ratio with as few decimals as show that it is over `max`.
fn ratio_shown(ratio: f64, max: f64) -> String {
    let shown = (1..=4).map(|decimals| format!("{ratio:.decimals$}"));
    shown.into_iter().find(|text| text.parse().is_ok_and(|r: f64| r > max)).unwrap_or_else(|| ratio.to_string())
}

fn incomplete(message: String) -> Outcome {
    Outcome::Incomplete(problem(message, "copy the whole picture into the inbox; if that is done, export it again"))
}

fn problem(message: String, proposal: &str) -> Problem {
    Problem { message, proposal: Some(proposal.to_owned()), ..Problem::default() }
}

/// Width and height as shown, for a stored size and an EXIF orientation (5 to 8 stand on their side).
fn shown(width: u32, height: u32, orientation: u8) -> End {
    match orientation {
        5..=8 => End::Whole { width: height, height: width },
        _ => End::Whole { width, height },
    }
}

#[cfg(test)]
mod tests;
