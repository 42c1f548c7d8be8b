//! Pictures for the demo, made on the spot: waves of colour as PNG.
//!
//! Palette images in stored deflate blocks: no compressor is needed, and any viewer opens them.

/// Bytes of one stored deflate block at most (RFC 1951, 3.2.4).
const BLOCK_BYTES: usize = 65_535;

/// A PNG of `width` x `height` pixels whose colours depend on `hue`, 0 to 255.
pub fn png(width: u32, height: u32, hue: u8) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    // 8 bits, palette, deflate, no filter method but the standard one, not interlaced.
    header.extend_from_slice(&[8, 3, 0, 0, 0]);
    chunk(&mut file, b"IHDR", &header);
    let palette: Vec<u8> = (0..=255).flat_map(|index| colour(hue, index)).collect();
    chunk(&mut file, b"PLTE", &palette);
    chunk(&mut file, b"IDAT", &zlib(&rows(width, height)));
    chunk(&mut file, b"IEND", b"");
    file
}

fn rows(width: u32, height: u32) -> Vec<u8> {
    let mut rows = Vec::new();
    for y in 0..height {
        // Filter type 0: none.
        rows.push(0);
        for x in 0..width {
            let (u, v) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
            let wave = ((u * 7.0).sin() + (v * 5.0).cos() + ((u + v) * 9.0).sin()) / 6.0 + 0.5;
            // Cut on purpose: a value from 0 to 255.
            rows.push((wave.clamp(0.0, 1.0) * 255.0) as u8);
        }
    }
    rows
}

/// One of 256 colours from dark to bright around a hue.
fn colour(hue: u8, index: u8) -> [u8; 3] {
    let turn = f64::from(hue) / 256.0 + f64::from(index) / 1024.0;
    let light = 0.35 + 0.65 * f64::from(index) / 255.0;
    let channel = |shift: f64| {
        let wave = ((turn + shift) * std::f64::consts::TAU).cos() / 2.0 + 0.5;
        (wave * light * 255.0) as u8
    };
    [channel(0.0), channel(1.0 / 3.0), channel(2.0 / 3.0)]
}

fn zlib(data: &[u8]) -> Vec<u8> {
    // Deflate with a window of 32 KiB, no dictionary; the two bytes are a multiple of 31.
    let mut stream = vec![0x78, 0x01];
    let mut blocks = data.chunks(BLOCK_BYTES).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("a block is cut to fit 16 bits");
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(&(!length).to_le_bytes());
        stream.extend_from_slice(block);
    }
    stream.extend_from_slice(&adler32(data).to_be_bytes());
    stream
}

fn adler32(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    (b << 16) | a
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    let length = u32::try_from(data.len()).expect("the demo's pictures are small");
    file.extend_from_slice(&length.to_be_bytes());
    file.extend_from_slice(kind);
    file.extend_from_slice(data);
    file.extend_from_slice(&crc32(kind, data).to_be_bytes());
}

fn crc32(kind: &[u8], data: &[u8]) -> u32 {
    !kind.iter().chain(data).fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::picture::{Outcome, Walk};

    #[test]
    fn the_demo_s_pictures_are_whole() {
        for (width, height) in [(320, 747), (569, 320), (640, 640)] {
            let mut walk = Walk::new();
            walk.push(&png(width, height, 40));
            let Outcome::Whole(picture) = walk.finish() else { panic!("{width} x {height} is not whole") };
            assert_eq!((picture.width, picture.height), (width, height));
        }
    }
}
