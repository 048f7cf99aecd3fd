//! Joules and money at the crossings.

use super::{Style, Tint};
use crate::analyse::energy::Estimate;
use crate::report::Study;
use crate::words;

/// What a request and a token take at each arm's crossing; empty where nobody knows.
pub fn energy(study: &Study, style: Style) -> String {
    let mut text = String::new();
    for arm in &study.comparison.arms {
        let Some(found) = &arm.energy else { continue };
        let shown = |e: &Estimate| match (e.ci95.lo, e.ci95.hi) {
            (Some(lo), Some(hi)) => {
                format!("{} (95 % CI {}-{})", words::number(e.value), words::number(lo), words::number(hi))
            }
            _ => words::number(e.value),
        };
        let token = found.joules_per_output_token.as_ref().map(|e| format!(", {} J an output token", shown(e)));
        let roles: Vec<String> =
            found.share_by_role.iter().map(|(role, share)| format!("{:.0} % {role}", 100.0 * share)).collect();
        let roles = if roles.is_empty() { String::new() } else { format!(" ({})", words::listed(&roles)) };
        text.push_str(&format!(
            "{} {} at its crossing ({} req/s): {} J a request{}{roles}\n",
            style.paint("energy:", Tint::Bold),
            arm.name,
            words::number(found.at_rate),
            shown(&found.joules_per_request),
            token.unwrap_or_default(),
        ));
    }
    let costs = study.comparison.arms.iter().filter_map(|arm| Some((arm, arm.cost_per_million_tokens?)));
    for (arm, cost) in costs {
        let label = style.paint("cost:", Tint::Bold);
        text.push_str(&format!(
            "{label} {}: {} for a million output tokens at its crossing\n",
            arm.name,
            words::number(cost)
        ));
    }
    text
}
