//! What `/metrics` answers: counts kept by the engine and the front end, in Prometheus text.

mod catalogue;
mod histogram;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

pub(super) use catalogue::{Counter, Distribution, Gauge};
use catalogue::{FAMILIES, Family, Label, Series};
use histogram::Histogram;

use crate::enginesim::answer::FinishReason;
use topobench::predict::model::sequence::Report;

/// All values of one data-parallel rank.
#[derive(Debug)]
pub(super) struct Metrics {
    rank: u32,
    values: Mutex<Values>,
}

/// What an instance's page says beside its ranks' values.
#[derive(Debug)]
pub(super) struct Page {
    model: String,
    nixl: bool,
    /// Labels of `vllm:cache_config_info` beside the rank's.
    cache_config: Vec<(&'static str, String)>,
    created: f64,
    http: Mutex<HttpCounts>,
}

/// By handler, method and status class.
type HttpCounts = BTreeMap<(String, String, String), u64>;

/// The values under the lock.
#[derive(Debug, Default)]
pub(super) struct Values {
    gauges: BTreeMap<Gauge, f64>,
    counters: BTreeMap<Counter, f64>,
    histograms: BTreeMap<Distribution, Histogram>,
}

impl Values {
    pub(super) fn set(&mut self, gauge: Gauge, value: f64) {
        self.gauges.insert(gauge, value);
    }

    pub(super) fn add(&mut self, counter: Counter, value: f64) {
        *self.counters.entry(counter).or_default() += value;
    }

    /// Sets a counter that somebody else counts.
    pub(super) fn mirror(&mut self, counter: Counter, value: u64) {
        self.counters.insert(counter, value as f64);
    }

    pub(super) fn observe(&mut self, which: Distribution, value: f64) {
        if let Some(histogram) = self.histograms.get_mut(&which) {
            histogram.observe(value);
        }
    }

    pub(super) fn observe_seconds(&mut self, which: Distribution, value: Duration) {
        self.observe(which, value.as_secs_f64());
    }

    /// Books the end of a sequence; `admission` is the time before it reached the engine.
    pub(super) fn finished(&mut self, report: &Report, reason: &FinishReason, admission: Duration) {
        let inference = report.prefill + report.decode;
        self.observe_seconds(Distribution::Queue, report.queued);
        self.observe_seconds(Distribution::Prefill, report.prefill);
        self.observe_seconds(Distribution::Decode, report.decode);
        self.observe_seconds(Distribution::Inference, inference);
        self.observe_seconds(Distribution::EndToEnd, admission + report.queued + inference);
        if let Some(gaps) = report.output_tokens.checked_sub(1).filter(|gaps| *gaps > 0) {
            self.observe_seconds(Distribution::TimePerOutputToken, report.decode / gaps);
        }
        self.observe(Distribution::PromptTokens, f64::from(report.prompt_tokens));
        self.observe(Distribution::GenerationTokens, f64::from(report.output_tokens));
        self.observe(Distribution::MaxGenerationTokens, f64::from(report.output_tokens));
        self.observe(Distribution::Preemptions, f64::from(report.preemptions));
        let elsewhere = report.cached_tokens + report.transferred_tokens;
        let computed = report.prompt_tokens.saturating_sub(elsewhere);
        self.observe(Distribution::ComputedPrompt, f64::from(computed));
        let counter = match reason {
            FinishReason::Length => Counter::FinishedLength,
            FinishReason::EndOfText | FinishReason::StopString(_) => Counter::FinishedStop,
        };
        self.add(counter, 1.0);
    }
}

impl Metrics {
    pub(super) fn new(rank: u32) -> Self {
        let mut values = Values::default();
        for family in FAMILIES {
            if let Series::Histogram(which, bounds) = family.series {
                values.histograms.insert(which, Histogram::new(bounds));
            }
        }
        values.set(Gauge::Awake, 1.0);
        Self { rank, values: Mutex::new(values) }
    }

    /// Locks the values for a batch of changes.
    pub(super) fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rank's values while a page is written.
struct Snapshot<'a> {
    rank: u32,
    values: MutexGuard<'a, Values>,
}

impl Page {
    pub(super) fn new(model: String, nixl: bool, cache_config: Vec<(&'static str, String)>) -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let created = since_epoch.unwrap_or_default().as_secs_f64();
        Self { model, nixl, cache_config, created, http: Mutex::default() }
    }

    /// Counts an answered HTTP request.
    pub(super) fn http(&self, handler: &str, method: &str, status: u16) {
        let class = format!("{}xx", status / 100);
        let key = (handler.to_owned(), method.to_owned(), class);
        *self.http_counts().entry(key).or_default() += 1;
    }

    fn http_counts(&self) -> MutexGuard<'_, HttpCounts> {
        self.http.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole page.
    pub(super) fn render<'a>(&self, ranks: impl Iterator<Item = &'a Metrics>) -> String {
        let ranks: Vec<Snapshot<'_>> =
            ranks.map(|metrics| Snapshot { rank: metrics.rank, values: metrics.values() }).collect();
        let mut page = String::with_capacity(32 * 1024);
        for family in FAMILIES.iter().filter(|family| self.nixl || !family.nixl) {
            self.render_family(&mut page, family, &ranks);
        }
        self.render_rest(&mut page, &ranks);
        page
    }

    fn render_family(&self, page: &mut String, family: &Family, ranks: &[Snapshot<'_>]) {
        let name = family.name;
        match &family.series {
            Series::Gauge(series) => {
                head(page, name, family.help, "gauge");
                for (rank, (gauge, label)) in each(ranks, series) {
                    let value = rank.values.gauges.get(gauge).copied().unwrap_or_default();
                    self.sample(page, name, rank.rank, label.as_slice(), value);
                }
            }
            Series::Counter(series) => {
                let total = format!("{name}_total");
                head(page, &total, family.help, "counter");
                for (rank, (counter, label)) in each(ranks, series) {
                    let value = rank.values.counters.get(counter).copied().unwrap_or_default();
                    self.sample(page, &total, rank.rank, label.as_slice(), value);
                }
                let created = format!("{name}_created");
                head(page, &created, family.help, "gauge");
                for (rank, (_, label)) in each(ranks, series) {
                    self.sample(page, &created, rank.rank, label.as_slice(), self.created);
                }
            }
            Series::Histogram(which, _) => {
                head(page, name, family.help, "histogram");
                for rank in ranks {
                    if let Some(histogram) = rank.values.histograms.get(which) {
                        self.render_histogram(page, name, rank.rank, histogram);
                    }
                }
                let created = format!("{name}_created");
                head(page, &created, family.help, "gauge");
                for rank in ranks {
                    self.sample(page, &created, rank.rank, &[], self.created);
                }
            }
        }
    }

    fn render_histogram(&self, page: &mut String, name: &str, rank: u32, histogram: &Histogram) {
        for (bound, count) in histogram.cumulative() {
            let le = if bound.is_infinite() { "+Inf".to_owned() } else { number(bound) };
            let model = escape(&self.model);
            let labels = format!("engine=\"{rank}\",le=\"{le}\",model_name=\"{model}\"");
            push(page, &format!("{name}_bucket{{{labels}}} {}\n", number(count as f64)));
        }
        self.sample(page, &format!("{name}_count"), rank, &[], histogram.count() as f64);
        self.sample(page, &format!("{name}_sum"), rank, &[], histogram.sum());
    }

    fn render_rest(&self, page: &mut String, ranks: &[Snapshot<'_>]) {
        head(page, "vllm:cache_config_info", "Configuration of the KV cache.", "gauge");
        for rank in ranks {
            let mut labels = self.cache_config.clone();
            labels.push(("engine", rank.rank.to_string()));
            labels.sort_by_key(|(key, _)| *key);
            let labels: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
            push(page, &format!("vllm:cache_config_info{{{}}} 1.0\n", labels.join(",")));
        }
        head(page, "http_requests_total", "Requests by handler, method and status.", "counter");
        for ((handler, method, status), count) in self.http_counts().iter() {
            push(
                page,
                &format!(
                    "http_requests_total{{handler=\"{handler}\",method=\"{method}\",status=\"{status}\"}} {}\n",
                    number(*count as f64)
                ),
            );
        }
        head(page, "process_start_time_seconds", "Start of the process since the epoch in seconds.", "gauge");
        push(page, &format!("process_start_time_seconds {}\n", number(self.created)));
    }

    fn sample(&self, page: &mut String, name: &str, rank: u32, label: &[Label], value: f64) {
        let mut labels = vec![("engine", rank.to_string()), ("model_name", escape(&self.model))];
        labels.extend(label.iter().map(|(key, value)| (*key, (*value).to_owned())));
        labels.sort_by_key(|(key, _)| *key);
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        push(page, &format!("{name}{{{}}} {}\n", labels.join(","), number(value)));
    }
}

/// Every series of every rank, rank by rank.
fn each<'a, 'b, T>(ranks: &'a [Snapshot<'b>], series: &'a [T]) -> impl Iterator<Item = (&'a Snapshot<'b>, &'a T)> {
    ranks.iter().flat_map(move |rank| series.iter().map(move |one| (rank, one)))
}

fn head(page: &mut String, name: &str, help: &str, kind: &str) {
    push(page, &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn push(page: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = page.write_str(text);
}

/// A float as Python's client prints it: `1.0`, `2.097152e+06`.
fn number(value: f64) -> String {
    if value.abs() < 1e6 {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}e+{exponent:0>2}")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(nixl: bool) -> String {
        Page::new("m\"1".into(), nixl, vec![("block_size", "16".into())]).render([Metrics::new(0)].iter())
    }

    #[test]
    fn numbers_look_like_pythons() {
        for (value, text) in [
            (0.0, "0.0"),
            (464.0, "464.0"),
            (0.25, "0.25"),
            (2_097_152.0, "2.097152e+06"),
            (2e9, "2.0e+09"),
            (1.79529483182e9, "1.79529483182e+09"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn labels_are_sorted_and_escaped() {
        let page = page(false);
        assert!(page.contains("vllm:num_requests_running{engine=\"0\",model_name=\"m\\\"1\"} 0.0\n"));
        assert!(page.contains("{engine=\"0\",model_name=\"m\\\"1\",source=\"local_compute\"} 0.0"));
        assert!(page.contains("{engine=\"0\",le=\"+Inf\",model_name="));
    }

    #[test]
    fn nixl_families_need_a_connector() {
        assert!(!page(false).contains("nixl_"));
        assert!(page(true).contains("vllm:nixl_num_kv_expired_reqs_total{"));
    }

    #[test]
    fn counts_appear() {
        let (page, metrics) = (Page::new("m".into(), false, Vec::new()), Metrics::new(0));
        metrics.values().add(Counter::GenerationTokens, 7.0);
        metrics.values().observe(Distribution::FirstToken, 0.03);
        page.http("/v1/completions", "POST", 200);
        let page = page.render([metrics].iter());
        for line in [
            "vllm:generation_tokens_total{engine=\"0\",model_name=\"m\"} 7.0",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.02\",model_name=\"m\"} 0.0",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.04\",model_name=\"m\"} 1.0",
            "http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"2xx\"} 1.0",
        ] {
            assert!(page.lines().any(|other| other == line), "{line}");
        }
    }

    #[test]
    fn each_rank_has_samples_of_its_own() {
        let ranks = [Metrics::new(0), Metrics::new(1)];
        ranks[1].values().add(Counter::GenerationTokens, 7.0);
        let page = Page::new("m".into(), true, vec![("num_gpu_blocks", "8".into())]).render(ranks.iter());
        for line in [
            "vllm:generation_tokens_total{engine=\"0\",model_name=\"m\"} 0.0",
            "vllm:generation_tokens_total{engine=\"1\",model_name=\"m\"} 7.0",
            "vllm:cache_config_info{engine=\"1\",num_gpu_blocks=\"8\"} 1.0",
        ] {
            assert_eq!(page.lines().filter(|other| *other == line).count(), 1, "{line}");
        }
        assert_eq!(page.matches("# TYPE vllm:generation_tokens_total counter").count(), 1);
    }
}
