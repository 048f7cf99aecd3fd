//! Any bytes as a dataset's file, under every name that people give theirs: read or refused in words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use topobench::plan::dataset::Dataset;
use topobench::plan::load::{Extent, Load, Workload};
use topobench::plan::workload::{PrepareContext, PreparedWorkload};
use topobench::units::{RequestRate, TokenCount};

static DIR: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("topobench-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
});

const NAMES: [&str; 6] = ["d.json", "d.jsonl", "d.csv", "d.txt", "d.parquet", "d.json.gz"];

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (name, kind, bytes) = input;
    let path = DIR.join(NAMES[usize::from(name) % NAMES.len()]);
    std::fs::write(&path, bytes).expect("written");
    let path = path.display().to_string();
    let output_len = Some(TokenCount(4));
    let dataset = match kind % 5 {
        0 => Dataset::Sharegpt { path: path.clone(), output_len, multi_turn: None },
        1 => Dataset::Sharegpt { path: path.clone(), output_len: None, multi_turn: Some(2) },
        2 => Dataset::Custom { path: path.clone(), output_len },
        3 => Dataset::Hf { path: path.clone(), column: None, output_len: None },
        _ => Dataset::TimedTrace { path: path.clone() },
    };
    let workload = Workload { tokenizer: Some("enginesim".to_string()), ..Workload::completions(dataset) };
    let load = Load::poisson(RequestRate::new(1.0).into_iter().collect(), Extent::Requests(3));
    if let Err(error) = PreparedWorkload::prepare(&workload, &load, PrepareContext::default()) {
        assert!(!error.to_string().is_empty());
    }
});
