//! A client that was late: its point is doubtful only if that can change what the point says.

use crate::support::{Place, read_json, read_json_lines};
use serde_json::{Value, json};

/// A run of 60 requests that take 100 ms to the first token, made out of a measured one; `lags` are those of its first
/// requests in seconds.
fn with_lags(lags: &[f64]) -> Place {
    let place = Place::new();
    place.measure("simple").measured();
    let measured = place.runs("random").remove(0);
    let mut manifest = read_json(measured.join("manifest.json"));
    let mut point = manifest["points"][0].clone();
    let rate = point["rate"].clone();
    point["offered"] = json!(60);
    point["why"] = json!([]);
    manifest["points"] = Value::Array(vec![point]);
    let mut line = read_json_lines(measured.join("requests.jsonl"))
        .into_iter()
        .find(|line| line["rate"] == rate && line["output_tokens"] != 1)
        .expect("a request");
    let mut journal = String::new();
    for index in 0..60 {
        let due = 0.25 * f64::from(index);
        let sent = due + lags.get(index as usize).copied().unwrap_or(0.0);
        line["index"] = json!(index);
        line["chunks"] = json!({ "gaps_us": [100_000, 5000, 5000] });
        let times =
            [("due", due), ("slot", due), ("sent", sent), ("first_token", sent + 0.1), ("last_token", sent + 0.11)];
        times.into_iter().chain([("end", sent + 0.11)]).for_each(|(name, at)| line[name] = json!(at));
        journal.push_str(&format!("{line}\n"));
    }
    place.write("late/manifest.json", &manifest.to_string());
    place.write("late/requests.jsonl", &journal);
    place
}

#[test]
fn one_send_late_by_milliseconds_is_told_and_leaves_its_point_good() {
    for lag in [0.003, 0.045] {
        let place = with_lags(&[lag]);
        let json = place.type_in("compare late late --ttft-slo 149 --tpot-slo 20 --json").expect(0).json();
        let point = &json["arms"][0]["points"][0];
        assert_eq!((&point["valid"], &point["why"]), (&json!(true), &json!([])), "{point}");
        let told = place.type_in("show late --ttft-slo 149 --tpot-slo 20").expect(0).stdout;
        assert!(!told.contains("was late:"), "{told}");
        if lag > 0.01 {
            assert_eq!((&point["late_sends"]["sends"], &point["attainment"]["both"]), (&json!(1), &json!(100.0)));
        }
    }
}

#[test]
fn late_sends_that_decide_what_attainment_is_make_the_point_doubtful() {
    let place = with_lags(&[0.06; 5]);
    let ended = place.type_in("compare late late --ttft-slo 150 --tpot-slo 20 --json").expect(4);
    let json = ended.json();
    let point = &json["arms"][0]["points"][0];
    assert_eq!(point["late_sends"]["attainment_less_lag"], 100.0);
    let why = point["why"].to_string();
    assert!(why.contains("5 sends were late, by 60.0 ms at most; attainment would be 100.0 % and not 91.7 %"), "{why}");
    place.type_in("compare late late --ttft-slo 200 --tpot-slo 20 --json").expect(0);
}
