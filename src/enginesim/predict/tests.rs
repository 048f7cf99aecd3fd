use super::*;

/// Requests a rate: enough for a steady p90, few enough for a debug build.
const REQUESTS: u32 = 300;
const LOWEST: f64 = 1.0;
/// The highest rate that both arms sustain with one H100 of prefill: 50 ms a prompt, in bursts.
const HIGHEST: f64 = 12.0;

fn at(arm: Arm, rate: f64) -> Vec<Latency> {
    let workload = Poisson { input_tokens: 2048, output_tokens: 128, rate, requests: REQUESTS, seed: 7 };
    let (model, gpu) = (Model::find("qwen3-8b").unwrap(), Gpu::find("h100").unwrap());
    fleet::predict(model, gpu, arm, &workload.arrivals())
}

fn ttft(latencies: &[Latency], q: f64) -> f64 {
    quantile(latencies.iter().map(|l| l.ttft_ms), q)
}

fn tpot(latencies: &[Latency], q: f64) -> f64 {
    quantile(latencies.iter().map(|l| l.tpot_ms), q)
}

const TP2: Arm = ARMS[0];
const ONE_P_ONE_D: Arm = ARMS[2];

fn near(value: f64, measured: f64, tolerance: f64) {
    let error = (value / measured - 1.0).abs();
    assert!(error < tolerance, "{value:.1} against {measured:.1}");
}

#[test]
fn two_requests_a_second_look_like_the_measured_h100s() {
    let (simple, pd) = (at(TP2, 2.0), at(ONE_P_ONE_D, 2.0));
    near(ttft(&simple, 0.5), 66.0, 0.1);
    near(ttft(&pd, 0.5), 119.0, 0.1);
    near(tpot(&simple, 0.5), 5.2, 0.1);
    near(tpot(&simple, 0.9), 5.6, 0.15);
    near(tpot(&pd, 0.5), 7.3, 0.1);
    near(tpot(&pd, 0.9), 7.6, 0.1);
}

#[test]
fn load_slows_tp2_decoding_more_than_twofold_and_1p1d_hardly() {
    let growth = |arm| tpot(&at(arm, HIGHEST), 0.9) / tpot(&at(arm, LOWEST), 0.9);
    assert!(growth(TP2) > 2.0, "TP2 grew by {:.2}", growth(TP2));
    let pd = growth(ONE_P_ONE_D);
    assert!(pd < 1.3, "1P1D grew by {pd:.2}");
}

#[test]
fn the_hand_off_costs_first_token_latency_at_low_load() {
    let ratio = ttft(&at(ONE_P_ONE_D, LOWEST), 0.5) / ttft(&at(TP2, LOWEST), 0.5);
    assert!((1.5..3.0).contains(&ratio), "{ratio:.2}");
}

#[test]
fn both_arms_sustain_the_highest_rate() {
    for arm in [TP2, ONE_P_ONE_D] {
        let latencies = at(arm, HIGHEST);
        let (early, late) = latencies.split_at(latencies.len() / 2);
        assert!(ttft(late, 0.5) < ttft(early, 0.5) * 3.0, "{arm:?} falls behind");
    }
}

#[test]
fn the_same_seed_predicts_the_same() {
    assert_eq!(at(TP2, 4.0), at(TP2, 4.0));
}
