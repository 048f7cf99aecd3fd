//! Counters by way of a Prometheus server: what its last scrapes of the engines found, and how long ago that was.

use super::http;
use super::prometheus::Sample;
use super::serve;
use crate::plan::access::Access;
use crate::plan::metrics_url::{Matcher, MetricsUrl};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// vLLM's series, under their own names and under those that Ray gives them.
const SERIES: &str = "(ray_)?vllm[:_].+|process_start_time_seconds";
/// Histograms are read by their sums.
const BUCKETS: &str = ".+_bucket";
/// There for every engine that has answered anything.
const ALWAYS_THERE: &str = "(ray_)?vllm[:_]generation_tokens_total";
/// How long to wait for a scrape: twice Prometheus' default interval.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct QueryAnswer {
    status: String,
    data: Option<FoundSeries>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct FoundSeries {
    #[serde(default)]
    result: Vec<InstantSeries>,
}

#[derive(Deserialize)]
struct InstantSeries {
    metric: BTreeMap<String, String>,
    /// Seconds since the epoch, and the value as text.
    value: (f64, String),
}

/// A question to one server.
pub(super) struct Prometheus<'a> {
    pub(super) client: &'a reqwest::Client,
    pub(super) of: &'a MetricsUrl,
    pub(super) access: &'a Access,
}

impl Prometheus<'_> {
    /// The latest value of every series of these engines.
    pub(super) async fn latest(&self) -> Result<Vec<Sample>, String> {
        let mut samples = self.ask(&self.selector(SERIES, &format!(",__name__!~\"{BUCKETS}\""))).await?;
        let by_deployment = self.of.matchers.iter().any(is_of_serve);
        if by_deployment {
            samples.extend(self.ask(serve::REPLICAS).await?);
        }
        Ok(samples)
    }

    /// Waits until all of these engines were scraped after `moment`.
    pub(super) async fn wait_for_a_scrape(&self, moment: Instant) -> Result<(), String> {
        let oldest = format!("max(time() - timestamp({}))", self.selector(ALWAYS_THERE, ""));
        let began = Instant::now();
        loop {
            let since = moment.elapsed();
            let age = self.ask(&oldest).await?.first().map(|sample| sample.value);
            match age {
                Some(age) if age <= since.as_secs_f64() => return Ok(()),
                Some(age) if began.elapsed() > PATIENCE => {
                    return Err(format!("Prometheus' last scrape of these engines is {age:.0} s old"));
                }
                // Not scraped yet, or nothing of that kind.
                None if began.elapsed() > PATIENCE => return Ok(()),
                Some(_) | None => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What Ray Serve knows of a replica is in no label of vLLM's series: those conditions are looked at here.
    fn selector(&self, names: &str, more: &str) -> String {
        let asked = self.of.matchers.iter().filter(|matcher| !is_of_serve(matcher));
        let asked: String = asked.map(|matcher| format!(",{matcher}")).collect();
        format!("{{__name__=~\"{names}\"{more}{asked}}}")
    }

    async fn ask(&self, query: &str) -> Result<Vec<Sample>, String> {
        let mut url = reqwest::Url::parse(&self.of.url).map_err(|e| e.to_string())?;
        url.path_segments_mut().map_err(|()| "no base URL".to_string())?.pop_if_empty().extend(["api", "v1", "query"]);
        url.query_pairs_mut().append_pair("query", query);
        let answer = http::get(self.client, url.to_string(), self.access).send().await;
        let answer = answer.map_err(|e| e.without_url().to_string())?;
        let status = answer.status();
        let body = http::body(answer, http::LARGE).await.map_err(|e| e.to_string())?;
        match serde_json::from_slice(&body) {
            Ok(QueryAnswer { status, data: Some(found), .. }) if status == "success" => {
                Ok(found.result.into_iter().filter_map(sample).collect())
            }
            Ok(QueryAnswer { error: Some(error), .. }) => Err(format!("Prometheus refuses: {error}")),
            Ok(QueryAnswer { .. }) | Err(_) => Err(format!("HTTP {status}, and no answer of Prometheus' API")),
        }
    }
}

fn is_of_serve(matcher: &Matcher) -> bool {
    serve::OF_SERVE.contains(&matcher.label.as_str())
}

fn sample(mut series: InstantSeries) -> Option<Sample> {
    let name = series.metric.remove("__name__").unwrap_or_default();
    let value = series.value.1.parse().ok()?;
    Some(Sample { name, labels: series.metric.into_iter().collect(), value })
}
