//! `--resume` after a kill at any moment, at any byte: what was finished stays as it is, the rest is measured as if
//! nothing had happened.

use crate::support::{Bench, RunDir, count, read_json_lines};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RATES: [f64; 3] = [40.0, 41.0, 42.0];
const SWEEP: &str = "--request-rate 40,41,42 --num-prompts 15 --random-output-len 4";

/// The lines of a file that belong to these rates, unchanged.
fn lines_of(file: &Path, rates: &[f64]) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let keep = |line: &&str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        rates.iter().any(|rate| line["rate"] == *rate)
    };
    whole.filter(keep).map(str::to_string).collect()
}

/// The rates whose points the manifest calls finished.
fn finished_rates(run: &Path) -> Vec<f64> {
    let points = RunDir(run.to_path_buf()).manifest()["points"].clone();
    points.as_array().expect("points").iter().filter_map(|p| p["rate"].as_f64()).collect()
}

/// Names of everything in a run, without time stamps.
fn files_of(run: &Path) -> BTreeSet<String> {
    let stamp = |name: String| name.split(|c: char| c.is_ascii_digit()).collect::<String>();
    let mut names = BTreeSet::new();
    for dir in ["", "logs"] {
        let entries = std::fs::read_dir(run.join(dir)).expect("reads").flatten();
        names.extend(entries.map(|e| format!("{dir}/{}", stamp(e.file_name().to_string_lossy().into_owned()))));
    }
    names
}

/// An undisturbed run: what every resumed one must look like in the end.
struct Reference {
    bench: Bench,
    dir: PathBuf,
}

impl Reference {
    fn measure(words: &str) -> Self {
        let bench = Bench::new(words).args(SWEEP);
        let finished = bench.run();
        assert_eq!(finished.all("point_finished").count(), RATES.len(), "{}", finished.words);
        Reference { dir: finished.dir(), bench }
    }

    fn assert_same(&self, run: &Path) {
        assert_eq!(files_of(run), files_of(&self.dir));
        let exports = std::fs::read_dir(run).expect("reads").flatten().map(|e| e.file_name());
        let exports = exports.filter(|name| name.to_string_lossy().starts_with("vllm-"));
        assert_eq!(exports.count(), RATES.len(), "one export a point, however often it was begun");
        let trace = |dir: &Path| lines_of(&dir.join("trace.jsonl"), &RATES);
        assert_eq!(trace(run), trace(&self.dir), "the same requests, in the same order");
        let run = RunDir(run.to_path_buf());
        let manifest = run.manifest();
        assert_eq!((&manifest["status"], &manifest["reason"]), (&Value::from("completed"), &Value::Null));
        assert_eq!(finished_rates(&run.0).len(), RATES.len());
        for rate in RATES {
            assert_eq!(run.point(rate)["status"], "measured", "{}", run.point(rate));
            let requests = run.requests(rate);
            let indices: BTreeSet<_> = requests.iter().filter_map(|r| r["index"].as_u64()).collect();
            assert_eq!((requests.len(), indices.len(), count(&requests, "completed")), (15, 15, 15));
        }
        assert_samples_count_from_the_runs_beginning(&run);
    }
}

/// However many processes took samples, they make one series that covers the points' wall times.
fn assert_samples_count_from_the_runs_beginning(run: &RunDir) {
    let lines = read_json_lines(run.0.join("engine-metrics.jsonl"));
    let at: Vec<f64> = lines.iter().filter_map(|line| line["at"].as_f64()).collect();
    assert!(at.windows(2).all(|pair| pair[1] > pair[0] - 1.0), "{at:?}");
    let manifest = run.manifest();
    let wall = |time: &Value| chrono::DateTime::parse_from_rfc3339(time.as_str().expect("a time")).expect("RFC 3339");
    let last = wall(&run.point(RATES[2])["started_at"]) - wall(&manifest["created_at"]);
    let (latest, began) = (at.iter().copied().fold(0.0, f64::max), last.as_seconds_f64());
    // There is a sample every second, but the machine may be busy.
    assert!((latest - began).abs() < 10.0, "the last sample at {latest} s, the last point began at {began} s");
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_if_it_never_had_been() {
    let reference = Reference::measure("nixl");
    let first = Bench::new("nixl").args(SWEEP);
    let mut running = first.start();
    let run = running.dir();
    let again = first.resuming(&run);
    let mut kept: Vec<String> = Vec::new();
    for _ in 0..10 {
        // Anywhere from the launch to beyond the end.
        std::thread::sleep(Duration::from_millis(rand::random_range(0..1800)));
        running.signal(Signal::SIGKILL);
        running.finish();
        let now = lines_of(&run.join("requests.jsonl"), &finished_rates(&run));
        assert!(kept.iter().all(|line| now.contains(line)), "finished points stay byte for byte");
        kept = now;
        running = again.start();
    }
    let finished = running.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.words);
    assert_eq!((first.left_after(Duration::from_secs(5)).len(), again.left_after(Duration::ZERO).len()), (0, 0));
    reference.assert_same(&run);
    let now = lines_of(&run.join("requests.jsonl"), &RATES);
    assert!(kept.iter().all(|line| now.contains(line)));
}

/// A run as a kill leaves it when the last point was being measured and `written` bytes of its lines were on disk.
fn cut(reference: &Reference, bench: &Bench, unfinished: f64, written: usize) -> PathBuf {
    let run = bench.results().join("random").join("nixl_20260101_120000");
    std::fs::create_dir_all(run.join("logs")).expect("creates");
    for file in ["manifest.json", "requests.jsonl", "trace.jsonl", "engine-metrics.jsonl"] {
        std::fs::copy(reference.dir.join(file), run.join(file)).expect("copies");
    }
    let mut manifest = RunDir(run.clone()).manifest();
    manifest["status"] = "incomplete".into();
    manifest["points"].as_array_mut().expect("points").retain(|p| p["rate"] != unfinished);
    std::fs::write(run.join("manifest.json"), manifest.to_string()).expect("writes");
    for file in ["requests.jsonl", "trace.jsonl"] {
        let path = run.join(file);
        let others: Vec<f64> = RATES.into_iter().filter(|r| *r != unfinished).collect();
        let lost = lines_of(&path, &[unfinished]).concat();
        let left = lines_of(&path, &others).concat() + &lost[..written.min(lost.len())];
        std::fs::write(path, left).expect("writes");
    }
    // What else a kill can leave: half a sample, half a manifest under its temporary name.
    let samples = std::fs::read(run.join("engine-metrics.jsonl")).expect("reads");
    std::fs::write(run.join("engine-metrics.jsonl"), &samples[..samples.len() - 7]).expect("writes");
    std::fs::write(run.join(".Xy12Ab.tmp"), "{\"version\":").expect("writes");
    run
}

#[test]
fn a_kill_at_any_byte_of_the_journal_costs_only_the_unfinished_point() {
    let reference = Reference::measure("nixl");
    let length = lines_of(&reference.dir.join("requests.jsonl"), &[42.0]).concat().len();
    let anywhere = rand::random_range(1..length);
    for written in [0, anywhere, length - 1, length] {
        let bench = Bench::bare("list");
        let run = cut(&reference, &bench, 42.0, written);
        let before = lines_of(&run.join("requests.jsonl"), &[40.0, 41.0]);
        let finished = bench.resuming(&run).run();
        assert_eq!(finished.code, Some(0), "{written} of {length} bytes: {}", finished.words);
        assert_eq!(finished.all("point_finished").count(), 1, "only the unfinished point is measured");
        assert_eq!(lines_of(&run.join("requests.jsonl"), &[40.0, 41.0]), before);
        reference.assert_same(&run);
    }
}

#[test]
fn a_complete_run_is_left_alone() {
    let reference = Reference::measure("simple");
    let manifest = std::fs::read(reference.dir.join("manifest.json")).expect("reads");
    let bench = reference.bench.resuming(&reference.dir);
    let finished = bench.run();
    assert_eq!(finished.code, Some(0), "{}", finished.words);
    assert!(finished.words.contains("is complete: nothing is left to be measured"), "{}", finished.words);
    assert_eq!(finished.all("launching").count(), 0);
    let shown: Value = serde_json::from_str(&finished.stdout).expect("its results, as JSON");
    assert_eq!(shown["arms"][0]["points"].as_array().map(Vec::len), Some(RATES.len()));
    assert_eq!(std::fs::read(reference.dir.join("manifest.json")).expect("reads"), manifest);
}

#[test]
fn a_changed_dataset_is_refused_before_anything_is_touched() {
    let first = Bench::new("simple --request-rate 40,5 --num-prompts 20 --output-len 4 --dataset-name custom");
    let dataset = first.dir.path().join("prompts.jsonl");
    let write = |word: &str| {
        let line = |n| format!("{{\"prompt\": \"{word} number {n}, at some length so that it is long enough\"}}\n");
        std::fs::write(&dataset, (0..30).map(line).collect::<String>()).expect("writes");
    };
    write("question");
    let first = first.arg("--dataset-path").arg(&dataset.display().to_string());
    let mut running = first.start();
    let run = running.dir();
    running.wait_sent(5.0, 2);
    running.signal(Signal::SIGKILL);
    running.finish();
    let journal = std::fs::read(run.join("requests.jsonl")).expect("reads");
    write("riddle");
    let finished = first.resuming(&run).run();
    assert_eq!(finished.code, Some(2), "{}", finished.words);
    assert!(finished.words.contains("dataset custom") && finished.words.contains("has changed"), "{}", finished.words);
    assert_eq!(finished.all("launching").count(), 0);
    assert_eq!(std::fs::read(run.join("requests.jsonl")).expect("reads"), journal);
    write("question");
    let finished = first.resuming(&run).run();
    assert_eq!(finished.code, Some(0), "{}", finished.words);
    assert_eq!(RunDir(run).manifest()["status"], "completed");
}

#[test]
fn a_run_has_one_writer() {
    let first = Bench::new("simple --request-rate 5 --num-prompts 60 --random-output-len 4");
    let mut running = first.start();
    let run = running.dir();
    running.wait_sent(5.0, 2);
    let second = first.resuming(&run).run();
    assert_eq!(second.code, Some(2), "{}", second.words);
    assert!(second.words.contains("is being written by another topobench"), "{}", second.words);
    let first_on = running.wait("point_progress", |_| true);
    assert_eq!(first_on["failed"], 0, "the first goes on undisturbed");
}

#[test]
fn what_is_given_beside_resume_is_refused_and_not_ignored() {
    let first = Bench::new("simple --request-rate 40 --num-prompts 5 --random-output-len 4");
    let finished = first.run();
    let again = first.resuming(&finished.dir()).args("--request-rate 1,2 --seed 7").run();
    assert_eq!(again.code, Some(2));
    let words = &again.words;
    assert!(words.contains("--request-rate, --seed beside --resume"), "{words}");
}
