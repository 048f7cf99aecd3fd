//! Figures: a declarative model on one side, SVG, PDF and PNG on the other.
//!
//! ```text
//! Figure --check, layout--> scene (1/100 px) --> SVG --> PNG (resvg)
//!                                            --> PDF
//! ```
//!
//! There is one scene, in whole numbers, from which SVG and PDF are written shape by shape. The same figure gives the
//! same bytes on every machine: the font is embedded, nothing is random, nothing is dated.
//!
//! plotters supplies the coordinate system and the shapes; ticks, texts and their layout are done here, because its own
//! are bound to whole pixels and to system fonts.
//!
//! Deliberately absent: any knowledge of what is plotted, files, statistics, interaction. Numbers arrive ready; those
//! that have no place on an axis (NaN, infinity, zero on a logarithm) are refused, never dropped.

mod axis;
mod blocks;
mod canvas;
mod check;
mod error;
mod export;
mod figure;
mod frame;
mod labels;
mod layout;
mod legend;
mod marks;
mod paint;
mod palette;
mod pdf;
mod plot;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod ticks;
mod webfont;

pub use error::DrawError;
pub use export::{Pixels, svg_to_png};
pub use figure::{Axis, Figure, Key, Legend, LegendEntry, LegendPlace, Panel, Range, Scale, Size, Ticks};
pub use marks::{
    Band, Bar, Bars, Callout, Cell, Cells, ColorKey, Course, Dash, Direction, Drop, ErrorBars, Line, Mark, Note, Point,
    Rule, Scatter, Segment, Span, Spot, Spread, Stroke, Texture, texture,
};
pub use palette::{MarkerShape, Ramp, Rgb, marker, palette};

use canvas::{Align, Canvas};
use layout::{CAPTION_FONT, FigureLayout, PanelPlan, TITLE_FONT};
use plot::{Paper, Plot};
use resvg::usvg::Tree;
use svg::Ground;
use text::ASCENT;

/// A figure laid out and drawn, ready to be written in any format.
#[derive(Debug)]
pub struct Drawing {
    canvas: Canvas,
    title: String,
    omitted: Vec<String>,
}

impl Figure {
    /// Lays the figure out.
    ///
    /// # Errors
    /// If a number has no place on its axis, a mark does not suit its panel, or a panel has no room left.
    pub fn draw(&self) -> Result<Drawing, DrawError> {
        check::check(self)?;
        let layout = FigureLayout::new(self)?;
        let paper = Paper::new(layout.width, layout.height);
        let below = |top: f64, font: text::Font| top + ASCENT * font.size;
        let (title, top) = &layout.title;
        frame::lines(&paper, title, (layout.width / 2.0, below(*top, TITLE_FONT)), TITLE_FONT, Align::Middle);
        if let Some((legend, top)) = &layout.legend {
            legend.draw(&paper, layout.width / 2.0, *top)?;
        }
        let mut omitted = Vec::new();
        for (panel, plan) in self.panels.iter().zip(&layout.panels) {
            omitted.extend(draw_panel(&paper, panel, plan)?);
        }
        let (caption, top) = &layout.caption;
        frame::lines(&paper, caption, (8.0, below(*top, CAPTION_FONT)), CAPTION_FONT, Align::Start);
        Ok(Drawing { canvas: paper.into_canvas(), title: text::clean(&self.title), omitted })
    }
}

fn draw_panel(paper: &Paper, panel: &Panel, plan: &PanelPlan) -> Result<Vec<String>, DrawError> {
    let mut plot = Plot::open(paper, plan.frame, plan.x.map.clone(), plan.y.map.clone());
    frame::grid(&plot, panel, plan)?;
    paint::paint(&mut plot, &panel.marks)?;
    frame::surround(&plot, plan)?;
    for mark in &panel.marks {
        if let Mark::Cells(Cells { ramp, key: Some(key), .. }) = mark {
            blocks::color_key(paper, plan.frame, ramp, key)?;
        }
    }
    plot.write_texts()
}

impl Drawing {
    /// Width and height in px (1/96 inch).
    #[must_use]
    pub fn size(&self) -> (f64, f64) {
        (self.canvas.width, self.canvas.height)
    }

    /// Texts within panels that are not drawn, for lack of room or because they belong to a place outside a fixed
    /// range: say them elsewhere, or enlarge the figure.
    #[must_use]
    pub fn omitted(&self) -> &[String] {
        &self.omitted
    }

    /// A stand-alone SVG that carries the glyphs it uses: looks the same everywhere.
    ///
    /// # Errors
    /// If the font cannot be cut down.
    pub fn svg(&self) -> Result<String, DrawError> {
        let css = webfont::font_face_css(&svg::characters(&self.canvas))?;
        Ok(svg::document(&self.canvas, &self.title, &css, Ground::White))
    }

    /// An SVG without its font, for a page that holds [`page_font_css`] once for all its figures.
    #[must_use]
    pub fn inline_svg(&self) -> String {
        svg::document(&self.canvas, &self.title, "", Ground::White)
    }

    /// The three files at once.
    ///
    /// # Errors
    /// As [`Drawing::svg`], [`Drawing::pdf`] and [`Drawing::png`].
    pub fn files(&self, png_scale: f32, pixels: &mut Pixels) -> Result<Files, DrawError> {
        let png = export::png(&self.tree()?, png_scale, pixels)?;
        Ok(Files { svg: self.svg()?, pdf: self.pdf()?, png })
    }

    /// One page of the figure's physical size; text stays text.
    ///
    /// # Errors
    /// If the font cannot be cut down.
    pub fn pdf(&self) -> Result<Vec<u8>, DrawError> {
        pdf::document(&self.canvas, &self.title)
    }

    /// `scale` pixels to the px, on white; 2 suits screens of high density.
    ///
    /// # Errors
    /// If the picture would be empty or longer than 20000 px.
    pub fn png(&self, scale: f32) -> Result<Vec<u8>, DrawError> {
        export::png(&self.tree()?, scale, &mut Pixels::default())
    }

    /// What the PNG is made of: the picture is white already.
    fn tree(&self) -> Result<Tree, DrawError> {
        export::parse(&svg::document(&self.canvas, &self.title, "", Ground::Bare))
    }
}

/// A drawing in every format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub svg: String,
    pub pdf: Vec<u8>,
    pub png: Vec<u8>,
}

/// The `@font-face` rules for the [`Drawing::inline_svg`]s of one page.
///
/// # Errors
/// If the font cannot be cut down.
pub fn page_font_css<'a>(drawings: impl IntoIterator<Item = &'a Drawing>) -> Result<String, DrawError> {
    let mut used = svg::Characters::new();
    for drawing in drawings {
        for (weight, characters) in svg::characters(&drawing.canvas) {
            used.entry(weight).or_default().extend(characters);
        }
    }
    webfont::font_face_css(&used)
}
