//! The decision map of a grid: which of two arms wins at which lengths and loads, by how much, and where nothing can be
//! claimed.

use crate::analyse::goodput::{self, GoodputRatio};
use crate::analyse::{ArmInput, ClaimKind, Comparison, Interval, PointInput, PointReport, Question, Samples};
use crate::draw::{Axis, Cell, Cells, ColorKey, Figure, Panel, Ramp, palette};
use crate::report::hues::hues;
use crate::units::RequestRate;
use crate::words;
use serde::Serialize;
use std::sync::Arc;

/// Ratios beyond it take the end's colour.
const OCTAVES: f64 = 2.0;

/// Two runs of the same lengths, as arms.
#[derive(Debug, Clone)]
pub struct GridPair {
    pub input: u32,
    pub output: u32,
    pub arms: [ArmInput; 2],
}

/// One place of the map.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionCell {
    pub input_len: u32,
    pub output_len: u32,
    /// Requests in flight of a closed loop; `None`: rates were offered, and their crossing is compared.
    pub concurrency: Option<u32>,
    /// Second arm over first.
    pub ratio: Option<f64>,
    pub ci95: Interval,
    /// The arm that may be said to be better; `None` where nothing can be claimed.
    pub winner: Option<String>,
    /// In words, where there is no number: `both meet the target at every rate`.
    pub note: String,
}

/// The map of a grid.
#[derive(Debug, Clone, Serialize)]
pub struct DecisionMap {
    pub arms: [String; 2],
    /// What is compared.
    pub measure: String,
    pub slo: String,
    pub cells: Vec<DecisionCell>,
    #[serde(skip)]
    kinds: [usize; 2],
}

impl DecisionMap {
    /// `None` without a pair of runs.
    pub fn new(pairs: &[GridPair], question: &Question) -> Option<DecisionMap> {
        let first = pairs.first()?;
        let name = |arm: &ArmInput| match &arm.size {
            Some(size) if !arm.label.contains(size.as_str()) => format!("{} {size}", arm.label),
            _ => arm.label.clone(),
        };
        let arms = [name(&first.arms[0]), name(&first.arms[1])];
        let per_gpu = first.arms.iter().all(|arm| arm.gpus.is_some_and(|n| n > 0));
        let hues = hues(&first.arms);
        let mut levels: Vec<Level> = pairs.iter().flat_map(|pair| levels(pair, question, per_gpu)).collect();
        // Nothing is claimed from points that may not be believed.
        goodput::claim(levels.iter_mut().filter(|level| level.believed).map(|level| &mut level.ratio));
        let closed = levels.into_iter().map(|level| level.cell(&arms));
        let open = pairs.iter().filter_map(|pair| crossing(pair, question, per_gpu, &arms));
        let mut cells: Vec<DecisionCell> = closed.chain(open).collect();
        cells.sort_by_key(|cell| (cell.concurrency, cell.input_len, cell.output_len));
        let per = if per_gpu { " per GPU" } else { "" };
        let measure = match cells.iter().any(|cell| cell.concurrency.is_some()) {
            true => format!("requests a second{per} that meet the SLO (goodput), closed loop"),
            false => format!("highest rate{per} that meets the target"),
        };
        let slo = format!("{}, target {}", question.slo, question.target.percent());
        (!cells.is_empty()).then_some(DecisionMap { arms, measure, slo, cells, kinds: [hues[0], hues[1]] })
    }

    /// decision_map.csv.
    ///
    /// # Errors
    /// Never for a table held in memory; the type is the writer's.
    pub fn table(&self) -> Result<Vec<u8>, ::csv::Error> {
        let mut table = ::csv::Writer::from_writer(Vec::new());
        let header = [
            "input_len",
            "output_len",
            "concurrency",
            "ratio",
            "ci95_low",
            "ci95_high",
            "winner",
            "first_arm",
            "second_arm",
            "note",
        ];
        table.write_record(header)?;
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
        for cell in &self.cells {
            table.write_record([
                cell.input_len.to_string(),
                cell.output_len.to_string(),
                cell.concurrency.map_or_else(String::new, |n| n.to_string()),
                number(cell.ratio),
                number(cell.ci95.lo),
                number(cell.ci95.hi),
                cell.winner.clone().unwrap_or_default(),
                self.arms[0].clone(),
                self.arms[1].clone(),
                cell.note.clone(),
            ])?;
        }
        table.into_inner().map_err(|e| e.into_error().into())
    }

    /// One sentence: how many cells each arm wins.
    pub fn sentence(&self) -> String {
        let won = |arm: &String| self.cells.iter().filter(|cell| cell.winner.as_ref() == Some(arm)).count();
        let [a, b] = [won(&self.arms[0]), won(&self.arms[1])];
        let open = self.cells.len() - a - b;
        let [first, second] = &self.arms;
        format!(
            "Of {} cells {first} wins {a} and {second} {b}; in {open} nothing can be claimed ({}; {})",
            self.cells.len(),
            self.measure,
            self.slo
        )
    }

    /// The map: a panel for each load, or loads across where one of the lengths does not vary.
    pub fn figure(&self) -> Figure {
        let distinct = |pick: fn(&DecisionCell) -> u32| sorted(self.cells.iter().map(pick));
        let (inputs, outputs) = (distinct(|c| c.input_len), distinct(|c| c.output_len));
        let levels = sorted(self.cells.iter().filter_map(|c| c.concurrency));
        let panels: Vec<Panel> = if levels.len() > 1 && inputs.len().min(outputs.len()) == 1 {
            let (label, rows, pick): (&str, &[u32], fn(&DecisionCell) -> u32) = if outputs.len() > 1 {
                ("Output tokens", &outputs, |c| c.output_len)
            } else {
                ("Input tokens", &inputs, |c| c.input_len)
            };
            let across = ("Requests in flight (closed loop)", levels.as_slice());
            vec![self.panel(None, across, (label, rows), |c| (c.concurrency.unwrap_or(0), pick(c)))]
        } else {
            let loads: Vec<Option<u32>> = words::distinct(self.cells.iter().map(|c| c.concurrency));
            let panel = |load: &Option<u32>| {
                let axes = (("Output tokens", outputs.as_slice()), ("Input tokens", inputs.as_slice()));
                self.panel(Some(*load), axes.0, axes.1, |c| (c.output_len, c.input_len))
            };
            loads.iter().map(panel).collect()
        };
        let caption = format!(
            "Each cell: {} over {} in {}. {}. A colour is a claim: the 95 % interval, corrected for the number of cells, \
             excludes 1. Hatched: nothing can be claimed, also where a point is invalid. Intervals speak of the launches that were measured.",
            self.arms[1], self.arms[0], self.measure, self.slo
        );
        let (columns, width) = if panels.len() == 1 { (1, 560.0) } else { (2, 860.0) };
        let title = format!("Decision map - {} against {}", self.arms[1], self.arms[0]);
        Figure::new(panels).in_columns(columns).sized(width, 220.0).titled(title).captioned(caption)
    }

    fn panel(
        &self,
        load: Option<Option<u32>>,
        (x, columns): (&str, &[u32]),
        (y, rows): (&str, &[u32]),
        place: impl Fn(&DecisionCell) -> (u32, u32),
    ) -> Panel {
        let mut cells = Vec::new();
        for cell in self.cells.iter().filter(|cell| load.is_none_or(|load| cell.concurrency == load)) {
            let (column, row) = place(cell);
            let at = columns.iter().position(|v| *v == column).zip(rows.iter().position(|v| *v == row));
            let Some((column, row)) = at else { continue };
            // Without a claim no colour: it would be read as one.
            let value = cell.ratio.filter(|_| cell.winner.is_some()).map(f64::log2);
            cells.push(Cell { column, row, value, text: cell.text() });
        }
        let [below, above] = self.kinds.map(palette);
        let ramp = Ramp::Diverging { low: -OCTAVES, middle: 0.0, high: OCTAVES, below, above };
        let ticks = [(-2.0, "1/4×"), (-1.0, "1/2×"), (0.0, "1×"), (1.0, "2×"), (2.0, "4×")];
        let key = ColorKey {
            label: format!("{} over {}", self.arms[1], self.arms[0]),
            ticks: ticks.map(|(value, text)| (value, text.to_string())).to_vec(),
        };
        let names = |values: &[u32]| values.iter().map(u32::to_string).collect::<Vec<_>>();
        let panel = Panel::new(Axis::categories(x, names(columns)), Axis::categories(y, names(rows)));
        let panel = match load.flatten() {
            Some(level) => panel.titled(format!("{level} in flight (closed loop)")),
            None => panel,
        };
        panel.with(Cells { cells, ramp, key: Some(key) })
    }
}

impl DecisionCell {
    /// `1.8×`, `0.9× ?` where nothing can be claimed, or what stands instead of a number.
    fn text(&self) -> String {
        match (self.ratio, &self.winner) {
            (Some(ratio), Some(_)) => format!("{}×", words::decimal(ratio, 2)),
            (Some(ratio), None) => format!("{}× ?", words::decimal(ratio, 2)),
            (None, _) => self.note.clone(),
        }
    }
}

fn sorted(values: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut all: Vec<u32> = values.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// One closed loop that both arms ran.
struct Level {
    input: u32,
    output: u32,
    in_flight: u32,
    ratio: GoodputRatio,
    /// Whether no point of it is invalid.
    believed: bool,
}

impl Level {
    fn cell(self, arms: &[String; 2]) -> DecisionCell {
        let winner = self.ratio.value.filter(|_| self.ratio.claimed).map(|v| arms[usize::from(v > 1.0)].clone());
        let note = match self.ratio.value {
            None => "no goodput",
            Some(_) if !self.believed => "an invalid point",
            Some(_) => "",
        };
        DecisionCell {
            input_len: self.input,
            output_len: self.output,
            concurrency: Some(self.in_flight),
            ratio: self.ratio.value,
            ci95: self.ratio.ci95,
            winner,
            note: note.to_string(),
        }
    }
}

fn levels(pair: &GridPair, question: &Question, per_gpu: bool) -> Vec<Level> {
    let [a, b] = &pair.arms;
    let rates: Vec<RequestRate> = words::distinct(a.points.iter().map(|p| p.rate));
    let repeats = |arm: &ArmInput, rate: RequestRate| -> Vec<Arc<Samples>> {
        let of_rate = |p: &&PointInput| p.rate == rate;
        arm.points.iter().filter(of_rate).map(|p| Arc::clone(&p.samples)).collect()
    };
    let gpus = |arm: &ArmInput| arm.gpus.filter(|_| per_gpu).unwrap_or(1);
    let level = |rate: RequestRate| {
        let in_flight = rate.in_flight()?;
        let (of_a, of_b) = (repeats(a, rate), repeats(b, rate));
        if of_a.is_empty() || of_b.is_empty() {
            return None;
        }
        let of_a: Vec<&Samples> = of_a.iter().map(AsRef::as_ref).collect();
        let of_b: Vec<&Samples> = of_b.iter().map(AsRef::as_ref).collect();
        let ratio = GoodputRatio::new((&of_a, gpus(a)), (&of_b, gpus(b)), in_flight, &question.slo);
        let believed = pair.arms.iter().all(|arm| believed(arm, rate, question));
        Some(Level { input: pair.input, output: pair.output, in_flight, ratio, believed })
    };
    rates.into_iter().filter_map(level).collect()
}

fn believed(arm: &ArmInput, rate: RequestRate, question: &Question) -> bool {
    let of_rate = arm.points.iter().filter(|p| p.rate == rate);
    of_rate
        .into_iter()
        .all(|p| PointReport::new(p, arm.kind, question).is_some_and(|report| report.valid != Some(false)))
}

/// Rates were offered: the crossings are compared, as `compare` does.
fn crossing(pair: &GridPair, question: &Question, per_gpu: bool, arms: &[String; 2]) -> Option<DecisionCell> {
    let rated = |arm: &ArmInput| arm.points.iter().any(|p| !p.rate.is_infinite());
    if !pair.arms.iter().all(rated) {
        return None;
    }
    let comparison = Comparison::new(&pair.arms, question);
    let report = comparison.ratios.first()?;
    let ratio = if per_gpu { report.max_rate_per_gpu } else { report.max_rate };
    let winner = match report.claim.kind {
        ClaimKind::None => None,
        _ if per_gpu && pair.arms[0].gpus != pair.arms[1].gpus => {
            ratio.claims().then(|| usize::from(ratio.ci95.lo.is_some_and(|lo| lo > 1.0)))
        }
        _ => report.claim.better,
    };
    let note = match (ratio.value, ratio.censored) {
        (Some(_), _) => String::new(),
        (None, _) if winner.is_some() => "wins".to_string(),
        (None, _) => "open".to_string(),
    };
    Some(DecisionCell {
        input_len: pair.input,
        output_len: pair.output,
        concurrency: None,
        ratio: ratio.value,
        ci95: ratio.ci95,
        winner: winner.map(|arm| arms[arm].clone()),
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::inputs;
    use crate::report::samples::{Made, question};

    #[test]
    fn a_map_has_a_cell_for_each_pair_of_lengths_and_says_what_it_can_claim() {
        let arm = |made: Made| inputs::arm(&made.run(), None);
        let pair = |input: u32| GridPair {
            input,
            output: 128,
            arms: [arm(Made { knee: 3.0, ..Made::simple() }), arm(Made { knee: 12.0, ..Made::nixl() })],
        };
        let map = DecisionMap::new(&[pair(256), pair(1024)], &question(250.0, 9.0)).expect("a map");
        assert_eq!(map.cells.len(), 2);
        let text = String::from_utf8(map.table().expect("a table")).expect("UTF-8");
        assert!(text.lines().count() == 3 && text.contains("\n256,128,,"), "{text}");
        assert!(map.sentence().starts_with("Of 2 cells simple TP2 wins "), "{}", map.sentence());
        let svg = map.figure().draw().expect("draws").svg().expect("an SVG");
        assert!(svg.contains("Decision map"));
    }

    #[test]
    fn a_closed_loop_with_an_invalid_point_claims_nothing() {
        let closed = |made: Made, seconds: f64| {
            let mut arm = inputs::arm(&made.run(), None);
            for point in &mut arm.points {
                point.rate = RequestRate::closed(std::num::NonZeroU32::new(4).expect("a level"));
                point.duration_secs = Some(seconds);
            }
            arm
        };
        let slow = || closed(Made { rates: vec![2.0], ..Made::simple() }, 60.0);
        let fast = |why: &str| {
            let mut arm = closed(Made { rates: vec![8.0], ..Made::nixl() }, 15.0);
            let facts = arm.points[0].facts.as_mut().expect("facts");
            facts.engine_restarts = u32::from(!why.is_empty());
            arm
        };
        let map = |why: &str| {
            let pair = GridPair { input: 512, output: 32, arms: [slow(), fast(why)] };
            DecisionMap::new(&[pair], &question(60_000.0, 60_000.0)).expect("a map")
        };
        let good = map("");
        assert_eq!(good.cells[0].concurrency, Some(4));
        assert_eq!(good.cells[0].winner.as_deref(), Some("nixl 1P1D"), "{:?}", good.cells);
        let doubtful = map("an engine restarted");
        assert_eq!((&doubtful.cells[0].winner, doubtful.cells[0].note.as_str()), (&None, "an invalid point"));
        assert!(doubtful.cells[0].text().ends_with('?'));
    }
}
