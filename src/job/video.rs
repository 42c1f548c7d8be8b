//! Checks an mp4 by its boxes, so that half a file or an error page is never taken for a video.
//!
//! An ISO base media file (ISO/IEC 14496-12) is a row of boxes, each with its length and its type in front. The walk takes
//! the bytes in pieces of any size, says the same however they are cut, and asks that `ftyp` comes first, that the boxes
//! fill the file exactly, and that `moov` (the description) and a `mdat` with data in it (frames and sound) are both there.
//! The frames themselves are not decoded. What it does not know (size, length) it leaves out rather than refuse a video
//! that has been paid for; a box that is cut is refused, since a transfer can be made again.

/// Bytes of a `moov` box that are held at most. A video of five seconds has a few kilobytes of it.
pub const MOOV_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of a box's head: length and type, and the long length if there is one.
const HEAD_BYTES: usize = 8;
const LONG_HEAD_BYTES: usize = 16;

/// What is known of a whole mp4.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Video {
    /// Pixels, of the first video track as it is shown; `None` if the file does not say.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Length in seconds; `None` if unknown (fragmented files).
    pub seconds: Option<f64>,
}

/// A walk over an mp4's bytes in pieces of any size; holds the `moov` box at most, up to [`MOOV_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct Walk {
    state: State,
    moov: Option<Vec<u8>>,
    media_bytes: u64,
    boxes: u64,
    fragmented: bool,
}

type Kind = [u8; 4];

#[derive(Debug)]
enum State {
    /// Inside a box's head; what of it has been read.
    Head(Vec<u8>),
    /// Inside a box's content; `None`: the box reaches to the end of the file.
    Content {
        kind: Kind,
        length: Option<u64>,
        left: Option<u64>,
    },
    Broken(String),
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Walk {
    /// Starts before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Broken(_) => return,
                State::Head(head) => {
                    head.push(bytes[0]);
                    bytes = &bytes[1..];
                    let head = std::mem::take(head);
                    self.state = self.after_head(head).unwrap_or_else(State::Broken);
                }
                State::Content { kind, left, .. } => {
                    let (kind, room) = (*kind, left.map_or(usize::MAX, |left| left.try_into().unwrap_or(usize::MAX)));
                    let (content, rest) = bytes.split_at(bytes.len().min(room));
                    if let Some(left) = left {
                        *left -= content.len() as u64;
                        if *left == 0 {
                            self.state = State::default();
                        }
                    }
                    self.take(&kind, content);
                    bytes = rest;
                }
            }
        }
    }

    /// What it was, at the end of the file.
    ///
    /// # Errors
    /// What is missing or wrong, as a lowercase fragment.
    pub fn finish(self) -> Result<Video, String> {
        match self.state {
            State::Broken(what) => return Err(what),
            State::Head(head) if self.boxes == 0 && head.is_empty() => return Err("it is empty".to_owned()),
            State::Head(head) if self.boxes == 0 => {
                return Err(format!("it begins like {}, not like an mp4", seems(&head)));
            }
            State::Head(head) if !head.is_empty() => {
                return Err(format!("it ends in the middle of the head of a box, after {} of its bytes", head.len()));
            }
            State::Content { kind, length: Some(length), left: Some(left) } => {
                return Err(format!(
                    "it ends in the middle of box {}: {} of {length} bytes",
                    name(&kind),
                    length - left
                ));
            }
            State::Head(_) | State::Content { .. } => {}
        }
        let Some(moov) = self.moov else {
            return Err("it has no moov box".to_owned());
        };
        if self.media_bytes == 0 {
            return Err("it has no mdat box with anything in it".to_owned());
        }
        describe(&moov, self.fragmented)
    }

    /// The state after these bytes of a box's head, which may not be all.
    fn after_head(&mut self, head: Vec<u8>) -> Result<State, String> {
        let Some((&[l1, l2, l3, l4, k1, k2, k3, k4], long)) = head.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(State::Head(head));
        };
        let kind = [k1, k2, k3, k4];
        if self.boxes == 0 && &kind != b"ftyp" {
            return Err(format!("it begins like {}, not like an mp4", seems(&head)));
        }
        if !is_kind(&kind) {
            return Err(format!("something that is no box follows its box number {}", self.boxes));
        }
        let (length, head_bytes) = match u32::from_be_bytes([l1, l2, l3, l4]) {
            0 => (None, HEAD_BYTES),
            1 => match long.first_chunk() {
                Some(long) => (Some(u64::from_be_bytes(*long)), LONG_HEAD_BYTES),
                None => return Ok(State::Head(head)),
            },
            short => (Some(u64::from(short)), HEAD_BYTES),
        };
        let left = match length.map(|length| length.checked_sub(head_bytes as u64)) {
            Some(None) => return Err(format!("its box {} has an impossible length", name(&kind))),
            Some(Some(left)) => Some(left),
            None => None,
        };
        self.boxes += 1;
        match &kind {
            b"moov" if self.moov.is_some() => return Err("it has a second moov box".to_owned()),
            b"moov" if left.is_some_and(|left| left > MOOV_BYTES_MAX) => return Err(moov_too_large()),
            b"moov" => self.moov = Some(Vec::new()),
            b"moof" => self.fragmented = true,
            _ => {}
        }
        match left {
            Some(0) => Ok(State::default()),
            Some(_) | None => {
                Ok(State::Content { kind, length: length.map(|length| length - head_bytes as u64), left })
            }
        }
    }

    fn take(&mut self, kind: &Kind, content: &[u8]) {
        match (kind, &mut self.moov) {
            (b"mdat", _) => self.media_bytes = self.media_bytes.saturating_add(content.len() as u64),
            (b"moov", Some(moov)) if (moov.len() + content.len()) as u64 > MOOV_BYTES_MAX => {
                self.state = State::Broken(moov_too_large());
            }
            (b"moov", Some(moov)) => moov.extend_from_slice(content),
            (_, _) => {}
        }
    }
}

fn moov_too_large() -> String {
    format!("it has a moov box of more than {MOOV_BYTES_MAX} bytes")
}

/// What a file without `ftyp` in front begins like.
fn seems(head: &[u8]) -> &'static str {
    let text = head.trim_ascii_start();
    match text.first_chunk() {
        Some(b"<?xm") => return "an XML text",
        Some(b"\x89PNG" | b"GIF8" | b"\xFF\xD8\xFF\xE0" | b"\xFF\xD8\xFF\xE1") => return "a picture",
        Some(b"\x1A\x45\xDF\xA3") => return "a WebM or Matroska video",
        Some(_) | None => {}
    }
    match (text.first(), head.iter().all(|&b| b == 0)) {
        (_, true) => "a file of zeros",
        (Some(b'<'), _) => "a web page",
        (Some(b'{' | b'['), _) => "a JSON text",
        (Some(_), _) if head.is_ascii() && !head.contains(&0) => "a text",
        (Some(_) | None, _) => "something unknown",
    }
}

/// Whether these bytes can be the type of a box: printable, or the copyright sign of QuickTime's metadata.
fn is_kind(kind: &Kind) -> bool {
    kind.iter().all(|&b| matches!(b, 0x20..=0x7E | 0xA9))
}

/// A box's type, of which each byte is known to be printable; in quotes if it looks like no word, as in junk.
fn name(kind: &Kind) -> String {
    let name: String = kind.iter().map(|&b| char::from(b)).collect();
    if name.chars().all(char::is_alphanumeric) { name } else { format!("{name:?}") }
}

/// Reads what `moov` tells of the video.
fn describe(moov: &[u8], fragmented: bool) -> Result<Video, String> {
    if Boxes(moov).any(|part| part.is_none()) {
        return Err("its moov box is damaged".to_owned());
    }
    let Some(movie_header) = child(moov, b"mvhd") else {
        return Err("its moov box holds no mvhd box".to_owned());
    };
    let (width, height) = children(moov)
        .filter(|(kind, _)| *kind == b"trak")
        .find(|(_, track)| is_video(track))
        .and_then(|(_, track)| child(track, b"tkhd"))
        .and_then(shown_size)
        .unzip();
    let seconds = if fragmented { None } else { seconds(movie_header) };
    Ok(Video { width, height, seconds })
}

/// The boxes that fill a box's content one after the other; `None` once, at the first that does not fit.
struct Boxes<'a>(&'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = Option<(&'a Kind, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = |bytes: &'a [u8]| {
            let (length, rest) = bytes.split_first_chunk()?;
            let (kind, rest) = rest.split_first_chunk()?;
            let (length, content_at) = match u32::from_be_bytes(*length) {
                0 => (bytes.len(), HEAD_BYTES),
                1 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?, LONG_HEAD_BYTES),
                short => (usize::try_from(short).ok()?, HEAD_BYTES),
            };
            Some(((kind, bytes.get(content_at..length)?), bytes.get(length..)?))
        };
        match read(self.0) {
            Some((found, rest)) => {
                self.0 = rest;
                Some(Some(found))
            }
            None => {
                self.0 = &[];
                Some(None)
            }
        }
    }
}

fn children(content: &[u8]) -> impl Iterator<Item = (&Kind, &[u8])> {
    Boxes(content).flatten()
}

fn child<'a>(content: &'a [u8], wanted: &Kind) -> Option<&'a [u8]> {
    children(content).find(|(kind, _)| *kind == wanted).map(|(_, content)| content)
}

fn is_video(track: &[u8]) -> bool {
    // hdlr: version and flags, a reserved word, then the kind of track.
    let handler = child(track, b"mdia").and_then(|media| child(media, b"hdlr")).and_then(|hdlr| hdlr.get(8..12));
    handler == Some(b"vide")
}

/// The length in `mvhd`; `None` if it says 0 or all ones (unknown), or nothing sensible.
fn seconds(mvhd: &[u8]) -> Option<f64> {
    let (scale, duration) = match mvhd.first()? {
        // Behind version and flags: times of creation and change, ticks in a second, length in ticks.
        0 => (u32_at(mvhd, 12)?, u32_at(mvhd, 16).filter(|&d| d != u32::MAX).map(f64::from)?),
        1 => (u32_at(mvhd, 20)?, u64_at(mvhd, 24).filter(|&d| d != u64::MAX).map(|d| d as f64)?),
        _ => return None,
    };
    (scale > 0 && duration > 0.0).then(|| duration / f64::from(scale))
}

/// Width and height in `tkhd` as the track is shown, in whole pixels; `None` if they are 0.
fn shown_size(tkhd: &[u8]) -> Option<(u32, u32)> {
    // Behind version and flags: times, track, a reserved word, length (all longer in version 1); then 16 bytes of
    // layer, group, volume and reserved words, and the matrix a b u c d v x y w.
    let matrix = match tkhd.first()? {
        0 => 40,
        1 => 52,
        _ => return None,
    };
    let [a, b, c, d] = [0, 4, 12, 16].map(|at| u32_at(tkhd, matrix + at));
    let (width, height) = (u32_at(tkhd, matrix + 36)? >> 16, u32_at(tkhd, matrix + 40)? >> 16);
    let on_its_side = a == Some(0) && d == Some(0) && b != Some(0) && c != Some(0);
    match (width, height) {
        (0, _) | (_, 0) => None,
        (width, height) if on_its_side => Some((height, width)),
        size => Some(size),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TURNED: [u32; 9] = [0, 0x10000, 0, 0xFFFF_0000, 0, 0, 0, 0, 0x4000_0000];
    const UPRIGHT: [u32; 9] = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000];

    fn boxed(kind: &Kind, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len() + HEAD_BYTES).expect("a test's box is small");
        [&length.to_be_bytes()[..], kind, content].concat()
    }

    fn long(kind: &Kind, content: &[u8]) -> Vec<u8> {
        let length = (content.len() + LONG_HEAD_BYTES) as u64;
        [&1_u32.to_be_bytes()[..], kind, &length.to_be_bytes(), content].concat()
    }

    fn to_the_end(kind: &Kind, content: &[u8]) -> Vec<u8> {
        [&[0; 4][..], kind, content].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    fn ftyp() -> Vec<u8> {
        boxed(b"ftyp", b"isom\0\0\x02\0isomiso2avc1mp41")
    }

    fn mvhd(scale: u32, duration: u32) -> Vec<u8> {
        boxed(b"mvhd", &[words(&[0, 7, 7, scale, duration]), vec![0; 80]].concat())
    }

    fn mvhd_long(scale: u32, duration: u64) -> Vec<u8> {
        let head = words(&[0x0100_0000, 0, 7, 0, 7, scale]);
        boxed(b"mvhd", &[head, duration.to_be_bytes().to_vec(), vec![0; 80]].concat())
    }

    fn track(handler: &Kind, version: u32, matrix: [u32; 9], width: u32, height: u32) -> Vec<u8> {
        let times = if version == 1 { 8 } else { 5 };
        let tkhd = [
            words(&[version << 24]),
            vec![0; times * 4],
            vec![0; 16],
            words(&matrix),
            words(&[width << 16, height << 16]),
        ];
        let hdlr = [&[0; 8][..], handler, &[0; 13]].concat();
        let mdia = boxed(b"mdia", &[boxed(b"mdhd", &[0; 24]), boxed(b"hdlr", &hdlr)].concat());
        boxed(b"trak", &[boxed(b"tkhd", &tkhd.concat()), mdia].concat())
    }

    fn moov() -> Vec<u8> {
        let sound = track(b"soun", 0, UPRIGHT, 0, 0);
        boxed(b"moov", &[mvhd(1000, 5042), sound, track(b"vide", 0, UPRIGHT, 1280, 720)].concat())
    }

    fn plain() -> Vec<u8> {
        [ftyp(), moov(), boxed(b"free", b""), boxed(b"mdat", &[0xAB; 100])].concat()
    }

    fn walk(bytes: &[u8]) -> Result<Video, String> {
        let mut walk = Walk::new();
        walk.push(bytes);
        walk.finish()
    }

    fn video(width: u32, height: u32, seconds: f64) -> Video {
        Video { width: Some(width), height: Some(height), seconds: Some(seconds) }
    }

    #[test]
    fn whole_videos_say_their_size_and_length() {
        let with = |parts: &[Vec<u8>]| [ftyp(), boxed(b"moov", &parts.concat()), boxed(b"mdat", b"x")].concat();
        let cases = [
            ("moov in front", plain(), video(1280, 720, 5.042)),
            ("moov behind", [ftyp(), boxed(b"mdat", b"x"), moov()].concat(), video(1280, 720, 5.042)),
            ("long length", [ftyp(), long(b"mdat", b"x"), moov()].concat(), video(1280, 720, 5.042)),
            ("to the end", [ftyp(), moov(), to_the_end(b"mdat", b"xyz")].concat(), video(1280, 720, 5.042)),
            ("moov to the end", [ftyp(), boxed(b"mdat", b"x"), to_the_end(b"moov", &moov()[8..])].concat(), {
                video(1280, 720, 5.042)
            }),
            (
                "version 1, turned",
                with(&[mvhd_long(600, 3000), track(b"vide", 1, TURNED, 1280, 720)]),
                video(720, 1280, 5.0),
            ),
            ("version 0, turned", with(&[mvhd(1, 9), track(b"vide", 0, TURNED, 960, 720)]), video(720, 960, 9.0)),
            ("no track", with(&[mvhd(1, 9)]), Video { width: None, height: None, seconds: Some(9.0) }),
            (
                "unknown length",
                with(&[mvhd(1000, u32::MAX), track(b"vide", 0, UPRIGHT, 0, 720)]),
                Video { width: None, height: None, seconds: None },
            ),
            ("no length", with(&[mvhd(600, 0)]), Video { width: None, height: None, seconds: None }),
            ("no ticks", with(&[mvhd(0, 9)]), Video { width: None, height: None, seconds: None }),
            ("unknown version", with(&[boxed(b"mvhd", &[9; 100])]), Video { width: None, height: None, seconds: None }),
            (
                "fragmented",
                [plain(), boxed(b"moof", b"..."), boxed(b"mdat", b"x")].concat(),
                Video { seconds: None, ..video(1280, 720, 0.0) },
            ),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(walk(&bytes), Ok(expected), "{name}");
        }
        // Scaled and sheared, but not turned: one of the four that make a quarter turn is as it is in no such matrix.
        for [a, b, c, d] in [[1, 1, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1]] {
            let bytes = with(&[mvhd(1, 9), track(b"vide", 0, [a, b, 0, c, d, 0, 0, 0, 1], 1280, 720)]);
            assert_eq!(walk(&bytes), Ok(video(1280, 720, 9.0)), "{a} {b} {c} {d}");
        }
    }

    #[test]
    fn what_is_no_whole_mp4_is_named() {
        let cut = |bytes: Vec<u8>, by: usize| bytes[..bytes.len() - by].to_vec();
        let no_mvhd = boxed(b"moov", &track(b"vide", 0, UPRIGHT, 1, 1));
        let torn = boxed(b"moov", &[mvhd(1, 1), words(&[99]), b"trak".to_vec()].concat());
        let large = u32::try_from(MOOV_BYTES_MAX + 9).expect("the limit fits a short length");
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (vec![], "it is empty"),
            (b"<!DOCTYPE html><html>".to_vec(), "it begins like a web page, not like an mp4"),
            (b"\n\n  <html>".to_vec(), "it begins like a web page, not like an mp4"),
            (b"<?xml version=\"1.0\"?><Error/>".to_vec(), "it begins like an XML text, not like an mp4"),
            (br#"{"code":50411}"#.to_vec(), "it begins like a JSON text, not like an mp4"),
            (b"no".to_vec(), "it begins like a text, not like an mp4"),
            (b"no\0".to_vec(), "it begins like something unknown, not like an mp4"),
            (b"n\xF6".to_vec(), "it begins like something unknown, not like an mp4"),
            (b"\x89PNG\r\n\x1a\n".to_vec(), "it begins like a picture, not like an mp4"),
            (vec![0; 4096], "it begins like a file of zeros, not like an mp4"),
            (moov(), "it begins like something unknown, not like an mp4"),
            (ftyp()[..3].to_vec(), "it begins like a file of zeros, not like an mp4"),
            (ftyp()[..9].to_vec(), "it ends in the middle of box ftyp: 1 of 24 bytes"),
            (cut(plain(), 1), "it ends in the middle of box mdat: 99 of 100 bytes"),
            (cut(plain(), 100), "it ends in the middle of box mdat: 0 of 100 bytes"),
            (cut(plain(), 104), "it ends in the middle of the head of a box, after 4 of its bytes"),
            ([plain(), vec![0; 3]].concat(), "it ends in the middle of the head of a box, after 3 of its bytes"),
            ([plain(), vec![0; 512]].concat(), "something that is no box follows its box number 4"),
            ([plain(), words(&[7]), b"junk".to_vec()].concat(), "its box junk has an impossible length"),
            (
                [plain(), words(&[1]), b"junk".to_vec(), words(&[0, 15])].concat(),
                "its box junk has an impossible length",
            ),
            (
                [plain(), b"<!-- cached -->".to_vec()].concat(),
                "it ends in the middle of box \" cac\": 7 of 1008807205 bytes",
            ),
            (ftyp(), "it has no moov box"),
            ([ftyp(), boxed(b"mdat", b"x")].concat(), "it has no moov box"),
            ([ftyp(), moov()].concat(), "it has no mdat box with anything in it"),
            ([ftyp(), moov(), boxed(b"mdat", b"")].concat(), "it has no mdat box with anything in it"),
            ([plain(), moov()].concat(), "it has a second moov box"),
            ([ftyp(), no_mvhd, boxed(b"mdat", b"x")].concat(), "its moov box holds no mvhd box"),
            ([ftyp(), torn, boxed(b"mdat", b"x")].concat(), "its moov box is damaged"),
            ([ftyp(), words(&[large]), b"moov".to_vec()].concat(), "it has a moov box of more than 16777216 bytes"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(walk(&bytes), Err(expected.to_owned()), "{expected}");
        }
    }

    #[test]
    fn no_beginning_of_a_video_is_a_video() {
        let whole = plain();
        for cut in 0..whole.len() {
            assert!(walk(&whole[..cut]).is_err(), "{cut} of {} bytes", whole.len());
        }
    }

    #[test]
    fn an_endless_moov_box_is_not_held() {
        let mut walk = Walk::new();
        walk.push(&[ftyp(), to_the_end(b"moov", b"")].concat());
        for _ in 0..=MOOV_BYTES_MAX / 65_536 {
            walk.push(&[0; 65_536]);
        }
        assert_eq!(walk.finish(), Err("it has a moov box of more than 16777216 bytes".to_owned()));
    }

    #[test]
    fn a_moov_box_may_be_as_large_as_its_limit() {
        let declared = u32::try_from(MOOV_BYTES_MAX + 8).expect("the limit fits a short length");
        for head in [[words(&[declared]), b"moov".to_vec()].concat(), to_the_end(b"moov", b"")] {
            let mut walk = Walk::new();
            walk.push(&[ftyp(), head].concat());
            for _ in 0..MOOV_BYTES_MAX / 65_536 {
                walk.push(&[0; 65_536]);
            }
            // All of it was taken; what is wrong with it is another thing.
            assert_eq!(walk.finish(), Err("it has no mdat box with anything in it".to_owned()));
        }
    }

    proptest! {
        #[test]
        fn the_cuts_between_pieces_do_not_matter(sizes in prop::collection::vec(1_usize..40, 1..200)) {
            let whole = [plain(), boxed(b"moof", b"..."), long(b"mdat", &[1; 90])].concat();
            let mut pieces = Walk::new();
            let mut rest = &whole[..];
            for size in sizes {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(pieces.finish(), walk(&whole));
        }

        #[test]
        fn a_changed_byte_is_judged_without_a_panic(at in 0_usize..500, to: u8) {
            let mut bytes = plain();
            let at = at % bytes.len();
            bytes[at] = to;
            let _judged = walk(&bytes);
        }

        #[test]
        fn arbitrary_moov_boxes_are_judged_without_a_panic(content in prop::collection::vec(any::<u8>(), 0..300)) {
            let _judged = walk(&[ftyp(), boxed(b"moov", &content), boxed(b"mdat", b"x")].concat());
        }
    }
}
