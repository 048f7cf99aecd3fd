//! A workload with its dataset read: schedules, and prompts when they are needed.

use super::entries::{PrepareContext, PrepareReport};
use super::error::WorkloadError;
use super::points::{PlannedPoint, count, due_offsets, points};
use super::prompt::{Prompt, PromptSegment};
use super::seeds::{self, SeedPurpose};
use super::source::Source;
use super::texts::Text;
use super::tokenizer::Tokenizer;
use crate::outcome::{PointKey, Request, SessionTurn};
use crate::plan::load::{Endpoint, Extent, Load, Overlong, Workload};
use crate::units::{Offset, RequestRate, TokenCount};
use std::path::Path;

/// Expected requests from which on a point can't be empty, whatever is drawn.
const SURELY_SOME: f64 = 1e5;
/// A token id with its comma, or a word.
const BYTES_PER_TOKEN: usize = 7;

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
    /// Which turn of which session each request is, where turns wait for each other; empty where none does.
    pub turns: Vec<SessionTurn>,
    /// Prompt tokens that an earlier prompt of the point begins with; `None` where nobody knows.
    pub repeated_tokens: Option<u64>,
}

impl Schedule {
    pub(super) fn empty(rate: RequestRate, attempt: u32) -> Schedule {
        Schedule {
            rate,
            attempt,
            requests: Vec::new(),
            repeats: 0,
            clipped: 0,
            turns: Vec::new(),
            repeated_tokens: None,
        }
    }

    /// The last due; zero for an empty schedule.
    pub fn span(&self) -> Offset {
        self.requests.last().map_or(Offset::ZERO, |r| r.due)
    }
}

/// A workload with its dataset read: gives schedules and prompts.
#[derive(Debug)]
pub struct PreparedWorkload {
    pub(super) load: Load,
    pub(super) endpoint: Endpoint,
    context: PrepareContext,
    pub(super) source: Source,
    report: PrepareReport,
    warnings: Vec<String>,
}

impl PreparedWorkload {
    /// Reads dataset and tokenizer, and checks that every point of the load has a schedule.
    pub fn prepare(workload: &Workload, load: &Load, context: PrepareContext) -> Result<Self, WorkloadError> {
        let tokenizer = workload.tokenizer.as_deref().map(Tokenizer::load).transpose()?;
        Self::prepare_with(workload, load, context, tokenizer.as_ref())
    }

    pub(super) fn prepare_with(
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
        let mut prepared = PreparedWorkload { load: load.clone(), endpoint, context, source, report, warnings };
        prepared.load.rates.iter().try_for_each(|rate| prepared.schedule(*rate, 1).map(drop))?;
        prepared.check_points()?;
        if prepared.load.causal.is_some() {
            let long = prepared.long_sessions()?;
            prepared.warnings.extend(long);
        }
        Ok(prepared)
    }

    /// A point without a request would be measured without a result, and pass any gate.
    fn check_points(&self) -> Result<(), WorkloadError> {
        let Extent::Duration(window) = self.load.extent else { return Ok(()) };
        if self.load.causal.is_some() {
            return Ok(());
        }
        let secs = window.as_secs_f64();
        for (rate, attempt) in points(&self.load).filter(|(rate, _)| rate.per_second() * secs < SURELY_SOME) {
            if due_offsets(&self.load, rate, attempt, self.recorded_offsets())?.is_empty() {
                return Err(WorkloadError::Empty { rate, attempt, secs });
            }
        }
        Ok(())
    }

    /// What it was prepared for.
    pub fn context(&self) -> PrepareContext {
        self.context
    }

    /// Whether every request, with its answer, has at most this many tokens. Random lengths are not known before they are drawn.
    pub fn fits(&self, room: u32) -> bool {
        let fits = |prompt: TokenCount, output: TokenCount| prompt.get().saturating_add(output.get()) <= room;
        match &self.source {
            Source::Random { .. } => false,
            Source::Texts(texts) => texts.iter().all(|t| fits(t.prompt_tokens, t.output_tokens)),
            Source::Conversations(all) => all.fit(fits),
            Source::Recorded { trace, .. } => trace.arrivals.iter().all(|a| fits(a.prompt_tokens, a.output_tokens)),
        }
    }

    /// What became of the dataset's entries; all zero for `random`.
    pub fn report(&self) -> PrepareReport {
        self.report
    }

    /// What whoever measures with it should know: rows that were skipped, prompts that will be sent twice.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The requests of one of the load's points. Equal arguments give equal schedules, whatever is under test.
    pub fn schedule(&self, rate: RequestRate, attempt: u32) -> Result<Schedule, WorkloadError> {
        let key = PointKey { rate, attempt };
        let earlier = self.earlier(key)?;
        self.schedule_of(&PlannedPoint { key, extent: self.load.extent_of(rate), earlier })
    }

    /// Whether points go on in the dataset where the ones before stopped.
    pub fn is_used_up(&self) -> bool {
        self.source.is_used_up()
    }

    /// Requests of each of the load's points before this one, where those use up the dataset.
    pub fn earlier(&self, key: PointKey) -> Result<Vec<u64>, WorkloadError> {
        if self.source.is_used_up() { self.sent_before(key.rate, key.attempt) } else { Ok(Vec::new()) }
    }

    /// The requests of any point. Equal points give equal schedules.
    pub fn schedule_of(&self, planned: &PlannedPoint) -> Result<Schedule, WorkloadError> {
        let schedule = match self.load.causal {
            Some(causal) => self.causal_schedule(planned, causal),
            None => self.open_schedule(planned),
        }?;
        Ok(Schedule { repeated_tokens: self.repeated_tokens(&schedule.requests), ..schedule })
    }

    /// Every request due at a time of its own.
    fn open_schedule(&self, planned: &PlannedPoint) -> Result<Schedule, WorkloadError> {
        let PointKey { rate, attempt } = planned.key;
        let point = seeds::point(self.load.seed, rate, attempt);
        let load = Load { extent: planned.extent, requests: Vec::new(), ..self.load.clone() };
        let due = due_offsets(&load, rate, attempt, self.recorded_offsets())?;
        let mut schedule = Schedule { requests: Vec::with_capacity(due.len()), ..Schedule::empty(rate, attempt) };
        match &self.source {
            Source::Random { .. } => schedule.requests = self.drawn(point, due.into_iter(), &mut schedule.clipped)?,
            Source::Texts(texts) => {
                let start = planned.earlier.iter().sum::<u64>();
                for (index, due) in (0u32..).zip(due) {
                    let position = start + u64::from(index);
                    let seed = position % texts.len() as u64;
                    let Text { prompt_tokens, output_tokens, .. } = texts[seed as usize];
                    schedule.repeats += u32::from(position >= texts.len() as u64);
                    schedule.requests.push(Request { index, due, prompt_tokens, output_tokens, seed });
                }
            }
            Source::Conversations(all) => {
                let share = all.share(&planned.earlier, due.len());
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
    pub(super) fn drawn(
        &self,
        point: u64,
        due: impl Iterator<Item = Offset>,
        clipped: &mut u32,
    ) -> Result<Vec<Request>, WorkloadError> {
        let Source::Random { input, output, shared, .. } = &self.source else { return Ok(Vec::new()) };
        let mut rng = seeds::generator(seeds::derive(SeedPurpose::Lengths, &[point]));
        let drawn = (0u32..).zip(due).map(|(index, due)| {
            let prompt = TokenCount(shared.tokens.saturating_add(input.sample(&mut rng).get()));
            let output_tokens = output.sample(&mut rng);
            let prompt_tokens = self.fit_drawn(prompt, output_tokens, clipped)?;
            let seed = seeds::derive(SeedPurpose::Prompt, &[point, u64::from(index)]);
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
                let shared = shared.map(|s| PromptSegment { tokens: s.tokens.min(prompt_tokens), ..s });
                let own = prompt_tokens - shared.map_or(0, |s| s.tokens);
                alphabet.write(shared.into_iter().chain([PromptSegment { seed: request.seed, tokens: own }]))
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
        let limit = self.context.room();
        if prompt.get().saturating_add(output.get()) <= limit {
            return Ok(prompt);
        }
        let room = limit.saturating_sub(output.get());
        if self.context.overlong == Overlong::Refuse || room == 0 {
            let what = "random lengths".to_string();
            return Err(WorkloadError::Overlong {
                what,
                prompt: prompt.get(),
                output: output.get(),
                context: self.context,
            });
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
