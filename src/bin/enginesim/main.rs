mod blocks;
mod cost;
mod predict;
mod preset;
mod scheduler;
mod sequence;

fn main() {
    use predict::*;
    let (m, g) = (
        preset::Model::find("qwen3-8b").unwrap(),
        preset::Gpu::find("h100").unwrap(),
    );
    for input in [2048, 1024] {
        for rate in [
            1., 2., 4., 6., 8., 9., 10., 11., 12., 13., 14., 16., 18., 20., 24., 28.,
        ] {
            for arm in [Arm::Simple { tensor_parallel: 2 }, Arm::OnePrefillOneDecode] {
                let w = Workload {
                    input_tokens: input,
                    output_tokens: 128,
                    rate,
                    requests: 600,
                    seed: 7,
                };
                let l = predict(m, g, arm, &w);
                let q = |f: fn(&Latency) -> f64, p| quantile(l.iter().map(f), p);
                let att = l
                    .iter()
                    .filter(|x| x.ttft_ms <= 250. && x.tpot_ms <= 10.)
                    .count() as f64
                    / 6.;
                println!(
                    "{input} {rate:>4} {:<8} TTFT {:>6.0} {:>6.0} TPOT {:>5.1} {:>5.1} att {att:.0}",
                    if matches!(arm, Arm::Simple { .. }) {
                        "TP2"
                    } else {
                        "1P1D"
                    },
                    q(|x| x.ttft_ms, 0.5),
                    q(|x| x.ttft_ms, 0.9),
                    q(|x| x.tpot_ms, 0.5),
                    q(|x| x.tpot_ms, 0.9)
                );
            }
        }
    }
}
