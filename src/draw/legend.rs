//! The legend: what goes into it, how it wraps, and its samples.

use super::blocks::block;
use super::canvas::{Align, TextItem, centi, centi_pair};
use super::figure::{Figure, Key, LegendEntry};
use super::labels::Rect;
use super::marks::{Mark, Scatter, Segment, Stroke, Texture};
use super::paint::BAND_PERCENT;
use super::palette::Rgb;
use super::plot::{DrawResult, MARKER_RADIUS, Paper};
use super::text::{Font, HALF_CAPITAL, clean};

const FONT: Font = Font::regular(10.5);
const LINE_SAMPLE: f64 = 27.0;
const SMALL_SAMPLE: f64 = 15.0;
const SAMPLE_GAP: f64 = 5.0;
const COLUMN_GAP: f64 = 18.0;
const ROW: f64 = 15.5;

/// The entries in rows of `columns`, filled row by row, columns aligned.
pub(super) struct LegendPlan {
    entries: Vec<LegendEntry>,
    columns: usize,
    widths: Vec<f64>,
    /// Width of the samples: lines need more than boxes and markers.
    sample: f64,
}

impl LegendPlan {
    /// As many columns as asked for, or fewer if `room` px do not hold them.
    pub(super) fn new(figure: &Figure, room: f64) -> Self {
        let mut entries = entries(figure);
        let has_lines = entries.iter().any(|entry| matches!(entry.key, Key::Line { .. }));
        let sample = if has_lines { LINE_SAMPLE } else { SMALL_SAMPLE };
        for entry in &mut entries {
            entry.label = FONT.shorten(&clean(&entry.label), room - sample - SAMPLE_GAP);
        }
        let wish = figure.legend.columns.unwrap_or(entries.len()).clamp(1, entries.len().max(1));
        let widths = |columns: usize| -> Vec<f64> {
            let widest = |column| {
                let labels = entries.iter().skip(column).step_by(columns);
                labels.map(|entry| FONT.width(&entry.label)).fold(0.0, f64::max) + sample + SAMPLE_GAP
            };
            (0..columns).map(widest).collect()
        };
        let fits = |columns: &usize| total(&widths(*columns)) <= room;
        let mut columns = (1..=wish).rev().find(fits).unwrap_or(1);
        if figure.legend.columns.is_none() {
            // The same number of rows with evenly filled rows.
            columns = entries.len().div_ceil(entries.len().div_ceil(columns).max(1)).max(1);
        }
        Self { widths: widths(columns), entries, columns, sample }
    }

    pub(super) fn height(&self) -> f64 {
        self.entries.len().div_ceil(self.columns) as f64 * ROW
    }

    /// Draws the legend centred about `middle`, its top at `top`.
    pub(super) fn draw(&self, paper: &Paper, middle: f64, top: f64) -> DrawResult {
        let left = middle - total(&self.widths) / 2.0;
        for (index, entry) in self.entries.iter().enumerate() {
            let (row, column) = (index / self.columns, index % self.columns);
            let x = left + self.widths[..column].iter().map(|width| width + COLUMN_GAP).sum::<f64>();
            let y = top + (row as f64 + 0.5) * ROW;
            draw_sample(paper, entry.key, (x, x + self.sample), y)?;
            let at = (x + self.sample + SAMPLE_GAP, y + FONT.size * HALF_CAPITAL);
            let (text, color) = (entry.label.clone(), Rgb::BLACK);
            paper.text(TextItem { at, text, font: FONT, color, align: Align::Start, upright: false, halo: false });
        }
        Ok(())
    }
}

fn total(widths: &[f64]) -> f64 {
    widths.iter().sum::<f64>() + COLUMN_GAP * (widths.len().max(1) - 1) as f64
}

/// The marks' labels in order of appearance, each look once, then the extra entries.
fn entries(figure: &Figure) -> Vec<LegendEntry> {
    let mut entries: Vec<LegendEntry> = Vec::new();
    let marks = figure.panels.iter().flat_map(|panel| &panel.marks);
    for entry in marks.flat_map(of_mark).chain(figure.legend.extra.iter().cloned()) {
        if !entry.label.is_empty() && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    entries
}

fn of_mark(mark: &Mark) -> Vec<LegendEntry> {
    let opacity = f64::from(BAND_PERCENT) / 100.0;
    let line = |stroke, marker| Key::Line { stroke, marker };
    let (label, key) = match mark {
        Mark::Line(mark) => (&mark.label, line(mark.stroke, mark.marker)),
        Mark::Rule(mark) => (&mark.label, line(mark.stroke, None)),
        Mark::ErrorBars(mark) => (&mark.label, line(Stroke::thin(mark.color, 1.0), None)),
        Mark::Band(mark) => (&mark.label, Key::Area { color: mark.color, opacity }),
        Mark::Span(mark) => (&mark.label, Key::Area { color: mark.color, opacity }),
        Mark::Scatter(Scatter { shape, color, label, .. }) => {
            (label, Key::Marker { shape: *shape, color: *color, hollow: false })
        }
        Mark::Bars(bars) => return bars.segments.iter().map(of_segment).collect(),
        Mark::Callout(_) | Mark::Cells(_) | Mark::Note(_) => return Vec::new(),
    };
    label.iter().map(|label| LegendEntry { key, label: label.clone() }).collect()
}

fn of_segment(segment: &Segment) -> LegendEntry {
    let key = Key::Box { color: segment.color, texture: segment.texture };
    LegendEntry { key, label: segment.label.clone() }
}

/// The sample between `left` and `right`, centred on the line `y`.
fn draw_sample(paper: &Paper, key: Key, (left, right): (f64, f64), y: f64) -> DrawResult {
    let middle = (centi((left + right) / 2.0), centi(y));
    let area = Rect { left, right, top: y - 4.5, bottom: y + 4.5 };
    match key {
        Key::Line { stroke, marker } => {
            let ends = [(left, y), (right, y)].map(centi_pair).to_vec();
            paper.line(ends, stroke, None)?;
            marker.map_or(Ok(()), |shape| paper.marker(middle, shape, MARKER_RADIUS, stroke.color, false))
        }
        Key::Marker { shape, color, hollow } => paper.marker(middle, shape, MARKER_RADIUS, color, hollow),
        Key::Area { color, opacity } => block(paper, area, Rgb::WHITE.mix(color, opacity), Texture::Plain, None),
        Key::Box { color, texture } => block(paper, area, color, texture, None),
    }
}
