//! gpu_summary.csv: what the samples of gpu.csv come to, point by point and GPU by GPU. Means are of samples under load;
//! whether memory stood still tells whether the point was steady.

use crate::files;
use crate::outcome::PointFacts;
use crate::record::RecordedRun;
use crate::record::dir::GPU_CSV;
use chrono::DateTime;
use serde::{Deserialize, Serialize};

/// A GPU that is less busy than this, percent, is not under load.
const LOADED: f64 = 10.0;
/// Memory whose standard deviation is below this, percent of its mean, stands still.
const STILL: f64 = 2.0;

#[derive(Deserialize)]
struct RawSample {
    at: f64,
    gpu: u32,
    utilization_percent: Option<f64>,
    memory_used_bytes: Option<f64>,
    power_watts: Option<f64>,
    temperature_celsius: Option<f64>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuSummary {
    pub load: String,
    pub attempt: u32,
    pub gpu: u32,
    pub samples: usize,
    /// Of them, those with a utilisation above 10 %.
    pub loaded_samples: usize,
    pub mean_utilization_percent: Option<f64>,
    pub mean_power_watts: Option<f64>,
    pub max_temperature_celsius: Option<f64>,
    pub mean_memory_used_bytes: Option<f64>,
    pub memory_std_percent: Option<f64>,
    /// Whether that is below 2 %.
    pub memory_steady: Option<bool>,
}

/// Every point of a run; empty where no GPU was sampled.
pub fn summaries(run: &RecordedRun) -> Vec<GpuSummary> {
    let Ok(file) = files::open_raw(&run.dir.join(GPU_CSV)) else { return Vec::new() };
    let mut file = ::csv::Reader::from_reader(file);
    let samples: Vec<RawSample> = file.deserialize().flatten().collect();
    let mut gpus: Vec<u32> = samples.iter().map(|s| s.gpu).collect();
    gpus.sort_unstable();
    gpus.dedup();
    let of_point = |facts: &PointFacts| -> Vec<GpuSummary> {
        let Some(zero) = time_zero(run, facts) else { return Vec::new() };
        let within = |s: &&RawSample| (0.0..=facts.duration_secs).contains(&(s.at - zero));
        let of_gpu = |gpu: &u32| {
            let own: Vec<&RawSample> = samples.iter().filter(|s| s.gpu == *gpu).filter(within).collect();
            (!own.is_empty()).then(|| summary(facts, *gpu, &own))
        };
        gpus.iter().filter_map(of_gpu).collect()
    };
    run.points.iter().filter_map(|p| p.facts.as_ref()).flat_map(of_point).collect()
}

/// The bytes of the table; `None` without samples.
///
/// # Errors
/// Never for a table held in memory; the type is the writer's.
pub fn table(run: &RecordedRun) -> Result<Option<Vec<u8>>, ::csv::Error> {
    let rows = summaries(run);
    if rows.is_empty() {
        return Ok(None);
    }
    let mut table = ::csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| table.serialize(row))?;
    table.into_inner().map(Some).map_err(|e| e.into_error().into())
}

fn summary(facts: &PointFacts, gpu: u32, samples: &[&RawSample]) -> GpuSummary {
    let loaded: Vec<&&RawSample> =
        samples.iter().filter(|s| s.utilization_percent.is_some_and(|busy| busy > LOADED)).collect();
    let all = |pick: fn(&RawSample) -> Option<f64>| loaded.iter().filter_map(|s| pick(s)).collect::<Vec<f64>>();
    let memory = all(|s| s.memory_used_bytes);
    let std = std_percent(&memory);
    GpuSummary {
        load: facts.key.rate.to_string(),
        attempt: facts.key.attempt,
        gpu,
        samples: samples.len(),
        loaded_samples: loaded.len(),
        mean_utilization_percent: mean(&all(|s| s.utilization_percent)),
        mean_power_watts: mean(&all(|s| s.power_watts)),
        max_temperature_celsius: all(|s| s.temperature_celsius).into_iter().max_by(f64::total_cmp),
        mean_memory_used_bytes: mean(&memory),
        memory_std_percent: std,
        memory_steady: std.map(|std| std < STILL),
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn std_percent(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|mean| *mean > 0.0)?;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some(100.0 * (squares / values.len() as f64).sqrt() / mean)
}

/// Seconds from the run's beginning, which samples count from, to the point's time zero.
pub(super) fn time_zero(run: &RecordedRun, facts: &PointFacts) -> Option<f64> {
    let begun = DateTime::parse_from_rfc3339(&run.manifest.as_ref()?.created_at).ok()?;
    let point = DateTime::parse_from_rfc3339(&facts.started_at).ok()?;
    Some((point - begun).as_seconds_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn h100s_under_load_are_summed_up_point_by_point() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/curated/h100x2-qwen3-8b/nixl_20261122_001955");
        let run = RecordedRun::read(&dir).expect("a run");
        let rows = summaries(&run);
        assert_eq!(rows.len(), 2 * run.points.len(), "two GPUs");
        assert!(rows.iter().all(|row| row.loaded_samples <= row.samples && row.samples > 0), "{rows:?}");
        let busiest = rows.last().expect("rows");
        assert!(busiest.mean_power_watts.is_some_and(|w| (100.0..=700.0).contains(&w)), "{busiest:?}");
        assert_eq!(busiest.memory_steady, Some(true), "vLLM takes its memory at its start: {busiest:?}");
        let text = table(&run).expect("written").expect("samples");
        assert!(String::from_utf8_lossy(&text).starts_with("load,attempt,gpu,samples,loaded_samples,"));
    }

    #[test]
    fn what_was_not_under_load_has_no_mean() {
        let sample = RawSample {
            at: 1.0,
            gpu: 0,
            utilization_percent: Some(10.0),
            memory_used_bytes: Some(1e9),
            power_watts: Some(70.0),
            temperature_celsius: None,
        };
        let run =
            crate::report::samples::Made { rates: vec![2.0], requests: 5, ..crate::report::samples::Made::simple() }
                .run();
        let facts = run.points[0].facts.as_ref().expect("facts");
        let row = summary(facts, 0, &[&sample]);
        assert_eq!((row.samples, row.loaded_samples, row.mean_power_watts, row.memory_steady), (1, 0, None, None));
        assert!(std_percent(&[98.0, 102.0]).is_some_and(|std| (std - 2.0).abs() < 1e-9));
    }
}
