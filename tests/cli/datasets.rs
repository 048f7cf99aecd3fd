//! Datasets: what is said of them before and after a run.

use crate::support::Place;

/// Rows of some sixty tokens each: several blocks of a prefix cache.
fn rows(count: usize) -> String {
    let row = |i: usize| {
        let words: Vec<String> = (0..60).map(|w| format!("word{}", (i * 61 + w * 7) % 997)).collect();
        format!("{{\"prompt\": \"{}\", \"output_tokens\": 8}}\n", words.join(" "))
    };
    (0..count).map(row).collect()
}

#[test]
fn fewer_prompts_than_requests_are_told_everywhere_and_doubted() {
    let place = Place::new();
    place.write("three.jsonl", &rows(3));
    let ended = place.measure("simple --dataset-name custom --dataset-path three.jsonl").expect(4);
    assert!(ended.stderr.contains("the run needs 12 prompts and the dataset has 3"), "{}", ended.stderr);
    let json = ended.json();
    let points = json["arms"][0]["points"].as_array().expect("points").clone();
    for point in &points {
        assert_eq!(point["valid"], false, "{point}");
        assert!(point["why"].to_string().contains("had been sent before"), "{point}");
    }
    let run = place.runs("custom").remove(0);
    let again = place.type_in(&format!("compare {0} {0}", run.display())).expect(4);
    assert!(again.stdout.contains("had been sent before"), "{}", again.stdout);
    let report = std::fs::read_to_string(run.join("report.html")).expect("a report");
    assert!(report.contains("had been sent before"));
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let place = Place::new();
    nix::unistd::mkfifo(&place.path().join("pipe.jsonl"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    for path in ["pipe.jsonl", "/dev/zero"] {
        for name in ["custom", "sharegpt", "timed_trace", "hf"] {
            let line = format!("simple --engine sim --dry-run --dataset-name {name} --dataset-path {path}");
            let ended = place.type_in(&line).expect(2);
            assert!(ended.stderr.contains("and a file is needed"), "{name} {path}: {}", ended.stderr);
        }
        place.type_in(&format!("simple --engine sim --dry-run --tokenizer {path}")).expect(2);
        place.type_in(&format!("run {path} --dry-run")).expect(2);
    }
}

#[test]
fn rows_that_are_skipped_are_told_with_their_numbers() {
    let place = Place::new();
    place.write("some.jsonl", &format!("{}not json\n{{\"x\": 1}}\n", rows(30)));
    let line = "simple --engine sim --dry-run --num-prompts 5 --request-rate 1 --dataset-name custom --dataset-path some.jsonl";
    let ended = place.type_in(line).expect(0);
    assert!(
        ended.stderr.contains("some.jsonl: 2 of 32 rows were skipped (line 31: it is not JSON"),
        "{}",
        ended.stderr
    );
}
