//! The race of `best` as far as it is known: what each candidate was predicted and measured to carry, and which is up.

use super::arms::BusyArm;
use super::run::RunWatch;
use crate::analyse::Question;
use crate::outcome::RunStatus;
use crate::record::RecordedRun;
use crate::record::race::{CandidateRecord, RaceRecord};
use crate::report::race::{Answer, Bounds};
use crate::words;
use serde::Serialize;
use std::path::Path;

#[derive(Debug, Serialize)]
pub(super) struct RaceView {
    gpus: u32,
    /// What the answer would be now.
    sentence: String,
    spent_secs: f64,
    budget_secs: f64,
    /// Those that race, in the order of what they carry as far as is known; then the others' number.
    candidates: Vec<CandidateView>,
    others: usize,
}

#[derive(Debug, Serialize)]
struct CandidateView {
    label: String,
    kind: String,
    predicted: Option<f64>,
    rate: Option<f64>,
    /// `at`, `above` or `below` the rate; `None`: not measured.
    side: Option<&'static str>,
    low: Option<f64>,
    high: Option<f64>,
    /// In words, with its interval.
    measured: String,
    points: usize,
    launches: u32,
    state: String,
}

/// The view, and which runs are worth a curve: the leader's and the next best's.
pub(super) struct RaceNow {
    pub(super) view: RaceView,
    pub(super) leaders: Vec<usize>,
}

/// By what a race is judged.
pub(super) fn question(record: &RaceRecord) -> Question {
    Question { slo: record.question.slo, target: record.question.target, ..Question::default() }
}

/// `watches` are of candidates by their position in the record. `busy`: the one under load. `stage`: what is being done, where
/// the session's events tell. `over`: nothing more comes.
pub(super) fn now(
    place: &Path,
    record: &RaceRecord,
    watches: &[RunWatch],
    (busy, stage): (Option<usize>, Option<&BusyArm>),
    over: bool,
) -> RaceNow {
    let at = |watch: &RunWatch| record.runs(place).find(|(_, dir)| *dir == watch.run.dir).map(|(found, _)| found);
    let position = |watch: &RunWatch| {
        let found = at(watch)?;
        record.candidates.iter().position(|candidate| std::ptr::eq(candidate, found))
    };
    let places: Vec<Option<usize>> = watches.iter().map(position).collect();
    let measured = watches.iter().zip(&places).filter(|(watch, _)| !watch.run.points.is_empty());
    let runs: Vec<(usize, RecordedRun)> =
        measured.filter_map(|(watch, at)| Some(((*at)?, watch.run.clone()))).collect();
    let answer = Answer::of(record, &runs, &question(record));
    let watch_of = |i: usize| places.iter().position(|at| *at == Some(i)).map(|at| (at, &watches[at]));
    let raced = || record.candidates.iter().enumerate().filter(|(_, c)| c.dir.is_some());
    let mut candidates: Vec<(f64, CandidateView)> = raced()
        .map(|(i, candidate)| {
            let state = match watch_of(i) {
                Some((at, _)) if busy == Some(at) => "being measured".to_string(),
                Some((_, watch)) => {
                    let stage = stage.filter(|stage| stage.arm == candidate.label && !over).map(|stage| stage.stage);
                    stage.map_or_else(|| state(watch, &answer, i, (record, candidate), over), str::to_string)
                }
                None => gone(record, candidate, over),
            };
            (rank(&answer, candidate, i), view(candidate, &answer, i, state))
        })
        .collect();
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
    let spent = watches.iter().filter_map(|w| w.manifest()?.engine_secs).fold(record.budget.spent, f64::max);
    let leaders = [answer.winner, answer.second].into_iter().flatten().filter_map(|i| Some(watch_of(i)?.0)).collect();
    let others = record.candidates.len() - candidates.len();
    let view = RaceView {
        gpus: record.question.gpus,
        sentence: match (&record.winner, answer.winner) {
            (Some(kept), None) => kept.sentence.clone(),
            _ => answer.sentence,
        },
        spent_secs: spent,
        budget_secs: record.budget.engine_secs,
        candidates: candidates.into_iter().map(|(_, view)| view).collect(),
        others,
    };
    RaceNow { view, leaders }
}

/// What was measured goes before what was only predicted.
fn rank(answer: &Answer, candidate: &CandidateRecord, i: usize) -> f64 {
    match answer.bounds[i] {
        Some(Bounds::At(rate) | Bounds::Above(rate)) => 1e9 + rate,
        Some(Bounds::Below(rate)) => 5e8 + rate,
        None => match candidate.measured.as_ref().and_then(|m| m.max_rate) {
            Some(rate) => 1e9 + rate,
            None => candidate.predicted.unwrap_or(0.0),
        },
    }
}

/// Of a candidate that has no run: it was not launched yet, or its run was removed since.
fn gone(record: &RaceRecord, candidate: &CandidateRecord, over: bool) -> String {
    match (&record.winner, &candidate.dropped) {
        (Some(winner), _) if winner.label == candidate.label => "ahead".to_string(),
        (_, Some(dropped)) => dropped.why.clone(),
        (_, None) if candidate.measured.is_some() => String::new(),
        (_, None) => unmeasured(record, over),
    }
}

/// A race that has ended launches nobody any more.
fn unmeasured(record: &RaceRecord, over: bool) -> String {
    if over || record.winner.is_some() { "not launched" } else { "waiting" }.to_string()
}

fn state(
    watch: &RunWatch,
    answer: &Answer,
    i: usize,
    (record, candidate): (&RaceRecord, &CandidateRecord),
    over: bool,
) -> String {
    let failed = watch.manifest().filter(|m| m.status == RunStatus::Failed);
    if let Some(manifest) = failed {
        let reason = manifest.reason.as_deref().unwrap_or("its engines failed");
        return format!("out: {}", reason.lines().next().unwrap_or_default());
    }
    match answer.measured[i] {
        _ if answer.winner == Some(i) => "ahead".to_string(),
        _ if answer.second == Some(i) => "next".to_string(),
        Some(_) => String::new(),
        None if watch.was_launched() => "launched, no point is finished".to_string(),
        None => candidate.dropped.as_ref().map_or_else(|| unmeasured(record, over), |dropped| dropped.why.clone()),
    }
}

fn view(candidate: &CandidateRecord, answer: &Answer, i: usize, state: String) -> CandidateView {
    // Where the runs themselves are gone, the race's record still tells what came of them.
    let kept = candidate.measured.as_ref().filter(|_| answer.winner.is_none());
    let measured = answer.measured[i].as_ref().or(kept);
    let (rate, side) = match answer.bounds[i] {
        Some(Bounds::At(rate)) => (Some(rate), Some("at")),
        Some(Bounds::Above(rate)) => (Some(rate), Some("above")),
        Some(Bounds::Below(rate)) => (Some(rate), Some("below")),
        None => (kept.and_then(|m| m.max_rate), kept.and_then(|m| m.max_rate).map(|_| "at")),
    };
    let words = || match answer.bounds[i] {
        Some(_) => answer.rate_words(i),
        None => rate.map(|rate| format!("{} req/s", words::number(rate))).unwrap_or_default(),
    };
    CandidateView {
        label: candidate.label.clone(),
        kind: candidate.kind.clone(),
        predicted: candidate.predicted,
        rate,
        side,
        low: measured.and_then(|m| m.ci95[0]),
        high: measured.and_then(|m| m.ci95[1]),
        measured: words(),
        points: measured.map_or(0, |m| m.points),
        launches: measured.map_or(0, |m| m.launches),
        state,
    }
}
