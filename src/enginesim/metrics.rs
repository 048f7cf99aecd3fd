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

/// All values of one instance.
#[derive(Debug)]
pub(super) struct Metrics {
    model: String,
    nixl: bool,
    /// Labels of `vllm:cache_config_info`.
    cache_config: Vec<(&'static str, String)>,
    created: f64,
    values: Mutex<Values>,
}

/// The values under the lock.
#[derive(Debug, Default)]
pub(super) struct Values {
    gauges: BTreeMap<Gauge, f64>,
    counters: BTreeMap<Counter, f64>,
    histograms: BTreeMap<Distribution, Histogram>,
    /// By handler, method and status class.
    http: BTreeMap<(String, String, String), u64>,
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
    pub(super) fn new(model: String, nixl: bool, cache_config: Vec<(&'static str, String)>) -> Self {
        let mut values = Values::default();
        for family in FAMILIES {
            if let Series::Histogram(which, bounds) = family.series {
                values.histograms.insert(which, Histogram::new(bounds));
            }
        }
        values.set(Gauge::Awake, 1.0);
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            model,
            nixl,
            cache_config,
            created: since_epoch.unwrap_or_default().as_secs_f64(),
            values: Mutex::new(values),
        }
    }

    /// Locks the values for a batch of changes.
    pub(super) fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an answered HTTP request.
    pub(super) fn http(&self, handler: &str, method: &str, status: u16) {
        let class = format!("{}xx", status / 100);
        let key = (handler.to_owned(), method.to_owned(), class);
        *self.values().http.entry(key).or_default() += 1;
    }

    /// The whole page.
    pub(super) fn render(&self) -> String {
        let values = self.values();
        let mut page = String::with_capacity(32 * 1024);
        for family in FAMILIES.iter().filter(|family| self.nixl || !family.nixl) {
            self.render_family(&mut page, family, &values);
        }
        self.render_rest(&mut page, &values);
        page
    }

    fn render_family(&self, page: &mut String, family: &Family, values: &Values) {
        let name = family.name;
        match &family.series {
            Series::Gauge(series) => {
                head(page, name, family.help, "gauge");
                for (gauge, label) in *series {
                    let value = values.gauges.get(gauge).copied().unwrap_or_default();
                    self.sample(page, name, label.as_slice(), value);
                }
            }
            Series::Counter(series) => {
                let total = format!("{name}_total");
                head(page, &total, family.help, "counter");
                for (counter, label) in *series {
                    let value = values.counters.get(counter).copied().unwrap_or_default();
                    self.sample(page, &total, label.as_slice(), value);
                }
                let created = format!("{name}_created");
                head(page, &created, family.help, "gauge");
                for (_, label) in *series {
                    self.sample(page, &created, label.as_slice(), self.created);
                }
            }
            Series::Histogram(which, _) => {
                head(page, name, family.help, "histogram");
                if let Some(histogram) = values.histograms.get(which) {
                    self.render_histogram(page, name, histogram);
                }
                let created = format!("{name}_created");
                head(page, &created, family.help, "gauge");
                self.sample(page, &created, &[], self.created);
            }
        }
    }

    fn render_histogram(&self, page: &mut String, name: &str, histogram: &Histogram) {
        for (bound, count) in histogram.cumulative() {
            let le = if bound.is_infinite() { "+Inf".to_owned() } else { number(bound) };
            let model = escape(&self.model);
            push(
                page,
                &format!("{name}_bucket{{engine=\"0\",le=\"{le}\",model_name=\"{model}\"}} {}\n", number(count as f64)),
            );
        }
        self.sample(page, &format!("{name}_count"), &[], histogram.count() as f64);
        self.sample(page, &format!("{name}_sum"), &[], histogram.sum());
    }

    fn render_rest(&self, page: &mut String, values: &Values) {
        head(page, "vllm:cache_config_info", "Configuration of the KV cache.", "gauge");
        let labels: Vec<String> =
            self.cache_config.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
        push(page, &format!("vllm:cache_config_info{{{}}} 1.0\n", labels.join(",")));
        head(page, "http_requests_total", "Requests by handler, method and status.", "counter");
        for ((handler, method, status), count) in &values.http {
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

    fn sample(&self, page: &mut String, name: &str, label: &[Label], value: f64) {
        let mut labels = vec![("engine", "0".to_owned()), ("model_name", escape(&self.model))];
        labels.extend(label.iter().map(|(key, value)| (*key, (*value).to_owned())));
        labels.sort_by_key(|(key, _)| *key);
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        push(page, &format!("{name}{{{}}} {}\n", labels.join(","), number(value)));
    }
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
        Metrics::new("m\"1".into(), nixl, vec![("block_size", "16".into())]).render()
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
        let metrics = Metrics::new("m".into(), false, Vec::new());
        metrics.values().add(Counter::GenerationTokens, 7.0);
        metrics.values().observe(Distribution::FirstToken, 0.03);
        metrics.http("/v1/completions", "POST", 200);
        let page = metrics.render();
        for line in [
            "vllm:generation_tokens_total{engine=\"0\",model_name=\"m\"} 7.0",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.02\",model_name=\"m\"} 0.0",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.04\",model_name=\"m\"} 1.0",
            "http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"2xx\"} 1.0",
        ] {
            assert!(page.lines().any(|other| other == line), "{line}");
        }
    }
}
