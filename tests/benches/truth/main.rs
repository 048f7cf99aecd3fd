//! How true the load client's figures are: against a server that notes when it wrote each chunk.
//!
//! `cargo bench --bench truth [RATE..]`: server alone on the first core, client alone on the second; constant arrivals at
//! rates that don't beat against the 10 ms token period. Errors are the client's stamp minus the server's.

mod server;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use server::monotonic_nanos;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use topobench::drive::{Deadlines, PointReport, PointSpec, Progress, Target, run_point};
use topobench::outcome::RequestRecord;
use topobench::plan::load::{Arrivals, Dataset, Endpoint, Extent, Lengths, Load, Overlong, Prefixes, Workload};
use topobench::plan::workload::{PrepareContext, PreparedWorkload};
use topobench::units::{Offset, RequestRate, TokenCount};

const SECONDS_PER_RATE: f64 = 10.0;
const OUTPUT_TOKENS: u32 = 128;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|w| w != "--bench").collect();
    if words.first().is_some_and(|w| w == "serve") {
        pin(0);
        server::run().expect("the server runs");
        return;
    }
    let rates: Vec<f64> = words.iter().filter_map(|w| w.parse().ok()).collect();
    let rates = if rates.is_empty() { vec![97.0, 389.0, 787.0] } else { rates };
    let (mut child, port) = start_server();
    pin(1);
    println!(
        "rate  completed  TTFT error p50/p99 (ms)  TPOT error p50/p99 (us)  lateness p50/p99 (ms)  CPU-s per 1M tokens"
    );
    for rate in rates {
        measure(port, rate);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Where there is a single core, both share it.
fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core).expect("a small number");
    let _ = sched_setaffinity(Pid::from_raw(0), &set);
}

fn start_server() -> (Child, u16) {
    let program = std::env::current_exe().expect("this program has a path");
    let mut child = Command::new(program).arg("serve").stdout(Stdio::piped()).spawn().expect("the server starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a port");
    (child, line.trim().parse().expect("a port"))
}

fn spec(port: u16, rate: f64) -> PointSpec {
    let fixed = |n| Lengths::Fixed { tokens: TokenCount(n) };
    let workload = Workload {
        dataset: Dataset::Random {
            input: fixed(32),
            output: fixed(OUTPUT_TOKENS),
            prefix_len: TokenCount(0),
            prefixes: Prefixes::default(),
        },
        endpoint: Endpoint::Completions,
        tokenizer: None,
        ignore_eos: true,
        temperature: None,
        extra_body: serde_json::Map::new(),
        save_texts: false,
        overlong: Overlong::default(),
    };
    let rate = RequestRate::new(rate).expect("positive");
    let load = Load {
        rates: vec![rate],
        extent: Extent::Duration(Duration::from_secs_f64(SECONDS_PER_RATE)),
        arrivals: Arrivals::Constant,
        ramp_up: None,
        max_concurrency: None,
        warmups: 0,
        attempts: 1,
        seed: 0,
    };
    let prompts = PreparedWorkload::prepare(&workload, &load, PrepareContext::default()).expect("prepares");
    PointSpec {
        schedule: Arc::new(prompts.schedule(rate, 1).expect("schedules")),
        prompts: Arc::new(prompts),
        target: Target::new(format!("http://127.0.0.1:{port}"), "tiny", &workload),
        id_prefix: format!("truth-{rate}"),
        deadlines: Deadlines::default(),
        drain: Duration::from_secs(30),
        max_concurrency: None,
        keep_text: false,
    }
}

fn measure(port: u16, rate: f64) {
    let spec = spec(port, rate);
    let cpu = cpu_seconds();
    let (report, records) = drive(spec);
    let cpu = cpu_seconds() - cpu;
    // Instant is CLOCK_MONOTONIC: the same moment on the server's clock.
    let zero = monotonic_nanos() - u64::try_from(report.time_zero.elapsed().as_nanos()).expect("no century");
    let truth = truth(port);
    let (mut ttft, mut tpot, mut late) = (Vec::new(), Vec::new(), Vec::new());
    for record in records.iter().filter(|r| r.completed()) {
        let [_, first, last] = truth[&record.id].map(|nanos| Offset::from_nanos(nanos.saturating_sub(zero)));
        ttft.push(record.timeline.first_token.map_or(f64::NAN, |at| at.secs_since(first)) * 1e3);
        let true_tpot = last.secs_since(first) / f64::from(OUTPUT_TOKENS - 1);
        tpot.push(record.tpot().map_or(f64::NAN, |t| (t.as_secs() - true_tpot).abs()) * 1e6);
        late.push(record.lag_secs().unwrap_or(f64::NAN) * 1e3);
    }
    let both = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let at = |q: f64| values.get(((values.len() - 1) as f64 * q) as usize).copied().unwrap_or(f64::NAN);
        format!("{:.3} / {:.3}", at(0.5), at(0.99))
    };
    let tokens = report.counts.tokens as f64;
    println!(
        "{rate:<5} {:>5}/{:<5} {:>20} {:>24} {:>22} {:>18.2}",
        report.counts.completed,
        report.counts.sent,
        both(&mut ttft),
        both(&mut tpot),
        both(&mut late),
        cpu / tokens * 1e6,
    );
}

fn drive(spec: PointSpec) -> (PointReport, Vec<RequestRecord>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (sink, mut records) = mpsc::unbounded_channel();
        let (cancel, progress) = (CancellationToken::new(), Arc::new(Progress::default()));
        let report = run_point(spec, sink, cancel, progress).await.expect("the load runs");
        let mut all = Vec::new();
        records.recv_many(&mut all, usize::MAX).await;
        (report, all)
    })
}

/// Received, first and last chunk written, by request id.
fn truth(port: u16) -> HashMap<String, [u64; 3]> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.write_all(b"GET /truth HTTP/1.1\r\n\r\n").expect("asks");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("reads");
    let table = text.split_once("\r\n\r\n").map_or("", |(_, table)| table);
    let row = |line: &str| {
        let mut fields = line.split(',');
        let id = fields.next()?.to_string();
        let mut nanos = || fields.next()?.parse().ok();
        Some((id, [nanos()?, nanos()?, nanos()?]))
    };
    table.lines().filter_map(row).collect()
}

fn cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("own usage");
    let secs = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    secs(usage.user_time()) + secs(usage.system_time())
}
