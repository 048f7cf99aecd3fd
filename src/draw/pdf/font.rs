//! The embedded font in a PDF: cut down to the characters in use, with what a reader needs to select and search text.

use std::collections::{BTreeMap, BTreeSet};

use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, Str};
use subsetter::GlyphRemapper;
use ttf_parser::{Face, GlyphId, OutlineBuilder};

use super::deflate::deflated;
use crate::draw::error::DrawError;
use crate::draw::text::Weight;

const IDENTITY: SystemInfo = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };

/// One weight of the font.
pub(super) struct EmbeddedFont {
    weight: Weight,
    /// Glyphs of the cut-down font: number and advance in thousandths of the size.
    glyphs: BTreeMap<char, u16>,
    widths: Vec<f32>,
    program: Vec<u8>,
}

impl EmbeddedFont {
    pub(super) fn new(weight: Weight, characters: &BTreeSet<char>) -> Result<Self, DrawError> {
        let face = weight.face();
        let mut remapper = GlyphRemapper::new();
        let glyphs = characters.iter().filter_map(|&c| Some((c, remapper.remap(face.glyph_index(c)?.0)))).collect();
        let widths = remapper.remapped_gids().map(|glyph| thousandths(face, advance(face, GlyphId(glyph)))).collect();
        let program = subsetter::subset(weight.data(), 0, &remapper).map_err(|e| DrawError::Font(e.to_string()))?;
        Ok(EmbeddedFont { weight, glyphs, widths, program })
    }

    /// Its name among the page's resources.
    pub(super) fn name(&self) -> Name<'static> {
        match self.weight {
            Weight::Regular => Name(b"Regular"),
            Weight::Bold => Name(b"Bold"),
        }
    }

    /// A text as the numbers of its glyphs.
    pub(super) fn encode(&self, text: &str) -> Vec<u8> {
        text.chars().filter_map(|c| self.glyphs.get(&c)).flat_map(|glyph| glyph.to_be_bytes()).collect()
    }

    /// The outlines of a text that starts at `at`, as paths; returns where the text ends.
    pub(super) fn outline(&self, content: &mut Content, text: &str, size: f32, at: (f32, f32)) -> f32 {
        let face = self.weight.face();
        let scale = size / f32::from(face.units_per_em());
        let mut pen = GlyphPen { content, scale, origin: at, last: at };
        for glyph in text.chars().filter_map(|c| face.glyph_index(c)) {
            face.outline_glyph(glyph, &mut pen);
            pen.origin.0 += advance(face, glyph) * scale;
        }
        pen.origin.0
    }

    pub(super) fn write(&self, pdf: &mut Pdf, [font, cid, descriptor, program, unicode]: [Ref; 5]) {
        // Six capitals mark a font that is cut down.
        let name = match self.weight {
            Weight::Regular => Name(b"TOPOBR+LiberationSans"),
            Weight::Bold => Name(b"TOPOBB+LiberationSans-Bold"),
        };
        let mut composite = pdf.type0_font(font);
        composite.base_font(name).encoding_predefined(Name(b"Identity-H"));
        composite.descendant_font(cid).to_unicode(unicode);
        composite.finish();

        let mut part = pdf.cid_font(cid);
        part.subtype(CidFontType::Type2).base_font(name).system_info(IDENTITY).font_descriptor(descriptor);
        part.default_width(0.0).cid_to_gid_map_predefined(Name(b"Identity"));
        part.widths().consecutive(0, self.widths.iter().copied());
        part.finish();

        let face = self.weight.face();
        let length = |units: i16| thousandths(face, f32::from(units));
        let bounds = face.global_bounding_box();
        let mut described = pdf.font_descriptor(descriptor);
        described.name(name).flags(FontFlags::NON_SYMBOLIC).italic_angle(0.0).font_file2(program);
        described.bbox(Rect::new(
            length(bounds.x_min),
            length(bounds.y_min),
            length(bounds.x_max),
            length(bounds.y_max),
        ));
        described.ascent(length(face.ascender())).descent(length(face.descender()));
        described.cap_height(length(face.capital_height().unwrap_or(face.ascender())));
        described.stem_v(if self.weight == Weight::Bold { 140.0 } else { 80.0 });
        described.finish();

        let bytes = deflated(&self.program);
        let mut stream = pdf.stream(program, &bytes);
        stream.filter(Filter::FlateDecode).pair(Name(b"Length1"), self.program.len() as i32);
        stream.finish();

        let mut map = UnicodeCmap::new(Name(b"Unicode"), IDENTITY);
        for (&c, &glyph) in &self.glyphs {
            map.pair(glyph, c);
        }
        pdf.stream(unicode, &deflated(&map.finish())).filter(Filter::FlateDecode);
    }
}

fn advance(face: &Face<'_>, glyph: GlyphId) -> f32 {
    face.glyph_hor_advance(glyph).unwrap_or(0).into()
}

fn thousandths(face: &Face<'_>, units: f32) -> f32 {
    units * 1000.0 / f32::from(face.units_per_em())
}

/// Draws glyphs, whose curves are quadratic, with the cubic curves of PDF.
struct GlyphPen<'a> {
    content: &'a mut Content,
    scale: f32,
    origin: (f32, f32),
    last: (f32, f32),
}

impl GlyphPen<'_> {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        ((self.origin.0 + x * self.scale).round(), (self.origin.1 + y * self.scale).round())
    }
}

impl OutlineBuilder for GlyphPen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.last = self.place(x, y);
        self.content.move_to(self.last.0, self.last.1);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.last = self.place(x, y);
        self.content.line_to(self.last.0, self.last.1);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let (from, handle, to) = (self.last, self.place(x1, y1), self.place(x, y));
        let towards =
            |end: (f32, f32)| (end.0 + (handle.0 - end.0) * 2.0 / 3.0, end.1 + (handle.1 - end.1) * 2.0 / 3.0);
        let (first, second) = (towards(from), towards(to));
        self.content.cubic_to(first.0, first.1, second.0, second.1, to.0, to.1);
        self.last = to;
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (first, second, to) = (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.content.cubic_to(first.0, first.1, second.0, second.1, to.0, to.1);
        self.last = to;
    }

    fn close(&mut self) {
        self.content.close_path();
    }
}
