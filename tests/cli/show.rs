//! `show` and `plot`: which run a name means, and what they print.

use crate::support::{Place, entries, recorded};

fn runs(place: &Place, names: &[&str]) {
    let text = std::fs::read_to_string(format!("{}/tp2-2qps.json", recorded("simple"))).expect("fixture");
    for name in names {
        place.write(&format!("results/random/{name}/a.json"), &text);
    }
}

#[test]
fn a_run_is_named_by_latest_a_prefix_a_directory_or_in_full() {
    let place = Place::new();
    runs(&place, &["simple_20261120_080000", "nixl_20261121_080000", "nixl_20261122_080000"]);
    for (what, expected) in [
        ("", "nixl_20261122_080000"),
        ("latest", "nixl_20261122_080000"),
        ("simple", "simple_20261120_080000"),
        ("random/nixl_20261121", "nixl_20261121_080000"),
        ("nixl_20261121_080000", "nixl_20261121_080000"),
        ("results/random/simple_20261120_080000", "simple_20261120_080000"),
    ] {
        let ended = place.type_in(&format!("show {what}")).expect(0);
        assert_eq!(ended.stdout.lines().next(), Some(format!("results/random/{expected}").as_str()), "show {what}");
    }
    let ambiguous = place.type_in("show nixl").expect(2).stderr;
    assert!(ambiguous.contains("nixl_20261121_080000") && ambiguous.contains("nixl_20261122_080000"), "{ambiguous}");
    let missing = place.type_in("show simple_2027").expect(2).stderr;
    assert!(missing.contains("`simple_2027`") && missing.contains("hint: `topobench list`"), "{missing}");
}

#[test]
fn others_runs_are_shown_as_far_as_they_are_known() {
    let ended = Place::new().type_in(&format!("show {} --ttft-slo 250 --tpot-slo 9", recorded("simple"))).expect(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], recorded("simple"));
    for (label, values) in
        [("Successful requests:", ["20", "50", "80"]), ("Median TTFT (ms):", ["65.91", "66.89", "43.36"])]
    {
        let shown: Vec<_> = lines.iter().filter_map(|l| l.strip_prefix(label)).map(str::trim).collect();
        assert_eq!(shown, values, "{label}");
    }
    assert!(ended.stdout.contains("TTFT 250 ms, TPOT 9 ms"), "{}", ended.stdout);
    let json = Place::new().type_in(&format!("show {} --json", recorded("simple"))).expect(0).json();
    assert_eq!(json["manifest"], serde_json::Value::Null);
    assert_eq!(json["analysis"]["arms"][0]["points"].as_array().map(Vec::len), Some(3));
}

#[test]
fn figures_are_drawn_again_where_they_are_wanted() {
    let place = Place::new();
    runs(&place, &["simple_20261120_080000"]);
    let ended = place.type_in("plot simple --ttft-slo 100 --output out").expect(0);
    assert!(ended.stdout.lines().all(|l| l.starts_with("out")), "{}", ended.stdout);
    assert!(!entries(&place.path().join("out")).is_empty());
    assert_eq!(entries(&place.results().join("random/simple_20261120_080000")).len(), 1, "the run was left alone");
    place.type_in("plot latest").expect(0);
    assert!(place.results().join("random/simple_20261120_080000/plots/vllm_benchmark_plots.svg").is_file());
}
