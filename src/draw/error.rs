//! What can be wrong with a figure.

use super::marks::Direction;

/// Why a figure cannot be drawn. Panels and marks are counted from 1, in the order they were given.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DrawError {
    #[error("a figure needs at least one panel and one column: give it both")]
    NoPanels,
    #[error(
        "panel {panel}, mark {mark}: {what} is {value}, which has no place on an axis: leave the point out, or break the line there"
    )]
    NotDrawable { panel: usize, mark: usize, what: &'static str, value: f64 },
    #[error(
        "panel {panel}, mark {mark}: {what} is {value}, but the {} axis is logarithmic: leave it out, or use a linear axis",
        axis_name(.axis)
    )]
    NotPositive { panel: usize, mark: usize, axis: Direction, what: &'static str, value: f64 },
    #[error(
        "panel {panel}, {} axis: the range {low} to {high} is empty or not finite (or not positive on a logarithmic axis): give its lower end first",
        axis_name(.axis)
    )]
    BadRange { panel: usize, axis: Direction, low: f64, high: f64 },
    #[error("panel {panel}, mark {mark}: {what}")]
    MarkerShape { panel: usize, mark: usize, what: String },
    #[error(
        "panel {panel} has only {width:.0} x {height:.0} px left for its frame: make the figure wider, use fewer columns, or shorten the labels"
    )]
    TooSmall { panel: usize, width: f64, height: f64 },
    #[error("the drawing layer refused a mark: {0}")]
    Canvas(String),
    #[error("the embedded font cannot be cut down to the figure's characters: {0}")]
    Font(String),
    #[error("the SVG cannot be read: {0}")]
    Svg(String),
    #[error(
        "a picture of {width:.0} x {height:.0} px at scale {scale} cannot be made: choose a scale above 0 that keeps it below 20000 px a side"
    )]
    Png { width: f64, height: f64, scale: f64 },
}

fn axis_name(axis: &Direction) -> &'static str {
    match axis {
        Direction::X => "x",
        Direction::Y => "y",
    }
}
