//! A video is judged alike however it arrives, and only one whose boxes are all there is taken for whole.

#![no_main]

use jimengd::job::video::{Video, Walk};
use jimengd_fuzz::{Input, pieces};
use libfuzzer_sys::fuzz_target;

/// Characters that a reason has at most.
const REASON_CHARS_MAX: usize = 200;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let sizes_count = input.byte() & 0x0F;
    let sizes = input.bytes(sizes_count.into());
    let file = input.0;

    let outcome = judged([file]);
    assert_eq!(judged(pieces(sizes, file)), outcome, "it matters how the file is cut");
    match outcome {
        Ok(Video { width, height, seconds }) => {
            assert_complete(file);
            assert_eq!(width.is_some(), height.is_some(), "half a size");
            assert!(width.is_none_or(|width| width > 0) && height.is_none_or(|height| height > 0));
            assert!(seconds.is_none_or(|seconds| seconds.is_finite() && seconds > 0.0), "{seconds:?} seconds");
        }
        Err(reason) => {
            assert!(!reason.is_empty() && reason.chars().count() <= REASON_CHARS_MAX, "{reason:?}");
            assert!(!reason.contains(char::is_control), "{reason:?}");
        }
    }
});

fn judged<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Video, String> {
    let mut walk = Walk::new();
    pieces.into_iter().for_each(|piece| walk.push(piece));
    walk.finish()
}

/// Asks the same of the file in the simplest way: boxes that fill it exactly, `ftyp` first, one `moov`, media in an `mdat`.
fn assert_complete(file: &[u8]) {
    let mut kinds = Vec::new();
    let mut media_bytes = 0;
    let mut rest = file;
    while !rest.is_empty() {
        let number = |at: usize| u32::from_be_bytes(*rest[at..].first_chunk().expect("the head is there"));
        let (length, head) = match number(0) {
            0 => (rest.len(), 8),
            1 => ((number(8) as usize) << 32 | number(12) as usize, 16),
            short => (short as usize, 8),
        };
        let kind = rest[4..8].to_vec();
        media_bytes += if kind == b"mdat" { length - head } else { 0 };
        kinds.push(kind);
        rest = rest.get(length..).expect("the box is whole");
    }
    assert_eq!(kinds.first().map(Vec::as_slice), Some(&b"ftyp"[..]));
    assert_eq!(kinds.iter().filter(|kind| *kind == b"moov").count(), 1);
    assert!(media_bytes > 0, "no media");
}
