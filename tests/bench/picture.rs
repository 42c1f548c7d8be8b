//! Pictures of an exact size: PNG, grey noise in stored blocks, every checksum right.

/// Bytes of one stored block at most.
const STORED_MAX: usize = 65_535;

/// The shortest side that the daemon takes.
const SIDE_MIN: usize = 320;

/// The longest.
const SIDE_MAX: usize = 4096;

/// The chunk that fills up: its frame, its key and the zero byte after it.
const COMMENT: &[u8] = b"Comment\0";

/// A square picture of `bytes` bytes, from 14 kB to 16 MB; another one for another seed.
///
/// # Panics
/// No such picture has that size.
pub fn png(bytes: usize, seed: u64) -> Vec<u8> {
    let mut chance = fastrand::Rng::with_seed(seed);
    // One bit a pixel where eight are too many for the shortest side.
    let shapes = [8, 1].into_iter().flat_map(|depth| (SIDE_MIN..=SIDE_MAX).rev().map(move |side| (depth, side)));
    let (depth, side) = shapes
        .into_iter()
        .find(|&(depth, side)| framed(rows(depth, side)) <= bytes)
        .expect("the sizes that benchmarks ask for are in the range");
    let mut raw = vec![0; rows(depth, side)];
    chance.fill(&mut raw);
    // Each row begins with its filter: none.
    raw.chunks_mut(rows(depth, side) / side).for_each(|row| row[0] = 0);

    let mut header = Vec::new();
    for length in [side, side] {
        header.extend_from_slice(&(length as u32).to_be_bytes());
    }
    header.extend_from_slice(&[depth as u8, 0, 0, 0, 0]);
    let mut comment = COMMENT.to_vec();
    comment.resize(COMMENT.len() + bytes - framed(raw.len()), b' ');

    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", header), (b"tEXt", comment), (b"IDAT", stored(&raw)), (b"IEND", Vec::new())] {
        file.extend_from_slice(&(data.len() as u32).to_be_bytes());
        let start = file.len();
        file.extend_from_slice(kind);
        file.extend_from_slice(&data);
        let sum = crc32(&file[start..]);
        file.extend_from_slice(&sum.to_be_bytes());
    }
    assert_eq!(file.len(), bytes);
    file
}

/// Bytes of the rows, filters included.
fn rows(depth: usize, side: usize) -> usize {
    side * (1 + (side * depth).div_ceil(8))
}

/// Bytes of the file around so many bytes of rows, with an empty comment.
fn framed(raw: usize) -> usize {
    let stored = raw + 5 * raw.div_ceil(STORED_MAX) + 6;
    8 + 4 * 12 + 13 + COMMENT.len() + stored
}

/// A zlib stream that compresses nothing.
fn stored(raw: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = raw.chunks(STORED_MAX).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(&(!length).to_le_bytes());
        stream.extend_from_slice(block);
    }
    let (a, b) = raw.iter().fold((1_u32, 0_u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    stream.extend_from_slice(&(b << 16 | a).to_be_bytes());
    stream
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg()))
    })
}
