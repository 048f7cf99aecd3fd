//! GPUs that somebody else uses, and memory that stays allocated. The driver is a fake; everything else is real.

use crate::support::{Bench, RunDir, compiled};

const FEW: &str = "--request-rate 40 --num-prompts 5 --random-input-len 32 --random-output-len 4 --num-warmups 1";

/// A machine with two GPUs, used as these lines say, and a pair of engines that take one GPU each. An engine runs
/// `script` first; `$GPUS_OF_TEST/0` lists who uses the first GPU.
fn bench(held: [&str; 2], script: &str) -> Bench {
    let engine = kit::enginesim!().display().to_string();
    let bench = Bench::with_engine(&format!("{script}\nexec {engine} \"$@\" --sim-speed 10"), FEW);
    bench.write_topology_with(&bench.dir.path().join("engine").display().to_string(), "");
    let gpus = bench.dir.path().join("gpus");
    std::fs::create_dir(&gpus).expect("creates");
    for (index, held) in held.iter().enumerate() {
        std::fs::write(gpus.join(index.to_string()), held).expect("writes");
    }
    let driver = compiled(bench.dir.path(), "nvml.rs", "libnvidia-ml.so.1");
    let driver = driver.parent().expect("a directory").to_path_buf();
    bench.env("GPUS_OF_TEST", &gpus.display().to_string()).env("LD_LIBRARY_PATH", &driver.display().to_string())
}

#[test]
fn a_gpu_in_use_is_refused_with_pid_and_command() {
    let me = std::process::id();
    let bench = bench(["", &format!("{me} 500\n")], "");
    let finished = bench.run();
    assert_eq!(finished.code, Some(3), "{}", finished.words);
    let words = &finished.words;
    assert!(words.contains(&format!("GPU 1 is in use by pid {me} (")) && words.contains("survive"), "{words}");
    assert_eq!(finished.all("engine_progress").count(), 0, "no engine was started");
}

#[test]
fn a_gpu_whose_memory_is_held_by_nobody_to_be_seen_is_refused() {
    let bench = bench(["0 3072\n", ""], "");
    let finished = bench.run();
    assert_eq!(finished.code, Some(3), "{}", finished.words);
    assert!(
        finished.words.contains("3 GiB of GPU 0 are held by processes that this user can't see"),
        "{}",
        finished.words
    );
}

#[test]
fn memory_that_is_not_given_back_is_told_with_its_size_and_holder() {
    // Each engine holds 9000 MiB of its GPU. Meanwhile a process that outlives them takes memory of the first.
    let me = std::process::id();
    let script = format!(
        "case \"$@\" in *kv_producer*) printf '%s\\n' \"$$ 9000\" '{me} 700' > \"$GPUS_OF_TEST/0\";; \
         *) echo \"$$ 9000\" > \"$GPUS_OF_TEST/1\";; esac"
    );
    let bench = bench(["", ""], &script);
    let finished = bench.run();
    assert_eq!(finished.code, Some(0), "what was measured is good: {}", finished.words);
    let warned: Vec<_> = finished.all("warning").map(|e| e["text"].as_str().unwrap_or("").to_string()).collect();
    let told = format!("GPU 0 holds 700 MiB more than before the engines came, used by pid {me} (");
    assert_eq!(warned.iter().filter(|w| w.contains("MiB")).count(), 1, "GPU 1 is free again: {warned:?}");
    assert!(warned.iter().any(|w| w.contains(&told)), "{warned:?}");
    let manifest = RunDir(finished.dir()).manifest();
    assert!(manifest["warnings"].to_string().contains(&told), "{}", manifest["warnings"]);
    assert_eq!(manifest["gpus"][0]["name"], "GPU of a test");
}
