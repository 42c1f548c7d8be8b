//! A picture is judged alike however it arrives, and no judgement is taken back by what still comes.

#![no_main]

use jimengd::job::picture::{Limits, Outcome, Picture, Walk, complaints};
use jimengd_fuzz::{Input, assert_helpful, pieces};
use libfuzzer_sys::fuzz_target;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let flags = input.byte();
    let sizes = input.bytes(usize::from(flags & 0x0F));
    let cut = input.number();
    let limits = limits(input.bytes(4));
    let mut file = input.0.to_vec();
    if flags & 0x80 != 0 {
        mend_checksums(&mut file);
    }

    let outcome = judged([&file[..]]);
    assert_eq!(judged(pieces(sizes, &file)), outcome, "it matters how the file is cut");
    match &outcome {
        Outcome::Whole(picture) => assert_whole(picture, &file, &limits),
        Outcome::Incomplete(problem) | Outcome::Invalid(problem) => {
            assert_helpful(std::slice::from_ref(problem), "");
            assert!(problem.proposal.is_some());
        }
    }

    let cut = cut.min(file.len());
    match (judged([&file[..cut]]), &outcome) {
        (Outcome::Whole(before), Outcome::Whole(after)) => {
            assert_eq!((before.kind, before.width, before.height), (after.kind, after.width, after.height));
        }
        (Outcome::Whole(_), after) => panic!("whole, then {after:?}"),
        (Outcome::Invalid(_), Outcome::Invalid(_)) | (Outcome::Incomplete(_), _) => {}
        (Outcome::Invalid(_), after) => panic!("beyond repair, then {after:?}"),
    }
    if let Outcome::Whole(_) = outcome {
        file[cut..].fill(0);
        let filling = judged([&file[..]]);
        assert!(!matches!(filling, Outcome::Invalid(_)), "filled up to byte {cut}: {filling:?}");
    }
});

fn judged<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut walk = Walk::new();
    pieces.into_iter().for_each(|piece| walk.push(piece));
    walk.finish()
}

fn limits(bytes: &[u8]) -> Limits {
    let at = |i: usize| bytes.get(i).copied().filter(|&byte| byte > 0);
    Limits {
        bytes_max: at(0).map(|byte| u64::from(byte) * 64),
        side_max: at(1).map(|byte| u32::from(byte) * 32),
        short_side_min: at(2).map(u32::from),
        ratio_max: at(3).map(|byte| 1.0 + f64::from(byte) / 32.0),
    }
}

fn assert_whole(picture: &Picture, file: &[u8], limits: &Limits) {
    let Picture { kind: _, bytes, width, height } = *picture;
    assert_eq!(bytes, file.len() as u64);
    assert!(width > 0 && height > 0, "a picture without pixels");
    let (long, short) = (width.max(height), width.min(height));
    let broken = [
        limits.bytes_max.is_some_and(|max| bytes > max),
        limits.side_max.is_some_and(|max| long > max),
        limits.short_side_min.is_some_and(|min| short < min),
        limits.ratio_max.is_some_and(|max| f64::from(long) / f64::from(short) > max),
    ];
    let found = complaints(picture, limits);
    assert_eq!(found.len(), broken.iter().filter(|is| **is).count(), "{picture:?} under {limits:?}: {found:?}");
    if !found.is_empty() {
        assert_helpful(&found, "");
    }
}

/// Writes the right checksum behind every chunk of a PNG: chance would never find one.
fn mend_checksums(file: &mut [u8]) {
    if !file.starts_with(PNG_SIGNATURE) {
        return;
    }
    let mut rest = &mut file[PNG_SIGNATURE.len()..];
    while let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
        let Some((chunk, after)) = length.checked_add(12).and_then(|end| rest.split_at_mut_checked(end)) else {
            return;
        };
        let checksum = crc32(&chunk[4..8 + length]);
        chunk[8 + length..].copy_from_slice(&checksum.to_be_bytes());
        rest = after;
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |register, &byte| {
        (0..8).fold(register ^ u32::from(byte), |r, _| if r & 1 == 1 { r >> 1 ^ 0xEDB8_8320 } else { r >> 1 })
    })
}
