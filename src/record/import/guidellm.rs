//! guidellm's reports (benchmarks.json): every benchmark with a request rate is a point. Closed loops (`concurrent`,
//! `synchronous`, `throughput`) have no rate, and nothing to compare at one.
//!
//! TTFT counts from the moment for which a request was targeted, where the report tells it: from due, as ours does.

use super::loose::Loose;
use super::point::{ImportedFacts, ImportedPoint};
use crate::analyse::samples::SEVERAL_TOKENS;
use crate::outcome::{Failure, Outcome, RequestRecord, Timeline};
use crate::units::{Offset, RequestRate, TokenCount};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct GuidellmReport {
    benchmarks: Vec<Benchmark>,
    #[serde(default)]
    args: Value,
}

#[derive(Debug, Deserialize)]
struct Benchmark {
    #[serde(default)]
    requests: Requests,
    #[serde(default)]
    duration: Loose,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    args: Value,
    #[serde(default)]
    metrics: Value,
    #[serde(default)]
    run_stats: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requests {
    successful: Option<Vec<GuidellmRequest>>,
    incomplete: Option<Vec<GuidellmRequest>>,
    errored: Option<Vec<GuidellmRequest>>,
}

/// Old reports have their times beside the counts, new ones below `info.timings`. Seconds since the epoch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GuidellmRequest {
    prompt_tokens: Loose,
    output_tokens: Loose,
    start_time: Loose,
    end_time: Loose,
    request_start_time: Loose,
    request_end_time: Loose,
    first_token_time: Loose,
    last_token_time: Loose,
    time_to_first_token_ms: Loose,
    inter_token_latency_ms: Loose,
    error: Option<String>,
    info: Info,
    scheduler_info: Info,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    timings: Timings,
    request_timings: Timings,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Timings {
    targeted_start: Loose,
    request_start: Loose,
    first_token_iteration: Loose,
    last_token_iteration: Loose,
    request_end: Loose,
}

impl GuidellmReport {
    /// # Errors
    /// When none of its benchmarks can be used; the reasons of each.
    pub(super) fn points(&self) -> Result<Vec<ImportedPoint>, String> {
        let mut points = Vec::new();
        let mut problems = Vec::new();
        for (number, benchmark) in (1..).zip(&self.benchmarks) {
            match benchmark.point(&self.args) {
                Ok(point) => points.push(point),
                Err(problem) => problems.push(format!("benchmark {number}: {problem}")),
            }
        }
        if points.is_empty() {
            return Err(if problems.is_empty() { "it holds no benchmark".to_string() } else { problems.join("; ") });
        }
        Ok(points)
    }
}

impl Benchmark {
    fn point(&self, args: &Value) -> Result<ImportedPoint, String> {
        let rate = self.rate()?;
        self.check_sampling()?;
        let of = |list: &Option<Vec<GuidellmRequest>>| list.as_ref().map_or(0, Vec::len);
        let all = of(&self.requests.successful) + of(&self.requests.incomplete) + of(&self.requests.errored);
        if all == 0 {
            return Err("it holds no request".to_string());
        }
        Ok(ImportedPoint {
            rate,
            records: self.records()?,
            duration_secs: self.duration.get().filter(|secs| *secs > 0.0),
            date: None,
            mode: None,
            launch: 1,
            host: None,
            facts: ImportedFacts { model: model(args), ..ImportedFacts::default() },
        })
    }

    fn strategy(&self) -> Option<&Value> {
        [&self.config, &self.args].into_iter().find_map(|holder| holder.get("strategy")).filter(|s| s.is_object())
    }

    fn rate(&self) -> Result<RequestRate, String> {
        let strategy = self.strategy().ok_or("it names no strategy, and so no request rate")?;
        let name = strategy.get("type_").and_then(Value::as_str).unwrap_or("unknown");
        let rate = strategy.get("rate").and_then(Value::as_f64).and_then(RequestRate::new);
        match (name, rate) {
            ("constant" | "poisson" | "async", Some(rate)) => Ok(rate),
            _ => Err(format!("its strategy `{name}` is a closed loop or has no request rate")),
        }
    }

    /// Reports may keep a sample of the requests: not enough to judge all of them.
    fn check_sampling(&self) -> Result<(), String> {
        let kept = [&self.requests.successful, &self.requests.errored, &self.requests.incomplete];
        let kept: usize = kept.into_iter().flatten().map(Vec::len).sum();
        let totals = self.metrics.get("request_totals").or_else(|| self.run_stats.get("requests_made"));
        match totals.and_then(|t| t.get("total")).and_then(Value::as_u64) {
            Some(all) if all > kept as u64 => {
                Err(format!("it keeps {kept} of its {all} requests: run guidellm without sampling"))
            }
            _ => Ok(()),
        }
    }

    fn records(&self) -> Result<Vec<RequestRecord>, String> {
        let Requests { successful, incomplete, errored } = &self.requests;
        let served = successful.iter().flatten().map(|r| (r, Outcome::Completed));
        let failed = errored.iter().flatten().map(|r| (r, Outcome::Failed(r.failure())));
        let cut_off = incomplete.iter().flatten().map(|r| (r, Outcome::Unfinished));
        let mut all: Vec<(&GuidellmRequest, Outcome)> = served.chain(failed).chain(cut_off).collect();
        // Requests that ended before they were sent have no time; they come last.
        all.sort_by(|(a, _), (b, _)| a.due().unwrap_or(f64::MAX).total_cmp(&b.due().unwrap_or(f64::MAX)));
        let begin = all.first().and_then(|(r, _)| r.due()).ok_or("its requests have no times")?;
        let latest = all.iter().filter_map(|(r, _)| r.due()).fold(begin, f64::max);
        let records: Vec<_> = (0u32..)
            .zip(all)
            .map(|(index, (request, outcome))| request.record(index, begin, latest, outcome))
            .collect::<Result<_, _>>()?;
        let mut served = records.iter().filter(|record| record.outcome == Outcome::Completed).peekable();
        match served.peek().is_some() && served.all(RequestRecord::lacks_count) {
            true => Err("the tokens of each of its requests came in one piece, so that TPOT is not known".to_string()),
            false => Ok(records),
        }
    }
}

impl GuidellmRequest {
    /// A time, from wherever this version of the report keeps it.
    fn timing(&self, pick: impl Fn(&Timings) -> Loose) -> Option<f64> {
        let places = [&self.info.timings, &self.info.request_timings, &self.scheduler_info.request_timings];
        places.into_iter().find_map(|timings| pick(timings).get())
    }

    fn sent(&self) -> Option<f64> {
        let told = self.timing(|t| t.request_start).or(self.request_start_time.get()).or(self.start_time.get());
        told.filter(|at| *at > 0.0)
    }

    fn due(&self) -> Option<f64> {
        let sent = self.sent();
        self.timing(|t| t.targeted_start).filter(|due| sent.is_none_or(|sent| *due <= sent && *due > 0.0)).or(sent)
    }

    fn first_token(&self) -> Option<f64> {
        let told = self.timing(|t| t.first_token_iteration).or(self.first_token_time.get());
        told.or_else(|| Some(self.sent()? + self.time_to_first_token_ms.get()? / 1e3))
    }

    fn last_token(&self, first: f64, tokens: u32) -> Option<f64> {
        if tokens <= 1 {
            return Some(first);
        }
        let told = self.timing(|t| t.last_token_iteration).or(self.last_token_time.get());
        told.or_else(|| Some(first + self.inter_token_latency_ms.get()? / 1e3 * f64::from(tokens - 1)))
    }

    fn failure(&self) -> Failure {
        let told = self.error.as_ref().or(self.info.error.as_ref()).filter(|text| !text.is_empty());
        Failure::Protocol { detail: told.map_or("no reason told", String::as_str).chars().take(300).collect() }
    }

    fn record(&self, index: u32, begin: f64, latest: f64, outcome: Outcome) -> Result<RequestRecord, String> {
        let at = |secs: f64| Offset::from_secs(secs - begin);
        let due = self.due().unwrap_or(latest);
        let sent = self.sent();
        let prompt_tokens = self.prompt_tokens.count().map(TokenCount);
        let ended = self.timing(|t| t.request_end).or(self.request_end_time.get()).or(self.end_time.get());
        let ended = ended.unwrap_or(due);
        let mut timeline = Timeline {
            due: at(due),
            slot: at(due),
            sent: sent.map(at),
            end: at(ended),
            prompt_tokens,
            ..Timeline::default()
        };
        let mut max_tokens = TokenCount(0);
        if outcome == Outcome::Completed {
            let tokens = self.output_tokens.count().filter(|n| *n > 0);
            let tokens = tokens.ok_or_else(|| format!("request {}: its output tokens are not told", index + 1))?;
            let first = self.first_token().ok_or_else(|| format!("request {}: it has no first token", index + 1))?;
            if first < due {
                return Err(format!("request {}: its first token came before it was due", index + 1));
            }
            let last = self.last_token(first, tokens).ok_or_else(|| {
                format!("request {}: neither its last token's time nor its inter-token latency is told", index + 1)
            })?;
            max_tokens = TokenCount(tokens);
            timeline.first_token = Some(at(first));
            timeline.last_token = Some(at(last.max(first)));
            timeline.end = at(last.max(first));
            // Several tokens at one moment came in one piece: nobody knows how long they took.
            timeline.output_tokens = Some(TokenCount(tokens)).filter(|_| tokens < SEVERAL_TOKENS || last > first);
        }
        Ok(RequestRecord {
            index,
            id: String::new(),
            prompt_tokens: prompt_tokens.unwrap_or_default(),
            max_tokens,
            timeline,
            outcome,
            stages: None,
            turn: None,
            text: None,
        })
    }
}

fn model(args: &Value) -> Option<String> {
    let places = ["/model", "/backend_kwargs/model", "/backend/model"];
    places.iter().find_map(|place| args.pointer(place)?.as_str()).map(str::to_string)
}
