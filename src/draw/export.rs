//! SVG to PNG, with the embedded font only: system fonts have no say.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{IntSize, Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::error::DrawError;
use super::text::{FAMILY, Weight};

/// Longest side of a picture, px: beyond it a figure is a mistake in the scale, not a figure.
const LONGEST: f64 = 20_000.0;

/// Renders an SVG on white at `scale` pixels to the px; 2 suits screens of high density.
///
/// # Errors
/// If the SVG cannot be parsed, or the picture would be empty or longer than 20000 px.
pub fn svg_to_png(svg: &str, scale: f32) -> Result<Vec<u8>, DrawError> {
    png(&parse(svg)?, scale, &mut Pixels::default())
}

/// Room for a picture, kept from one to the next: fresh memory for each is a third of the pages that a short run
/// touches.
#[derive(Debug, Default)]
pub struct Pixels(Vec<u8>);

pub(super) fn png(tree: &Tree, scale: f32, pixels: &mut Pixels) -> Result<Vec<u8>, DrawError> {
    let (width, height) = (f64::from(tree.size().width()), f64::from(tree.size().height()));
    let refused = || DrawError::Png { width, height, scale: f64::from(scale) };
    let side = |length: f64| (length * f64::from(scale)).ceil();
    if !(scale > 0.0 && side(width) <= LONGEST && side(height) <= LONGEST) {
        return Err(refused());
    }
    let size = IntSize::from_wh(side(width) as u32, side(height) as u32).ok_or_else(refused)?;
    let mut room = std::mem::take(&mut pixels.0);
    room.clear();
    // Opaque white.
    room.resize(size.width() as usize * size.height() as usize * 4, u8::MAX);
    let mut picture = Pixmap::from_vec(room, size).ok_or_else(refused)?;
    resvg::render(tree, Transform::from_scale(scale, scale), &mut picture.as_mut());
    pixels.0 = picture.take();
    encode(&mut pixels.0, size).map_err(|_| refused())
}

/// Opaque RGB at the fast level: a tenth of the default level's time, twice its size.
fn encode(pixels: &mut Vec<u8>, size: IntSize) -> Result<Vec<u8>, png::EncodingError> {
    drop_alpha(pixels);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.width(), size.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

/// RGBA to RGB where it lies, four pixels at a time.
fn drop_alpha(pixels: &mut Vec<u8>) {
    const PIXEL: u128 = 0xFF_FFFF;
    let count = pixels.len() / 4;
    let mut done = 0;
    while let Some(four) = pixels[4 * done..].first_chunk() {
        let four = u128::from_le_bytes(*four);
        let packed = (0..4).fold(0, |packed, i| packed | (four >> (8 * i) & PIXEL << (24 * i)));
        pixels[3 * done..3 * done + 12].copy_from_slice(&packed.to_le_bytes()[..12]);
        done += 4;
    }
    for i in done..count {
        pixels.copy_within(4 * i..4 * i + 3, 3 * i);
    }
    pixels.truncate(3 * count);
}

pub(super) fn parse(svg: &str) -> Result<Tree, DrawError> {
    Tree::from_str(svg, options()).map_err(|error| DrawError::Svg(error.to_string()))
}

fn options() -> &'static Options<'static> {
    static OPTIONS: OnceLock<Options<'static>> = OnceLock::new();
    OPTIONS.get_or_init(|| {
        let mut fonts = fontdb::Database::new();
        for weight in [Weight::Regular, Weight::Bold] {
            fonts.load_font_source(fontdb::Source::Binary(Arc::new(weight.data())));
        }
        Options { font_family: FAMILY.into(), fontdb: Arc::new(fonts), ..Options::default() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_without_alpha_are_the_colours_in_order() {
        for count in 0..11u8 {
            let mut pixels: Vec<u8> = (0..count).flat_map(|i| [10 * i, 10 * i + 1, 10 * i + 2, 255]).collect();
            drop_alpha(&mut pixels);
            let colours: Vec<u8> = (0..count).flat_map(|i| [10 * i, 10 * i + 1, 10 * i + 2]).collect();
            assert_eq!(pixels, colours);
        }
    }
}
