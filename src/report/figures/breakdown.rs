//! Where a request's time goes, stage by stage, at every rate.

use super::style;
use crate::analyse::attribution::{Attribution, TimeSpent};
use crate::analyse::{ArmInput, ArmReport};
use crate::draw::{Axis, Bar, Bars, Figure, Panel, Rgb, Segment, palette, texture};
use crate::report::Study;
use crate::report::why::{STAGES, stages};
use crate::units::RequestRate;
use crate::words;

/// With more stacks their names would not fit above them.
const NAMED_STACKS: usize = 18;
/// A stage that never takes a larger share than this is not worth its place in the legend.
const NEGLIGIBLE: f64 = 0.002;

/// Mean time of served requests: the stages of TTFT, and TTFT beside decoding. `None` if nothing was served.
pub fn breakdown(study: &Study) -> Option<Figure> {
    let rates = rates(study);
    let stacks: Vec<Stack> = study
        .comparison
        .arms
        .iter()
        .zip(&study.arms)
        .enumerate()
        .flat_map(|(slot, (report, input))| stacks(study, slot, report, input, &rates))
        .collect();
    let (first, whole) = (stacks.iter().map(|s| &s.stages[..]), stacks.iter().map(|s| &s.whole[..]));
    let text = |s: &Stack| (stacks.len() <= NAMED_STACKS).then(|| s.name.clone());
    let texts: Vec<Option<String>> = stacks.iter().map(text).collect();
    let names: Vec<String> = rates.iter().map(|r| words::level(*r)).collect();
    let panel = |title: &str, bars: Bars| {
        let label = if study.comparison.is_closed() { style::IN_FLIGHT } else { "Request rate (req/s)" };
        Panel::new(Axis::categories(label, &names), Axis::linear("Mean time (ms)")).titled(title).with(bars)
    };
    let places: Vec<(usize, usize)> = stacks.iter().map(|s| (s.category, s.slot)).collect();
    let stages = bars(&STAGES, 0, &first.collect::<Vec<_>>(), (&places, &texts))?;
    let whole = bars(&["to the first token", "decoding"], STAGES.len(), &whole.collect::<Vec<_>>(), (&places, &texts))?;
    let order: Vec<&str> = study.comparison.arms.iter().map(|arm| arm.name.as_str()).collect();
    let caption = format!(
        "{} Means of served requests; within a rate from left to right: {}.",
        style::setting(study),
        words::listed(&order)
    );
    // Where nobody told one stage from another, the whole request says it all.
    let told = stacks.iter().any(|s| s.stages[..STAGES.len() - 1].iter().any(|part| *part > 0.0));
    let first = told.then(|| panel("Until the first token", stages));
    let panels: Vec<Panel> = first.into_iter().chain([panel("The whole request", whole)]).collect();
    let title = format!("Where the time goes - {}", style::title(study));
    Some(Figure::new(panels).in_columns(1).sized(720.0, 170.0).titled(title).captioned(caption))
}

/// One bar: an arm at a rate, in milliseconds.
struct Stack {
    category: usize,
    slot: usize,
    name: String,
    stages: [f64; 8],
    whole: [f64; 2],
}

fn rates(study: &Study) -> Vec<RequestRate> {
    let all = study.comparison.arms.iter().flat_map(|arm| arm.rates.iter().map(|r| r.rate));
    let mut rates = words::distinct(all);
    rates.sort_by(RequestRate::total_cmp);
    rates
}

fn stacks(study: &Study, slot: usize, report: &ArmReport, input: &ArmInput, rates: &[RequestRate]) -> Vec<Stack> {
    let stack = |(category, rate): (usize, &RequestRate)| {
        let repeats = input.points.iter().filter(|p| p.rate == *rate);
        let times: Vec<TimeSpent> = repeats.map(|p| Attribution::of(p, &study.question.slo).time).collect();
        let served: Vec<&TimeSpent> = times.iter().filter(|t| t.ttft.is_some()).collect();
        let n = served.len() as f64;
        let mean = |of: &dyn Fn(&TimeSpent) -> f64| served.iter().map(|t| of(t)).sum::<f64>() * 1e3 / n;
        (n > 0.0).then(|| Stack {
            category,
            slot,
            name: input.size.clone().unwrap_or_else(|| report.label.clone()),
            stages: std::array::from_fn(|i| mean(&|t| stages(t)[i])),
            whole: [mean(&|t| t.ttft.unwrap_or(0.0)), mean(&|t| t.decode.unwrap_or(0.0))],
        })
    };
    rates.iter().enumerate().filter_map(stack).collect()
}

/// `None` without stacks. Stages that take no time anywhere are left out.
fn bars(
    names: &[&str],
    hue: usize,
    stacks: &[&[f64]],
    (places, texts): (&[(usize, usize)], &[Option<String>]),
) -> Option<Bars> {
    let highest = stacks.iter().map(|s| s.iter().sum::<f64>()).reduce(f64::max)?;
    let kept: Vec<usize> = (0..names.len()).filter(|&i| stacks.iter().any(|s| s[i] > NEGLIGIBLE * highest)).collect();
    let segments =
        kept.iter().map(|&i| Segment { label: names[i].to_string(), color: color(hue + i), texture: texture(hue + i) });
    let bars = stacks.iter().zip(places).zip(texts).map(|((stack, &(category, slot)), text)| Bar {
        category,
        slot,
        values: kept.iter().map(|&i| stack[i]).collect(),
        text: text.clone(),
    });
    Some(Bars { segments: segments.collect(), bars: bars.collect() })
}

/// Light for waiting, strong for work; red and blue stay the arms'.
fn color(stage: usize) -> Rgb {
    let light = |i: usize| palette(i).mix(Rgb::WHITE, 0.45);
    match stage {
        0 => light(7),
        1 => palette(7),
        2 => palette(5),
        3 => light(2),
        4 => palette(2),
        5 => palette(6),
        6 => palette(3),
        7 => Rgb::PALE,
        8 => palette(2).mix(palette(3), 0.5),
        _ => palette(4),
    }
}
