//! Pictures: real files of real tools, and every way to cut or spoil them.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits =
    Limits { bytes_max: Some(4_700_000), side_max: Some(4096), short_side_min: Some(320), ratio_max: Some(3.0) };

/// The pictures made by real programs: name, kind, width and height as shown.
const FIXTURES: [(&str, Kind, u32, u32); 10] = [
    ("baseline.jpg", Kind::Jpeg, 360, 480),
    ("progressive.jpg", Kind::Jpeg, 360, 480),
    ("restart.jpg", Kind::Jpeg, 480, 360),
    ("cmyk.jpg", Kind::Jpeg, 480, 360),
    ("appended.jpg", Kind::Jpeg, 360, 480),
    ("8bit.png", Kind::Png, 400, 320),
    ("16bit.png", Kind::Png, 400, 320),
    ("alpha.png", Kind::Png, 400, 320),
    ("interlaced.png", Kind::Png, 400, 320),
    ("turned.png", Kind::Png, 320, 400),
];

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn walk(bytes: &[u8]) -> Outcome {
    walk_in(bytes, std::iter::once(bytes.len()))
}

fn walk_in(bytes: &[u8], sizes: impl IntoIterator<Item = usize>) -> Outcome {
    let mut walk = Walk::new();
    let mut rest = bytes;
    for size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        walk.push(piece);
        rest = after;
    }
    walk.push(rest);
    walk.finish()
}

fn message(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Whole(_) => "whole",
        Outcome::Incomplete(problem) | Outcome::Invalid(problem) => &problem.message,
    }
}

/// A JPEG segment: marker, length, content.
fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).expect("a test's segment is short");
    [&[0xFF, marker][..], &length.to_be_bytes(), content].concat()
}

fn frame(width: u16, height: u16) -> Vec<u8> {
    segment(0xC0, &[&[8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[1, 1, 0x11, 0]].concat())
}

/// Compressed pixels that hold what can be mistaken: stuffed and repeated FF, restart markers.
const SCAN: &[u8] = &[1, 0, 1, 0, 0, 63, 0, 7, 0xFF, 0x00, 9, 0xFF, 0xD3, 8, 0xFF, 0xFF, 0x00, 5];

fn jpeg(parts: &[Vec<u8>]) -> Vec<u8> {
    [&[0xFF, 0xD8][..], &parts.concat(), &segment(0xDA, SCAN), &[0xFF, 0xD9]].concat()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("a test's chunk is short");
    let checksum = png::update(png::update(0, kind), data);
    [&length.to_be_bytes()[..], kind, data, &checksum.to_be_bytes()].concat()
}

fn header(width: u32, height: u32) -> Vec<u8> {
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat())
}

fn png(parts: &[Vec<u8>]) -> Vec<u8> {
    [&png::SIGNATURE[..], &parts.concat(), &chunk(b"IEND", b"")].concat()
}

/// An EXIF block with one field, in either byte order.
fn tiff(big: bool, orientation: u16) -> Vec<u8> {
    let short = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let long = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let order: &[u8] = if big { b"MM\0*" } else { b"II*\0" };
    [order, &long(8), &short(1), &short(0x0112), &short(3), &long(1), &short(orientation), &[0; 6]].concat()
}

fn exif_segment(block: &[u8]) -> Vec<u8> {
    segment(0xE1, &[b"Exif\0\0", block].concat())
}

#[test]
fn pictures_of_real_programs_are_whole() {
    for (name, kind, width, height) in FIXTURES {
        let bytes = fixture(name);
        let expected = Picture { kind, bytes: bytes.len() as u64, width, height };
        assert_eq!(walk(&bytes), Outcome::Whole(expected), "{name}");
        assert_eq!(walk_in(&bytes, std::iter::repeat_n(1, bytes.len())), Outcome::Whole(expected), "{name} by bytes");
        assert_eq!(complaints(&expected, &LIMITS), [], "{name}");
    }
}

#[test]
fn no_beginning_of_a_picture_is_whole_or_broken() {
    for (name, ..) in FIXTURES.iter().filter(|(name, ..)| *name != "appended.jpg") {
        let bytes = fixture(name);
        for cut in (0..bytes.len()).rev() {
            let outcome = walk(&bytes[..cut]);
            assert!(matches!(outcome, Outcome::Incomplete(_)), "{name}, {cut} bytes: {outcome:?}");
        }
    }
}

#[test]
fn a_picture_whose_tail_is_still_zeros_is_a_beginning() {
    for (name, ..) in FIXTURES.iter().filter(|(name, ..)| *name != "appended.jpg") {
        let whole = fixture(name);
        for cut in (0..whole.len()).step_by(7).chain(0..300) {
            let mut bytes = whole.clone();
            bytes[cut..].fill(0);
            let outcome = walk(&bytes);
            assert!(matches!(outcome, Outcome::Incomplete(_)), "{name}, {cut} bytes: {outcome:?}");
        }
    }
}

#[test]
fn orientations_five_to_eight_stand_on_their_side() {
    for orientation in 0..=9 {
        let expected = if (5..=8).contains(&orientation) { (480, 640) } else { (640, 480) };
        for big in [true, false] {
            let block = tiff(big, orientation);
            let files = [
                jpeg(&[exif_segment(&block), frame(640, 480)]),
                png(&[header(640, 480), chunk(b"eXIf", &block), chunk(b"IDAT", b"x")]),
                png(&[header(640, 480), chunk(b"IDAT", b"x"), chunk(b"eXIf", &block)]),
            ];
            for bytes in files {
                match walk(&bytes) {
                    Outcome::Whole(picture) => assert_eq!((picture.width, picture.height), expected, "{orientation}"),
                    other => panic!("{orientation}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn an_orientation_is_found_wherever_the_block_has_it() {
    const FAR: usize = 60_000;
    let field =
        |tag: u16, value: u16| [&tag.to_be_bytes()[..], &[0, 3, 0, 0, 0, 1], &value.to_be_bytes(), &[0; 2]].concat();
    let directory =
        [&4_u16.to_be_bytes()[..], &field(0x0100, 1), &field(0x0101, 2), &field(0x010F, 3), &field(0x0112, 6)];
    let far = u32::try_from(FAR).expect("it fits");
    let block = [b"MM\0*", &far.to_be_bytes()[..], &vec![7; FAR - 8], &directory.concat()].concat();
    for bytes in [
        jpeg(&[exif_segment(&block), frame(640, 480)]),
        png(&[header(640, 480), chunk(b"eXIf", &block), chunk(b"IDAT", b"x")]),
    ] {
        assert!(matches!(walk(&bytes), Outcome::Whole(Picture { width: 480, height: 640, .. })), "{:?}", walk(&bytes));
    }
}

#[test]
fn the_first_exif_block_counts() {
    let (first, second) = (tiff(true, 6), tiff(false, 1));
    for bytes in [
        jpeg(&[segment(0xE1, b"XMP"), exif_segment(&first), exif_segment(&second), frame(640, 480)]),
        png(&[header(640, 480), chunk(b"eXIf", &first), chunk(b"eXIf", &second), chunk(b"IDAT", b"x")]),
    ] {
        assert!(matches!(walk(&bytes), Outcome::Whole(Picture { width: 480, height: 640, .. })), "{:?}", walk(&bytes));
    }
}

#[test]
fn the_largest_png_is_whole() {
    const MOST: u32 = (1 << 31) - 1;
    let outcome = walk(&png(&[header(MOST, MOST), chunk(b"IDAT", b"x")]));
    assert!(matches!(outcome, Outcome::Whole(Picture { width: MOST, height: MOST, .. })), "{outcome:?}");
}

#[test]
fn a_broken_exif_block_turns_nothing() {
    let block = tiff(true, 6);
    let mut far = block.clone();
    far[4..8].fill(0xFF);
    let mut many = block.clone();
    many[8..10].fill(0xFF);
    many[10] = 9;
    let mut long = block.clone();
    long[13] = 4;
    for broken in [vec![], b"MM".to_vec(), block[..19].to_vec(), far, many, long, b"XX\0*".to_vec()] {
        for bytes in [
            jpeg(&[exif_segment(&broken), frame(640, 480)]),
            png(&[header(640, 480), chunk(b"eXIf", &broken), chunk(b"IDAT", b"x")]),
        ] {
            assert!(matches!(walk(&bytes), Outcome::Whole(Picture { width: 640, .. })), "{broken:?}");
        }
    }
}

#[test]
fn a_thumbnail_does_not_end_the_picture() {
    let thumbnail = jpeg(&[frame(16, 16)]);
    let bytes = jpeg(&[segment(0xE2, &thumbnail), segment(0xFE, b""), frame(640, 480)]);
    assert!(matches!(walk(&bytes), Outcome::Whole(Picture { width: 640, height: 480, .. })));
}

#[test]
fn the_size_is_that_of_the_first_frame() {
    for before in [segment(0xE1, &[1; 5]), segment(0xFE, &[1; 5])] {
        let bytes = jpeg(&[before, frame(640, 480), frame(16, 16)]);
        assert!(matches!(walk(&bytes), Outcome::Whole(Picture { width: 640, height: 480, .. })), "{:?}", walk(&bytes));
    }
}

#[test]
fn zeros_are_a_beginning_only_if_nothing_else_follows_in_any_piece() {
    let start = [&[0xFF, 0xD8][..], &frame(9, 9)].concat();
    for (behind, zeros) in [(&[0, 0, 0, 0, 0, 0][..], true), (&[0, 0, 0, 5, 0, 0], false), (&[0, 0, 0, 0, 0, 5], false)]
    {
        let bytes = [&start[..], behind].concat();
        for cut in 1..behind.len() {
            let outcome = walk_in(&bytes, [start.len() + cut, 1]);
            assert_eq!(matches!(outcome, Outcome::Incomplete(_)), zeros, "{behind:?} cut at {cut}: {outcome:?}");
        }
    }
}

#[test]
fn little_is_kept_of_what_is_no_picture() {
    let mut walk = Walk::new();
    for _ in 0..100 {
        walk.push(&[b'x'; 300]);
    }
    assert!(matches!(&walk.stage, Stage::Foreign(head) if head.len() == HEAD_BYTES_MAX), "{:?}", walk.stage);
}

#[test]
fn what_is_broken_is_named() {
    let pixels = || chunk(b"IDAT", b"pixels");
    let mut torn = png(&[header(640, 480), pixels()]);
    torn[45] ^= 1;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (jpeg(&[frame(0, 480)]), "the JPEG says that it is 0 pixels wide or high"),
        (jpeg(&[]), "the JPEG is damaged: it ends without a frame header"),
        ([&[0xFF, 0xD8][..], &frame(9, 9), &[0xFF, 0xD9]].concat(), "the JPEG is damaged: it ends without pixels"),
        (jpeg(&[vec![0xFF, 0x67]]), "the JPEG is damaged: unknown marker FF67 at byte 3"),
        (jpeg(&[frame(9, 9), b"garbage".to_vec()]), "the JPEG is damaged: byte 67 at 15 where a marker must be"),
        (jpeg(&[vec![0xFF, 0xD8]]), "the JPEG is damaged: a second start marker at byte 3, before the end marker"),
        (jpeg(&[vec![0xFF, 0xFE, 0, 1]]), "the JPEG is damaged: segment FFFE has the length 1"),
        (jpeg(&[frame(9, 9), segment(0xDA, b"")]), "the JPEG is damaged: an empty scan header"),
        (jpeg(&[segment(0xC2, b"")]), "the JPEG is damaged: an empty frame header"),
        (png(&[header(0, 480), pixels()]), "the PNG says that it is 0 pixels wide or high"),
        (png(&[header(1 << 31, 480), pixels()]), "the PNG is damaged: an impossible size of 2147483648 x 480 pixels"),
        (png(&[header(480, 1 << 31), pixels()]), "the PNG is damaged: an impossible size of 480 x 2147483648 pixels"),
        (png(&[header(640, 480)]), "the PNG is damaged: it ends without pixels"),
        (png(&[pixels()]), "the PNG is damaged: it begins with chunk IDAT instead of IHDR"),
        (png(&[chunk(b"IHDR", b"short")]), "the PNG is damaged: a header of 5 bytes instead of 13"),
        (png(&[header(640, 480), header(640, 480)]), "the PNG is damaged: a second header"),
        (png(&[header(640, 480), chunk(b"I AT", b"")]), "the PNG is damaged: byte 20 at 38 in a chunk's type"),
        (
            png(&[header(640, 480), vec![0xFF; 4], b"IDAT".to_vec()]),
            "the PNG is damaged: a chunk of an impossible length at byte 33",
        ),
        (png(&[header(640, 480), pixels(), chunk(b"IEND", b"x")]), "the PNG is damaged: its end marker is not empty"),
        (torn, "the PNG is damaged: chunk IDAT does not fit its checksum"),
    ];
    for (bytes, expected) in cases {
        let outcome = walk(&bytes);
        assert!(matches!(outcome, Outcome::Invalid(_)), "{expected}: {outcome:?}");
        assert_eq!(message(&outcome), expected);
    }
}

#[test]
fn what_the_api_does_not_take_is_called_by_its_name() {
    let cases: [(&[u8], &str); 25] = [
        ("version https://example.com/猫".as_bytes(), "a text"),
        (b"\0\0\0\x18ftypcrx ", "a camera raw picture"),
        (b"FUJIFILMCCD-RAW 0201", "a camera raw picture"),
        (b"\x1A\x45\xDF\xA3", "a video (WebM or Matroska)"),
        (b"RIFF\0\0\0\0AVI LIST", "a video (AVI)"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP picture"),
        (b"GIF89a", "a GIF picture"),
        (b"\0\0\0\x18ftypheic", "a HEIC picture, as iPhones make them"),
        (b"\0\0\0\x18ftypmif1", "a HEIC picture, as iPhones make them"),
        (b"\0\0\0\x18ftypavif", "an AVIF picture"),
        (b"\0\0\0\x18ftypisom", "a video (MP4 or QuickTime)"),
        (b"II*\0\x08\0\0\0", "a TIFF or camera raw picture"),
        (b"MM\0*\0\0\0\x08", "a TIFF or camera raw picture"),
        (b"BM\x36\0\0\0", "a BMP picture"),
        (b"\0\0\x01\0\x01\0", "an icon (ICO)"),
        (b"\xFF\x0A\xFA", "a JPEG XL picture"),
        (b"\0\0\0\x0CjP  \r\n", "a JPEG 2000 picture"),
        (b"8BPS\0\x01", "a Photoshop document (PSD)"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"<?xml version=\"1.0\"?>\n<svg xmlns=", "an SVG drawing"),
        (b"<?xml version=\"1.0\"?>\n<Error>", "an XML text"),
        (b"\n  <!DOCTYPE HTML><title>404", "a web page (HTML), perhaps an error page saved under a picture's name"),
        (b"\xEF\xBB\xBF<svg>", "an SVG drawing"),
        (b"{\"error\":1}", "a JSON text"),
    ];
    for (head, kind) in cases {
        for bytes in [head.to_vec(), [head, &[b' '; 4000]].concat()] {
            let outcome = walk(&bytes);
            assert!(matches!(outcome, Outcome::Invalid(_)), "{kind}: {outcome:?}");
            assert_eq!(message(&outcome), format!("the file is {kind}; the API takes JPEG and PNG only"));
        }
    }
    let cases: [(&[u8], &str); 2] =
        [(b"hello, \xFFworld", "68 65 6C 6C 6F 2C 20 FF"), (b"RIFF\x10\0\0\0WAVEfmt ", "52 49 46 46 10 00 00 00")];
    for (bytes, shown) in cases {
        let expected = format!("the file is neither a JPEG nor a PNG; it begins with the bytes {shown}");
        assert_eq!(message(&walk(bytes)), expected);
    }
    // The last character of what is kept may be cut.
    let text = format!("x{}", "é".repeat(HEAD_BYTES_MAX));
    assert_eq!(message(&walk(text.as_bytes())), "the file is a text; the API takes JPEG and PNG only");
}

#[test]
fn nothing_and_zeros_are_beginnings() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "the file is empty"),
        (b"\xFF", "the file stops after 1 byte"),
        (b"\xFF\xD8", "the file stops after 2 bytes"),
        (b"\x89PNG", "the file stops after 4 bytes"),
        (&[0; 3], "the file begins with nothing but zeros"),
        (&[0; 4096], "the file begins with nothing but zeros"),
    ];
    for (bytes, expected) in cases {
        let outcome = walk(bytes);
        assert!(matches!(outcome, Outcome::Incomplete(_)), "{outcome:?}");
        assert_eq!(message(&outcome), expected);
    }
}

#[test]
fn every_broken_limit_is_named_with_numbers() {
    let picture = |bytes, width, height| Picture { kind: Kind::Png, bytes, width, height };
    let cases: [(Picture, &[&str]); 6] = [
        (picture(4_700_000, 4096, 4096), &[]),
        (picture(1, 960, 320), &[]),
        (
            picture(6_100_000, 640, 480),
            &[
                "the file has 6.1 MB, the API takes 4.7 MB at most (picture.max_bytes); save it as a JPEG of lower quality, or scale it down",
            ],
        ),
        (
            picture(4_700_001, 640, 480),
            &["the file has 4700001 bytes, the API takes 4700000 bytes at most (picture.max_bytes); save it as a \
                 JPEG of lower quality, or scale it down"],
        ),
        (
            picture(9_000_000, 300, 6000),
            &[
                "the file has 9.0 MB, the API takes 4.7 MB at most (picture.max_bytes); save it as a JPEG of lower quality, or scale it down",
                "the picture is 300 x 6000 pixels, so its longer side is 20.0 times the shorter one, the API takes 3 \
                 times at most (picture.max_ratio); crop it to 300 x 900 at most",
                "the picture is 300 x 6000 pixels, the API takes 4096 on the longer side at most (picture.max_side); crop it; then it fits",
                "the picture is 300 x 6000 pixels, the API wants 320 on the shorter side at least (picture.min_short_side); take a larger \
                 picture, or scale this one up once it is cropped",
            ],
        ),
        (
            picture(1, 1201, 400),
            &[
                "the picture is 1201 x 400 pixels, so its longer side is 3.002 times the shorter one, the API takes 3 times \
               at most (picture.max_ratio); crop it to 1200 x 400 at most",
            ],
        ),
    ];
    for (picture, expected) in cases {
        let found: Vec<String> = complaints(&picture, &LIMITS).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{picture:?}");
    }
    let sizes = [
        (4_700_000, 4_749_999, "4749999 bytes, the API takes 4700000 bytes"),
        (4_700_000, 4_750_001, "4.8 MB, the API takes 4.7 MB"),
        (100_000, 900_000, "0.9 MB, the API takes 0.1 MB"),
        (99_999, 900_000, "900000 bytes, the API takes 99999 bytes"),
    ];
    for (most, has, shown) in sizes {
        let found = complaints(&picture(has, 640, 480), &Limits { bytes_max: Some(most), ..LIMITS });
        assert!(found[0].message.starts_with(&format!("the file has {shown} at most")), "{}", found[0]);
    }
    let longer = [
        (picture(1, 20_000, 2_000), "crop its longer side, then scale it down"),
        (picture(1, 4097, 320), "crop it; then it fits"),
    ];
    for (picture, proposal) in longer {
        let side = complaints(&picture, &LIMITS).into_iter().find(|problem| problem.message.contains("max_side"));
        assert_eq!(side.and_then(|problem| problem.proposal).as_deref(), Some(proposal), "{picture:?}");
    }
    let flat = Limits { ratio_max: None, ..LIMITS };
    assert_eq!(
        complaints(&picture(1, 4500, 320), &flat)[0].proposal.as_deref(),
        Some("crop its longer side, then scale it down")
    );
    let unlimited = Limits { bytes_max: None, side_max: None, short_side_min: None, ratio_max: None };
    assert_eq!(complaints(&picture(u64::MAX, u32::MAX, 1), &unlimited), []);
}

proptest! {
    #[test]
    fn a_picture_of_the_size_that_is_proposed_is_taken(width in 1_u32..20_000, height in 1_u32..20_000) {
        let picture = |width, height| Picture { kind: Kind::Png, bytes: 1, width, height };
        for found in complaints(&picture(width, height), &LIMITS) {
            let sizes = found.proposal.as_deref().and_then(|proposal| proposal.rsplit_once(" to "));
            let Some((how, size)) = sizes else { continue };
            let (width, height) = size.trim_end_matches(" at most").split_once(" x ").expect("two sides");
            let left = complaints(&picture(width.parse().expect("a side"), height.parse().expect("a side")), &LIMITS);
            // A crop is about the shape alone.
            let is_mended = |problem: &Problem| how == "crop it" && !problem.message.contains("max_ratio");
            prop_assert!(left.iter().all(is_mended), "{found}: {left:?}");
        }
    }

    #[test]
    fn the_cuts_between_pieces_do_not_matter(
        which in 0..FIXTURES.len(),
        sizes in prop::collection::vec(0_usize..700, 1..40),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = fixture(FIXTURES[which].0);
        for (at, to) in flips {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        prop_assert_eq!(walk_in(&bytes, sizes), walk(&bytes));
    }

    #[test]
    fn arbitrary_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..900), kind in 0..3) {
        let signature: &[u8] = match kind {
            0 => b"",
            1 => &jpeg::SIGNATURE,
            _ => &png::SIGNATURE,
        };
        let _judged = walk(&[signature, &bytes].concat());
    }

    #[test]
    fn arbitrary_exif_blocks_are_read_without_a_panic(block in prop::collection::vec(any::<u8>(), 0..200), big: bool) {
        let order: &[u8] = if big { b"MM\0*\0\0\0" } else { b"II*\0" };
        prop_assert!((1..=8).contains(&exif::orientation(&[order, &block].concat())));
    }
}
