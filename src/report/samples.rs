//! Runs for tests: recorded on two H100s, and made up.

use super::Study;
use crate::analyse::Question;
use crate::outcome::CountedBy;
use crate::outcome::{
    Chunk, EngineCounters, Failure, Outcome, PointFacts, PointKey, PointStatus, RequestRecord, RunStatus, Stages,
    TimeSum, Timeline,
};
use crate::plan::arm::ArmSpec;
use crate::plan::dataset::Dataset;
use crate::plan::deployment::{Deployment, FleetPlan};
use crate::plan::environment::Environment;
use crate::plan::lengths::{Lengths, Prefixes};
use crate::plan::load::{Extent, Load, Workload};
use crate::plan::slo::{Slo, Target};
use crate::plan::strategy::Order;
use crate::plan::topology::Topology;
use crate::plan::{ArmPlan, MetricChoice, OnFailure, Sweep, Timeouts};
use crate::record::host::HostFacts;
use crate::record::manifest::{InstanceRecord, TraceRecord, VERSION};
use crate::record::{Manifest, RecordedPoint, RecordedRun};
use crate::units::{Offset, RequestRate, TokenCount, Tpot, Ttft};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub(super) fn question(ttft_ms: f64, tpot_ms: f64) -> Question {
    let slo = Slo { ttft: Ttft::from_millis(ttft_ms), tpot: Tpot::from_millis(tpot_ms), e2el: None };
    Question { slo, target: Target::default(), ..Question::default() }
}

/// vLLM 0.22 on two H100s (`tp2` or `pd`), laid out as a directory of its result files and read back.
pub(super) fn h100(prefix: &str) -> RecordedRun {
    let root = tempfile::tempdir().expect("tempdir");
    kit::h100::write_result_files(prefix, root.path());
    let mut run = RecordedRun::read(root.path()).expect("a run");
    run.dir = PathBuf::from(kit::h100::run_dir(prefix));
    run
}

pub(super) fn h100_study(ttft_ms: f64, tpot_ms: f64) -> Study {
    Study::new(vec![h100("tp2"), h100("pd")], question(ttft_ms, tpot_ms))
}

/// A deployment whose latencies grow with the rate, as a run of our own recorded it.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) topology: &'static str,
    pub(super) rates: Vec<f64>,
    pub(super) requests: u32,
    /// Rate at which the queue builds up, requests per second.
    pub(super) knee: f64,
    /// Without load, seconds.
    pub(super) ttft: f64,
    pub(super) tpot: f64,
    /// How many of every ten requests fail.
    pub(super) failing: u32,
    pub(super) why: Vec<String>,
}

impl Made {
    pub(super) fn simple() -> Made {
        Made {
            topology: "simple",
            rates: vec![1.0, 2.0, 3.0, 4.0, 6.0, 8.0],
            requests: 120,
            knee: 7.0,
            ttft: 0.045,
            tpot: 0.0055,
            failing: 0,
            why: Vec::new(),
        }
    }

    pub(super) fn nixl() -> Made {
        Made { topology: "nixl", knee: 10.0, ttft: 0.09, tpot: 0.0072, ..Made::simple() }
    }

    pub(super) fn run(&self) -> RecordedRun {
        let keys = if self.topology == "simple" { ":tp=2" } else { "" };
        let spec = ArmSpec::parse(&format!("{}{keys}", self.topology)).expect("an arm");
        let topology = spec.load("vllm", &Environment::default()).expect("embedded").topology;
        let points: Vec<RecordedPoint> = self.rates.iter().map(|rate| self.point(*rate)).collect();
        RecordedRun {
            dir: PathBuf::from(format!("results/random/{}_20261121_150000", self.topology)),
            mode: self.topology.to_string(),
            manifest: Some(self.manifest(topology, &points)),
            imported: None,
            points,
            skipped: Vec::new(),
        }
    }

    pub(super) fn records(&self, rate: f64) -> Vec<RequestRecord> {
        (0..self.requests).map(|i| self.record(i, rate)).collect()
    }

    fn point(&self, rate: f64) -> RecordedPoint {
        let key = PointKey { rate: RequestRate::new(rate).expect("a rate"), attempt: 1 };
        let records = self.records(rate);
        let failed = records.iter().filter(|r| !r.completed()).count() as u32;
        let status = match failed {
            0 => PointStatus::Measured,
            n if n == self.requests => PointStatus::Failed,
            _ => PointStatus::Degraded,
        };
        let facts = PointFacts {
            key,
            launch: 1,
            host: None,
            status,
            why: self.why.clone(),
            offered: self.requests,
            repeated_prompts: 0,
            repeated_tokens: None,
            duration_secs: f64::from(self.requests) / rate + 1.0,
            started_at: "2026-11-21T15:00:10+00:00".to_string(),
            engine_restarts: 0,
            ranks: Vec::new(),
            engines: Some(self.counters(rate)),
            gpus: None,
            hand_over: None,
            profiled: false,
            pilot: false,
            stopped: None,
        };
        RecordedPoint::new(key, Some(facts), &records)
    }

    fn counters(&self, rate: f64) -> EngineCounters {
        let n = f64::from(self.requests);
        let sum = |secs: f64| Some(TimeSum { secs: secs * n, count: n });
        let queued = self.ttft * (rate / self.knee).powi(2);
        let common = EngineCounters {
            prompt_tokens: Some(512.0 * n),
            prefill_queue: sum(0.2 * queued),
            prefill_time: sum(0.6 * self.ttft),
            ..EngineCounters::default()
        };
        match self.topology {
            "nixl" => EngineCounters {
                kv_transfers: Some(n),
                kv_transfer_secs: Some(0.15 * self.ttft * n),
                local_compute_tokens: Some(n),
                decode_queue: sum(0.05 * queued),
                ..common
            },
            _ => common,
        }
    }

    /// Scattered, the same every time: Knuth's multiplicative hash instead of a generator.
    fn record(&self, i: u32, rate: f64) -> RequestRecord {
        let share = |salt: u32| f64::from((i * 7 + salt).wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
        let due = (f64::from(i) + share(1)) / rate;
        let load = (rate / self.knee).powi(3);
        let ttft = self.ttft * (1.0 + 0.8 * share(2) + 4.0 * load * share(3).powi(2));
        let tpot = self.tpot * (1.0 + 0.1 * share(4) + 0.6 * load * share(5));
        let tokens = 32u32;
        let at = |secs: f64| Offset::from_secs(due + secs);
        let chunks: Vec<Chunk> = (0..tokens).map(|n| Chunk { at: at(ttft + tpot * f64::from(n)), tokens: 1 }).collect();
        let last = chunks[chunks.len() - 1].at;
        let base = RequestRecord {
            index: i,
            id: format!("r-{i}"),
            prompt_tokens: TokenCount(512),
            max_tokens: TokenCount(tokens),
            timeline: Timeline { due: at(0.0), slot: at(0.0), sent: Some(at(2e-4)), end: last, ..Timeline::default() },
            outcome: Outcome::Completed,
            stages: None,
            turn: None,
            text: None,
        };
        if i % 10 < self.failing {
            let refused = Failure::Connect { detail: "connection refused".to_string() };
            return RequestRecord { outcome: Outcome::Failed(refused), ..base };
        }
        let timeline = Timeline {
            first_token: Some(at(ttft)),
            last_token: Some(last),
            chunks,
            tokens_per_chunk_known: true,
            output_tokens: Some(TokenCount(tokens)),
            counted_by: CountedBy::default(),
            prompt_tokens: Some(TokenCount(512)),
            ..base.timeline
        };
        let stages = (self.topology == "nixl").then(|| Stages {
            accepted: Some(at(4e-4)),
            prefill_sent: Some(at(6e-4)),
            prefill_head: Some(at(ttft * 0.7)),
            decode_sent: Some(at(ttft * 0.7 + 3e-4)),
            first_byte: Some(at(ttft - 2e-4)),
            end: Some(last),
            prefill: Some(0),
            decode: Some(0),
        });
        RequestRecord { timeline, stages, ..base }
    }

    fn manifest(&self, topology: Topology, points: &[RecordedPoint]) -> Manifest {
        let gpus = topology.gpu_count();
        let trace = |p: &RecordedPoint| TraceRecord {
            key: p.key,
            sha256: format!("{:064x}", (p.key.rate.per_second() * 1e3) as u64),
            requests: self.requests,
            extent: None,
            earlier: Vec::new(),
        };
        Manifest {
            version: VERSION,
            status: RunStatus::Completed,
            reason: None,
            created_at: "2026-11-21T15:00:00+00:00".to_string(),
            finished_at: None,
            topobench: "0.1.0".to_string(),
            command: vec!["topobench".to_string(), self.topology.to_string()],
            arm: ArmPlan {
                label: self.topology.to_string(),
                name: self.topology.to_string(),
                deployment: Deployment::Spawn(fleet()),
                topology: Some(topology),
                gpus,
                through_proxy: false,
            },
            sweep: sweep(&self.rates, self.requests),
            order: Order::Ab,
            warnings: Vec::new(),
            host: HostFacts::default(),
            gpus: vec![json!({ "name": "NVIDIA H100 80GB HBM3" }); gpus as usize],
            instances: vec![InstanceRecord { engine_version: Some("0.32.1".to_string()), ..InstanceRecord::default() }],
            traces: points.iter().map(trace).collect(),
            fitted_to: None,
            greedy_answers: Vec::new(),
            points: points.iter().filter_map(|p| p.facts.clone()).collect(),
            engine_secs: None,
            session: Vec::new(),
        }
    }
}

fn fleet() -> FleetPlan {
    FleetPlan {
        program: "vllm".to_string(),
        model: "Qwen/Qwen3-8B".to_string(),
        served_model_name: "Qwen/Qwen3-8B".to_string(),
        api_key: None,
        env: crate::plan::secrecy::EngineEnv::default(),
        kv: None,
        instances: Vec::new(),
        ready_timeout: Duration::from_secs(600),
    }
}

fn sweep(rates: &[f64], requests: u32) -> Sweep {
    let fixed = |n| Lengths::Fixed { tokens: TokenCount(n) };
    let dataset = Dataset::Random {
        input: fixed(512),
        output: fixed(32),
        prefix_len: TokenCount(0),
        prefixes: Prefixes::default(),
    };
    Sweep {
        model: "Qwen/Qwen3-8B".to_string(),
        served_model_name: "Qwen/Qwen3-8B".to_string(),
        workload: Workload::completions(dataset),
        load: Load {
            warmups: 4,
            ..Load::poisson(rates.iter().filter_map(|r| RequestRate::new(*r)).collect(), Extent::Requests(requests))
        },
        strategy: crate::plan::strategy::StrategyPlan::Grid,
        slo: Slo::default(),
        target: Target::default(),
        gate: None,
        window: None,
        goodput_per: crate::plan::goodput_unit::GoodputUnit::Request,
        timeouts: Timeouts {
            first_token: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            drain: Duration::from_secs(60),
        },
        on_failure: OnFailure::default(),
        profile: false,
        metadata: BTreeMap::new(),
        metrics: MetricChoice::default(),
    }
}
