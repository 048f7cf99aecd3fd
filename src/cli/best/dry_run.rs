//! `best --dry-run`: the candidates, what they are predicted to carry, and what the race would cost.

use super::field::Preparation;
use crate::cli::exit::{CliError, Exit};
use crate::cli::out;
use crate::predict::field::Fate;
use crate::strategy::race::Rehearsal;
use crate::words;
use serde::Serialize;
use std::fmt::Write as _;

/// At most this many shapes that are not raced are listed.
const LISTED: usize = 20;

#[derive(Serialize)]
struct DryRace {
    gpus: u32,
    model: String,
    slo: String,
    target_percent: f64,
    budget_secs: f64,
    /// Whose model predicted.
    preset: Option<&'static str>,
    candidates: Vec<DryCandidate>,
    /// As it would go if the predictions held.
    launches: Vec<DryVisit>,
    engine_secs: f64,
    gpu_minutes: f64,
}

#[derive(Serialize)]
struct DryCandidate {
    label: String,
    arm: String,
    /// Requests a second, never measured.
    predicted: Option<f64>,
    raced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
}

#[derive(Serialize)]
struct DryVisit {
    candidate: String,
    points: u32,
}

pub(super) fn show(prepared: &Preparation, json: bool) -> Result<Exit, CliError> {
    let rehearsal = prepared.race.rehearsed();
    if json {
        out::json(&dry_race(prepared, &rehearsal))?;
    } else {
        out::text(&text(prepared, &rehearsal))?;
    }
    Ok(Exit::Good)
}

fn candidates(prepared: &Preparation) -> Vec<DryCandidate> {
    let entrants = &prepared.entrants;
    let each = entrants.iter().zip(&prepared.field.carried).zip(&prepared.field.fates);
    let mut all: Vec<DryCandidate> = each
        .map(|((entrant, carried), fate)| DryCandidate {
            label: entrant.candidate.to_string(),
            arm: entrant.candidate.arm(),
            predicted: carried.map(|c| c.rate),
            raced: *fate == Fate::Raced,
            why_not: match fate {
                Fate::Raced => None,
                Fate::DoesNotFit => Some("does not fit the GPUs".to_string()),
                Fate::NeverMeets => Some("is predicted to miss the target at any rate".to_string()),
                Fate::Behind(other) => Some(format!("behind {}", entrants[*other].candidate)),
                Fate::Crowded => Some("others are likelier to carry the most".to_string()),
            },
        })
        .collect();
    all.sort_by(|a, b| b.raced.cmp(&a.raced).then(b.predicted.unwrap_or(0.0).total_cmp(&a.predicted.unwrap_or(0.0))));
    all
}

fn dry_race(prepared: &Preparation, rehearsal: &Rehearsal) -> DryRace {
    let sweep = &prepared.plan.sweep;
    let name = |arm: usize| prepared.plan.arms[arm].label.clone();
    let secs = rehearsal.takes.as_secs_f64();
    DryRace {
        gpus: prepared.gpus,
        model: sweep.model.clone(),
        slo: sweep.slo.to_string(),
        target_percent: sweep.target.percent().get(),
        budget_secs: prepared.race.budget.as_secs_f64(),
        preset: prepared.preset.as_ref().ok().map(|gpu| gpu.name),
        candidates: candidates(prepared),
        launches: rehearsal.visits.iter().map(|v| DryVisit { candidate: name(v.arm), points: v.points }).collect(),
        engine_secs: secs,
        gpu_minutes: secs / 60.0 * f64::from(prepared.gpus),
    }
}

/// Writing into a `String` cannot fail.
fn text(prepared: &Preparation, rehearsal: &Rehearsal) -> String {
    let sweep = &prepared.plan.sweep;
    let all = candidates(prepared);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Which deployment of {} GPU{} carries the most {} requests with {} for {} of them?",
        prepared.gpus,
        if prepared.gpus == 1 { "" } else { "s" },
        words::short_model(&sweep.model),
        sweep.slo,
        sweep.target.percent(),
    );
    let _ = match &prepared.preset {
        Ok(gpu) => writeln!(out, "Predicted by the model of {}, not measured, in requests a second:\n", gpu.name),
        Err(why) => writeln!(out, "Nothing is predicted: {why}\n"),
    };
    let width = all.iter().map(|c| c.label.chars().count()).max().unwrap_or(0);
    for candidate in all.iter().filter(|c| c.raced) {
        let _ = writeln!(out, "  {:<width$}  {:>7}", candidate.label, predicted(candidate));
    }
    describe_dropped(&mut out, &all, width);
    describe_course(&mut out, prepared, rehearsal);
    out
}

fn predicted(candidate: &DryCandidate) -> String {
    candidate.predicted.map_or_else(|| "-".to_string(), words::number)
}

/// One line a shape: its best settings.
fn describe_dropped(out: &mut String, all: &[DryCandidate], width: usize) {
    let shape = |c: &DryCandidate| c.label.split(" (").next().unwrap_or_default().to_string();
    let raced: Vec<String> = all.iter().filter(|c| c.raced).map(shape).collect();
    let mut told: Vec<String> = Vec::new();
    let dropped: Vec<&DryCandidate> = all.iter().filter(|c| !c.raced).collect();
    if dropped.is_empty() {
        return;
    }
    let others = dropped.iter().any(|c| !raced.contains(&shape(c)));
    let more = if others { "; the best settings of each other shape" } else { "" };
    let _ = writeln!(out, "\nNot raced: {} of {}{more}", dropped.len(), all.len());
    for candidate in &dropped {
        let shape = shape(candidate);
        if raced.contains(&shape) || told.contains(&shape) {
            continue;
        }
        if told.len() < LISTED {
            let why = candidate.why_not.as_deref().unwrap_or_default();
            let _ = writeln!(out, "  {:<width$}  {:>7}  {why}", candidate.label, predicted(candidate));
        }
        told.push(shape);
    }
    if told.len() > LISTED {
        let _ = writeln!(out, "  and {} other shapes", told.len() - LISTED);
    }
}

fn describe_course(out: &mut String, prepared: &Preparation, rehearsal: &Rehearsal) {
    let _ = writeln!(out, "\nIf the predictions held, the race would take these launches:");
    for (i, visit) in rehearsal.visits.iter().enumerate() {
        let points = visit.points;
        let s = if points == 1 { "" } else { "s" };
        let _ = writeln!(out, "  {:>2}. {}: {points} point{s}", i + 1, prepared.plan.arms[visit.arm].label);
    }
    let points: u32 = rehearsal.visits.iter().map(|v| v.points).sum();
    let minutes = rehearsal.takes.as_secs_f64() / 60.0;
    let _ = writeln!(
        out,
        "{} launches (taken as {} s each) and {points} points (of {} s): {} of the {} min that it may take, {} GPU-minutes",
        rehearsal.visits.len(),
        prepared.race.launch_takes.as_secs(),
        prepared.race.point_takes.as_secs(),
        words::number(minutes),
        words::number(prepared.race.budget.as_secs_f64() / 60.0),
        words::number(minutes * f64::from(prepared.gpus)),
    );
}
