//! The performance report as Markdown: tables by deployment and lengths, and what is best in them.

use super::ratings::Ratings;
use super::rows::AggregateRow;
use super::series::{load_words, series};
use crate::words;
use std::fmt::Write as _;

const MISSING: &str = "n/a";

/// The whole report. Writing into a `String` cannot fail.
pub fn markdown(rows: &[AggregateRow], ratings: Option<&Ratings>, title: &str) -> String {
    let mut text = format!("# {title}\n\n");
    let models = words::distinct(rows.iter().filter_map(|row| row.model.clone()));
    let deployments = words::distinct(rows.iter().map(|row| row.deployment.clone()));
    let _ = writeln!(text, "{} points of {}.", rows.len(), words::listed(&deployments));
    if !models.is_empty() {
        let _ = writeln!(text, "Model: {}.", words::listed(&models));
    }
    text.push_str("Latencies count from when a request was due; of a closed loop that is when it was sent.\n");
    if let Some(ratings) = ratings {
        let _ = writeln!(text, "Ratings by mean TTFT/TPOT, the worse of both: {ratings}, else to be optimised.");
    }
    best(&mut text, rows);
    for one in series(rows) {
        let _ = writeln!(text, "\n## {}\n", one.name);
        table(&mut text, &one.rows, ratings);
    }
    text
}

type BestMeasure = (&'static str, fn(&AggregateRow) -> Option<f64>, bool, &'static str);

/// What is highest and lowest among points that may be believed.
fn best(text: &mut String, rows: &[AggregateRow]) {
    let measures: [BestMeasure; 5] = [
        ("Most requests a second", |row| row.request_throughput, true, "req/s"),
        ("Most output tokens a second", |row| row.output_throughput, true, "tokens/s"),
        ("Lowest mean TTFT", |row| row.mean_ttft_ms, false, "ms"),
        ("Lowest mean TPOT", |row| row.mean_tpot_ms, false, "ms"),
        ("Fewest joules an output token", |row| row.joules_per_output_token, false, "J"),
    ];
    text.push_str("\n| | value | where |\n| --- | ---: | --- |\n");
    for (name, pick, most, unit) in measures {
        let believed = rows.iter().filter(|row| row.valid != Some(false));
        let found = believed.filter_map(|row| Some((pick(row)?, row)));
        let best =
            if most { found.max_by(|a, b| a.0.total_cmp(&b.0)) } else { found.min_by(|a, b| a.0.total_cmp(&b.0)) };
        if let Some((value, row)) = best {
            let place = format!("{}, {}, {}", row.deployment, row.lengths(), load_words(row));
            let _ = writeln!(text, "| {name} | {} {unit} | {place} |", words::number(value));
        }
    }
}

fn table(text: &mut String, rows: &[&AggregateRow], ratings: Option<&Ratings>) {
    let rating = if ratings.is_some() { " rating |" } else { "" };
    let line = if ratings.is_some() { " --- |" } else { "" };
    let _ = writeln!(
        text,
        "| load | served | req/s | output tokens/s | TTFT ms mean/p99 | TPOT ms mean/p99 | E2EL ms mean/p99 | within SLO % |{rating}"
    );
    let _ = writeln!(text, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |{line}");
    for row in rows {
        let shown = |value: Option<f64>| value.map_or_else(|| MISSING.to_string(), words::number);
        let count = |value: Option<u32>| value.map_or_else(|| MISSING.to_string(), |n| n.to_string());
        let pair = |mean, p99| format!("{} / {}", shown(mean), shown(p99));
        let doubt = if row.valid == Some(false) { " (invalid)" } else { "" };
        let _ = write!(
            text,
            "| {}{doubt} | {} of {} | {} | {} | {} | {} | {} | {} |",
            load_words(row),
            count(row.completed),
            count(row.num_prompts),
            shown(row.request_throughput),
            shown(row.output_throughput),
            pair(row.mean_ttft_ms, row.p99_ttft_ms),
            pair(row.mean_tpot_ms, row.p99_tpot_ms),
            pair(row.mean_e2el_ms, row.p99_e2el_ms),
            row.attainment_percent.map_or_else(|| MISSING.to_string(), |p| format!("{p:.1}")),
        );
        if let Some(ratings) = ratings {
            let _ = write!(text, " {} |", ratings.of(row).map_or(MISSING, |rating| rating.word()));
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::aggregate::of_run;
    use crate::report::samples::{Made, question};

    #[test]
    fn a_report_has_a_table_for_each_deployment_and_rates_where_asked() {
        let run = Made { rates: vec![2.0, 4.0], requests: 20, ..Made::simple() }.run();
        let rows = of_run(&run, &question(125.0, 200.0));
        let plain = markdown(&rows, None, "Performance report");
        assert!(plain.starts_with("# Performance report\n") && !plain.contains("excellent"), "{plain}");
        assert!(plain.contains("## simple TP2, 512 in, 32 out"), "{plain}");
        assert!(plain.contains("| 2 req/s | 20 of 20 |") && plain.contains("| Lowest mean TTFT |"), "{plain}");
        let rated = markdown(&rows, Some(&Ratings::default()), "Performance report");
        assert!(rated.contains(" excellent |\n"), "{rated}");
    }
}
