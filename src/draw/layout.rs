//! Shares the paper out: gutters for ticks and labels, frames that line up in rows and columns, legend and caption.

use super::axis::{AxisPlan, Site};
use super::blocks::key_width;
use super::check::{extents, has_data};
use super::error::DrawError;
use super::figure::{Figure, LegendPlace, Panel};
use super::labels::Rect;
use super::legend::LegendPlan;
use super::marks::{Direction, Mark};
use super::text::Font;

pub(super) const TITLE_FONT: Font = Font::bold(13.0);
pub(super) const PANEL_FONT: Font = Font::bold(11.0);
pub(super) const AXIS_FONT: Font = Font::regular(11.0);
pub(super) const CAPTION_FONT: Font = Font::regular(10.0);

/// From the frame to the tick labels, px.
pub(super) const TICK_ROOM: f64 = 6.0;
const MARGIN: f64 = 8.0;
const COLUMN_GAP: f64 = 14.0;
const ROW_GAP: f64 = 10.0;
const LABEL_GAP: f64 = 5.0;
const TITLE_GAP: f64 = 6.0;
const SECTION_GAP: f64 = 9.0;
const INSET: f64 = 5.0;
const SMALLEST: (f64, f64) = (48.0, 24.0);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gutters {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Gutters {
    fn join(self, other: Self) -> Self {
        Self {
            left: self.left.max(other.left),
            right: self.right.max(other.right),
            top: self.top.max(other.top),
            bottom: self.bottom.max(other.bottom),
        }
    }
}

pub(super) struct PanelPlan {
    pub frame: Rect,
    pub gutters: Gutters,
    pub x: AxisPlan,
    pub y: AxisPlan,
    pub title: Vec<String>,
    pub x_label: Vec<String>,
    pub y_label: Vec<String>,
    /// From the frame down to the top of the x label, px.
    pub label_drop: f64,
    pub has_data: bool,
}

pub(super) struct Layout {
    pub width: f64,
    pub height: f64,
    /// Lines and the top of each block of text, px.
    pub title: (Vec<String>, f64),
    pub caption: (Vec<String>, f64),
    pub legend: Option<(LegendPlan, f64)>,
    pub panels: Vec<PanelPlan>,
}

impl Layout {
    pub(super) fn new(figure: &Figure) -> Result<Self, DrawError> {
        let width = figure.size.width;
        let room = width - 2.0 * MARGIN;
        let mut top = MARGIN;
        let mut section = |height: f64| {
            let start = top;
            top += if height > 0.0 { height + SECTION_GAP } else { 0.0 };
            start
        };
        let title = TITLE_FONT.wrap_to(&figure.title, room, 3);
        let title_top = section(TITLE_FONT.height(title.len()));
        let legend = LegendPlan::new(figure, room);
        let place = figure.legend.place;
        let above = if place == LegendPlace::Above { Some(section(legend.height())) } else { None };
        let (panels, height) = Grid { figure, room }.plan(section(0.0))?;
        section(height);
        let below = if place == LegendPlace::Below { Some(section(legend.height())) } else { None };
        let caption = CAPTION_FONT.wrap(&figure.caption, room);
        let caption_top = section(CAPTION_FONT.height(caption.len()));
        let height = section(0.0) - SECTION_GAP + MARGIN;
        let legend = above.or(below).map(|at| (legend, at));
        Ok(Self { width, height, title: (title, title_top), caption: (caption, caption_top), legend, panels })
    }
}

struct Grid<'a> {
    figure: &'a Figure,
    room: f64,
}

impl Grid<'_> {
    /// The panels below `top`, and the height of all rows.
    fn plan(&self, top: f64) -> Result<(Vec<PanelPlan>, f64), DrawError> {
        let panels = &self.figure.panels;
        let columns = self.figure.columns.min(panels.len());
        let cell = (self.room - COLUMN_GAP * (columns - 1) as f64) / columns as f64;
        let heights: Vec<f64> = panels.iter().map(|panel| panel.weight * self.figure.size.panel_height).collect();
        // Two passes: the room for tick labels depends on the frame's width, and the width on that room.
        let mut sides = vec![Gutters { left: 40.0, right: 12.0, ..Gutters::default() }; columns];
        let mut plans = Vec::new();
        for _ in 0..2 {
            plans.clear();
            for (index, panel) in panels.iter().enumerate() {
                let side = sides[index % columns];
                let size = (cell - side.left - side.right, heights[index]);
                if !(size.0 >= SMALLEST.0 && size.1 >= SMALLEST.1) {
                    return Err(DrawError::TooSmall { panel: index + 1, width: size.0, height: size.1 });
                }
                plans.push(panel_plan(panel, size));
            }
            for (column, side) in sides.iter_mut().enumerate() {
                let gutters = plans.iter().skip(column).step_by(columns).map(|plan| plan.gutters);
                *side = gutters.fold(Gutters::default(), Gutters::join);
            }
        }
        let mut row_top = top;
        for (row, group) in plans.chunks_mut(columns).enumerate() {
            let ends = group.iter().map(|plan| plan.gutters).fold(Gutters::default(), Gutters::join);
            let tallest = heights[row * columns..].iter().take(group.len()).fold(0.0f64, |most, &h| most.max(h));
            for (column, plan) in group.iter_mut().enumerate() {
                let left = MARGIN + column as f64 * (cell + COLUMN_GAP);
                let frame_top = row_top + ends.top;
                plan.gutters = Gutters { left: sides[column].left, right: sides[column].right, ..ends };
                plan.frame = Rect {
                    left: left + sides[column].left,
                    right: left + cell - sides[column].right,
                    top: frame_top,
                    bottom: frame_top + heights[row * columns + column],
                };
            }
            row_top += ends.top + tallest + ends.bottom + ROW_GAP;
        }
        Ok((plans, row_top - ROW_GAP - top))
    }
}

/// A panel whose frame is `width` x `height` px: its axes and the gutters they need. The frame's place comes later.
fn panel_plan(panel: &Panel, (width, height): (f64, f64)) -> PanelPlan {
    let (x_extent, y_extent) = extents(panel);
    let stacked = panel.marks.iter().any(|mark| matches!(mark, Mark::Bars(_)));
    let topped = panel
        .marks
        .iter()
        .any(|mark| matches!(mark, Mark::Bars(bars) if bars.bars.iter().any(|bar| bar.text.is_some())));
    let across = Site { direction: Direction::X, length: width, inset: (INSET, INSET), headroom: 0.0 };
    let upwards = Site {
        direction: Direction::Y,
        length: height,
        inset: if stacked { (0.0, INSET) } else { (INSET, INSET) },
        headroom: if topped { 14.0 / height } else { 0.0 },
    };
    let x = AxisPlan::new(&panel.x, x_extent, across);
    let y = AxisPlan::new(&panel.y, y_extent, upwards);
    let title = PANEL_FONT.wrap_to(&panel.title, width, 2);
    let x_label = AXIS_FONT.wrap_to(&panel.x.label, width, 3);
    let y_label = AXIS_FONT.wrap_to(&panel.y.label, height, 2);
    let key = panel.marks.iter().find_map(|mark| match mark {
        Mark::Cells(cells) => cells.key.as_ref(),
        _ => None,
    });
    let with_gap = |size: f64, gap: f64| if size > 0.0 { size + gap } else { 0.0 };
    let overhang = x.overhang(width);
    let ticks_bottom = with_gap(x.label_height(), TICK_ROOM).max(TICK_ROOM);
    let gutters = Gutters {
        left: (TICK_ROOM + y.label_width() + with_gap(AXIS_FONT.height(y_label.len()), LABEL_GAP)).max(overhang.0),
        right: overhang.1.max(key.map_or(2.0, key_width)),
        top: with_gap(PANEL_FONT.height(title.len()), TITLE_GAP).max(4.0),
        bottom: ticks_bottom + with_gap(AXIS_FONT.height(x_label.len()), LABEL_GAP),
    };
    let frame = Rect { left: 0.0, top: 0.0, right: width, bottom: height };
    PanelPlan {
        frame,
        gutters,
        x,
        y,
        title,
        x_label,
        y_label,
        label_drop: ticks_bottom + LABEL_GAP,
        has_data: has_data(panel),
    }
}
