//! The race as a figure: what each candidate was predicted and measured to carry.

use super::answer::{Answer, Bounds};
use crate::draw::{
    Axis, Direction, ErrorBars, Figure, Key, Legend, LegendEntry, LegendPlace, MarkerShape, Panel, Point, Rgb, Scatter,
    Spot, Spread, palette,
};
use crate::record::race::RaceRecord;

/// A label with the long names of settings cut down to what tells them apart beside an axis.
fn short(label: &str) -> String {
    label.replace("max-num-", "").replace("kv.connector ", "").replace("Connector", "")
}

/// `None` where nothing was measured.
pub fn figure(record: &RaceRecord, answer: &Answer) -> Option<Figure> {
    let raced: Vec<usize> = (0..record.candidates.len()).filter(|i| record.candidates[*i].dir.is_some()).collect();
    answer.winner?;
    let kinds = ["simple", "nixl"];
    let color = |kind: &str| palette(kinds.iter().position(|k| *k == kind).unwrap_or(0));
    let names = raced.iter().map(|i| short(&record.candidates[*i].label));
    let y = Axis::categories("", names).reversed();
    let mut panel = Panel::new(Axis::linear("Requests a second that meet the target").including(0.0), y);
    let place =
        |row: usize, rate: f64, hollow: bool| Spot { point: Point { x: rate, y: row as f64, hollow }, text: None };
    let predicted =
        raced.iter().enumerate().filter_map(|(row, i)| Some(place(row, record.candidates[*i].predicted?, true)));
    let spots = predicted.collect();
    panel = panel.with(Scatter { spots, shape: MarkerShape::Diamond, color: Rgb::GREY, label: None });
    for kind in kinds {
        let of_kind = || raced.iter().enumerate().filter(|(_, i)| record.candidates[**i].kind == kind);
        let intervals = of_kind().filter_map(|(row, i)| {
            let [lo, hi] = answer.measured[*i].as_ref()?.ci95;
            Some(Spread { at: row as f64, low: lo?, high: hi? })
        });
        let bars =
            ErrorBars { intervals: intervals.collect(), direction: Direction::X, color: color(kind), label: None };
        let spots: Vec<Spot> = of_kind()
            .filter_map(|(row, i)| match answer.bounds[*i]? {
                Bounds::At(rate) => Some(place(row, rate, false)),
                Bounds::Above(rate) | Bounds::Below(rate) => Some(place(row, rate, true)),
            })
            .collect();
        if !spots.is_empty() {
            panel =
                panel.with(bars).with(Scatter { spots, shape: MarkerShape::Circle, color: color(kind), label: None });
        }
    }
    let entry = |shape, color, hollow, label: &str| LegendEntry {
        key: Key::Marker { shape, color, hollow },
        label: label.to_string(),
    };
    let extra = vec![
        entry(MarkerShape::Diamond, Rgb::GREY, true, "predicted, not measured"),
        entry(MarkerShape::Circle, color("simple"), false, "simple, measured (95 % interval)"),
        entry(MarkerShape::Circle, color("nixl"), false, "prefill/decode, measured"),
        entry(MarkerShape::Circle, Rgb::GREY, true, "measured on one side of the target only"),
    ];
    let legend = Legend { place: LegendPlace::Above, columns: Some(2), extra };
    let height = 40.0 + 22.0 * raced.len() as f64;
    let title = format!("The race for {} GPUs", record.question.gpus);
    let figure = Figure::new(vec![panel]).sized(720.0, height).with_legend(legend).titled(title);
    Some(figure.captioned(answer.sentence.clone()))
}
