//! The preset that was fitted to measured runs, compared with them and with an arm that was held out.

use std::path::PathBuf;
use std::process::Command;

/// Runs in results/curated.
fn run(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results/curated/h100x2-qwen3-8b").join(name)
}

/// Arm, whether it was held out, and the predicted crossing over the measured one minus 1, in percent.
fn errors(text: &str) -> Vec<(String, bool, f64)> {
    let mut found = Vec::new();
    let mut arm = None;
    for line in text.lines() {
        if line.contains("predicted/measured") {
            arm = line.split(' ').next().map(|name| (name.to_string(), line.contains("(held out)")));
        } else if let (Some((name, held_out)), true) = (&arm, line.contains("crosses")) {
            let percent = line.rsplit(": ").next().and_then(|tail| tail.trim_end_matches(" %").parse().ok());
            found.push((name.clone(), *held_out, percent.unwrap_or_else(|| panic!("a number ends `{line}`"))));
        }
    }
    found
}

#[test]
fn an_arm_that_the_fit_never_saw_crosses_within_a_tenth_of_where_it_was_measured() {
    let output = Command::new(env!("CARGO_BIN_EXE_topobench"))
        .args(["calibrate", "--as-is", "--gpu", "h100-vllm-0.22", "--goodput", "ttft:250", "tpot:10", "--target", "90"])
        .args([run("simple_20261122_002652"), run("nixl_20261122_001955")])
        .arg("--hold-out")
        .arg(run("simple_20261122_024512"))
        .output()
        .expect("enginesim runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let errors = errors(&text);
    let arms: Vec<_> = errors.iter().map(|(arm, held_out, _)| (arm.as_str(), *held_out)).collect();
    assert_eq!(arms, [("TP2", false), ("1P1D", false), ("2xTP1", true)], "{text}");
    assert!(errors.iter().all(|(.., percent)| percent.abs() < 10.0), "{text}");
}

#[test]
fn a_directory_that_is_no_run_is_named() {
    let topobench = Command::new(env!("CARGO_BIN_EXE_topobench")).args(["calibrate", "/nowhere"]).output();
    let output = topobench.expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("/nowhere"), "{text}");
}
