//! From the runs of a race to its answer.

use crate::analyse::{ArmReport, Covers, Question, StoppedPoint};
use crate::record::RecordedRun;
use crate::record::race::{CandidateRecord, MeasuredRate, RaceRecord};
use crate::report::Study;
use crate::words;

/// What is known of the rate that a candidate carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bounds {
    /// Where the curve through its points crosses the target.
    At(f64),
    /// All of its points meet the target; the highest of them.
    Above(f64),
    /// All of its points miss it; the lowest of them.
    Below(f64),
}

/// The answer to a race's question, from runs alone.
#[derive(Debug)]
pub struct Answer {
    /// Of each candidate, in the record's order; `None`: not measured.
    pub bounds: Vec<Option<Bounds>>,
    pub measured: Vec<Option<MeasuredRate>>,
    /// Position of the candidate that carries the most.
    pub winner: Option<usize>,
    /// The best of the other kind; of one kind alone the next best.
    pub second: Option<usize>,
    pub sentence: String,
    /// What these runs don't tell at this SLO, a sentence each.
    pub unknown: Vec<String>,
    /// Winner and second; the winner alone where there is no other.
    pub study: Option<Study>,
}

impl Answer {
    /// `runs` are of candidates by their position in the record.
    pub fn of(record: &RaceRecord, runs: &[(usize, RecordedRun)], question: &Question) -> Answer {
        let mut bounds = vec![None; record.candidates.len()];
        let mut measured = vec![None; record.candidates.len()];
        for (at, run) in runs.iter().filter(|(_, run)| !run.points.is_empty()) {
            let study = Study::new(vec![run.clone()], question.clone());
            let Some(arm) = study.comparison.arms.first() else { continue };
            let stopped = study.arms.first().map_or(&[][..], |arm| arm.stopped.as_slice());
            bounds[*at] = bounds_of(arm, stopped, question);
            measured[*at] = Some(measured_rate(arm, stopped, record.question.gpus));
        }
        let ranked = |among: &dyn Fn(&CandidateRecord) -> bool| {
            let known = record.candidates.iter().enumerate().filter(|(_, c)| among(c));
            let rated = known.filter_map(|(i, _)| Some((i, bounds[i]?.rank())));
            rated.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(i, _)| i)
        };
        let winner = ranked(&|_| true);
        let second = winner.and_then(|winner| {
            let first = &record.candidates[winner];
            ranked(&|c| c.kind != first.kind).or_else(|| ranked(&|c| c.label != first.label))
        });
        let run_of = |i: usize| runs.iter().find(|(at, _)| *at == i).map(|(_, run)| run.clone());
        let pair: Vec<RecordedRun> = second.into_iter().chain(winner).filter_map(run_of).collect();
        let study = (!pair.is_empty()).then(|| Study::new(pair, question.clone()));
        let mut answer =
            Answer { bounds, measured, winner, second, sentence: String::new(), unknown: Vec::new(), study };
        answer.sentence = answer.told(record, question);
        answer.unknown = answer.not_known(record);
        answer
    }

    fn told(&self, record: &RaceRecord, question: &Question) -> String {
        let asked = format!(
            "{} requests with {} for {} of them",
            words::short_model(&record.question.model),
            question.slo,
            question.target.percent()
        );
        let (Some(winner), Some(study)) = (self.winner, &self.study) else {
            return format!("Nothing was measured of what could carry {asked}.");
        };
        let name = |i: usize| record.candidates[i].label.as_str();
        let carries = |i: usize| self.rate_words(i);
        let Some(second) = self.second else {
            return format!("{} carries {} of {asked}.", name(winner), carries(winner));
        };
        let once = match study.comparison.covers {
            Covers::TheseLaunches => " This speaks of these launches: another may carry more or less.",
            _ => "",
        };
        let Some(ratio) = study.comparison.ratios.first() else {
            return format!("{} carries {} of {asked}.{once}", name(winner), carries(winner));
        };
        let times = ratio.fitted.value.map(|value| {
            let range = interval_words(ratio.fitted.ci95.lo, ratio.fitted.ci95.hi);
            format!("{} times{range} as much as", words::number(value))
        });
        if ratio.claim.better == Some(1) {
            let more = times.unwrap_or_else(|| "more than".to_string());
            return format!(
                "{} carries {} of {asked}: {more} {}, which carries {}.{once}",
                name(winner),
                carries(winner),
                name(second),
                carries(second)
            );
        }
        format!(
            "{} is ahead with {} of {asked}. The next best of the others, {}, carries {}: these points don't prove which of the \
             two carries more.{once}",
            name(winner),
            carries(winner),
            name(second),
            carries(second)
        )
    }

    /// `13.4 req/s (12.9 to 14)`.
    pub fn rate_words(&self, candidate: usize) -> String {
        let range = |m: &MeasuredRate| interval_words(m.ci95[0], m.ci95[1]);
        match self.bounds[candidate] {
            None => "an unknown rate".to_string(),
            Some(Bounds::At(rate)) => {
                let range = self.measured[candidate].as_ref().map(range).unwrap_or_default();
                format!("{} req/s{range}", words::number(rate))
            }
            Some(Bounds::Above(rate)) => format!("{} req/s or more", words::number(rate)),
            Some(Bounds::Below(rate)) => format!("less than {} req/s", words::number(rate)),
        }
    }

    fn not_known(&self, record: &RaceRecord) -> Vec<String> {
        let mut unknown = Vec::new();
        for (candidate, bounds) in record.candidates.iter().zip(&self.bounds) {
            let label = &candidate.label;
            match bounds {
                Some(Bounds::Above(rate)) => unknown.push(format!(
                    "{label} meets the target at every rate that was measured, up to {}: how much it carries is not known",
                    words::number(*rate)
                )),
                Some(Bounds::Below(rate)) if self.winner.is_some_and(|w| record.candidates[w].label == *label) => {
                    unknown.push(format!(
                        "{label} misses the target at every rate that was measured, from {} on",
                        words::number(*rate)
                    ));
                }
                _ => {}
            }
        }
        unknown
    }

    /// How many deployments like the winner's carry so much together: an extrapolation from one of them.
    pub fn needed(&self, record: &RaceRecord, need: f64) -> Option<String> {
        let winner = self.winner?;
        let Some(Bounds::At(rate)) = self.bounds[winner] else { return None };
        let label = &record.candidates[winner].label;
        let gpus = record.question.gpus;
        let count = |rate: f64| (need / rate).ceil().max(1.0);
        let many = count(rate);
        let careful = self.measured[winner].as_ref().and_then(|m| m.ci95[0]).map(count).filter(|n| *n > many);
        let more = careful.map(|n| format!(", {} to be on the safe side", n * f64::from(gpus))).unwrap_or_default();
        Some(match many as u64 {
            1 => format!(
                "{} req/s: one {label} on {gpus} GPUs carries that{}; fewer GPUs were not measured",
                words::number(need),
                careful.map(|n| format!(" about; {n} of them to be on the safe side")).unwrap_or_default()
            ),
            n => format!(
                "{} req/s: about {} GPUs{more}, as {n} deployments of {label} side by side. This is extrapolated from one of them",
                words::number(need),
                n * u64::from(gpus)
            ),
        })
    }
}

impl Bounds {
    /// To order candidates by.
    fn rank(self) -> f64 {
        match self {
            Bounds::At(rate) | Bounds::Above(rate) => rate,
            // It carries less; how much less nobody knows.
            Bounds::Below(rate) => rate * 0.5,
        }
    }
}

fn bounds_of(arm: &ArmReport, stopped: &[StoppedPoint], question: &Question) -> Option<Bounds> {
    if let Some(rate) = arm.fitted.value {
        return Some(Bounds::At(rate));
    }
    let met = |percent: f64| percent >= question.target.percent().get();
    let finite = || arm.points.iter().filter(|p| !p.rate.is_infinite());
    let rates = |meets: bool| {
        finite()
            .filter(move |p| p.attainment.both.is_some_and(|percent| met(percent) == meets))
            .map(|p| p.realised_rate.unwrap_or(p.rate.per_second()))
    };
    match rates(true).reduce(f64::max) {
        Some(highest) => Some(Bounds::Above(highest)),
        None => {
            let ended_early = stopped.iter().map(|point| point.rate.per_second());
            rates(false).chain(ended_early).reduce(f64::min).map(Bounds::Below)
        }
    }
}

fn measured_rate(arm: &ArmReport, stopped: &[StoppedPoint], gpus: u32) -> MeasuredRate {
    let value = arm.fitted.value;
    MeasuredRate {
        max_rate: value,
        max_rate_per_gpu: value.map(|rate| rate / f64::from(gpus.max(1))),
        ci95: [arm.fitted.ci95.lo, arm.fitted.ci95.hi],
        launches: stopped.iter().map(|point| point.launch).fold(arm.launches, u32::max),
        points: arm.points.len() + stopped.len(),
    }
}

fn interval_words(lo: Option<f64>, hi: Option<f64>) -> String {
    match (lo, hi) {
        (Some(lo), Some(hi)) => format!(" ({} to {})", words::number(lo), words::number(hi)),
        (Some(lo), None) => format!(" (at least {})", words::number(lo)),
        (None, Some(hi)) => format!(" (at most {})", words::number(hi)),
        (None, None) => String::new(),
    }
}
