//! The clients under test, each a process of its own on the second core: ours, a floor, hyper, and vLLM's own in Rust.
//!
//! All report the same: TTFT from sent and TPOT, in nanoseconds, one line a request in order of sending.

use super::{OUTPUT_TOKENS, client_core, hyper_client};
use kit::cores::pin;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use topobench::drive::{Deadlines, Destination, Pace, PointSpec, Progress, run_point};
use topobench::outcome::RequestRecord;
use topobench::plan::dataset::Dataset;
use topobench::plan::lengths::{Lengths, Prefixes};
use topobench::plan::load::{Arrivals, Extent, Load, Workload};
use topobench::plan::workload::{PrepareContext, PreparedWorkload};
use topobench::units::{RequestRate, TokenCount};

/// What a client says of one request, ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub ttft: f64,
    pub tpot: f64,
}

/// A load for any client: constant arrivals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    pub port: u16,
    pub rate: f64,
    pub requests: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// The load client alone, as a library.
    Ours,
    /// The program, from plan to report.
    Whole,
    /// The program with a live page that somebody watches.
    Watched,
    /// Raw sockets, only reads and stamps: what any client must pay.
    Floor,
    /// hyper's low-level connections and tokio's timer.
    Hyper,
    /// `vllm-rs bench serve`, where `VLLM_RS` names the binary.
    VllmRs,
}

impl Client {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Client::Ours => "topobench",
            Client::Whole => "whole program",
            Client::Watched => "with a page",
            Client::Floor => "floor",
            Client::Hyper => "hyper",
            Client::VllmRs => "vllm-rs",
        }
    }

    /// The client as a process that prints what it measured, or writes it to `result`.
    pub(crate) fn command(self, task: Task, result: &Path) -> Command {
        let Task { port, rate, requests } = task;
        if matches!(self, Client::Whole | Client::Watched) {
            return whole_program(task, result, self == Client::Watched);
        }
        if self != Client::VllmRs {
            let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
            command.args([self.name(), &port.to_string(), &rate.to_string(), &requests.to_string()]);
            command.stdout(std::fs::File::create(result).expect("a temporary file"));
            return command;
        }
        let mut command = on_its_core(&std::env::var("VLLM_RS").unwrap_or_default());
        command.args(["bench", "serve"]);
        command.args(["--backend", "openai", "--model", "tiny", "--prompt-token-ids"]);
        command.arg("--tokenizer").arg(tokenizer_beside(result)).env("RUST_LOG", "error");
        command.args(["--dataset-name", "random", "--random-input-len", "32", "--ignore-eos", "--disable-tqdm"]);
        command.args(["--random-output-len", &OUTPUT_TOKENS.to_string(), "--port", &port.to_string()]);
        // As good as constant arrivals, which it doesn't have.
        command.args(["--request-rate", &rate.to_string(), "--burstiness", "1000000"]);
        command.args(["--num-prompts", &requests.to_string(), "--save-result", "--save-detailed"]);
        command.arg("--result-filename").arg(result).stdout(Stdio::null()).stderr(Stdio::inherit());
        command
    }

    /// What it measured.
    pub(crate) fn told(self, result: &Path) -> Vec<Told> {
        if matches!(self, Client::Whole | Client::Watched) {
            return journal_columns(&result.with_extension("results"));
        }
        let text = std::fs::read_to_string(result).expect("the client left its result");
        if self == Client::VllmRs {
            return vllm_columns(&text);
        }
        let row = |line: &str| {
            let (ttft, tpot) = line.split_once(',')?;
            Some(Told { ttft: ttft.parse().ok()?, tpot: tpot.parse().ok()? })
        };
        text.lines().filter_map(row).collect()
    }
}

fn on_its_core(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &client_core().to_string(), program]);
    command
}

/// The program on its core, attached to the server, recording as much as in any run.
fn whole_program(task: Task, result: &Path, watched: bool) -> Command {
    let mut command = on_its_core(env!("CARGO_BIN_EXE_topobench"));
    command.args(["simple", "--model", "tiny"]);
    command.args(["--attach", &format!("http://127.0.0.1:{}", task.port), "--burstiness", "inf", "--ignore-eos"]);
    command.args(["--request-rate", &task.rate.to_string(), "--num-prompts", &task.requests.to_string()]);
    command.args([
        "--random-input-len",
        "32",
        "--random-output-len",
        &OUTPUT_TOKENS.to_string(),
        "--tokenizer",
        "enginesim",
    ]);
    command.arg("--result-dir").arg(result.with_extension("results")).stdout(Stdio::null()).stderr(Stdio::null());
    if watched {
        command.arg("--live").stderr(Stdio::piped());
    }
    command
}

/// Opens the live page of a program that has one, as a browser does, and reads its events to the end: on another core.
pub(crate) fn watch(program: &mut Child) {
    let Some(stderr) = program.stderr.take() else { return };
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let url = lines.find_map(|line| line.strip_prefix("live: http://").map(str::to_string)).expect("an address");
        let (host, path) = url.split_once('/').expect("a path");
        let mut page = TcpStream::connect(host).expect("the page is served");
        write!(page, "GET /{path}events HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("it listens");
        std::thread::spawn(move || lines.for_each(drop));
        let events = std::io::copy(&mut page, &mut std::io::sink()).unwrap_or(0);
        assert!(events > 1000, "the page told what is measured, not {events} bytes");
    });
}

fn journal_columns(results: &Path) -> Vec<Told> {
    let below = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).next();
    let run = below(results).and_then(|group| below(&group)).expect("the program made its directory");
    let run = topobench::record::RecordedRun::read(&run).expect("a run");
    let told = |row: topobench::analyse::Row| Told {
        ttft: row.ttft.zip(row.sent).map_or(f64::NAN, |(ttft, sent)| (ttft.as_secs() - (sent - row.due)) * 1e9),
        tpot: row.tpot.map_or(f64::NAN, |tpot| tpot.as_secs() * 1e9),
    };
    run.points.iter().flat_map(|point| point.samples.rows()).map(told).collect()
}

/// The embedded tokenizer as a directory, which vllm-rs wants even if it sends token ids.
fn tokenizer_beside(result: &Path) -> PathBuf {
    let dir = result.with_extension("tokenizer");
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    let bytes = topobench::plan::workload::embedded("enginesim").expect("embedded");
    std::fs::write(dir.join("tokenizer.json"), bytes).expect("a temporary file");
    dir
}

fn vllm_columns(text: &str) -> Vec<Told> {
    let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let column = |name: &str| json[name].as_array().cloned().unwrap_or_default();
    let itls = column("itls").into_iter().map(|gaps| {
        gaps.as_array().map_or(f64::NAN, |gaps| gaps.iter().filter_map(serde_json::Value::as_f64).sum::<f64>())
    });
    let told = |(ttft, decode): (serde_json::Value, f64)| Told {
        ttft: ttft.as_f64().unwrap_or(f64::NAN) * 1e9,
        tpot: decode * 1e9 / f64::from(OUTPUT_TOKENS - 1),
    };
    column("ttfts").into_iter().zip(itls).map(told).collect()
}

/// Runs one of this program's own clients, named on its command line.
pub(crate) fn run(words: &[String]) {
    pin(client_core());
    let number = |i: usize| words[i].parse::<f64>().expect("a number");
    let task = Task { port: number(1) as u16, rate: number(2), requests: number(3) as u32 };
    let told = match words[0].as_str() {
        "floor" => floor(task),
        "hyper" => hyper_client::run(task),
        _ => ours(task),
    };
    let lines: String = told.iter().map(|t| format!("{},{}\n", t.ttft, t.tpot)).collect();
    std::io::stdout().write_all(lines.as_bytes()).expect("somebody listens");
}

fn ours(task: Task) -> Vec<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut records: Vec<RequestRecord> = runtime.block_on(async {
        let (sink, mut records) = mpsc::unbounded_channel();
        let (cancel, progress) = (CancellationToken::new(), Arc::new(Progress::default()));
        let load = run_point(spec(task), sink, cancel, Arc::clone(&progress));
        let collect = async {
            let mut all = Vec::new();
            while let Some(mut record) = records.recv().await {
                // A run writes its records to disk as they come; here it is enough that they don't pile up.
                progress.backlog.take_off(&record);
                record.timeline.chunks = Vec::new();
                all.push(record);
            }
            all
        };
        let (report, all) = tokio::join!(load, collect);
        report.expect("the load runs");
        all
    });
    records.sort_by_key(|r| r.index);
    let nanos = |secs: Option<f64>| secs.map_or(f64::NAN, |s| s * 1e9);
    let told = |r: &RequestRecord| Told {
        ttft: nanos(r.ttft_from_sent().map(|t| t.as_secs())),
        tpot: nanos(r.tpot().map(|t| t.as_secs())),
    };
    records.iter().map(told).collect()
}

fn spec(task: Task) -> PointSpec {
    let fixed = |n| Lengths::Fixed { tokens: TokenCount(n) };
    let dataset = Dataset::Random {
        input: fixed(32),
        output: fixed(OUTPUT_TOKENS),
        prefix_len: TokenCount(0),
        prefixes: Prefixes::default(),
    };
    let workload = Workload::completions(dataset);
    let rate = RequestRate::new(task.rate).expect("positive");
    let load = Load { arrivals: Arrivals::Constant, ..Load::poisson(vec![rate], Extent::Requests(task.requests)) };
    let prompts = PreparedWorkload::prepare(&workload, &load, PrepareContext::default()).expect("prepares");
    PointSpec {
        schedule: Arc::new(prompts.schedule(rate, 1).expect("schedules")),
        prompts: Arc::new(prompts),
        target: Destination::new(format!("http://127.0.0.1:{}", task.port), "tiny", &workload),
        id_prefix: "truth".into(),
        deadlines: Deadlines::default(),
        drain: Duration::from_secs(30),
        pace: Pace::Open,
        keep_text: false,
    }
}

/// A thread that only sends, a loop that only reads, counts `data: ` and stamps.
fn floor(task: Task) -> Vec<Told> {
    let (hand_over, mut streams) = mpsc::unbounded_channel::<(u32, TcpStream, Instant)>();
    let sender = std::thread::spawn(move || {
        let zero = Instant::now() + Duration::from_millis(50);
        for index in 0..task.requests {
            let due = zero + Duration::from_secs_f64(f64::from(index) / task.rate);
            let mut stream = TcpStream::connect(("127.0.0.1", task.port)).expect("connects");
            let prompt: Vec<u32> = (0..32).map(|i| 1000 + index % 20_000 + i).collect();
            let body = format!("{{\"prompt\":{prompt:?},\"max_tokens\":{OUTPUT_TOKENS}}}");
            let head =
                format!("POST /v1/completions HTTP/1.1\r\nX-Request-Id: {index}\r\nContent-Length: {}", body.len());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let sent = Instant::now();
            stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).expect("writes");
            hand_over.send((index, stream, sent)).expect("the reader listens");
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut told = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        while let Some((index, stream, sent)) = streams.recv().await {
            tasks.spawn(async move { (index, read(stream, sent).await) });
        }
        tasks.join_all().await
    });
    sender.join().expect("the sender ends");
    told.sort_by_key(|(index, _)| *index);
    told.into_iter().map(|(_, told)| told).collect()
}

async fn read(stream: TcpStream, sent: Instant) -> Told {
    stream.set_nonblocking(true).expect("a socket");
    let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
    let (mut first, mut last, mut tokens) = (None, sent, 0);
    loop {
        stream.readable().await.expect("a socket");
        let mut buffer = [0; 8192];
        let bytes = match stream.try_read(&mut buffer) {
            Ok(n) => &buffer[..n],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(e) => panic!("{e}"),
        };
        let at = Instant::now();
        let seen = memchr::memmem::find_iter(bytes, b"data: ").count() as u32;
        if seen > 0 && tokens < OUTPUT_TOKENS {
            first.get_or_insert(at);
            last = at;
        }
        tokens += seen;
        // The end of the chunked body, which the server writes in one piece.
        if bytes.is_empty() || bytes.ends_with(b"0\r\n\r\n") {
            break;
        }
    }
    let first = first.unwrap_or(sent);
    let nanos = |d: Duration| d.as_nanos() as f64;
    Told { ttft: nanos(first - sent), tpot: nanos(last - first) / f64::from(OUTPUT_TOKENS - 1) }
}

/// Received, first and last chunk written, ns, in the order of receipt.
pub(crate) fn truth(port: u16) -> Vec<[u64; 3]> {
    let table = kit::paced::table(port).expect("the server's table");
    let row = |line: &str| {
        let mut fields = line.split(',').skip(1);
        let mut nanos = || fields.next()?.parse().ok();
        Some([nanos()?, nanos()?, nanos()?])
    };
    let mut rows: Vec<[u64; 3]> = table.lines().filter_map(row).collect();
    rows.sort_unstable();
    rows
}
