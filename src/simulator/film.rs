//! The videos: real H.264, one for each size the API delivers, made different for each task by one more box at the end.
//!
//! A film is never held whole. It is a list of pieces, most of them embedded in the program, read in chunks; so a video
//! of any wished size costs nothing. Its boxes tile it exactly.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;

use super::faults::Reel;

/// Bytes given out at once.
const CHUNK: u64 = 64 * 1024;

/// The smallest box: its length and its name.
const BOX_HEADER: u64 = 8;

/// Length that makes a box need its longer header.
const LARGE_BOX: u64 = 1 << 32;

/// Names the box that tells which task a video is of.
const TASK_BOX: [u8; 16] = *b"jimengd-pretends";

static ZEROS: [u8; CHUNK as usize] = [0; CHUNK as usize];

/// A ratio that the API knows, the size it makes of it, and the video.
pub(super) struct Format {
    pub(super) aspect_ratio: &'static str,
    pub(super) width: u32,
    pub(super) height: u32,
    video: &'static [u8],
}

/// Every ratio the API knows, the default first.
pub(super) static FORMATS: [Format; 7] = [
    Format { aspect_ratio: "16:9", width: 1280, height: 720, video: include_bytes!("videos/1280x720.mp4") },
    Format { aspect_ratio: "9:16", width: 720, height: 1280, video: include_bytes!("videos/720x1280.mp4") },
    Format { aspect_ratio: "9:21", width: 720, height: 1680, video: include_bytes!("videos/720x1680.mp4") },
    Format { aspect_ratio: "1:1", width: 960, height: 960, video: include_bytes!("videos/960x960.mp4") },
    Format { aspect_ratio: "4:3", width: 960, height: 720, video: include_bytes!("videos/960x720.mp4") },
    Format { aspect_ratio: "3:4", width: 720, height: 960, video: include_bytes!("videos/720x960.mp4") },
    Format { aspect_ratio: "21:9", width: 1680, height: 720, video: include_bytes!("videos/1680x720.mp4") },
];

impl Format {
    /// The format of a ratio, if the API knows it.
    pub(super) fn of(aspect_ratio: &str) -> Option<&'static Format> {
        FORMATS.iter().find(|format| format.aspect_ratio == aspect_ratio)
    }
}

/// One task's video.
#[derive(Clone, Debug)]
pub(super) struct Film {
    video: &'static [u8],
    /// The task's own box, and the header of the padding box where there is one.
    boxes: Bytes,
    zeros: u64,
}

impl Film {
    /// The video of a task, filled up with a `free` box to `bytes` where that is more than it has.
    pub(super) fn new(format: &'static Format, task_id: &str, prompt: &str, seed: i64, bytes: Option<u64>) -> Self {
        let label = json!({"simulated": true, "task_id": task_id, "prompt": prompt, "seed": seed}).to_string();
        let mut boxes = BytesMut::new();
        let length = BOX_HEADER as usize + TASK_BOX.len() + label.len();
        boxes.put_u32(u32::try_from(length).expect("a prompt has 150 characters at most"));
        boxes.put_slice(b"uuid");
        boxes.put_slice(&TASK_BOX);
        boxes.put_slice(label.as_bytes());

        let so_far = format.video.len() as u64 + boxes.len() as u64;
        let padding = bytes.unwrap_or(0).saturating_sub(so_far);
        let zeros = match u32::try_from(padding) {
            Ok(short) if padding >= BOX_HEADER => {
                boxes.put_u32(short);
                boxes.put_slice(b"free");
                padding - BOX_HEADER
            }
            Ok(_) => 0,
            Err(_) => {
                debug_assert!(padding >= LARGE_BOX);
                boxes.put_u32(1);
                boxes.put_slice(b"free");
                boxes.put_u64(padding);
                padding - 2 * BOX_HEADER
            }
        };
        Self { video: format.video, boxes: boxes.freeze(), zeros }
    }

    /// Something else that is sent as videos are.
    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        Self { video: &[], boxes: bytes, zeros: 0 }
    }

    /// Bytes in all.
    pub(super) fn length(&self) -> u64 {
        self.video.len() as u64 + self.boxes.len() as u64 + self.zeros
    }

    /// All of it.
    pub(super) fn whole(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < self.length() {
            bytes.extend_from_slice(&self.read(bytes.len() as u64..self.length()));
        }
        bytes
    }

    /// The next bytes from `range.start`: some, but not beyond `range.end`; none if the range is empty or past the end.
    pub(super) fn read(&self, range: Range<u64>) -> Bytes {
        let pieces = [Bytes::from_static(self.video), self.boxes.clone()];
        let mut start = range.start;
        let mut wanted = range.end.saturating_sub(range.start).min(CHUNK);
        for piece in pieces {
            let length = piece.len() as u64;
            if start < length {
                let end = length.min(start + wanted);
                return piece.slice(start as usize..end as usize);
            }
            start -= length;
        }
        wanted = wanted.min(self.zeros.saturating_sub(start));
        Bytes::from_static(&ZEROS).slice(..wanted as usize)
    }
}

/// What the `Range` header asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// Everything: no header, or one that this server may ignore (another unit, several ranges).
    Whole,
    /// These bytes of it.
    Part(Range<u64>),
    /// Nothing that exists.
    Unsatisfiable,
}

impl Asked {
    /// Reads a `Range` header for something of `length` bytes.
    pub(super) fn parse(header: Option<&str>, length: u64) -> Self {
        let Some((first, last)) =
            header.and_then(|header| header.strip_prefix("bytes=")).and_then(|range| range.trim().split_once('-'))
        else {
            return Self::Whole;
        };
        let range = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => first..length.min(last.saturating_add(1)),
            (Ok(first), Err(_)) if last.is_empty() => first..length,
            (Err(_), Ok(suffix)) if first.is_empty() => length.saturating_sub(suffix)..length,
            _ => return Self::Whole,
        };
        match range.is_empty() {
            true => Self::Unsatisfiable,
            false => Self::Part(range),
        }
    }
}

/// Makes another film of a good one.
pub(super) fn recut(film: &[u8], reel: Reel) -> Bytes {
    let all = boxes(film);
    let without = |kind: &[u8]| all.iter().filter(|one| &one[4..8] != kind).copied().collect::<Vec<_>>().concat();
    let only = |kind: &[u8]| all.iter().filter(|one| &one[4..8] == kind).copied().collect::<Vec<_>>().concat();
    let bytes = match reel {
        Reel::Empty => Vec::new(),
        Reel::Byte => vec![b'x'],
        Reel::NoMoov => without(b"moov"),
        Reel::MoovLast => [without(b"moov"), only(b"moov")].concat(),
        Reel::Fragmented => {
            let fragment = [&16_u32.to_be_bytes()[..], b"moof", &8_u32.to_be_bytes(), b"mfhd"].concat();
            [only(b"ftyp"), only(b"moov"), fragment, only(b"mdat")].concat()
        }
        Reel::NoFtyp => without(b"ftyp"),
        Reel::Junk => [film, b"<!-- cached by a proxy -->"].concat(),
        Reel::Webm => [&b"\x1A\x45\xDF\xA3\x93\x42\x82\x88matroska"[..], &[0; 1000]].concat(),
    };
    bytes.into()
}

/// The boxes that tile a film.
fn boxes(film: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = film;
    while let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
        let Some((one, after)) = rest.split_at_checked(length).filter(|(one, _)| one.len() >= BOX_HEADER as usize)
        else {
            break;
        };
        found.push(one);
        rest = after;
    }
    found
}

/// Wraps bytes in gzip without compressing them.
pub(super) fn gzip(bytes: &[u8]) -> Bytes {
    let mut wrapped = BytesMut::from(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..]);
    let mut blocks = bytes.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("chunks are that long at most");
        wrapped.put_u8(u8::from(blocks.peek().is_none()));
        wrapped.put_u16_le(length);
        wrapped.put_u16_le(!length);
        wrapped.put_slice(block);
    }
    wrapped.put_u32_le(crc32(bytes));
    wrapped.put_u32_le(bytes.len() as u32);
    wrapped.freeze()
}

fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(film: &Film) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let more = film.read(bytes.len() as u64..film.length());
            match more.is_empty() {
                true => return bytes,
                false => bytes.extend_from_slice(&more),
            }
        }
    }

    fn names(film: &[u8]) -> Vec<String> {
        boxes(film).iter().map(|one| String::from_utf8(one[4..8].to_vec()).unwrap()).collect()
    }

    #[test]
    fn boxes_tile_every_film_and_name_its_task() {
        for format in &FORMATS {
            for bytes in [None, Some(1), Some(500_000)] {
                let film = Film::new(format, "14117763723766220057", "a \"cat\" 猫", 42, bytes);
                let content = whole(&film);
                assert_eq!(content.len() as u64, film.length());
                assert_eq!(boxes(&content).concat(), content, "the boxes tile it");
                let names = names(&content);
                assert_eq!(names[0], "ftyp");
                for wanted in ["moov", "mdat", "uuid"] {
                    assert!(names.iter().any(|name| name == wanted), "{names:?}");
                }
                let text = String::from_utf8_lossy(&content);
                assert!(text.contains("14117763723766220057") && text.contains("猫"));
                if let Some(500_000) = bytes {
                    assert_eq!(film.length(), 500_000);
                }
                // The track's size stands in `tkhd` as 16.16 fixed point, width before height.
                let size = [format.width << 16, format.height << 16].map(u32::to_be_bytes).concat();
                assert!(content.windows(8).any(|window| window == size), "{}", format.aspect_ratio);
            }
        }
    }

    #[test]
    fn a_part_is_what_the_whole_has_there() {
        let film = Film::new(&FORMATS[0], "1", "p", 1, Some(200_000));
        let content = whole(&film);
        for start in [0, 1, 40_000, 65_535, 65_536, 150_000, 199_999] {
            let part = film.read(start..film.length());
            assert!(!part.is_empty());
            assert_eq!(part, content[start as usize..start as usize + part.len()]);
        }
        assert!(film.read(200_000..300_000).is_empty());
        assert_eq!(film.read(10..13).len(), 3);
    }

    #[test]
    fn a_film_is_recut_as_told() {
        let film = whole(&Film::new(&FORMATS[0], "1", "p", 1, None));
        let (first, second) = (["ftyp", "moov"], ["free", "mdat", "uuid"]);
        for (reel, wanted) in [
            (Reel::NoMoov, [&first[..1], &second].concat()),
            (Reel::MoovLast, [&first[..1], &second, &first[1..]].concat()),
            (Reel::Fragmented, vec!["ftyp", "moov", "moof", "mdat"]),
            (Reel::NoFtyp, [&first[1..], &second].concat()),
            (Reel::Junk, [&first[..], &second].concat()),
        ] {
            assert_eq!(names(&recut(&film, reel)), wanted, "{reel:?}");
        }
        assert_eq!(recut(&film, Reel::Junk).len(), film.len() + 26);
        assert_eq!((recut(&film, Reel::Empty).len(), recut(&film, Reel::Byte).len()), (0, 1));
        assert_eq!(&recut(&film, Reel::Webm)[..4], b"\x1A\x45\xDF\xA3");
    }

    #[test]
    fn a_film_beyond_four_gigabytes_has_the_longer_header() {
        let film = Film::new(&FORMATS[0], "1", "p", 1, Some(5_000_000_000));
        assert_eq!(film.length(), 5_000_000_000);
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let cases = [
            (None, Asked::Whole),
            (Some("bytes=0-"), Asked::Part(0..100)),
            (Some("bytes=10-19"), Asked::Part(10..20)),
            (Some("bytes=90-400"), Asked::Part(90..100)),
            (Some("bytes=-5"), Asked::Part(95..100)),
            (Some("bytes=-500"), Asked::Part(0..100)),
            (Some("bytes=100-"), Asked::Unsatisfiable),
            (Some("bytes=-0"), Asked::Unsatisfiable),
            (Some("bytes=9-3"), Asked::Whole),
            (Some("bytes=0-1,5-6"), Asked::Whole),
            (Some("lines=0-1"), Asked::Whole),
            (Some("bytes=-"), Asked::Whole),
        ];
        for (header, wanted) in cases {
            assert_eq!(Asked::parse(header, 100), wanted, "{header:?}");
        }
    }

    #[test]
    fn the_checksum_is_the_one_of_gzip() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(gzip(b"ab").len(), 10 + 5 + 2 + 8);
    }
}
