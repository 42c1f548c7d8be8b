//! Checks an mp4 by its boxes, so that half a file or an error page is never taken for a video.

/// What is known of a whole mp4.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Video {
    /// Pixels, of the first video track as it is shown; `None` if the file does not say.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Length in seconds; `None` if unknown (fragmented files).
    pub seconds: Option<f64>,
}

/// A walk over an mp4's bytes in pieces of any size; holds the `moov` box at most, up to a limit.
#[derive(Debug, Default)]
pub struct Walk {}

impl Walk {
    /// Starts before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, _bytes: &[u8]) {}

    /// What it was, at the end of the file.
    ///
    /// # Errors
    /// What is missing or wrong, as a lowercase fragment.
    pub fn finish(self) -> Result<Video, String> {
        Err("not read".to_owned())
    }
}
