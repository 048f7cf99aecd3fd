//! The open panel while it is being painted: plotters' coordinate system for the data, one for the paper, and the texts
//! that wait for a place.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{Circle, Drawable, EmptyElement, PathElement, PointCollection, Polygon, Rectangle};
use plotters::style::{RGBAColor, ShapeStyle};
use plotters_backend::BackendCoord;

use super::axis::AxisMap;
use super::canvas::{Align, Canvas, Centi, Pen, TextItem, centi};
use super::error::DrawError;
use super::labels::{LabelRequest, Obstacles, PlacedLabel, Px, Rect, place};
use super::marks::Stroke;
use super::palette::{MarkerShape, Rgb};
use super::text::{ASCENT, DESCENT, Font, clean};

pub(super) const MARKER_RADIUS: f64 = 3.1;

/// Lines of more points than this are thinned to what a px can show.
const DENSE: usize = 1500;

pub(super) type DrawResult = Result<(), DrawError>;

/// Drawing on the paper, in 1/100 px.
#[derive(Clone)]
pub(super) struct Paper {
    canvas: Rc<RefCell<Canvas>>,
    area: DrawingArea<Canvas, Shift>,
}

impl Paper {
    pub(super) fn new(width: f64, height: f64) -> Self {
        let canvas = Rc::new(RefCell::new(Canvas::new(width, height)));
        Self { area: DrawingArea::from(&canvas), canvas }
    }

    /// The finished scene.
    pub(super) fn into_canvas(self) -> Canvas {
        let empty = Canvas::new(0.0, 0.0);
        self.canvas.replace(empty)
    }

    pub(super) fn text(&self, item: TextItem) {
        self.canvas.borrow_mut().text(item);
    }

    fn add_clip(&self, clip: Rect) -> usize {
        let mut canvas = self.canvas.borrow_mut();
        canvas.clips.push([centi(clip.left), centi(clip.top), centi(clip.right), centi(clip.bottom)]);
        canvas.clips.len() - 1
    }

    /// Draws one plotters element with what its style cannot say.
    fn put<E>(&self, pen: Pen, element: &E) -> DrawResult
    where
        for<'e> &'e E: PointCollection<'e, BackendCoord>,
        E: Drawable<Canvas>,
    {
        self.canvas.borrow_mut().pen = pen;
        self.area.draw(element).map_err(refused)
    }

    pub(super) fn line(&self, points: Vec<(Centi, Centi)>, stroke: Stroke, clip: Option<usize>) -> DrawResult {
        let pen = Pen { dash: stroke.dash, clip, edge: None };
        self.put(pen, &PathElement::new(points, style(stroke.color, 100, stroke.width)))
    }

    pub(super) fn segment(&self, from: Px, to: Px, stroke: Stroke) -> DrawResult {
        self.line(vec![(centi(from.0), centi(from.1)), (centi(to.0), centi(to.1))], stroke, None)
    }

    pub(super) fn area(
        &self,
        corners: Vec<(Centi, Centi)>,
        color: Rgb,
        percent: u8,
        clip: Option<usize>,
    ) -> DrawResult {
        self.put(Pen { clip, ..Pen::PLAIN }, &Polygon::new(corners, style(color, percent, 0.0)))
    }

    pub(super) fn rect(&self, rect: Rect, color: Rgb, percent: u8, clip: Option<usize>) -> DrawResult {
        let corners = [(centi(rect.left), centi(rect.top)), (centi(rect.right), centi(rect.bottom))];
        self.put(Pen { clip, ..Pen::PLAIN }, &Rectangle::new(corners, style(color, percent, 0.0).filled()))
    }

    pub(super) fn outline(&self, rect: Rect, stroke: Stroke) -> DrawResult {
        let corners = [(centi(rect.left), centi(rect.top)), (centi(rect.right), centi(rect.bottom))];
        let pen = Pen { dash: stroke.dash, ..Pen::PLAIN };
        self.put(pen, &Rectangle::new(corners, style(stroke.color, 100, stroke.width)))
    }

    /// A marker with a thin white rim if filled, with a coloured rim if hollow.
    pub(super) fn marker(
        &self,
        at: (Centi, Centi),
        shape: MarkerShape,
        radius: f64,
        color: Rgb,
        hollow: bool,
    ) -> DrawResult {
        let (inside, edge) = if hollow { (Rgb::WHITE, (color, 130)) } else { (color, (Rgb::WHITE, 60)) };
        let pen = Pen { edge: Some(edge), ..Pen::PLAIN };
        let style = style(inside, 100, 0.0).filled();
        let place = EmptyElement::<BackendCoord, Canvas>::at(at);
        match shape.corners(radius) {
            None => self.put(pen, &(place + Circle::new((0, 0), centi(radius), style))),
            Some(corners) => {
                let corners: Vec<_> = corners.into_iter().map(|(x, y)| (centi(x), centi(y))).collect();
                self.put(pen, &(place + Polygon::new(corners, style)))
            }
        }
    }

    /// A ring that leaves its inside visible.
    pub(super) fn ring(&self, at: (Centi, Centi), radius: f64, stroke: Stroke) -> DrawResult {
        self.put(Pen::PLAIN, &Circle::new(at, centi(radius), style(stroke.color, 100, stroke.width)))
    }
}

fn style(color: Rgb, percent: u8, width: f64) -> ShapeStyle {
    let Rgb(r, g, b) = color;
    let color = RGBAColor(r, g, b, f64::from(percent) / 100.0);
    ShapeStyle { color, filled: false, stroke_width: centi(width).unsigned_abs() }
}

fn refused<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> DrawError
where
    DrawingAreaErrorKind<E>: Debug,
{
    DrawError::Canvas(format!("{error:?}"))
}

/// A text that waits for a place in its panel.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub text: String,
    pub font: Font,
    pub color: Rgb,
    pub request: LabelRequest,
}

impl Wanted {
    pub(super) fn new(text: String, font: Font, color: Rgb, request: LabelRequest) -> Self {
        Self { text, font, color, request }
    }
}

pub(super) struct Plot {
    pub paper: Paper,
    pub frame: Rect,
    /// The clip that keeps lines inside the frame.
    pub clip: usize,
    pub obstacles: Obstacles,
    /// Texts that belong to places outside the range shown.
    pub omitted: Vec<String>,
    data: DrawingArea<Canvas, Cartesian2d<AxisMap, AxisMap>>,
    wanted: Vec<Wanted>,
}

impl Plot {
    pub(super) fn open(paper: &Paper, frame: Rect, x: AxisMap, y: AxisMap) -> Self {
        let across = centi(frame.left)..centi(frame.right);
        let upwards = centi(frame.bottom)..centi(frame.top);
        let data = paper.area.clone().apply_coord_spec(Cartesian2d::<AxisMap, AxisMap>::new(x, y, (across, upwards)));
        let clip = paper.add_clip(frame);
        Self {
            paper: paper.clone(),
            frame,
            clip,
            obstacles: Obstacles::default(),
            omitted: Vec::new(),
            data,
            wanted: Vec::new(),
        }
    }

    /// Where a value lies, 1/100 px.
    pub(super) fn at(&self, x: f64, y: f64) -> (Centi, Centi) {
        self.data.map_coordinate(&(x, y))
    }

    /// Where a value lies, px.
    pub(super) fn px(&self, x: f64, y: f64) -> Px {
        px(self.at(x, y))
    }

    pub(super) fn shows(&self, x: f64, y: f64) -> bool {
        let coordinates = self.data.as_coord_spec();
        coordinates.x_spec().shows(x) && coordinates.y_spec().shows(y)
    }

    /// Where a value of x lies, px.
    pub(super) fn at_x(&self, x: f64) -> f64 {
        self.px(x, self.data.get_y_range().start).0
    }

    /// Where a value of y lies, px.
    pub(super) fn at_y(&self, y: f64) -> f64 {
        self.px(self.data.get_x_range().start, y).1
    }

    /// A line within the frame, which texts avoid.
    pub(super) fn line(&mut self, points: Vec<(Centi, Centi)>, stroke: Stroke) -> DrawResult {
        let points = thinned(points);
        self.obstacles.segments.extend(coarse(&points));
        self.paper.line(points, stroke, Some(self.clip))
    }

    /// A marker, drawn whole if its centre is inside the range, which texts avoid.
    pub(super) fn marker(&mut self, (x, y): Px, shape: MarkerShape, color: Rgb, hollow: bool) -> DrawResult {
        if !self.shows(x, y) {
            return Ok(());
        }
        let at = self.at(x, y);
        self.obstacles.boxes.push(Rect::around(px(at), MARKER_RADIUS));
        self.paper.marker(at, shape, MARKER_RADIUS, color, hollow)
    }

    pub(super) fn want(&mut self, wanted: Wanted) {
        if !wanted.text.trim().is_empty() {
            self.wanted.push(wanted);
        }
    }

    /// Places and writes the texts; gives back those for which there is no room.
    pub(super) fn write_texts(mut self) -> Result<Vec<String>, DrawError> {
        let wanted = std::mem::take(&mut self.wanted);
        let requests: Vec<LabelRequest> = wanted.iter().map(|text| text.request.clone()).collect();
        let placed = place(self.frame.grown(-3.0), &self.obstacles, &requests);
        // Leaders first: where one must pass a text, the text's rim interrupts it.
        for (wanted, placed) in wanted.iter().zip(&placed) {
            if let Some((from, to)) = placed.and_then(|placed| placed.leader) {
                self.paper.segment(from, to, Stroke::thin(wanted.color, 0.6))?;
            }
        }
        let mut omitted = std::mem::take(&mut self.omitted);
        for (Wanted { text, font, color, .. }, placed) in wanted.into_iter().zip(placed) {
            let Some(PlacedLabel { rect, .. }) = placed else {
                omitted.push(text);
                continue;
            };
            let at = (rect.left, rect.top + ASCENT * font.size);
            self.paper.text(TextItem { at, text, font, color, align: Align::Start, upright: false, halo: true });
        }
        Ok(omitted)
    }
}

/// The cleaned text and its box, px.
pub(super) fn measured(text: &str, font: Font) -> (String, Px) {
    let text = clean(text);
    let size = (font.width(&text), font.size * (ASCENT + DESCENT));
    (text, size)
}

pub(super) fn px((x, y): (Centi, Centi)) -> Px {
    (f64::from(x) / 100.0, f64::from(y) / 100.0)
}

/// Keeps the highest and the lowest point of every px of a dense line, in their order: the picture stays the same.
fn thinned(points: Vec<(Centi, Centi)>) -> Vec<(Centi, Centi)> {
    if points.len() <= DENSE {
        return points;
    }
    let mut kept = vec![points[0]];
    for column in points.chunk_by(|a, b| a.0.div_euclid(100) == b.0.div_euclid(100)) {
        let indices = 0..column.len();
        let low = indices.clone().min_by_key(|&index| column[index].1).unwrap_or(0);
        let high = indices.max_by_key(|&index| column[index].1).unwrap_or(0);
        kept.extend([column[low.min(high)], column[low.max(high)]]);
    }
    kept.extend(points.last());
    kept.dedup();
    kept
}

/// The segments of a line for texts to avoid: bends within a few px make no difference to them.
fn coarse(points: &[(Centi, Centi)]) -> Vec<(Px, Px)> {
    const STEP: Centi = 300;
    let mut kept: Vec<(Centi, Centi)> = Vec::new();
    for (index, &point) in points.iter().enumerate() {
        let far = |last: &(Centi, Centi)| (point.0 - last.0).abs().max((point.1 - last.1).abs()) >= STEP;
        if index + 1 == points.len() || kept.last().is_none_or(far) {
            kept.push(point);
        }
    }
    kept.windows(2).map(|pair| (px(pair[0]), px(pair[1]))).collect()
}
