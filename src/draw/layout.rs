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
/// From a panel's title to its frame, px.
pub(super) const TITLE_GAP: f64 = 6.0;
const SECTION_GAP: f64 = 9.0;
const INSET: f64 = 5.0;
const FIRST_GUESS: Gutters = Gutters { left: 40.0, right: 12.0, top: 0.0, bottom: 0.0 };
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

pub(super) struct FigureLayout {
    pub width: f64,
    pub height: f64,
    /// Lines and the top of each block of text, px.
    pub title: (Vec<String>, f64),
    pub caption: (Vec<String>, f64),
    pub legend: Option<(LegendPlan, f64)>,
    pub panels: Vec<PanelPlan>,
}

impl FigureLayout {
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
        let (panels, height) = PanelGrid { figure, room }.plan(section(0.0))?;
        section(height);
        let below = if place == LegendPlace::Below { Some(section(legend.height())) } else { None };
        let caption = CAPTION_FONT.wrap(&figure.caption, room);
        let caption_top = section(CAPTION_FONT.height(caption.len()));
        let height = section(0.0) - SECTION_GAP + MARGIN;
        let legend = above.or(below).map(|at| (legend, at));
        Ok(Self { width, height, title: (title, title_top), caption: (caption, caption_top), legend, panels })
    }
}

struct PanelGrid<'a> {
    figure: &'a Figure,
    room: f64,
}

impl PanelGrid<'_> {
    /// The panels below `top`, and the height of all rows.
    fn plan(&self, top: f64) -> Result<(Vec<PanelPlan>, f64), DrawError> {
        let columns = self.columns();
        let cell = self.cell();
        let (mut plans, sides) = self.fit()?;
        let mut row_top = top;
        for group in plans.chunks_mut(columns) {
            let ends = group.iter().map(|plan| plan.gutters).fold(Gutters::default(), Gutters::join);
            let tallest = group.iter().map(|plan| plan.frame.height()).fold(0.0, f64::max);
            let frame_top = row_top + ends.top;
            for (column, plan) in group.iter_mut().enumerate() {
                let Gutters { left, right, .. } = sides[column];
                plan.gutters = Gutters { left, right, ..ends };
                let start = MARGIN + column as f64 * (cell + COLUMN_GAP);
                let bottom = frame_top + plan.frame.height();
                plan.frame = Rect::new(start + left, frame_top, start + cell - right, bottom);
            }
            row_top = frame_top + tallest + ends.bottom + ROW_GAP;
        }
        Ok((plans, row_top - ROW_GAP - top))
    }

    fn columns(&self) -> usize {
        self.figure.columns.min(self.figure.panels.len())
    }

    /// Width of a column with its gutters, px.
    fn cell(&self) -> f64 {
        let columns = self.columns();
        (self.room - COLUMN_GAP * (columns - 1) as f64) / columns as f64
    }

    /// The panels and the gutters at the sides of each column. The room that tick labels need depends on the frame's
    /// width, and the width on that room: gutters grow until nothing asks for more.
    fn fit(&self) -> Result<(Vec<PanelPlan>, Vec<Gutters>), DrawError> {
        const ROUNDS: usize = 4;
        let columns = self.columns();
        let mut sides = self.needed(&self.measure(&vec![FIRST_GUESS; columns])?);
        let mut plans = self.measure(&sides)?;
        for _ in 0..ROUNDS {
            let needed = self.needed(&plans);
            if sides.iter().zip(&needed).all(|(side, need)| side.left >= need.left && side.right >= need.right) {
                break;
            }
            sides = sides.into_iter().zip(needed).map(|(side, need)| side.join(need)).collect();
            plans = self.measure(&sides)?;
        }
        Ok((plans, sides))
    }

    fn measure(&self, sides: &[Gutters]) -> Result<Vec<PanelPlan>, DrawError> {
        let measure = |(index, panel): (usize, &Panel)| {
            let side = sides[index % sides.len()];
            let (width, height) = (self.cell() - side.left - side.right, panel.weight * self.figure.size.panel_height);
            if width >= SMALLEST.0 && height >= SMALLEST.1 {
                Ok(panel_plan(panel, (width, height)))
            } else {
                Err(DrawError::TooSmall { panel: index + 1, width, height })
            }
        };
        self.figure.panels.iter().enumerate().map(measure).collect()
    }

    fn needed(&self, plans: &[PanelPlan]) -> Vec<Gutters> {
        let columns = self.columns();
        let of_column = |column| plans.iter().skip(column).step_by(columns).map(|plan| plan.gutters);
        (0..columns).map(|column| of_column(column).fold(Gutters::default(), Gutters::join)).collect()
    }
}

/// A panel whose frame is `width` x `height` px: its axes and the gutters they need. The frame's place comes later.
fn panel_plan(panel: &Panel, (width, height): (f64, f64)) -> PanelPlan {
    let (x_extent, y_extent) = extents(panel);
    let (across, upwards) = sites(panel, (width, height));
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
    let frame = Rect::new(0.0, 0.0, width, height);
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

/// The stretches of paper for the x and the y axis of a panel. Bars stand on the frame, with room for texts above.
fn sites(panel: &Panel, (width, height): (f64, f64)) -> (Site, Site) {
    const TEXT_ON_BAR: f64 = 14.0;
    let across = Site { direction: Direction::X, length: width, inset: (INSET, INSET), headroom: 0.0 };
    let bars = panel.marks.iter().filter_map(|mark| match mark {
        Mark::Bars(bars) => Some(bars),
        _ => None,
    });
    let foot = if bars.clone().count() > 0 { 0.0 } else { INSET };
    let topped = bars.flat_map(|bars| &bars.bars).any(|bar| bar.text.is_some());
    let headroom = if topped { TEXT_ON_BAR / height } else { 0.0 };
    (across, Site { direction: Direction::Y, length: height, inset: (foot, INSET), headroom })
}
