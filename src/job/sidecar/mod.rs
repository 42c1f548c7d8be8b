//! Reads the sidecar: YAML text in, a [`Sidecar`] or every complaint at once out.

use super::{AspectRatio, Problem};

/// Bytes that a sidecar may have at most.
pub const BYTES_MAX: usize = 64 * 1024;

/// What a sidecar asks for, before the picture is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sidecar {
    /// 1 to 150 Unicode code points.
    pub prompt: String,
    /// The shape of the video.
    pub aspect_ratio: WantedRatio,
    /// The seed.
    pub seed: WantedSeed,
    /// The address of the picture, for a pair without a picture file. http or https.
    pub image_url: Option<String>,
    /// Higher goes first.
    pub priority: i64,
}

/// The sidecar's `aspect_ratio`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WantedRatio {
    /// One of the seven.
    Fixed(AspectRatio),
    /// The one nearest to the picture as it is shown.
    Auto,
}

/// The sidecar's `seed`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WantedSeed {
    /// Absent: the daemon draws one.
    Drawn,
    /// `-1`: the API's own choice.
    Api,
    /// 0 to 4294967295.
    Fixed(u32),
}

/// Reads a sidecar's bytes. `has_picture` tells whether a picture file belongs to it, which decides about `image_urls`.
///
/// # Errors
/// Every complaint at once, ordered by line; `file` is left to the caller.
pub fn read(_bytes: &[u8], _has_picture: bool) -> Result<Sidecar, Vec<Problem>> {
    Err(Vec::new())
}
