//! The declarative model of a figure: panels with axes in a grid, one legend, one caption.

use super::marks::{Mark, Stroke, Texture};
use super::palette::{MarkerShape, Rgb};

/// One or more panels that share a legend and a caption. Sizes are in px, 96 to the inch.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Also the document's title in SVG and PDF. Empty: nothing is written.
    pub title: String,
    /// Wrapped below the panels. Empty: nothing is written.
    pub caption: String,
    pub panels: Vec<Panel>,
    /// Panels in a row; later panels start new rows.
    pub columns: usize,
    pub size: Size,
    pub legend: Legend,
}

impl Figure {
    /// All panels side by side, two at most, in the width of a two-column page.
    #[must_use]
    pub fn new(panels: Vec<Panel>) -> Self {
        let columns = panels.len().clamp(1, 2);
        Self {
            title: String::new(),
            caption: String::new(),
            panels,
            columns,
            size: Size::default(),
            legend: Legend::default(),
        }
    }

    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    #[must_use]
    pub fn captioned(mut self, caption: impl Into<String>) -> Self {
        self.caption = caption.into();
        self
    }

    #[must_use]
    pub fn in_columns(mut self, columns: usize) -> Self {
        self.columns = columns;
        self
    }

    #[must_use]
    pub fn sized(mut self, width: f64, panel_height: f64) -> Self {
        self.size = Size { width, panel_height };
        self
    }

    #[must_use]
    pub fn with_legend(mut self, legend: Legend) -> Self {
        self.legend = legend;
        self
    }
}

/// The figure is as wide as asked and as high as its content needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Of the whole figure.
    pub width: f64,
    /// Of the frame of a panel of weight 1, without ticks and labels.
    pub panel_height: f64,
}

impl Default for Size {
    fn default() -> Self {
        Self { width: 720.0, panel_height: 210.0 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegendPlace {
    #[default]
    Above,
    Below,
    Hidden,
}

/// One legend for all panels, made of the marks' labels in order of appearance, then `extra`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Legend {
    pub place: LegendPlace,
    /// Entries in a row if they fit; as many as fit if not given.
    pub columns: Option<usize>,
    pub extra: Vec<LegendEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LegendEntry {
    pub key: Key,
    pub label: String,
}

/// The sample drawn before a legend's word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Key {
    Line { stroke: Stroke, marker: Option<MarkerShape> },
    Marker { shape: MarkerShape, color: Rgb, hollow: bool },
    Area { color: Rgb, opacity: f64 },
    Box { color: Rgb, texture: Texture },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    /// DrawResult in the order areas, lines, points, texts; within a kind in the order given.
    pub marks: Vec<Mark>,
    /// Height of the frame in units of [`Size::panel_height`].
    pub weight: f64,
}

impl Panel {
    #[must_use]
    pub fn new(x: Axis, y: Axis) -> Self {
        Self { title: String::new(), x, y, marks: Vec::new(), weight: 1.0 }
    }

    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    #[must_use]
    pub fn weighing(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    #[must_use]
    pub fn with(mut self, mark: impl Into<Mark>) -> Self {
        self.marks.push(mark.into());
        self
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    Linear,
    /// Base ten; every value on it must be positive.
    Log,
    /// Names at 0, 1, 2, ...
    Categories(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// Covers the data, widened to nice ends.
    Auto,
    /// As `Auto`, and covers this value too.
    Including(f64),
    /// From the lower to the higher value; what lies outside is cut at the frame.
    Fixed(f64, f64),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Ticks {
    /// Round values, as many as fit without crowding.
    Nice,
    /// These values; a label that would touch its neighbour is left out, its tick stays.
    At(Vec<f64>),
    /// Tick marks without numbers: panels that share the axis below them.
    Bare,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub label: String,
    pub scale: Scale,
    pub range: Range,
    /// Larger values to the left, or downwards.
    pub reversed: bool,
    pub ticks: Ticks,
    /// Written behind every tick's number, such as " %".
    pub unit: String,
}

impl Axis {
    #[must_use]
    pub fn linear(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            scale: Scale::Linear,
            range: Range::Auto,
            reversed: false,
            ticks: Ticks::Nice,
            unit: String::new(),
        }
    }

    #[must_use]
    pub fn log(label: impl Into<String>) -> Self {
        Self { scale: Scale::Log, ..Self::linear(label) }
    }

    #[must_use]
    pub fn categories<S: Into<String>>(label: impl Into<String>, names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self { scale: Scale::Categories(names), ..Self::linear(label) }
    }

    #[must_use]
    pub fn fixed(mut self, low: f64, high: f64) -> Self {
        self.range = Range::Fixed(low, high);
        self
    }

    #[must_use]
    pub fn including(mut self, value: f64) -> Self {
        self.range = Range::Including(value);
        self
    }

    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.reversed = true;
        self
    }

    #[must_use]
    pub fn ticks_at(mut self, values: impl IntoIterator<Item = f64>) -> Self {
        self.ticks = Ticks::At(values.into_iter().collect());
        self
    }

    #[must_use]
    pub fn bare(mut self) -> Self {
        self.ticks = Ticks::Bare;
        self
    }

    #[must_use]
    pub fn in_unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }
}
