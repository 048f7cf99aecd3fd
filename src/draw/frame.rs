//! What surrounds the marks of a panel: grid, frame, ticks, labels, title.

use super::axis::{TICK_FONT, Tick};
use super::canvas::{Align, TextItem};
use super::figure::{Panel, Scale};
use super::labels::Px;
use super::layout::{AXIS_FONT, PANEL_FONT, PanelPlan, TICK_ROOM, TITLE_GAP};
use super::marks::Stroke;
use super::palette::Rgb;
use super::plot::{DrawResult, Paper, Plot};
use super::text::{ASCENT, DESCENT, Font, HALF_CAPITAL, LINE};

const GRID: Stroke = Stroke::thin(Rgb::PALE, 0.7);
const FRAME: Stroke = Stroke::thin(Rgb::GREY, 0.8);
const TICK: f64 = 3.5;
const MINOR_TICK: f64 = 2.0;

/// Lines of text below each other; `at` is the baseline of the first.
pub(super) fn lines(paper: &Paper, lines: &[String], at: Px, font: Font, align: Align) {
    for (index, text) in lines.iter().enumerate() {
        let at = (at.0, at.1 + index as f64 * font.size * LINE);
        paper.text(TextItem::new(at, text, font, align));
    }
}

/// The grid, below everything.
pub(super) fn grid(plot: &Plot, panel: &Panel, plan: &PanelPlan) -> DrawResult {
    let frame = plan.frame;
    if !matches!(panel.x.scale, Scale::Categories(_)) {
        for tick in &plan.x.ticks {
            let x = plot.at_x(tick.at);
            plot.paper.segment((x, frame.top), (x, frame.bottom), GRID)?;
        }
    }
    if !matches!(panel.y.scale, Scale::Categories(_)) {
        for tick in &plan.y.ticks {
            let y = plot.at_y(tick.at);
            plot.paper.segment((frame.left, y), (frame.right, y), GRID)?;
        }
    }
    Ok(())
}

/// Frame, ticks and labels, above the marks and below the texts within.
pub(super) fn surround(plot: &Plot, plan: &PanelPlan) -> DrawResult {
    let (paper, frame) = (&plot.paper, plan.frame);
    paper.outline(frame, FRAME)?;
    for &value in &plan.x.minor {
        let x = plot.at_x(value);
        paper.segment((x, frame.bottom), (x, frame.bottom + MINOR_TICK), FRAME)?;
    }
    for &value in &plan.y.minor {
        let y = plot.at_y(value);
        paper.segment((frame.left - MINOR_TICK, y), (frame.left, y), FRAME)?;
    }
    for tick in &plan.x.ticks {
        x_tick(plot, plan, tick)?;
    }
    for tick in &plan.y.ticks {
        y_tick(plot, plan, tick)?;
    }
    words(paper, plan);
    Ok(())
}

/// Title, axis labels, and a word where the data should be if there is none.
fn words(paper: &Paper, plan: &PanelPlan) {
    let frame = plan.frame;
    let (x, y) = ((frame.left + frame.right) / 2.0, (frame.top + frame.bottom) / 2.0);
    let title_top = frame.top - TITLE_GAP - PANEL_FONT.height(plan.title.len());
    lines(paper, &plan.title, (x, title_top + ASCENT * PANEL_FONT.size), PANEL_FONT, Align::Middle);
    let label_top = frame.bottom + plan.label_drop;
    lines(paper, &plan.x_label, (x, label_top + ASCENT * AXIS_FONT.size), AXIS_FONT, Align::Middle);
    for (index, text) in plan.y_label.iter().enumerate() {
        let x = frame.left - plan.gutters.left + (ASCENT + index as f64 * LINE) * AXIS_FONT.size;
        paper.text(TextItem { upright: true, ..TextItem::new((x, y), text, AXIS_FONT, Align::Middle) });
    }
    if !plan.has_data {
        let at = (x, y + AXIS_FONT.size * HALF_CAPITAL);
        let text = TextItem::new(at, "no data", AXIS_FONT, Align::Middle);
        paper.text(TextItem { color: Rgb::GREY, halo: true, ..text });
    }
}

fn x_tick(plot: &Plot, plan: &PanelPlan, tick: &Tick) -> DrawResult {
    let (x, bottom) = (plot.at_x(tick.at), plan.frame.bottom);
    plot.paper.segment((x, bottom), (x, bottom + TICK), FRAME)?;
    let baseline = bottom + TICK_ROOM + ASCENT * TICK_FONT.size;
    lines(&plot.paper, &tick.lines, (x, baseline), TICK_FONT, Align::Middle);
    Ok(())
}

fn y_tick(plot: &Plot, plan: &PanelPlan, tick: &Tick) -> DrawResult {
    let (y, left) = (plot.at_y(tick.at), plan.frame.left);
    plot.paper.segment((left - TICK, y), (left, y), FRAME)?;
    let extra = TICK_FONT.height(tick.lines.len()) - TICK_FONT.size * (ASCENT + DESCENT);
    let baseline = y + HALF_CAPITAL * TICK_FONT.size - extra.max(0.0) / 2.0;
    lines(&plot.paper, &tick.lines, (left - TICK_ROOM, baseline), TICK_FONT, Align::End);
    Ok(())
}
