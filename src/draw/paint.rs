//! Paints the marks of a panel, from areas at the bottom to texts on top.

use super::blocks;
use super::canvas::{Centi, centi_pair};
use super::error::DrawError;
use super::labels::{LabelRequest, Px, Rect};
use super::marks::{
    Band, Callout, Course, Dash, Direction, Drop, ErrorBars, Line, Mark, Note, Point, Rule, Scatter, Span, Stroke,
};
use super::palette::Rgb;
use super::plot::{DrawResult, MARKER_RADIUS, Plot, Wanted, measured, px};
use super::text::{Font, LABEL_FONT};

const STRONG_FONT: Font = Font::bold(10.0);

/// Opacity of confidence bands and spans, percent.
pub(super) const BAND_PERCENT: u8 = 16;
const SPAN_PERCENT: u8 = 14;

pub(super) fn paint(plot: &mut Plot, marks: &[Mark]) -> Result<(), DrawError> {
    let mut ordered: Vec<&Mark> = marks.iter().collect();
    ordered.sort_by_key(|mark| layer(mark));
    ordered.into_iter().try_for_each(|mark| paint_mark(plot, mark))?;
    // Markers of all lines lie above all lines.
    for mark in marks {
        if let Mark::Line(line) = mark {
            markers(plot, line)?;
        }
    }
    Ok(())
}

fn layer(mark: &Mark) -> u8 {
    match mark {
        Mark::Span(_) => 0,
        Mark::Band(_) => 1,
        Mark::Bars(_) | Mark::Cells(_) => 2,
        Mark::Rule(_) => 3,
        Mark::ErrorBars(_) => 4,
        Mark::Line(_) => 5,
        Mark::Scatter(_) => 6,
        Mark::Callout(_) => 7,
        Mark::Note(_) => 8,
    }
}

fn paint_mark(plot: &mut Plot, mark: &Mark) -> DrawResult {
    match mark {
        Mark::Line(mark) => line(plot, mark),
        Mark::Band(mark) => band(plot, mark),
        Mark::ErrorBars(mark) => error_bars(plot, mark),
        Mark::Rule(mark) => rule(plot, mark),
        Mark::Span(mark) => span(plot, mark),
        Mark::Callout(mark) => callout(plot, mark),
        Mark::Bars(mark) => blocks::bars(plot, mark),
        Mark::Cells(mark) => blocks::cells(plot, mark),
        Mark::Scatter(mark) => scatter(plot, mark),
        Mark::Note(mark) => {
            note(plot, mark);
            Ok(())
        }
    }
}

fn line(plot: &mut Plot, line: &Line) -> DrawResult {
    let mut places: Vec<(Centi, Centi)> = line.points.iter().map(|p| plot.at(p.x, p.y)).collect();
    if line.course == Course::Step {
        let corner = |pair: &[(Centi, Centi)]| [pair[0], (pair[1].0, pair[0].1)];
        let last = places.last().copied();
        places = places.windows(2).flat_map(corner).chain(last).collect();
    }
    if !places.is_empty() {
        plot.line(places, line.stroke)?;
    }
    if let (Some(text), Some(last)) = (&line.end_label, line.points.last()) {
        let anchor = plot.frame.nearest(plot.px(last.x, last.y));
        let (text, size) = measured(text, LABEL_FONT);
        let mut request = LabelRequest::around(anchor, size, 2);
        for share in [0.9, 0.8, 0.7, 0.6, 0.5] {
            let point = line.points[(share * (line.points.len() - 1) as f64) as usize];
            request = request.or_around(plot.frame.nearest(plot.px(point.x, point.y)));
        }
        plot.want(Wanted::new(text, LABEL_FONT, line.stroke.color.for_text(), request));
    }
    Ok(())
}

fn markers(plot: &mut Plot, line: &Line) -> DrawResult {
    let Some(shape) = line.marker else {
        return Ok(());
    };
    line.points.iter().try_for_each(|p| plot.marker((p.x, p.y), shape, line.stroke.color, p.hollow))
}

fn band(plot: &mut Plot, band: &Band) -> DrawResult {
    let lower = band.intervals.iter().map(|i| plot.at(i.at, i.low));
    let upper = band.intervals.iter().rev().map(|i| plot.at(i.at, i.high));
    let outline: Vec<_> = lower.chain(upper).collect();
    if outline.len() < 4 {
        // A single interval has no area: show it as a whisker.
        let bars = ErrorBars {
            intervals: band.intervals.clone(),
            direction: Direction::Y,
            color: band.color.mix(Rgb::WHITE, 0.5),
            label: None,
        };
        return error_bars(plot, &bars);
    }
    plot.paper.area(outline, band.color, BAND_PERCENT, Some(plot.clip))
}

fn error_bars(plot: &mut Plot, bars: &ErrorBars) -> DrawResult {
    const CAP: Centi = 250;
    let stroke = Stroke::thin(bars.color, 1.0);
    for interval in &bars.intervals {
        let ends = |value: f64| match bars.direction {
            Direction::X => plot.at(value, interval.at),
            Direction::Y => plot.at(interval.at, value),
        };
        let cap = |(x, y): (Centi, Centi)| match bars.direction {
            Direction::X => vec![(x, y - CAP), (x, y + CAP)],
            Direction::Y => vec![(x - CAP, y), (x + CAP, y)],
        };
        let (low, high) = (ends(interval.low), ends(interval.high));
        for path in [vec![low, high], cap(low), cap(high)] {
            plot.line(path, stroke)?;
        }
    }
    Ok(())
}

fn rule(plot: &mut Plot, rule: &Rule) -> DrawResult {
    let frame = plot.frame;
    let (from, to) = match rule.direction {
        Direction::X => {
            let y = plot.at_y(rule.at);
            ((frame.left, y), (frame.right, y))
        }
        Direction::Y => {
            let x = plot.at_x(rule.at);
            ((x, frame.top), (x, frame.bottom))
        }
    };
    plot.line(vec![centi_pair(from), centi_pair(to)], rule.stroke)?;
    let Some(text) = &rule.text else {
        return Ok(());
    };
    let (text, (width, height)) = measured(text, LABEL_FONT);
    let ends = frame.grown(-5.0);
    let steps = |room: f64| [1.0, 0.0, 0.8, 0.2, 0.9, 0.1, 0.5, 0.65, 0.35].map(|share| share * room);
    let spots: Vec<Px> = match rule.direction {
        Direction::X => [from.1 - 2.5 - height, from.1 + 3.5]
            .iter()
            .flat_map(|&top| steps(ends.width() - width).map(|along| (ends.left + along, top)))
            .collect(),
        Direction::Y => [from.0 + 4.0, from.0 - 4.0 - width]
            .iter()
            .flat_map(|&left| steps(ends.height() - height).map(|along| (left, ends.bottom - height - along)))
            .collect(),
    };
    let anchor = Rect::new(from.0, from.1, to.0, to.1);
    let request = LabelRequest::at(spots, (width, height), anchor, 1);
    plot.want(Wanted::new(text, LABEL_FONT, Rgb::GREY, request));
    Ok(())
}

fn span(plot: &mut Plot, span: &Span) -> DrawResult {
    let frame = plot.frame;
    let rect = match span.direction {
        Direction::X => {
            let (a, b) = (plot.at_x(span.low), plot.at_x(span.high));
            Rect { left: a.min(b), right: a.max(b), ..frame }
        }
        Direction::Y => {
            let (a, b) = (plot.at_y(span.low), plot.at_y(span.high));
            Rect { top: a.min(b), bottom: a.max(b), ..frame }
        }
    };
    plot.paper.rect(rect, span.color, SPAN_PERCENT, Some(plot.clip))?;
    let Some(text) = &span.text else {
        return Ok(());
    };
    let (text, size) = measured(text, LABEL_FONT);
    let centre = (rect.left + rect.right - size.0) / 2.0;
    let shares = [0.0, 1.0, 0.2, 0.8, 0.4, 0.6];
    let inside = rect.grown(-4.0);
    let spots = shares
        .iter()
        .flat_map(|share| {
            let top = inside.top + share * (inside.height() - size.1);
            [(centre, top), (inside.left, top), (inside.right - size.0, top)]
        })
        .collect();
    let request = LabelRequest { size, anchors: vec![rect], spots, roams: true, points: false, priority: 3 };
    plot.want(Wanted::new(text, LABEL_FONT, Rgb::GREY, request));
    Ok(())
}

fn callout(plot: &mut Plot, callout: &Callout) -> DrawResult {
    if !plot.shows(callout.x, callout.y) {
        plot.omitted.push(callout.text.clone());
        return Ok(());
    }
    let (frame, color) = (plot.frame, callout.color);
    let at = plot.at(callout.x, callout.y);
    let point = px(at);
    let foot = match callout.drop {
        Drop::None => point,
        Drop::ToX => (point.0, frame.bottom),
        Drop::ToY => (frame.left, point.1),
    };
    if callout.drop != Drop::None {
        let stroke = Stroke { color, width: 0.9, dash: Dash::Dashed };
        plot.line(vec![at, centi_pair(foot)], stroke)?;
    }
    plot.obstacles.boxes.push(Rect::around(point, MARKER_RADIUS + 2.5));
    plot.paper.ring(at, MARKER_RADIUS + 2.0, Stroke::thin(color, 1.2))?;
    let (text, size) = measured(&callout.text, STRONG_FONT);
    let mut request = LabelRequest::around(point, size, 0);
    if callout.drop == Drop::ToX {
        let height = foot.1 - point.1;
        let beside = [0.96, 0.8, 0.65, 0.5, 0.35].map(|share| point.1 + share * height - size.1);
        let right = beside.map(|top| (point.0 + 4.0, top));
        let left = beside.map(|top| (point.0 - 4.0 - size.0, top));
        request.spots.splice(0..0, right.into_iter().chain(left));
        request.anchors = vec![Rect::new(point.0, point.1, point.0, foot.1)];
    }
    plot.want(Wanted::new(text, STRONG_FONT, color.for_text(), request));
    Ok(())
}

fn scatter(plot: &mut Plot, scatter: &Scatter) -> DrawResult {
    for spot in &scatter.spots {
        let Point { x, y, hollow } = spot.point;
        plot.marker((x, y), scatter.shape, scatter.color, hollow)?;
        if let Some(text) = spot.text.as_ref().filter(|_| plot.shows(x, y)) {
            let (text, size) = measured(text, LABEL_FONT);
            let request = LabelRequest::around(plot.px(x, y), size, 2);
            plot.want(Wanted::new(text, LABEL_FONT, Rgb::BLACK, request));
        }
    }
    Ok(())
}

fn note(plot: &mut Plot, note: &Note) {
    let at = plot.frame.nearest(plot.px(note.x, note.y));
    let (text, size) = measured(&note.text, LABEL_FONT);
    let mut request = LabelRequest::around(at, size, 3);
    request.points = false;
    request.spots.insert(0, (at.0 - size.0 / 2.0, at.1 - size.1 / 2.0));
    plot.want(Wanted::new(text, LABEL_FONT, note.color.for_text(), request));
}
