//! Figures of every kind, with the shapes of data that real runs have.

use topobench::draw::*;

/// All figures, with the names of their files.
pub(crate) fn all() -> Vec<(&'static str, Figure)> {
    vec![
        ("pair", pair()),
        ("breakdown", breakdown()),
        ("map", map()),
        ("distribution", distribution()),
        ("pareto", pareto()),
        ("timeline", timeline()),
        ("awkward", awkward()),
    ]
}

fn attainment(knee: f64, steep: f64) -> impl Fn(f64) -> f64 {
    move |x: f64| 100.0 / (1.0 + ((x - knee) * steep).exp())
}

fn interval(at: f64, y: f64, half: f64) -> Spread {
    Spread { at, low: (y - half).max(0.0), high: (y + half).min(100.0) }
}

fn arm_lines(
    panel: Panel,
    name: &str,
    index: usize,
    xs: &[f64],
    curves: [&dyn Fn(f64) -> f64; 2],
    (unit, bad): (&str, &[usize]),
) -> Panel {
    let color = palette(index);
    let [ttft, tpot] = curves;
    let both = |x: f64| ttft(x) * tpot(x) / 100.0;
    let points = xs.iter().enumerate().map(|(i, &x)| Point { x, y: both(x), hollow: bad.contains(&i) });
    let band = Band {
        intervals: xs.iter().map(|&x| interval(x, both(x), 1.0 + (100.0 - both(x)) * 0.06)).collect(),
        color,
        label: None,
    };
    let only = |curve: &dyn Fn(f64) -> f64| xs.iter().map(|&x| (x, curve(x))).collect::<Vec<_>>();
    // The crossing by linear interpolation between the points, as the drawn line has it.
    let sides = xs.windows(2).find(|pair| (both(pair[0]) - 90.0) * (both(pair[1]) - 90.0) <= 0.0);
    let cross = sides.map_or(xs[0], |pair| {
        let (a, b) = (both(pair[0]), both(pair[1]));
        pair[0] + (90.0 - a) / (b - a) * (pair[1] - pair[0])
    });
    let text = format!("{cross:.2}{unit}");
    panel
        .with(Callout { x: cross, y: 90.0, text, color, drop: Drop::ToX })
        .with(band)
        .with(Line::new(points, Stroke::solid(color)).marked(marker(index)).labelled(format!("{name}: both limits")))
        .with(Line::new(only(ttft), Stroke::dashed(color)).labelled(format!("{name}: TTFT only")))
        .with(Line::new(only(tpot), Stroke::dotted(color)).labelled(format!("{name}: TPOT only")))
}

fn target() -> Rule {
    Rule {
        at: 90.0,
        direction: Direction::X,
        stroke: Stroke { color: Rgb::GREY, width: 1.0, dash: Dash::Dashed },
        text: Some("90 % target".into()),
        label: None,
    }
}

/// The paper's Figure 9: attainment over the rate, and over the SLO scale with x reversed.
pub(crate) fn pair() -> Figure {
    let rates: Vec<f64> = (1..=12).map(|i| f64::from(i) * 0.5).collect();
    let y = || Axis::linear("SLO attainment").fixed(0.0, 100.0).in_unit(" %");
    let left = Panel::new(Axis::linear("Per-GPU rate (req/s)").including(0.0), y()).titled("Attainment over rate");
    let left =
        arm_lines(left, "simple TP2", 0, &rates, [&attainment(2.4, 2.6), &attainment(3.4, 1.7)], (" req/s", &[10]));
    let left =
        arm_lines(left, "nixl 1P1D", 1, &rates, [&attainment(4.7, 2.1), &attainment(9.0, 1.0)], (" req/s", &[11]))
            .with(target());
    let scales: Vec<f64> = (1..=20).map(|i| f64::from(i) * 0.1).collect();
    let right = Panel::new(Axis::linear("SLO scale at 0.875 req/s per GPU").reversed(), y())
        .titled("Attainment over SLO scale");
    let rising = |knee: f64, steep: f64| attainment(knee, -steep);
    let right = arm_lines(right, "simple TP2", 0, &scales, [&rising(0.95, 6.0), &rising(0.6, 7.0)], ("×", &[]));
    let right =
        arm_lines(right, "nixl 1P1D", 1, &scales, [&rising(0.45, 11.0), &rising(0.2, 16.0)], ("×", &[])).with(target());
    let note = |key, label: &str| LegendEntry { key, label: label.into() };
    Figure::new(vec![left, right])
        .titled("Goodput of Qwen3-8B on 2 × H100: one tensor-parallel engine against prefill and decode")
        .captioned(
            "Qwen3-8B, 2 × H100 80 GB, 2048 tokens in and 128 out, Poisson arrivals, 600 requests a point, seed 0, vLLM 0.22.1. \
             Limits: TTFT 125 ms, TPOT 200 ms, target 90 %. Bands: 95 % intervals from a paired block bootstrap. \
             Rates are per GPU, prefill and decode GPUs together. nixl 1P1D sustains 2.4 times the rate (95 %: 2.1 to 2.6).",
        )
        .with_legend(Legend {
            columns: Some(3),
            extra: vec![
                note(Key::Marker { shape: MarkerShape::Circle, color: palette(0), hollow: true }, "invalid: client late"),
                note(Key::Area { color: Rgb::GREY, opacity: 0.2 }, "95 % interval"),
            ],
            ..Legend::default()
        })
}

/// Where the time of a request goes, by rate and arm.
pub(crate) fn breakdown() -> Figure {
    let names = ["queue", "prefill", "KV transfer", "decode"];
    let segments = names.iter().enumerate().map(|(i, name)| Segment {
        label: (*name).into(),
        color: palette([2, 0, 4, 1][i]),
        texture: texture(i),
    });
    let bar = |category: usize, slot: usize, values: [f64; 4]| Bar {
        category,
        slot,
        values: values.to_vec(),
        text: Some(["TP2", "1P1D"][slot].into()),
    };
    let bars = (0..5).flat_map(|c| {
        let load = c as f64;
        [
            bar(c, 0, [3.0 * load * load, 62.0 + load, 0.0, 640.0 + 90.0 * load]),
            bar(c, 1, [2.0 * load, 98.0 + 3.0 * load, 21.0 + load, 930.0 + 22.0 * load]),
        ]
    });
    let panel = Panel::new(Axis::categories("Rate (req/s)", ["1", "2", "4", "6", "8"]), Axis::linear("Mean time (ms)"))
        .with(Bars { segments: segments.collect(), bars: bars.collect() });
    Figure::new(vec![panel]).titled("Where a request's time goes").sized(480.0, 220.0)
}

/// Which arm wins, over two limits.
pub(crate) fn map() -> Figure {
    let limits = ["50", "100", "125", "200", "400", "1000"];
    let ramp = Ramp::Diverging { low: -2.0, middle: 0.0, high: 2.0, below: palette(0), above: palette(1) };
    let cells = (0..6).flat_map(|column| {
        (0..5).map(move |row| {
            let gain = (f64::from(column) - 2.2) * 0.8 - (f64::from(row) - 1.4) * 0.55;
            let value = (column + row != 0).then_some(gain);
            let text = value.map_or("n/a".into(), |gain: f64| format!("{:.2}×", gain.exp2()));
            Cell { column: column as usize, row: row as usize, value, text }
        })
    });
    let ticks = [(-2.0, "1/4×"), (-1.0, "1/2×"), (0.0, "1×"), (1.0, "2×"), (2.0, "4×")];
    let key = ColorKey {
        label: "Goodput of nixl over simple".into(),
        ticks: ticks.map(|(value, text)| (value, text.to_owned())).to_vec(),
    };
    let panel = Panel::new(
        Axis::categories("TTFT limit (ms)", limits),
        Axis::categories("TPOT limit (ms)", ["5", "10", "20", "50", "200"]),
    )
    .titled("Blue: disaggregation wins")
    .with(Cells { cells: cells.collect(), ramp, key: Some(key) });
    Figure::new(vec![panel]).sized(460.0, 220.0)
}

/// Distributions of TTFT, with dense steps, on a logarithmic axis.
pub(crate) fn distribution() -> Figure {
    let mut panel =
        Panel::new(Axis::log("TTFT (ms)"), Axis::linear("Share of requests").fixed(0.0, 100.0).in_unit(" %"));
    for (index, (name, middle, spread)) in
        [("simple TP2", 67.0f64, 0.9), ("nixl 1P1D", 119.0, 0.35)].into_iter().enumerate()
    {
        let steps = (1..=4000).map(|i| {
            let share = f64::from(i) / 4001.0;
            (middle * (spread * (share / (1.0 - share)).ln() * 0.6).exp(), share * 100.0)
        });
        panel = panel.with(
            Line::new(steps, Stroke { dash: [Dash::Solid, Dash::Dashed][index], ..Stroke::solid(palette(index)) })
                .stepped()
                .labelled(name)
                .ending(name),
        );
    }
    let limit = Rule {
        at: 125.0,
        direction: Direction::Y,
        stroke: Stroke { width: 1.0, ..Stroke::dashed(Rgb::GREY) },
        text: Some("limit 125 ms".into()),
        label: None,
    };
    Figure::new(vec![panel.with(limit).with(target())]).sized(460.0, 220.0)
}

/// Throughput against latency, every deployment named.
pub(crate) fn pareto() -> Figure {
    let mut panel = Panel::new(Axis::linear("Output tokens/s per GPU"), Axis::log("p90 TPOT (ms)"));
    let families =
        [("simple", ["TP1", "TP2", "TP4", "TP8", "2 × TP4"]), ("nixl", ["1P1D", "2P1D", "1P3D", "2P2D", "3P5D"])];
    for (index, (name, places)) in families.into_iter().enumerate() {
        let spots = places.iter().enumerate().map(|(i, place)| {
            let i = i as f64;
            let x = 420.0 + 160.0 * i + 60.0 * (i * 2.0).sin();
            let y = (5.0 + 4.0 * i * (1.6 - index as f64)).max(4.6) * (1.0 + 0.1 * (i * 3.0).cos());
            Spot { point: Point { x, y, hollow: i == 4.0 }, text: Some(format!("{name} {place}")) }
        });
        panel = panel.with(Scatter {
            spots: spots.collect(),
            shape: marker(index),
            color: palette(index),
            label: Some(name.into()),
        });
    }
    Figure::new(vec![panel]).sized(460.0, 240.0)
}

/// One run over time: four rows that share their axis.
pub(crate) fn timeline() -> Figure {
    let rows: [(&str, f64, f64); 4] =
        [("Running", 40.0, 9.0), ("Waiting", 6.0, 5.0), ("KV cache (%)", 55.0, 20.0), ("GPU power (W)", 520.0, 140.0)];
    let panels = rows.iter().enumerate().map(|(row, &(name, level, swing))| {
        let x = Axis::linear(if row == 3 { "Seconds since the first request was due" } else { "" });
        let x = if row == 3 { x } else { x.bare() };
        let mut panel = Panel::new(x, Axis::linear(name).including(0.0)).weighing(0.36);
        for arm in 0..2 {
            let points = (0..3000).map(|i| {
                let t = f64::from(i) * 0.1;
                let wave = (t * 0.11 + arm as f64).sin() * swing + (t * 7.3 + level).sin() * swing * 0.3;
                (t, (level * (1.0 + 0.25 * arm as f64) + wave).max(0.0))
            });
            let stroke = Stroke { width: 1.0, ..Stroke::solid(palette(arm)) };
            panel = panel.with(Line::new(points, stroke).labelled(["simple TP2", "nixl 1P1D"][arm]));
        }
        panel.with(Span {
            low: 0.0,
            high: 30.0,
            direction: Direction::X,
            color: Rgb::GREY,
            text: (row == 0).then(|| "warm-up".into()),
            label: None,
        })
    });
    Figure::new(panels.collect()).in_columns(1).sized(560.0, 200.0).titled("Engine state over one run")
}

/// Awkward data and labels.
pub(crate) fn awkward() -> Figure {
    let empty = Panel::new(Axis::linear("Nothing was measured"), Axis::log("TTFT (ms)"))
        .titled("No data")
        .with(Line::new(Vec::<Point>::new(), Stroke::solid(palette(0))).labelled("an arm without points"));
    let single = Panel::new(Axis::linear("Rate"), Axis::linear("Attainment").in_unit(" %"))
        .titled("One point, and it has no neighbours to be compared with at all")
        .with(
            Line::new([(4.0, 61.0)], Stroke::solid(palette(1)))
                .marked(marker(1))
                .labelled("one <point> & \"more\"")
                .ending("61 %"),
        );
    let same = Panel::new(
        Axis::linear("Same x everywhere"),
        Axis::linear("A label far longer than the frame beside it is high, which must wrap or end somewhere"),
    )
    .with(Line::new([(2.0, 1e-7), (2.0, 3e-7), (2.0, 9e-7)], Stroke::solid(palette(3))).marked(marker(3)))
    .with(Callout { x: 2.0, y: 3e-7, text: "three at once".into(), color: palette(3), drop: Drop::ToY });
    let huge = Panel::new(Axis::log("From tiny to huge"), Axis::linear("Values up to 3 million")).with(
        Line::new((0..13).map(|i| (10f64.powi(i * 2 - 12), f64::from(i * i) * 2.1e4)), Stroke::solid(palette(2)))
            .marked(marker(2))
            .labelled("模型 Ω µ → ≥ é Ж"),
    );
    let crowd = (0..12).map(|i| Spot {
        point: Point::new(f64::from(i % 4) * 0.02 + 1.0, f64::from(i / 4) * 0.02 + 1.0),
        text: Some(format!("deployment {i}")),
    });
    let crowded = Panel::new(Axis::linear("x").fixed(0.0, 2.0), Axis::linear("y").fixed(0.0, 2.0))
        .titled("A crowd")
        .with(Scatter { spots: crowd.collect(), shape: marker(4), color: palette(5), label: None });
    let names = ["Qwen3-8B", "a-model-with-an-unreasonably-long-name-7B-instruct", "Llama 3.1 8B Instruct", "OPT-13B"];
    let bars = (0..4).map(|c| Bar {
        category: c,
        slot: 0,
        values: vec![c as f64 * 1.5, 2.0],
        text: Some(format!("{}", c * 1000)),
    });
    let segment = |i: usize| Segment { label: format!("part {i}"), color: palette(i + 5), texture: texture(i + 3) };
    let long = Panel::new(Axis::categories("Model", names), Axis::linear("Share"))
        .with(Bars { segments: vec![segment(0), segment(1)], bars: bars.collect() });
    Figure::new(vec![empty, single, same, huge, crowded, long]).in_columns(3).sized(760.0, 130.0)
}
