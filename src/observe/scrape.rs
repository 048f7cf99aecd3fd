//! Reads the metrics of a fleet: from its engines, or from where somebody else's engines tell theirs.
//!
//! What a source says may be of several engines. Ray's replicas and what Prometheus scraped are told apart by a label, and
//! their names carry it, so that two snapshots find the same engine whatever came or went between them.

use super::fleet::{EngineSnapshot, EngineTarget, FleetSnapshot, ScrapeError};
use super::http;
use super::prometheus::{Sample, Snapshot};
use super::prometheus_api::Prometheus;
use super::serve;
use crate::plan::access::Access;
use crate::plan::metrics_url::{MetricsKind, MetricsUrl};
use crate::plan::topology::Role;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Metrics of a busy engine come late; of a dead one never.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
/// Ray's workers report to their node as often, unless `RAY_metrics_report_interval_ms` says otherwise.
const RAY_REPORTS: Duration = Duration::from_secs(10);

/// Reads the metrics of a fleet.
#[derive(Debug, Clone)]
pub struct Scraper {
    sources: Vec<MetricsSource>,
    client: reqwest::Client,
    /// Until what engines did can be read, where somebody said.
    lag: Option<Duration>,
    /// Whether anything that was read had come through Ray.
    by_ray: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
struct MetricsSource {
    name: String,
    role: Role,
    access: Access,
    from: ReadFrom,
}

#[derive(Debug, Clone)]
enum ReadFrom {
    /// `GET /metrics` below this URL.
    Engine(String),
    Named(MetricsUrl),
}

impl Scraper {
    /// Reads each engine's own page.
    pub fn new(engines: Vec<EngineTarget>) -> reqwest::Result<Self> {
        let source = |engine: EngineTarget| MetricsSource {
            name: engine.name,
            role: engine.role,
            access: engine.access,
            from: ReadFrom::Engine(engine.base_url),
        };
        Scraper::of(engines.into_iter().map(source).collect(), None)
    }

    /// Reads what stands at these URLs.
    pub fn watching(urls: &[MetricsUrl], access: &Access, lag: Option<Duration>) -> reqwest::Result<Self> {
        let mut counts = BTreeMap::<Role, u32>::new();
        let source = |url: &MetricsUrl| {
            let count = counts.entry(url.role).or_default();
            let name = format!("{}-{count}", url.role.name());
            *count += 1;
            MetricsSource { name, role: url.role, access: access.clone(), from: ReadFrom::Named(url.clone()) }
        };
        Scraper::of(urls.iter().map(source).collect(), lag)
    }

    fn of(sources: Vec<MetricsSource>, lag: Option<Duration>) -> reqwest::Result<Self> {
        let insecure = sources.iter().any(|source| source.access.insecure);
        let client = http::client(SCRAPE_TIMEOUT, insecure)?;
        Ok(Scraper { sources, client, lag, by_ray: Arc::default() })
    }

    /// Whether engines of this role are among those that are read.
    pub fn reads(&self, role: Role) -> bool {
        self.sources.iter().any(|source| source.role == role)
    }

    pub fn is_by_ray(&self) -> bool {
        self.by_ray.load(Ordering::Relaxed)
    }

    /// All engines at once, as far as it can be read now; one that fails leaves the others alone.
    pub async fn snapshot(&self) -> FleetSnapshot {
        self.read(None).await
    }

    /// All engines, with everything that they did up to now: waits for what passes it on.
    pub async fn settled(&self) -> FleetSnapshot {
        let lag = self.lag.unwrap_or(if self.is_by_ray() { RAY_REPORTS } else { Duration::ZERO });
        if !lag.is_zero() {
            tokio::time::sleep(lag).await;
        }
        self.read(Some(Instant::now())).await
    }

    async fn read(&self, after: Option<Instant>) -> FleetSnapshot {
        let reads = join_all(self.sources.iter().map(|source| self.engines(source, after))).await;
        FleetSnapshot { engines: reads.into_iter().flatten().collect() }
    }

    async fn engines(&self, source: &MetricsSource, after: Option<Instant>) -> Vec<EngineSnapshot> {
        let (url, read) = match &source.from {
            ReadFrom::Engine(base_url) => {
                let url = format!("{}/metrics", base_url.trim_end_matches('/'));
                let page = self.page(&url, &source.access).await;
                (url, page.map(|page| vec![(String::new(), page)]))
            }
            ReadFrom::Named(named) => (named.to_string(), self.named(named, &source.access, after).await),
        };
        let snapshot = |name: String, metrics| EngineSnapshot { name, role: source.role, metrics };
        match read {
            Ok(parts) => {
                let name =
                    |part: &str| if part.is_empty() { source.name.clone() } else { format!("{} {part}", source.name) };
                parts.into_iter().map(|(part, page)| snapshot(name(&part), Ok(page))).collect()
            }
            Err(detail) => {
                let error = ScrapeError { instance: source.name.clone(), url, detail };
                vec![snapshot(source.name.clone(), Err(error))]
            }
        }
    }

    async fn page(&self, url: &str, access: &Access) -> Result<Snapshot, String> {
        let answer = http::get(&self.client, url.to_string(), access).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let answer = answer.map_err(|e| e.without_url().to_string())?;
        let page = http::body(answer, http::LARGE).await.map_err(|e| e.to_string())?;
        Ok(Snapshot::parse(&String::from_utf8_lossy(&page)))
    }

    /// One page for every engine behind that URL.
    async fn named(
        &self,
        url: &MetricsUrl,
        access: &Access,
        after: Option<Instant>,
    ) -> Result<Vec<(String, Snapshot)>, String> {
        let mut samples = match url.kind {
            MetricsKind::Page => self.page(&url.url, access).await?.into_samples(),
            MetricsKind::Prometheus => {
                let prometheus = Prometheus { client: &self.client, of: url, access };
                if let Some(moment) = after {
                    prometheus.wait_for_a_scrape(moment).await?;
                }
                prometheus.latest().await?
            }
        };
        if serve::as_vllm_writes(&mut samples) {
            self.by_ray.store(true, Ordering::Relaxed);
        }
        let parts = parts(url, samples);
        match parts.is_empty() {
            true => Err(NOTHING.to_string()),
            false => Ok(parts),
        }
    }
}

/// What an answer without a series of vLLM's is called.
const NOTHING: &str = "no counters of vLLM's are there";

/// Whether an engine's metrics could be asked for, and there were none.
pub fn is_without_counters(error: &ScrapeError) -> bool {
    error.detail == NOTHING
}

/// By what tells engines apart: Ray's replicas by their id, what Prometheus scraped by its target. Engines on their own page
/// need nothing.
fn parts(url: &MetricsUrl, samples: Vec<Sample>) -> Vec<(String, Snapshot)> {
    let target = |sample: &Sample| match url.kind {
        MetricsKind::Page => None,
        MetricsKind::Prometheus => sample.label("instance").map(str::to_string),
    };
    let part = |sample: &Sample| sample.label(serve::REPLICA).map(str::to_string).or_else(|| target(sample));
    let mut parts = BTreeMap::<String, Vec<Sample>>::new();
    let (engines, others): (Vec<Sample>, Vec<Sample>) = samples.into_iter().partition(|s| s.name.starts_with("vllm:"));
    for sample in engines {
        if url.takes(|label| sample.label(label).map(str::to_string)) {
            parts.entry(part(&sample).unwrap_or_default()).or_default().push(sample);
        }
    }
    // When a process started, if it is an engine's.
    for sample in others {
        if let Some(own) = parts.get_mut(&part(&sample).unwrap_or_default()) {
            own.push(sample);
        }
    }
    parts.into_iter().map(|(part, samples)| (part, Snapshot::from_samples(samples))).collect()
}

#[cfg(test)]
mod tests;
