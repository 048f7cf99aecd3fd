//! Grids of lengths and loads, as `combos.yaml` names them: lists that are multiplied, or pairs.

use super::error::PlanError;
use super::options::{LoadOptions, WorkloadOptions};
use super::typed::{self, Levels, Prompts, Rates};
use crate::units::RequestRate;
use crate::words;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::str::FromStr;

/// Cells of a grid at most.
const MOST_CELLS: usize = 2000;

/// A grid, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Combos {
    pub description: Option<String>,
    pub model: Option<String>,
    /// Of a server that runs already.
    pub base_url: Option<String>,
    pub tokenizer: Option<String>,
    /// Limits as `--goodput` takes them.
    pub goodput: Vec<String>,
    /// In the order they are measured.
    pub runs: Vec<GridRun>,
}

/// Cells of the same lengths that make one run: their loads differ.
#[derive(Debug, Clone, PartialEq)]
pub struct GridRun {
    pub input: u32,
    pub output: u32,
    pub load: RunLoad,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RunLoad {
    Closed {
        levels: Vec<NonZeroU32>,
        prompts: Vec<u32>,
    },
    Open {
        rates: Vec<RequestRate>,
        limit: Option<u32>,
        prompts: Option<Vec<u32>>,
    },
    /// The strategy or the topology says what is offered.
    Unsaid,
}

impl GridRun {
    /// How many points a deployment has in it; `None` where the strategy decides.
    pub fn points(&self) -> Option<usize> {
        match &self.load {
            RunLoad::Closed { levels, .. } => Some(levels.len()),
            RunLoad::Open { rates, .. } => Some(rates.len()),
            RunLoad::Unsaid => None,
        }
    }

    /// Puts lengths and loads in the place of what flags say.
    pub fn apply(&self, workload: &mut WorkloadOptions, load: &mut LoadOptions) {
        workload.dataset.random_input_len = Some(self.input);
        workload.dataset.random_output_len = Some(self.output);
        match &self.load {
            RunLoad::Closed { levels, prompts } => {
                load.concurrency = Some(Levels(levels.clone()));
                load.num_prompts = Some(Prompts::List(prompts.clone()));
            }
            RunLoad::Open { rates, limit, prompts } => {
                load.request_rate = Some(Rates(rates.clone()));
                load.max_concurrency = *limit;
                if let Some(prompts) = prompts {
                    load.num_prompts = Some(Prompts::List(prompts.clone()));
                }
            }
            RunLoad::Unsaid => {}
        }
    }
}

/// `256 in, 128 out`.
impl std::fmt::Display for GridRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in, {} out", self.input, self.output)
    }
}

/// One value or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a whole number, or a list of them; rates, prompts and limits may be words")]
enum Many<T> {
    One(T),
    List(Vec<T>),
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Many::List(Vec::new())
    }
}

impl<T> Many<T> {
    fn len(&self) -> usize {
        match self {
            Many::One(_) => 1,
            Many::List(list) => list.len(),
        }
    }

    fn all(self) -> Vec<T> {
        match self {
            Many::One(one) => vec![one],
            Many::List(list) => list,
        }
    }
}

/// `100`, or `10x`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum NumberOrWord {
    Number(f64),
    Word(String),
}

impl NumberOrWord {
    fn parse<T: FromStr<Err = String>>(&self, key: &str) -> Result<T, PlanError> {
        let text = match self {
            NumberOrWord::Number(n) => n.to_string(),
            NumberOrWord::Word(word) => word.clone(),
        };
        text.parse().map_err(|why: String| PlanError::value(key, &text, &why))
    }
}

/// The file as it stands.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ComboFile {
    description: Option<String>,
    model: Option<String>,
    base_url: Option<String>,
    tokenizer: Option<String>,
    goodput: Many<String>,
    input_len: Many<u32>,
    output_len: Many<u32>,
    input_output: Vec<(u32, u32)>,
    concurrency: Many<u32>,
    prompt: Many<NumberOrWord>,
    concurrency_prompts: Vec<(u32, NumberOrWord)>,
    request_rate: Many<NumberOrWord>,
}

/// What one cell offers.
#[derive(Debug, Clone, PartialEq)]
struct CellLoad {
    /// `None`: a closed loop, or nothing said.
    rate: Option<RequestRate>,
    in_flight: Option<NonZeroU32>,
    prompts: Option<u32>,
}

/// What flags put in the place of the file's own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    pub input: Option<u32>,
    pub output: Option<u32>,
    pub levels: Option<Vec<u32>>,
    pub prompts: Option<Prompts>,
    pub rates: Option<Vec<RequestRate>>,
}

impl ComboFile {
    /// What its lists make, the same twice included.
    fn cells(&self) -> u64 {
        let lengths = match self.input_output.len() {
            0 => [self.input_len.len(), self.output_len.len()],
            pairs => [pairs, 1],
        };
        let loads = match self.concurrency_prompts.len() {
            0 => [self.concurrency.len(), self.prompt.len()],
            pairs => [pairs, 1],
        };
        let lists = lengths.into_iter().chain(loads).chain([self.request_rate.len()]);
        lists.fold(1, |cells, n| cells.saturating_mul(n.max(1) as u64))
    }

    fn overridden(mut self, by: &Overrides) -> ComboFile {
        for pair in &mut self.input_output {
            *pair = (by.input.unwrap_or(pair.0), by.output.unwrap_or(pair.1));
        }
        if self.input_output.is_empty() {
            self.input_len = by.input.map_or(self.input_len, Many::One);
            self.output_len = by.output.map_or(self.output_len, Many::One);
        }
        let prompts: Option<Vec<NumberOrWord>> = by.prompts.as_ref().map(|prompts| match prompts {
            Prompts::Each(n) => vec![NumberOrWord::Number(f64::from(*n))],
            Prompts::List(list) => list.iter().map(|n| NumberOrWord::Number(f64::from(*n))).collect(),
            Prompts::PerSlot(times) => vec![NumberOrWord::Word(format!("{times}x"))],
        });
        if by.levels.is_some() || prompts.is_some() {
            let levels: Vec<u32> = match self.concurrency_prompts.as_slice() {
                [] => self.concurrency.all(),
                pairs => pairs.iter().map(|(level, _)| *level).collect(),
            };
            self.concurrency = Many::List(by.levels.clone().unwrap_or(levels));
            self.prompt = prompts.map_or(self.prompt, Many::List);
            self.concurrency_prompts.clear();
        }
        if let Some(rates) = &by.rates {
            self.request_rate = Many::List(rates.iter().map(|rate| NumberOrWord::Number(rate.per_second())).collect());
        }
        self
    }
}

impl Combos {
    /// `origin` names the text in messages.
    pub fn parse(text: &str, origin: &str) -> Result<Combos, PlanError> {
        Combos::parse_with(text, origin, &Overrides::default())
    }

    /// The same with something in the place of what the text says.
    pub fn parse_with(text: &str, origin: &str, overrides: &Overrides) -> Result<Combos, PlanError> {
        let file: ComboFile =
            serde_saphyr::from_str(text).map_err(|e| PlanError::value("the grid", origin, &e.to_string()))?;
        let file = file.overridden(overrides);
        // Before anything is multiplied.
        if file.cells() > MOST_CELLS as u64 {
            let remedy = format!("{} cells are more than {MOST_CELLS}: split the grid", file.cells());
            return Err(PlanError::value("the grid", origin, &remedy));
        }
        let pairs = pairs(&file)?;
        let loads = loads(&file)?;
        let runs = pairs.iter().flat_map(|pair| runs(*pair, &loads)).collect();
        let ComboFile { description, model, base_url, tokenizer, goodput, .. } = file;
        let goodput = goodput.all().iter().flat_map(|words| words.split_whitespace()).map(str::to_string).collect();
        Ok(Combos { description, model, base_url, tokenizer, goodput, runs })
    }

    /// Different lengths in it.
    pub fn pairs(&self) -> usize {
        words::distinct(self.runs.iter().map(|run| (run.input, run.output))).len()
    }
}

fn given_twice(one: &str, other: &str) -> PlanError {
    PlanError::value("the grid", one, &format!("it stands beside {other}: give the lists or the pairs"))
}

fn pairs(file: &ComboFile) -> Result<Vec<(u32, u32)>, PlanError> {
    let (inputs, outputs) = (file.input_len.clone().all(), file.output_len.clone().all());
    let pairs: Vec<(u32, u32)> = match (file.input_output.as_slice(), inputs.is_empty(), outputs.is_empty()) {
        ([], false, false) => inputs.iter().flat_map(|i| outputs.iter().map(move |o| (*i, *o))).collect(),
        ([], ..) => {
            let remedy = "give input_len and output_len, or input_output: [[256, 128], ..]".to_string();
            return Err(PlanError::Missing { what: "the grid's lengths".to_string(), remedy });
        }
        (pairs, true, true) => pairs.to_vec(),
        _ => return Err(given_twice("input_output", "input_len or output_len")),
    };
    match pairs.iter().find(|(i, o)| *i == 0 || *o == 0) {
        Some((i, o)) => Err(PlanError::value("input and output", format!("[{i}, {o}]"), "give at least 1 token")),
        None => Ok(words::distinct(pairs)),
    }
}

/// Every combination of what is offered; one that says nothing where the file says nothing.
fn loads(file: &ComboFile) -> Result<Vec<CellLoad>, PlanError> {
    let levels = levels(file)?;
    let rates: Vec<RequestRate> =
        file.request_rate.clone().all().iter().map(|r| r.parse("request_rate")).collect::<Result<_, _>>()?;
    let rates: Vec<Option<RequestRate>> =
        if rates.is_empty() { vec![None] } else { rates.into_iter().map(Some).collect() };
    let mut loads = Vec::new();
    for (in_flight, prompts) in levels {
        for rate in &rates {
            let load = cell(*rate, in_flight, prompts.as_ref())?;
            if !loads.contains(&load) {
                loads.push(load);
            }
        }
    }
    Ok(loads)
}

type LevelAndPrompts = (Option<NonZeroU32>, Option<Prompts>);

fn levels(file: &ComboFile) -> Result<Vec<LevelAndPrompts>, PlanError> {
    let level = |n: u32| typed::level(n).map_err(|why| PlanError::value("concurrency", n, &why));
    let prompt = |word: &NumberOrWord| word.parse::<Prompts>("prompt");
    let (concurrency, prompts) = (file.concurrency.clone().all(), file.prompt.clone().all());
    if !file.concurrency_prompts.is_empty() {
        if !concurrency.is_empty() || !prompts.is_empty() {
            return Err(given_twice("concurrency_prompts", "concurrency or prompt"));
        }
        return file.concurrency_prompts.iter().map(|(n, word)| Ok((Some(level(*n)?), Some(prompt(word)?)))).collect();
    }
    let prompts: Vec<Option<Prompts>> = match prompts.as_slice() {
        [] => vec![None],
        words => words.iter().map(|word| prompt(word).map(Some)).collect::<Result<_, _>>()?,
    };
    let concurrency: Vec<Option<NonZeroU32>> = match concurrency.as_slice() {
        [] => vec![None],
        levels => levels.iter().map(|n| level(*n).map(Some)).collect::<Result<_, _>>()?,
    };
    Ok(concurrency.iter().flat_map(|level| prompts.iter().map(move |n| (*level, n.clone()))).collect())
}

fn cell(
    rate: Option<RequestRate>,
    in_flight: Option<NonZeroU32>,
    prompts: Option<&Prompts>,
) -> Result<CellLoad, PlanError> {
    let refused = |value: &str, remedy: &str| Err(PlanError::value("prompt", value, remedy));
    let prompts = match (prompts, in_flight) {
        (Some(Prompts::Each(0) | Prompts::PerSlot(0)), _) => return refused("0", "give at least 1"),
        (Some(Prompts::Each(n)), _) => Some(*n),
        (Some(Prompts::PerSlot(times)), Some(level)) => Some(level.get().saturating_mul(*times)),
        (Some(Prompts::PerSlot(times)), None) => {
            return refused(&format!("{times}x"), "a multiple is of the requests in flight: give concurrency too");
        }
        (Some(Prompts::List(_)), _) => return refused("a list in one word", "give a YAML list: [10, 20]"),
        (None, Some(level)) => Some(level.get().saturating_mul(Levels::PROMPTS_EACH)),
        (None, None) => None,
    };
    // With a limit, all at once is a closed loop.
    let rate = rate.filter(|rate| in_flight.is_none() || !rate.is_infinite());
    Ok(CellLoad { rate, in_flight, prompts })
}

/// Cells of one pair of lengths as runs: a run holds each load once.
fn runs((input, output): (u32, u32), loads: &[CellLoad]) -> Vec<GridRun> {
    let mut runs: Vec<RunLoad> = Vec::new();
    for load in loads {
        if !runs.iter_mut().any(|run| run.take(load)) {
            runs.push(RunLoad::of(load));
        }
    }
    runs.into_iter().map(|load| GridRun { input, output, load }).collect()
}

impl RunLoad {
    fn of(cell: &CellLoad) -> RunLoad {
        match (cell.rate, cell.in_flight) {
            (Some(rate), limit) => RunLoad::Open {
                rates: vec![rate],
                limit: limit.map(NonZeroU32::get),
                prompts: cell.prompts.map(|n| vec![n]),
            },
            (None, Some(level)) => RunLoad::Closed { levels: vec![level], prompts: cell.prompts.into_iter().collect() },
            (None, None) => RunLoad::Unsaid,
        }
    }

    /// Whether the cell fits into this run; then it is in it.
    fn take(&mut self, cell: &CellLoad) -> bool {
        match (self, cell.rate, cell.in_flight) {
            (RunLoad::Closed { levels, prompts }, None, Some(level)) if !levels.contains(&level) => {
                levels.push(level);
                prompts.extend(cell.prompts);
                true
            }
            (RunLoad::Open { rates, limit, prompts }, Some(rate), in_flight)
                if !rates.contains(&rate)
                    && *limit == in_flight.map(NonZeroU32::get)
                    && prompts.is_some() == cell.prompts.is_some() =>
            {
                rates.push(rate);
                if let Some((all, n)) = prompts.as_mut().zip(cell.prompts) {
                    all.push(n);
                }
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs_of(text: &str) -> Vec<GridRun> {
        Combos::parse(text, "combos.yaml").expect(text).runs
    }

    fn closed(levels: &[u32], prompts: &[u32]) -> RunLoad {
        let levels = levels.iter().filter_map(|n| NonZeroU32::new(*n)).collect();
        RunLoad::Closed { levels, prompts: prompts.to_vec() }
    }

    #[test]
    fn lists_are_multiplied_and_one_run_holds_all_levels_of_a_pair() {
        let runs = runs_of("input_len: [256, 512]\noutput_len: 128\nconcurrency: [1, 5]\nprompt: 20\n");
        let load = closed(&[1, 5], &[20, 20]);
        let run = |input| GridRun { input, output: 128, load: load.clone() };
        assert_eq!(runs, [run(256), run(512)]);
    }

    #[test]
    fn lists_that_make_more_than_can_be_measured_are_refused_before_they_are_multiplied() {
        let list = format!("{:?}", (1..20_000).collect::<Vec<u32>>());
        let text = format!("input_len: {list}\noutput_len: {list}\nconcurrency: {list}\nprompt: {list}\n");
        let refused = Combos::parse(&text, "combos.yaml").expect_err("too many").to_string();
        assert!(refused.contains("split the grid"), "{refused}");
        let words =
            Combos::parse("input_len: ['x']\noutput_len: 1\n", "combos.yaml").expect_err("no number").to_string();
        assert!(words.contains("a whole number, or a list"), "{words}");
    }

    #[test]
    fn pairs_stay_pairs() {
        let runs = runs_of("input_output: [[256,128],[2048,64]]\nconcurrency_prompts: [[1,20],[5,10x]]\n");
        assert_eq!(runs.len(), 2);
        assert_eq!((runs[1].input, runs[1].output), (2048, 64));
        assert_eq!(runs[0].load, closed(&[1, 5], &[20, 50]));
    }

    #[test]
    fn a_level_with_two_numbers_of_prompts_takes_two_runs() {
        let runs = runs_of("input_len: 8\noutput_len: 8\nconcurrency: [1, 2]\nprompt: [10, 3x]\n");
        let loads: Vec<_> = runs.iter().map(|r| r.load.clone()).collect();
        assert_eq!(loads, [closed(&[1, 2], &[10, 10]), closed(&[1, 2], &[3, 6])]);
    }

    #[test]
    fn rates_make_an_open_loop_and_a_level_beside_them_a_limit() {
        let rate = |r| RequestRate::new(r).expect("a rate");
        let open = |limit, prompts| RunLoad::Open { rates: vec![rate(0.5), rate(2.0)], limit, prompts };
        let one = |text: &str| runs_of(&format!("input_len: 8\noutput_len: 8\n{text}"))[0].load.clone();
        assert_eq!(one("request_rate: [0.5, 2]\n"), open(None, None));
        assert_eq!(one("request_rate: [0.5, 2]\nconcurrency: 4\nprompt: 9\n"), open(Some(4), Some(vec![9, 9])));
        assert_eq!(one("request_rate: inf\nconcurrency: 4\nprompt: 9\n"), closed(&[4], &[9]));
        assert_eq!(one(""), RunLoad::Unsaid);
    }

    #[test]
    fn flags_take_the_place_of_lists_and_of_halves_of_pairs() {
        let text = "input_output: [[256,128],[512,64]]\nconcurrency_prompts: [[1,20],[5,50]]\n";
        let with = |by: Overrides| Combos::parse_with(text, "combos.yaml", &by).expect("a grid").runs;
        let runs = with(Overrides { output: Some(32), prompts: Some(Prompts::PerSlot(2)), ..Overrides::default() });
        assert_eq!((runs[1].input, runs[1].output), (512, 32));
        assert_eq!(runs[0].load, closed(&[1, 5], &[2, 10]));
        let runs = with(Overrides { levels: Some(vec![3]), ..Overrides::default() });
        assert_eq!(runs[0].load, closed(&[3], &[30]));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, why) in [
            ("input_len: 8\n", "output_len"),
            ("input_len: 8\noutput_len: 8\nconcurency: 1\n", "concurency"),
            ("input_len: 8\noutput_len: 8\ninput_output: [[1,1]]\n", "lists or the pairs"),
            ("input_len: 8\noutput_len: 8\nprompt: 10x\n", "give concurrency too"),
            ("input_len: 0\noutput_len: 8\n", "at least 1 token"),
            ("input_len: 8\noutput_len: 8\nconcurrency: 0\n", "at least 1 request in flight"),
        ] {
            let error = Combos::parse(text, "combos.yaml").expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
