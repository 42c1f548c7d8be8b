//! Walks over a PNG chunk by chunk (W3C PNG, third edition, section 5) to `IEND`, checking every chunk's checksum.

use super::{Breach, EXIF_BYTES_MAX, End, exif, shown};

/// The eight bytes a PNG begins with.
pub(super) const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Bytes of the header chunk.
const HEADER_BYTES: u32 = 13;

/// What a length or a side may be at most (section 7.1: four-byte unsigned integers stop there).
const INTEGER_MAX: u32 = i32::MAX as u32;

/// A walk over a PNG's bytes, from the signature.
#[derive(Debug)]
pub(super) struct Walk {
    offset: u64,
    state: State,
    size: Option<(u32, u32)>,
    pixels: bool,
    orientation: Option<u8>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { offset: 0, state: State::Signature, size: None, pixels: false, orientation: None }
    }
}

#[derive(Debug)]
enum State {
    /// Inside the signature, which has been seen already.
    Signature,
    /// Inside a chunk's length and type.
    Head {
        read: [u8; 8],
        count: usize,
    },
    /// Inside a chunk's data; the checksum so far.
    Data {
        kind: [u8; 4],
        left: u32,
        kept: Vec<u8>,
        keep: usize,
        sum: u32,
    },
    /// Inside a chunk's checksum.
    Checksum {
        kind: [u8; 4],
        kept: Vec<u8>,
        sum: u32,
        read: [u8; 4],
        count: usize,
    },
    /// After `IEND`.
    Done,
    Broken(Breach),
}

const HEAD: State = State::Head { read: [0; 8], count: 0 };

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
            State::Signature => {
                if self.offset + 1 == SIGNATURE.len() as u64 {
                    self.state = HEAD;
                }
                1
            }
            State::Head { read, count } => {
                read[*count] = byte;
                *count += 1;
                let (read, count) = (*read, *count);
                match self.judge_head(read, count) {
                    Ok(Some(state)) => self.state = state,
                    Ok(None) => {}
                    Err(what) => self.breach(byte, what),
                }
                1
            }
            State::Data { kind, left, kept, keep, sum } => {
                let room = usize::try_from(*left).unwrap_or(usize::MAX);
                let taken = bytes.len().min(room);
                let wanted = taken.min(keep.saturating_sub(kept.len()));
                kept.extend_from_slice(&bytes[..wanted]);
                *sum = update(*sum, &bytes[..taken]);
                *left -= u32::try_from(taken).unwrap_or(*left);
                if *left == 0 {
                    self.state = checksum(*kind, std::mem::take(kept), *sum);
                }
                taken
            }
            State::Checksum { kind, kept, sum, read, count } => {
                read[*count] = byte;
                *count += 1;
                if *count == read.len() {
                    let fits = u32::from_be_bytes(*read) == *sum;
                    let (kind, kept) = (*kind, std::mem::take(kept));
                    match fits {
                        true => self.after_chunk(kind, &kept),
                        false => self.breach(byte, format!("chunk {} does not fit its checksum", name(kind))),
                    }
                }
                1
            }
            State::Done => bytes.len(),
            State::Broken(breach) => {
                breach.push(bytes);
                bytes.len()
            }
        }
    }

    /// Judges a chunk's length and type, of which `count` bytes have been read, at the first byte that is wrong.
    fn judge_head(&self, read: [u8; 8], count: usize) -> Result<Option<State>, String> {
        let [l1, l2, l3, l4, kind @ ..] = read;
        let length = u32::from_be_bytes([l1, l2, l3, l4]);
        if count <= 4 {
            return match l1 {
                0x80.. => Err(format!("a chunk of an impossible length at byte {}", self.offset)),
                _ => Ok(None),
            };
        }
        if !read[count - 1].is_ascii_alphabetic() {
            return Err(format!("byte {:02X} at {} in a chunk's type", read[count - 1], self.offset));
        }
        if count < read.len() {
            return Ok(None);
        }
        let keep = match (&kind, self.size) {
            (b"IHDR", None) if length == HEADER_BYTES => HEADER_BYTES as usize,
            (b"IHDR", None) => return Err(format!("a header of {length} bytes instead of {HEADER_BYTES}")),
            (_, None) => return Err(format!("it begins with chunk {} instead of IHDR", name(kind))),
            (b"IHDR", Some(_)) => return Err("a second header".to_owned()),
            (b"IEND", Some(_)) if length != 0 => return Err("its end marker is not empty".to_owned()),
            (b"IEND", Some(_)) if !self.pixels => return Err("it ends without pixels".to_owned()),
            (b"eXIf", Some(_)) if self.orientation.is_none() => EXIF_BYTES_MAX,
            (_, Some(_)) => 0,
        };
        let sum = update(0, &kind);
        Ok(Some(match length {
            0 => checksum(kind, Vec::new(), sum),
            _ => State::Data { kind, left: length, kept: Vec::new(), keep, sum },
        }))
    }

    fn after_chunk(&mut self, kind: [u8; 4], kept: &[u8]) {
        self.state = HEAD;
        match (&kind, kept) {
            (b"IHDR", &[w1, w2, w3, w4, h1, h2, h3, h4, ..]) => {
                let (width, height) = (u32::from_be_bytes([w1, w2, w3, w4]), u32::from_be_bytes([h1, h2, h3, h4]));
                if width > INTEGER_MAX || height > INTEGER_MAX {
                    self.breach(u8::MAX, format!("an impossible size of {width} x {height} pixels"));
                } else {
                    self.size = Some((width, height));
                }
            }
            (b"IDAT", _) => self.pixels = true,
            // The first one, as of those in a JPEG; there may be no second.
            (b"eXIf", _) if self.orientation.is_none() => self.orientation = Some(exif::orientation(kept)),
            (b"IEND", _) => self.state = State::Done,
            (_, _) => {}
        }
    }

    fn breach(&mut self, byte: u8, what: String) {
        self.state = State::Broken(Breach::new(byte, what));
    }
}

fn checksum(kind: [u8; 4], kept: Vec<u8>, sum: u32) -> State {
    State::Checksum { kind, kept, sum, read: [0; 4], count: 0 }
}

/// A chunk's type, of which each byte is known to be an ASCII letter.
fn name(kind: [u8; 4]) -> String {
    kind.iter().map(|&b| char::from(b)).collect()
}

/// Adds bytes to a CRC-32 (section 5.5), which begins as 0.
pub(super) fn update(sum: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(sum);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::update;

    #[test]
    fn the_checksum_is_the_same_however_the_bytes_are_cut() {
        let bytes = b"123456789";
        for cut in 0..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(update(update(0, first), second), 0xCBF4_3926, "{cut}");
        }
    }
}
