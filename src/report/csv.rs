//! summary.csv: one line a point and arm, for spreadsheets. Units stand in the header; what is missing is empty.

use super::{JudgedPoint, PERCENTILES, Study};
use crate::analyse::ArmReport;
use crate::analyse::hand_over::BoundBy;
use crate::analyse::percentiles::Distribution;

/// The bytes of summary.csv.
///
/// # Errors
/// Never for a table held in memory; the type is the writer's.
pub fn summary(study: &Study) -> Result<Vec<u8>, ::csv::Error> {
    let mut table = ::csv::Writer::from_writer(Vec::new());
    table.write_record(header())?;
    for (i, arm) in study.comparison.arms.iter().enumerate() {
        for point in study.points(i) {
            table.write_record(line(arm, point))?;
        }
    }
    table.into_inner().map_err(|e| e.into_error().into())
}

fn header() -> Vec<String> {
    let fixed = [
        "arm",
        "gpus",
        "rate_req_per_s",
        "concurrency",
        "attempt",
        "offered",
        "served",
        "status",
        "valid",
        "attainment_percent",
        "attainment_ci95_low_percent",
        "attainment_ci95_high_percent",
        "ttft_attainment_percent",
        "tpot_attainment_percent",
        "slo_scale",
        "duration_s",
        "request_throughput_per_s",
        "output_throughput_tok_per_s",
        "total_throughput_tok_per_s",
        "due_rate_req_per_s",
        "sent_rate_req_per_s",
        "client_lag_p99_s",
        "late_sends",
        "attainment_less_lag_percent",
    ];
    let mut all = fixed.map(String::from).to_vec();
    for metric in ["ttft", "tpot", "itl", "e2el"] {
        all.push(format!("{metric}_mean_s"));
        all.extend(PERCENTILES.map(|p| format!("{metric}_p{p}_s")));
    }
    all.extend(
        ["kv_bytes", "kv_descriptors", "kv_post_ms", "kv_transfer_ms", "kv_stall_ms_per_s", "kv_bound_by"]
            .map(String::from),
    );
    all.extend(["joules_per_request", "joules_per_output_token"].map(String::from));
    all.extend(["spec_acceptance_percent", "spec_acceptance_length"].map(String::from));
    all.extend(["prefix_hit_percent", "decode_prefix_hit_percent", "repeated_percent", "sessions"].map(String::from));
    all.extend(["sessions_all_turns_percent", "sessions_last_turn_percent"].map(String::from));
    all.push("why".to_string());
    all
}

fn line(arm: &ArmReport, JudgedPoint { report, summary, input }: JudgedPoint<'_>) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
    let mut all = vec![
        arm.name.clone(),
        arm.gpus.map_or_else(String::new, |n| n.to_string()),
        report.rate.per_second().to_string(),
        // Of a closed loop; its rate is what it came to.
        report.concurrency.map_or_else(String::new, |n| n.to_string()),
        report.attempt.to_string(),
        report.offered.to_string(),
        report.served.to_string(),
        report.status.word().to_string(),
        report.valid.map_or_else(String::new, |v| v.to_string()),
        number(report.attainment.both),
        number(report.ci95.both.lo),
        number(report.ci95.both.hi),
        number(report.attainment.ttft),
        number(report.attainment.tpot),
        number(report.slo_scale),
        number(summary.duration_secs),
        number(summary.request_throughput),
        number(summary.output_throughput),
        number(summary.total_throughput),
        number(summary.due_rate),
        number(summary.sent_rate),
        number(summary.lag.map(|lag| lag.p99)),
        // Known to be none where lags are known.
        report
            .late_sends
            .map_or(summary.lag.map(|_| 0), |late| Some(late.sends))
            .map_or_else(String::new, |n| n.to_string()),
        number(report.late_sends.map(|late| late.attainment_less_lag)),
    ];
    let latencies = &summary.latencies;
    // A gap between chunks of unknown size is no ITL.
    let itl = latencies.itl.as_ref().filter(|_| latencies.itl_per_token);
    for found in [latencies.ttft.as_ref(), latencies.tpot.as_ref(), itl, latencies.e2el.as_ref()] {
        all.push(number(found.map(|d| d.mean)));
        all.extend(PERCENTILES.map(|p| number(percentile(found, p))));
    }
    let kv = report.kv.as_ref();
    all.extend([
        number(kv.and_then(|kv| kv.bytes)),
        number(kv.and_then(|kv| kv.descriptors)),
        number(kv.and_then(|kv| kv.post_ms)),
        number(kv.map(|kv| kv.transfer_ms)),
        number(kv.and_then(|kv| kv.stall_ms)),
        kv.and_then(|kv| kv.bound_by).map_or("", BoundBy::word).to_string(),
    ]);
    all.extend([number(report.energy_j_per_request), number(report.energy_j_per_token)]);
    let engines = input.facts.as_ref().and_then(|facts| facts.engines);
    all.extend([
        number(engines.and_then(|e| e.acceptance_percent())),
        number(engines.and_then(|e| e.acceptance_length())),
    ]);
    let (cache, sessions) = (report.prefix_cache.as_ref(), report.sessions);
    all.extend([
        number(cache.and_then(|c| c.computing()).map(|hits| hits.hit_percent)),
        number(cache.and_then(|c| c.decode).map(|hits| hits.hit_percent)),
        number(cache.and_then(|c| c.repeated_percent)),
        sessions.map_or_else(String::new, |s| s.offered.to_string()),
        number(sessions.map(|s| s.all_turns)),
        number(sessions.map(|s| s.last_turn)),
    ]);
    all.push(report.why.join("; "));
    all
}

fn percentile(found: Option<&Distribution>, p: f64) -> Option<f64> {
    found?.percentiles.iter().find(|(q, _)| *q == p).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{Made, h100_study, question};

    fn rows(study: &Study) -> Vec<::csv::StringRecord> {
        let bytes = summary(study).expect("writes");
        let mut table = ::csv::Reader::from_reader(bytes.as_slice());
        assert_eq!(table.headers().expect("header"), &header());
        table.records().map(|row| row.expect("as wide as the header")).collect()
    }

    fn column(name: &str) -> usize {
        header().iter().position(|h| h == name).expect("a column")
    }

    #[test]
    fn a_line_for_each_point_of_each_arm() {
        let rows = rows(&h100_study(250.0, 9.0));
        assert_eq!(rows.len(), 6);
        assert_eq!(&rows[2][0], "simple TP2");
        assert_eq!(&rows[2][column("attainment_percent")], "83.75");
        assert!(rows[2][column("ttft_p50_s")].starts_with("0.04336"), "{:?}", rows[2]);
        assert_eq!(&rows[2][column("valid")], "", "nobody knows");
        assert_eq!(&rows[2][column("itl_mean_s")], "", "the fixture has no gaps");
    }

    #[test]
    fn what_nobody_had_is_empty_and_not_zero() {
        let dead = Made { failing: 10, rates: vec![2.0], requests: 20, ..Made::simple() }.run();
        let row = &rows(&Study::new(vec![dead], question(125.0, 200.0)))[0];
        assert_eq!(&row[column("ttft_p50_s")], "");
        assert_eq!((&row[column("status")], &row[column("valid")]), ("failed", "false"));
        assert!(row[column("why")].contains("none of the 20 requests"), "{row:?}");
    }
}
