//! How true a load client's figures are, and what they cost: against a server that notes when it wrote each chunk.
//!
//! `cargo bench --bench truth [one-core] [RATE..]`: the server alone on the first core, one client at a time alone on
//! another, each a fresh process; constant arrivals at rates that don't beat against the 10 ms token period. Beside our
//! load client run a floor, which only reads and stamps; a client on hyper's low-level connections; the whole program,
//! `topobench simple --attach`, with its journal, figures and report; the same with a live page that somebody watches; and
//! `vllm-rs bench serve` where `VLLM_RS` names that binary. With `one-core` all share the second core: how far a client can
//! be trusted that has no core to itself.
//!
//! TTFT error: what the client says from sent, minus first chunk written - request received. TPOT error: the absolute
//! difference. Lateness: receipt beside the schedule that fits its earliest receipt. CPU: beyond what a run of one
//! request costs, which is shown separately. The figures are medians of three runs, which the clients take in turn. The
//! machine must be idle.

mod clients;
mod hyper_client;

use clients::{Client, Task, Told, truth};
use kit::cores::{self, pin};
use kit::paced::{self, Pace};
use kit::process::peak_memory;
use nix::sys::resource::{UsageWho, getrusage};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const RATES: [f64; 5] = [97.0, 193.0, 389.0, 787.0, 1171.0];
/// Puts client and server on the same core.
const ONE_CORE: &str = "one-core";
const SECONDS_PER_RATE: f64 = 10.0;
/// Runs of every client at every rate, in turn, so that a disturbance doesn't hit one client alone.
const RUNS: usize = 3;
/// Runs with a single request, which take two seconds.
const FIXED_RUNS: usize = 5;
pub const OUTPUT_TOKENS: u32 = 128;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|w| w != "--bench").collect();
    match words.first().map(String::as_str) {
        Some("serve") => {
            let [server, client] = cores::apart();
            pin(if words.iter().any(|w| w == ONE_CORE) { client } else { server });
            return paced::run(1, Pace::Timed).expect("the server runs");
        }
        Some("topobench" | "floor" | "hyper") => return clients::run(&words),
        _ => {}
    }
    let rates: Vec<f64> = words.iter().filter_map(|w| w.parse().ok()).collect();
    let rates = if rates.is_empty() { RATES.to_vec() } else { rates };
    let one_core = words.iter().any(|w| w == ONE_CORE);
    let (mut server, port) = start_server(one_core);
    let mut clients = vec![Client::Ours, Client::Floor, Client::Hyper, Client::Whole, Client::Watched];
    match std::env::var_os("VLLM_RS") {
        Some(_) => clients.push(Client::VllmRs),
        None => println!("(VLLM_RS=PATH adds `vllm-rs bench serve`)"),
    }
    let fixed = fixed_costs(&clients, port);
    for rate in rates {
        println!("\n{rate} req/s");
        println!(
            "client        served       TTFT error p50/p99 ms  TPOT error p50/p99 us  late p99 ms  CPU-s/1M tokens  peak MiB"
        );
        let task = Task { port, rate, requests: (rate * SECONDS_PER_RATE) as u32 };
        let mut runs: Vec<Vec<Outcome>> = vec![Vec::new(); fixed.len()];
        for _ in 0..RUNS {
            fixed.iter().zip(&mut runs).for_each(|((client, fixed), runs)| runs.push(measure(*client, task, *fixed)));
        }
        for ((client, _), runs) in fixed.iter().zip(&runs) {
            println!("{}", row(*client, task, runs));
        }
    }
    println!();
    for (client, secs) in fixed {
        println!("{:<13} {secs:.2} CPU-s fixed a run", client.name());
    }
    let _ = server.kill();
    let _ = server.wait();
}

/// CPU seconds of a run of one request: the median of some, in turn.
fn fixed_costs(clients: &[Client], port: u16) -> Vec<(Client, f64)> {
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); clients.len()];
    for _ in 0..FIXED_RUNS {
        for (client, costs) in clients.iter().zip(&mut costs) {
            costs.push(measure(*client, Task { port, rate: 10.0, requests: 1 }, 0.0).cpu_secs);
        }
    }
    clients.iter().zip(costs).map(|(client, costs)| (*client, at(&sorted(costs.into_iter()), 0.5))).collect()
}

/// Where every client runs.
pub fn client_core() -> usize {
    cores::apart()[1]
}

fn start_server(one_core: bool) -> (Child, u16) {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.arg("serve").args(one_core.then_some(ONE_CORE));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the server starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a port");
    (child, line.trim().parse().expect("a port"))
}

/// One run of a client at a rate.
#[derive(Clone)]
struct Outcome {
    served: usize,
    cpu_secs: f64,
    /// As [`row`] shows them.
    figures: [f64; 7],
}

/// The median of every figure over the runs, and the fewest requests served.
fn row(client: Client, task: Task, runs: &[Outcome]) -> String {
    let served = runs.iter().map(|run| run.served).min().unwrap_or(0);
    let median = |i: usize| at(&sorted(runs.iter().map(|run| run.figures[i])), 0.5);
    let [ttft50, ttft99, tpot50, tpot99, late, cpu, memory] = std::array::from_fn(median);
    format!(
        "{:<13} {served:>5}/{:<6} {ttft50:>12.3} / {ttft99:<8.3} {tpot50:>12.3} / {tpot99:<8.3} {late:>11.3} {cpu:>16.2} {memory:>9.0}",
        client.name(),
        task.requests,
    )
}

fn at(sorted: &[f64], quantile: f64) -> f64 {
    let position = ((sorted.len() as f64 * quantile).ceil() as usize).saturating_sub(1);
    sorted.get(position).copied().unwrap_or(f64::NAN)
}

fn measure(client: Client, task: Task, fixed_cpu_secs: f64) -> Outcome {
    // Drops what an earlier client's check of the server left in the table.
    truth(task.port);
    let result = std::env::temp_dir().join(format!("truth-{}-{}", std::process::id(), client.name()));
    let before = children_cpu_secs();
    let mut child = client.command(task, &result).spawn().expect("the client starts");
    clients::watch(&mut child);
    let peak_mib = watch_memory(&mut child);
    let cpu_secs = children_cpu_secs() - before;
    let (told, table) = (client.told(&result), truth(task.port));
    let _ = std::fs::remove_file(&result);
    for made in ["tokenizer", "results"] {
        let _ = std::fs::remove_dir_all(result.with_extension(made));
    }
    // A client that checks the server first leaves one more row at the beginning.
    let table = &table[table.len().saturating_sub(task.requests as usize)..];
    let error = |(told, [received, first, _]): (&Told, &[u64; 3])| (told.ttft - (first - received) as f64) / 1e6;
    let tpot_error = |(told, [_, first, last]): (&Told, &[u64; 3])| {
        (told.tpot - (last - first) as f64 / f64::from(OUTPUT_TOKENS - 1)).abs() / 1e3
    };
    let pairs = || told.iter().zip(table).filter(|(told, _)| told.ttft > 0.0 && told.tpot.is_finite());
    let (served, late) = (pairs().count(), lateness(table, task.rate));
    let (ttft, tpot) = (sorted(pairs().map(error)), sorted(pairs().map(tpot_error)));
    let per_million = (cpu_secs - fixed_cpu_secs) / (served as f64 * f64::from(OUTPUT_TOKENS)) * 1e6;
    let figures =
        [at(&ttft, 0.5), at(&ttft, 0.99), at(&tpot, 0.5), at(&tpot, 0.99), at(&late, 0.99), per_million, peak_mib];
    Outcome { served, cpu_secs, figures }
}

/// Receipts beside equal gaps from wherever no receipt is early, ms.
fn lateness(table: &[[u64; 3]], rate: f64) -> Vec<f64> {
    let beside =
        |(i, [received, ..]): (usize, &[u64; 3])| (received - table[0][0]) as f64 / 1e6 - i as f64 * 1e3 / rate;
    let beside: Vec<f64> = table.iter().enumerate().map(beside).collect();
    let earliest = beside.iter().copied().fold(f64::INFINITY, f64::min);
    sorted(beside.into_iter().map(|at| at - earliest))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Waits for the child; the kernel's own high-water mark of its memory, looked at while it lives.
fn watch_memory(child: &mut Child) -> f64 {
    let mut peak = 0;
    while child.try_wait().expect("our child").is_none() {
        peak = peak.max(peak_memory(child.id().cast_signed()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    peak as f64 / f64::from(1 << 20)
}

fn children_cpu_secs() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage of children");
    let secs = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    secs(usage.user_time()) + secs(usage.system_time())
}
