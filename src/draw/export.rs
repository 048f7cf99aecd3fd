//! SVG to PDF and PNG, through one parser (usvg) and the embedded font only: system fonts have no say.

use std::sync::{Arc, OnceLock};

use krilla::SerializeSettings;
use krilla::geom::Size;
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla_svg::{SurfaceExt, SvgSettings};
use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::error::DrawError;
use super::text::{FAMILY, Weight};

/// CSS px are 1/96 inch, PDF points 1/72.
const POINTS_PER_PX: f32 = 0.75;

/// Longest side of a picture, px: beyond it a figure is a mistake in the scale, not a figure.
const LONGEST: f64 = 20_000.0;

/// Converts an SVG to a one-page PDF of the same physical size, with subset fonts and selectable text. The bytes depend
/// on the input alone: no date, no random id.
///
/// # Errors
/// If the SVG cannot be parsed or the PDF not be written.
pub fn svg_to_pdf(svg: &str, title: &str) -> Result<Vec<u8>, DrawError> {
    pdf(&parse(svg)?, title)
}

/// Renders an SVG on white at `scale` pixels to the px; 2 suits screens of high density.
///
/// # Errors
/// If the SVG cannot be parsed, or the picture would be empty or longer than 20000 px.
pub fn svg_to_png(svg: &str, scale: f32) -> Result<Vec<u8>, DrawError> {
    png(&parse(svg)?, scale)
}

pub(super) fn pdf(tree: &Tree, title: &str) -> Result<Vec<u8>, DrawError> {
    let page_size = (tree.size().width() * POINTS_PER_PX, tree.size().height() * POINTS_PER_PX);
    let refused = |what: &str| DrawError::Pdf(format!("{what} of {} x {} pt", page_size.0, page_size.1));
    let settings = PageSettings::from_wh(page_size.0, page_size.1).ok_or_else(|| refused("a page"))?;
    let size = Size::from_wh(page_size.0, page_size.1).ok_or_else(|| refused("a drawing"))?;
    let mut document = krilla::Document::new_with(SerializeSettings::default());
    document.set_metadata(Metadata::new().title(title.to_owned()).language("en".to_owned()));
    let mut page = document.start_page_with(settings);
    let mut surface = page.surface();
    surface.draw_svg(tree, size, SvgSettings::default()).ok_or_else(|| refused("a drawing"))?;
    surface.finish();
    page.finish();
    document.finish().map_err(|error| DrawError::Pdf(format!("{error:?}")))
}

pub(super) fn png(tree: &Tree, scale: f32) -> Result<Vec<u8>, DrawError> {
    let (width, height) = (f64::from(tree.size().width()), f64::from(tree.size().height()));
    let refused = || DrawError::Png { width, height, scale: f64::from(scale) };
    let side = |length: f64| (length * f64::from(scale)).ceil();
    if !(scale > 0.0 && side(width) <= LONGEST && side(height) <= LONGEST) {
        return Err(refused());
    }
    let mut picture = Pixmap::new(side(width) as u32, side(height) as u32).ok_or_else(refused)?;
    picture.fill(Color::WHITE);
    resvg::render(tree, Transform::from_scale(scale, scale), &mut picture.as_mut());
    encode(&picture).map_err(|_| refused())
}

/// Opaque RGB at the fast level: a tenth of the default level's time, twice its size.
fn encode(picture: &Pixmap) -> Result<Vec<u8>, png::EncodingError> {
    let mut rgb = Vec::with_capacity(picture.data().len() / 4 * 3);
    for pixel in picture.data().chunks_exact(4) {
        rgb.extend_from_slice(&pixel[..3]);
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&rgb)?;
    writer.finish()?;
    Ok(file)
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
