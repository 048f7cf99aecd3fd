//! From what the plan says about requests to the requests themselves.
//!
//! [`PreparedWorkload::prepare`] reads the dataset once; [`PreparedWorkload::schedule`] gives a point's requests, due
//! times and lengths, complete before anything is sent; [`PreparedWorkload::render`] writes one prompt when it is
//! needed. All three depend on the plan and its seed alone, never on the topology under test, so every arm of a
//! comparison gets the same bytes at the same times.
//!
//! Prompts are fresh at every rate and attempt: otherwise prefix caches would serve the later points. Deliberately
//! absent: downloads, clocks, HTTP.

mod error;
mod lengths;
mod prompt;
mod rows;
mod seeds;
#[cfg(test)]
mod tests;
mod texts;
mod timed;
mod tokenizer;
mod trace;

pub use error::WorkloadError;
pub use lengths::LengthError;
pub use prompt::{Message, Prompt};
pub use tokenizer::{Tokenizer, TokenizerError, embedded};
pub use trace::{TraceHasher, TraceLine};

use crate::outcome::Request;
use crate::plan::arrivals::{self, Pattern};
use crate::plan::load::{Dataset, Endpoint, Extent, Lengths, Load, Workload};
use crate::units::{Offset, RequestRate, TokenCount};
use lengths::Sampler;
use prompt::{Alphabet, Stretch};
use seeds::Role;
use std::path::Path;
use texts::Text;
use timed::Recorded;

/// What to do with a request whose prompt and output together exceed the model's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlong {
    /// An error that names the request: nothing is sent that the server must refuse.
    #[default]
    Refuse,
    /// Shorten the prompt until it fits.
    Clip,
    /// Leave it out. A recorded trace then has a gap; random lengths, which have nothing to leave out, are clipped.
    Skip,
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
}

#[derive(Debug)]
enum Source {
    Random { input: Sampler, output: Sampler, prefix: Stretch, alphabet: Alphabet },
    Texts(Vec<Text>),
    Recorded { trace: Recorded, alphabet: Alphabet },
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
        let mut report = PrepareReport::default();
        let source = match &workload.dataset {
            Dataset::Random { input, output, prefix_len } => Source::Random {
                input: sampler("prompt", *input)?,
                output: sampler("output", *output)?,
                prefix: Stretch { seed: seeds::derive(Role::Prefix, &[load.seed]), tokens: prefix_len.get() },
                alphabet: alphabet(workload.endpoint, tokenizer)?,
            },
            Dataset::TimedTrace { path } => {
                let mut trace = timed::load(Path::new(path))?;
                fit(&mut trace, path, context, &mut report)?;
                Source::Recorded { trace, alphabet: alphabet(workload.endpoint, tokenizer)? }
            }
            dataset => {
                let Some(tokenizer) = tokenizer else {
                    return Err(WorkloadError::NeedsTokenizer { dataset: dataset.name() });
                };
                let search = texts::Search {
                    tokenizer,
                    seed: load.seed,
                    wanted: requests_in_run(load)?,
                    max_model_len: context.max_model_len,
                    overlong: context.overlong,
                };
                let (texts, found) = texts::load(dataset, &search)?;
                report = found;
                Source::Texts(texts)
            }
        };
        let prepared = PreparedWorkload { load: load.clone(), endpoint: workload.endpoint, context, source, report };
        load.rates.iter().try_for_each(|rate| prepared.schedule(*rate, 1).map(drop))?;
        Ok(prepared)
    }

    /// What became of the dataset's entries; all zero for `random`.
    pub fn report(&self) -> PrepareReport {
        self.report
    }

    /// Mean rate of a dataset with timestamps: arrivals `trace` at this rate are those recorded, second for second.
    pub fn native_rate(&self) -> Option<RequestRate> {
        arrivals::mean_rate(self.recorded_offsets()?)
    }

    /// The requests of one point. Equal arguments give equal schedules, whatever is under test.
    pub fn schedule(&self, rate: RequestRate, attempt: u32) -> Result<Schedule, WorkloadError> {
        let point = seeds::point(self.load.seed, rate, attempt);
        let due = due_offsets(&self.load, rate, attempt, self.recorded_offsets())?;
        let mut schedule = Schedule { rate, attempt, requests: Vec::with_capacity(due.len()), repeats: 0, clipped: 0 };
        match &self.source {
            Source::Random { input, output, prefix, .. } => {
                let mut rng = seeds::generator(seeds::derive(Role::Lengths, &[point]));
                for (index, due) in (0u32..).zip(due) {
                    let prompt = TokenCount(prefix.tokens.saturating_add(input.sample(&mut rng).get()));
                    let output_tokens = output.sample(&mut rng);
                    let prompt_tokens = self.fit_drawn(prompt, output_tokens, &mut schedule.clipped)?;
                    let seed = seeds::derive(Role::Prompt, &[point, u64::from(index)]);
                    schedule.requests.push(Request { index, due, prompt_tokens, output_tokens, seed });
                }
            }
            Source::Texts(texts) => {
                let start = self.sent_before(rate, attempt)?;
                for (index, due) in (0u32..).zip(due) {
                    let position = start + u64::from(index);
                    let seed = position % texts.len() as u64;
                    let Text { prompt_tokens, output_tokens, .. } = texts[seed as usize];
                    schedule.repeats += u32::from(position >= texts.len() as u64);
                    schedule.requests.push(Request { index, due, prompt_tokens, output_tokens, seed });
                }
            }
            Source::Recorded { trace, .. } => {
                for (index, due) in (0u32..).zip(due) {
                    let arrival = trace.arrival(index);
                    let (prompt_tokens, output_tokens) = (arrival.prompt_tokens, arrival.output_tokens);
                    schedule.repeats += u32::from(index as usize >= trace.arrivals.len());
                    schedule.requests.push(Request { index, due, prompt_tokens, output_tokens, seed: point });
                }
            }
        }
        Ok(schedule)
    }

    /// The prompt of a request of one of this workload's schedules.
    pub fn render(&self, request: &Request) -> Prompt {
        let prompt_tokens = request.prompt_tokens.get();
        match &self.source {
            Source::Random { prefix, alphabet, .. } => {
                let shared = Stretch { tokens: prefix.tokens.min(prompt_tokens), ..*prefix };
                let own = Stretch { seed: request.seed, tokens: prompt_tokens - shared.tokens };
                alphabet.write([shared, own].into_iter())
            }
            Source::Texts(texts) => {
                let prompt = texts.get(request.seed as usize).map(|t| t.prompt.to_string()).unwrap_or_default();
                match self.endpoint {
                    Endpoint::Completions => Prompt::Text(prompt),
                    Endpoint::Chat => Prompt::user(prompt),
                }
            }
            Source::Recorded { trace, alphabet } => alphabet.write(trace.stretches(request)),
        }
    }

    fn recorded_offsets(&self) -> Option<&[Offset]> {
        match &self.source {
            Source::Recorded { trace, .. } => Some(&trace.offsets),
            Source::Random { .. } | Source::Texts(_) => None,
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

    /// Requests of the run's earlier points: where this point goes on in the shuffled dataset.
    /// A rate that isn't in the plan comes after all that are.
    fn sent_before(&self, rate: RequestRate, attempt: u32) -> Result<u64, WorkloadError> {
        let rates = &self.load.rates;
        let position = rates.iter().position(|r| *r == rate).unwrap_or(rates.len());
        let earlier_attempts = (1..attempt).flat_map(|a| rates.iter().map(move |r| (*r, a)));
        let points = earlier_attempts.chain(rates[..position].iter().map(|r| (*r, attempt)));
        points.map(|(rate, attempt)| count(&self.load, rate, attempt)).sum()
    }
}

impl Recorded {
    fn arrival(&self, index: u32) -> &timed::Arrival {
        &self.arrivals[index as usize % self.arrivals.len()]
    }

    /// Named blocks first, then tokens of the request's own.
    fn stretches(&self, request: &Request) -> impl Iterator<Item = Stretch> {
        let point = request.seed;
        let own = Stretch { seed: seeds::derive(Role::Prompt, &[point, u64::from(request.index)]), tokens: u32::MAX };
        let blocks = self.arrival(request.index).blocks.iter().map(move |hash| Stretch {
            seed: seeds::derive(Role::Block, &[point, *hash]),
            tokens: timed::BLOCK_TOKENS,
        });
        blocks.chain([own]).scan(request.prompt_tokens.get(), |left, stretch| {
            let tokens = stretch.tokens.min(*left);
            *left -= tokens;
            (tokens > 0).then_some(Stretch { tokens, ..stretch })
        })
    }
}

fn sampler(which: &'static str, lengths: Lengths) -> Result<Sampler, WorkloadError> {
    Sampler::new(lengths).map_err(|source| WorkloadError::Lengths { which, source })
}

fn alphabet(endpoint: Endpoint, tokenizer: Option<&Tokenizer>) -> Result<Alphabet, WorkloadError> {
    match (endpoint, tokenizer) {
        (Endpoint::Completions, tokenizer) => Ok(Alphabet::ids(tokenizer)),
        (Endpoint::Chat, Some(tokenizer)) => Ok(Alphabet::words(tokenizer)?),
        (Endpoint::Chat, None) => Err(WorkloadError::ChatNeedsTokenizer),
    }
}

/// Clips or leaves out recorded requests that the model's context can't hold.
fn fit(
    trace: &mut Recorded,
    path: &str,
    context: PrepareContext,
    report: &mut PrepareReport,
) -> Result<(), WorkloadError> {
    report.candidates = trace.arrivals.len();
    let limit = context.max_model_len.map_or(u32::MAX, TokenCount::get);
    let Recorded { offsets, arrivals } = std::mem::take(trace);
    for (position, (at, mut arrival)) in offsets.into_iter().zip(arrivals).enumerate() {
        let (prompt, output) = (arrival.prompt_tokens.get(), arrival.output_tokens.get());
        let room = limit.saturating_sub(output);
        if prompt > room {
            match context.overlong {
                Overlong::Refuse => {
                    let what = format!("{path}, request {}", position + 1);
                    return Err(WorkloadError::Overlong { what, prompt, output, limit });
                }
                Overlong::Clip if room > 0 => {
                    report.clipped += 1;
                    arrival.prompt_tokens = TokenCount(room);
                }
                Overlong::Clip | Overlong::Skip => {
                    report.skipped += 1;
                    continue;
                }
            }
        }
        trace.offsets.push(at);
        trace.arrivals.push(arrival);
    }
    if trace.arrivals.is_empty() {
        let problem = format!("every request exceeds the model's context of {limit} tokens");
        return Err(WorkloadError::File { path: path.into(), problem, remedy: "serve a longer --max-model-len" });
    }
    Ok(())
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

fn requests_in_run(load: &Load) -> Result<usize, WorkloadError> {
    let points = (1..=load.attempts).flat_map(|attempt| load.rates.iter().map(move |rate| (*rate, attempt)));
    let total: Result<u64, _> = points.map(|(rate, attempt)| count(load, rate, attempt)).sum();
    Ok(usize::try_from(total?).unwrap_or(usize::MAX))
}
