//! Simulated sweeps as `analyse` takes them, for the benches that judge it.
#![allow(dead_code, reason = "each bench uses a part")]

use kit::queue::{Dice, Scene, serve, trace};
use topobench::analyse::{ArmInput, ArmKind, Comparison, Identity, PointInput, Question, Samples, VllmColumns};
use topobench::plan::slo::{Slo, Target};
use topobench::units::{RequestRate, Tpot, Ttft};

pub(crate) fn point(rate: f64, due: &[f64], ttfts: &[f64], tpots: Vec<f64>) -> PointInput {
    let tpots: Vec<Option<f64>> = tpots.into_iter().map(Some).collect();
    let columns = VllmColumns { ttfts, tpots: Some(&tpots), start_times: Some(due), ..VllmColumns::default() };
    let samples = Samples::from_vllm(&columns).expect("columns are as long as each other");
    let rate = RequestRate::new(rate).expect("a rate");
    PointInput { rate, attempt: 1, launch: 1, host: None, facts: None, duration_secs: None, samples: samples.into() }
}

pub(crate) fn arm(points: Vec<PointInput>) -> ArmInput {
    ArmInput {
        label: "arm".to_string(),
        size: None,
        dir: String::new(),
        kind: ArmKind::Unknown,
        instances: None,
        gpus: None,
        topology: serde_json::Value::Null,
        identity: Identity::default(),
        points,
        stopped: Vec::new(),
        pilots: Vec::new(),
    }
}

/// The plain arm, its twin, and one that carries 1.3 times the rate, on one trace.
pub(crate) fn sweep(scene: &Scene, requests: usize, rates: &[f64], seed: u64) -> Vec<ArmInput> {
    let mut dice = Dice::seeded(seed);
    let mut arms = vec![Vec::new(); 3];
    for &rate in rates {
        let load = trace(&mut dice, rate, requests, scene.spread);
        for (arm, speed) in arms.iter_mut().zip([1.0, 1.0, scene.speed_for_1_3]) {
            let (ttfts, tpots) = serve(&mut dice, &load, speed);
            arm.push(point(rate, &load.due, &ttfts, tpots));
        }
    }
    arms.into_iter().map(arm).collect()
}

pub(crate) fn question(scene: &Scene) -> Question {
    let slo = Slo { ttft: Ttft::from_secs(scene.ttft), tpot: Tpot::from_secs(scene.tpot), e2el: None };
    Question { slo, target: Target::default(), ..Question::default() }
}

/// Arms that measured times as multiples of a TTFT limit.
pub(crate) fn judged(arms: &[ArmInput]) -> Comparison {
    let slo = Slo { ttft: Ttft::from_secs(1.0), tpot: Tpot::from_secs(1.0), e2el: None };
    Comparison::new(arms, &Question { slo, ..Question::default() })
}
