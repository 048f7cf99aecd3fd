//! What engines and GPUs said of themselves during a point: engine-metrics.jsonl and gpu.csv.
//!
//! Their times count from the run's beginning, as the manifest has it, also where a second process went on with the run;
//! here they count from the point's time zero. Lines that can't be read are passed over: these files are evidence beside the measurement, never part of it.

use crate::files;
use crate::outcome::PointFacts;
use crate::record::RecordedRun;
use crate::record::dir::{ENGINE_METRICS, GPU_CSV};
use crate::report::gpus::time_zero;
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::ops::RangeInclusive;

/// Of one instance or GPU: (seconds since the point's time zero, value).
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct GaugeSeries {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Gauges over one point; a list is empty where nothing was recorded.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Gauges {
    pub(super) running: Vec<GaugeSeries>,
    pub(super) waiting: Vec<GaugeSeries>,
    /// Percent of the KV cache's blocks.
    pub(super) kv_usage: Vec<GaugeSeries>,
    /// Watts.
    pub(super) power: Vec<GaugeSeries>,
}

#[derive(Deserialize)]
struct EngineLine {
    at: f64,
    instance: String,
    running: Option<f64>,
    waiting: Option<f64>,
    kv_usage: Option<f64>,
}

#[derive(Deserialize)]
struct GpuLine {
    at: f64,
    gpu: u32,
    power_watts: Option<f64>,
}

impl Gauges {
    pub(super) fn read(run: &RecordedRun, facts: &PointFacts) -> Gauges {
        let mut gauges = Gauges::default();
        let Some(zero) = time_zero(run, facts) else { return gauges };
        let span = 0.0..=facts.duration_secs;
        gauges.read_engines(run, zero, &span);
        gauges.read_gpus(run, zero, &span);
        gauges
    }

    fn read_engines(&mut self, run: &RecordedRun, zero: f64, span: &RangeInclusive<f64>) {
        let Ok(file) = files::open_raw(&run.dir.join(ENGINE_METRICS)) else { return };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        for line in lines.filter_map(|line| serde_json::from_str::<EngineLine>(&line).ok()) {
            let at = line.at - zero;
            if !span.contains(&at) {
                continue;
            }
            add(&mut self.running, &line.instance, at, line.running);
            add(&mut self.waiting, &line.instance, at, line.waiting);
            add(&mut self.kv_usage, &line.instance, at, line.kv_usage.map(|share| share * 100.0));
        }
    }

    fn read_gpus(&mut self, run: &RecordedRun, zero: f64, span: &RangeInclusive<f64>) {
        let Ok(file) = files::open_raw(&run.dir.join(GPU_CSV)) else { return };
        let mut file = csv::Reader::from_reader(file);
        for line in file.deserialize::<GpuLine>().flatten() {
            let at = line.at - zero;
            if span.contains(&at) {
                add(&mut self.power, &format!("GPU {}", line.gpu), at, line.power_watts);
            }
        }
    }
}

fn add(all: &mut Vec<GaugeSeries>, name: &str, at: f64, value: Option<f64>) {
    let Some(value) = value.filter(|v| v.is_finite()) else { return };
    let place = all.iter().position(|series| series.name == name).unwrap_or_else(|| {
        all.push(GaugeSeries { name: name.to_string(), points: Vec::new() });
        all.len() - 1
    });
    all[place].points.push((at, value));
}
