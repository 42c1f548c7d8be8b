//! Finds the one field of an EXIF block that matters here: which way up the picture is shown.

/// The tag of the orientation (EXIF 2.32, section 4.6.4).
const ORIENTATION: u16 = 0x0112;
/// The field type SHORT: two bytes.
const SHORT: u16 = 3;
/// Bytes of one field of a directory.
const FIELD_BYTES: usize = 12;

/// The orientation, 1 to 8, in a TIFF block of either byte order; 1 if there is none or the block is broken.
pub(super) fn orientation(block: &[u8]) -> u8 {
    // Some writers of PNG keep the prefix that only JPEG wants.
    let tiff = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    find(tiff).unwrap_or(1)
}

fn find(tiff: &[u8]) -> Option<u8> {
    let order = match tiff.get(..4)? {
        b"II*\0" => Order::Little,
        b"MM\0*" => Order::Big,
        _ => return None,
    };
    let directory = usize::try_from(order.u32(tiff, 4)?).ok()?;
    let count = usize::from(order.u16(tiff, directory)?);
    (0..count)
        .map_while(|i| directory.checked_add(2 + i * FIELD_BYTES))
        .find(|&field| order.u16(tiff, field) == Some(ORIENTATION))
        .filter(|&field| order.u16(tiff, field + 2) == Some(SHORT))
        .and_then(|field| order.u16(tiff, field + 8))
        .and_then(|value| u8::try_from(value).ok())
        .filter(|value| (1..=8).contains(value))
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let two = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(*two),
            Self::Big => u16::from_be_bytes(*two),
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let four = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(*four),
            Self::Big => u32::from_be_bytes(*four),
        })
    }
}
