//! Walks over a JPEG by its markers (ITU-T T.81, annex B), to the end marker of the first picture in the file.
//!
//! A thumbnail lies inside a segment that says its length, so its end marker is not taken for the picture's.

use super::{Breach, EXIF_BYTES_MAX, End, exif, shown};

/// The start marker, and the first byte of the marker that must follow.
pub(super) const SIGNATURE: [u8; 3] = [0xFF, 0xD8, 0xFF];

/// Bytes of a frame header that tell the size: precision, height, width.
const FRAME_BYTES: usize = 5;

const EXIF_PREFIX: &[u8] = b"Exif\0\0";

/// A walk over a JPEG's bytes, from the start marker.
#[derive(Debug, Default)]
pub(super) struct Walk {
    offset: u64,
    state: State,
    /// Stored width and height, from the first frame header.
    size: Option<(u32, u32)>,
    scans: u64,
    orientation: Option<u8>,
}

#[derive(Debug, Default)]
enum State {
    /// Before the two bytes of the start marker.
    #[default]
    Start,
    /// Between segments: a marker must come.
    Between,
    /// After one or more `FF` between segments.
    Prefix,
    /// After a marker whose segment tells its length; the first byte of that length, if read.
    Length {
        marker: u8,
        high: Option<u8>,
    },
    /// Inside a segment; what is kept of it, of at most `keep` bytes.
    Segment {
        marker: u8,
        left: usize,
        kept: Vec<u8>,
        keep: usize,
    },
    /// Inside compressed pixels; whether the byte before was `FF`.
    Scan {
        prefix: bool,
    },
    /// After the end marker.
    Done,
    Broken(Breach),
}

impl Walk {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            self.offset = self.offset.saturating_add(taken as u64);
            bytes = &bytes[taken..];
        }
    }

    pub(super) fn end(self) -> End {
        match (self.state, self.size) {
            (State::Done, Some((width, height))) => shown(width, height, self.orientation.unwrap_or(1)),
            (State::Broken(breach), _) => breach.end(),
            (_, _) => End::Cut,
        }
    }

    /// Takes some of `bytes`, at least one, and says how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let byte = bytes[0];
        match &mut self.state {
            State::Start => {
                // The signature has been seen, so the first two bytes are the start marker.
                if byte != SIGNATURE[0] {
                    self.state = State::Between;
                }
                1
            }
            State::Between => {
                self.state = match byte {
                    0xFF => State::Prefix,
                    _ => self.broken(byte, format!("byte {byte:02X} at {} where a marker must be", self.offset)),
                };
                1
            }
            State::Prefix => {
                self.state = self.after_marker(byte);
                1
            }
            State::Length { high: high @ None, .. } => {
                *high = Some(byte);
                1
            }
            State::Length { marker, high: Some(high) } => {
                let (marker, length) = (*marker, usize::from(u16::from_be_bytes([*high, byte])));
                self.state = self.segment(marker, length, byte);
                1
            }
            State::Segment { marker, left, kept, keep } => {
                let taken = bytes.len().min(*left);
                let wanted = taken.min(keep.saturating_sub(kept.len()));
                kept.extend_from_slice(&bytes[..wanted]);
                *left -= taken;
                if *left == 0 {
                    let (marker, kept) = (*marker, std::mem::take(kept));
                    self.state = self.after_segment(marker, &kept);
                }
                taken
            }
            State::Scan { prefix: false } => match bytes.iter().position(|&b| b == 0xFF) {
                Some(at) => {
                    self.state = State::Scan { prefix: true };
                    at + 1
                }
                None => bytes.len(),
            },
            State::Scan { prefix: true } => {
                self.state = match byte {
                    // A stuffed FF, or a restart marker.
                    0x00 | 0xD0..=0xD7 => State::Scan { prefix: false },
                    0xFF => State::Scan { prefix: true },
                    marker => self.after_marker(marker),
                };
                1
            }
            State::Done => bytes.len(),
            State::Broken(breach) => {
                breach.push(bytes);
                bytes.len()
            }
        }
    }

    fn after_marker(&self, marker: u8) -> State {
        match marker {
            0xFF => State::Prefix,
            // TEM and stray restart markers stand alone.
            0x01 | 0xD0..=0xD7 => State::Between,
            0xD8 => {
                self.broken(marker, format!("a second start marker at byte {}, before the end marker", self.offset))
            }
            0xD9 if self.size.is_none() => self.broken(marker, "it ends without a frame header".to_owned()),
            0xD9 if self.scans == 0 => self.broken(marker, "it ends without pixels".to_owned()),
            0xD9 => State::Done,
            0x00 | 0x02..=0xBF => self.broken(marker, format!("unknown marker FF{marker:02X} at byte {}", self.offset)),
            0xC0..=0xFE => State::Length { marker, high: None },
        }
    }

    fn segment(&self, marker: u8, length: usize, last: u8) -> State {
        let keep = match marker {
            _ if is_frame(marker) => FRAME_BYTES,
            0xE1 if self.orientation.is_none() => EXIF_BYTES_MAX,
            _ => 0,
        };
        match length {
            0 | 1 => self.broken(last, format!("segment FF{marker:02X} has the length {length}")),
            2 => self.after_empty_segment(marker, last),
            _ => State::Segment { marker, left: length - 2, kept: Vec::new(), keep },
        }
    }

    fn after_empty_segment(&self, marker: u8, last: u8) -> State {
        match marker {
            0xDA => self.broken(last, "an empty scan header".to_owned()),
            _ if is_frame(marker) => self.broken(last, "an empty frame header".to_owned()),
            _ => State::Between,
        }
    }

    fn after_segment(&mut self, marker: u8, kept: &[u8]) -> State {
        match (marker, kept) {
            (0xDA, _) => {
                self.scans += 1;
                return State::Scan { prefix: false };
            }
            (0xE1, [..]) if kept.starts_with(EXIF_PREFIX) => self.orientation = Some(exif::orientation(kept)),
            (_, &[_, h1, h2, w1, w2]) if is_frame(marker) && self.size.is_none() => {
                self.size = Some((u16::from_be_bytes([w1, w2]).into(), u16::from_be_bytes([h1, h2]).into()));
            }
            // A frame header too short to hold a size leaves none, which the end marker finds.
            (_, _) => {}
        }
        State::Between
    }

    fn broken(&self, byte: u8, what: String) -> State {
        State::Broken(Breach::new(byte, what))
    }
}

/// Whether the marker begins a frame header: SOF0 to SOF15 without DHT, JPG and DAC, which lie between.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}
