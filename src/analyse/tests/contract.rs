//! The JSON of `compare --json`, version 1.

use super::*;

fn two_arms() -> Comparison {
    let simple = arm("simple", "TP2", vec![point(2.0, 400, 0), point(4.0, 400, 30), point(8.0, 400, 200)]);
    let nixl = arm("nixl", "1P1D", vec![point(2.0, 400, 0), point(4.0, 400, 0), point(8.0, 400, 60)]);
    Comparison::new(&[simple, nixl], &question())
}

/// Keys of an object in the order they are written.
fn keys(json: &str) -> Vec<String> {
    let value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).expect("an object");
    let mut keys: Vec<(usize, String)> =
        value.keys().map(|k| (json.find(&format!("\"{k}\":")).expect("present"), k.clone())).collect();
    keys.sort();
    keys.into_iter().map(|(_, key)| key).collect()
}

#[test]
fn fields_stand_in_the_order_of_the_contract() {
    let c = two_arms();
    let json = serde_json::to_string(&c).expect("serialises");
    let top = ["version", "slo", "target_percent", "paired", "covers", "warnings", "arms", "ratios", "verdict"];
    assert_eq!(keys(&json), top);
    let arm = serde_json::to_string(&c.arms[0]).expect("serialises");
    assert_eq!(
        keys(&arm),
        ["label", "dir", "gpus", "topology", "settings", "launches", "points", "max_rate", "fitted", "scale"]
    );
    let point = serde_json::to_string(&c.arms[0].points[0]).expect("serialises");
    let fields = [
        "rate",
        "attempt",
        "launch",
        "realised_rate",
        "offered",
        "attainment",
        "ci95",
        "wilson95",
        "slo_scale",
        "status",
        "valid",
        "why",
    ];
    assert_eq!(keys(&point), fields);
    let max_rate = serde_json::to_string(&c.arms[0].max_rate).expect("serialises");
    assert_eq!(keys(&max_rate), ["value", "per_gpu", "ci95", "censored", "all"]);
    let scale = serde_json::to_string(&c.arms[0].scale).expect("serialises");
    assert_eq!(keys(&scale), ["at_rate", "value", "ci95", "censored"]);
    let ratio = serde_json::to_string(&c.ratios[0]).expect("serialises");
    assert_eq!(keys(&ratio), ["a", "b", "max_rate", "max_rate_per_gpu", "scale", "fitted", "at_common_rates", "claim"]);
}

#[test]
fn values_are_where_readers_look_for_them() {
    let json = serde_json::to_value(two_arms()).expect("serialises");
    assert_eq!(json["slo"], serde_json::json!({ "ttft_ms": 150.0, "tpot_ms": 10.0 }));
    assert_eq!(json["paired"], true);
    assert_eq!(json["arms"][0]["points"][1]["attainment"]["both"], 92.5);
    assert_eq!(json["arms"][0]["points"][1]["status"], "measured");
    assert_eq!(json["arms"][0]["points"][1]["valid"], true);
    let ci = json["arms"][0]["points"][1]["wilson95"]["both"].as_array().expect("a pair");
    assert!((ci[0].as_f64().expect("lo") - 89.49).abs() < 0.01 && (ci[1].as_f64().expect("hi") - 94.70).abs() < 0.01);
    assert_eq!(json["arms"][0]["points"][0]["slo_scale"], 0.8, "TPOT 8 of 10 ms: there was room left");
    assert_eq!(json["covers"], "these launches");
    assert_eq!(json["arms"][0]["points"][1]["launch"], 1);
    let realised = json["arms"][0]["points"][1]["realised_rate"].as_f64().expect("a rate");
    assert!((realised - 4.0).abs() < 1e-9, "{realised}");
    // The highest common rate at which any arm meets the target.
    assert_eq!(json["arms"][1]["scale"]["at_rate"], 4.0);
    let (a, b) = (&json["arms"][0]["max_rate"]["value"], &json["arms"][1]["max_rate"]["value"]);
    let ratio = json["ratios"][0]["max_rate"]["value"].as_f64().expect("a number");
    assert!((ratio - b.as_f64().expect("b") / a.as_f64().expect("a")).abs() < 1e-12);
}

#[test]
fn what_lies_outside_the_rates_tested_is_null_and_says_so() {
    let simple = arm("simple", "TP2", vec![point(2.0, 400, 0), point(4.0, 400, 200)]);
    let nixl = arm("nixl", "1P1D", vec![point(2.0, 400, 0), point(4.0, 400, 0)]);
    let json = serde_json::to_value(Comparison::new(&[simple, nixl], &question())).expect("serialises");
    let rate = &json["arms"][1]["max_rate"];
    assert_eq!((&rate["value"], &rate["censored"]), (&serde_json::Value::Null, &"above_tested".into()));
    assert_eq!(rate["ci95"][1], serde_json::Value::Null);
    let ratio = &json["ratios"][0]["max_rate"];
    assert_eq!((&ratio["value"], &ratio["censored"]), (&serde_json::Value::Null, &"above_tested".into()));
    assert!(ratio["ci95"][0].as_f64().is_some_and(|lo| lo > 1.0), "a lower end is known all the same: {ratio}");
    assert_eq!(ratio["ci95"][1], serde_json::Value::Null);
}

#[test]
fn without_gpus_nothing_is_per_gpu() {
    let mut none = arm("simple", "TP2", vec![point(2.0, 400, 0), point(4.0, 400, 200)]);
    none.gpus = Some(0);
    let json = serde_json::to_value(Comparison::new(&[none.clone(), none], &question())).expect("serialises");
    assert_eq!(json["arms"][0]["gpus"], 0);
    assert_eq!(json["arms"][0]["max_rate"]["per_gpu"], serde_json::Value::Null);
    assert_eq!(json["ratios"][0]["max_rate_per_gpu"]["value"], serde_json::Value::Null);
}

#[test]
fn an_e2el_limit_joins_the_conjunction() {
    let e2el = Some(crate::units::E2el::from_millis(1000.0));
    let limits = Slo { e2el, ..slo(150.0, 10.0) };
    let c = Comparison::new(&[arm("simple", "TP2", vec![point(2.0, 400, 0)])], &Question { slo: limits, ..question() });
    // TTFT 100 ms and 127 gaps of 8 ms: 1116 ms.
    let shares = c.arms[0].points[0].attainment;
    assert_eq!(
        (shares.both, shares.ttft, shares.tpot, shares.e2el),
        (Some(0.0), Some(100.0), Some(100.0), Some(Some(0.0)))
    );
    assert_eq!(c.slo.e2el_ms, Some(1000.0));
}

#[test]
fn repeats_of_a_rate_are_one_point_of_the_curve() {
    let again = PointInput { attempt: 2, ..point(4.0, 400, 60) };
    let points = vec![point(2.0, 400, 0), point(4.0, 400, 0), again, point(8.0, 400, 200)];
    let c = Comparison::new(&[arm("simple", "TP2", points)], &question());
    assert_eq!(c.arms[0].points.len(), 4);
    assert_eq!(c.arms[0].rates.len(), 3);
    assert_eq!(c.arms[0].rates[1].attainment.both.percent(), 92.5);
}

#[test]
fn a_rate_of_infinity_is_a_point_and_no_part_of_the_crossing() {
    let all_at_once = PointInput { rate: RequestRate::INFINITE, ..point(8.0, 400, 300) };
    let c = Comparison::new(&[arm("simple", "TP2", vec![point(2.0, 400, 0), all_at_once])], &question());
    assert_eq!(c.arms[0].max_rate.censored, Some(Censored::AboveTested));
    let json = serde_json::to_value(&c).expect("serialises");
    assert_eq!(json["arms"][0]["points"][1]["rate"], "inf");
}
