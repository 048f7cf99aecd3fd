//! Marks made of rectangles: stacked bars and maps of cells, with textures that survive greyscale.

use super::canvas::{Align, TextItem, centi_pair};
use super::labels::{LabelRequest, Px, Rect};
use super::marks::{Bars, Cells, ColorKey, Dash, Stroke, Texture};
use super::palette::{Ramp, Rgb};
use super::plot::{DrawResult, Paper, Plot, Wanted, measured};
use super::text::{DESCENT, Font, HALF_CAPITAL, LABEL_FONT, LINE, clean};

/// Share of a category's room that its bars take.
const GROUP: f64 = 0.78;
const WIDEST_BAR: f64 = 44.0;
const BAR_GAP: f64 = 3.0;

pub(super) fn bars(plot: &mut Plot, bars: &Bars) -> DrawResult {
    let slots = bars.bars.iter().map(|bar| bar.slot + 1).max().unwrap_or(1) as f64;
    let pitch = ((plot.at_x(0.5) - plot.at_x(-0.5)).abs() * GROUP / slots).min(WIDEST_BAR + BAR_GAP);
    let width = (pitch - BAR_GAP).max(pitch * 0.6);
    for bar in &bars.bars {
        let middle = plot.at_x(bar.category as f64) + (bar.slot as f64 - (slots - 1.0) / 2.0) * pitch;
        let (left, right) = (middle - width / 2.0, middle + width / 2.0);
        let mut foot = 0.0;
        for (segment, value) in bars.segments.iter().zip(&bar.values) {
            let rect = Rect::new(left, plot.at_y(foot + value), right, plot.at_y(foot));
            foot += value;
            if rect.height() > 0.005 {
                block(&plot.paper, rect, segment.color, segment.texture, Some(plot.clip))?;
            }
        }
        let top = plot.at_y(foot);
        plot.obstacles.boxes.push(Rect::new(left, top, right, plot.at_y(0.0)));
        if let Some(text) = &bar.text {
            let (text, size) = measured(text, LABEL_FONT);
            let above = |gap: f64| (middle - size.0 / 2.0, top - gap - size.1);
            let anchor = Rect::new(left, top, right, top);
            let request = LabelRequest::at([2.0, 12.0, 24.0].map(above).to_vec(), size, anchor, 1);
            plot.want(Wanted::new(text, LABEL_FONT, Rgb::BLACK, request));
        }
    }
    Ok(())
}

/// A filled rectangle with its texture and a thin white rim.
pub(super) fn block(paper: &Paper, rect: Rect, color: Rgb, texture: Texture, clip: Option<usize>) -> DrawResult {
    paper.rect(rect, color, 100, clip)?;
    hatch(paper, rect, texture, color.mix(color.ink(), 0.6), clip)?;
    let corners = [(rect.left, rect.top), (rect.right, rect.top), (rect.right, rect.bottom), (rect.left, rect.bottom)];
    let ring = corners.into_iter().chain([corners[0]]).map(centi_pair).collect();
    paper.line(ring, Stroke::thin(Rgb::WHITE, 0.7), clip)
}

/// Distance between the strokes of a texture, px.
const PITCH: f64 = 5.5;

/// Strokes across a rectangle.
fn hatch(paper: &Paper, rect: Rect, texture: Texture, color: Rgb, clip: Option<usize>) -> DrawResult {
    let thin = Stroke::thin(color, 0.75);
    let dots = Stroke { color, width: 1.5, dash: Dash::Dotted };
    let (stroke, strokes) = match texture {
        Texture::Plain => return Ok(()),
        Texture::Rising => (thin, slanted(rect, 1.0)),
        Texture::Falling => (thin, slanted(rect, -1.0)),
        Texture::Crossed => (thin, [slanted(rect, 1.0), slanted(rect, -1.0)].concat()),
        Texture::Level => (thin, level(rect, 0.0)),
        Texture::Dots => (dots, level(rect, 1.5)),
    };
    strokes.into_iter().try_for_each(|(from, to)| paper.line(vec![centi_pair(from), centi_pair(to)], stroke, clip))
}

/// Level strokes, at least one, spread evenly over the height and `inset` px from the sides.
fn level(rect: Rect, inset: f64) -> Vec<(Px, Px)> {
    let count = (rect.height() / PITCH).round().max(1.0) as u32;
    let row = |index: u32| {
        let y = rect.top + (f64::from(index) + 0.5) * rect.height() / f64::from(count);
        ((rect.left + inset, y), (rect.right - inset, y))
    };
    (0..count).map(row).collect()
}

/// Strokes at 45 degrees, rising for a slope of 1 and falling for -1. Their phase is the paper's: neighbours match.
fn slanted(rect: Rect, slope: f64) -> Vec<(Px, Px)> {
    // Every stroke is y = sum - slope * x.
    let sums = [rect.left, rect.right].map(|x| slope * x);
    let (start, stop) = (rect.top + sums[0].min(sums[1]), rect.bottom + sums[0].max(sums[1]));
    let pitch = PITCH * std::f64::consts::SQRT_2;
    let steps = (start / pitch).ceil() as i64..=(stop / pitch).floor() as i64;
    steps
        .filter_map(|step| {
            let sum = step as f64 * pitch;
            let (a, b) = ((sum - rect.top) * slope, (sum - rect.bottom) * slope);
            let (from, to) = (a.min(b).max(rect.left), a.max(b).min(rect.right));
            (to - from > 0.5).then_some(((from, sum - slope * from), (to, sum - slope * to)))
        })
        .collect()
}

pub(super) fn cells(plot: &mut Plot, cells: &Cells) -> DrawResult {
    for cell in &cells.cells {
        let (column, row) = (cell.column as f64, cell.row as f64);
        let (x, y) = ((plot.at_x(column - 0.5), plot.at_x(column + 0.5)), (plot.at_y(row - 0.5), plot.at_y(row + 0.5)));
        let rect = Rect { left: x.0.min(x.1), right: x.0.max(x.1), top: y.0.min(y.1), bottom: y.0.max(y.1) };
        let (color, texture) = match cell.value {
            Some(value) => (cells.ramp.color(value), Texture::Plain),
            None => (Rgb(0xee, 0xee, 0xee), Texture::Rising),
        };
        block(&plot.paper, rect, color, texture, None)?;
        let font = [10.0, 8.5, 7.0]
            .map(Font::regular)
            .into_iter()
            .find(|font| font.width(&clean(&cell.text)) <= rect.width() - 4.0 && font.size * LINE <= rect.height());
        let Some(font) = font else { continue };
        let at = ((rect.left + rect.right) / 2.0, (rect.top + rect.bottom) / 2.0 + font.size * HALF_CAPITAL);
        let (text, color) = (clean(&cell.text), color.ink());
        let halo = cell.value.is_none();
        plot.paper.text(TextItem { at, text, font, color, align: Align::Middle, upright: false, halo });
    }
    Ok(())
}

const KEY_GAP: f64 = 9.0;
const KEY_WIDTH: f64 = 10.0;
const KEY_LINE: Stroke = Stroke::thin(Rgb::GREY, 0.6);

/// px that a colour key takes at the right of its panel.
pub(super) fn key_width(key: &ColorKey) -> f64 {
    let ticks = key.ticks.iter().map(|(_, text)| LABEL_FONT.width(&clean(text))).fold(0.0, f64::max);
    let label = if key.label.is_empty() { 0.0 } else { LABEL_FONT.size * LINE + 3.0 };
    KEY_GAP + KEY_WIDTH + 4.0 + ticks + label + 2.0
}

pub(super) fn color_key(paper: &Paper, frame: Rect, ramp: &Ramp, key: &ColorKey) -> DrawResult {
    let left = frame.right + KEY_GAP;
    let bar = Rect { left, right: left + KEY_WIDTH, ..frame };
    key_colors(paper, bar, ramp)?;
    paper.outline(bar, KEY_LINE)?;
    key_ticks(paper, bar, ramp, key)?;
    let descent = LABEL_FONT.size * DESCENT;
    let at = (frame.right + key_width(key) - 2.0 - descent, (frame.top + frame.bottom) / 2.0);
    let label = LABEL_FONT.shorten(&key.label, frame.height());
    paper.text(TextItem { upright: true, ..TextItem::new(at, label, LABEL_FONT, Align::Middle) });
    Ok(())
}

fn key_colors(paper: &Paper, bar: Rect, ramp: &Ramp) -> DrawResult {
    const STEPS: u32 = 48;
    let (low, high) = ramp.bounds();
    let share = |step: u32| f64::from(step) / f64::from(STEPS);
    let at = |step: u32| bar.bottom - share(step.min(STEPS)) * bar.height();
    (0..STEPS).try_for_each(|step| {
        let color = ramp.color(low + (share(step) + share(1) / 2.0) * (high - low));
        // Each step reaches under the next, so that no seam shows.
        paper.rect(Rect { top: at(step + 2), bottom: at(step), ..bar }, color, 100, None)
    })
}

fn key_ticks(paper: &Paper, bar: Rect, ramp: &Ramp, key: &ColorKey) -> DrawResult {
    let (low, high) = ramp.bounds();
    let shown = |(value, _): &&(f64, String)| *value >= low && *value <= high;
    let mut ticks: Vec<&(f64, String)> = key.ticks.iter().filter(shown).collect();
    ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = LABEL_FONT.size;
    let mut last = f64::INFINITY;
    for (value, text) in ticks {
        let y = bar.bottom - (value - low) / (high - low) * bar.height();
        paper.segment((bar.right, y), (bar.right + 2.5, y), KEY_LINE)?;
        if last - y >= size * LINE {
            last = y;
            let at = (bar.right + 5.0, y + size * HALF_CAPITAL);
            paper.text(TextItem::new(at, clean(text), LABEL_FONT, Align::Start));
        }
    }
    Ok(())
}
