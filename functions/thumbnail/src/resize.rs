//! From a picture's file to the file of a smaller one.

use std::io::Cursor;

use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::codecs::png::{PngDecoder, PngEncoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, Limits};
use micro_sdk::types::Error;

use crate::request::Frame;

/// Greatest number of pixels of a picture: a 24-megapixel camera's. A few kilobytes can claim to be
/// more than memory holds, so this is checked before anything is unpacked.
const MAX_PIXELS: u64 = 24_000_000;

/// Greatest size of an unpacked picture, in bytes: leaves the decoder room for as much again below
/// the 256 MiB that the manifest grants.
const MAX_UNPACKED: u64 = 96 << 20;

/// Makes the picture fit into `frame`, in its own format.
pub fn resize(file: &[u8], frame: Frame, jpeg_quality: u8) -> Result<Vec<u8>, Error> {
    if file.is_empty() {
        return Err(Error::bad_request("the image is empty: send a PNG or JPEG file as the body"));
    }
    let small = match image::guess_format(file) {
        Ok(ImageFormat::Png) => {
            let limits = unpacked_limits();
            let small = shrink(PngDecoder::with_limits(Cursor::new(file), limits).map_err(unreadable)?, frame)?;
            let mut small_file = Vec::new();
            small.write_with_encoder(PngEncoder::new(&mut small_file)).map(|()| small_file)
        }
        Ok(ImageFormat::Jpeg) => {
            let small = shrink(JpegDecoder::new(Cursor::new(file)).map_err(unreadable)?, frame)?;
            let mut small_file = Vec::new();
            small.write_with_encoder(JpegEncoder::new_with_quality(&mut small_file, jpeg_quality)).map(|()| small_file)
        }
        _ => return Err(Error::bad_request("the image is neither a PNG nor a JPEG")),
    };
    small.map_err(|error| Error::internal(format!("the small picture cannot be written: {error}")))
}

/// Unpacks a picture, makes it fit and turns it upright.
fn shrink(mut decoder: impl ImageDecoder, frame: Frame) -> Result<DynamicImage, Error> {
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS || decoder.total_bytes() > MAX_UNPACKED {
        return Err(Error::bad_request(format!(
            "the image is too large: {width} × {height} pixels, {} bytes unpacked; at most {MAX_PIXELS} pixels and {MAX_UNPACKED} bytes",
            decoder.total_bytes()
        )));
    }
    decoder.set_limits(unpacked_limits()).map_err(unreadable)?;
    // A picture whose EXIF data is broken is still a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let large = DynamicImage::from_decoder(decoder).map_err(unreadable)?;

    // Turned after shrinking, when there is little left to turn.
    let frame = if is_quarter_turn(orientation) { frame.turned() } else { frame };
    let (small_width, small_height) = frame.fit(width, height);
    let mut small = if (small_width, small_height) == (width, height) {
        large
    } else {
        // By averaging areas: the better filters keep a copy in floats, which for the largest pictures
        // is more than the memory granted.
        large.thumbnail_exact(small_width, small_height)
    };
    small.apply_orientation(orientation);
    Ok(small)
}

fn unpacked_limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_UNPACKED);
    limits
}

fn is_quarter_turn(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    )
}

fn unreadable(error: ImageError) -> Error {
    Error::bad_request(format!("the image cannot be read: {error}"))
}
