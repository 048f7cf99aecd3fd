//! From what the plan says about requests to the requests themselves.
//!
//! [`PreparedWorkload::prepare`] reads the dataset once; [`PreparedWorkload::schedule`] gives a point's requests, due
//! times and lengths, complete before anything is sent; [`PreparedWorkload::render`] writes one prompt when it is
//! needed. All three depend on the plan and its seed alone, never on the topology under test, so every arm of a
//! comparison gets the same bytes at the same times.
//!
//! Prompts are fresh at every rate and attempt: otherwise prefix caches would serve the later points. Deliberately
//! absent: downloads, clocks, HTTP.

mod chat;
mod conversations;
mod error;
mod images;
mod lengths;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod prompt;
mod rows;
mod seeds;
mod source;
#[cfg(test)]
mod tests;
mod texts;
mod timed;
mod tokenizer;
mod trace;
mod warm_up;

pub use error::WorkloadError;
pub use lengths::LengthError;
pub use prompt::{Message, Picture, Prompt, Vision};
pub use tokenizer::{Tokenizer, TokenizerError, embedded};
pub use trace::{TraceHasher, TraceLine};
pub use warm_up::WarmUpRequest;

pub use crate::plan::load::Overlong;

use crate::outcome::Request;
use crate::plan::arrivals::{self, ArrivalError, Pattern};
use crate::plan::load::{Endpoint, Extent, Load, Workload};
use crate::units::{Offset, RequestRate, TokenCount};
use prompt::Stretch;
use seeds::Role;
use source::Source;
use std::path::Path;
use texts::Text;

/// Expected requests from which on a point can't be empty, whatever is drawn.
const SURELY_SOME: f64 = 1e5;
/// A token id with its comma, or a word.
const BYTES_PER_TOKEN: usize = 7;

/// The rate at which the requests of a trace file were recorded, over as much of it as a point takes.
pub fn recorded_rate(trace: &Path, extent: Extent) -> Result<RequestRate, WorkloadError> {
    arrivals::native_rate(&timed::load(trace)?.offsets, extent).ok_or(ArrivalError::NoTimestamps.into())
}

/// What is known of the model when a workload is prepared.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrepareContext {
    /// Context length; `None`: unknown, nothing is checked.
    pub max_model_len: Option<TokenCount>,
    pub overlong: Overlong,
}

/// What became of the dataset's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrepareReport {
    pub candidates: usize,
    /// Shorter than the dataset's minimum.
    pub too_short: usize,
    /// Longer than the dataset's maximum.
    pub too_long: usize,
    /// Beyond the model's context and shortened.
    pub clipped: usize,
    /// Beyond the model's context and left out.
    pub skipped: usize,
}

impl std::fmt::Display for PrepareReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PrepareReport { candidates, too_short, too_long, clipped, skipped } = self;
        write!(
            f,
            "{candidates} entries: {too_short} too short, {too_long} too long, {clipped} clipped to the context, {skipped} skipped for it"
        )
    }
}

/// A point's requests, sorted by due, complete before the first send.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub rate: RequestRate,
    pub attempt: u32,
    pub requests: Vec<Request>,
    /// Requests whose prompt was sent before in this run, because the dataset was exhausted.
    pub repeats: u32,
    /// Requests whose drawn lengths were cut to the model's context.
    pub clipped: u32,
}

impl Schedule {
    /// The last due; zero for an empty schedule.
    pub fn span(&self) -> Offset {
        self.requests.last().map_or(Offset::ZERO, |r| r.due)
    }
}

/// A workload with its dataset read: gives schedules and prompts.
#[derive(Debug)]
pub struct PreparedWorkload {
    load: Load,
    endpoint: Endpoint,
    context: PrepareContext,
    source: Source,
    report: PrepareReport,
    warnings: Vec<String>,
}

impl PreparedWorkload {
    /// Reads dataset and tokenizer, and checks that every point of the load has a schedule.
    pub fn prepare(workload: &Workload, load: &Load, context: PrepareContext) -> Result<Self, WorkloadError> {
        let tokenizer = workload.tokenizer.as_deref().map(Tokenizer::load).transpose()?;
        Self::prepare_with(workload, load, context, tokenizer.as_ref())
    }

    fn prepare_with(
        workload: &Workload,
        load: &Load,
        context: PrepareContext,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self, WorkloadError> {
        let (source, report, skipped) = Source::read(workload, load, context, tokenizer)?;
        let mut warnings: Vec<String> =
            workload.dataset.path().and_then(|path| skipped.warning(Path::new(path))).into_iter().collect();
        warnings.extend(source.too_few(load)?);
        let endpoint = workload.endpoint;
        let prepared = PreparedWorkload { load: load.clone(), endpoint, context, source, report, warnings };
        prepared.load.rates.iter().try_for_each(|rate| prepared.schedule(*rate, 1).map(drop))?;
        prepared.check_points()?;
        Ok(prepared)
    }

    /// A point without a request would be measured without a result, and pass any gate.
    fn check_points(&self) -> Result<(), WorkloadError> {
        let Extent::Duration(window) = self.load.extent else { return Ok(()) };
        let secs = window.as_secs_f64();
        for (rate, attempt) in points(&self.load).filter(|(rate, _)| rate.per_second() * secs < SURELY_SOME) {
            if due_offsets(&self.load, rate, attempt, self.recorded_offsets())?.is_empty() {
                return Err(WorkloadError::Empty { rate, attempt, secs });
            }
        }
        Ok(())
    }

    /// What became of the dataset's entries; all zero for `random`.
    pub fn report(&self) -> PrepareReport {
        self.report
    }

    /// What whoever measures with it should know: rows that were skipped, prompts that will be sent twice.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The requests of one point. Equal arguments give equal schedules, whatever is under test.
    pub fn schedule(&self, rate: RequestRate, attempt: u32) -> Result<Schedule, WorkloadError> {
        let point = seeds::point(self.load.seed, rate, attempt);
        let due = due_offsets(&self.load, rate, attempt, self.recorded_offsets())?;
        let mut schedule = Schedule { rate, attempt, requests: Vec::with_capacity(due.len()), repeats: 0, clipped: 0 };
        match &self.source {
            Source::Random { .. } => schedule.requests = self.drawn(point, due.into_iter(), &mut schedule.clipped)?,
            Source::Texts(texts) => {
                let start = self.sent_before(rate, attempt)?.iter().sum::<u64>();
                for (index, due) in (0u32..).zip(due) {
                    let position = start + u64::from(index);
                    let seed = position % texts.len() as u64;
                    let Text { prompt_tokens, output_tokens, .. } = texts[seed as usize];
                    schedule.repeats += u32::from(position >= texts.len() as u64);
                    schedule.requests.push(Request { index, due, prompt_tokens, output_tokens, seed });
                }
            }
            Source::Conversations(all) => {
                let share = all.share(&self.sent_before(rate, attempt)?, due.len());
                schedule.repeats = share.repeats;
                for ((index, due), place) in (0u32..).zip(due).zip(share.places) {
                    let (prompt_tokens, output_tokens) = all.lengths(place);
                    schedule.requests.push(Request { index, due, prompt_tokens, output_tokens, seed: place.seed() });
                }
            }
            Source::Recorded { trace, .. } => {
                schedule.requests = (0u32..).zip(due).map(|(index, due)| trace.request(index, due, point)).collect();
                schedule.repeats = trace.repeats(schedule.requests.len());
            }
        }
        Ok(schedule)
    }

    /// Random requests of a point; none for other datasets.
    fn drawn(
        &self,
        point: u64,
        due: impl Iterator<Item = Offset>,
        clipped: &mut u32,
    ) -> Result<Vec<Request>, WorkloadError> {
        let Source::Random { input, output, shared, .. } = &self.source else { return Ok(Vec::new()) };
        let mut rng = seeds::generator(seeds::derive(Role::Lengths, &[point]));
        let drawn = (0u32..).zip(due).map(|(index, due)| {
            let prompt = TokenCount(shared.tokens.saturating_add(input.sample(&mut rng).get()));
            let output_tokens = output.sample(&mut rng);
            let prompt_tokens = self.fit_drawn(prompt, output_tokens, clipped)?;
            let seed = seeds::derive(Role::Prompt, &[point, u64::from(index)]);
            Ok(Request { index, due, prompt_tokens, output_tokens, seed })
        });
        drawn.collect()
    }

    /// The prompt of a request of one of this workload's schedules.
    pub fn render(&self, request: &Request) -> Prompt {
        let prompt_tokens = request.prompt_tokens.get();
        match &self.source {
            Source::Random { shared, alphabet, .. } => {
                let shared = shared.of(request.seed);
                let shared = shared.map(|s| Stretch { tokens: s.tokens.min(prompt_tokens), ..s });
                let own = prompt_tokens - shared.map_or(0, |s| s.tokens);
                alphabet.write(shared.into_iter().chain([Stretch { seed: request.seed, tokens: own }]))
            }
            Source::Texts(texts) => match texts.get(request.seed as usize) {
                Some(text) => text.render(self.endpoint),
                None => Prompt::Text(String::new()),
            },
            Source::Conversations(all) => all.render(request.seed, self.endpoint),
            Source::Recorded { trace, alphabet } => alphabet.write(trace.stretches(request)),
        }
    }

    fn recorded_offsets(&self) -> Option<&[Offset]> {
        match &self.source {
            Source::Recorded { trace, .. } => Some(&trace.offsets),
            Source::Random { .. } | Source::Texts(_) | Source::Conversations(_) => None,
        }
    }

    fn fit_drawn(
        &self,
        prompt: TokenCount,
        output: TokenCount,
        clipped: &mut u32,
    ) -> Result<TokenCount, WorkloadError> {
        let limit = self.context.max_model_len.map_or(u32::MAX, TokenCount::get);
        if prompt.get().saturating_add(output.get()) <= limit {
            return Ok(prompt);
        }
        let room = limit.saturating_sub(output.get());
        if self.context.overlong == Overlong::Refuse || room == 0 {
            let what = "random lengths".to_string();
            return Err(WorkloadError::Overlong { what, prompt: prompt.get(), output: output.get(), limit });
        }
        *clipped += 1;
        Ok(TokenCount(room))
    }

    /// Requests of each of the run's earlier points: where this point goes on in the shuffled dataset.
    /// A rate that isn't in the plan comes after all that are.
    fn sent_before(&self, rate: RequestRate, attempt: u32) -> Result<Vec<u64>, WorkloadError> {
        let rates = &self.load.rates;
        let position = rates.iter().position(|r| *r == rate).unwrap_or(rates.len());
        let earlier_attempts = (1..attempt).flat_map(|a| rates.iter().map(move |r| (*r, a)));
        let points = earlier_attempts.chain(rates[..position].iter().map(|r| (*r, attempt)));
        points.map(|(rate, attempt)| count(&self.load, rate, attempt)).collect()
    }

    /// Bytes of the longest prompt of the schedule, about.
    pub fn largest_prompt_bytes(&self, schedule: &Schedule) -> usize {
        let longest = schedule.requests.iter().map(|r| r.prompt_tokens.get() as usize).max().unwrap_or(1);
        let picture = match &self.source {
            Source::Texts(texts) => {
                texts.iter().filter_map(|t| Some(t.picture.as_ref()?.bytes.len())).max().unwrap_or(0)
            }
            _ => 0,
        };
        longest * BYTES_PER_TOKEN + picture.div_ceil(3) * 4
    }
}

fn due_offsets(
    load: &Load,
    rate: RequestRate,
    attempt: u32,
    recorded: Option<&[Offset]>,
) -> Result<Vec<Offset>, WorkloadError> {
    let pattern = Pattern { rate, extent: load.extent, arrivals: load.arrivals, ramp_up: load.ramp_up, recorded };
    let seed = seeds::derive(Role::Arrivals, &[seeds::point(load.seed, rate, attempt)]);
    Ok(arrivals::due_offsets(&pattern, seed)?)
}

fn count(load: &Load, rate: RequestRate, attempt: u32) -> Result<u64, WorkloadError> {
    match load.extent {
        Extent::Requests(n) => Ok(u64::from(n)),
        Extent::Duration(_) => Ok(due_offsets(load, rate, attempt, None)?.len() as u64),
    }
}

/// Points in the order of attempts; the order of measuring within one is the plan's.
fn points(load: &Load) -> impl Iterator<Item = (RequestRate, u32)> {
    (1..=load.repeats()).flat_map(|attempt| load.rates.iter().map(move |rate| (*rate, attempt)))
}

fn requests_in_run(load: &Load) -> Result<usize, WorkloadError> {
    let total: Result<u64, _> = points(load).map(|(rate, attempt)| count(load, rate, attempt)).sum();
    Ok(usize::try_from(total?).unwrap_or(usize::MAX))
}
