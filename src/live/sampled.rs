//! Samples of engines and GPUs, from the files that a session writes them to.

use super::feed::LiveFeed;
use super::run::RunWatch;
use super::tail::{FileTail, Look};
use crate::record::dir;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The samples of one run.
pub(super) struct SampleWatch {
    run: PathBuf,
    engines: FileTail,
    gpus: FileTail,
    /// Columns of gpu.csv by name, of its first line.
    columns: Vec<String>,
}

/// A line of engine-metrics.jsonl, as far as it is shown.
#[derive(Deserialize)]
struct EngineMetricsLine {
    at: f64,
    instance: String,
    answered: bool,
    running: Option<f64>,
    waiting: Option<f64>,
    kv_usage: Option<f64>,
    generation_tokens: Option<f64>,
    kv: Option<KvLine>,
}

/// Hand-overs since the engine's start.
#[derive(Deserialize, Serialize)]
struct KvLine {
    transfers: f64,
    bytes: f64,
    descriptors: f64,
    post_secs: f64,
    transfer_secs: f64,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ShownSample<'a> {
    Engine {
        of: &'a str,
        /// Seconds since 1970.
        at: f64,
        answered: bool,
        running: Option<f64>,
        waiting: Option<f64>,
        kv_usage: Option<f64>,
        /// Since the engine's start.
        tokens: Option<f64>,
        hand_overs: Option<KvLine>,
    },
    Gpu {
        of: &'a str,
        at: f64,
        utilization: Option<f64>,
        memory_bytes: Option<f64>,
        watts: Option<f64>,
        limit_watts: Option<f64>,
        celsius: Option<f64>,
    },
}

impl SampleWatch {
    pub(super) fn of(run: &Path) -> SampleWatch {
        SampleWatch {
            run: run.to_path_buf(),
            engines: FileTail::of(run.join(dir::ENGINE_METRICS)),
            gpus: FileTail::of(run.join(dir::GPU_CSV)),
            columns: Vec::new(),
        }
    }

    pub(super) fn is_of(&self, run: &Path) -> bool {
        self.run == run
    }

    /// Hands what is new to the feed. `name` of the run stands before its engines'; empty where there is one run.
    pub(super) fn look(&mut self, watch: &RunWatch, name: &str, feed: &LiveFeed) -> std::io::Result<()> {
        let begun = watch.manifest().and_then(|m| DateTime::parse_from_rfc3339(&m.created_at).ok());
        let epoch = begun.map_or(0.0, |begun| begun.timestamp_millis() as f64 / 1e3);
        let titled = |what: &str| if name.is_empty() { what.to_string() } else { format!("{name} · {what}") };
        while self.engines.look(|line| {
            let Ok(line) = serde_json::from_slice::<EngineMetricsLine>(line) else { return };
            let of = titled(&line.instance);
            let shown = ShownSample::Engine {
                of: &of,
                at: epoch + line.at,
                answered: line.answered,
                running: line.running,
                waiting: line.waiting,
                kv_usage: line.kv_usage,
                tokens: line.generation_tokens,
                hand_overs: line.kv,
            };
            feed.add_sample(&of, &shown);
        })? == Look::Part
        {}
        let columns = &mut self.columns;
        while self.gpus.look(|line| add_gpu(columns, &String::from_utf8_lossy(line), epoch, feed))? == Look::Part {}
        Ok(())
    }
}

/// A row of gpu.csv, which holds numbers and names of reasons: no field of it is quoted.
fn add_gpu(columns: &mut Vec<String>, line: &str, epoch: f64, feed: &LiveFeed) {
    let fields: Vec<&str> = line.trim_end().split(',').collect();
    if fields.contains(&"gpu") {
        *columns = fields.iter().map(ToString::to_string).collect();
        return;
    }
    let field = |name: &str| {
        let at = columns.iter().position(|column| column == name)?;
        fields.get(at)?.parse::<f64>().ok()
    };
    let Some((at, gpu)) = field("at").zip(field("gpu")) else { return };
    let of = format!("GPU {gpu}");
    let shown = ShownSample::Gpu {
        of: &of,
        at: epoch + at,
        utilization: field("utilization_percent"),
        memory_bytes: field("memory_used_bytes"),
        watts: field("power_watts"),
        limit_watts: field("power_limit_watts"),
        celsius: field("temperature_celsius"),
    };
    feed.add_sample(&of, &shown);
}
