use super::*;
use crate::record::RecordedRun;
use crate::record::dir::{ENGINE_METRICS, GPU_CSV};
use crate::report::samples::{Made, h100_study, question};
use std::path::PathBuf;

/// A run with gauges beside it; its directory stays until the process ends.
fn observed(made: &Made) -> RecordedRun {
    let dir = std::env::temp_dir().join(format!("topobench-observed-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("directory");
    let mut engines = String::new();
    let mut gpus = String::from("at,gpu,power_watts,sm_clock_mhz\n");
    for second in 0..240 {
        let wave = (f64::from(second) * 0.3).sin();
        for (i, instance) in ["prefill-0", "decode-0"].iter().enumerate() {
            let running = (3.0 + 8.0 * i as f64 + 2.0 * wave).round();
            let kv_usage = 0.1 + 0.2 * i as f64 + 0.05 * wave;
            engines.push_str(&format!(
                "{{\"at\":{second}.0,\"instance\":\"{instance}\",\"answered\":true,\"running\":{running},\"waiting\":0,\"kv_usage\":{kv_usage}}}\n"
            ));
            gpus.push_str(&format!("{second}.5,{i},{},1980\n", 400.0 + 120.0 * i as f64 + 60.0 * wave));
        }
    }
    engines.push_str("{\"at\":240.0,\"inst");
    std::fs::write(dir.join(ENGINE_METRICS), engines).expect("write");
    std::fs::write(dir.join(GPU_CSV), gpus).expect("write");
    RecordedRun { dir, ..made.run() }
}

/// Studies of the shapes that people meet, and how they are called.
fn studies() -> Vec<(&'static str, Study)> {
    let default = || question(125.0, 200.0);
    let (simple, nixl) = (Made::simple(), Made::nixl());
    let wide = Made { knee: 5.0, ttft: 0.07, ..Made::simple() };
    let broken = Made { failing: 2, why: vec!["decode-0 died".into()], ..nixl.clone() };
    let dead = Made { failing: 10, ..simple.clone() };
    let lone = |made: &Made| Made { rates: vec![4.0], ..made.clone() }.run();
    vec![
        ("h100", h100_study(250.0, 9.0)),
        ("h100_tight", h100_study(150.0, 10.0)),
        ("ab", Study::new(vec![nixl.run(), simple.run()], default())),
        ("three", Study::new(vec![simple.run(), nixl.run(), wide.run()], default())),
        ("aa", Study::new(vec![simple.run(), Made { ttft: 0.046, ..simple.clone() }.run()], default())),
        ("broken", Study::new(vec![simple.run(), broken.run()], default())),
        ("dead", Study::new(vec![dead.run()], default())),
        ("one_point", Study::new(vec![lone(&simple), lone(&nixl)], default())),
        ("alone", Study::new(vec![observed(&nixl)], question(125.0, 9.0))),
    ]
}

/// Draws into FIGURES_DIR where somebody wants to look at them.
#[test]
fn every_study_draws_every_figure_and_leaves_no_label_out() {
    let shown = std::env::var_os("FIGURES_DIR").map(PathBuf::from);
    for (study_name, study) in studies() {
        let alone = study.arms.len() == 1;
        let figures = if alone { of_run(&study) } else { of_comparison(&study) };
        assert!(!figures.is_empty(), "{study_name}");
        for named in &figures {
            let drawing = named.figure.draw().unwrap_or_else(|e| panic!("{study_name}, {}: {e}", named.name));
            assert_eq!(drawing.omitted(), [""; 0], "{study_name}, {}", named.name);
        }
        if let Some(dir) = &shown {
            for named in &figures {
                let png = named.figure.draw().and_then(|d| d.png(1.5)).expect("draws");
                std::fs::create_dir_all(dir).expect("directory");
                std::fs::write(dir.join(format!("{study_name}-{}.png", named.name)), png).expect("write");
            }
        }
    }
}
