//! The candidates of a race as a table: predicted, measured, when and why each left it.

use super::answer::{Answer, Bounds};
use crate::record::race::{CandidateRecord, RaceRecord};
use crate::words;
use comfy_table::{CellAlignment, Table, presets};

/// Candidates that were raced, the best first; the others in a line below.
pub fn table(record: &RaceRecord, answer: &Answer) -> String {
    let mut order: Vec<usize> = (0..record.candidates.len()).filter(|i| record.candidates[*i].dir.is_some()).collect();
    let rank = |i: usize| match answer.bounds[i] {
        Some(Bounds::At(rate) | Bounds::Above(rate)) => (2, rate),
        Some(Bounds::Below(rate)) => (1, rate),
        None => (0, record.candidates[i].predicted.unwrap_or(0.0)),
    };
    order.sort_by(|a, b| rank(*b).0.cmp(&rank(*a).0).then(rank(*b).1.total_cmp(&rank(*a).1)));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["candidate", "predicted", "measured req/s", "launches", ""]);
    for column in 1..=3 {
        table.column_mut(column).into_iter().for_each(|c| {
            c.set_cell_alignment(CellAlignment::Right);
        });
    }
    for i in order {
        let candidate = &record.candidates[i];
        table.add_row([
            candidate.label.clone(),
            candidate.predicted.map_or_else(|| "-".to_string(), words::number),
            measured(answer, i),
            answer.measured[i].as_ref().map_or_else(|| "-".to_string(), |m| m.launches.to_string()),
            fate(candidate, answer, i),
        ]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_string()).collect();
    let others = record.candidates.iter().filter(|c| c.dir.is_none());
    let best = others.clone().max_by(|a, b| a.predicted.unwrap_or(0.0).total_cmp(&b.predicted.unwrap_or(0.0)));
    let rest = best.map(|best| {
        let predicted = best.predicted.map(|p| format!(" at {}", words::number(p))).unwrap_or_default();
        format!("\n{} others were dropped by prediction, the best of them {}{predicted}", others.count(), best.label)
    });
    format!("{}{}\n", lines.join("\n"), rest.unwrap_or_default())
}

fn measured(answer: &Answer, i: usize) -> String {
    match answer.bounds[i] {
        None => "-".to_string(),
        Some(_) => answer.rate_words(i).replace(" req/s", ""),
    }
}

fn fate(candidate: &CandidateRecord, answer: &Answer, i: usize) -> String {
    if answer.winner == Some(i) {
        return "the answer".to_string();
    }
    candidate.dropped.as_ref().map(|d| d.why.clone()).unwrap_or_default()
}
