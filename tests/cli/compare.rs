//! `compare` on results of real vLLM: the numbers, what is printed where, and the exit codes.

use crate::support::{Ended, Place, entries, read_json, recorded};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// The two recorded runs compared; asked once, however many tests look at the answer.
fn compared(flags: &str) -> Ended {
    static ASKED: Mutex<BTreeMap<String, Ended>> = Mutex::new(BTreeMap::new());
    if let Some(ended) = ASKED.lock().expect("no test died in here").get(flags) {
        return ended.clone();
    }
    let ended = Place::new().type_in(&format!("compare {} {} {flags}", recorded("simple"), recorded("nixl")));
    ASKED.lock().expect("no test died in here").insert(flags.to_string(), ended.clone());
    ended
}

#[track_caller]
fn near(value: &Value, expected: f64) {
    assert!(value.as_f64().is_some_and(|x| (x - expected).abs() < 5e-4), "{value}, not {expected}");
}

fn attainments(arm: &Value) -> Vec<f64> {
    arm["points"].as_array().expect("points").iter().filter_map(|p| p["attainment"]["both"].as_f64()).collect()
}

#[test]
fn one_deployment_reaches_its_limit_where_the_other_is_above_all_that_was_tested() {
    let json = compared("--ttft-slo 250 --tpot-slo 9 --json").expect(0).json();
    near(&json["arms"][0]["max_rate"]["value"], 6.684);
    assert_eq!(attainments(&json["arms"][0]), [100.0, 98.0, 83.75]);
    assert_eq!(json["arms"][1]["max_rate"]["value"], Value::Null);
    assert_eq!(json["arms"][1]["max_rate"]["censored"], "above_tested");
    assert_eq!((&json["slo"]["ttft_ms"], &json["slo"]["tpot_ms"]), (&250.0.into(), &9.0.into()));
}

#[test]
fn a_tighter_objective_turns_it_round() {
    let json = compared("--goodput ttft:150 tpot:10 --json").expect(0).json();
    near(&json["arms"][0]["max_rate"]["value"], 7.286);
    assert_eq!(json["arms"][1]["max_rate"]["censored"], "below_tested");
    assert_eq!(attainments(&json["arms"][1]), [85.0, 76.0, 65.0]);
}

#[test]
fn the_scale_at_a_rate_says_how_much_slack_each_has() {
    let json = compared("--ttft-slo 250 --tpot-slo 9 --scale-rate 8 --json").expect(0).json();
    near(&json["arms"][0]["scale"]["value"], 1.133);
    near(&json["arms"][1]["scale"]["value"], 0.964);
    assert_eq!(json["arms"][0]["scale"]["at_rate"], 8.0);
}

#[test]
fn variables_ask_as_flags_do_and_flags_win() {
    let place = Place::new().with("TTFT_SLO", "150").with("TPOT_SLO", "9").with("TARGET_ATTAINMENT", "95");
    let line = format!("compare {} {} --json", recorded("simple"), recorded("nixl"));
    let ambient = place.type_in(&line).expect(0).json();
    assert_eq!((&ambient["slo"]["ttft_ms"], &ambient["target_percent"]), (&150.0.into(), &95.0.into()));
    let typed = place.type_in(&format!("{line} --ttft-slo 250 --target 90")).expect(0).json();
    assert_eq!((&typed["slo"]["ttft_ms"], &typed["slo"]["tpot_ms"]), (&250.0.into(), &9.0.into()));
    assert_eq!(typed["target_percent"], 90.0);
}

#[test]
fn the_flags_that_scripts_know_mean_the_same() {
    let line =
        format!("compare --simple-dir {} --nixl-dir {} --atta-target 90 --json", recorded("simple"), recorded("nixl"));
    let old = Place::new().type_in(&line).expect(0).json();
    assert_eq!(old, compared("--json").expect(0).json());
    let half = Place::new().type_in(&format!("compare --simple-dir {}", recorded("simple"))).expect(2);
    assert!(half.stderr.contains("--nixl-dir"), "{}", half.stderr);
}

#[test]
fn a_run_in_which_nothing_was_served_fails_and_is_still_printed() {
    let line = format!("compare {} {} --json", recorded("failed"), recorded("nixl"));
    let ended = Place::new().type_in(&line).expect(4);
    let point = &ended.json()["arms"][0]["points"][0];
    assert_eq!((&point["attainment"]["both"], &point["offered"]), (&0.0.into(), &110.into()));
    assert_eq!((&point["status"], &point["valid"]), (&"failed".into(), &false.into()));
    assert!(point["why"][0].as_str().is_some_and(|why| why.contains("none of the 110")), "{point}");
}

#[test]
fn three_arms_are_each_compared_with_the_first() {
    let dirs = [recorded("simple"), recorded("nixl"), recorded("simple")].join(" ");
    let json = Place::new().type_in(&format!("compare {dirs} --json")).expect(0).json();
    let labels: Vec<_> = json["arms"].as_array().expect("arms").iter().map(|a| a["label"].as_str()).collect();
    assert_eq!(labels, [Some("simple"), Some("nixl"), Some("simple (2)")]);
    let pairs: Vec<_> =
        json["ratios"].as_array().expect("ratios").iter().map(|r| (r["a"].as_u64(), r["b"].as_u64())).collect();
    assert_eq!(pairs, [(Some(0), Some(1)), (Some(0), Some(2))]);
}

#[test]
fn unequal_gpus_are_compared_per_gpu_with_a_loud_warning() {
    let ended = compared("--ttft-slo 250 --tpot-slo 9 --gpus 2,4").expect(0);
    let warned = ended.stdout.lines().find(|l| l.starts_with("warning:") && l.contains("GPUs"));
    assert!(warned.is_some_and(|w| w.contains('2') && w.contains('4')), "{}", ended.stdout);
    let json = compared("--ttft-slo 250 --tpot-slo 9 --gpus 2,4 --json").expect(0).json();
    assert_eq!((&json["arms"][0]["gpus"], &json["arms"][1]["gpus"]), (&2.into(), &4.into()));
    near(&json["arms"][0]["max_rate"]["per_gpu"], 3.342);
    for (gpus, word) in [("2", "1 numbers for 2 runs"), ("0,2", "at least one GPU"), ("2,x", "non-negative integer")] {
        let refused = compared(&format!("--gpus {gpus}")).expect(2);
        assert!(refused.stderr.contains(word), "{gpus}: {}", refused.stderr);
    }
}

#[test]
fn a_gate_that_is_missed_exits_5_and_a_doubtful_point_4() {
    let wide = "--ttft-slo 250 --tpot-slo 9";
    compared(&format!("{wide} --gate 80")).expect(0);
    let missed = compared(&format!("{wide} --gate 90 --json")).expect(5);
    assert_eq!(missed.json()["version"], 1, "the data is printed all the same");
    let line = format!("compare {} {} --gate 90", recorded("failed"), recorded("nixl"));
    Place::new().type_in(&line).expect(4);
}

/// Keys in the order of the documented contract; scripts may read the text.
#[test]
fn json_keeps_the_documented_order_and_holds_no_nan() {
    let text = compared("--ttft-slo 250 --tpot-slo 9 --gpus 2,4 --json").expect(0).stdout;
    assert!(!text.contains("NaN") && !text.contains("Infinity"), "{text}");
    let mut from = 0;
    for key in [
        "version",
        "slo",
        "ttft_ms",
        "tpot_ms",
        "target_percent",
        "paired",
        "warnings",
        "arms",
        "label",
        "dir",
        "gpus",
        "topology",
        "points",
        "rate",
        "attempt",
        "offered",
        "attainment",
        "both",
        "ttft",
        "tpot",
        "ci95",
        "both",
        "status",
        "valid",
        "why",
        "max_rate",
        "value",
        "per_gpu",
        "ci95",
        "censored",
        "all",
        "scale",
        "at_rate",
        "value",
        "ci95",
        "censored",
        "ratios",
        "a",
        "b",
        "max_rate",
        "value",
        "ci95",
        "censored",
        "max_rate_per_gpu",
        "scale",
        "verdict",
    ] {
        let at = text[from..]
            .find(&format!("\"{key}\":"))
            .unwrap_or_else(|| panic!("{key} does not follow:\n{}", &text[..from]));
        from += at + key.len();
    }
}

#[test]
fn a_person_reads_tables_one_sentence_and_where_the_rest_lies() {
    let ended = compared("--ttft-slo 250 --tpot-slo 9 --output out").expect(0);
    assert_eq!(ended.stderr, "");
    let json = compared("--ttft-slo 250 --tpot-slo 9 --json").expect(0).json();
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let verdict = json["verdict"].as_str().expect("a sentence");
    assert!(lines.contains(&verdict), "{verdict}\n{}", ended.stdout);
    for warning in json["warnings"].as_array().expect("warnings") {
        let expected = format!("warning: {}", warning.as_str().expect("words"));
        assert!(lines.contains(&expected.as_str()), "{expected}\n{}", ended.stdout);
    }
    assert!(lines.iter().any(|l| l.contains("simple") && l.contains(" 6.68 ")), "{}", ended.stdout);
    assert_eq!(lines[lines.len() - 2..], ["figure: out/vllm_comparison_plots.svg", "report: out/report.html"]);
}

#[test]
fn colours_are_for_terminals() {
    let line = format!("show {}", recorded("simple"));
    let plain = Place::new().type_in(&line).expect(0).stdout;
    assert!(!plain.contains('\u{1b}'));
    // `script` gives the program a terminal.
    let terminal = |place: Place| {
        let command = format!("'{}' {line}", env!("CARGO_BIN_EXE_topobench"));
        crate::support::run(place.command("script").args(["-qec", &command, "/dev/null"])).expect(0).stdout
    };
    assert!(terminal(Place::new()).contains('\u{1b}'));
    assert!(!terminal(Place::new().with("NO_COLOR", "1")).contains('\u{1b}'));
}

#[test]
fn the_comparison_is_kept_where_it_is_asked_for() {
    let place = Place::new().with("PLOT_OUTPUT_DIR", "plots-here");
    let line = format!("compare {} {}", recorded("simple"), recorded("nixl"));
    place.type_in(&line).expect(0);
    place.type_in(&format!("{line} --output flag-wins")).expect(0);
    let files = |dir: &str| -> Vec<String> {
        let names =
            entries(&place.path().join(dir)).into_iter().filter_map(|p| Some(p.file_name()?.to_str()?.to_string()));
        names.collect()
    };
    for dir in ["plots-here", "flag-wins"] {
        for name in [
            "compare.json",
            "report.html",
            "summary.csv",
            "vllm_comparison_plots.svg",
            "vllm_comparison_plots.pdf",
            "vllm_comparison_plots.png",
        ] {
            assert!(files(dir).iter().any(|f| f == name), "{name} in {:?}", files(dir));
        }
    }
    assert!(!place.results().exists());
    let refused = place.type_in(&format!("{line} --output /proc/nowhere")).expect(2);
    assert!(refused.stderr.contains("/proc/nowhere") && refused.stderr.contains("--output"), "{}", refused.stderr);
}

#[test]
fn requests_come_as_parquet_where_they_are_asked_for() {
    let place = Place::new();
    let said = place.type_in(&format!("compare {} {} --output here --parquet", recorded("simple"), recorded("nixl")));
    assert!(said.expect(0).stdout.contains("requests: here/requests.parquet"));
    place.type_in(&format!("plot {} --output alone --parquet", recorded("nixl"))).expect(0);
    let rows = |dir: &str| {
        let file = std::fs::File::open(place.path().join(dir).join("requests.parquet")).expect("written");
        let reader = parquet::file::reader::SerializedFileReader::new(file).expect("Parquet");
        parquet::file::reader::FileReader::metadata(&reader).file_metadata().num_rows()
    };
    assert!(rows("alone") > 0);
    assert!(rows("here") > rows("alone"));
}

#[test]
fn runs_are_found_by_name_and_comparisons_are_no_runs() {
    let place = Place::new();
    for name in ["simple", "nixl"] {
        let run = place.results().join(format!("random/{name}_20261121_214513"));
        std::fs::create_dir_all(&run).expect("made");
        for file in entries(recorded(name).as_ref()) {
            std::fs::copy(&file, run.join(file.file_name().expect("a name"))).expect("copied");
        }
    }
    let json = place.type_in("compare simple random/nixl --json").expect(0).json();
    assert_eq!((&json["arms"][0]["label"], &json["arms"][1]["label"]), (&"simple".into(), &"nixl".into()));
    assert_eq!(entries(&place.results().join("comparisons")).len(), 1);
    assert_eq!(place.type_in("list").expect(0).stdout.matches(" files, ").count(), 2);
}

#[test]
fn joules_and_money_at_the_crossing_stand_on_the_console_and_on_the_page() {
    let place = Place::new();
    let curated = format!("{}/results/curated/h100x2-qwen3-8b", env!("CARGO_MANIFEST_DIR"));
    let (simple, nixl) = (format!("{curated}/simple_20261122_024512"), format!("{curated}/nixl_20261122_001955"));
    let slo = ["--ttft-slo", "250", "--tpot-slo", "10", "--gpu-hour-price", "2.5", "--output", "out"];
    let told = place.topobench(&[&["compare", &simple, &nixl][..], &slo].concat()).measured().stdout;
    assert!(told.contains("energy: nixl 1P1D at its crossing") && told.contains("cost: "), "{told}");
    let compared = read_json(place.path().join("out/compare.json"));
    let energy = &compared["arms"][1]["energy"];
    let joules = energy["joules_per_request"]["value"].as_f64().expect("joules");
    let page = std::fs::read_to_string(place.path().join("out/report.html")).expect("a page");
    for row in
        ["Joules a request, at that rate", "Joules an output token, at that rate", "Cost of a million output tokens"]
    {
        assert!(page.contains(row), "{row}");
    }
    assert!(page.contains(&format!("<span class=\"value\">{}</span>", topobench::words::number(joules))), "{joules}");
    assert!(page.contains("Joules a request <span class=\"note\">an output token</span>"), "points have theirs");
}
