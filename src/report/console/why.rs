//! Where the time goes, as a table, and what the utilisation of both sides suggests.

use super::{MISSING, Style, TableRow, Tint, table};
use crate::report::{Study, why};

/// Empty where nothing was measured.
pub fn why(study: &Study, style: Style) -> String {
    let arms = || study.comparison.arms.iter().zip(&study.arms);
    let rows = why::rows(arms(), &study.question.slo);
    if rows.iter().all(|row| row.ttft.is_none()) {
        return String::new();
    }
    let kept = why::worth_a_column(&rows);
    let mut header = vec!["arm", "req/s", "binds", "TTFT"];
    header.extend(kept.iter().map(|&i| why::SHORT[i]));
    header.push("decode");
    let told = |ms: Option<f64>| ms.map_or_else(|| MISSING.to_string(), |ms| format!("{ms:.1}"));
    let cells = |row: &why::BreakdownRow| {
        let rate = if row.attempt > 1 { format!("{} ({})", row.rate, row.attempt) } else { row.rate.clone() };
        let mut cells = vec![row.name.clone(), rate, row.binds.to_string(), told(row.ttft)];
        cells.extend(kept.iter().map(|&i| told(row.stages[i])));
        cells.push(told(row.decode));
        TableRow::from(cells)
    };
    let title = style.paint("Where the time goes (means of served requests, ms) and which limit is missed", Tint::Bold);
    let mut text = format!("{title}\n{}", table(header, rows.iter().map(cells).collect(), style));
    for told in why::hand_overs(&study.comparison.arms) {
        text.push_str(&format!("{} {told}\n", style.paint("hand-over:", Tint::Bold)));
    }
    for told in why::prefix_caches(arms()) {
        text.push_str(&format!("{} {told}\n", style.paint("prefix cache:", Tint::Bold)));
    }
    let hints = why::hints(arms(), &study.question.slo);
    for hint in &hints {
        text.push_str(&format!("{} {hint}\n", style.paint("hint:", Tint::Bold)));
    }
    if !hints.is_empty() {
        text.push_str(&format!("  {}\n", why::CAVEAT));
    }
    text
}
