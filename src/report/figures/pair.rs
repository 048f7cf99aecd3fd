//! DistServe's Figure 9: SLO attainment over the rate, and over the scale of the SLO at one rate.

use super::style::{self, ArmLook, RateUnit, attainment_axis, dressed, target_rule};
use crate::analyse::scale::ScaleCurve;
use crate::analyse::{ArmReport, Censored, Interval, PointAttainment, RateReport, Samples, scale_band};
use crate::draw::{
    Axis, Band, Callout, Direction, Drop, ErrorBars, Figure, Key, Legend, LegendEntry, Line, Note, Panel, Point, Rgb,
    Rule, Scatter, Spot, Spread, Stroke,
};
use crate::report::Study;
use crate::units::RequestRate;
use crate::words;

/// Steps of a scale curve that are drawn; the curve stays within 1/400 of the exact one.
const STEPS: usize = 400;
/// Places across the scale panel where an interval is given.
const BAND_PLACES: usize = 80;
/// Markers on a scale curve.
const MARKERS: usize = 9;

/// Attainment over rate and over SLO scale; three lines an arm, or one where there are many. `None` if nothing was offered
/// at any point.
pub fn pair(study: &Study) -> Option<Figure> {
    let unit = RateUnit::of(&study.comparison);
    if study.comparison.arms.iter().all(|arm| arm.points.is_empty()) {
        return None;
    }
    let panels = vec![rate_panel(study, unit), scale_panel(study, unit)];
    let interval = LegendEntry { key: Key::Area { color: Rgb::GREY, opacity: 0.25 }, label: "95 % interval".into() };
    let mut extra: Vec<LegendEntry> = (!style::is_crowded(study)).then_some(interval).into_iter().collect();
    extra.extend(style::invalid_entry(study));
    let legend = Legend { columns: Some(3), extra, ..Legend::default() };
    Some(Figure::new(panels).titled(style::title(study)).captioned(caption(study, unit)).with_legend(legend))
}

fn caption(study: &Study, unit: RateUnit) -> String {
    let mut text = style::setting(study);
    text.push_str(match style::is_crowded(study) {
        true => " Intervals, and the shares that keep each limit alone, stand in the report's tables.",
        false => " Bands: 95 % intervals that allow for clustered misses.",
    });
    if unit.is_per_gpu() {
        text.push_str(" Rates are divided by all GPUs of a deployment, prefill and decode together.");
    }
    let mut unplaced = study.comparison.arms.iter().flat_map(|arm| arm.rates.iter().map(move |r| (arm, r.rate)));
    if unplaced.any(|(arm, rate)| unit.place(arm, rate).is_none()) {
        text.push_str(" Points without a rate (all at once, closed loops) are not shown.");
    }
    // The rest stands where there is room for it.
    let verdict = &study.comparison.verdict;
    format!("{text} {}.", verdict.split_once(". ").map_or(verdict.as_str(), |(first, _)| first))
}

/// The curves' names: with E2EL limited too, the conjunction is of more than two.
fn together(study: &Study) -> &'static str {
    if study.question.slo.e2el.is_some() { "all limits" } else { "both limits" }
}

fn rate_panel(study: &Study, unit: RateUnit) -> Panel {
    let title = if unit.is_closed() { "Attainment over requests in flight" } else { "Attainment over rate" };
    let mut panel = Panel::new(unit.axis(), attainment_axis()).titled(title).with(target_rule(study));
    for (arm, look) in dressed(study) {
        panel = over_rate(panel, study, arm, (look, unit));
    }
    panel
}

fn over_rate(mut panel: Panel, study: &Study, arm: &ArmReport, (look, unit): (ArmLook, RateUnit)) -> Panel {
    let placed: Vec<(f64, &RateReport)> =
        arm.rates.iter().filter_map(|r| Some((unit.place(arm, r.rate)?, r))).collect();
    let curve = |pick: fn(&PointAttainment) -> f64| -> Vec<Point> {
        placed.iter().map(|(x, r)| Point { x: *x, y: pick(&r.attainment), hollow: invalid(arm, r.rate) }).collect()
    };
    let intervals: Vec<Spread> = placed.iter().map(|(x, r)| spread(*x, r.ci95)).collect();
    if let [only] = intervals.as_slice() {
        panel =
            panel.with(ErrorBars { intervals: vec![*only], direction: Direction::Y, color: look.color, label: None });
    }
    let both = || Stroke::solid(look.color);
    if style::is_crowded(study) {
        let line = Line::new(curve(|a| a.both.percent()), both()).marked(look.shape).labelled(arm.name.clone());
        return crossings(panel.with(line), study, arm, (look, unit));
    }
    let named = |curve: &str| format!("{}: {curve}", arm.name);
    panel = panel
        // Without points: the legend begins with the curve that matters, which is painted last.
        .with(Line::new(Vec::<Point>::new(), both()).marked(look.shape).labelled(named(together(study))))
        .with(Band { intervals, color: look.color, label: None })
        .with(Line::new(curve(|a| a.ttft.percent()), Stroke::dashed(look.color)).labelled(named("TTFT only")))
        .with(Line::new(curve(|a| a.tpot.percent()), Stroke::dotted(look.color)).labelled(named("TPOT only")))
        .with(Line::new(curve(|a| a.both.percent()), both()).marked(look.shape));
    crossings(panel, study, arm, (look, unit))
}

/// An invalid point among the repeats makes the rate doubtful.
fn invalid(arm: &ArmReport, rate: RequestRate) -> bool {
    arm.invalid_points().any(|p| p.rate == rate)
}

fn spread(at: f64, found: Interval) -> Spread {
    Spread { at, low: found.lo.unwrap_or(0.0), high: found.hi.unwrap_or(100.0) }
}

fn crossings(mut panel: Panel, study: &Study, arm: &ArmReport, (look, unit): (ArmLook, RateUnit)) -> Panel {
    let y = study.question.target.percent().get();
    for (i, rate) in arm.max_rate.all.iter().enumerate() {
        let x = unit.of_arm(arm, *rate);
        // The first crossing is the one that is quoted. Its line ends on the axis, which names the unit: the arms'
        // lines may stand closer than a longer text is wide.
        let drop = if i == 0 { Drop::ToX } else { Drop::None };
        panel = panel.with(Callout { x, y, text: words::number(x), color: look.color, drop });
    }
    let Some((lowest, highest)) = arm.tested() else { return panel };
    let near = |rate: f64| {
        let found = arm.rates.iter().find(|r| r.rate.per_second() == rate);
        found.map_or(y, |r| r.attainment.both.percent())
    };
    let beyond = match arm.max_rate.censored {
        Some(Censored::AboveTested) => Some((highest, ">")),
        Some(Censored::BelowTested) => Some((lowest, "<")),
        None => None,
    };
    match beyond {
        Some((rate, side)) => {
            let x = unit.of_arm(arm, rate);
            let text = format!("{side} {} req/s", words::number(x));
            panel.with(Note { x, y: near(rate), text, color: look.color })
        }
        None => panel,
    }
}

fn scale_panel(study: &Study, unit: RateUnit) -> Panel {
    let high = scale_window(study);
    let axis = Axis::linear(scale_label(study, unit)).fixed(0.0, high).reversed();
    let mut panel = Panel::new(axis, attainment_axis()).titled("Attainment over SLO scale").with(target_rule(study));
    if high > 1.0 {
        let stroke = Stroke { width: 0.8, ..Stroke::solid(Rgb::GREY.mix(Rgb::WHITE, 0.4)) };
        panel = panel.with(Rule { at: 1.0, direction: Direction::Y, stroke, text: None, label: None });
    }
    for (i, (arm, look)) in dressed(study).enumerate() {
        let at_rate = study.points(i).filter(|p| Some(p.report.rate) == arm.scale.at_rate);
        let repeats: Vec<&Samples> = at_rate.map(|p| p.input.samples.as_ref()).collect();
        panel = over_scale(panel, study, (arm, &repeats), (look, high));
    }
    panel
}

fn scale_label(study: &Study, unit: RateUnit) -> String {
    let arms = &study.comparison.arms;
    let Some(rate) = arms.iter().find_map(|arm| arm.scale.at_rate) else { return "SLO scale".to_string() };
    if rate.in_flight().is_some() {
        return format!("SLO scale with {}", words::offered(rate));
    }
    let rates = words::distinct(arms.iter().map(|arm| words::number(unit.of_arm(arm, rate.per_second()))));
    match rates.as_slice() {
        // Arms of unequal size have no common rate per GPU.
        [one] if unit.is_per_gpu() => format!("SLO scale at {one} req/s per GPU"),
        _ => format!("SLO scale at {} req/s", words::rate(rate)),
    }
}

/// Wide enough for every arm's scale at the target and for the SLO itself, not for the last straggler.
fn scale_window(study: &Study) -> f64 {
    let values = study.comparison.arms.iter().filter_map(|arm| arm.scale.value);
    let widest = values.fold(1.0, f64::max) * 1.5;
    let step = 10f64.powf(widest.log10().floor()) / 2.0;
    (widest / step).ceil() * step
}

fn over_scale(
    mut panel: Panel,
    study: &Study,
    (arm, repeats): (&ArmReport, &[&Samples]),
    (look, high): (ArmLook, f64),
) -> Panel {
    let Some(curves) = &arm.scale_curves else { return panel };
    let line = |curve: &ScaleCurve, stroke| Line::new(staircase(curve, high), stroke).stepped();
    // Below the tightest scale that any request kept, an interval around zero says nothing.
    let served = |scale: &f64| curves.both.attainment_at(*scale) > 0.0;
    let places: Vec<f64> = (0..=BAND_PLACES).map(|i| high * i as f64 / BAND_PLACES as f64).filter(served).collect();
    let band = scale_band(repeats, &study.question, &places);
    let intervals = places.iter().zip(band).map(|(at, found)| spread(*at, found)).collect();
    let hollow = arm.scale.at_rate.is_some_and(|rate| invalid(arm, rate));
    let spots = (1..=MARKERS)
        .map(|i| high * i as f64 / (MARKERS + 1) as f64)
        .filter(served)
        .map(|scale| Spot { point: Point { x: scale, y: curves.both.attainment_at(scale), hollow }, text: None });
    if !style::is_crowded(study) {
        panel = panel
            .with(Band { intervals, color: look.color, label: None })
            .with(line(&curves.ttft, Stroke::dashed(look.color)))
            .with(line(&curves.tpot, Stroke::dotted(look.color)));
    }
    panel = panel.with(line(&curves.both, Stroke::solid(look.color))).with(Scatter {
        spots: spots.collect(),
        shape: look.shape,
        color: look.color,
        label: None,
    });
    match arm.scale.value {
        Some(x) => panel.with(Callout {
            x,
            y: study.question.target.percent().get(),
            text: format!("{}×", words::number(x)),
            color: look.color,
            drop: Drop::ToX,
        }),
        None => panel,
    }
}

/// The exact curve from zero to the window's end.
fn staircase(curve: &ScaleCurve, high: f64) -> Vec<(f64, f64)> {
    let mut points = vec![(0.0, curve.attainment_at(0.0))];
    points.extend(curve.steps(STEPS).into_iter().filter(|(scale, _)| *scale > 0.0 && *scale < high));
    points.push((high, curve.attainment_at(high)));
    points
}
