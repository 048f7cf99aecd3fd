//! Result files of other tools: damaged ones are named, the readable ones are read.

use crate::support::{Place, recorded};

#[test]
fn a_file_that_is_no_result_is_skipped_and_named() {
    let place = Place::new();
    let good = std::fs::read_to_string(format!("{}/tp2-2qps.json", recorded("simple"))).expect("fixture");
    place.write("mixed/a.json", &good);
    place.write("mixed/notes.json", "{\"note\": 1}");
    place.write("mixed/torn.json", &good[..good.len() / 2]);
    let ended = place.type_in(&format!("compare mixed {} --json", recorded("nixl"))).expect(0);
    assert_eq!(ended.json()["arms"][0]["points"].as_array().map(Vec::len), Some(1));
    for name in ["notes.json", "torn.json"] {
        assert!(
            ended.stderr.lines().any(|l| l.starts_with("warning: skipped") && l.contains(name)),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn files_without_detail_are_refused_with_the_flag_that_was_missing() {
    let place = Place::new();
    place.write("summary/a.json", r#"{"request_rate": 2.0, "num_prompts": 10, "mean_ttft_ms": 12.0}"#);
    let ended = place.type_in(&format!("compare summary {}", recorded("nixl"))).expect(2);
    assert!(ended.stderr.contains("a.json") && ended.stderr.contains("--save-detailed"), "{}", ended.stderr);
    assert!(!place.results().exists(), "nothing was compared");
}

#[test]
fn a_rate_without_end_is_a_word() {
    let place = Place::new();
    let good = std::fs::read_to_string(format!("{}/tp2-2qps.json", recorded("simple"))).expect("fixture");
    let endless = good.replace("\"request_rate\":2.0", "\"request_rate\":\"inf\"");
    assert_ne!(good, endless);
    place.write("a/x.json", &endless);
    place.write("b/x.json", &endless);
    let json = place.type_in("compare a b --json").measured().json();
    assert_eq!(json["arms"][0]["points"][0]["rate"], "inf");
}

/// A point of forty requests of eight tokens each, at 10 ms a token.
fn point(rate: f64, more: &str) -> String {
    let each = |value: &str| vec![value; 40].join(",");
    let starts: Vec<String> = (0..40).map(|i| (f64::from(i) / rate).to_string()).collect();
    format!(
        r#"{{"request_rate":{rate:?},"ttfts":[{}],"output_lens":[{}],"start_times":[{}]{more}}}"#,
        each("0.1"),
        each("8"),
        starts.join(",")
    )
}

fn gaps() -> String {
    format!(r#","itls":[{}]"#, vec!["[0.01,0.01,0.01,0.01,0.01,0.01,0.01]"; 40].join(","))
}

#[test]
fn files_that_tell_no_tpot_are_refused_and_never_judged_as_zero() {
    let place = Place::new();
    place.write("without/a.json", &point(2.0, ""));
    place.write("with/a.json", &point(2.0, &gaps()));
    let ended = place.type_in("compare without with --tpot-slo 5").expect(2);
    assert!(ended.stderr.contains("a.json: it doesn't tell the TPOT of any of its 40"), "{}", ended.stderr);
    place.write("without/b.json", &point(4.0, &gaps()));
    let ended = place.type_in("compare without with --tpot-slo 5 --json").measured();
    assert!(ended.stderr.contains("warning: skipped without/a.json: it doesn't tell"), "{}", ended.stderr);
    assert_eq!(ended.json()["arms"][0]["points"].as_array().map(Vec::len), Some(1));
}

#[test]
fn pythons_numbers_json_lines_arrays_and_sweep_folders_are_read() {
    let place = Place::new();
    let [slow, fast] =
        [2.0, 4.0].map(|rate| point(rate, &format!(r#"{},"mean_tpot_ms":NaN,"burstiness":Infinity"#, gaps())));
    place.write("plain/a.json", &slow);
    place.write("plain/b.json", &fast);
    place.write("lines/all.jsonl", &format!("{slow}\n{fast}\n"));
    place.write("array/all.json", &format!("[{slow}, {fast}]"));
    place.write("sweep/SERVE--tp=1/BENCH--rate=2.0/run=0.json", &slow);
    place.write("sweep/SERVE--tp=1/BENCH--rate=4.0/run=0.json", &fast);
    place.write("sweep/SERVE--tp=1/BENCH--rate=4.0/summary.json", &format!("[{fast}]"));
    let ended = place.type_in("compare plain lines array sweep --json").measured();
    let skipped: Vec<&str> = ended.stderr.lines().filter(|l| l.contains("skipped")).collect();
    assert_eq!(skipped.len(), 1, "{}", ended.stderr);
    assert!(skipped[0].contains("summary.json: it repeats"), "{}", ended.stderr);
    let json = ended.json();
    for arm in json["arms"].as_array().expect("four") {
        let rates: Vec<f64> =
            arm["points"].as_array().expect("points").iter().flat_map(|p| p["rate"].as_f64()).collect();
        assert_eq!(rates, [2.0, 4.0], "{}", arm["dir"]);
    }
    place.write("sweep/SERVE--tp=2/BENCH--rate=2.0/run=0.json", &slow);
    let mixed = place.type_in("compare plain sweep").expect(2);
    assert!(mixed.stderr.contains("sweep/SERVE--tp=1, sweep/SERVE--tp=2"), "{}", mixed.stderr);
}

#[test]
fn every_file_that_cannot_be_used_is_named_also_when_none_is_left() {
    let place = Place::new();
    place.write("bad/a.json", &point(2.0, &gaps()).replace("request_rate", "rate"));
    place.write("bad/b.jsonl", "{\"x\": 1}");
    place.write("bad/c.json", "");
    nix::unistd::mkfifo(&place.path().join("bad/d.json"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    place.write("good/a.json", &point(2.0, &gaps()));
    let ended = place.type_in("compare bad good").expect(2);
    for word in [
        "a.json: it has no `request_rate`",
        "b.jsonl: it is not a result file",
        "c.json: it is empty",
        "d.json: it is a pipe",
    ] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
}
