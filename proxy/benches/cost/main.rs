//! What a proxy costs: ours beside a direct connection, nginx, vllm-router and vLLM's toy proxy, in front of the same
//! engines, in one run.
//!
//! `cargo bench -p topobench-proxy --bench cost [quick] [NAME..]`: engines and load on the first core, one contestant at a
//! time alone on another; names choose among them. nginx is taken from PATH; `VLLM_ROUTER` names vllm-router's program,
//! `VLLM_TOY_PROXY` the command that starts vLLM's toy proxy. The figures go to stdout as a table, and as JSON to the file
//! that it names.
//!
//! Added TTFT: what the client saw from its send to its first chunk, beyond what the engines took themselves, less the
//! same quantile of a direct connection at the same rate. CPU: the contestant's own, by the kernel's account, while the
//! load ran; all contestants in turn, three times, and the median counts. A rate is good while every stream is whole and
//! the median of the added TTFT is at most 5 ms: a proxy without room left falls behind with every request, while the
//! tails at such rates are those of the core that engines and load share, which the direct connection shows.
//! Cancellation: from the client's close to the engine's. The machine must be idle, and have two cores.

mod client;
mod contestant;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::Seen;
use contestant::{Contestant, Front};
use kit::cores;
use kit::paced::{self, Pace};
use serde_json::{Value, json};

/// Of every stream.
pub const TOKENS: u32 = 128;
const SLOW: f64 = 20.0;
/// Rates that don't beat against the 10 ms between tokens.
const FAST: [f64; 5] = [389.0, 487.0, 587.0, 687.0, 787.0];
const GOOD_MS: f64 = 5.0;
const AT_ONCE: u32 = 64;
/// That the cost in CPU is taken.
const TIMES: usize = 3;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.first().map(String::as_str) {
        Some("serve") => {
            cores::pin(cores::apart()[0]);
            return paced::run(2, Pace::Timed).expect("the engines run");
        }
        Some("proxy") => return contestant::run_ours(&words),
        _ => {}
    }
    cores::pin(cores::apart()[0]);
    let secs = if words.iter().any(|word| word == "quick") { 4.0 } else { 20.0 };
    let names: Vec<&String> = words.iter().filter(|word| *word != "quick").collect();
    let chosen = |c: &Contestant| {
        *c == Contestant::Direct || names.is_empty() || names.iter().any(|name| c.name().contains(name.as_str()))
    };
    let scratch = std::env::temp_dir().join(format!("proxy-cost-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a scratch directory");
    let mut engines = Engines::start();
    println!("{HEADING}");
    let fronts: Vec<(Contestant, Front)> =
        Contestant::all().into_iter().filter(chosen).map(|c| (c, c.start(engines.ports, &scratch))).collect();
    let beds = fronts.iter().map(|(contestant, front)| Bed { contestant: *contestant, engines: &engines, front });
    let beds: Vec<Bed> = beds.collect();
    let costs = costs(&beds, secs / 2.0);
    let (mut rows, mut floor) = (Vec::new(), Floor::default());
    for (bed, cpu) in beds.iter().zip(costs) {
        let (row, seen) = measure(bed, secs, cpu, &floor);
        if bed.contestant == Contestant::Direct {
            floor = seen;
        }
        println!("{}", row.line());
        rows.push(row.json());
    }
    drop(fronts);
    engines.stop();
    let _ = std::fs::remove_dir_all(scratch);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("proxy-cost.json");
    let floor_ms = json!({"at_20": floor.slow, "at_fast_rates": floor.fast});
    let report = json!({"seconds_a_rate": secs, "floor_ms": floor_ms, "contestants": rows});
    std::fs::write(&file, serde_json::to_vec_pretty(&report).expect("JSON")).expect("a writable target directory");
    println!("(direct's TTFT is its own beyond the engine's; the others' is added to that)");
    println!("direct at {FAST:?} req/s, p50 and p99: {:.1?} ms\n{}", floor.fast, file.display());
}

/// A process that plays a prefill and a decode instance.
struct Engines {
    child: Child,
    ports: [u16; 2],
}

/// When an engine received a request and first wrote to it, monotonic ns.
#[derive(Debug, Clone, Copy, Default)]
struct Served {
    received: u64,
    first: u64,
    closed: u64,
}

impl Engines {
    fn start() -> Engines {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        let command = command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the engines start");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("two ports");
        let ports: Vec<u16> = line.split_whitespace().map(|port| port.parse().expect("a port")).collect();
        Engines { child, ports: [ports[0], ports[1]] }
    }

    /// One line a request that ended since the last call.
    fn table(&self) -> String {
        paced::table(self.ports[0]).expect("a table")
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the bed adds by itself, ms: the direct connection's TTFT beyond the engine's own.
#[derive(Default)]
struct Floor {
    /// At [`SLOW`]: the median and the 99th percentile.
    slow: [f64; 2],
    /// The same at each of [`FAST`].
    fast: Vec<[f64; 2]>,
}

/// The requests of a kind, in the order of receipt.
fn rows(table: &str, kind: &str) -> Vec<Served> {
    let row = |line: &str| {
        let mut fields = line.strip_prefix(kind)?.split(',').skip(1);
        let mut nanos = || fields.next()?.parse().ok();
        Some(Served { received: nanos()?, first: nanos()?, closed: nanos()? })
    };
    let mut rows: Vec<Served> = table.lines().filter_map(row).collect();
    rows.sort_unstable_by_key(|row| row.received);
    rows
}

/// A contestant's figures.
struct Row {
    contestant: Contestant,
    /// ms, at 20 req/s.
    added_p50: f64,
    added_p99: f64,
    /// CPU-s per million paced chunks at the first fast rate, each time that it was taken; NaN where streams broke.
    cpu: [f64; TIMES],
    /// Highest fast rate that was good, with its added median; none if the first was not.
    good: Option<(f64, f64)>,
    coalesced: f64,
    /// Share of its core that the contestant used meanwhile.
    busy: f64,
    broken: u32,
    /// Median and worst ms from the client's close to the engine's: before the first chunk, and after it.
    cancelled: [[f64; 2]; 2],
}

const HEADING: &str = "                 added TTFT at 20 req/s    CPU-s per 1M       last good rate    coalesced    busy   cancelled ms p50/max\n                 p50 / p99 ms              chunks (range)     (p50 ms)          req/s        %      before / after 1st chunk";

impl Row {
    fn line(&self) -> String {
        let good = self.good.map_or("none".to_owned(), |(rate, p50)| format!("{rate} ({p50:.2})"));
        let [low, cpu, high] = in_order(self.cpu);
        let cpu = format!("{cpu:.2} ({low:.1}-{high:.1})");
        let [before, after] = self.cancelled.map(|[p50, max]| format!("{p50:.1}/{max:.1}"));
        format!(
            "{:<16} {:>7.3} / {:<14.3} {cpu:<18} {good:<17} {:<12.0} {:<6.0} {before}  {after}{}",
            self.contestant.name(),
            self.added_p50,
            self.added_p99,
            self.coalesced,
            self.busy * 100.0,
            if self.broken > 0 { format!("  {} streams broken", self.broken) } else { String::new() }
        )
    }

    fn json(&self) -> Value {
        json!({
            "name": self.contestant.name(),
            "added_ttft_ms": {"p50": self.added_p50, "p99": self.added_p99},
            "cpu_secs_per_million_chunks": in_order(self.cpu)[TIMES / 2],
            "cpu_secs_per_million_chunks_each_time": self.cpu,
            "last_good_rate": self.good.map(|(rate, _)| rate),
            "coalesced_requests_per_second": self.coalesced,
            "coalesced_core_share": self.busy,
            "broken_streams": self.broken,
            "cancelled_ms": {"before_first_chunk": self.cancelled[0], "after_first_chunk": self.cancelled[1]},
        })
    }
}

/// What each spends on the chunks of the first fast rate, in turn: whatever disturbs the machine for a while shall not
/// single one out.
fn costs(beds: &[Bed], secs: f64) -> Vec<[f64; TIMES]> {
    let mut costs = vec![[0.0; TIMES]; beds.len()];
    for time in 0..TIMES {
        for (bed, cost) in beds.iter().zip(&mut costs) {
            let _turn = bed.front.turn();
            // Connections are opened and code is paged in.
            bed.added(SLOW, 2.0);
            cost[time] = bed.cost(secs);
        }
    }
    costs
}

/// Its row, and what it showed before anything was subtracted.
fn measure(bed: &Bed, secs: f64, cpu: [f64; TIMES], floor: &Floor) -> (Row, Floor) {
    let (contestant, front) = (bed.contestant, bed.front);
    let _turn = front.turn();
    // Awake again.
    bed.added(SLOW, 1.0);
    let (slow, broken, _) = bed.added(SLOW, secs);
    let slow = [at(&slow, 0.5), at(&slow, 0.99)];
    let fast = bed.fast(secs / 2.0, &floor.fast);
    let during = Duration::from_secs_f64(secs / 4.0);
    let before = front.cpu_secs();
    let (coalesced, lost) = client::closed_loop(front.port, AT_ONCE, during);
    let busy = (front.cpu_secs() - before) / during.as_secs_f64();
    let first_hop = if contestant.is_prefill_decode() { "prefill" } else { "request" };
    let row = Row {
        contestant,
        added_p50: slow[0] - floor.slow[0],
        added_p99: slow[1] - floor.slow[1],
        cpu,
        good: fast.good,
        coalesced,
        busy,
        broken: broken + fast.broken + lost,
        cancelled: [bed.cancelled(first_hop), bed.cancelled("decode")],
    };
    (row, Floor { slow, fast: fast.seen })
}

/// What was seen at [`FAST`], up to the first rate that wasn't good.
#[derive(Default)]
struct Fast {
    good: Option<(f64, f64)>,
    /// Before anything was subtracted: the median and the 99th percentile, ms.
    seen: Vec<[f64; 2]>,
    /// Streams of the first rate.
    broken: u32,
}

struct Bed<'a> {
    contestant: Contestant,
    engines: &'a Engines,
    front: &'a Front,
}

impl Bed<'_> {
    /// TTFT beyond the engines' own, sorted, ms; streams that were not whole; CPU seconds of the contestant.
    fn added(&self, rate: f64, secs: f64) -> (Vec<f64>, u32, f64) {
        // What came before this.
        self.engines.table();
        let before = self.front.cpu_secs();
        let seen = client::open_loop(self.front.port, rate, (rate * secs) as u32);
        let cpu = self.front.cpu_secs() - before;
        let table = self.engines.table();
        let of = |kind: &str| rows(&table, kind);
        let (prefill, decode) = (of("prefill"), of("decode"));
        let lost = seen.iter().filter(|seen| seen.is_none()).count() as u32;
        let prefill_took = |i: usize| match self.contestant.is_prefill_decode() {
            true => prefill.get(i).map_or(0, |p| p.first - p.received),
            false => 0,
        };
        let beyond = |(i, (seen, decode)): (usize, (&Seen, &Served))| {
            let engines = (decode.first - decode.received) + prefill_took(i);
            ((seen.first - seen.sent) as f64 - engines as f64) / 1e6
        };
        let whole: Vec<&Seen> = seen.iter().flatten().collect();
        let mut added: Vec<f64> = whole.into_iter().zip(&decode).enumerate().map(beyond).collect();
        added.sort_by(f64::total_cmp);
        (added, lost, cpu)
    }

    fn fast(&self, secs: f64, floor: &[[f64; 2]]) -> Fast {
        let mut fast = Fast::default();
        for rate in FAST {
            let (added, lost, _) = self.added(rate, secs);
            let beyond = at(&added, 0.5) - floor.get(fast.seen.len()).map_or(0.0, |direct| direct[0]);
            fast.seen.push([at(&added, 0.5), at(&added, 0.99)]);
            if rate == FAST[0] {
                fast.broken = lost;
            }
            // What the bed can't do itself, nobody can show here.
            let is_floor = self.contestant == Contestant::Direct;
            if lost > 0 || (beyond > GOOD_MS && !is_floor) {
                break;
            }
            fast.good = Some((rate, beyond));
        }
        fast
    }

    /// CPU-s per million chunks at the first fast rate.
    fn cost(&self, secs: f64) -> f64 {
        let (added, lost, used) = self.added(FAST[0], secs);
        // Streams that broke cost something too, and count no chunks.
        if lost == 0 { used / (added.len() as f64 * f64::from(TOKENS)) * 1e6 } else { f64::NAN }
    }

    /// From the client's close to the engine's, median and worst of some, ms.
    fn cancelled(&self, hold: &str) -> [f64; 2] {
        self.engines.table();
        let mut took: Vec<f64> = (0..20).filter_map(|_| self.cancel(hold)).collect();
        took.sort_by(f64::total_cmp);
        [at(&took, 0.5), at(&took, 1.0)]
    }

    fn cancel(&self, hold: &str) -> Option<f64> {
        let left = client::abandon(self.front.port, hold).ok()?;
        let closed = (0..200).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            rows(&self.engines.table(), "closed").first().map(|row| row.closed)
        })?;
        Some(closed.saturating_sub(left) as f64 / 1e6)
    }
}

fn in_order(mut costs: [f64; TIMES]) -> [f64; TIMES] {
    costs.sort_by(f64::total_cmp);
    costs
}

fn at(sorted: &[f64], quantile: f64) -> f64 {
    let position = ((sorted.len() as f64 * quantile).ceil() as usize).saturating_sub(1);
    sorted.get(position).copied().unwrap_or(f64::NAN)
}
