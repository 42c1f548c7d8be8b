//! A backlog: very many pairs of tiny pictures in nested folders.

use std::fs;
use std::path::Path;

use anyhow::Result;

/// Folders in the inbox, and in each of them again.
pub const FOLDERS: usize = 10;

/// A side of the picture: the shortest that is taken.
const SIDE: u32 = 320;

/// Bytes of one row: its filter, and a bit for each pixel.
const ROW_BYTES: u32 = 1 + SIDE / 8;

/// The longest repetition that deflate knows.
const REPEAT_MAX: u32 = 258;

/// Lays `pairs` pairs down in folders below `top`, which is made.
pub fn lay(top: &Path, pairs: usize) -> Result<()> {
    let picture = picture();
    let each = pairs / (FOLDERS * FOLDERS);
    for outer in 0..FOLDERS {
        for inner in 0..FOLDERS {
            let folder = top.join(format!("shelf-{outer}")).join(format!("box-{inner}"));
            fs::create_dir_all(&folder)?;
            for number in 0..each {
                let name = format!("pair-{outer}{inner}-{number:04}");
                fs::write(folder.join(&name).with_extension("png"), &picture)?;
                let sidecar = format!("prompt: A walk along the shore, take {name}\nseed: 7\n");
                fs::write(folder.join(&name).with_extension("yaml"), sidecar)?;
            }
        }
    }
    Ok(())
}

/// A black PNG of a few hundred bytes.
fn picture() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [SIDE.to_be_bytes(), SIDE.to_be_bytes()].concat();
    header.extend([1, 0, 0, 0, 0]);
    for (kind, data) in [(b"IHDR", header), (b"IDAT", zeros(SIDE * ROW_BYTES)), (b"IEND", Vec::new())] {
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(kind);
        file.extend(&data);
        file.extend(checksum(&[&kind[..], &data].concat()).to_be_bytes());
    }
    file
}

/// So many zeros as a zlib stream of one block with the fixed codes (RFC 1951, section 3.2.6).
fn zeros(count: u32) -> Vec<u8> {
    let mut bits = vec![true, true, false];
    // From the highest bit on, as codes are packed.
    let mut code = |value: u32, width: u32| bits.extend((0..width).rev().map(|bit| value >> bit & 1 == 1));
    let (repeats, literals) = ((count - 1) / REPEAT_MAX, (count - 1) % REPEAT_MAX + 1);
    for _ in 0..literals {
        code(0b0011_0000, 8);
    }
    for _ in 0..repeats {
        // The longest length, no extra bits, one back.
        code(0b1100_0101, 8);
        code(0, 5);
    }
    code(0, 7);
    let mut stream = vec![0x78, 0x01];
    stream.extend(bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))));
    // Adler-32 of zeros.
    stream.extend((((count % 65_521) << 16) | 1).to_be_bytes());
    stream
}

/// CRC-32 as PNG has it.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |register, byte| {
        (0..8).fold(register ^ u32::from(*byte), |register, _| {
            register >> 1 ^ if register & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}
