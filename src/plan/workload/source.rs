//! Where a workload's requests come from: each dataset, read and checked.

use super::conversations::{self, Conversations};
use super::entries::{PrepareContext, PrepareReport};
use super::error::WorkloadError;
use super::images;
use super::lengths::Sampler;
use super::points::{count, points, requests_in_run};
use super::prompt::{Alphabet, PromptSegment};
use super::rows::Skipped;
use super::seeds::{self, SeedPurpose};
use super::sessions::{DatasetTurn, PointSessions};
use super::texts::{self, Found, Text};
use super::timed::{self, Recorded};
use super::tokenizer::Tokenizer;
use crate::outcome::Request;
use crate::plan::arrivals::{self, ArrivalError};
use crate::plan::dataset::Dataset;
use crate::plan::lengths::{Lengths, Prefixes};
use crate::plan::load::{Endpoint, Extent, Load, Overlong, Workload};
use crate::units::{Offset, RequestRate, TokenCount};
use rand::RngExt;
use std::path::Path;

/// The rate at which the requests of a trace file were recorded, over as much of it as a point takes.
pub fn recorded_rate(trace: &Path, extent: Extent) -> Result<RequestRate, WorkloadError> {
    arrivals::native_rate(&timed::load(trace)?.offsets, extent).ok_or(ArrivalError::NoTimestamps.into())
}

#[derive(Debug)]
pub(super) enum Source {
    Random { input: Sampler, output: Sampler, shared: Shared, alphabet: Alphabet },
    Texts(Vec<Text>),
    Conversations(Conversations),
    Recorded { trace: Recorded, alphabet: Alphabet },
}

/// Beginnings that random prompts have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    plan_seed: u64,
    pub(super) tokens: u32,
    prefixes: Prefixes,
}

impl Shared {
    /// The beginning of the prompt with this seed: one of the shared ones, or none.
    pub(super) fn of(&self, prompt_seed: u64) -> Option<PromptSegment> {
        let Prefixes { count, share } = self.prefixes;
        let mut rng = seeds::generator(seeds::derive(SeedPurpose::PrefixChoice, &[prompt_seed]));
        let number = rng.random_range(0..count.max(1));
        let shares = rng.random_bool(share.clamp(0.0, 1.0));
        // The only one keeps the name it had when there could be no others: traces stay what they were.
        let parts = [self.plan_seed, u64::from(number)];
        let seed = seeds::derive(SeedPurpose::Prefix, if count > 1 { &parts } else { &parts[..1] });
        (shares && self.tokens > 0).then_some(PromptSegment { seed, tokens: self.tokens })
    }
}

impl Source {
    /// Reads the workload's dataset, as much of it as the load needs.
    pub(super) fn read(
        workload: &Workload,
        load: &Load,
        context: PrepareContext,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<(Self, PrepareReport, Skipped), WorkloadError> {
        match &workload.dataset {
            Dataset::Random { input, output, prefix_len, prefixes } => {
                let random = Source::Random {
                    input: sampler("prompt", *input)?,
                    output: sampler("output", *output)?,
                    shared: Shared { plan_seed: load.seed, tokens: prefix_len.get(), prefixes: *prefixes },
                    alphabet: alphabet(workload.endpoint, tokenizer)?,
                };
                Ok((random, PrepareReport::default(), Skipped::default()))
            }
            Dataset::TimedTrace { path } => {
                let mut trace = timed::load(Path::new(path))?;
                let report = fit(&mut trace, path, context)?;
                if load.causal.is_some() {
                    trace.find_sessions(Path::new(path))?;
                }
                let recorded = Source::Recorded { trace, alphabet: alphabet(workload.endpoint, tokenizer)? };
                Ok((recorded, report, Skipped::default()))
            }
            Dataset::Images { path, prompt, output_len } => {
                let search = images::PictureSearch {
                    path: Path::new(path),
                    words: prompt,
                    output_tokens: *output_len,
                    tokenizer,
                    seed: load.seed,
                    wanted: wanted(load)?,
                };
                let (texts, candidates) = images::load(&search)?;
                let report = PrepareReport { candidates, ..PrepareReport::default() };
                Ok((Source::Texts(texts), report, Skipped::default()))
            }
            Dataset::Sharegpt { path, output_len, multi_turn } if multi_turn.is_some() || load.causal.is_some() => {
                let search = conversations::ConversationSearch {
                    path: Path::new(path),
                    tokenizer: needed(tokenizer, &workload.dataset)?,
                    seed: load.seed,
                    output_len: *output_len,
                    room: context.room(),
                    open: multi_turn.unwrap_or(1),
                    points: &points(load).map(|(r, a)| count(load, r, a)).collect::<Result<Vec<_>, _>>()?,
                };
                let (conversations, report, skipped) = Conversations::load(&search)?;
                Ok((Source::Conversations(conversations), report, skipped))
            }
            dataset => {
                let search = texts::TextSearch {
                    tokenizer: needed(tokenizer, dataset)?,
                    seed: load.seed,
                    wanted: wanted(load)?,
                    context,
                };
                let Found { texts, report, skipped } = texts::load(dataset, &search)?;
                Ok((Source::Texts(texts), report, skipped))
            }
        }
    }
}

/// Entries that a run needs; of a search nobody knows how many.
fn wanted(load: &Load) -> Result<usize, WorkloadError> {
    if load.rates.is_empty() { Ok(usize::MAX) } else { requests_in_run(load) }
}

impl Source {
    /// Whether points take their prompts from where the ones before stopped.
    pub(super) fn is_used_up(&self) -> bool {
        matches!(self, Source::Texts(_) | Source::Conversations(_))
    }

    /// Said where the run has more requests than the dataset has prompts.
    pub(super) fn too_few(&self, load: &Load) -> Result<Option<String>, WorkloadError> {
        let prompts = match self {
            Source::Random { .. } | Source::Recorded { .. } => return Ok(None),
            Source::Texts(texts) => texts.len(),
            Source::Conversations(all) => all.turns(),
        };
        let requests = requests_in_run(load)?;
        Ok((requests > prompts).then(|| {
            format!(
                "the run needs {requests} prompts and the dataset has {prompts} that can be used: prompts are \
                 repeated, and a prefix cache may answer those instead of the model; give a larger dataset, or fewer --num-prompts"
            )
        }))
    }
}

impl Recorded {
    /// The point's next request, as recorded.
    pub(super) fn request(&self, index: u32, due: Offset, seed: u64) -> Request {
        let timed::RecordedRequest { prompt_tokens, output_tokens, .. } = *self.arrival(index);
        Request { index, due, prompt_tokens, output_tokens, seed }
    }

    pub(super) fn arrival(&self, index: u32) -> &timed::RecordedRequest {
        &self.arrivals[index as usize % self.arrivals.len()]
    }

    /// The recorded request behind one of a schedule. Turns of sessions are not in the trace's order: their seed holds the
    /// number of the arrival.
    fn number_of(&self, request: &Request) -> u32 {
        if self.sessions.is_empty() { request.index } else { request.seed as u32 }
    }

    pub(super) fn arrival_of(&self, request: &Request) -> &timed::RecordedRequest {
        self.arrival(self.number_of(request))
    }

    /// When the sessions began.
    pub(super) fn session_starts(&self) -> Vec<Offset> {
        self.sessions.iter().map(|session| self.offsets[session[0] as usize]).collect()
    }

    /// The sessions of a point, from the trace's first on; past its last it starts over.
    pub(super) fn sessions(&self, point: u64, requests: u64) -> PointSessions {
        let named = |number: u32| (point & !u64::from(u32::MAX)) | u64::from(number);
        let turn = |number: &u32| {
            let timed::RecordedRequest { prompt_tokens, output_tokens, think, .. } = *self.arrival(*number);
            DatasetTurn { seed: named(*number), prompt_tokens, output_tokens, think }
        };
        PointSessions::take(requests, |i| {
            let turns = self.sessions[i % self.sessions.len()].iter().map(turn).collect();
            (turns, i >= self.sessions.len())
        })
    }

    /// Of this many requests, those that come again with the same named blocks: past its end the trace starts over.
    /// Prompts without blocks are made up anew each time.
    pub(super) fn repeats(&self, requests: usize) -> u32 {
        let again = self.arrivals.iter().cycle().take(requests).skip(self.arrivals.len());
        again.filter(|arrival| !arrival.blocks.is_empty()).count() as u32
    }

    /// Named blocks first, then tokens of the request's own.
    pub(super) fn stretches(&self, request: &Request) -> impl Iterator<Item = PromptSegment> {
        let number = self.number_of(request);
        let point = if self.sessions.is_empty() { request.seed } else { request.seed & !u64::from(u32::MAX) };
        let own =
            PromptSegment { seed: seeds::derive(SeedPurpose::Prompt, &[point, u64::from(number)]), tokens: u32::MAX };
        let blocks = self.arrival(number).blocks.iter().map(move |hash| PromptSegment {
            seed: seeds::derive(SeedPurpose::Block, &[point, *hash]),
            tokens: timed::BLOCK_TOKENS,
        });
        blocks.chain([own]).scan(request.prompt_tokens.get(), |left, stretch| {
            let tokens = stretch.tokens.min(*left);
            *left -= tokens;
            (tokens > 0).then_some(PromptSegment { tokens, ..stretch })
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
fn fit(trace: &mut Recorded, path: &str, context: PrepareContext) -> Result<PrepareReport, WorkloadError> {
    let mut report = PrepareReport { candidates: trace.arrivals.len(), ..PrepareReport::default() };
    let limit = context.room();
    let Recorded { offsets, arrivals, .. } = std::mem::take(trace);
    for (position, (at, mut arrival)) in offsets.into_iter().zip(arrivals).enumerate() {
        let (prompt, output) = (arrival.prompt_tokens.get(), arrival.output_tokens.get());
        let room = limit.saturating_sub(output);
        if prompt > room {
            match context.overlong {
                Overlong::Refuse => {
                    let what = format!("{path}, request {}", position + 1);
                    return Err(WorkloadError::Overlong { what, prompt, output, context });
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
        let problem = format!("every request exceeds the model's context of {context} tokens");
        return Err(WorkloadError::File { path: path.into(), problem, remedy: "serve a longer --max-model-len" });
    }
    Ok(report)
}

fn needed<'a>(tokenizer: Option<&'a Tokenizer>, dataset: &Dataset) -> Result<&'a Tokenizer, WorkloadError> {
    tokenizer.ok_or_else(|| WorkloadError::NeedsTokenizer { dataset: dataset.name() })
}
