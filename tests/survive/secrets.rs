//! Secrets show nowhere, nothing listens beyond loopback, and names are never run as commands.

use crate::kill::listening;
use crate::support::{Bench, RunDir, command_line};
use nix::sys::signal::Signal;
use std::path::Path;

const KEY: &str = "sk-survive-3f9a1c";
const TOKEN: &str = "hf_survive_77b2d0";

fn topology() -> String {
    format!(
        "name = \"kept\"\nkind = \"prefill-decode\"\nprogram = \"enginesim\"\ndevices = 8\n\
         args = [\"--max-model-len\", \"32768\", \"--sim-speed\", \"10\"]\nenv = {{ HF_TOKEN = \"{TOKEN}\" }}\n\
         [prefill]\n[decode]\n[kv]\n[defaults]\nmodel = \"qwen3-8b\"\ntokenizer = \"enginesim\"\n"
    )
}

/// Files below `dir` that contain one of the secrets.
fn leaks(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("reads").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(leaks(&path));
            continue;
        }
        let bytes = std::fs::read(&path).expect("reads");
        let holds = |secret: &str| memchr::memmem::find(&bytes, secret.as_bytes()).is_some();
        if holds(KEY) || holds(TOKEN) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn secrets_reach_the_engines_and_nothing_else() {
    let words = "run kept.toml --request-rate 40,5 --num-prompts 30 --random-input-len 32 --random-output-len 4 --num-warmups 1";
    let bench = Bench::bare(words).env("VLLM_API_KEY", KEY);
    std::fs::write(bench.dir.path().join("kept.toml"), topology()).expect("writes");
    let mut running = bench.start();
    let run = RunDir(running.dir());
    running.wait_sent(5.0, 3);
    let environ = std::fs::read(format!("/proc/{}/environ", run.engine("decode-0"))).expect("reads");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    assert!(environ.contains(&format!("HF_TOKEN={TOKEN}")) && environ.contains(&format!("VLLM_API_KEY={KEY}")));
    let pids = bench.tagged();
    assert!(pids.len() >= 5, "topobench, two guardians, two engines: {pids:?}");
    for line in pids.iter().map(|&pid| command_line(pid)) {
        assert!(!line.contains(KEY) && !line.contains(TOKEN), "{line}");
    }
    running.signal(Signal::SIGKILL);
    let finished = running.finish();
    let said = format!("{:?}{}", finished.events, finished.words);
    assert!(!said.contains(KEY) && !said.contains(TOKEN));
    assert_eq!(leaks(&bench.results()), [""; 0]);

    let manifest = run.manifest();
    assert_eq!(manifest["arm"]["deployment"]["spawn"]["env"]["HF_TOKEN"], "***");
    assert_eq!(manifest["arm"]["topology"]["env"]["HF_TOKEN"], "***");
    let without = bench.resuming(&run.0).env("VLLM_API_KEY", KEY).run();
    assert_eq!(without.code, Some(2), "{}", without.words);
    assert!(without.words.contains("set HF_TOKEN in the environment"), "{}", without.words);
    let with = bench.resuming(&run.0).env("VLLM_API_KEY", KEY).env("HF_TOKEN", TOKEN).run();
    assert_eq!(with.code, Some(0), "{}", with.words);
    assert_eq!(run.manifest()["status"], "completed");
    assert_eq!(leaks(&bench.results()), [""; 0]);
}

#[test]
fn a_dry_run_shows_masks() {
    let bench = Bench::bare("run kept.toml --dry-run --request-rate 1").env("VLLM_API_KEY", KEY);
    std::fs::write(bench.dir.path().join("kept.toml"), topology()).expect("writes");
    let as_json = bench.command();
    let words = as_json.get_args().filter(|word| *word != "--json");
    let mut as_text = std::process::Command::new(as_json.get_program());
    as_text.args(words).current_dir(bench.dir.path()).env("VLLM_API_KEY", KEY);
    for mut command in [as_text, as_json] {
        let output = command.output().expect("runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("HF_TOKEN") && said.contains("***"), "{said}");
        assert!(!said.contains(KEY) && !said.contains(TOKEN), "{said}");
    }
}

#[test]
fn secrets_among_arguments_are_refused_before_anything_is_written() {
    for flag in ["--hf-token", "--api-key"] {
        let bench = Bench::new("simple").args(&format!("--engine-arg {flag} --engine-arg {TOKEN}"));
        let finished = bench.run();
        assert_eq!(finished.code, Some(2), "{}", finished.words);
        assert!(finished.words.contains(flag) && finished.words.contains("environment"), "{}", finished.words);
        assert!(!finished.words.contains(TOKEN), "{}", finished.words);
        assert!(!bench.results().exists());
    }
    let finished = Bench::bare(&format!("simple --model m --attach http://me:{TOKEN}@127.0.0.1:9")).run();
    assert_eq!(finished.code, Some(2), "{}", finished.words);
    assert!(!finished.words.contains(TOKEN), "{}", finished.words);
}

#[test]
fn everything_listens_on_loopback_only() {
    let bench = Bench::new("nixl --prefill 2 --request-rate 5 --num-prompts 50 --random-output-len 4");
    let mut running = bench.start();
    running.wait_sent(5.0, 2);
    let sockets = listening(&bench.tagged());
    assert!(sockets.len() >= 7, "three engines, their side channels, the proxy: {sockets:?}");
    assert!(sockets.iter().all(|s| s.ip().is_loopback()), "{sockets:?}");
}

#[test]
fn no_shell_reads_a_name_and_no_name_leaves_the_results() {
    let name = "../../x; touch pwned $(touch pwned) `touch pwned` 'q\" & \u{e9}";
    let bench = Bench::new("nixl --request-rate 40 --num-prompts 5 --random-output-len 4");
    let bench = bench.arg("--served-model-name").arg(name);
    let finished = bench.run();
    assert_eq!(finished.code, Some(0), "{}", finished.words);
    assert_eq!(RunDir(finished.dir()).point(40.0)["status"], "measured");
    assert!(finished.dir().starts_with(bench.results().join("random")), "{}", finished.dir().display());
    let beside: Vec<_> = std::fs::read_dir(bench.dir.path()).expect("reads").flatten().map(|e| e.file_name()).collect();
    assert_eq!(beside, ["results"], "nothing came to be outside of the results");
    let named = Bench::new("simple").arg("--name").arg(name).run();
    assert_eq!(named.code, Some(2), "a directory's name is refused, and not changed: {}", named.words);
    let awkward = |name: &str| !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    for entry in std::fs::read_dir(finished.dir()).expect("reads").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        assert!(!awkward(&name), "{name}");
    }
}
