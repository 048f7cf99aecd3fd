//! Joules and money at the crossings, as rows of the key numbers.

use super::tables::{KeyRow, TableCell};
use super::words::{self, UNKNOWN};
use crate::analyse::energy::{CrossingEnergy, Estimate};
use crate::analyse::{ArmReport, Comparison};
use crate::words::{decimal, listed, number};

/// Empty where no arm's joules are known.
pub(super) fn rows(comparison: &Comparison) -> Vec<KeyRow> {
    let any = |of: &dyn Fn(&ArmReport) -> bool| comparison.arms.iter().any(of);
    let row = |name: &str, of: &dyn Fn(&ArmReport) -> Option<TableCell>| KeyRow {
        name: name.to_string(),
        cells: comparison.arms.iter().map(|arm| of(arm).unwrap_or_else(unknown)).chain(blanks(comparison)).collect(),
    };
    let mut rows = Vec::new();
    if any(&|arm| arm.energy.is_some()) {
        let of_request = |energy: &CrossingEnergy| {
            let mut cell = estimate(&energy.joules_per_request);
            let role = |(role, share): (&String, &f64)| format!("{} % {role}", decimal(100.0 * share, 0));
            let roles: Vec<String> = energy.share_by_role.iter().map(role).collect();
            if !roles.is_empty() {
                cell.note =
                    [cell.note, listed(&roles)].into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>().join("; ");
            }
            cell
        };
        rows.push(row("Joules a request, at that rate", &|arm| arm.energy.as_ref().map(of_request)));
        let of_token = |energy: &CrossingEnergy| energy.joules_per_output_token.as_ref().map(estimate);
        rows.push(row("Joules an output token, at that rate", &|arm| arm.energy.as_ref().and_then(of_token)));
    }
    if any(&|arm| arm.cost_per_million_tokens.is_some()) {
        let cost = |arm: &ArmReport| {
            Some(TableCell { value: number(arm.cost_per_million_tokens?), note: "by --gpu-hour-price".to_string() })
        };
        rows.push(row("Cost of a million output tokens, at that rate", &cost));
    }
    rows
}

fn blanks(comparison: &Comparison) -> impl Iterator<Item = TableCell> + '_ {
    comparison.ratios.iter().map(|_| TableCell { value: String::new(), note: String::new() })
}

fn unknown() -> TableCell {
    TableCell { value: UNKNOWN.to_string(), note: String::new() }
}

/// With its interval, where rates were repeated.
fn estimate(found: &Estimate) -> TableCell {
    let ends = words::interval(found.ci95, number);
    TableCell { value: number(found.value), note: if ends.is_empty() { ends } else { format!("95 %: {ends}") } }
}

/// Whether any point knows its joules.
pub(super) fn is_known(comparison: &Comparison) -> bool {
    comparison.arms.iter().flat_map(|arm| &arm.points).any(|point| point.energy_j_per_request.is_some())
}
