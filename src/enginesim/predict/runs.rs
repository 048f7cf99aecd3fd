//! Runs of topobench as ground truth: what was sent, how it was served, and how long it took.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::fleet::{Arm, Group, Latency};
use super::workload::Arrival;

/// A measured arm.
#[derive(Debug)]
pub struct Measured {
    pub directory: PathBuf,
    pub arm: Arm,
    /// Model as the engines were given it.
    pub model: String,
    /// In order of rate.
    pub points: Vec<MeasuredPoint>,
}

#[derive(Debug)]
pub struct MeasuredPoint {
    /// Requests per second, as the point is named.
    pub rate: f64,
    pub arrivals: Vec<Arrival>,
    /// Of each arrival; `None` for a failed request.
    pub latencies: Vec<Option<Latency>>,
}

impl MeasuredPoint {
    /// Of the requests that were served.
    pub fn served(&self) -> Vec<Latency> {
        self.latencies.iter().copied().flatten().collect()
    }
}

/// Why a recorded file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}: {source}\nhint: give the directory of a run of topobench", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: {source}", path.display())]
    Line { path: PathBuf, line: usize, source: serde_json::Error },
    #[error("{}: {problem}\nhint: give the directory of a run that started its own engines", path.display())]
    Content { path: PathBuf, problem: String },
}

/// Reads a file of JSON lines.
fn json_lines<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>, FileError> {
    let text = std::fs::read_to_string(path).map_err(|source| FileError::Read { path: path.into(), source })?;
    let parse = |(index, line)| {
        serde_json::from_str(line).map_err(|source| FileError::Line { path: path.into(), line: index + 1, source })
    };
    text.lines().enumerate().map(parse).collect()
}

#[derive(Deserialize)]
struct TraceLine {
    rate: f64,
    attempt: u32,
    index: usize,
    due: f64,
    prompt_tokens: u32,
    output_tokens: u32,
}

#[derive(Deserialize)]
struct RequestLine {
    rate: f64,
    attempt: u32,
    index: usize,
    due: f64,
    #[serde(default)]
    first_token: Option<f64>,
    #[serde(default)]
    last_token: Option<f64>,
    #[serde(default)]
    output_tokens: Option<u32>,
}

/// Reads manifest.json, trace.jsonl and requests.jsonl of a run; the first attempt at each rate counts.
pub fn read(directory: &Path) -> Result<Measured, FileError> {
    let path = directory.join("manifest.json");
    let text = std::fs::read_to_string(&path).map_err(|source| FileError::Read { path: path.clone(), source })?;
    let manifest: Value = serde_json::from_str(&text).map_err(|source| FileError::Line {
        path: path.clone(),
        line: source.line(),
        source,
    })?;
    let unusable = |problem: &str| FileError::Content { path: path.clone(), problem: problem.to_owned() };
    let spawn = &manifest["arm"]["deployment"]["spawn"];
    let model = spawn["model"].as_str().ok_or_else(|| unusable("no engines were started in this run"))?.to_owned();
    let arm = arm(spawn).ok_or_else(|| unusable("its instances are neither simple nor prefill and decode"))?;
    let mut points = trace(directory)?;
    for line in json_lines::<RequestLine>(&directory.join("requests.jsonl"))?.into_iter().filter(|l| l.attempt == 1) {
        let slot = points.get_mut(&line.rate.to_bits()).and_then(|point| point.latencies.get_mut(line.index));
        if let Some(slot) = slot {
            *slot = latency(&line);
        }
    }
    Ok(Measured { directory: directory.to_owned(), arm, model, points: points.into_values().collect() })
}

/// Points by rate: the bits of positive numbers are in the numbers' order.
fn trace(directory: &Path) -> Result<BTreeMap<u64, MeasuredPoint>, FileError> {
    let mut points = BTreeMap::new();
    for line in json_lines::<TraceLine>(&directory.join("trace.jsonl"))?.into_iter().filter(|l| l.attempt == 1) {
        let empty = || MeasuredPoint { rate: line.rate, arrivals: Vec::new(), latencies: Vec::new() };
        let measured: &mut MeasuredPoint = points.entry(line.rate.to_bits()).or_insert_with(empty);
        if line.index == measured.arrivals.len() {
            let at = Duration::from_secs_f64(line.due);
            let (input_tokens, output_tokens) = (line.prompt_tokens, line.output_tokens);
            measured.arrivals.push(Arrival { at, input_tokens, output_tokens });
            measured.latencies.push(None);
        }
    }
    Ok(points)
}

fn arm(spawn: &Value) -> Option<Arm> {
    let instances = spawn["instances"].as_array()?;
    let group = |role: &str| -> Option<Group> {
        let of_role: Vec<&Value> = instances.iter().filter(|i| i["role"] == role).collect();
        let tensor_parallel = u32::try_from(of_role.first()?["tensor_parallel"].as_u64()?).ok()?;
        Some(Group { replicas: u32::try_from(of_role.len()).ok()?, tensor_parallel })
    };
    match (group("prefill"), group("decode")) {
        (Some(prefill), Some(decode)) => Some(Arm::PrefillDecode { prefill, decode }),
        _ => group("replica").map(Arm::Simple),
    }
}

fn latency(line: &RequestLine) -> Option<Latency> {
    let (first, last, tokens) = (line.first_token?, line.last_token?, line.output_tokens?);
    let gaps = f64::from(tokens.saturating_sub(1).max(1));
    Some(Latency { ttft_ms: (first - line.due) * 1e3, tpot_ms: (last - first) * 1e3 / gaps })
}
