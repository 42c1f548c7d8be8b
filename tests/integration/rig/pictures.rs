//! Small, whole and unique pictures: each call gives other bytes, so that a file can be followed by its hash alone.

use std::sync::atomic::{AtomicU64, Ordering};

/// A real JPEG of 480 by 360 pixels whose EXIF says how it is turned.
const JPEG: &[u8] = include_bytes!("../../fixtures/pictures/baseline.jpg");

/// The tag, type and count of EXIF's orientation, big-endian, and the two bytes before its value.
const ORIENTATION: [u8; 9] = [0x01, 0x12, 0x00, 0x03, 0x00, 0x00, 0x00, 0x01, 0x00];

/// Bytes that one stored block of deflate holds at most.
const STORED_MAX: usize = 65_535;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A PNG of 400 by 320 pixels, about 17 KB.
pub fn png() -> Vec<u8> {
    png_of(400, 320)
}

/// A PNG of that size in black and white, its pixels stored and not compressed.
pub fn png_of(width: u32, height: u32) -> Vec<u8> {
    let row = (width as usize).div_ceil(8);
    // White, so that what is cut out of it does not end in zeros; each row begins with its filter, none.
    let mut pixels = vec![0xFF; (row + 1) * height as usize];
    pixels.iter_mut().step_by(row + 1).for_each(|filter| *filter = 0);
    // As much of the number as the first pixels have room for, its low bytes first.
    let number = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    pixels[1..].iter_mut().zip(number).for_each(|(pixel, byte)| *pixel = byte);

    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([1, 0, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"IDAT", &stored(&pixels));
    chunk(&mut file, b"IEND", &[]);
    file
}

/// A JPEG of 480 by 360 pixels that is to be shown turned as EXIF's `orientation` says, 1 to 8.
pub fn jpeg(orientation: u8) -> Vec<u8> {
    let mut file = JPEG.to_vec();
    turn(&mut file, orientation);
    // A comment right behind the start marker.
    let comment = format!("picture {}", NEXT.fetch_add(1, Ordering::Relaxed));
    let length = u16::try_from(comment.len() + 2).expect("a comment is short");
    let mut segment = vec![0xFF, 0xFE];
    segment.extend(length.to_be_bytes());
    segment.extend(comment.as_bytes());
    file.splice(2..2, segment);
    file
}

/// Has the EXIF block of a JPEG, big-endian, say how it is turned.
pub fn turn(file: &mut [u8], orientation: u8) {
    let at = file.windows(ORIENTATION.len()).position(|found| found == ORIENTATION).expect("the fixture has EXIF");
    file[at + ORIENTATION.len()] = orientation;
}

/// Adds a chunk of a PNG.
pub fn chunk(file: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    file.extend(u32::try_from(data.len()).expect("a chunk is small").to_be_bytes());
    let start = file.len();
    file.extend(name);
    file.extend(data);
    let sum = crc(&file[start..]);
    file.extend(sum.to_be_bytes());
}

/// A zlib stream of stored blocks.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let blocks = data.chunks(STORED_MAX).count();
    for (index, block) in data.chunks(STORED_MAX).enumerate() {
        let length = u16::try_from(block.len()).expect("blocks are cut to fit");
        stream.push(u8::from(index + 1 == blocks));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

/// The checksum of a PNG's chunk.
pub fn crc(data: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in data {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
        }
    }
    !sum
}
