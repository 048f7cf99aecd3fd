//! `list --keep` and `--older-than` ask first, and leave alone what topobench did not make.

use crate::support::{Place, entries, recorded, run, run_with_input};

/// A run of topobench with this status.
fn ended(place: &Place, name: &str, status: &str) {
    let template = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/runs/manifest.json"));
    let text = template.expect("fixture").replace("@status@", status);
    let text = text.replace("@name@", if name.contains("/nixl") { "nixl" } else { "simple" });
    place.write(&format!("results/{name}/manifest.json"), &text);
    place.write(&format!("results/{name}/requests.jsonl"), "");
}

fn place() -> Place {
    let place = Place::new();
    for day in 1..=4 {
        ended(&place, &format!("random/simple_2026110{day}_080000"), "completed");
    }
    ended(&place, "random/nixl_20261101_080000", "incomplete");
    ended(&place, "curated/nixl_20261101_090000", "completed");
    let others = std::fs::read_to_string(format!("{}/tp2-2qps.json", recorded("simple"))).expect("fixture");
    place.write("results/sharegpt/simple_20261101_100000/a.json", &others);
    place
}

fn left(place: &Place) -> Vec<String> {
    let groups = entries(&place.results());
    let runs = groups.iter().flat_map(|g| entries(g));
    runs.filter_map(|r| r.strip_prefix(place.results()).ok()?.to_str().map(str::to_string)).collect()
}

const SPARED: [&str; 3] =
    ["curated/nixl_20261101_090000", "random/nixl_20261101_080000", "sharegpt/simple_20261101_100000"];

#[test]
fn without_a_terminal_nothing_is_removed_unless_told() {
    let place = place();
    let all = left(&place);
    let ended = place.type_in("list --keep 2").expect(2);
    assert!(ended.stderr.contains("--yes") && ended.stderr.contains("2 runs"), "{}", ended.stderr);
    let mut command = place.command(env!("CARGO_BIN_EXE_topobench"));
    run_with_input(command.args(["list", "--keep", "2"]), "y\n").expect(2);
    assert_eq!(left(&place), all);
}

#[test]
fn the_newest_are_kept_and_the_rest_is_removed() {
    let place = place();
    let ended = place.type_in("list --keep 2 --yes").expect(0);
    assert_eq!(ended.stdout.matches(" files, ").count(), 2, "what went is listed: {}", ended.stdout);
    assert!(ended.stderr.starts_with("removed 2 runs, "), "{}", ended.stderr);
    let kept = ["random/simple_20261103_080000", "random/simple_20261104_080000"];
    let expected: std::collections::BTreeSet<_> = SPARED.into_iter().chain(kept).collect();
    assert_eq!(left(&place).iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), expected);
    let again = place.type_in("list --keep 2 --yes").expect(0);
    assert_eq!(again.stderr, "nothing to remove\n");
}

#[test]
fn age_and_filters_choose_and_unfinished_runs_go_only_by_name() {
    let place = place();
    place.type_in("list --mode simple --older-than 2026-11-03 --yes").expect(0);
    let gone = |name: &str| !place.results().join(name).exists();
    assert!(gone("random/simple_20261101_080000") && gone("random/simple_20261102_080000"));
    assert!(!gone("random/simple_20261103_080000"));
    assert!(SPARED.iter().all(|name| !gone(name)));
    place.type_in("list --status incomplete --older-than 2026-11-03 --yes").expect(0);
    assert!(gone("random/nixl_20261101_080000"));
    place.type_in("list --older-than 1m --keep 100 --yes").expect(0);
    assert!(!gone("random/simple_20261103_080000"), "both conditions count");
}

#[test]
fn at_a_terminal_the_answer_decides_and_no_is_the_default() {
    let place = place();
    let all = left(&place);
    let answer = |answer: &str| {
        let ask = format!(
            "printf '{answer}\\n' | script -qec \"'{}' list --keep 2\" /dev/null",
            env!("CARGO_BIN_EXE_topobench")
        );
        run(place.command("bash").args(["-c", &ask])).expect(0).stdout
    };
    for word in ["", "n", "yeah"] {
        let said = answer(word);
        assert!(
            said.contains("remove 2 runs") && said.contains("[y/N]") && said.contains("nothing was removed"),
            "{said}"
        );
        assert_eq!(left(&place), all);
    }
    assert!(answer("y").contains("removed 2 runs"));
    assert_eq!(left(&place).len(), all.len() - 2);
}
