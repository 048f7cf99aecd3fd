use super::*;
use crate::outcome::Outcome;

fn read(text: &str) -> Contents {
    Contents::of_reader(text.as_bytes())
}

/// Two served requests of three tokens each at 2 req/s, with more fields.
fn vllm(more: &str) -> String {
    format!(r#"{{"request_rate": 2.0, "ttfts": [0.1, 0.2], "output_lens": [3, 3], "start_times": [5.0, 5.5]{more}}}"#)
}

const GAPS: &str = r#", "itls": [[0.01, 0.01], [0.02, 0.02]]"#;

#[track_caller]
fn one(text: &str) -> ImportedPoint {
    let mut contents = read(text);
    assert!(contents.problems.is_empty() && contents.points.len() == 1, "{contents:?}");
    contents.points.remove(0)
}

#[track_caller]
fn refused(text: &str) -> String {
    let contents = read(text);
    assert!(contents.points.is_empty() && contents.problems.len() == 1, "{contents:?}");
    contents.problems[0].clone()
}

fn tpots(point: &ImportedPoint) -> Vec<Option<f64>> {
    point.records.iter().map(|r| r.tpot().map(|t| (t.as_secs() * 1e6).round() / 1e6)).collect()
}

#[test]
fn a_tpot_that_is_not_told_is_never_zero() {
    assert_eq!(tpots(&one(&vllm(GAPS))), [Some(0.01), Some(0.02)]);
    assert_eq!(tpots(&one(&vllm(r#", "latencies": [0.12, 0.24]"#))), [Some(0.01), Some(0.02)]);
    assert_eq!(tpots(&one(&vllm(r#", "tpots": [0.01, 0.02]"#))), [Some(0.01), Some(0.02)]);
    assert!(refused(&vllm("")).contains("doesn't tell the TPOT"));
    for more in [r#", "latencies": [null, 0.24]"#, r#", "itls": [[0.01, NaN], [0.02, 0.02]]"#] {
        let point = one(&vllm(more));
        assert_eq!(tpots(&point), [None, Some(0.02)], "{more}");
        assert!(point.records[0].lacks_count(), "unknown, and not undefined");
    }
    let uncounted = one(&vllm(GAPS).replace("[3, 3]", "[null, null]"));
    assert!(uncounted.records.iter().all(|r| r.lacks_count()), "as our own exports have it");
    for whole in [r#", "itls": [[], []]"#, r#", "latencies": [0.1, 0.2]"#, r#", "tpots": [0, 0.0]"#] {
        assert!(refused(&vllm(whole).replace("[3, 3]", "[16, 16]")).contains("in one piece"), "{whole}");
    }
    // Milliseconds beside seconds, or two clocks: less time than none is no measurement, and no TPOT of 0.
    for more in
        [r#", "latencies": [0.05, 0.24]"#, r#", "tpots": [-0.01, 0.02]"#, r#", "itls": [[-1, 0], [0.02, 0.02]]"#]
    {
        assert_eq!(tpots(&one(&vllm(more))), [None, Some(0.02)], "{more}");
    }
    let lens = vllm(r#", "itls": [[0.01], [0.01]]"#).replace("output_lens", "other");
    assert!(refused(&lens).contains("output_lens"), "chunks are not tokens");
    let single = vllm("").replace("[3, 3]", "[1, 1]");
    assert_eq!(tpots(&one(&single)), [None, None], "one token has no TPOT");
}

#[test]
fn pythons_numbers_are_read_where_they_do_no_harm() {
    let point = one(&vllm(&format!(r#"{GAPS}, "mean_tpot_ms": NaN, "burstiness": Infinity, "duration": NaN"#)));
    assert_eq!((point.records.len(), point.duration_secs), (2, None));
    let endless = one(&vllm(GAPS).replace("2.0", "Infinity"));
    assert!(endless.rate.is_infinite());
    let lost = one(&vllm(GAPS).replace("[0.1, 0.2]", "[0.1, NaN]"));
    assert!(matches!(lost.records[1].outcome, Outcome::Failed(_)), "no first token");
}

#[test]
fn several_objects_of_one_file_are_several_points() {
    let (a, b) = (vllm(GAPS), vllm(GAPS).replace("2.0", "4.0"));
    for text in [format!("{a}\n{b}\n"), format!("[{a}, {b}]"), format!("{a}{b}"), format!("\u{feff}{a}\r\n{b}")] {
        let text = text.trim_start_matches('\u{feff}');
        let rates: Vec<f64> = read(text).points.iter().map(|p| p.rate.per_second()).collect();
        assert_eq!(rates, [2.0, 4.0], "{text}");
    }
    let damaged = read(&format!("{a}\n{{\"request_rate\": 3\n{b}"));
    assert_eq!((damaged.points.len(), damaged.problems.len()), (2, 1));
    assert!(damaged.problems[0].starts_with("object 2: "), "{:?}", damaged.problems);
}

#[test]
fn what_is_no_result_is_told() {
    assert!(refused(r#"{"hello": 1}"#).contains("not a result file"));
    assert!(refused("[1]").contains("not a result file"));
    assert!(refused("").contains("empty"));
    assert!(refused(&vllm(GAPS).replace("\"request_rate\": 2.0,", "")).contains("no `request_rate`"));
    assert!(refused(&vllm(GAPS).replace("2.0", "null")).contains("request_rate"));
    assert!(refused(&vllm(GAPS).replace("2.0", "\"trace\"")).contains("trace"));
    assert!(refused(r#"{"request_rate": 2.0, "mean_ttft_ms": 5}"#).contains("--save-detailed"));
    assert!(refused(r#"{"request_rate": 2.0, "ttfts": []}"#).contains("no request"));
    assert!(refused(&vllm(r#", "itls": [[0.01]]"#)).contains("`itls` has 1 entries"));
}

#[test]
fn sglangs_lines_have_no_start_times() {
    let line = vllm(&format!(r#"{GAPS}, "errors": ["", ""], "backend": "sglang""#));
    let point = one(&line.replace(r#", "start_times": [5.0, 5.5]"#, ""));
    let sent: Vec<f64> = point.records.iter().filter_map(|r| r.timeline.sent).map(|t| t.as_secs()).collect();
    assert_eq!(sent, [0.0, 0.5], "spread by the rate");
}

fn guidellm(strategy: &str, more: &str) -> String {
    let served = r#"{"prompt_tokens": 10, "output_tokens": 3, "info": {"timings": {"targeted_start": 100.0,
        "request_start": 100.1, "first_token_iteration": 100.3, "last_token_iteration": 100.5, "request_end": 100.6}}}"#;
    let old = r#"{"prompt_tokens": 10, "output_tokens": 2, "start_time": 101.0, "end_time": 101.3,
        "first_token_time": 101.1, "last_token_time": 101.2}"#;
    let errored = r#"{"prompt_tokens": 10, "output_tokens": null, "start_time": 102.0, "error": "HTTP 500"}"#;
    format!(
        r#"{{"args": {{"model": "m"}}, "benchmarks": [{{"config": {{"strategy": {strategy}}},
        "requests": {{"successful": [{served}, {old}], "errored": [{errored}], "incomplete": []}}{more}}}]}}"#
    )
}

#[test]
fn guidellms_reports_are_read_from_due() {
    let point = one(&guidellm(r#"{"type_": "poisson", "rate": 2.0}"#, ""));
    assert_eq!((point.rate.per_second(), point.facts.model.as_deref()), (2.0, Some("m")));
    let ttfts: Vec<Option<f64>> =
        point.records.iter().map(|r| r.ttft().map(|t| (t.as_secs() * 1e3).round() / 1e3)).collect();
    assert_eq!(ttfts, [Some(0.3), Some(0.1), None]);
    assert_eq!(tpots(&point), [Some(0.1), Some(0.1), None]);
    assert!(matches!(&point.records[2].outcome, Outcome::Failed(f) if f.to_string().contains("HTTP 500")));
    assert!(refused(&guidellm(r#"{"type_": "concurrent", "streams": 4}"#, "")).contains("`concurrent`"));
    let sampled = guidellm(r#"{"type_": "constant", "rate": 2.0}"#, r#", "metrics": {"request_totals": {"total": 9}}"#);
    assert!(refused(&sampled).contains("3 of its 9"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_are_too_odd(at in 0usize..400, cut in 0usize..60, bytes: Vec<u8>, guide: bool) {
        let text = if guide { guidellm(r#"{"type_": "poisson", "rate": 2.0}"#, "") } else { vllm(GAPS) };
        let (at, end) = (at.min(text.len()), (at + cut).min(text.len()));
        let mixed = [&text.as_bytes()[..at], &bytes, &text.as_bytes()[end..]].concat();
        let Contents { points, problems } = Contents::of_reader(mixed.as_slice());
        proptest::prop_assert!(!points.is_empty() || !problems.is_empty());
        for record in points.iter().flat_map(|point| &point.records) {
            let latencies = [record.ttft().map(|t| t.as_secs()), record.tpot().map(|t| t.as_secs())];
            proptest::prop_assert!(latencies.into_iter().flatten().all(|secs| secs.is_finite() && secs >= 0.0));
        }
    }
}
