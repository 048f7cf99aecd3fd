//! A run of a million requests from plan to report, in bounded memory, with the journal written as it goes.
//!
//! `cargo bench --bench scale [REQUESTS]`: the program itself measures a server that answers at once: three finite rates and
//! an infinite one, 8 tokens a request. Then the run is drawn again. Prints the kernel's high-water mark of the
//! program's memory while it measures and while it reports, the journal's size while the load lasts, and CPU seconds.
//! Exits with 1 if a request left no line, the journal was only written at the end, or the memory passed 300 MiB.

use kit::paced::{self, Pace};
use kit::process::{cpu_secs, peak_memory};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const REQUESTS: u32 = 1_000_000;
const POINTS: [&str; 4] = ["4000", "6000", "8000", "inf"];
const MOST_MIB: f64 = 300.0;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|w| w != "--bench").collect();
    if words.first().is_some_and(|w| w == "serve") {
        paced::run(1, Pace::Flood).expect("the server runs");
        return ExitCode::SUCCESS;
    }
    let requests = words.first().and_then(|w| w.parse().ok()).unwrap_or(REQUESTS);
    let (mut server, port) = start_server();
    let results = tempfile::tempdir().expect("a temporary directory");
    let swept = watch(sweep(port, requests, results.path()), results.path());
    let _ = server.kill();
    let _ = server.wait();
    let run = run_dir(results.path()).expect("the program made its directory");
    let lines = lines(&run.join("requests.jsonl"));
    println!("run      {}", swept.told());
    println!("         {lines} lines of {requests}, journal {:.0} MiB", swept.journal_mib);
    println!("         {:.0} % of the journal was there at half of the load", 100.0 * swept.written_by_half());
    let plotted = watch(program(&["plot", &run.display().to_string()], results.path()), results.path());
    println!("plot     {}", plotted.told());
    let small = [&swept, &plotted].iter().all(|w| w.measuring_mib.max(w.reporting_mib) <= MOST_MIB);
    let good = lines == requests as usize && small && swept.written_by_half() > 0.1;
    println!("{}", if good { "within 300 MiB, nothing lost" } else { "NOT within the limits" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start_server() -> (Child, u16) {
    let this = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(this);
    let mut child = command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a port");
    (child, line.trim().parse().expect("a port"))
}

fn program(args: &[&str], results: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_topobench"));
    command.args(args).arg("--result-dir").arg(results).stdout(Stdio::null());
    command
}

fn sweep(port: u16, requests: u32, results: &Path) -> Command {
    let each = (requests / POINTS.len() as u32).to_string();
    let mut command = program(&["simple", "--attach", &format!("http://127.0.0.1:{port}"), "--model", "tiny"], results);
    command.args(["--tokenizer", "enginesim"]);
    command.args(["--request-rate", &POINTS.join(","), "--num-prompts", &each, "--max-concurrency", "256"]);
    command.args(["--random-input-len", "16", "--random-output-len", "8", "--ignore-eos"]);
    command
}

fn run_dir(results: &Path) -> Option<PathBuf> {
    let group = std::fs::read_dir(results).ok()?.flatten().next()?.path();
    Some(std::fs::read_dir(group).ok()?.flatten().next()?.path())
}

fn lines(journal: &Path) -> usize {
    let file = std::fs::File::open(journal).expect("a journal");
    BufReader::with_capacity(1 << 20, file).split(b'\n').count()
}

/// What was seen of the program while it ran.
#[derive(Default)]
struct Watched {
    secs: f64,
    cpu_secs: f64,
    /// High-water mark until every point was measured.
    measuring_mib: f64,
    /// The same from then on.
    reporting_mib: f64,
    journal_mib: f64,
    /// Seconds and MiB of the journal while the load lasted.
    growth: Vec<(f64, f64)>,
}

impl Watched {
    fn told(&self) -> String {
        format!(
            "{:.0} s, {:.1} CPU-s, peak {:.0} MiB measuring, {:.0} MiB by the end",
            self.secs, self.cpu_secs, self.measuring_mib, self.reporting_mib
        )
    }

    /// The share of the journal that was on disk after half of the time in which it grew.
    fn written_by_half(&self) -> f64 {
        let (Some(first), Some(last)) = (self.growth.first(), self.growth.last()) else { return 0.0 };
        let half = f64::midpoint(first.0, last.0);
        self.growth.iter().rfind(|(at, _)| *at <= half).map_or(0.0, |(_, mib)| mib / last.1)
    }
}

fn watch(mut command: Command, results: &Path) -> Watched {
    let began = Instant::now();
    let mut child = command.spawn().expect("the program starts");
    let pid = child.id().cast_signed();
    let peak_mib = || peak_memory(pid).map(|bytes| bytes as f64 / f64::from(1 << 20));
    let mut seen = Watched::default();
    while child.try_wait().expect("our child").is_none() {
        let journal = run_dir(results).and_then(|run| std::fs::metadata(run.join("requests.jsonl")).ok());
        let mib = journal.map_or(0.0, |m| m.len() as f64 / f64::from(1 << 20));
        seen.secs = began.elapsed().as_secs_f64();
        if mib > seen.journal_mib {
            seen.journal_mib = mib;
            seen.growth.push((seen.secs, mib));
            seen.measuring_mib = peak_mib().unwrap_or(seen.measuring_mib);
        }
        seen.reporting_mib = peak_mib().unwrap_or(seen.reporting_mib);
        seen.cpu_secs = cpu_secs(pid).unwrap_or(seen.cpu_secs);
        std::thread::sleep(Duration::from_millis(20));
    }
    seen
}
