//! Rows that belong to one line: a deployment at one pair of lengths, over its loads.

use super::rows::AggregateRow;
use crate::words;

/// One line of a figure, one table of a report.
#[derive(Debug, Clone)]
pub(super) struct LoadSeries<'a> {
    pub(super) name: String,
    /// Ascending in load.
    pub(super) rows: Vec<&'a AggregateRow>,
}

/// What the loads of a table count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoadAxis {
    InFlight,
    Rate,
}

impl LoadAxis {
    /// The one on which more of the rows have a place.
    pub(super) fn of(rows: &[AggregateRow]) -> LoadAxis {
        let placed = |axis: LoadAxis| rows.iter().filter(|row| axis.place(row).is_some()).count();
        if placed(LoadAxis::InFlight) > placed(LoadAxis::Rate) { LoadAxis::InFlight } else { LoadAxis::Rate }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            LoadAxis::InFlight => "Requests in flight (closed loop)",
            LoadAxis::Rate => "Request rate (req/s)",
        }
    }

    /// What a title says of it.
    pub(super) fn kind(self) -> &'static str {
        match self {
            LoadAxis::InFlight => ", closed loop",
            LoadAxis::Rate => "",
        }
    }

    /// `None` for a load that has no place on this axis.
    pub(super) fn place(self, row: &AggregateRow) -> Option<f64> {
        match self {
            // Beside a rate it is a limit.
            LoadAxis::InFlight => row.concurrency.filter(|_| LoadAxis::Rate.place(row).is_none()).map(f64::from),
            LoadAxis::Rate => row.request_rate.filter(|rate| rate.is_finite()),
        }
    }
}

/// `5 in flight`, `2 req/s`, `all at once`.
pub(super) fn load_words(row: &AggregateRow) -> String {
    match (row.concurrency, row.request_rate) {
        (Some(n), _) => format!("{n} in flight"),
        (None, Some(rate)) if rate.is_finite() => format!("{} req/s", words::number(rate)),
        (None, Some(_)) => "all at once".to_string(),
        (None, None) => "unknown".to_string(),
    }
}

/// In the order of first appearance. The model is named where there are several.
pub(super) fn series(rows: &[AggregateRow]) -> Vec<LoadSeries<'_>> {
    let models = words::distinct(rows.iter().map(|row| row.model.as_deref()));
    let name = |row: &AggregateRow| {
        let model = row.model.as_deref().filter(|_| models.len() > 1).map(words::short_model);
        let parts = [model.map(str::to_string), Some(row.deployment.clone()), Some(row.lengths())];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let mut all: Vec<LoadSeries<'_>> = Vec::new();
    for row in rows {
        let name = name(row);
        match all.iter_mut().find(|series| series.name == name) {
            Some(series) => series.rows.push(row),
            None => all.push(LoadSeries { name, rows: vec![row] }),
        }
    }
    let load = |row: &AggregateRow| (row.concurrency, row.request_rate.unwrap_or(f64::INFINITY));
    for series in &mut all {
        series.rows.sort_by(|a, b| {
            let ((a_level, a_rate), (b_level, b_rate)) = (load(a), load(b));
            a_level.cmp(&b_level).then(a_rate.total_cmp(&b_rate)).then(a.attempt.cmp(&b.attempt))
        });
    }
    all
}
