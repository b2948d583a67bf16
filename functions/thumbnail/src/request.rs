//! What the caller asks for, checked.

use micro_sdk::types::Error;

/// Greatest width or height of a small picture, in pixels: with it, the large picture, the small one
/// and its file fit into the memory that the manifest grants.
const MAX_SIDE: u32 = 2048;

/// Width and height in pixels where the caller names neither.
const DEFAULT_SIDE: u32 = 256;

/// JPEG quality where the caller names none, in percent: hardly to be told from the original.
const DEFAULT_QUALITY: u8 = 80;

/// What the small picture has to fit into, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    pub width: u32,
    pub height: u32,
}

impl Frame {
    /// Checks the sides that the caller named; one that it left out may be as great as any.
    pub fn new(width: Option<u32>, height: Option<u32>) -> Result<Self, Error> {
        if width.is_none() && height.is_none() {
            return Ok(Self { width: DEFAULT_SIDE, height: DEFAULT_SIDE });
        }
        Ok(Self { width: side("width", width)?, height: side("height", height)? })
    }

    /// The frame for a picture that is turned by a quarter afterwards.
    pub fn turned(self) -> Self {
        Self { width: self.height, height: self.width }
    }

    /// Width and height of a picture of this size once it fits: in proportion, never larger.
    pub fn fit(self, width: u32, height: u32) -> (u32, u32) {
        let shrink =
            (f64::from(self.width) / f64::from(width)).min(f64::from(self.height) / f64::from(height)).min(1.0);
        let scaled = |side: u32| ((f64::from(side) * shrink).round() as u32).max(1);
        (scaled(width), scaled(height))
    }
}

/// The JPEG quality in percent.
pub fn jpeg_quality(quality: Option<u8>) -> Result<u8, Error> {
    match quality.unwrap_or(DEFAULT_QUALITY) {
        good @ 1..=100 => Ok(good),
        bad => Err(Error::bad_request(format!("quality {bad}: must be from 1 to 100"))),
    }
}

fn side(name: &str, pixels: Option<u32>) -> Result<u32, Error> {
    match pixels {
        None => Ok(MAX_SIDE),
        Some(pixels @ 1..=MAX_SIDE) => Ok(pixels),
        Some(bad) => Err(Error::bad_request(format!("{name} {bad}: must be from 1 to {MAX_SIDE} pixels"))),
    }
}
