//! What a sceptical reader must be told before the numbers.

use super::input::{ArmInput, Identity, Question};
use super::pairing::same_trace;
use super::reports::{ArmReport, PointReport};
use super::unfelt;
use crate::outcome::PointStatus;
use crate::plan::labels;
use crate::units::RequestRate;
use crate::words;

/// Below it a point's interval is wider than most differences between topologies (Wilson at 90 %: 12 points wide).
const FEW_REQUESTS: usize = 100;
/// Below it a point near its crossing holds too few independent stretches of load to be sure of anything.
const FEW_EFFECTIVE: f64 = 25.0;

/// A realised rate further than this from the point's name is told.
const OFF_THE_NAME: f64 = 0.05;

/// What warnings need beside the arms.
pub(super) struct Context<'a> {
    pub(super) question: &'a Question,
    pub(super) scale_rate: Option<RequestRate>,
    pub(super) paired: bool,
}

pub(super) fn of(arms: &[ArmInput], reports: &[ArmReport], context: &Context) -> Vec<String> {
    let mut all = between(arms, reports, context);
    let each = arms.iter().zip(reports);
    all.extend(said_once(each.map(|(arm, report)| (report.name.as_str(), within(arm, report, context.question)))));
    all
}

/// What is said of several arms in the same words is one sentence about all of them.
fn said_once<'a>(each: impl ExactSizeIterator<Item = (&'a str, Vec<String>)>) -> Vec<String> {
    let arms_there_are = each.len();
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, texts) in each {
        for text in texts {
            match text.strip_prefix(name).filter(|rest| rest.starts_with(" at ")) {
                Some(rest) => match all.iter_mut().find(|(said, arms)| said == rest && !arms.contains(&name)) {
                    Some((_, arms)) => arms.push(name),
                    None => all.push((rest.to_string(), vec![name])),
                },
                None => all.push((text, Vec::new())),
            }
        }
    }
    let of = |arms: Vec<&str>| match arms.len() {
        n if n > words::NAMED && n == arms_there_are => format!("all {n} arms"),
        _ => words::listed(&arms),
    };
    all.into_iter().map(|(text, arms)| of(arms) + &text).collect()
}

/// What makes arms unlike each other.
fn between(arms: &[ArmInput], reports: &[ArmReport], context: &Context) -> Vec<String> {
    let Some((first, others)) = arms.split_first() else { return Vec::new() };
    let mut all = Vec::new();
    if reports.iter().any(|r| r.gpus != reports[0].gpus) {
        let each = listed(reports.iter().map(|r| match r.gpus {
            Some(n) => format!("{} {n}", r.name),
            None => format!("{} unknown", r.name),
        }));
        all.push(format!("the arms have different numbers of GPUs ({each}): compare rates per GPU, not rates"));
    }
    all.extend(unlike(arms));
    let flags: Vec<_> = reports.iter().zip(arms).map(|(report, arm)| (report.name.clone(), arm.flags())).collect();
    all.extend(labels::left_at_default(&flags));
    if !others.is_empty() && !context.paired {
        let known = arms.iter().all(|arm| !arm.identity.traces.is_empty());
        let why = if others.iter().any(|arm| same_trace(first, arm).is_none()) {
            "the arms have no rate in common"
        } else if known {
            "the arms answered different traces"
        } else {
            "it is not known that the arms answered the same trace"
        };
        all.push(format!("{why}: they are treated as unpaired, and the intervals of their ratios are wider for it"));
    }
    if context.scale_rate.is_none() && !others.is_empty() {
        all.push("the arms have no rate in common: SLO scales can't be compared".to_string());
    }
    all.extend(missing_scale_rate(reports, context));
    all
}

/// Facts of which the arms state different values.
fn unlike(arms: &[ArmInput]) -> Vec<String> {
    type Fact = fn(&Identity) -> Option<&String>;
    let facts: [(&str, Fact); 3] =
        [("models", |i| i.model.as_ref()), ("engines", |i| i.engine.as_ref()), ("datasets", |i| i.dataset.as_ref())];
    let mut all = Vec::new();
    for (what, stated) in facts {
        let known: Vec<(&str, &String)> =
            arms.iter().filter_map(|arm| Some((arm.label.as_str(), stated(&arm.identity)?))).collect();
        if known.windows(2).any(|pair| !agree(pair[0].1, pair[1].1)) {
            let each = listed(known.into_iter().map(|(label, value)| format!("{label}: {value}")));
            all.push(format!("the arms ran different {what} ({each})"));
        }
    }
    all
}

/// A server that was attached to tells its version and not its program's name.
fn agree(a: &str, b: &str) -> bool {
    let names = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|program| program.ends_with(' '));
    a == b || names(a, b) || names(b, a)
}

fn missing_scale_rate(reports: &[ArmReport], context: &Context) -> Option<String> {
    let rate = context.scale_rate?;
    let without = listed(reports.iter().filter(|r| r.scale_curves.is_none()).map(|r| r.name.clone()));
    (!without.is_empty())
        .then(|| format!("no point at {}, the load of the SLO scale, in {without}", words::named(rate)))
}

/// What is wrong within one arm.
fn within(arm: &ArmInput, report: &ArmReport, question: &Question) -> Vec<String> {
    let (name, points) = (&report.name, &report.points);
    let mut all = Vec::new();
    let rates = |wanted: &dyn Fn(&PointReport) -> bool| {
        let mut rates: Vec<RequestRate> = points.iter().filter(|p| wanted(p)).map(|p| p.rate).collect();
        rates.dedup();
        if rates.is_empty() { String::new() } else { words::all_offered(&rates) }
    };
    let mut say = |at: String, text: &str| {
        if !at.is_empty() {
            all.push(format!("{name} at {at}: {text}"));
        }
    };
    say(rates(&|p| p.status == PointStatus::Degraded), "a fault hit some requests, which count as missed");
    say(rates(&|p| p.offered < FEW_REQUESTS), "fewer than 100 requests, so that little can be claimed");
    let near = |p: &PointReport| {
        p.attainment.both.is_some_and(|percent| percent < 100.0)
            && p.ci95.both.contains(question.target.percent().get())
    };
    say(
        rates(&|p| p.offered >= FEW_REQUESTS && near(p) && p.effective_requests < FEW_EFFECTIVE),
        "misses come in so few clusters that longer points are needed for a firm claim",
    );
    all.extend(off_the_name(name, points));
    let imported = arm.points.iter().any(|p| p.facts.is_none());
    for point in points.iter().filter(|p| p.valid == Some(false)) {
        all.push(format!("{name} at {} is invalid: {}", words::offered(point.rate), point.why.join("; ")));
    }
    all.extend(notes(name, points));
    all.extend(unfelt::of(arm, report));
    all.extend(late(name, points));
    if imported {
        all.push(format!("{name} was imported from result files: nothing tells whether its points are valid"));
    }
    if let [first, .., last] = report.max_rate.all.as_slice() {
        all.push(format!(
            "{name} crosses the target {} times between {first:.2} and {last:.2} req/s: the first crossing is quoted",
            report.max_rate.all.len()
        ));
    }
    let rising = report.rates.first().is_some_and(|r| r.attainment.both.percent() < question.target.percent().get());
    if rising && report.max_rate.value.is_some() {
        all.push(format!("{name} misses the target at its lowest rate and meets it above: its crossing is doubtful"));
    }
    all
}

/// Points whose requests came at another rate than the point is named for.
fn off_the_name(name: &str, points: &[PointReport]) -> Option<String> {
    let off = |p: &&PointReport| {
        let named = p.rate.per_second();
        p.realised_rate.is_some_and(|realised| named.is_finite() && (realised / named - 1.0).abs() > OFF_THE_NAME)
    };
    let told = |p: &PointReport| Some(format!("{} (came at {})", words::rate(p.rate), words::number(p.realised_rate?)));
    let each = listed(points.iter().filter(off).filter_map(told));
    (!each.is_empty()).then(|| {
        format!("{name} at {each} req/s: requests came at a rate more than 5 % off the point's name, and so is a crossing between such points")
    })
}

/// Late sends that change a point a little; those that make it doubtful are told with the invalid points.
fn late<'a>(name: &'a str, points: &'a [PointReport]) -> impl Iterator<Item = String> + 'a {
    let believed = points.iter().filter(|p| p.valid != Some(false));
    let late =
        believed.filter_map(|p| Some((p, p.late_sends.filter(|late| late.attainment_less_lag > late.attainment)?)));
    late.map(move |(p, late)| format!("{name} at {} req/s: {}", words::rate(p.rate), late.told()))
}

/// The same remark at several rates is said once.
fn notes(name: &str, points: &[PointReport]) -> Vec<String> {
    let mut said: Vec<(&str, Vec<RequestRate>)> = Vec::new();
    for point in points {
        for note in &point.notes {
            match said.iter_mut().find(|(text, _)| text == note) {
                Some((_, rates)) => rates.push(point.rate),
                None => said.push((note, vec![point.rate])),
            }
        }
    }
    said.into_iter().map(|(text, rates)| format!("{name} at {}: {text}", words::all_offered(&rates))).collect()
}

fn listed(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_true_of_many_arms_names_them_all_at_once() {
        let of = |names: &[&'static str], all: usize| {
            let said = |name: &&'static str| {
                (*name, if names.contains(name) { vec![format!("{name} at 8: few")] } else { vec![] })
            };
            said_once(["a", "b", "c", "d"][..all].iter().map(said).collect::<Vec<_>>().into_iter())
        };
        assert_eq!(of(&["a", "b", "c", "d"], 4), ["all 4 arms at 8: few"]);
        assert_eq!(of(&["a", "b", "d"], 4), ["a, b and d at 8: few"]);
        assert_eq!(of(&["a", "b"], 2), ["a and b at 8: few"]);
    }

    #[test]
    fn an_attached_server_without_a_program_agrees_by_its_version() {
        assert!(agree("vllm 0.22.0", "0.22.0") && agree("0.22.0", "vllm 0.22.0") && agree("0.22.0", "0.22.0"));
        assert!(
            !agree("vllm 0.22.0", "0.22.1") && !agree("vllm 0.22.0", "22.0") && !agree("vllm 0.22.0", "sgl 0.22.0")
        );
    }
}
