//! `topobench best`: candidates before anything is spent, a race on simulated engines, its answer, and asking again.

use crate::support::{Ended, Place, entries, read_json};
use serde_json::Value;
use std::sync::OnceLock;

/// A race in less than a minute: little KV memory, which is used once soon, and short points.
const FAST: &str = "best --gpus 2 --engine sim --engine-arg=--sim-start-delay=0 \
                    --engine-arg=--gpu-memory-utilization=0.3 --goodput ttft:300 tpot:8 --point 2 --tune off";

fn labels(dry: &Value, raced: bool) -> Vec<String> {
    let all = dry["candidates"].as_array().expect("candidates").iter();
    all.filter(|c| c["raced"] == raced).filter_map(|c| c["label"].as_str().map(str::to_string)).collect()
}

#[test]
fn a_dry_run_lists_every_ratio_of_eight_gpus_and_races_a_dozen_at_most() {
    let place = Place::new();
    let line = "best --gpus 8 --engine sim --dry-run --json --tune off --random-input-len 128 --random-output-len 8";
    let dry = place.type_in(line).expect(0).json();
    let (raced, others) = (labels(&dry, true), labels(&dry, false));
    let all: Vec<&String> = raced.iter().chain(&others).collect();
    for p in 1..8 {
        let ratio = format!("nixl {p}P{}D", 8 - p);
        assert!(all.contains(&&ratio), "{ratio} in {all:?}");
    }
    assert!((2..=12).contains(&raced.len()), "{raced:?}");
    assert!(raced.iter().any(|c| c.starts_with("simple")) && raced.iter().any(|c| c.starts_with("nixl")), "{raced:?}");
    let unexplained = dry["candidates"].as_array().expect("candidates").iter();
    assert!(unexplained.filter(|c| c["raced"] == false).all(|c| c["why_not"].is_string()));
    assert!(
        dry["gpu_minutes"].as_f64().expect("minutes") > 0.0 && !dry["launches"].as_array().expect("all").is_empty()
    );
    assert!(!place.results().exists(), "nothing was written");
}

#[test]
fn a_dry_run_reads_as_text() {
    let place = Place::new();
    let line = "best --gpus 2 --engine sim --dry-run --budget 10m --random-input-len 128 --random-output-len 8";
    let text = place.type_in(line).expect(0).stdout;
    for words in
        ["Which deployment of 2 GPUs", "not measured", "nixl 1P1D", "simple TP2", "GPU-minutes", "of the 10 min"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// A finished race that several tests look at.
fn raced() -> &'static (Place, Ended) {
    static RACED: OnceLock<(Place, Ended)> = OnceLock::new();
    RACED.get_or_init(|| {
        // A target from the environment.
        let place = Place::new().with("TARGET_ATTAINMENT", "88");
        let ended = place.type_in(&format!("{FAST} --budget 40s")).expect(0);
        (place, ended)
    })
}

fn race(place: &Place) -> std::path::PathBuf {
    entries(&place.results().join("best")).pop().expect("a race")
}

#[test]
fn a_race_names_a_winner_with_its_command_and_reasons() {
    let (place, ended) = raced();
    let best = read_json(race(place).join("best.json"));
    let winner = &best["winner"];
    let sentence = winner["sentence"].as_str().expect("a sentence");
    assert!(ended.stdout.starts_with(sentence), "{}", ended.stdout);
    let candidates = best["candidates"].as_array().expect("candidates");
    let of_winner = candidates.iter().find(|c| c["label"] == winner["label"]).expect("it took part");
    assert!(of_winner["dropped"].is_null() && of_winner["measured"]["points"].as_u64() > Some(0), "{of_winner}");
    assert!(winner["command"].as_str().expect("a command").starts_with("topobench run "), "{winner}");
    for other in candidates.iter().filter(|c| c["label"] != winner["label"]) {
        assert!(other["dropped"]["why"].as_str().is_some_and(|why| !why.is_empty()), "{other}");
    }
    let measured =
        |kind: &str| candidates.iter().any(|c| c["kind"] == kind && c["measured"]["points"].as_u64() > Some(0));
    assert!(measured("simple") && measured("nixl"), "{candidates:?}");
    assert!(best["budget"]["spent"].as_f64() > Some(0.0) && best["budget"]["gpu_minutes"].as_f64() > Some(0.0));
    let answers = &winner["same_answers"];
    assert!(answers["of"] == 4 && answers["same"] == 4, "the simulated engines answer alike: {winner}");
    let defaults = candidates.iter().find(|c| c["label"] == answers["defaults"]).expect("it took part");
    assert!(!defaults["measured"].is_null() && answers["defaults"] != winner["label"], "{answers}");
    for file in ["race.svg", "report.html"] {
        assert!(race(place).join(file).is_file(), "{file}");
    }
    assert!(
        ended.stdout.contains("GPU-minutes")
            && ended.stdout.contains("--kv-transfer-config") == sentence.starts_with("nixl")
    );
}

#[test]
fn the_winners_command_is_one_that_can_be_typed() {
    let (place, _) = raced();
    let best = read_json(race(place).join("best.json"));
    let command = best["winner"]["command"].as_str().expect("a command");
    // Quotes are the shell's.
    let line = command.strip_prefix("topobench ").expect("ours").replace('\'', "");
    assert!(line.contains("--target 88"), "what the environment said stands in it: {line}");
    place.type_in(&format!("{line} --dry-run")).expect(0);
}

#[test]
fn the_same_runs_answer_another_slo_and_say_what_they_do_not_tell() {
    let (place, _) = raced();
    let before = std::fs::read(race(place).join("best.json")).expect("best.json");
    let anew = place.type_in("best --judge latest --ttft-slo 9s --tpot-slo 9s --need 100000").expect(0).stdout;
    assert!(anew.contains("TTFT 9000 ms") && anew.contains("predicted"), "{anew}");
    assert!(anew.contains("not known:") || anew.contains("extrapolated"), "{anew}");
    assert_eq!(std::fs::read(race(place).join("best.json")).expect("best.json"), before, "the race's own answer stays");
    place.type_in("best --judge 1999").expect(2);
}

#[test]
fn a_race_that_lost_what_it_measured_has_no_other_answer() {
    let (place, _) = raced();
    let copy = Place::new();
    let best = copy.path().join("race");
    let copied = std::process::Command::new("cp").arg("-r").arg(race(place)).arg(&best).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let candidates = read_json(best.join("best.json"))["candidates"].as_array().expect("candidates").clone();
    let measured = candidates.iter().find(|c| c["measured"].is_object()).expect("one that was measured");
    std::fs::remove_dir_all(best.join("candidates").join(measured["dir"].as_str().expect("a directory")))
        .expect("gone");
    let refused = copy.type_in("best --judge race").expect(2).stderr;
    assert!(refused.contains(measured["label"].as_str().expect("a label")) && refused.contains("hint: "), "{refused}");
}

#[test]
fn a_race_that_was_killed_goes_on_where_it_was() {
    let place = Place::new();
    let mut child = place
        .command(env!("CARGO_BIN_EXE_topobench"))
        .args(FAST.split_whitespace())
        .args(["--budget", "40s"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let points = || -> usize {
        let races = entries(&place.results().join("best"));
        let runs = races.iter().flat_map(|race| entries(&race.join("candidates")));
        let manifests = runs.filter_map(|run| std::fs::read(run.join("manifest.json")).ok());
        let parsed = manifests.filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        parsed.map(|m| m["points"].as_array().map_or(0, Vec::len)).sum()
    };
    kit::eventually("a point is measured", || (points() >= 1).then_some(()));
    child.kill().expect("killed");
    child.wait().expect("ended");
    let measured = points();
    place.type_in("best --resume latest").expect(0);
    assert!(points() > measured, "it went on");
    assert!(read_json(race(&place).join("best.json"))["winner"]["label"].is_string());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    for (line, word) in [
        ("best --engine sim", "--gpus"),
        ("best --gpus 1 --engine sim --shapes nixl --dry-run", "prefill/decode"),
        ("best --gpus 2 --engine sim --preset none --dry-run", "preset"),
        ("best --gpus 2 --engine sim --tune nowhere.toml --dry-run", "nowhere.toml"),
        ("best --gpus 0 --engine sim --dry-run", "--gpus"),
        ("best --resume latest", "latest"),
        ("best --resume latest --gpus 2", "--gpus"),
        ("best --gpus 2 --engine sim --point 0 --dry-run", "--point"),
    ] {
        let ended = place.type_in(line).expect(2);
        assert!(ended.stderr.contains(word), "{line}: {}", ended.stderr);
    }
}
