//! An axis worked out for a given length: its range, where values fall, and which ticks are written.

use std::ops;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged};

use super::check::ValueRange;
use super::figure::{Axis, Range, Scale, Ticks};
use super::marks::Direction;
use super::text::{Font, LINE, clean};
use super::ticks::{TickStep, log_ticks, write_decades, write_number};

pub(super) const TICK_FONT: Font = Font::regular(10.0);

/// Free room between the labels of neighbouring ticks, px.
const TICK_GAP: f64 = 9.0;

/// Widest category name beside a y axis, px.
const ROW_NAME: f64 = 110.0;

/// The stretch of paper an axis is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub direction: Direction,
    /// px from end to end of the frame.
    pub length: f64,
    /// px kept free at the low and the high end, so that marks at the limits do not sit on the frame.
    pub inset: (f64, f64),
    /// Free share of the range above the data, for texts on top of bars.
    pub headroom: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub at: f64,
    /// Empty: a tick mark without a label.
    pub lines: Vec<String>,
}

/// From values to places; the plotters coordinate of one axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AxisMap {
    log: bool,
    low: f64,
    high: f64,
    reversed: bool,
    /// 1/100 px.
    inset: (i32, i32),
}

impl AxisMap {
    /// The share of the way from the low to the high end of the axis (before insets), which may lie outside 0..=1.
    fn share(&self, value: f64) -> f64 {
        let on = |v: f64| if self.log { v.log10() } else { v };
        let share = (on(value) - on(self.low)) / (on(self.high) - on(self.low));
        if self.reversed { 1.0 - share } else { share }
    }

    /// Whether `value` lies in the range shown.
    pub(super) fn shows(&self, value: f64) -> bool {
        let slack = 1e-9;
        (-slack..=1.0 + slack).contains(&self.share(value))
    }

    /// px from the start (left or bottom) of an axis of `length` px.
    fn offset(&self, value: f64, length: f64) -> f64 {
        f64::from(self.map(&value, (0, (length * 100.0) as i32))) / 100.0
    }
}

impl Ranged for AxisMap {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    /// Places beyond the paper are clamped a kilometre off it, so that steep lines keep their slope within the frame.
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let toward = f64::from((limit.1 - limit.0).signum());
        let from = f64::from(limit.0) + toward * f64::from(self.inset.0);
        let to = f64::from(limit.1) - toward * f64::from(self.inset.1);
        (from + self.share(*value) * (to - from)).round().clamp(-5e8, 5e8) as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        TickStep::dividing(self.high - self.low, hint.max_num_points().max(2) - 1).ticks(self.low, self.high)
    }

    fn range(&self) -> ops::Range<f64> {
        self.low..self.high
    }
}

/// An axis ready to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AxisPlan {
    pub map: AxisMap,
    pub ticks: Vec<Tick>,
    /// Short marks between the decades of a logarithmic axis.
    pub minor: Vec<f64>,
}

impl AxisPlan {
    pub(super) fn new(axis: &Axis, extent: Option<ValueRange>, site: Site) -> Self {
        let (low, high) = resolve(axis, extent, site.headroom);
        let free = !matches!(axis.scale, Scale::Categories(_));
        let centi = |px: f64| if free { (px * 100.0).round() as i32 } else { 0 };
        let map = AxisMap {
            log: axis.scale == Scale::Log,
            low,
            high,
            reversed: axis.reversed,
            inset: (centi(site.inset.0), centi(site.inset.1)),
        };
        let ticks = match (&axis.scale, &axis.ticks) {
            (Scale::Categories(names), _) => name_ticks(names, site),
            (_, Ticks::At(values)) => given_ticks(values, &axis.unit, &map, site),
            (scale, _) => nice_ticks(scale, &axis.unit, &map, site),
        };
        let mut plan = Self { minor: minor_ticks(&map, site), map, ticks };
        if axis.ticks == Ticks::Bare {
            plan.ticks.iter_mut().for_each(|tick| tick.lines.clear());
        }
        plan
    }

    /// Width in px of the widest tick label.
    pub(super) fn label_width(&self) -> f64 {
        self.ticks.iter().map(Tick::width).fold(0.0, f64::max)
    }

    /// Height in px of the highest tick label.
    pub(super) fn label_height(&self) -> f64 {
        self.ticks.iter().map(|tick| TICK_FONT.height(tick.lines.len())).fold(0.0, f64::max)
    }

    /// How far the labels of an x axis of `length` px reach beyond its left and right ends, px.
    pub(super) fn overhang(&self, length: f64) -> (f64, f64) {
        self.ticks.iter().fold((0.0, 0.0), |(left, right): (f64, f64), tick| {
            let (middle, half) = (self.map.offset(tick.at, length), tick.width() / 2.0);
            (left.max(half - middle), right.max(middle + half - length))
        })
    }
}

impl Tick {
    fn labelled(at: f64, number: &str, unit: &str) -> Self {
        Self { at, lines: vec![clean(&format!("{number}{unit}"))] }
    }

    fn width(&self) -> f64 {
        self.lines.iter().map(|line| TICK_FONT.width(line)).fold(0.0, f64::max)
    }
}

/// The range shown, from the axis' wish and the data.
fn resolve(axis: &Axis, extent: Option<ValueRange>, headroom: f64) -> (f64, f64) {
    let extent = match (&axis.scale, axis.range) {
        (Scale::Categories(names), _) => return (-0.5, names.len().max(1) as f64 - 0.5),
        (_, Range::Fixed(low, high)) => return (low, high),
        (_, Range::Including(value)) => Some(ValueRange::join(extent, value)),
        (_, Range::Auto) => extent,
    };
    match (&axis.scale, extent) {
        (Scale::Log, None) => (1.0, 10.0),
        (_, None) => (0.0, 1.0),
        (Scale::Log, Some(ValueRange { low, high })) => {
            let (low, high) = if high / low < 1.0 + 1e-9 { (low / 2.0, high * 2.0) } else { (low, high) };
            let ends = log_ticks(low / 10.0, high * 10.0, &[1, 2, 5], 1);
            let slack = 1e-9;
            let start = ends.iter().rev().find(|&&end| end <= low * (1.0 + slack)).copied();
            let stop = ends.iter().find(|&&end| end >= high * (1.0 - slack)).copied();
            (start.unwrap_or(low), stop.unwrap_or(high))
        }
        (_, Some(ValueRange { low, high })) => {
            let size = low.abs().max(high.abs());
            let (low, high) = match high - low {
                _ if size < 1e-100 => (0.0, 1.0),
                span if span <= size * 1e-9 => (low - size / 2.0, high + size / 2.0),
                span => (low, high + span * headroom),
            };
            TickStep::dividing(high - low, 6).enclose(low, high)
        }
    }
}

/// Category names, wrapped to the room each has. Where that is less than a short word needs, every second, third, ...
/// is written.
fn name_ticks(names: &[String], site: Site) -> Vec<Tick> {
    const SHORT_WORD: f64 = 26.0;
    let line = TICK_FONT.size * LINE;
    let slot = site.length / names.len().max(1) as f64;
    let widest = names.iter().map(|name| TICK_FONT.width(&clean(name))).fold(0.0, f64::max);
    let need = match site.direction {
        Direction::X => widest.min(SHORT_WORD) + 4.0,
        Direction::Y => line,
    };
    let every = (need / slot).ceil().max(1.0);
    let (room, limit) = match site.direction {
        Direction::X => (slot * every - 4.0, 3),
        Direction::Y => (ROW_NAME, ((slot * every / line) as usize).clamp(1, 3)),
    };
    let tick = |(index, name): (usize, &String)| Tick {
        at: index as f64,
        lines: if index % every as usize == 0 { TICK_FONT.wrap_to(name, room, limit) } else { Vec::new() },
    };
    names.iter().enumerate().map(tick).collect()
}

fn given_ticks(values: &[f64], unit: &str, map: &AxisMap, site: Site) -> Vec<Tick> {
    let label = |&at: &f64| Tick::labelled(at, &write_number(at), unit);
    thin(values.iter().filter(|&&value| map.shows(value)).map(label).collect(), map, site)
}

fn nice_ticks(scale: &Scale, unit: &str, map: &AxisMap, site: Site) -> Vec<Tick> {
    let most = match site.direction {
        Direction::X => ((site.length / 42.0) as usize).clamp(2, 12),
        Direction::Y => ((site.length / 30.0) as usize).clamp(4, 10),
    };
    let mut candidates: Vec<Vec<Tick>> = Vec::new();
    let label = |values: &[f64], texts: &[String]| {
        values.iter().zip(texts).map(|(&at, text)| Tick::labelled(at, text, unit)).collect()
    };
    if *scale == Scale::Log {
        let decades = [(&[1, 2, 5][..], 1), (&[1], 1), (&[1], 2), (&[1], 3), (&[1], 5), (&[1], 10), (&[1], 25)];
        for (mantissas, every) in decades {
            let values = log_ticks(map.low, map.high, mantissas, every);
            candidates.push(label(&values, &write_decades(&values)));
        }
    }
    // Less than a decade offers too few round values: fall back to equal steps.
    if candidates.first().is_none_or(|finest| finest.len() < 3) {
        candidates.clear();
        // Finer steps than the pitch asks for come last: better than an axis with a single number.
        for intervals in (1..=most).rev().chain(most + 1..=12) {
            let step = TickStep::dividing(map.high - map.low, intervals);
            let values = step.ticks(map.low, map.high);
            candidates.push(label(&values, &step.write(&values)));
        }
    }
    candidates.retain(|ticks| ticks.len() >= 2);
    let fitting = candidates.iter().position(|ticks| fits(ticks, map, site));
    let chosen = match fitting {
        Some(index) => candidates.into_iter().nth(index),
        None => candidates.into_iter().min_by_key(Vec::len),
    };
    thin(chosen.unwrap_or_default(), map, site)
}

/// The multiples of powers of ten, while they are a few px apart.
fn minor_ticks(map: &AxisMap, site: Site) -> Vec<f64> {
    let decade = site.length / (map.high / map.low).log10();
    if map.log && decade > 40.0 { log_ticks(map.low, map.high, &[2, 3, 4, 5, 6, 7, 8, 9], 1) } else { Vec::new() }
}

/// Room between the labels of two ticks, px; negative when they overlap.
fn gap(a: &Tick, b: &Tick, map: &AxisMap, site: Site) -> f64 {
    let apart = (map.offset(a.at, site.length) - map.offset(b.at, site.length)).abs();
    match site.direction {
        Direction::X => apart - (a.width() + b.width()) / 2.0 - TICK_GAP,
        Direction::Y => apart - TICK_FONT.size * LINE,
    }
}

fn fits(ticks: &[Tick], map: &AxisMap, site: Site) -> bool {
    ticks.windows(2).all(|pair| gap(&pair[0], &pair[1], map, site) >= 0.0)
}

/// Takes the labels off ticks that would touch the label before.
fn thin(mut ticks: Vec<Tick>, map: &AxisMap, site: Site) -> Vec<Tick> {
    let mut last: Option<usize> = None;
    for index in 0..ticks.len() {
        match last {
            Some(before) if gap(&ticks[before], &ticks[index], map, site) < 0.0 => {
                ticks[index].lines.clear();
            }
            _ => last = Some(index),
        }
    }
    ticks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SITE: Site = Site { direction: Direction::X, length: 280.0, inset: (5.0, 5.0), headroom: 0.0 };

    fn labels(axis: &Axis, low: f64, high: f64) -> Vec<String> {
        let plan = AxisPlan::new(axis, Some(ValueRange { low, high }), SITE);
        plan.ticks.into_iter().flat_map(|tick| tick.lines).collect()
    }

    #[test]
    fn one_value_gets_a_range_around_it() {
        assert_eq!(resolve(&Axis::linear(""), Some(ValueRange { low: 4.0, high: 4.0 }), 0.0), (2.0, 6.0));
        assert_eq!(resolve(&Axis::linear(""), Some(ValueRange { low: 0.0, high: 0.0 }), 0.0), (0.0, 1.0));
        assert_eq!(resolve(&Axis::log(""), Some(ValueRange { low: 4.0, high: 4.0 }), 0.0), (2.0, 10.0));
    }

    #[test]
    fn a_log_axis_within_one_decade_still_has_ticks() {
        assert_eq!(labels(&Axis::log("").fixed(2.1, 4.4), 2.1, 4.4), ["2.5", "3.0", "3.5", "4.0"]);
        assert_eq!(labels(&Axis::log(""), 1.0, 90.0), ["1", "2", "5", "10", "20", "50", "100"]);
    }

    #[test]
    fn names_without_room_are_written_for_every_few_categories() {
        let names = (0..40).map(|i| format!("{}", 100 + i));
        let plan = AxisPlan::new(&Axis::categories("", names), None, SITE);
        let written: Vec<_> = plan.ticks.iter().flat_map(|tick| tick.lines.clone()).collect();
        assert_eq!(plan.ticks.len(), 40);
        assert_eq!(written[..3], ["100", "103", "106"]);
    }

    #[test]
    fn a_short_axis_has_more_than_one_tick() {
        let site = Site { length: 60.0, ..SITE };
        let plan = AxisPlan::new(&Axis::linear("").fixed(0.11, 0.29), None, site);
        assert!(plan.ticks.len() >= 2, "{:?}", plan.ticks);
        assert!(plan.ticks.iter().any(|tick| !tick.lines.is_empty()));
    }

    #[test]
    fn a_reversed_axis_runs_from_right_to_left() {
        let plan = AxisPlan::new(&Axis::linear("").fixed(0.0, 2.0).reversed(), None, SITE);
        assert_eq!(plan.map.map(&2.0, (0, 10_000)), 500);
        assert_eq!(plan.map.map(&0.0, (0, 10_000)), 9_500);
    }

    #[test]
    fn given_ticks_that_would_touch_keep_their_mark_but_not_their_label() {
        let axis = Axis::linear("").fixed(0.0, 100.0).ticks_at([0.0, 1.0, 50.0, 100.0, 400.0]);
        let plan = AxisPlan::new(&axis, None, SITE);
        let texts: Vec<_> = plan.ticks.iter().map(|tick| tick.lines.join("")).collect();
        assert_eq!(texts, ["0", "", "50", "100"]);
    }

    proptest! {
        #[test]
        fn labels_of_any_axis_keep_clear_of_each_other(
            low in prop_oneof![-1e90..1e90f64, -1e3..1e3f64, 1e-90..1e-3f64],
            span in prop_oneof![0.0..1e90f64, 0.0..10.0f64],
            log in any::<bool>(), length in 60.0..600.0f64, reversed in any::<bool>(),
        ) {
            let mut axis = if log { Axis::log("") } else { Axis::linear("") };
            axis.reversed = reversed;
            let low = if log { low.abs().max(1e-90) } else { low };
            let site = Site { length, ..SITE };
            let plan = AxisPlan::new(&axis, Some(ValueRange { low, high: low + span }), site);
            let labelled: Vec<Tick> = plan.ticks.iter().filter(|tick| !tick.lines.is_empty()).cloned().collect();
            prop_assert!(!labelled.is_empty());
            prop_assert!(fits(&labelled, &plan.map, site));
            prop_assert!(plan.map.shows(low) && plan.map.shows(low + span));
        }
    }
}
