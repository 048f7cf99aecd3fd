//! The Python package and the scripts under their old names, over the real program.

use crate::support::{Ended, Place, entries, read_json, recorded, run};
use std::path::PathBuf;

fn scripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

/// A program of ours under another name.
fn script(place: &Place, name: &str, line: &str) -> Ended {
    let path = scripts().join(name);
    let program = if name.ends_with(".py") { "python3" } else { "bash" };
    let words = line.split_whitespace();
    run(place.command(program).arg(path).args(words).env("TOPOBENCH", env!("CARGO_BIN_EXE_topobench")))
}

fn python(place: &Place, code: &str) -> Ended {
    let mut command = place.command("python3");
    command.args(["-c", code]).env("PYTHONPATH", scripts().join("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    run(command.env("TOPOBENCH", env!("CARGO_BIN_EXE_topobench")))
}

#[test]
fn python_reads_runs_and_comparisons_as_plain_rows_and_draws_tables() {
    let place = Place::new();
    let (simple, nixl) = (recorded("simple"), recorded("nixl"));
    place.topobench(&["compare", &simple, &nixl, "--output", "both", "--ttft-slo", "250"]).measured();
    place.topobench(&["aggregate", &simple, &nixl, "--output", "all.csv"]).expect(0);
    let code = format!(
        "import json, topobench\n\
         from topobench import BenchmarkVisualizer\n\
         rows = topobench.load({simple:?})\n\
         assert len(rows) > 1 and rows[0]['gpus'] is None and isinstance(rows[0]['mean_ttft_ms'], float), rows\n\
         table = topobench.load('all.csv')\n\
         assert rows[0]['valid'] is None and len(table) > len(rows)\n\
         points = topobench.load('both')\n\
         assert len(points) == len(table) and points[0]['attainment_both'] <= 100 and 'ci95_both_low' in points[0], points[0]\n\
         files = BenchmarkVisualizer('all.csv', 'charts').generate_all_charts()\n\
         report = BenchmarkVisualizer('all.csv', 'charts').generate_performance_report()\n\
         assert any(f.endswith('latency_analysis.pdf') for f in files) and report == ['charts/performance_report.md'], files\n\
         try:\n    topobench.load('nowhere')\n\
         except topobench.TopobenchError as e:\n    assert 'hint' in str(e), e\n\
         else:\n    raise SystemExit('no error')\n"
    );
    python(&place, &code).expect(0);
}

#[test]
fn scripts_under_old_names_leave_the_files_that_their_users_know() {
    let place = Place::new().with("OUTPUT_DIR", "old");
    let engine =
        "--engine sim --engine-arg=--sim-speed=50 --engine-arg=--sim-start-delay=0 --num-warmups 1 --ttft-slo 60s";
    let line = format!("{engine} --random-input-len 64 --random-output-len 4 --concurrency 1,2");
    script(&place, "run_scaling_bench_200.sh", &line).measured();
    let names: Vec<String> = entries(&place.path().join("old"))
        .iter()
        .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("scale_n1_") && names[1].starts_with("scale_n2_"), "{names:?}");
    let file = read_json(place.path().join("old").join(&names[1]));
    for key in ["throughput", "mean_ttft_ms", "mean_tpot_ms", "mean_latency_ms"] {
        assert!(file[key].as_f64().is_some_and(|v| v >= 0.0), "{key}: {file}");
    }
    place.write("combos.yaml", "input_len: 32\noutput_len: 4\nconcurrency: 2\nprompt: 4\n");
    script(&place, "vllm_bench.sh", &format!("combos.yaml --gpu-num 2 {engine}")).measured();
    let [logs] = entries(&place.path().join("bench_logs")).try_into().expect("one directory");
    assert!(logs.display().to_string().contains("_tp2_dtypeauto_"), "{}", logs.display());
    let found = entries(&logs);
    let result = found.iter().find(|p| p.display().to_string().ends_with("_vllm_result.json")).expect("results");
    assert_eq!(read_json(result)[0]["concurrency"], "2");
    assert!(logs.join("client_log").is_dir());
    let line = format!("--single --min-concurrency 2 --num-prompts 4 --input-len 32 --output-len 4 {engine} --json");
    let json = script(&place, "run_benchmark.sh", &line).measured().json();
    assert_eq!(json["arms"][0]["points"][0]["concurrency"], 2);
    let listed = script(&place, "aggregate_result.py", "results --output mine.csv").expect(0).stdout;
    assert!(listed.starts_with("4 rows: "), "{listed}");
    script(&place, "visualize.py", "--csv mine.csv --report --output out").expect(0);
    assert!(place.path().join("out/performance_report.md").is_file());
    let drawn = script(&place, "benchmark_plotter.py", "--result-dir latest").expect(0).stdout;
    assert!(drawn.contains("vllm_benchmark_plots.svg"), "{drawn}");
}

/// File names below a directory, without the stamp that ends them.
fn unstamped(dir: &std::path::Path) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    let stamp = |name: String| {
        let at = name.find("_20").unwrap_or(name.len());
        let rest = name[at..].trim_start_matches(|c: char| c == '_' || c.is_ascii_digit()).to_string();
        let number =
            name[at..].trim_end_matches(&*rest).trim_start_matches('_').split('_').nth(2).map(|n| format!("_{n}"));
        format!("{}{}{rest}", &name[..at], number.unwrap_or_default())
    };
    let mut names: Vec<String> = entries(dir).iter().map(|path| stamp(name(path))).collect();
    names.sort();
    names
}

const QUICK_ENGINE: &str =
    "--engine sim --engine-arg=--sim-speed=200 --engine-arg=--sim-start-delay=0 --num-warmups 1 --ttft-slo 60s";

#[test]
fn grids_under_their_old_names_keep_every_point() {
    let place = Place::new().with("OUTPUT_DIR", "old");
    let line =
        format!("{QUICK_ENGINE} --random-input-len 2048 --random-output-len 4 --concurrency 1,5 --num-prompts 1x");
    script(&place, "run_production_bench.sh", &line).measured();
    assert_eq!(unstamped(&place.path().join("old")), ["input_2K_n1.json", "input_2K_n5.json"]);

    let place = Place::new().with("OUTPUT_DIR", "old");
    // Two numbers of prompts for each level: four points, and four files.
    let line =
        format!("{QUICK_ENGINE} --random-input-len 64 --random-output-len 4 --concurrency 1,2 --num-prompts 2,3");
    script(&place, "run_scaling_bench.sh", &line).measured();
    let names = unstamped(&place.path().join("old"));
    assert_eq!(names, ["scale_n1.json", "scale_n1_2.json", "scale_n2.json", "scale_n2_2.json"]);

    place.write("combos.yaml", "input_len: 32\noutput_len: 4\nconcurrency: [1, 2]\nprompt: 2\n");
    let swept = script(&place, "run_sweep.py", &format!("combos.yaml {QUICK_ENGINE} --json")).measured().json();
    assert_eq!(swept["rows"].as_array().map(Vec::len), Some(2), "{swept}");

    let line = format!("combos.yaml --gpu-num 2 --dtype fp16 --threshold ttft:0.0001 {QUICK_ENGINE}");
    script(&place, "vllm_bench_with_gpu.sh", &line).measured();
    let [logs] = entries(&place.path().join("bench_logs")).try_into().expect("one directory");
    assert!(logs.display().to_string().contains("_tp2_dtypefp16_"), "{}", logs.display());
    let found = entries(&logs);
    let result = found.iter().find(|p| p.display().to_string().ends_with("_vllm_result.json")).expect("results");
    assert_eq!(
        read_json(result).as_array().map(Vec::len),
        Some(1),
        "nothing keeps that threshold: the first level ends it"
    );
    assert!(!entries(&logs.join("client_log")).is_empty());
}

#[test]
fn gpus_of_a_point_lie_in_a_folder_of_its_own_and_beside_its_numbers() {
    let place = Place::new();
    let run = place.path().join("run");
    std::fs::create_dir(&run).expect("made");
    let table = "run,model,concurrency,request_rate,input_len,output_len,num_prompts,request_throughput,mean_ttft_ms,mean_tpot_ms,mean_e2el_ms\n";
    let row = |level: u32| format!("{},org/model,{level},inf,256.0,128.0,8,1.5,20,5,600\n", run.display());
    place.write("table.csv", &format!("{table}{}{}", row(1), row(8)));
    place.write("run/gpu.csv", "at,gpu,utilization_percent\n0,0,99\n");
    place.write("run/gpu_summary.csv", "load,attempt,gpu,mean_power_watts\nclosed:1,1,0,300\nclosed:8,1,0,500\n");
    script(&place, "old_files.py", "logs table.csv out").expect(0);
    let out = place.path().join("out");
    for (level, watts) in [(1, "300"), (8, "500")] {
        let folder = out.join(format!("gpu_utilization_c{level}_in256_out128"));
        let of_point = std::fs::read_to_string(folder.join("result.log")).expect("a summary");
        assert!(of_point.contains(watts) && of_point.lines().count() == 2, "{of_point}");
        assert!(std::fs::read_to_string(folder.join("raw.log")).expect("samples").contains("99"));
    }
    let results = read_json(out.join("model_vllm_result.json"));
    assert_eq!(
        results[1]["gpus"],
        serde_json::json!([{"load": "closed:8", "attempt": "1", "gpu": "0", "mean_power_watts": "500"}])
    );
    assert_eq!(results[1]["mean_latency_ms"], 600.0);
}

#[test]
fn the_plotter_compares_two_directories_by_their_old_flags() {
    let place = Place::new();
    let line = format!(
        "--compare --simple-dir {} --nixl-dir {} --output both --ttft-slo 250",
        recorded("simple"),
        recorded("nixl")
    );
    let drawn = script(&place, "benchmark_plotter.py", &line).measured().stdout;
    assert!(drawn.contains("both/vllm_comparison_plots.svg"), "{drawn}");
    assert!(place.path().join("both/vllm_comparison_plots.pdf").is_file());
}
