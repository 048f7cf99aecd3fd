//! Real runs of vLLM 0.22 on two H100s: one TP2 instance, and 1P1D over NIXL.

use super::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Columns {
    ttfts: Vec<f64>,
    latencies: Option<Vec<f64>>,
    itls: Option<Vec<Vec<f64>>>,
    output_lens: Vec<u32>,
    input_lens: Vec<u32>,
    errors: Vec<String>,
    start_times: Vec<f64>,
}

impl Columns {
    fn samples(&self) -> Samples {
        Samples::from_vllm(&VllmColumns {
            ttfts: &self.ttfts,
            latencies: self.latencies.as_deref(),
            itls: self.itls.as_deref(),
            input_lens: Some(&self.input_lens),
            output_lens: Some(&self.output_lens),
            errors: Some(&self.errors),
            start_times: Some(&self.start_times),
            ..VllmColumns::default()
        })
        .expect("columns fit")
    }
}

fn recorded(file: &str) -> Samples {
    let columns = kit::h100::columns().remove(file).unwrap_or_else(|| panic!("no file {file}"));
    serde_json::from_value::<Columns>(columns).expect("columns").samples()
}

fn imported(label: &str, size: &str, prefix: &str, rates: &[f64]) -> ArmInput {
    let points = rates.iter().map(|r| PointInput {
        rate: rate(*r),
        attempt: 1,
        launch: 1,
        host: None,
        facts: None,
        duration_secs: None,
        samples: recorded(&format!("{prefix}-{r}qps")).into(),
    });
    ArmInput { identity: Identity::default(), ..arm(label, size, points.collect()) }
}

fn compared(ttft_ms: f64, tpot_ms: f64, scale_rate: Option<f64>) -> Comparison {
    let rates = [2.0, 5.0, 8.0];
    let arms = [imported("simple", "TP2", "tp2", &rates), imported("nixl", "1P1D", "pd", &rates)];
    Comparison::new(
        &arms,
        &Question { slo: slo(ttft_ms, tpot_ms), scale_rate: scale_rate.map(rate), ..Question::default() },
    )
}

#[track_caller]
fn near(got: Option<f64>, expected: f64) {
    assert!(got.is_some_and(|x| (x - expected).abs() < 5e-4), "{got:?}, not {expected}");
}

#[test]
fn crossings_at_250_and_9_ms() {
    let c = compared(250.0, 9.0, None);
    near(c.arms[0].max_rate.value, 6.684);
    near(c.arms[0].max_rate.per_gpu, 3.342);
    assert_eq!(c.arms[1].max_rate.censored, Some(Censored::AboveTested));
    assert_eq!(c.arms[1].max_rate.value, None);
    let both: Vec<f64> = c.arms[0].points.iter().filter_map(|p| p.attainment.both).collect();
    assert_eq!(both, [100.0, 98.0, 83.75]);
}

#[test]
fn crossings_at_150_and_10_ms() {
    let c = compared(150.0, 10.0, None);
    near(c.arms[0].max_rate.value, 7.286);
    assert_eq!(c.arms[1].max_rate.censored, Some(Censored::BelowTested));
    let both: Vec<f64> = c.arms[1].points.iter().filter_map(|p| p.attainment.both).collect();
    assert_eq!(both, [85.0, 76.0, 65.0]);
}

#[test]
fn the_scale_at_the_target_is_an_order_statistic() {
    let c = compared(250.0, 9.0, Some(8.0));
    near(c.arms[0].scale.value, 1.133);
    near(c.arms[1].scale.value, 0.964);
    near(c.ratios[0].scale.value, 1.1328736955 / 0.9638279212);
}

#[test]
fn a_file_of_failures_attains_nothing_and_is_no_number() {
    let arms = [imported("simple", "TP2", "all-failed", &[11.0])];
    let c = Comparison::new(&arms, &question());
    let point = &c.arms[0].points[0];
    assert_eq!((point.offered, point.attainment.both, point.valid), (110, Some(0.0), Some(false)));
    assert_eq!(point.status, PointStatus::Failed);
    assert_eq!(c.verdict, "No verdict: simple TP2 served none of the 110 requests offered");
    assert!(latencies::Latencies::of(&arms[0].points[0].samples, &[50.0]).ttft.is_none());
}

#[test]
fn twenty_requests_a_point_claim_nothing_about_the_ratio_of_rates() {
    let c = compared(250.0, 9.0, None);
    insta::assert_snapshot!(c.verdict);
    insta::assert_snapshot!(c.warnings.join("\n"));
}

#[test]
fn percentiles_and_throughput_are_those_vllm_printed() {
    let text = kit::h100::TP2_2QPS;
    let file: Columns = serde_json::from_str(text).expect("fixture");
    let printed: serde_json::Value = serde_json::from_str(text).expect("fixture");
    let number = |key: &str| printed[key].as_f64().unwrap_or_else(|| panic!("{key}"));
    let samples = file.samples();
    let summary = summary::PointSummary::of(&samples, Some(number("duration")), &[50.0, 90.0, 99.0]);
    let l = &summary.latencies;
    for (name, of) in [("ttft", &l.ttft), ("tpot", &l.tpot), ("itl", &l.itl), ("e2el", &l.e2el)] {
        let d = of.as_ref().expect("served");
        let mut pairs =
            vec![("mean".to_string(), d.mean), ("median".to_string(), d.median), ("std".to_string(), d.std)];
        pairs.extend(d.percentiles.iter().map(|(p, x)| (format!("p{p}"), *x)));
        for (stat, secs) in pairs {
            let vllm = number(&format!("{stat}_{name}_ms"));
            // 0.22 leaves the latency itself out of the file; the sum of its gaps is within microseconds of it.
            let slack = if name == "e2el" { 5e-3 } else { 1e-4 };
            assert!((secs * 1e3 - vllm).abs() < slack, "{stat} {name}: {} against {vllm}", secs * 1e3);
        }
    }
    near(summary.request_throughput, number("request_throughput"));
    near(summary.output_throughput, number("output_throughput"));
    near(summary.total_throughput, number("total_token_throughput"));
    assert_eq!(f64::from(summary.max_output_tokens_per_s), number("max_output_tokens_per_s"));
    assert_eq!(f64::from(summary.peak_concurrency), number("max_concurrent_requests"));
    assert!(l.itl_per_token);
}

#[test]
fn both_ways_to_a_latency_agree() {
    let whole: Columns = serde_json::from_str(kit::h100::TP2_2QPS).expect("fixture");
    let (from_itls, from_latency) = (whole.samples(), recorded("tp2-2qps"));
    let limits = slo(100.0, 5.2);
    assert_eq!(PointAttainment::of(&from_itls, &limits), PointAttainment::of(&from_latency, &limits));
}
