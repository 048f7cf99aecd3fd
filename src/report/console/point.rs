//! One point in the words of `vllm bench serve`, with attainment below.

use super::{MISSING, Style, Tint, or_missing};
use crate::analyse::percentiles::Distribution;
use crate::analyse::prefix::PrefixCache;
use crate::analyse::proof::HandOverProof;
use crate::analyse::summary::PointSummary;
use crate::analyse::validity::{self, Validity};
use crate::analyse::{ArmKind, Interval, PointAttainment, PointInput, PointReport, Question};
use crate::plan::MetricChoice;
use crate::report::summary_of;
use crate::words;

const WIDTH: usize = 50;

/// The summary of one point. Latencies count from due; what nobody had is `n/a`, not 0.
pub fn point(point: &PointInput, kind: ArmKind, question: &Question, choice: &MetricChoice, style: Style) -> String {
    let summary = summary_of(point, &choice.percentiles);
    let mut page = Page { text: String::new(), style };
    page.title("Serving Benchmark Result", '=');
    counts(&mut page, point, &summary, question);
    latencies(&mut page, &summary, choice);
    drafts(&mut page, point);
    prefix_cache(&mut page, point, kind);
    attainment(&mut page, point, kind, question);
    if let Some(proof) = HandOverProof::of(point, kind) {
        let tint = match proof {
            HandOverProof::Proved => Tint::Good,
            HandOverProof::NotProved => Tint::Doubtful,
            HandOverProof::Recomputed => Tint::Bad,
        };
        let word = page.style.paint(proof.words(), tint);
        page.row("KV hand-over:", &word);
    }
    verdict(&mut page, &validity::judge(point, kind, question));
    page.text.push_str(&"=".repeat(WIDTH));
    page.text.push('\n');
    page.text
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn title(&mut self, title: &str, fill: char) {
        let room = WIDTH.saturating_sub(title.chars().count() + 2 * usize::from(fill == '='));
        let (before, after) = (room / 2, room - room / 2);
        let gap = if fill == '=' { " " } else { "" };
        let fill = |n: usize| fill.to_string().repeat(n);
        let line = format!("{}{gap}{title}{gap}{}", fill(before), fill(after));
        let painted = self.style.paint(&line, Tint::Bold);
        self.text.push_str(&painted);
        self.text.push('\n');
    }

    fn row(&mut self, label: &str, value: &str) {
        self.text.push_str(&format!("{label:<40} {value}\n"));
    }

    fn number(&mut self, label: &str, value: Option<f64>) {
        self.row(label, &or_missing(value, 2));
    }
}

fn counts(page: &mut Page, point: &PointInput, summary: &PointSummary, question: &Question) {
    let duration = summary.duration_secs;
    let total = |per_second: Option<f64>| match (per_second.zip(duration), summary.served) {
        (_, 0) => "0".to_string(),
        (Some((rate, secs)), _) => format!("{:.0}", rate * secs),
        (None, _) => MISSING.to_string(),
    };
    let input = summary.total_throughput.zip(summary.output_throughput).map(|(all, out)| all - out);
    let met = PointAttainment::of(&point.samples, &question.slo).map(|a| f64::from(a.both.met));
    page.row("Successful requests:", &summary.served.to_string());
    page.row("Failed requests:", &(summary.offered - summary.served).to_string());
    for (kind, n) in point.samples.failures() {
        page.row(&format!("  {kind}:"), &n.to_string());
    }
    match point.rate.in_flight() {
        Some(n) => page.row("In flight (closed loop):", &n.to_string()),
        None => page.row("Request rate configured (RPS):", &words::rate(point.rate)),
    }
    page.number("Benchmark duration (s):", duration);
    page.row("Total input tokens:", &total(input));
    page.row("Total generated tokens:", &total(summary.output_throughput));
    page.number("Request throughput (req/s):", summary.request_throughput);
    page.number("Request goodput (req/s):", met.zip(duration).map(|(met, secs)| met / secs));
    page.number("Output token throughput (tok/s):", summary.output_throughput);
    let peak = match (summary.max_output_tokens_per_s, summary.served) {
        // Tokens came, and nobody recorded when.
        (0, 1..) => MISSING.to_string(),
        (peak, _) => peak.to_string(),
    };
    page.row("Peak output token throughput (tok/s):", &peak);
    page.row("Peak concurrent requests:", &summary.peak_concurrency.to_string());
    page.number("Total token throughput (tok/s):", summary.total_throughput);
}

fn latencies(page: &mut Page, summary: &PointSummary, choice: &MetricChoice) {
    let all = &summary.latencies;
    for metric in &choice.metrics {
        let (title, short, found) = match metric.as_str() {
            "ttft" => ("Time to First Token", "TTFT", &all.ttft),
            "tpot" => ("Time per Output Token (excl. 1st token)", "TPOT", &all.tpot),
            // Where a chunk's tokens aren't known, its gap is no gap between tokens.
            "itl" if all.itl.is_some() && !all.itl_per_token => ("Inter-chunk Latency", "chunk latency", &all.itl),
            "itl" => ("Inter-token Latency", "ITL", &all.itl),
            "e2el" => ("End-to-end Latency", "E2EL", &all.e2el),
            _ => continue,
        };
        page.title(title, '-');
        distribution(page, short, found.as_ref(), choice);
        let from_sent = all.ttft_from_sent.as_ref().filter(|_| metric == "ttft").map(|d| d.median);
        // Said only where the client's own lateness or a wait for a slot made a difference.
        let late = |(sent, due): &(f64, &Distribution)| (due.median - sent).abs() > 5e-6;
        if let Some((sent, _)) = from_sent.zip(found.as_ref()).filter(late) {
            page.number("Median TTFT from sent (ms):", Some(sent * 1e3));
        }
    }
}

/// As vLLM has it; nothing without speculative decoding. TPOT counts tokens, accepted or not.
fn drafts(page: &mut Page, point: &PointInput) {
    let Some(engines) = point.facts.as_ref().and_then(|facts| facts.engines) else { return };
    let Some(percent) = engines.acceptance_percent() else { return };
    page.title("Speculative Decoding", '-');
    page.number("Acceptance rate (%):", Some(percent));
    page.number("Acceptance length:", engines.acceptance_length());
    page.row("Drafts:", &format!("{:.0}", engines.spec_drafts.unwrap_or(0.0)));
}

/// What prefix caches found, where they found anything or could have.
fn prefix_cache(page: &mut Page, point: &PointInput, kind: ArmKind) {
    let Some(found) = PrefixCache::of(point, kind).filter(PrefixCache::is_worth_telling) else { return };
    page.title("Prefix Cache", '-');
    for (role, hits) in found.roles() {
        page.number(&format!("Hit rate, {role} (% of prompt tokens):"), Some(hits.hit_percent));
    }
    if let Some(percent) = found.repeated_percent {
        page.number("Repeated in the point (%):", Some(percent));
    }
}

fn distribution(page: &mut Page, short: &str, found: Option<&Distribution>, choice: &MetricChoice) {
    let millis = |pick: fn(&Distribution) -> f64| found.map(|d| pick(d) * 1e3);
    page.number(&format!("Mean {short} (ms):"), millis(|d| d.mean));
    page.number(&format!("Median {short} (ms):"), millis(|d| d.median));
    page.number(&format!("Std {short} (ms):"), millis(|d| d.std));
    for p in &choice.percentiles {
        let value = found.and_then(|d| d.percentiles.iter().find(|(q, _)| q == p)).map(|(_, v)| v * 1e3);
        page.number(&format!("P{} {short} (ms):", words::decimal(*p, 3)), value);
    }
}

fn attainment(page: &mut Page, point: &PointInput, kind: ArmKind, question: &Question) {
    page.title("SLO Attainment", '-');
    page.row("SLO:", &question.slo.to_string());
    let Some(report) = PointReport::new(point, kind, question) else {
        page.row("SLO attainment (%):", MISSING);
        return;
    };
    let (found, ci95) = (report.attainment, report.ci95);
    let value = |percent: Option<f64>, ci: Interval| {
        let Some(percent) = percent else { return "unknown".to_string() };
        format!("{percent:.2} (95 % CI {}-{})", or_missing(ci.lo, 1), or_missing(ci.hi, 1))
    };
    let target = question.target.percent();
    let (word, tint) = match found.both.map(|percent| percent >= target.get()) {
        Some(true) => ("met", Tint::Good),
        Some(false) => ("missed", Tint::Bad),
        None => ("unknown", Tint::Doubtful),
    };
    page.row("SLO attainment (%):", &value(found.both, ci95.both));
    page.row("  TTFT alone (%):", &value(found.ttft, ci95.ttft));
    page.row("  TPOT alone (%):", &value(found.tpot, ci95.tpot));
    if let Some((e2el, ci)) = found.e2el.zip(ci95.e2el) {
        page.row("  E2EL alone (%):", &value(e2el, ci));
    }
    let word = page.style.paint(word, tint);
    page.row(&format!("Target of {target}:"), &word);
    if let Some(sessions) = report.sessions {
        let value = |percent: f64, ci: Interval| value(Some(percent), ci);
        page.row("Sessions:", &sessions.offered.to_string());
        page.row("  All turns kept it (%):", &value(sessions.all_turns, sessions.all_turns_ci95));
        page.row("  Last turn kept it (%):", &value(sessions.last_turn, sessions.last_turn_ci95));
    }
}

fn verdict(page: &mut Page, found: &Validity) {
    let (word, tint) = match found.valid {
        Some(true) => ("yes", Tint::Good),
        Some(false) => ("no", Tint::Bad),
        None => ("unknown (imported)", Tint::Doubtful),
    };
    let word = page.style.paint(word, tint);
    page.row("Valid:", &word);
    let told = found.late.filter(|_| found.valid != Some(false)).map(|late| late.told());
    for line in found.why.iter().chain(&found.notes).chain(&told) {
        page.text.push_str(&format!("  {line}\n"));
    }
}
