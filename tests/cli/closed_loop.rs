//! Closed loops: so many requests in flight, and the next is sent when one ends.

use crate::support::{Place, entries, read_json, read_json_lines};
use serde_json::Value;

const LOAD: [&str; 13] = [
    "--engine",
    "sim",
    "--engine-arg=--sim-speed=50",
    "--engine-arg=--sim-start-delay=0",
    "--random-input-len",
    "64",
    "--random-output-len",
    "8",
    "--num-warmups",
    "1",
    "--ttft-slo",
    "60s",
    "--json",
];

fn measured(place: &Place, line: &str) -> Value {
    let args: Vec<&str> = line.split_whitespace().chain(LOAD).collect();
    place.topobench(&args).measured().json()
}

/// Most requests that were under way at once.
fn most_in_flight(requests: &[&Value]) -> usize {
    let span = |r: &&Value| (r["sent"].as_f64().expect("sent"), r["end"].as_f64().expect("ended"));
    let spans: Vec<(f64, f64)> = requests.iter().map(span).collect();
    let during = |at: f64| spans.iter().filter(|(sent, end)| *sent <= at && at < *end).count();
    spans.iter().map(|(sent, _)| during(*sent)).max().unwrap_or(0)
}

#[test]
fn levels_are_points_from_the_load_to_the_figures() {
    let place = Place::new();
    let json = measured(&place, "simple --concurrency 1,4 --num-prompts 3x");
    let arm = &json["arms"][0];
    let told = |key: &str| arm["points"].as_array().expect("points").iter().map(|p| p[key].clone()).collect::<Vec<_>>();
    assert_eq!(told("concurrency"), [1, 4]);
    assert_eq!(told("offered"), [3, 12]);
    assert_eq!((&arm["max_rate"]["value"], &arm["max_concurrency"]["value"]), (&Value::Null, &4.into()));
    assert!(
        json["verdict"].as_str().is_some_and(|v| v.contains("4 in flight, the most tested (closed loop)")),
        "{json}"
    );

    let run = &place.runs("random")[0];
    let requests = read_json_lines(run.join("requests.jsonl"));
    for (level, offered) in [(1, 3), (4, 12)] {
        let of_level: Vec<&Value> = requests.iter().filter(|r| r["rate"] == format!("closed:{level}")).collect();
        assert_eq!(of_level.len(), offered);
        assert!(most_in_flight(&of_level) <= level, "{of_level:?}");
        // Each is due when its slot was free, and only the first ones at time zero.
        assert!(of_level.iter().all(|r| r["due"] == r["slot"]));
        assert_eq!(of_level.iter().filter(|r| r["due"] == 0.0).count(), level);
    }
    let prompts: Vec<String> =
        read_json_lines(run.join("trace.jsonl")).iter().map(|l| l["prompt_sha256"].to_string()).collect();
    assert!(prompts.iter().all(|p| prompts.iter().filter(|q| *q == p).count() == 1), "no prompt is sent twice");

    for figure in ["vllm_benchmark_plots", "throughput", "latency_percentiles"] {
        let svg = std::fs::read_to_string(run.join(format!("plots/{figure}.svg"))).expect("drawn");
        assert!(svg.contains("closed loop"), "{figure}");
    }
    let shown = place.type_in("show latest").expect(0).stdout;
    assert!(shown.contains("In flight (closed loop):") && shown.contains("4 in flight"), "{shown}");

    // vLLM's own way to say it, and read back as what it was.
    let export = entries(run).into_iter().find(|p| p.display().to_string().contains("vllm-infqps-concurrency4-"));
    let export = export.expect("an export");
    let file = read_json(&export);
    assert_eq!((&file["request_rate"], &file["max_concurrency"]), (&"inf".into(), &4.into()));
    place.write("theirs/one.json", &file.to_string());
    let read = place.type_in("show theirs --json").expect(0).json();
    assert_eq!(read["analysis"]["arms"][0]["points"][0]["concurrency"], 4);
}

#[test]
fn prompts_are_a_list_or_a_multiple_and_nonsense_is_refused() {
    let place = Place::new();
    let plan = |line: &str| place.type_in(&format!("simple --engine sim {line} --dry-run"));
    let listed = plan("--concurrency 2,3 --num-prompts 5,7").expect(0).stdout;
    assert!(listed.contains("  2 in flight (closed loop), attempt 1: 5 requests, "), "{listed}");
    assert!(listed.contains("  3 in flight (closed loop), attempt 1: 7 requests, "), "{listed}");
    assert!(plan("--concurrency 2").expect(0).stdout.contains("20 requests"), "ten for each in flight");
    let rates = plan("--request-rate 1,2 --num-prompts 5,7").expect(0).stdout;
    assert!(
        rates.contains("1.0 req/s, attempt 1: 5 requests") || rates.contains("1 req/s, attempt 1: 5 requests"),
        "{rates}"
    );
    for (line, why) in [
        ("--concurrency 2 --request-rate 1", "--request-rate"),
        ("--concurrency 2 --duration 5", "--duration"),
        ("--concurrency 2,2", "a level stands once"),
        ("--concurrency 0", "at least 1 request"),
        ("--request-rate 1 --num-prompts 10x", "needs --concurrency"),
        ("--concurrency 1,2 --num-prompts 1,2,3", "each of the 2 points"),
    ] {
        let refused = plan(line).expect(2).stderr;
        assert!(refused.contains(why), "{line}: {refused}");
    }
}

#[test]
fn a_threshold_ends_at_the_first_level_that_misses() {
    let place = Place::new();
    // A whole request takes longer with every other one in flight: 64 of them can't keep what one keeps with ease.
    let line = "simple --concurrency 1,64,128 --num-prompts 64 --threshold tpot:0.0001 --random-output-len 64";
    let json = measured(&place, line);
    let points = json["arms"][0]["points"].as_array().expect("points").len();
    assert_eq!(points, 1, "nobody keeps a TPOT of a tenth of a microsecond: {json}");
    let run = &place.runs("random")[0];
    assert_eq!(read_json(run.join("manifest.json"))["status"], "completed");
    let args: Vec<&str> =
        "simple --concurrency 1,2 --threshold ttft:60000 --threshold-by p99".split(' ').chain(LOAD).collect();
    let told: Vec<&str> = args.into_iter().filter(|word| *word != "--json").collect();
    let text = place.topobench(&told).measured().stdout;
    assert!(
        text.contains("threshold p99 TTFT 60000 ms (simple TP1, random 64 in, 8 out) is still kept at 2 in flight"),
        "{text}"
    );
    let rates = place.type_in("simple --engine sim --request-rate 2,4 --threshold ttft:400 --dry-run").expect(0).stdout;
    assert!(rates.contains("threshold mean TTFT 400 ms: loads in rising order"), "rates climb too: {rates}");
    for (line, why) in [
        ("--concurrency 2,1 --threshold ttft:4", "loads must rise"),
        ("--threshold ttft:4", "--concurrency 1,2,5,10"),
        ("--concurrency 1 --threshold ttft", "ttft:400"),
        ("--concurrency 1 --threshold ttft:4 --threshold-by best", "p99"),
    ] {
        let refused = place.type_in(&format!("simple --engine sim {line} --dry-run")).expect(2).stderr;
        assert!(refused.contains(why), "{line}: {refused}");
    }
}

#[test]
fn two_arms_are_compared_with_as_many_in_flight() {
    let place = Place::new();
    // A hundred times as slow: nobody needs luck to see which answers more.
    let line = "ab simple:tp=1 simple:tp=1,sim-speed=0.5 --concurrency 4,8 --num-prompts 10x --order AB";
    let json = measured(&place, line);
    let ratio = &json["ratios"][0];
    assert_eq!(ratio["claim"]["kind"], "goodput_at_common_levels", "{json}");
    for (level, load) in ratio["at_common_rates"].as_array().expect("levels").iter().zip(["closed:4", "closed:8"]) {
        assert_eq!(level["rate"], load);
        assert!(level["goodput"]["ci95"][1].as_f64().expect("an end") < 1.0, "{level}");
    }
    let verdict = json["verdict"].as_str().expect("a verdict");
    assert!(verdict.starts_with("With 4 and 8 in flight (closed loop) simple TP1 answers "), "{verdict}");
    let runs: Vec<String> = place.runs("random").iter().map(|run| run.display().to_string()).collect();
    let told = place.topobench(&["compare", &runs[0], &runs[1], "--ttft-slo", "60s"]).measured().stdout;
    assert!(told.contains("in flight") && told.contains("answers/s within the limits"), "{told}");
    let comparisons = entries(&place.results().join("comparisons"));
    let page = std::fs::read_to_string(comparisons[0].join("report.html")).expect("a page");
    assert!(page.contains("Answers a second within the limits, 8 in flight (closed loop)"), "no row of it");
}
