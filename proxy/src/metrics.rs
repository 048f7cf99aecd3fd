//! The proxy's own counters, and their Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::fault::FaultKind;
use crate::group::Group;
use crate::stamps::{Outcome, StageStamps};

/// Counters since the proxy started.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    accepted: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    handoff_faults: AtomicU64,
    lost_stamps: AtomicU64,
    /// By outcome, stage, kind. Locked once a request, at its end.
    finished: Mutex<BTreeMap<[&'static str; 3], u64>>,
    stages: [StageTime; 4],
}

#[derive(Debug, Default)]
struct StageTime {
    nanos: AtomicU64,
    count: AtomicU64,
}

/// In the order of [`Metrics::stages`].
const STAGES: [&str; 4] = ["prefill", "decode_head", "first_byte", "total"];

impl Metrics {
    pub(crate) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn receive(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn relay(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn lose_stamp(&self) {
        self.lost_stamps.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn handoff_faults(&self) -> u64 {
        self.handoff_faults.load(Ordering::Relaxed)
    }

    pub(crate) fn lost_stamps(&self) -> u64 {
        self.lost_stamps.load(Ordering::Relaxed)
    }

    /// Counts a request that ended.
    pub(crate) fn finish(&self, stamps: &StageStamps) {
        let kv_handoff = matches!(stamps.outcome, Outcome::Failed { kind: FaultKind::KvHandoff, .. });
        self.handoff_faults.fetch_add(u64::from(kv_handoff), Ordering::Relaxed);
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        *finished.entry(stamps.outcome.labels()).or_default() += 1;
        drop(finished);

        let since = |start: Option<_>, end: Option<_>| start.zip(end).map(|(start, end)| end - start);
        let accepted = Some(stamps.accepted);
        let times: [Option<Duration>; 4] = [
            since(stamps.prefill.sent, stamps.prefill.done),
            since(stamps.decode.sent, stamps.decode.head),
            since(accepted, stamps.first_byte),
            since(accepted, Some(stamps.end)),
        ];
        for (stage, time) in self.stages.iter().zip(times) {
            if let Some(time) = time {
                stage.nanos.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
                stage.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The counters and the load of every backend, in Prometheus' text format.
    pub(crate) fn render(&self, groups: &[&Group], in_flight: usize) -> String {
        let mut text = String::with_capacity(2048);
        let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(String, String)>| {
            let _ = writeln!(text, "# HELP topobench_proxy_{name} {help}\n# TYPE topobench_proxy_{name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "topobench_proxy_{name}{labels} {value}");
            }
        };
        let one = |value: u64| vec![(String::new(), value.to_string())];
        family("accepted_total", "counter", "Requests routed.", one(self.accepted()));
        family("requests_total", "counter", "Requests ended, by outcome.", self.outcomes());
        family("in_flight", "gauge", "Requests in the proxy.", one(in_flight as u64));
        let backends = || groups.iter().flat_map(|group| group.backends());
        let each = |read: &dyn Fn(&crate::group::Backend) -> u64| {
            backends()
                .map(|backend| {
                    let labels = format!("{{stage=\"{}\",backend=\"{}\"}}", backend.stage.name(), backend.authority);
                    (labels, read(backend).to_string())
                })
                .collect::<Vec<_>>()
        };
        family("backend_in_flight", "gauge", "Requests at a backend.", each(&|backend| backend.requests() as u64));
        family("backend_tokens", "gauge", "Estimated prompt tokens at a backend.", each(&|backend| backend.tokens()));
        family("backend_requests_total", "counter", "Requests sent to a backend.", each(&|backend| backend.total()));
        family("kv_handoff_faults_total", "counter", "Prefill answers without KV params.", one(self.handoff_faults()));
        family("stamps_lost_total", "counter", "Stage stamps nobody drained in time.", one(self.lost_stamps()));
        let bytes = [("in", &self.bytes_in), ("out", &self.bytes_out)]
            .map(|(direction, bytes)| (format!("{{direction=\"{direction}\"}}"), load(bytes).to_string()));
        family("body_bytes_total", "counter", "Body bytes from and to clients.", bytes.into());
        let stages = || STAGES.iter().zip(&self.stages);
        let label = |stage: &str| format!("{{stage=\"{stage}\"}}");
        let sums = stages().map(|(stage, time)| (label(stage), (load(&time.nanos) as f64 / 1e9).to_string()));
        family("stage_seconds_sum", "counter", "Seconds spent in a stage.", sums.collect());
        let counts = stages().map(|(stage, time)| (label(stage), load(&time.count).to_string()));
        family("stage_seconds_count", "counter", "Requests that went through a stage.", counts.collect());
        text
    }

    fn outcomes(&self) -> Vec<(String, String)> {
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished
            .iter()
            .map(|([outcome, stage, kind], count)| {
                let labels = format!("{{outcome=\"{outcome}\",stage=\"{stage}\",kind=\"{kind}\"}}");
                (labels, count.to_string())
            })
            .collect()
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
