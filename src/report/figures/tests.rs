use super::*;
use crate::draw::{Mark, Panel, Rgb, palette};
use crate::outcome::PointFacts;
use crate::record::RecordedRun;
use crate::record::dir::{ENGINE_METRICS, GPU_CSV};
use crate::report::samples::{Made, h100_study, question};
use std::path::{Path, PathBuf};

/// A run with gauges beside it in `dir`.
fn observed(made: &Made, dir: &Path) -> RecordedRun {
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
    // Killed, and taken up again an hour later by a process of its own.
    engines.push_str("{\"at\":240.0,\"inst\n");
    engines.push_str("{\"at\":3612.0,\"instance\":\"prefill-0\",\"answered\":true,\"running\":99}\n");
    std::fs::write(dir.join(ENGINE_METRICS), engines).expect("write");
    std::fs::write(dir.join(GPU_CSV), gpus).expect("write");
    RecordedRun { dir: dir.to_path_buf(), ..made.run() }
}

/// Studies of the shapes that people meet, and how they are called.
fn studies(dir: &Path) -> Vec<(&'static str, Study)> {
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
        ("wide_rates", Study::new(vec![spread(&simple).run(), spread(&nixl).run()], default())),
        ("huge_slo", Study::new(vec![simple.run(), nixl.run()], question(60_000.0, 5000.0))),
        (
            "long_names",
            Study::new(vec![named(&simple, "plain"), named(&nixl, "split"), named(&wide, "third")], default()),
        ),
        (
            "eight",
            Study::new(
                (0..8).map(|i| named(&many(&simple, &nixl, i), &format!("deployment {i}"))).collect(),
                default(),
            ),
        ),
        ("three_dead", Study::new(vec![simple.run(), dead.run(), nixl.run()], default())),
        ("alone", Study::new(vec![observed(&nixl, dir)], question(125.0, 9.0))),
    ]
}

/// One of eight arms that differ a little.
fn many(simple: &Made, nixl: &Made, i: u32) -> Made {
    let made = if i < 4 { simple } else { nixl };
    Made { knee: made.knee + 0.7 * f64::from(i), ..made.clone() }
}

/// Twelve rates over four decades.
fn spread(made: &Made) -> Made {
    let rates = vec![0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0, 1000.0];
    Made { rates, knee: 40.0 * made.knee, requests: 60, ..made.clone() }
}

fn named(made: &Made, name: &str) -> RecordedRun {
    RecordedRun { mode: format!("{name}-deployment-with-a-name-that-somebody-made-very-long-indeed"), ..made.run() }
}

/// Draws into FIGURES_DIR where somebody wants to look at them.
#[test]
fn every_study_draws_every_figure_and_leaves_no_label_out() {
    let gauges = tempfile::tempdir().expect("tempdir");
    let shown = std::env::var_os("FIGURES_DIR").map(PathBuf::from);
    for (study_name, study) in studies(gauges.path()) {
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

#[test]
fn simple_is_red_and_nixl_blue_whatever_their_order() {
    let made = Made { rates: vec![2.0], requests: 20, ..Made::simple() };
    let nixl = Made { topology: "nixl", ..made.clone() };
    let colors = |runs| -> Vec<Rgb> {
        let study = Study::new(runs, question(125.0, 200.0));
        style::looks(&study.arms).iter().map(|look| look.color).collect()
    };
    let (red, blue, other) = (palette(0), palette(1), palette(2));
    assert_eq!(colors(vec![made.run(), nixl.run()]), [red, blue]);
    assert_eq!(colors(vec![nixl.run(), made.run()]), [blue, red]);
    assert_eq!(colors(vec![nixl.run()]), [blue]);
    assert_eq!(colors(vec![made.run(), made.run(), nixl.run()]), [red, other, blue]);
}

fn callouts(panel: &Panel) -> Vec<(String, f64)> {
    let texts = panel.marks.iter().filter_map(|mark| match mark {
        Mark::Callout(callout) => Some((callout.text.clone(), callout.x)),
        _ => None,
    });
    texts.collect()
}

#[test]
fn crossings_are_marked_per_gpu_and_what_lies_outside_is_said_so() {
    let figure = pair(&h100_study(250.0, 9.0)).expect("a figure");
    let [(text, x)] = &callouts(&figure.panels[0])[..] else { panic!("one crossing: the other arm never fell") };
    assert_eq!(text, "3.34");
    assert!((x - 3.342).abs() < 1e-3, "{x}");
    let beyond = figure.panels[0].marks.iter().any(|m| matches!(m, Mark::Note(note) if note.text == "> 4 req/s"));
    assert!(beyond, "the other arm's crossing lies above 8 req/s on 2 GPUs");
    assert_eq!(callouts(&figure.panels[1]).len(), 2, "both have a scale");
}

#[test]
fn without_the_number_of_gpus_rates_are_the_deployments() {
    let mut study = h100_study(250.0, 9.0);
    study.comparison.arms[1].gpus = None;
    let figure = pair(&study).expect("a figure");
    assert_eq!(callouts(&figure.panels[0])[0].0, "6.68");
    assert_eq!(figure.panels[0].x.label, "Request rate (req/s)");
}

#[test]
fn invalid_points_are_hollow_and_the_legend_says_so() {
    let late = Made { rates: vec![2.0, 4.0], requests: 50, ..Made::simple() };
    let mut run = late.run();
    run.points[1].facts.as_mut().expect("ours").engine_restarts = 1;
    let figure = pair(&Study::new(vec![run], question(125.0, 200.0))).expect("a figure");
    assert!(figure.legend.extra.iter().any(|entry| entry.label == "invalid point"));
    let hollow: Vec<bool> = figure.panels[0]
        .marks
        .iter()
        .find_map(|mark| match mark {
            Mark::Line(line) if line.marker.is_some() && !line.points.is_empty() => Some(&line.points),
            _ => None,
        })
        .expect("the curve")
        .iter()
        .map(|p| p.hollow)
        .collect();
    assert_eq!(hollow, [false, true]);
}

fn all_drawn(figures: Vec<Named>) -> Vec<Drawn> {
    let (drawn, failed) = draw(figures);
    assert!(failed.is_empty(), "{failed:?}");
    drawn
}

#[test]
fn a_gauge_beyond_all_axes_costs_its_own_figure_and_no_other() {
    let dir = tempfile::tempdir().expect("tempdir");
    let run = observed(&Made { rates: vec![4.0, 8.0], requests: 40, ..Made::nixl() }, dir.path());
    let engines = std::fs::read_to_string(dir.path().join(ENGINE_METRICS)).expect("read");
    let absurd = engines.replace(
        "\"at\":11.0,\"instance\":\"prefill-0\",\"answered\":true,\"running\":",
        "\"at\":11.0,\"instance\":\"prefill-0\",\"answered\":true,\"running\":1e308,\"x\":",
    );
    assert_ne!(engines, absurd);
    std::fs::write(dir.path().join(ENGINE_METRICS), absurd).expect("write");
    let figures = of_run(&Study::new(vec![run], question(125.0, 200.0)));
    let wanted = figures.len();
    let (drawn, failed) = draw(figures);
    // Both points of this made-up run began at the same moment.
    let named: Vec<String> = failed.iter().map(ToString::to_string).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    for (told, name) in named.iter().zip(["timeline_4.0qps_1", "timeline_8.0qps_1"]) {
        assert!(told.starts_with(&format!("figure {name} cannot be drawn")), "{told}");
    }
    assert_eq!(drawn.len(), wanted - 2);
    assert!(drawn.iter().any(|d| d.name == RUN), "the figure that answers is among them");
}

#[test]
fn a_figure_that_can_not_be_written_leaves_the_others() {
    let dir = tempfile::tempdir().expect("tempdir");
    // A directory stands where a file should.
    std::fs::create_dir_all(dir.path().join("latency_percentiles.png/taken")).expect("made");
    let drawn = all_drawn(of_comparison(&h100_study(250.0, 9.0)));
    let written = write(dir.path(), &drawn).expect("writes");
    assert_eq!(written.failed.len(), 1, "{:?}", written.failed);
    assert!(written.failed[0].to_string().contains("latency_percentiles.png"), "{}", written.failed[0]);
    assert_eq!(written.files.len(), 3 * (drawn.len() - 1));
}

#[test]
fn the_same_study_gives_the_same_files() {
    let study = h100_study(250.0, 9.0);
    let (first, second) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
    let files = write(first.path(), &all_drawn(of_comparison(&study))).expect("writes").files;
    let drawn_again = all_drawn(of_comparison(&h100_study(250.0, 9.0)));
    let again = write(&second.path().join("made"), &drawn_again).expect("writes").files;
    let names: Vec<_> = files.iter().filter_map(|f| f.file_name()).collect();
    for extension in ["svg", "pdf", "png"] {
        let name = format!("vllm_comparison_plots.{extension}");
        assert!(names.iter().any(|n| **n == *name), "{name} is missing of {names:?}");
    }
    for (a, b) in files.iter().zip(&again) {
        assert_eq!(a.file_name(), b.file_name());
        assert!(std::fs::read(a).expect("read") == std::fs::read(b).expect("read"), "{} differs", a.display());
    }
}

#[test]
fn a_run_gets_its_plots_beside_its_files() {
    let root = tempfile::tempdir().expect("tempdir");
    let run = Made { rates: vec![2.0], requests: 30, ..Made::nixl() }.run();
    let figures = of_run(&Study::new(vec![run], question(125.0, 200.0)));
    let files = write(&root.path().join("plots"), &all_drawn(figures)).expect("writes").files;
    assert!(files.iter().any(|f| f.ends_with("plots/vllm_benchmark_plots.pdf")), "{files:?}");
    assert!(files.iter().any(|f| f.ends_with("plots/timeline_2.0qps_1.svg")), "{files:?}");
}

#[test]
fn gauges_are_read_for_the_point_and_torn_lines_are_passed_over() {
    let dir = tempfile::tempdir().expect("tempdir");
    let run = observed(&Made { rates: vec![4.0], requests: 40, ..Made::nixl() }, dir.path());
    let facts = run.points[0].facts.as_ref().expect("ours");
    let gauges = gauges::Gauges::read(&run, facts);
    assert_eq!(gauges.running.len(), 2, "two instances");
    assert_eq!(gauges.power.len(), 2, "two GPUs");
    // The point began 10 s into the run and lasted 11 s.
    let seconds: Vec<f64> = gauges.running[0].points.iter().map(|p| p.0).collect();
    assert_eq!((seconds[0], seconds[seconds.len() - 1]), (0.0, 11.0));
    assert!(gauges.running[0].points.iter().all(|p| p.1 < 99.0), "what came an hour later is not of this point");
    let resumed = PointFacts { started_at: "2026-11-21T16:00:10+00:00".to_string(), ..facts.clone() };
    assert_eq!(gauges::Gauges::read(&run, &resumed).running[0].points, [(2.0, 99.0)], "but of the one measured then");
}
