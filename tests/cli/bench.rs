//! `topobench bench`: lines that were written for `vllm bench serve`.

use crate::attach::Engine;
use crate::support::{Place, read_json};

#[test]
fn a_command_line_of_vllm_bench_serve_runs() {
    let (engine, place) = (Engine::start(""), Place::new());
    let line = format!(
        "bench --backend vllm --base-url {} --model m --tokenizer enginesim --dataset-name random --random-input-len 32 \
         --random-output-len 4 --num-prompts 8 --max-concurrency 2 --trust-remote-code --save-result --save-detailed \
         --result-dir out --result-filename mine.json --percentile-metrics ttft,tpot --metric-percentiles 50,99",
        engine.url()
    );
    let ended = place.type_in(&line).measured();
    assert!(
        ended.stdout.contains("Serving Benchmark Result") && ended.stdout.contains("P99 TTFT (ms):"),
        "{}",
        ended.stdout
    );
    let file = read_json(place.path().join("out/mine.json"));
    assert_eq!(
        (&file["completed"], &file["max_concurrency"], &file["request_rate"]),
        (&8.into(), &2.into(), &"inf".into())
    );
    assert_eq!(file["ttfts"].as_array().map(Vec::len), Some(8));
    let refused = place.type_in("bench --backend tgi").expect(2).stderr;
    assert!(refused.contains("tgi"), "{refused}");
}
