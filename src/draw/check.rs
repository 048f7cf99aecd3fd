//! Reads every number of a figure once: refuses what has no place on an axis, and finds the extent of the data.

use super::error::DrawError;
use super::figure::{Axis, Figure, Panel, Range, Scale, Ticks};
use super::marks::{Direction, Mark};

/// Magnitudes beyond this cannot be told from mistakes, and differences of them overflow.
const REACH: f64 = 1e100;

/// Calls `visit(axis, value, what)` for every value of `mark` that needs a place on an axis.
fn visit_values(mark: &Mark, visit: &mut dyn FnMut(Direction, f64, &'static str)) {
    use Direction::{X, Y};
    match mark {
        Mark::Line(line) => line.points.iter().for_each(|p| {
            visit(X, p.x, "a point's x");
            visit(Y, p.y, "a point's y");
        }),
        Mark::Scatter(scatter) => scatter.spots.iter().for_each(|spot| {
            visit(X, spot.point.x, "a point's x");
            visit(Y, spot.point.y, "a point's y");
        }),
        Mark::Band(band) => band.intervals.iter().for_each(|i| {
            visit(X, i.at, "a band's x");
            visit(Y, i.low, "a band's lower edge");
            visit(Y, i.high, "a band's upper edge");
        }),
        Mark::ErrorBars(bars) => bars.intervals.iter().for_each(|i| {
            visit(bars.direction.other(), i.at, "an error bar's place");
            visit(bars.direction, i.low, "an error bar's lower end");
            visit(bars.direction, i.high, "an error bar's upper end");
        }),
        Mark::Rule(rule) => visit(rule.direction.other(), rule.at, "a rule's place"),
        Mark::Span(span) => {
            visit(span.direction, span.low, "a span's start");
            visit(span.direction, span.high, "a span's end");
        }
        Mark::Callout(callout) => {
            visit(X, callout.x, "a callout's x");
            visit(Y, callout.y, "a callout's y");
        }
        Mark::Note(note) => {
            visit(X, note.x, "a note's x");
            visit(Y, note.y, "a note's y");
        }
        Mark::Bars(bars) => bars.bars.iter().for_each(|bar| {
            visit(Y, 0.0, "the foot of a bar");
            bar.values.iter().for_each(|&value| visit(Y, value, "a segment of a bar"));
            visit(Y, bar.values.iter().sum(), "the top of a bar");
        }),
        Mark::Cells(cells) => cells.cells.iter().filter_map(|cell| cell.value).for_each(|value| {
            // A cell's place comes from the categories; only its value must be a number.
            visit(X, if value.is_finite() { 0.0 } else { value }, "a cell's value");
        }),
    }
}

impl Direction {
    #[must_use]
    pub(super) fn other(self) -> Self {
        match self {
            Self::X => Self::Y,
            Self::Y => Self::X,
        }
    }
}

/// Smallest and largest value on one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ValueRange {
    pub low: f64,
    pub high: f64,
}

impl ValueRange {
    pub(super) fn join(extent: Option<Self>, value: f64) -> Self {
        let Self { low, high } = extent.unwrap_or(Self { low: value, high: value });
        Self { low: low.min(value), high: high.max(value) }
    }
}

/// What the marks of a panel cover; `None` on an axis with no data.
pub(super) fn extents(panel: &Panel) -> (Option<ValueRange>, Option<ValueRange>) {
    let (mut x, mut y) = (None, None);
    for mark in &panel.marks {
        visit_values(mark, &mut |axis, value, _| {
            let extent = if axis == Direction::X { &mut x } else { &mut y };
            *extent = Some(ValueRange::join(*extent, value));
        });
    }
    (x, y)
}

/// Whether any mark of the panel shows data; rules, spans and notes do not.
pub(super) fn has_data(panel: &Panel) -> bool {
    panel.marks.iter().any(|mark| match mark {
        Mark::Line(line) => !line.points.is_empty(),
        Mark::Band(band) => !band.intervals.is_empty(),
        Mark::ErrorBars(bars) => !bars.intervals.is_empty(),
        Mark::Scatter(scatter) => !scatter.spots.is_empty(),
        Mark::Bars(bars) => !bars.bars.is_empty(),
        Mark::Cells(cells) => !cells.cells.is_empty(),
        Mark::Callout(_) => true,
        Mark::Rule(_) | Mark::Span(_) | Mark::Note(_) => false,
    })
}

pub(super) fn check(figure: &Figure) -> Result<(), DrawError> {
    if figure.panels.is_empty() || figure.columns == 0 {
        return Err(DrawError::NoPanels);
    }
    for (index, panel) in figure.panels.iter().enumerate() {
        check_axis(index + 1, Direction::X, &panel.x)?;
        check_axis(index + 1, Direction::Y, &panel.y)?;
        for (number, mark) in panel.marks.iter().enumerate() {
            let place = Place { panel: index + 1, mark: number + 1 };
            place.check_values(panel, mark)?;
            place.check_shape(panel, mark)?;
        }
    }
    Ok(())
}

fn check_axis(panel: usize, direction: Direction, axis: &Axis) -> Result<(), DrawError> {
    let log = axis.scale == Scale::Log;
    let allowed = |v: f64| v.is_finite() && v.abs() <= REACH && !(log && v <= 0.0);
    let (low, high) = match axis.range {
        Range::Auto => (1.0, 2.0),
        Range::Including(value) => (value, value + value.abs() + 1.0),
        Range::Fixed(low, high) => (low, high),
    };
    if !(allowed(low) && allowed(high) && low < high) {
        return Err(DrawError::BadRange { panel, axis: direction, low, high });
    }
    match &axis.ticks {
        Ticks::At(values) => values
            .iter()
            .find(|&&v| !allowed(v))
            .map_or(Ok(()), |&v| Err(DrawError::BadRange { panel, axis: direction, low: v, high: v })),
        Ticks::Nice | Ticks::Bare => Ok(()),
    }
}

#[derive(Clone, Copy)]
struct Place {
    panel: usize,
    mark: usize,
}

impl Place {
    fn check_values(self, in_panel: &Panel, mark: &Mark) -> Result<(), DrawError> {
        let Self { panel, mark: number } = self;
        let mut first = Ok(());
        visit_values(mark, &mut |axis, value, what| {
            let scale = if axis == Direction::X { &in_panel.x.scale } else { &in_panel.y.scale };
            if first.is_err() {
            } else if !value.is_finite() || value.abs() > REACH {
                first = Err(DrawError::NotDrawable { panel, mark: number, what, value });
            } else if *scale == Scale::Log && value <= 0.0 {
                first = Err(DrawError::NotPositive { panel, mark: number, axis, what, value });
            }
        });
        first
    }

    fn check_shape(self, panel: &Panel, mark: &Mark) -> Result<(), DrawError> {
        let names = |axis: &Axis| match &axis.scale {
            Scale::Categories(names) => names.len(),
            Scale::Linear | Scale::Log => 0,
        };
        let (columns, rows) = (names(&panel.x), names(&panel.y));
        match mark {
            Mark::Bars(bars) => {
                for bar in &bars.bars {
                    self.require(bar.category < columns, || {
                        format!("a bar stands in category {} of an x axis with {columns} categories", bar.category)
                    })?;
                    self.require(bar.values.len() == bars.segments.len(), || {
                        format!("a bar has {} values for {} segments", bar.values.len(), bars.segments.len())
                    })?;
                    self.require(bar.values.iter().all(|&v| v >= 0.0), || "a stacked segment is negative".into())?;
                }
                Ok(())
            }
            Mark::Cells(cells) => {
                self.require(cells.ramp.is_sound(), || "the ends of the colour ramp are not in order".into())?;
                cells.cells.iter().try_for_each(|cell| {
                    self.require(cell.column < columns && cell.row < rows, || {
                        format!("a cell at {}, {} lies outside {columns} x {rows} categories", cell.column, cell.row)
                    })
                })
            }
            _ => Ok(()),
        }
    }

    fn require(self, holds: bool, what: impl FnOnce() -> String) -> Result<(), DrawError> {
        if holds { Ok(()) } else { Err(DrawError::MarkerShape { panel: self.panel, mark: self.mark, what: what() }) }
    }
}
