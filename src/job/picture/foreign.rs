//! Names what is no JPEG or PNG, so that people know what to do about it.

use super::{Outcome, incomplete, jpeg, png, problem};

/// Leading zeros that are taken for room reserved by a copying program; as long as the longest signature we look for.
const ZERO_HEAD_BYTES: usize = 8;

/// Judges a file that is too short to be, or is not, one of the two kinds, by its first bytes.
pub(super) fn judge(head: &[u8]) -> Outcome {
    if head.is_empty() {
        return incomplete("the file is empty".to_owned());
    }
    let filled = &head[..head.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1)];
    if !filled.is_empty() && (jpeg::SIGNATURE.starts_with(filled) || png::SIGNATURE.starts_with(filled)) {
        return incomplete(match filled.len() {
            1 => "the file stops after 1 byte".to_owned(),
            bytes => format!("the file stops after {bytes} bytes"),
        });
    }
    if head.iter().take(ZERO_HEAD_BYTES).all(|&b| b == 0) {
        return incomplete("the file begins with nothing but zeros".to_owned());
    }
    if head.starts_with(&png::SIGNATURE[..4]) {
        return Outcome::Invalid(problem(
            "the PNG is damaged: its first bytes were changed, as by a transfer in text mode".to_owned(),
            "copy the picture again, in binary mode",
        ));
    }
    Outcome::Invalid(match seems(head) {
        Some((kind, advice)) => problem(format!("the file is {kind}; the API takes JPEG and PNG only"), advice),
        None => problem(
            format!("the file is neither a JPEG nor a PNG; it begins with the bytes {}", hexadecimal(head)),
            REPLACE,
        ),
    })
}

const EXPORT: &str = "export it as JPEG or PNG (changing the extension is not enough)";
const IPHONE: &str = "export it as JPEG, or have the iPhone make JPEG: Settings, Camera, Formats, Most Compatible";
const STILL: &str = "save a still picture from it as JPEG or PNG";
const REPLACE: &str = "put a JPEG or PNG picture in its place";

/// What a file that begins like this seems to be, and what to do about it.
fn seems(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let brand = |names: &[&[u8; 4]]| at(4, b"ftyp") && names.iter().any(|name| at(8, name.as_slice()));
    let text = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let kind = if at(0, b"RIFF") && at(8, b"WEBP") {
        ("a WebP picture", EXPORT)
    } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
        ("a GIF picture", EXPORT)
    } else if brand(&[b"avif", b"avis"]) {
        ("an AVIF picture", EXPORT)
    } else if brand(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) {
        ("a HEIC picture, as iPhones make them", IPHONE)
    } else if brand(&[b"crx "]) || RAW.iter().any(|magic| at(0, magic)) {
        ("a camera raw picture", EXPORT)
    } else if at(0, b"RIFF") && at(8, b"AVI ") {
        ("a video (AVI)", STILL)
    } else if at(0, &[0x1A, 0x45, 0xDF, 0xA3]) {
        ("a video (WebM or Matroska)", STILL)
    } else if [b"ftyp", b"moov", b"mdat", b"wide"].iter().any(|name| at(4, name.as_slice())) {
        ("a video (MP4 or QuickTime)", STILL)
    } else if at(0, b"II*\0") || at(0, b"MM\0*") {
        ("a TIFF or camera raw picture", EXPORT)
    } else if at(0, b"BM") {
        ("a BMP picture", EXPORT)
    } else if at(0, &[0, 0, 1, 0]) {
        ("an icon (ICO)", EXPORT)
    } else if at(0, b"\0\0\0\x0CJXL ") || at(0, &[0xFF, 0x0A]) {
        ("a JPEG XL picture", EXPORT)
    } else if at(0, b"\0\0\0\x0CjP  ") || at(0, &[0xFF, 0x4F, 0xFF, 0x51]) {
        ("a JPEG 2000 picture", EXPORT)
    } else if at(0, b"8BPS") {
        ("a Photoshop document (PSD)", EXPORT)
    } else if at(0, b"%PDF-") {
        ("a PDF document", EXPORT)
    } else if at(0, b"PK\x03\x04") {
        ("a ZIP archive", REPLACE)
    } else if text.starts_with("<svg") || (text.starts_with("<?xml") && text.contains("<svg")) {
        ("an SVG drawing", EXPORT)
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
        ("a web page (HTML), perhaps an error page saved under a picture's name", REPLACE)
    } else if text.starts_with("<?xml") {
        ("an XML text", REPLACE)
    } else if text.starts_with('{') {
        ("a JSON text", REPLACE)
    } else if is_text(head) {
        ("a text", REPLACE)
    } else {
        return None;
    };
    Some(kind)
}

/// What the raw pictures begin with that are no TIFF: Fujifilm, Olympus (two), Panasonic, Sigma.
const RAW: [&[u8]; 5] = [b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\0", b"FOVb"];

/// Whether it is UTF-8 that can be read, but perhaps for a character that the end of the head has cut.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace())
}

fn hexadecimal(head: &[u8]) -> String {
    let bytes: Vec<String> = head.iter().take(ZERO_HEAD_BYTES).map(|b| format!("{b:02X}")).collect();
    bytes.join(" ")
}
