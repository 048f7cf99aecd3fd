//! `--help` names what a command reads from the environment.

use crate::support::Place;

#[test]
fn every_command_names_its_environment_variables() {
    let sizes = ["NUM_PREFILL_INSTANCES", "NUM_DECODE_INSTANCES", "PREFILLER_TP_SIZE", "DECODER_TP_SIZE"];
    let slo = ["TTFT_SLO", "TPOT_SLO", "TARGET_ATTAINMENT"];
    let measuring =
        ["GPU_MEMORY_UTILIZATION", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "VLLM_API_KEY", "OPENAI_API_KEY"];
    let (tp, plots) = ("TENSOR_PARALLEL_SIZE", "PLOT_OUTPUT_DIR");
    let all = |groups: &[&[&'static str]]| groups.concat();
    let commands: [(&str, Vec<&str>); 11] = [
        ("", all(&[&sizes, &slo, &measuring, &[tp, plots, "NO_COLOR"]])),
        ("simple", all(&[&slo, &measuring, &[tp]])),
        ("nixl", all(&[&slo, &measuring, &sizes])),
        ("run", all(&[&slo, &measuring])),
        ("ab", all(&[&slo, &measuring, &sizes, &[tp, plots]])),
        ("compare", all(&[&slo, &[plots]])),
        ("plot", all(&[&slo, &[plots]])),
        ("show", all(&[&slo])),
        ("list", vec!["Environment:"]),
        ("doctor", vec!["CUDA_VISIBLE_DEVICES", "VLLM_API_KEY"]),
        ("proxy", vec!["Environment:"]),
    ];
    let place = Place::new();
    for (command, variables) in commands {
        let ended = place.type_in(&format!("{command} --help")).expect(0);
        assert_eq!(ended.stderr, "");
        for variable in variables {
            assert!(ended.stdout.contains(variable), "{command} --help says nothing of {variable}:\n{}", ended.stdout);
        }
    }
}

#[test]
fn help_says_what_exit_codes_mean() {
    let help = Place::new().type_in("--help").expect(0).stdout;
    for meaning in
        ["0 good", "1 internal", "2 usage", "3 launch failed", "4 a point failed", "5 gate missed", "130 interrupted"]
    {
        assert!(help.replace('\n', " ").contains(meaning), "{meaning}:\n{help}");
    }
}

#[test]
fn versions_are_told() {
    let place = Place::new();
    let short = format!("topobench {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(place.type_in("-V").expect(0).stdout, format!("{short}\n"));
    let told = place.type_in("--version").expect(0).stdout;
    let (build, features) = told.split_once('\n').expect("two lines");
    assert!(build.starts_with(&format!("{short} (")) && build.ends_with(')'), "{told}");
    assert!(features.starts_with("features: "), "{told}");
}

#[test]
fn every_command_gets_a_manual_page() {
    let place = Place::new();
    place.type_in("man pages/man1").expect(0);
    let page = |name: &str| std::fs::read_to_string(place.path().join(format!("pages/man1/{name}.1"))).expect("a page");
    assert!(page("topobench").contains("topobench\\-compare(1)"), "{}", page("topobench"));
    assert!(page("topobench-nixl").contains("prefill\\-url"), "{}", page("topobench-nixl"));
    assert!(page("topobench-ab").contains("GPU_MEMORY_UTILIZATION"));
}

#[test]
fn shells_get_completions_for_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.type_in(&format!("completions {shell}")).expect(0).stdout;
        for word in ["nixl", "compare", "prefill-url", "older-than"] {
            assert!(script.contains(word), "{shell} completes no {word}");
        }
    }
    let refused = place.type_in("completions dos").expect(2).stderr;
    assert!(refused.contains("bash") && refused.contains("fish"), "{refused}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::new();
    let bin = env!("CARGO_BIN_EXE_topobench");
    let piped = format!("'{bin}' completions bash | head -n 1 >&2; echo ${{PIPESTATUS[0]}}");
    let ended = crate::support::run(place.command("bash").args(["-c", &piped])).expect(0);
    assert_eq!(ended.stdout, "0\n");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let place = Place::new();
    let full = format!("'{}' completions bash > /dev/full", env!("CARGO_BIN_EXE_topobench"));
    let ended = crate::support::run(place.command("bash").args(["-c", &full])).expect(1);
    assert!(ended.stderr.starts_with("error: cannot write to stdout"), "{}", ended.stderr);
}
