//! The scene: shapes in 1/100 px, gathered through plotters' drawing interface.
//!
//! plotters maps data to places and draws its elements on [`Canvas`], a backend whose pixel is 1/100 px. Its styles know
//! neither dashes, clips nor edges: those are taken from the [`Pen`] that is set while an element is drawn. Texts are put
//! in directly, because their layout is done here with the embedded font.

use std::convert::Infallible;

use plotters_backend::{BackendColor, BackendCoord, BackendStyle, DrawingBackend, DrawingErrorKind};

use super::marks::Dash;
use super::palette::Rgb;
use super::text::Font;

/// 1/100 px.
pub(super) type Centi = i32;

pub(super) fn centi(px: f64) -> Centi {
    (px * 100.0).round() as Centi
}

pub(super) fn centi_pair((x, y): (f64, f64)) -> (Centi, Centi) {
    (centi(x), centi(y))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink {
    pub color: Rgb,
    /// Opacity in percent.
    pub percent: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contour {
    pub ink: Ink,
    pub width: Centi,
    pub dash: Dash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathStyle {
    pub fill: Option<Ink>,
    pub contour: Option<Contour>,
    /// Index into [`Canvas::clips`].
    pub clip: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct TextItem {
    /// Where the baseline starts, is centred, or ends, px.
    pub at: (f64, f64),
    pub text: String,
    pub font: Font,
    pub color: Rgb,
    pub align: Align,
    /// Reads from bottom to top.
    pub upright: bool,
    /// A white rim keeps the text readable over lines.
    pub halo: bool,
}

impl TextItem {
    /// Level black text without a rim.
    pub(super) fn new(at: (f64, f64), text: impl Into<String>, font: Font, align: Align) -> Self {
        Self { at, text: text.into(), font, color: Rgb::BLACK, align, upright: false, halo: false }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Path { points: Vec<(Centi, Centi)>, closed: bool, look: PathStyle },
    Circle { center: (Centi, Centi), radius: Centi, look: PathStyle },
    Text(TextItem),
}

/// What plotters' styles cannot say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pen {
    pub dash: Dash,
    pub clip: Option<usize>,
    /// Colour and width (1/100 px) of the rim of filled shapes.
    pub edge: Option<(Rgb, Centi)>,
}

impl Pen {
    pub(super) const PLAIN: Self = Self { dash: Dash::Solid, clip: None, edge: None };
}

#[derive(Debug)]
pub(super) struct Canvas {
    pub width: f64,
    pub height: f64,
    pub items: Vec<Item>,
    /// Left, top, right, bottom.
    pub clips: Vec<[Centi; 4]>,
    pub pen: Pen,
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, items: Vec::new(), clips: Vec::new(), pen: Pen::PLAIN }
    }

    pub(super) fn text(&mut self, item: TextItem) {
        if !item.text.trim().is_empty() {
            self.items.push(Item::Text(item));
        }
    }

    fn look<S: BackendStyle>(&self, style: &S, fill: bool) -> PathStyle {
        let ink = ink(style.color());
        let line = Contour { ink, width: style.stroke_width().try_into().unwrap_or(Centi::MAX), dash: self.pen.dash };
        let edge =
            self.pen.edge.map(|(color, width)| Contour { ink: Ink { color, percent: 100 }, width, dash: Dash::Solid });
        PathStyle { fill: fill.then_some(ink), contour: if fill { edge } else { Some(line) }, clip: self.pen.clip }
    }

    fn path(&mut self, mut points: Vec<BackendCoord>, closed: bool, look: PathStyle) {
        points.dedup();
        let corners = points
            .iter()
            .map(|&(x, y)| [x, y, x, y])
            .reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]);
        if let Some(corners) = corners {
            let look = self.clipped_where_needed(look, corners);
            self.items.push(Item::Path { points, closed, look });
        }
    }

    /// A shape that lies within its clip anyway goes without: a renderer gives every clip a layer as large as the panel.
    fn clipped_where_needed(&self, look: PathStyle, [left, top, right, bottom]: [Centi; 4]) -> PathStyle {
        let rim = look.contour.map_or(0, |contour| contour.width / 2 + 1);
        let within = |clip: &[Centi; 4]| {
            left.saturating_sub(rim) >= clip[0]
                && top.saturating_sub(rim) >= clip[1]
                && right.saturating_add(rim) <= clip[2]
                && bottom.saturating_add(rim) <= clip[3]
        };
        let clip = look.clip.filter(|&clip| self.clips.get(clip).is_none_or(|clip| !within(clip)));
        PathStyle { clip, ..look }
    }
}

fn ink(color: BackendColor) -> Ink {
    let (r, g, b) = color.rgb;
    Ink { color: Rgb(r, g, b), percent: (color.alpha * 100.0).round() as u8 }
}

type BackendResult = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (centi(self.width).unsigned_abs(), centi(self.height).unsigned_abs())
    }

    fn ensure_prepared(&mut self) -> BackendResult {
        Ok(())
    }

    fn present(&mut self) -> BackendResult {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> BackendResult {
        self.draw_rect((x, y), (x + 1, y + 1), &color, true)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> BackendResult {
        self.path(vec![from, to], false, self.look(style, false));
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(&mut self, a: BackendCoord, b: BackendCoord, style: &S, fill: bool) -> BackendResult {
        self.path(vec![a, (b.0, a.1), b, (a.0, b.1)], true, self.look(style, fill));
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> BackendResult {
        self.path(path.into_iter().collect(), false, self.look(style, false));
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> BackendResult {
        let radius = Centi::try_from(radius).unwrap_or(Centi::MAX);
        let (x, y) = center;
        let reach =
            [x.saturating_sub(radius), y.saturating_sub(radius), x.saturating_add(radius), y.saturating_add(radius)];
        let look = self.clipped_where_needed(self.look(style, fill), reach);
        self.items.push(Item::Circle { center, radius, look });
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> BackendResult {
        self.path(corners.into_iter().collect(), true, self.look(style, true));
        Ok(())
    }
}
