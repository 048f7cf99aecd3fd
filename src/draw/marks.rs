//! What can be put into a panel. All positions are in the data's own units; sizes and widths are in px (1/96 inch).

use super::palette::{MarkerShape, Ramp, Rgb};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dash {
    Solid,
    Dashed,
    Dotted,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    pub color: Rgb,
    pub width: f64,
    pub dash: Dash,
}

impl Stroke {
    #[must_use]
    pub const fn solid(color: Rgb) -> Self {
        Self { color, width: 1.7, dash: Dash::Solid }
    }

    /// A solid line of `width` px.
    #[must_use]
    pub const fn thin(color: Rgb, width: f64) -> Self {
        Self { color, width, dash: Dash::Solid }
    }

    #[must_use]
    pub const fn dashed(color: Rgb) -> Self {
        Self { color, width: 1.3, dash: Dash::Dashed }
    }

    #[must_use]
    pub const fn dotted(color: Rgb) -> Self {
        Self { color, width: 1.6, dash: Dash::Dotted }
    }
}

/// A data point. `hollow` draws its marker with an empty inside: a value to be read with care.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub hollow: bool,
}

impl Point {
    #[must_use]
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y, hollow: false }
    }

    #[must_use]
    pub const fn hollow(x: f64, y: f64) -> Self {
        Self { x, y, hollow: true }
    }
}

impl From<(f64, f64)> for Point {
    fn from((x, y): (f64, f64)) -> Self {
        Self::new(x, y)
    }
}

/// How a line runs from one point to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    #[default]
    Straight,
    /// Level until the next point's x, then up or down: an empirical distribution.
    Step,
}

/// Points joined in the order given. A line of more points than its panel can show is thinned to what is visible.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub points: Vec<Point>,
    pub stroke: Stroke,
    pub marker: Option<MarkerShape>,
    pub course: Course,
    /// The legend's word; lines with equal words and looks share one entry.
    pub label: Option<String>,
    /// Written beside the last point, or farther up the line where there is more room.
    pub end_label: Option<String>,
}

impl Line {
    pub fn new<P: Into<Point>>(points: impl IntoIterator<Item = P>, stroke: Stroke) -> Self {
        let points = points.into_iter().map(Into::into).collect();
        Self { points, stroke, marker: None, course: Course::Straight, label: None, end_label: None }
    }

    #[must_use]
    pub fn marked(mut self, shape: MarkerShape) -> Self {
        self.marker = Some(shape);
        self
    }

    #[must_use]
    pub fn stepped(mut self) -> Self {
        self.course = Course::Step;
        self
    }

    #[must_use]
    pub fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    #[must_use]
    pub fn ending(mut self, label: impl Into<String>) -> Self {
        self.end_label = Some(label.into());
        self
    }
}

/// `low` to `high` at position `at` on the other axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub at: f64,
    pub low: f64,
    pub high: f64,
}

/// A lightly filled area between two curves over x, for confidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    pub intervals: Vec<Spread>,
    pub color: Rgb,
    pub label: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Along x: a level line, a horizontal interval, a span of x.
    X,
    /// Along y: an upright line, a vertical interval, a span of y.
    Y,
}

/// Whiskers; with [`Direction::Y`] each stands at x = `at` from y = `low` to y = `high`.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorBars {
    pub intervals: Vec<Spread>,
    pub direction: Direction,
    pub color: Rgb,
    pub label: Option<String>,
}

/// A straight line across the whole panel, such as a target. [`Direction::X`] is a level line at y = `at`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub at: f64,
    pub direction: Direction,
    pub stroke: Stroke,
    /// Written along the line, inside the panel.
    pub text: Option<String>,
    /// The legend's word.
    pub label: Option<String>,
}

/// A shaded stretch of one axis, such as a warm-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub low: f64,
    pub high: f64,
    pub direction: Direction,
    pub color: Rgb,
    /// Written inside the stretch.
    pub text: Option<String>,
    pub label: Option<String>,
}

/// Where a callout drops a thin line to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    None,
    /// Down to the x axis: the value that is read off lies on x.
    ToX,
    /// Across to the y axis.
    ToY,
}

/// A ring at a place that matters, with a text such as "3.40 req/s" kept clear of everything else.
#[derive(Clone, Debug, PartialEq)]
pub struct Callout {
    pub x: f64,
    pub y: f64,
    pub text: String,
    pub color: Rgb,
    pub drop: Drop,
}

/// What keeps the segments of a stack apart in greyscale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Texture {
    Plain,
    /// Rising strokes.
    Rising,
    /// Falling strokes.
    Falling,
    Crossed,
    Level,
    Dots,
}

const TEXTURES: [Texture; 6] =
    [Texture::Plain, Texture::Rising, Texture::Dots, Texture::Falling, Texture::Level, Texture::Crossed];

/// The texture of the `index`-th segment of a stack.
#[must_use]
pub fn texture(index: usize) -> Texture {
    TEXTURES[index % TEXTURES.len()]
}

/// One layer of every stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub label: String,
    pub color: Rgb,
    pub texture: Texture,
}

/// One stack, from the bottom up; `values` are in the order of [`Bars::segments`], none negative.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Index into the x axis' categories.
    pub category: usize,
    /// Place within the category, from 0.
    pub slot: usize,
    pub values: Vec<f64>,
    /// Written above the stack.
    pub text: Option<String>,
}

/// Stacked bars, grouped side by side within each category of the x axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    pub segments: Vec<Segment>,
    pub bars: Vec<Bar>,
}

/// One cell of a map. A cell without a value is hatched.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Index into the x axis' categories.
    pub column: usize,
    /// Index into the y axis' categories, from the bottom.
    pub row: usize,
    pub value: Option<f64>,
    /// Written into the cell where it fits; the colour is never the only carrier.
    pub text: String,
}

/// The scale of colours drawn at the right of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct ColorKey {
    pub label: String,
    /// Values, in the ramp's units, and what is written beside them.
    pub ticks: Vec<(f64, String)>,
}

/// A map of colours over two category axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    pub cells: Vec<Cell>,
    pub ramp: Ramp,
    pub key: Option<ColorKey>,
}

/// A scattered point, with an optional text beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    pub point: Point,
    pub text: Option<String>,
}

/// Unconnected points. Every one is drawn: thin a cloud of many thousands before.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    pub spots: Vec<Spot>,
    pub shape: MarkerShape,
    pub color: Rgb,
    pub label: Option<String>,
}

/// A free text centred on a place of the panel, moved aside if something else needs the room.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub x: f64,
    pub y: f64,
    pub text: String,
    pub color: Rgb,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    Line(Line),
    Band(Band),
    ErrorBars(ErrorBars),
    Rule(Rule),
    Span(Span),
    Callout(Callout),
    Bars(Bars),
    Cells(Cells),
    Scatter(Scatter),
    Note(Note),
}

macro_rules! mark_from {
    ($($name:ident),*) => {
        $(impl From<$name> for Mark {
            fn from(mark: $name) -> Self {
                Self::$name(mark)
            }
        })*
    };
}

mark_from!(Line, Band, ErrorBars, Rule, Span, Callout, Bars, Cells, Scatter, Note);
