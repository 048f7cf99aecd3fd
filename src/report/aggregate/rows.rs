//! aggregate_results.csv: one row a point. What nobody had is empty, never 0.

use crate::analyse::percentiles::Distribution;
use crate::analyse::{PointInput, PointReport, Question};
use crate::plan::dataset::Dataset;
use crate::plan::lengths::Lengths;
use crate::record::{Numbers, RecordedRun};
use crate::report::{PERCENTILES, inputs, summary_of};
use serde::{Deserialize, Serialize};

macro_rules! rows {
    ($($(#[doc = $what:literal])+ $name:ident: $kind:ty,)+) => {
        /// One point of one run. The columns of aggregate_results.csv, in their order.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct AggregateRow {
            $($(#[doc = $what])+ pub $name: $kind,)+
        }

        /// Each column, and what it is.
        pub const COLUMNS: &[(&str, &str)] = &[$((stringify!($name), concat!($($what),+))),+];
    };
}

rows! {
    /// directory of the run, or the result file
    run: String,
    /// simple, nixl, or what else the deployment is called, with its size
    deployment: String,
    /// GPUs of the whole deployment
    gpus: Option<u32>,
    /// model
    model: Option<String>,
    /// dataset
    dataset: Option<String>,
    /// prompt tokens asked for; the mean where they vary
    input_len: Option<f64>,
    /// output tokens asked for; the mean where they vary
    output_len: Option<f64>,
    /// requests in flight of a closed loop
    concurrency: Option<u32>,
    /// requests a second that were offered; inf for all at once and for a closed loop
    request_rate: Option<f64>,
    /// repeat of the same load, from 1
    attempt: u32,
    /// launch of the deployment it was measured on, from 1
    launch: u32,
    /// requests offered
    num_prompts: Option<u32>,
    /// requests served
    completed: Option<u32>,
    /// requests not served
    failed: Option<u32>,
    /// measured, degraded or failed; empty for files of others
    status: Option<String>,
    /// whether the point may be believed; empty where nothing tells
    valid: Option<bool>,
    /// share of the offered requests that met all limits
    attainment_percent: Option<f64>,
    /// share that met the TTFT limit
    ttft_attainment_percent: Option<f64>,
    /// share that met the TPOT limit
    tpot_attainment_percent: Option<f64>,
    /// seconds from the first due to the last answer
    duration_s: Option<f64>,
    /// served requests a second
    request_throughput: Option<f64>,
    /// requests a second that met all limits
    request_goodput: Option<f64>,
    /// output tokens a second
    output_throughput: Option<f64>,
    /// prompt and output tokens a second
    total_token_throughput: Option<f64>,
    /// time to first token, from due: mean, ms
    mean_ttft_ms: Option<f64>,
    /// its median
    median_ttft_ms: Option<f64>,
    /// its 90th percentile
    p90_ttft_ms: Option<f64>,
    /// its 99th percentile
    p99_ttft_ms: Option<f64>,
    /// time per output token after the first: mean, ms
    mean_tpot_ms: Option<f64>,
    /// its median
    median_tpot_ms: Option<f64>,
    /// its 90th percentile
    p90_tpot_ms: Option<f64>,
    /// its 99th percentile
    p99_tpot_ms: Option<f64>,
    /// gap between tokens: mean, ms
    mean_itl_ms: Option<f64>,
    /// its 99th percentile
    p99_itl_ms: Option<f64>,
    /// whole request, from due: mean, ms
    mean_e2el_ms: Option<f64>,
    /// its median
    median_e2el_ms: Option<f64>,
    /// its 90th percentile
    p90_e2el_ms: Option<f64>,
    /// its 99th percentile
    p99_e2el_ms: Option<f64>,
    /// joules of all GPUs for each served request
    joules_per_request: Option<f64>,
    /// joules of all GPUs for each output token
    joules_per_output_token: Option<f64>,
    /// accepted share of the tokens drafted by speculative decoding
    spec_acceptance_percent: Option<f64>,
    /// tokens that a round of drafting gives
    spec_acceptance_length: Option<f64>,
    /// when the point began, or the date that the file states
    date: Option<String>,
}

/// Every point of a run.
pub fn of_run(run: &RecordedRun, question: &Question) -> Vec<AggregateRow> {
    let arm = inputs::arm(run, None);
    let base = AggregateRow {
        run: run.dir.display().to_string(),
        deployment: arm.size.as_ref().map_or_else(|| arm.label.clone(), |size| format!("{} {size}", arm.label)),
        gpus: arm.gpus,
        model: arm.identity.model.clone(),
        dataset: arm.identity.dataset.clone(),
        ..AggregateRow::default()
    };
    let planned = planned_lengths(run);
    let row = |point: &PointInput| {
        let report = PointReport::new(point, arm.kind, question)?;
        Some(of_point(point, &report, planned, base.clone()))
    };
    let mut points: Vec<&PointInput> = arm.points.iter().collect();
    points.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(a.attempt.cmp(&b.attempt)));
    points.into_iter().filter_map(row).collect()
}

fn planned_lengths(run: &RecordedRun) -> Option<(f64, f64)> {
    let Dataset::Random { input, output, prefix_len, .. } = &run.manifest.as_ref()?.sweep.workload.dataset else {
        return None;
    };
    let tokens = |lengths: &Lengths| match lengths {
        Lengths::Fixed { tokens } | Lengths::Uniform { tokens, .. } | Lengths::LogNormal { tokens, .. } => tokens.get(),
    };
    Some((f64::from(tokens(input)) + f64::from(prefix_len.get()), f64::from(tokens(output))))
}

fn of_point(point: &PointInput, report: &PointReport, planned: Option<(f64, f64)>, base: AggregateRow) -> AggregateRow {
    let summary = summary_of(point, &PERCENTILES);
    let total = |per_second: Option<f64>| per_second.zip(summary.duration_secs).map(|(rate, secs)| rate * secs);
    let each = |tokens: Option<f64>| tokens.filter(|_| report.served > 0).map(|n| n / report.served as f64);
    let (tokens, all_tokens) = (total(summary.output_throughput), total(summary.total_throughput));
    let (input_len, output_len) = match planned {
        Some((input, output)) => (Some(input), Some(output)),
        None => (each(all_tokens.zip(tokens).map(|(all, out)| all - out)), each(tokens)),
    };
    let count = |n: usize| u32::try_from(n).ok();
    let facts = point.facts.as_ref();
    let joules = facts.and_then(|f| f.gpus.as_ref()?.energy_joules);
    let engines = facts.and_then(|f| f.engines);
    let met = report.attainment.both.map(|percent| percent / 100.0 * report.offered as f64);
    let row = AggregateRow {
        input_len,
        output_len,
        concurrency: report.concurrency,
        request_rate: Some(report.rate.per_second()),
        attempt: report.attempt,
        launch: report.launch,
        num_prompts: count(report.offered),
        completed: count(report.served),
        failed: count(report.offered - report.served),
        status: facts.map(|_| report.status.word().to_string()),
        valid: report.valid,
        attainment_percent: report.attainment.both,
        ttft_attainment_percent: report.attainment.ttft,
        tpot_attainment_percent: report.attainment.tpot,
        duration_s: summary.duration_secs,
        request_throughput: summary.request_throughput,
        request_goodput: summary.duration_secs.zip(met).map(|(secs, met)| met / secs),
        output_throughput: summary.output_throughput,
        total_token_throughput: summary.total_throughput,
        joules_per_request: joules.filter(|_| report.served > 0).map(|j| j / report.served as f64),
        joules_per_output_token: joules.zip(tokens.filter(|n| *n > 0.0)).map(|(j, n)| j / n),
        spec_acceptance_percent: engines.and_then(|e| e.acceptance_percent()),
        spec_acceptance_length: engines.and_then(|e| e.acceptance_length()),
        date: facts.map(|f| f.started_at.clone()),
        ..base
    };
    let latencies = &summary.latencies;
    // A gap between chunks of unknown size is no ITL.
    let itl = latencies.itl.as_ref().filter(|_| latencies.itl_per_token);
    row.with_latencies([latencies.ttft.as_ref(), latencies.tpot.as_ref(), itl, latencies.e2el.as_ref()])
}

impl AggregateRow {
    /// TTFT, TPOT, ITL, E2EL.
    fn with_latencies(self, [ttft, tpot, itl, e2el]: [Option<&Distribution>; 4]) -> AggregateRow {
        let mean = |d: Option<&Distribution>| d.map(|d| d.mean * 1e3);
        let at = |d: Option<&Distribution>, p: f64| Some(d?.percentiles.iter().find(|(q, _)| *q == p)?.1 * 1e3);
        AggregateRow {
            mean_ttft_ms: mean(ttft),
            median_ttft_ms: at(ttft, 50.0),
            p90_ttft_ms: at(ttft, 90.0),
            p99_ttft_ms: at(ttft, 99.0),
            mean_tpot_ms: mean(tpot),
            median_tpot_ms: at(tpot, 50.0),
            p90_tpot_ms: at(tpot, 90.0),
            p99_tpot_ms: at(tpot, 99.0),
            mean_itl_ms: mean(itl),
            p99_itl_ms: at(itl, 99.0),
            mean_e2el_ms: mean(e2el),
            median_e2el_ms: at(e2el, 50.0),
            p90_e2el_ms: at(e2el, 90.0),
            p99_e2el_ms: at(e2el, 99.0),
            ..self
        }
    }

    /// `256 in, 128 out`; empty where the lengths aren't known.
    pub fn lengths(&self) -> String {
        match (self.input_len, self.output_len) {
            (Some(input), Some(output)) => format!("{input:.0} in, {output:.0} out"),
            _ => String::new(),
        }
    }
}

/// A file that states numbers and holds no requests. Its TTFT counts from sent, as its program means it.
pub fn of_numbers(path: &std::path::Path, numbers: &Numbers) -> AggregateRow {
    let get = |key: &str| numbers.get(key);
    let count = |value: Option<f64>| value.filter(|n| *n >= 0.0).map(|n| n as u32);
    let completed = numbers.completed();
    let each = |total: Option<f64>| Some(total? / completed.filter(|n| *n > 0.0)?);
    let rate = numbers.request_rate();
    let limit = count(get("max_concurrency")).filter(|_| rate.is_some_and(f64::is_infinite));
    AggregateRow {
        run: path.display().to_string(),
        deployment: numbers.deployment_mode.clone().unwrap_or_else(|| "unknown".to_string()),
        model: numbers.model_id.clone(),
        dataset: numbers.dataset_name.clone(),
        input_len: each(get("total_input_tokens")),
        output_len: each(get("total_output_tokens")),
        concurrency: limit,
        request_rate: rate,
        attempt: 1,
        launch: 1,
        num_prompts: count(get("num_prompts")),
        completed: count(completed),
        failed: count(get("failed").or_else(|| Some(get("num_prompts")? - completed?))),
        duration_s: get("duration"),
        request_throughput: get("request_throughput"),
        request_goodput: get("request_goodput"),
        output_throughput: get("output_throughput"),
        total_token_throughput: get("total_token_throughput"),
        mean_ttft_ms: get("mean_ttft_ms"),
        median_ttft_ms: get("median_ttft_ms"),
        p90_ttft_ms: get("p90_ttft_ms"),
        p99_ttft_ms: get("p99_ttft_ms"),
        mean_tpot_ms: get("mean_tpot_ms"),
        median_tpot_ms: get("median_tpot_ms"),
        p90_tpot_ms: get("p90_tpot_ms"),
        p99_tpot_ms: get("p99_tpot_ms"),
        mean_itl_ms: get("mean_itl_ms"),
        p99_itl_ms: get("p99_itl_ms"),
        mean_e2el_ms: get("mean_e2el_ms"),
        median_e2el_ms: get("median_e2el_ms"),
        p90_e2el_ms: get("p90_e2el_ms"),
        p99_e2el_ms: get("p99_e2el_ms"),
        date: numbers.date.clone(),
        ..AggregateRow::default()
    }
}

/// The bytes of the table.
///
/// # Errors
/// Never for a table held in memory; the type is the writer's.
pub fn write(rows: &[AggregateRow]) -> Result<Vec<u8>, ::csv::Error> {
    let mut table = ::csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    table.write_record(COLUMNS.iter().map(|(name, _)| name))?;
    rows.iter().try_for_each(|row| table.serialize(row))?;
    table.into_inner().map_err(|e| e.into_error().into())
}

/// A table read back, with commas, semicolons or tabs between its columns, as spreadsheets save it. Columns that it lacks
/// stay empty, others are passed over.
///
/// # Errors
/// Where the text is no such table.
pub fn read(text: &[u8]) -> Result<Vec<AggregateRow>, ::csv::Error> {
    let header = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let holds_rows = text.len() > header.len() + 1;
    let columns = |delimiter: u8| {
        let names = header.split(move |byte| *byte == delimiter).map(|name| {
            let name = name.trim_ascii();
            name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name)
        });
        names.filter(|name| COLUMNS.iter().any(|(known, _)| known.as_bytes() == *name)).count()
    };
    let (known, delimiter) = b",;\t".iter().map(|d| (columns(*d), *d)).max_by_key(|(n, _)| *n).unwrap_or((0, b','));
    if known == 0 && holds_rows {
        return Err(std::io::Error::other("its first line names none of the columns").into());
    }
    ::csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text).deserialize().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{Made, question};

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let run = Made { rates: vec![2.0, 4.0], requests: 20, ..Made::nixl() }.run();
        let rows = of_run(&run, &question(125.0, 200.0));
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].input_len, rows[0].output_len), (Some(512.0), Some(32.0)));
        assert_eq!((rows[0].request_rate, rows[0].num_prompts), (Some(2.0), Some(20)));
        assert!(rows[1].p99_ttft_ms > rows[1].median_ttft_ms && rows[1].median_ttft_ms > Some(0.0));
        let text = write(&rows).expect("written");
        let header = String::from_utf8_lossy(&text).lines().next().map(str::to_string).expect("a header");
        assert_eq!(header.split(',').count(), COLUMNS.len());
        assert_eq!(read(&text).expect("read"), rows);
        let saved: Vec<u8> = text.iter().map(|byte| if *byte == b',' { b';' } else { *byte }).collect();
        let rates = |rows: &[AggregateRow]| rows.iter().map(|row| row.request_rate).collect::<Vec<_>>();
        assert_eq!(rates(&read(&saved).expect("read")), rates(&rows), "as a spreadsheet saves it");
        assert!(read(b"a,b\n1,2\n").is_err(), "a table of something else");
    }
}
