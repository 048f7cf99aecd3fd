//! How long judging and drawing take, beside the same done with numpy and matplotlib in the same minutes:
//! `cargo bench --bench analysis`, on an idle machine.
//!
//! Python is run where PYTHON names an interpreter that has both (`python3 -m venv v; v/bin/pip install numpy matplotlib`);
//! `equivalent.py` reads the very numbers that are judged here and must find the same crossing.

mod sweeps;

use kit::queue::{SCENES, Scene};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use sweeps::{question, sweep};
use topobench::analyse::confidence::ROUNDS;
use topobench::analyse::crossing::crossing;
use topobench::analyse::scale::{ScaleCurve, ScaledLimits};
use topobench::analyse::{ArmInput, Comparison, Question};

const SCENE: &Scene = &SCENES[3];
const RATES: usize = 12;
const TIMES: usize = 7;

/// One line of the table.
struct Task {
    name: &'static str,
    goal: Duration,
    ours: Duration,
    python: Option<Duration>,
}

fn main() {
    let work = std::env::temp_dir().join(format!("topobench-analysis-{}", std::process::id()));
    std::fs::create_dir_all(&work).expect("a directory for what Python reads");
    let python = Python::found(&work);
    let rates: Vec<f64> = (1..=RATES).map(|i| i as f64 * 0.15 * SCENE.crossing).collect();
    let tasks = [curves(&python, &rates), resampling(&python, &rates), comparing(&python)];
    let _ = std::fs::remove_dir_all(&work);
    print!("{}", table(&tasks));
}

fn table(tasks: &[Task]) -> String {
    let mut text = String::from("| task | goal | topobench | Python | ratio |\n| --- | --- | --- | --- | --- |\n");
    for Task { name, goal, ours, python } in tasks {
        let millis = |time: &Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let ratio = python.map(|p| format!("{:.1}x", p.as_secs_f64() / ours.as_secs_f64()));
        let missing = || "-".to_string();
        let shown = [python.as_ref().map(millis), ratio].map(|cell| cell.unwrap_or_else(missing)).join(" | ");
        let _ = writeln!(text, "| {name} | {} | {} | {shown} |", millis(goal), millis(ours));
    }
    text
}

/// The median of several times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn timed<T>(mut work: impl FnMut() -> T) -> Duration {
    let once = |_| {
        let start = Instant::now();
        std::hint::black_box(work());
        start.elapsed()
    };
    median((0..TIMES).map(once).collect())
}

/// A million requests over 12 rates: three exact SLO-scale curves at every rate, the scale at the target, and where
/// attainment crosses the target.
fn curves(python: &Python, rates: &[f64]) -> Task {
    let arm = sweep(SCENE, 1_000_000 / RATES, rates, 1).swap_remove(0);
    let asked = question(SCENE);
    let ours = timed(|| exact(&arm, &asked));
    let at = exact(&arm, &asked)[0];
    let answer = python.answer(&["curves", &python.columns("curves", &[&arm]), &limits(&asked)]);
    if let Some(answer) = &answer {
        let theirs = answer.value;
        assert!((at - theirs).abs() < 1e-9 * at, "the crossing is {at} here and {theirs} in Python");
    }
    Task {
        name: "1M requests, 12 rates: exact curves, scales, crossings",
        goal: Duration::from_millis(50),
        ours,
        python: answer.map(|a| a.time),
    }
}

/// Where each curve crosses the target: all limits, TTFT alone, TPOT alone.
fn exact(arm: &ArmInput, asked: &Question) -> [f64; 3] {
    [ScaledLimits::Both, ScaledLimits::Ttft, ScaledLimits::Tpot].map(|limits| {
        let of = |p: &topobench::analyse::PointInput| {
            let curve = ScaleCurve::new([p.samples.as_ref()], &asked.slo, limits);
            std::hint::black_box(curve.at_target(asked.target));
            (p.rate.per_second(), curve.attainment_at(1.0))
        };
        let over_rate: Vec<(f64, f64)> = arm.points.iter().map(of).collect();
        let found = crossing(&over_rate, asked.target.percent().get());
        found.and_then(|c| c.first()).map_or(f64::NAN, |rate| rate.per_second())
    })
}

/// Everything that `compare` computes of two arms on one trace, its resampling included, scaled to 1,000 rounds.
fn resampling(python: &Python, rates: &[f64]) -> Task {
    let mut arms = sweep(SCENE, 1000, rates, 1);
    arms.remove(1);
    let asked = question(SCENE);
    let whole = timed(|| Comparison::new(&arms, &asked));
    let answer = python.answer(&["bootstrap", &python.columns("bootstrap", &[&arms[0], &arms[1]]), &limits(&asked)]);
    Task {
        name: "1,000 paired block-bootstrap rounds, 2 arms x 12 points x 1,000 requests",
        goal: Duration::from_secs(1),
        ours: whole * 1000 / ROUNDS,
        python: answer.map(|a| a.time),
    }
}

/// The program itself on two recorded runs, all figures in three formats, tables and the page; Python draws one figure of
/// two panels. CPU, user and system.
fn comparing(python: &Python) -> Task {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/curated/h100x2-qwen3-8b");
    let runs = ["simple_20261122_002652", "nixl_20261122_001955"].map(|run| root.join(run));
    let out = python.work.join("comparison");
    let mut compare = Command::new(env!("CARGO_BIN_EXE_topobench"));
    compare.arg("compare").args(&runs).args(["--ttft-slo", "250", "--tpot-slo", "10", "--output"]).arg(&out);
    let ours = median((0..TIMES).map(|_| cpu_of(&mut compare)).collect());
    let theirs = python.program.as_ref().map(|program| {
        let mut draw = Command::new(program);
        draw.arg(script()).arg("compare").args(&runs).arg(&out);
        median((0..3).map(|_| cpu_of(&mut draw)).collect())
    });
    Task {
        name: "`compare` of two runs of 5 x 300 requests, CPU (Python: one figure)",
        goal: Duration::from_millis(300),
        ours,
        python: theirs,
    }
}

/// User and system time of a program and its children.
fn cpu_of(program: &mut Command) -> Duration {
    let spent = || {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).expect("usage");
        let of =
            |time: nix::sys::time::TimeVal| Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64);
        of(usage.user_time()) + of(usage.system_time())
    };
    let before = spent();
    let done = program.stdout(Stdio::null()).status().expect("the program starts");
    assert!(done.success(), "{program:?} ended with {done}");
    spent() - before
}

fn limits(asked: &Question) -> String {
    format!("{},{}", asked.slo.ttft.as_secs(), asked.slo.tpot.as_secs())
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/benches/equivalent.py")
}

/// An interpreter with numpy and matplotlib, or none.
struct Python {
    program: Option<String>,
    work: PathBuf,
}

/// What the script printed: how long its work took without loading, and its results.
struct Answer {
    time: Duration,
    value: f64,
}

impl Python {
    fn found(work: &Path) -> Python {
        let named = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_string());
        let try_it = Command::new(&named).args(["-c", "import numpy, matplotlib"]).stderr(Stdio::null()).status();
        let program = try_it.is_ok_and(|status| status.success()).then_some(named);
        if program.is_none() {
            println!("SKIPPED: Python, for want of numpy and matplotlib; PYTHON names an interpreter that has them");
        }
        Python { program, work: work.to_path_buf() }
    }

    /// Rate, TTFT and TPOT of every request as a table of 64-bit floats, arm by arm; the file's name.
    fn columns(&self, name: &str, arms: &[&ArmInput]) -> String {
        let path = self.work.join(name);
        let points = arms.iter().flat_map(|arm| &arm.points);
        let rows = points.flat_map(|p| {
            let latencies = p.samples.latencies();
            latencies.map(move |(ttft, tpot)| [p.rate.per_second(), ttft, tpot]).collect::<Vec<_>>()
        });
        let bytes: Vec<u8> = rows.flatten().flat_map(f64::to_le_bytes).collect();
        std::fs::write(&path, bytes).expect("written");
        path.display().to_string()
    }

    /// The median over several runs within one process, after everything is loaded.
    fn answer(&self, words: &[&str]) -> Option<Answer> {
        let program = self.program.as_ref()?;
        let out = Command::new(program).arg(script()).args(words).stderr(Stdio::inherit()).output().expect("starts");
        let text = String::from_utf8_lossy(&out.stdout);
        let mut numbers = text.split_whitespace().map(|word| word.parse().expect("seconds and a value"));
        let (seconds, value) = (numbers.next()?, numbers.next()?);
        Some(Answer { time: Duration::from_secs_f64(seconds), value })
    }
}
