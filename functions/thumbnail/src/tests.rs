use image::{DynamicImage, GenericImageView, ImageFormat, Rgb, RgbImage};
use std::io::Cursor;

use super::{Error, Thumbnail};
use crate::exports::demo::thumbnail::image::Guest;

/// A picture whose left half is red and right half blue.
fn picture(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) }).into()
}

fn file(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// The file with an EXIF segment that says how the camera was held.
fn held(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = vec![0xff, 0xe1, 0, 34];
    exif.extend(b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0");
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    [&jpeg[..2], &exif, &jpeg[2..]].concat()
}

fn resize(file: Vec<u8>, width: Option<u32>, height: Option<u32>) -> DynamicImage {
    image::load_from_memory(&Thumbnail::resize(file, width, height, None).unwrap()).unwrap()
}

fn refusal(file: Vec<u8>, width: Option<u32>, height: Option<u32>, quality: Option<u8>) -> String {
    let Error { code, detail, .. } = Thumbnail::resize(file, width, height, quality).unwrap_err();
    assert_eq!(code, 400);
    detail
}

#[test]
fn fits_into_the_frame_and_keeps_proportions() {
    let png = file(&picture(400, 200), ImageFormat::Png);
    assert_eq!(resize(png.clone(), Some(100), None).dimensions(), (100, 50));
    assert_eq!(resize(png.clone(), None, Some(100)).dimensions(), (200, 100));
    assert_eq!(resize(png.clone(), Some(100), Some(10)).dimensions(), (20, 10));
    assert_eq!(resize(png, None, None).dimensions(), (256, 128));
}

#[test]
fn never_grows() {
    let png = file(&picture(40, 20), ImageFormat::Png);
    assert_eq!(resize(png, Some(100), Some(100)).dimensions(), (40, 20));
}

#[test]
fn a_line_stays_a_pixel_wide() {
    let png = file(&picture(1000, 1), ImageFormat::Png);
    assert_eq!(resize(png, Some(10), None).dimensions(), (10, 1));
}

#[test]
fn gives_back_the_format_it_got() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let small = Thumbnail::resize(file(&picture(64, 64), format), Some(8), None, None).unwrap();
        assert_eq!(image::guess_format(&small).unwrap(), format);
    }
}

#[test]
fn lower_quality_is_a_smaller_file() {
    let jpeg = file(&picture(512, 512), ImageFormat::Jpeg);
    let low = Thumbnail::resize(jpeg.clone(), Some(200), None, Some(10)).unwrap();
    let high = Thumbnail::resize(jpeg, Some(200), None, Some(100)).unwrap();
    assert!(low.len() < high.len());
}

#[test]
fn a_picture_from_a_turned_camera_comes_upright() {
    let jpeg = file(&picture(400, 200), ImageFormat::Jpeg);
    let upright = resize(held(&jpeg, 6), Some(100), None);
    assert_eq!(upright.dimensions(), (100, 200));
    // A quarter turn to the right brings the red left half to the top.
    assert!(upright.get_pixel(50, 20)[0] > 200);
    assert!(upright.get_pixel(50, 180)[2] > 200);
}

#[test]
fn silly_sizes_are_refused_by_name() {
    let png = file(&picture(4, 4), ImageFormat::Png);
    assert_eq!(refusal(png.clone(), Some(0), None, None), "width 0: must be from 1 to 2048 pixels");
    assert_eq!(refusal(png.clone(), None, Some(9000), None), "height 9000: must be from 1 to 2048 pixels");
    assert_eq!(refusal(png.clone(), None, None, Some(0)), "quality 0: must be from 1 to 100");
    assert_eq!(refusal(png, None, None, Some(101)), "quality 101: must be from 1 to 100");
}

#[test]
fn what_is_no_picture_is_refused() {
    let neither = "the image is neither a PNG nor a JPEG";
    assert_eq!(refusal(b"GIF89a".to_vec(), None, None, None), neither);
    assert_eq!(refusal(b"hello".to_vec(), None, None, None), neither);
    assert!(refusal(Vec::new(), None, None, None).starts_with("the image is empty"));
}

#[test]
fn a_file_cut_off_anywhere_is_refused_or_read_but_never_a_trap() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let whole = file(&picture(32, 32), format);
        for length in 0..whole.len() {
            if let Err(error) = Thumbnail::resize(whole[..length].to_vec(), None, None, None) {
                assert_eq!(error.code, 400, "{format:?} cut at {length}: {}", error.detail);
            }
        }
    }
}

#[test]
fn a_decompression_bomb_is_refused_unopened() {
    // The header of a PNG that claims 50,000 × 50,000 pixels, and nothing else of it.
    let mut bomb = file(&picture(1, 1), ImageFormat::Png);
    bomb[16..24].copy_from_slice(&[0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50]);
    let checksum = crc32(&bomb[12..29]).to_be_bytes();
    bomb[29..33].copy_from_slice(&checksum);
    let detail = refusal(bomb, None, None, None);
    assert!(detail.starts_with("the image is too large: 50000 × 50000"), "{detail}");
}

/// The checksum of a PNG chunk.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
