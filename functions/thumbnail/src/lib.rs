//! Makes small pictures of large ones.

mod request;
mod resize;

use micro_sdk::types::Error;

micro_sdk::wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "demo:thumbnail/thumbnail",
    runtime_path: "micro_sdk::wit_bindgen::rt",
    with: { "micro:function/types@0.1.0": micro_sdk::types },
});

struct Thumbnail;

impl exports::demo::thumbnail::image::Guest for Thumbnail {
    fn resize(image: Vec<u8>, width: Option<u32>, height: Option<u32>, quality: Option<u8>) -> Result<Vec<u8>, Error> {
        let frame = request::Frame::new(width, height)?;
        let quality = request::jpeg_quality(quality)?;
        resize::resize(&image, frame, quality)
    }
}

export!(Thumbnail);

#[cfg(test)]
mod tests;
