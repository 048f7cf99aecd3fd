//! The recorded run on H100s as two arms, with a manifest or as bare result files, and the page made from it.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use topobench::analyse::summary::PointSummary;
use topobench::analyse::{ArmInput, ArmKind, Comparison, Identity, PointInput, Question};
use topobench::draw::{Axis, Drawing, Figure, Line, Panel, Stroke, marker, palette};
use topobench::outcome::{
    EngineCounters, Failure, Outcome, PointFacts, PointKey, PointStatus, RequestRecord, RunStatus,
};
use topobench::plan::arm::ArmSpec;
use topobench::plan::build::{Arms, PlanRequest, RunOptions, build};
use topobench::plan::dataset::DatasetOptions;
use topobench::plan::environment::Environment;
use topobench::plan::gpus::{GpuPool, Vendor};
use topobench::plan::options::{LoadOptions, WorkloadOptions};
use topobench::plan::slo::{Slo, Target};
use topobench::plan::strategy::Order;
use topobench::plan::{MetricChoice, OnFailure, Plan, Timeouts};
use topobench::record::host::HostFacts;
use topobench::record::import::VllmFile;
use topobench::record::manifest::{InstanceRecord, TraceRecord};
use topobench::record::{Manifest, RecordedPoint, RecordedRun};
use topobench::report::{
    self,
    html::{self, ArmPage, HtmlError, PageFigure, PageFile, PageInput},
};
use topobench::units::{RequestRate, TokenCount, Tpot, Ttft};

/// A point with its requests one by one, to be changed at will.
#[derive(Clone)]
pub(crate) struct Point {
    pub key: PointKey,
    pub facts: Option<PointFacts>,
    pub records: Vec<RequestRecord>,
}

/// Everything that a page is made from.
pub(crate) struct Study {
    pub title: String,
    /// The points of each run; [`Study::record`] makes the runs from them.
    pub points: Vec<Vec<Point>>,
    pub runs: Vec<RecordedRun>,
    pub arms: Vec<ArmInput>,
    pub question: Question,
    pub command: Vec<String>,
}

impl Study {
    /// Two arms with everything that a run of topobench records, judged at 250 ms and 9 ms.
    pub(crate) fn recorded() -> Study {
        let mut study = Study::imported();
        let plan = plan();
        for (arm, kind) in [ArmKind::Simple, ArmKind::PrefillDecode].into_iter().enumerate() {
            for point in &mut study.points[arm] {
                point.facts = Some(facts(point, kind));
            }
            study.runs[arm].manifest = Some(manifest(&plan, arm, &study.points[arm]));
            study.runs[arm].imported = None;
            study.record();
            study.arms[arm] = arm_input(&study.runs[arm], kind);
        }
        study.title = "Qwen3-8B on 2 × H100: simple TP2 against nixl 1P1D".to_string();
        study
    }

    /// With repeats, failures, one-token answers, requests that left no record, a rate at which nothing could be sent,
    /// and everything at once.
    pub(crate) fn odd() -> Study {
        let mut study = Study::recorded();
        for points in &mut study.points {
            let mut all_at_once = points[0].clone();
            all_at_once.key.rate = RequestRate::INFINITE;
            let mut repeat = points[2].clone();
            repeat.key.attempt = 2;
            repeat.records[7].outcome = Outcome::Unfinished;
            repeat.records[8].timeline.output_tokens = Some(TokenCount(1));
            let mut unsent = points[0].clone();
            unsent.key.rate = RequestRate::new(11.0).expect("a rate");
            for record in &mut unsent.records {
                record.outcome = Outcome::Failed(Failure::Connect { detail: "refused".to_string() });
                record.timeline.sent = None;
            }
            // Cut off: 30 requests left no record.
            points[2].facts.as_mut().expect("facts").offered += 30;
            points.extend([repeat, unsent, all_at_once]);
        }
        study.rejudge();
        study
    }

    /// 12 rates with 1000 requests each, copied from the recorded few.
    pub(crate) fn large() -> Study {
        let mut study = Study::recorded();
        for points in &mut study.points {
            let seeds = points[2].records.clone();
            let point = |rate: u32| {
                let gap = 1000 / u64::from(rate);
                let records = (0..1000u64).map(|n| later(&seeds[n as usize % seeds.len()], n * gap)).collect();
                let key = PointKey { rate: RequestRate::new(f64::from(rate)).expect("a rate"), attempt: 1 };
                Point { key, facts: None, records }
            };
            *points = (1..=12).map(point).collect();
        }
        study.rejudge();
        study
    }

    /// The same as bare result files: nothing is known but the requests.
    pub(crate) fn imported() -> Study {
        let (runs, points): (Vec<_>, Vec<_>) = ["tp2", "pd"].map(result_files).into_iter().unzip();
        let kinds = [ArmKind::Simple, ArmKind::PrefillDecode];
        let arms = runs.iter().zip(kinds).map(|(run, kind)| arm_input(run, kind)).collect();
        let slo = Slo { ttft: Ttft::from_millis(250.0), tpot: Tpot::from_millis(9.0), e2el: None };
        Study {
            title: "Imported result files".to_string(),
            points,
            runs,
            arms,
            question: Question { slo, scale_rate: RequestRate::new(8.0), ..Question::default() },
            command: ["topobench", "compare", "results/simple", "results/nixl"].map(String::from).to_vec(),
        }
    }

    /// The first arm alone.
    pub(crate) fn alone(mut self) -> Study {
        self.points.truncate(1);
        self.runs.truncate(1);
        self.arms.truncate(1);
        self
    }

    /// Makes the runs hold what was changed in `points`, without judging them again.
    pub(crate) fn record(&mut self) {
        let recorded = |p: &Point| RecordedPoint::new(p.key, p.facts.clone(), &p.records);
        for (run, points) in self.runs.iter_mut().zip(&self.points) {
            run.points = points.iter().map(recorded).collect();
        }
    }

    /// Records and judges what was changed.
    pub(crate) fn rejudge(&mut self) {
        self.record();
        for (arm, run) in self.arms.iter_mut().zip(&self.runs) {
            arm.points = judged(run);
        }
    }

    pub(crate) fn page(&self) -> Result<String, HtmlError> {
        let comparison = Comparison::new(&self.arms, &self.question);
        let summaries: Vec<Vec<PointSummary>> = self.arms.iter().map(summaries).collect();
        let arms: Vec<ArmPage> = self
            .runs
            .iter()
            .zip(&self.arms)
            .zip(&summaries)
            .map(|((run, input), summaries)| ArmPage { run, input, summaries })
            .collect();
        let drawing = figure(&comparison);
        html::page(&PageInput {
            title: &self.title,
            comparison: &comparison,
            arms: &arms,
            figures: &[PageFigure { id: "attainment", title: "Attainment over rate", drawing: &drawing }],
            command: &self.command,
            generated_at: "2026-11-21 23:10:00",
            files: &[PageFile { path: "compare.json", what: "this comparison for programs" }],
        })
    }
}

fn summaries(arm: &ArmInput) -> Vec<PointSummary> {
    arm.points.iter().map(|p| report::summary_of(p, &report::PERCENTILES)).collect()
}

/// Result files of `vllm bench serve`, written and read back, and their requests.
fn result_files(arm: &str) -> (RecordedRun, Vec<Point>) {
    let dir = tempfile::tempdir().expect("tempdir");
    kit::h100::write_result_files(arm, dir.path());
    let point = |(rate, file): (f64, Value)| {
        let file = VllmFile::parse(file.to_string().as_bytes()).expect("a result file");
        let key = PointKey { rate: RequestRate::new(rate).expect("a rate"), attempt: 1 };
        Point { key, facts: None, records: file.records().expect("columns") }
    };
    let points = kit::h100::result_files(arm).into_iter().map(point).collect();
    let run = RecordedRun::read(dir.path()).expect("result files");
    (RecordedRun { dir: kit::h100::run_dir(arm).into(), ..run }, points)
}

fn arm_input(run: &RecordedRun, kind: ArmKind) -> ArmInput {
    let engine = run.manifest.as_ref().map(|_| "vllm 0.22.1".to_string());
    ArmInput {
        label: run.mode.clone(),
        size: Some(if kind == ArmKind::Simple { "TP2" } else { "1P1D" }.to_string()),
        dir: run.dir.display().to_string(),
        kind,
        instances: (kind == ArmKind::PrefillDecode).then_some((1, 1)),
        gpus: Some(2),
        topology: Value::Null,
        identity: Identity { model: run.model().map(str::to_string), engine, ..Identity::default() },
        points: judged(run),
        stopped: Vec::new(),
        pilots: Vec::new(),
    }
}

fn judged(run: &RecordedRun) -> Vec<PointInput> {
    let point = |p: &RecordedPoint| PointInput {
        rate: p.key.rate,
        attempt: p.key.attempt,
        launch: p.launch,
        host: p.host.clone(),
        facts: p.facts.clone(),
        duration_secs: p.duration_secs,
        samples: Arc::clone(&p.samples),
    };
    run.points.iter().map(point).collect()
}

fn plan() -> Plan {
    let arm = |text| ArmSpec::parse(text).expect("an arm");
    let rates = "2,5,8".parse().ok();
    let second = Duration::from_secs(1);
    let request = PlanRequest {
        arms: Arms::Spawn {
            specs: vec![arm("simple:tp=2"), arm("nixl:prefill=1,decode=1")],
            engine: "vllm".to_string(),
        },
        workload: WorkloadOptions {
            model: Some("/models/Qwen3-8B".to_string()),
            dataset: DatasetOptions {
                random_input_len: Some(2048),
                random_output_len: Some(128),
                ..DatasetOptions::default()
            },
            endpoint: "/v1/completions".to_string(),
            ..WorkloadOptions::default()
        },
        load: LoadOptions {
            request_rate: rates,
            duration: Some(10.0),
            burstiness: 1.0,
            attempts: 1,
            ..LoadOptions::default()
        },
        slo: Slo::default(),
        target: Target::default(),
        run: RunOptions {
            order: Some(Order::Ab),
            result_dir: "results".into(),
            name: None,
            gate: None,
            window: None,
            goodput_per: topobench::plan::goodput_unit::GoodputUnit::Request,
            on_failure: OnFailure::default(),
            profile: false,
            metadata: BTreeMap::new(),
            metrics: MetricChoice::default(),
            engine_args: Vec::new(),
            through_proxy: false,
            job: None,
            ready_timeout: 600 * second,
            timeouts: Timeouts { first_token: 60 * second, idle: 60 * second, drain: 60 * second },
        },
    };
    let gpus = || GpuPool {
        vendor: Vendor::Cuda,
        ids: vec!["0".into(), "1".into()],
        places: vec![],
        nodes: vec![],
        origin: "test".into(),
    };
    build(&request, &Environment::default(), gpus).expect("a plan")
}

fn manifest(plan: &Plan, arm: usize, points: &[Point]) -> Manifest {
    let words = |line: &str| line.split(' ').map(str::to_string).collect::<Vec<_>>();
    let gpu = json!({"name": "NVIDIA H100 80GB HBM3", "memory_total_bytes": 85_520_809_984u64, "driver": "580.95.05", "cuda": "13.0"});
    let names: &[&str] = if arm == 0 { &["replica-0"] } else { &["prefill-0", "decode-0"] };
    let instance = |(i, name): (usize, &&str)| InstanceRecord {
        name: (*name).to_string(),
        launch: 1,
        url: format!("http://127.0.0.1:{}", 8100 + i),
        argv: words(&format!(
            "vllm serve /models/Qwen3-8B --host 127.0.0.1 --port {} --tensor-parallel-size {} --gpu-memory-utilization 0.8",
            8100 + i,
            2 - arm
        )),
        env: BTreeMap::from([
            ("CUDA_VISIBLE_DEVICES".to_string(), if arm == 0 { "0,1".to_string() } else { i.to_string() }),
            ("HF_TOKEN".to_string(), "hf_never_to_be_seen".to_string()),
        ]),
        engine_version: Some("0.22.1".to_string()),
        max_model_len: Some(40_960),
        ready_secs: Some(61.25),
        ..InstanceRecord::default()
    };
    let trace = |p: &Point| TraceRecord {
        key: p.key,
        sha256: format!("{:016x}", 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(p.records.len() as u64)).repeat(4),
        requests: p.records.len() as u32,
        extent: None,
        earlier: Vec::new(),
    };
    Manifest {
        version: 1,
        status: RunStatus::Completed,
        reason: None,
        created_at: "2026-11-21T21:40:00+00:00".to_string(),
        finished_at: Some("2026-11-21T21:48:00+00:00".to_string()),
        topobench: "0.1.0".to_string(),
        command: words(
            "topobench ab simple:tp=2 nixl:prefill=1,decode=1 --model /models/Qwen3-8B --request-rate 2,5,8 --duration 10",
        ),
        arm: plan.arms[arm].clone(),
        sweep: plan.sweep.clone(),
        order: plan.order,
        warnings: Vec::new(),
        host: HostFacts {
            hostname: Some("bench-1".to_string()),
            os: Some("Ubuntu 24.04.3 LTS".to_string()),
            kernel: Some("6.8.0-87-generic".to_string()),
            cpu: Some("Intel(R) Xeon(R) Platinum 8480+".to_string()),
            cpus: Some(32),
            memory_bytes: Some(270_582_939_648),
            kv_link_bytes_per_sec: None,
        },
        gpus: vec![gpu.clone(), gpu],
        instances: names.iter().enumerate().map(instance).collect(),
        traces: points.iter().map(trace).collect(),
        fitted_to: None,
        greedy_answers: Vec::new(),
        points: Vec::new(),
        engine_secs: None,
        session: Vec::new(),
    }
}

/// A prefix cache helped in the recorded run; one point lost two KV transfers.
fn facts(point: &Point, kind: ArmKind) -> PointFacts {
    let PointKey { rate, attempt } = point.key;
    let lost = kind == ArmKind::PrefillDecode && rate.per_second() == 5.0;
    let prompts = 2048.0 * point.records.len() as f64;
    PointFacts {
        key: PointKey { rate, attempt },
        launch: 1,
        host: None,
        status: PointStatus::Measured,
        why: Vec::new(),
        offered: point.records.len() as u32,
        repeated_prompts: 0,
        repeated_tokens: None,
        duration_secs: 10.8,
        started_at: "2026-11-21T21:41:00+00:00".to_string(),
        engine_restarts: 0,
        ranks: Vec::new(),
        engines: Some(EngineCounters {
            prompt_tokens: Some(prompts),
            cached_prompt_tokens: Some(if rate.per_second() > 2.0 { 0.58 * prompts } else { 0.0 }),
            local_compute_tokens: (kind == ArmKind::PrefillDecode).then_some(point.records.len() as f64),
            kv_failed_transfers: lost.then_some(2.0),
            ..EngineCounters::default()
        }),
        gpus: None,
        hand_over: None,
        profiled: false,
        pilot: false,
        stopped: None,
    }
}

/// The same request, `ms` later.
fn later(record: &RequestRecord, ms: u64) -> RequestRecord {
    let by = Duration::from_millis(ms);
    let mut record = record.clone();
    let line = &mut record.timeline;
    for at in [&mut line.due, &mut line.slot, &mut line.end] {
        *at = *at + by;
    }
    for at in [&mut line.sent, &mut line.first_token, &mut line.last_token] {
        *at = at.map(|t| t + by);
    }
    record
}

/// A plain figure; real reports draw others.
fn figure(comparison: &Comparison) -> Drawing {
    let y = Axis::linear("SLO attainment").fixed(0.0, 100.0).in_unit(" %");
    let mut panel = Panel::new(Axis::linear("Rate (req/s)").including(0.0), y);
    for (i, arm) in comparison.arms.iter().enumerate() {
        let finite = arm.rates.iter().filter(|r| !r.rate.is_infinite());
        let points: Vec<(f64, f64)> = finite.map(|r| (r.rate.per_second(), r.attainment.both.percent())).collect();
        panel = panel.with(Line::new(points, Stroke::solid(palette(i))).marked(marker(i)).labelled(arm.name.clone()));
    }
    Figure::new(vec![panel]).draw().expect("a figure")
}
