//! The scene as a PDF of one page: the shapes and texts that the SVG has, with the same numbers. Text stays text, in the
//! embedded font cut down to the characters in use. The bytes depend on the scene alone: no date, no random id.
//!
//! Written from the scene and not from the SVG: a general converter (krilla) handles images, variable fonts and gradients,
//! which figures don't have, and weighs a tenth of all dependencies in a build.

mod deflate;
mod font;

use std::collections::{BTreeMap, BTreeSet};

use pdf_writer::types::{LineCapStyle, LineJoinStyle};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, Settings, Str, TextStr};

use super::canvas::{Align, Canvas, Centi, Contour, Ink, Item, PathStyle, TextItem};
use super::error::DrawError;
use super::marks::Dash;
use super::palette::Rgb;
use super::svg;
use super::text::{RAISED, RAISED_BY, Weight, lowered};
use deflate::deflated;
use font::EmbeddedFont;

/// CSS px are 1/96 inch, PDF points 1/72; the content is written in 1/100 px.
const POINTS_PER_CENTI: f32 = 0.0075;

/// How far a Bezier curve's handles reach to draw a quarter of a circle of radius 1.
const QUARTER: f32 = 0.552_284_8;

const COMPACT: Settings = Settings { pretty: false };

const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const PAGE: Ref = Ref::new(3);
const CONTENT: Ref = Ref::new(4);
const INFO: Ref = Ref::new(5);
const FIRST_FREE: i32 = 6;

/// The bytes of the document.
///
/// # Errors
/// If the font can't be cut down.
pub(super) fn document(canvas: &Canvas, title: &str) -> Result<Vec<u8>, DrawError> {
    let characters = svg::characters(canvas);
    let fonts = characters.iter().map(|(&weight, used)| Ok((weight, EmbeddedFont::new(weight, used)?)));
    let fonts: Fonts = fonts.collect::<Result<_, DrawError>>()?;
    let mut page = PageContent::new(&fonts, canvas);
    page.items(canvas);
    let (alphas, content) = (page.alphas, page.content.finish());

    let mut pdf = Pdf::with_settings(COMPACT);
    pdf.catalog(CATALOG).pages(PAGES).lang(TextStr("en"));
    pdf.document_info(INFO).title(TextStr(title)).producer(TextStr("topobench"));
    pdf.pages(PAGES).kids([PAGE]).count(1);
    let mut free = FIRST_FREE;
    let mut next = || {
        free += 1;
        Ref::new(free - 1)
    };
    let fonts: Vec<(&EmbeddedFont, [Ref; 5])> = fonts.values().map(|font| (font, [(); 5].map(|()| next()))).collect();
    let alphas: Vec<(u8, Ref)> = alphas.into_iter().map(|percent| (percent, next())).collect();
    let size = |px: f64| px as f32 * 100.0 * POINTS_PER_CENTI;
    let mut written = pdf.page(PAGE);
    written.parent(PAGES).contents(CONTENT);
    written.media_box(Rect::new(0.0, 0.0, size(canvas.width), size(canvas.height)));
    let mut resources = written.resources();
    let mut names = resources.fonts();
    for (font, [id, ..]) in &fonts {
        names.pair(font.name(), id);
    }
    names.finish();
    let mut states = resources.ext_g_states();
    for (percent, id) in &alphas {
        states.pair(Name(alpha_name(*percent).as_bytes()), id);
    }
    states.finish();
    resources.finish();
    written.finish();

    for (percent, id) in alphas {
        let alpha = f32::from(percent) / 100.0;
        pdf.ext_graphics(id).non_stroking_alpha(alpha).stroking_alpha(alpha);
    }
    pdf.stream(CONTENT, &deflated(&content)).filter(Filter::FlateDecode);
    for (font, ids) in fonts {
        font.write(&mut pdf, ids);
    }
    Ok(pdf.finish())
}

fn alpha_name(percent: u8) -> String {
    format!("A{percent}")
}

type Fonts = BTreeMap<Weight, EmbeddedFont>;

/// The page's drawing commands as they are gathered.
struct PageContent<'a> {
    content: Content,
    fonts: &'a Fonts,
    /// Opacities in use, in percent.
    alphas: BTreeSet<u8>,
    /// The opacity in force.
    alpha: u8,
}

impl<'a> PageContent<'a> {
    /// Origin at the top left, y downwards, 1/100 px.
    fn new(fonts: &'a Fonts, canvas: &Canvas) -> Self {
        let mut content = Content::with_settings(COMPACT);
        let height = canvas.height as f32 * 100.0 * POINTS_PER_CENTI;
        content.transform([POINTS_PER_CENTI, 0.0, 0.0, -POINTS_PER_CENTI, 0.0, height]);
        content.set_line_join(LineJoinStyle::RoundJoin);
        PageContent { content, fonts, alphas: BTreeSet::new(), alpha: 100 }
    }

    fn items(&mut self, canvas: &Canvas) {
        for group in canvas.items.chunk_by(svg::joins) {
            match &group[0] {
                Item::Path { look, .. } | Item::Circle { look, .. } => self.shape(group, look, canvas),
                Item::Text(text) => self.text(text),
            }
        }
    }

    fn shape(&mut self, group: &[Item], look: &PathStyle, canvas: &Canvas) {
        if let Some(clip) = look.clip {
            let [left, top, right, bottom] = canvas.clips[clip];
            self.content.save_state();
            self.content.rect(left as f32, top as f32, (right - left) as f32, (bottom - top) as f32);
            self.content.clip_nonzero().end_path();
        }
        let alpha = self.alpha;
        if let Some(ink) = look.fill {
            self.fill_ink(ink);
            group.iter().for_each(|item| outline(&mut self.content, item));
            self.content.fill_nonzero();
        }
        if let Some(contour) = look.contour {
            self.contour(contour);
            group.iter().for_each(|item| outline(&mut self.content, item));
            self.content.stroke();
        }
        if look.clip.is_some() {
            self.content.restore_state();
            self.alpha = alpha;
        }
    }

    fn fill_ink(&mut self, Ink { color, percent }: Ink) {
        self.opacity(percent);
        let [r, g, b] = parts(color);
        self.content.set_fill_rgb(r, g, b);
    }

    fn contour(&mut self, Contour { ink, width, dash }: Contour) {
        self.opacity(ink.percent);
        let [r, g, b] = parts(ink.color);
        self.content.set_stroke_rgb(r, g, b).set_line_width(width as f32);
        let width = width as f32;
        match dash {
            Dash::Solid => self.content.set_line_cap(LineCapStyle::ButtCap).set_dash_pattern([], 0.0),
            Dash::Dashed => {
                self.content.set_line_cap(LineCapStyle::ButtCap).set_dash_pattern([width * 4.0, width * 2.5], 0.0)
            }
            // Nearly empty dashes with round ends: dots.
            Dash::Dotted => self.content.set_line_cap(LineCapStyle::RoundCap).set_dash_pattern([1.0, width * 2.0], 0.0),
        };
    }

    fn opacity(&mut self, percent: u8) {
        let percent = percent.min(100);
        if percent != self.alpha {
            self.alphas.insert(percent);
            self.content.set_parameters(Name(alpha_name(percent).as_bytes()));
            self.alpha = percent;
        }
    }

    fn text(&mut self, item: &TextItem) {
        let TextItem { at, text, font, color, align, upright, halo } = item;
        let Some(embedded) = self.fonts.get(&font.weight) else { return };
        let back = match align {
            Align::Start => 0.0,
            Align::Middle => font.width(text) / 2.0,
            Align::End => font.width(text),
        };
        // From the text's own system (y upwards, along the baseline) to the page's.
        let [x, y] = [at.0, at.1].map(|px| (px * 100.0).round() as f32);
        let back = back as f32 * 100.0;
        let matrix = if *upright { [0.0, -1.0, -1.0, 0.0, x, y + back] } else { [1.0, 0.0, 0.0, -1.0, x - back, y] };
        let runs = runs(text, font.size as f32 * 100.0);
        self.opacity(100);
        if *halo {
            self.rim(embedded, matrix, &runs);
        }
        let [r, g, b] = parts(*color);
        self.content.set_fill_rgb(r, g, b).begin_text().set_text_matrix(matrix);
        for run in &runs {
            self.content.set_font(embedded.name(), run.size).set_rise(run.rise).show(Str(&embedded.encode(&run.text)));
        }
        self.content.end_text();
    }

    /// White outlines behind the text, as paths: written as text, they would be found and copied twice.
    fn rim(&mut self, font: &EmbeddedFont, matrix: [f32; 6], runs: &[Run]) {
        self.content.save_state().transform(matrix);
        self.content.set_stroke_gray(1.0).set_line_width(250.0).set_dash_pattern([], 0.0);
        let mut x = 0.0;
        for run in runs {
            x = font.outline(&mut self.content, &run.text, run.size, (x, run.rise));
        }
        self.content.stroke().restore_state();
    }
}

/// Neighbouring characters of one size, 1/100 px.
struct Run {
    text: String,
    size: f32,
    rise: f32,
}

/// The text with superscripts as raised, smaller runs.
fn runs(text: &str, size: f32) -> Vec<Run> {
    let characters: Vec<char> = text.chars().collect();
    let run = |run: &[char]| {
        let raised = run.first().is_some_and(|&c| lowered(c).is_some());
        let (scale, rise) = if raised { (RAISED as f32, size * RAISED_BY as f32) } else { (1.0, 0.0) };
        Run { text: run.iter().map(|&c| lowered(c).unwrap_or(c)).collect(), size: size * scale, rise }
    };
    characters.chunk_by(|a, b| lowered(*a).is_some() == lowered(*b).is_some()).map(run).collect()
}

fn outline(content: &mut Content, item: &Item) {
    match item {
        Item::Path { points, closed, .. } => {
            for (index, &(x, y)) in points.iter().enumerate() {
                let (x, y) = (x as f32, y as f32);
                if index == 0 {
                    content.move_to(x, y)
                } else {
                    content.line_to(x, y)
                };
            }
            if *closed {
                content.close_path();
            }
        }
        Item::Circle { center, radius, .. } => circle(content, *center, *radius),
        Item::Text(_) => {}
    }
}

fn circle(content: &mut Content, (x, y): (Centi, Centi), radius: Centi) {
    let (x, y, r) = (x as f32, y as f32, radius as f32);
    let h = r * QUARTER;
    content.move_to(x + r, y);
    content.cubic_to(x + r, y + h, x + h, y + r, x, y + r);
    content.cubic_to(x - h, y + r, x - r, y + h, x - r, y);
    content.cubic_to(x - r, y - h, x - h, y - r, x, y - r);
    content.cubic_to(x + h, y - r, x + r, y - h, x + r, y);
    content.close_path();
}

fn parts(Rgb(r, g, b): Rgb) -> [f32; 3] {
    [r, g, b].map(|part| f32::from(part) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::text::Font;
    use std::io::Read;

    /// The streams of a document, inflated.
    fn streams(pdf: &[u8]) -> Vec<String> {
        let starts: Vec<usize> =
            pdf.windows(8).enumerate().filter(|(_, w)| w == b"\nstream\n").map(|(i, _)| i + 8).collect();
        let inflate = |start: &usize| {
            let mut bytes = Vec::new();
            flate2::read::ZlibDecoder::new(&pdf[*start..]).read_to_end(&mut bytes).expect("inflates");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        starts.iter().map(inflate).collect()
    }

    fn scene() -> Canvas {
        let mut canvas = Canvas::new(200.0, 100.0);
        canvas.clips.push([0, 0, 10_000, 5_000]);
        let ink = Ink { color: Rgb(255, 0, 0), percent: 30 };
        let look = PathStyle { fill: Some(ink), contour: None, clip: Some(0) };
        canvas.items.push(Item::Circle { center: (5_000, 2_500), radius: 1_000, look });
        let mut item = TextItem::new((20.0, 30.0), "p99 = 10⁻³ s", Font::regular(10.0), Align::Start);
        item.halo = true;
        canvas.text(item);
        canvas
    }

    #[test]
    fn a_text_is_there_once_and_readable_and_its_superscripts_are_raised() {
        let pdf = document(&scene(), "Title").expect("a document");
        let streams = streams(&pdf);
        let (content, map) = (&streams[0], streams.last().expect("the font's map"));
        assert_eq!(content.matches(")Tj").count(), 3, "{content}");
        assert!(content.contains("360 Ts"), "{content}");
        for c in ['p', '9', '−'] {
            assert!(map.to_lowercase().contains(&format!("<{:04x}>", u32::from(c))), "{c} in {map}");
        }
    }

    #[test]
    fn a_shape_keeps_its_clip_and_opacity_to_itself() {
        let pdf = document(&scene(), "").expect("a document");
        let content = &streams(&pdf)[0];
        let (shape, text) = content.split_once("BT").expect("a shape, then a text");
        assert!(shape.contains("q 0 0 10000 5000 re\nW\nn/A30 gs 1 0 0 rg"), "{content}");
        assert!(shape.contains("f\nQ"), "{content}");
        assert!(!text.contains(" gs"), "{content}");
    }
}
