//! PointSessions whose turns wait for each other: closed within a session, open between sessions.
//!
//! The plan says when each session begins, how long its user thinks before each turn, and what every turn says; what it
//! cannot say is when an answer ends. So a turn's due time is a rule, start or (end of the turn before + think time), and
//! whoever sends applies it. The offset kept with a request is what the rule gives if answers took no time: it orders the
//! schedule, is the same for every arm, and is never later than the due time itself.
//!
//! A rate stays in requests a second: sessions begin at that rate over the turns that they have in the mean, whatever is
//! answered when. Prompts hold the dataset's answers, so that every arm gets the same bytes.

use super::conversations::TurnPlace;
use super::error::WorkloadError;
use super::points::{PlannedPoint, requests_of};
use super::prepared::{PreparedWorkload, Schedule};
use super::seeds::{self, SeedPurpose};
use super::sessions::{DatasetTurn, PointSessions};
use super::source::Source;
use crate::outcome::{PointKey, Request, SessionTurn};
use crate::plan::arrivals::{self, ArrivalPattern};
use crate::plan::load::{Causal, Extent, RampUp};
use crate::units::{Offset, RequestRate};
use rand_distr::{Distribution, Exp};

impl PreparedWorkload {
    /// The requests of a point whose sessions are causal, in the order in which they would fall due if answers took no
    /// time.
    pub(super) fn causal_schedule(&self, planned: &PlannedPoint, causal: Causal) -> Result<Schedule, WorkloadError> {
        let PointKey { rate, attempt } = planned.key;
        let requests = requests_of(planned.extent, rate);
        let point = seeds::point(self.load.seed, rate, attempt);
        let sessions = match &self.source {
            Source::Conversations(all) => all.sessions(&planned.earlier, requests),
            Source::Recorded { trace, .. } => trace.sessions(point, requests),
            Source::Random { .. } | Source::Texts(_) => PointSessions::default(),
        };
        let starts = self.session_starts(planned.key, &sessions)?;
        let mut drawn = Vec::with_capacity(sessions.turns());
        for ((session, start), turns) in (0u32..).zip(starts).zip(&sessions.all) {
            let mut thinks = Thinks::new(point, session, causal);
            let (mut planned, of) = (start, turns.len() as u32);
            for (turn, said) in (0u32..).zip(turns) {
                let think = if turn == 0 { Offset::ZERO } else { said.think.unwrap_or_else(|| thinks.next()) };
                planned = Offset::from_nanos(planned.as_nanos().saturating_add(think.as_nanos()));
                drawn.push((SessionTurn { session, turn, of, think, planned }, *said));
            }
        }
        drawn.sort_by_key(|(turn, _)| (turn.planned, turn.session, turn.turn));
        let request = |(index, (turn, said)): (u32, &(SessionTurn, DatasetTurn))| Request {
            index,
            due: turn.planned,
            prompt_tokens: said.prompt_tokens,
            output_tokens: said.output_tokens,
            seed: said.seed,
        };
        Ok(Schedule {
            requests: (0u32..).zip(&drawn).map(request).collect(),
            turns: drawn.iter().map(|(turn, _)| *turn).collect(),
            repeats: sessions.repeats,
            ..Schedule::empty(rate, attempt)
        })
    }

    /// When sessions begin: arrivals as of any load, slower by the turns of a session.
    fn session_starts(&self, key: PointKey, sessions: &PointSessions) -> Result<Vec<Offset>, WorkloadError> {
        let each = sessions.turns() as f64 / sessions.all.len().max(1) as f64;
        let recorded = match &self.source {
            Source::Recorded { trace, .. } => Some(trace.session_starts()),
            _ => None,
        };
        let pattern = ArrivalPattern {
            rate: RequestRate::new(key.rate.per_second() / each).unwrap_or(key.rate),
            extent: Extent::Requests(sessions.all.len() as u32),
            arrivals: self.load.arrivals,
            ramp_up: self.load.ramp_up.map(|r| RampUp { start: r.start / each, end: r.end / each, ..r }),
            recorded: recorded.as_deref(),
        };
        let seed = seeds::derive(SeedPurpose::Arrivals, &[seeds::point(self.load.seed, key.rate, key.attempt)]);
        Ok(arrivals::due_offsets(&pattern, seed)?)
    }

    /// Said where sessions last so long, by think time alone, that a point hardly shows their steady state.
    pub(super) fn long_sessions(&self) -> Result<Option<String>, WorkloadError> {
        let Some(rate) = self.load.rates.first().copied().filter(|rate| !rate.is_infinite()) else { return Ok(None) };
        let schedule = self.schedule(rate, 1)?;
        let sessions = schedule.turns.iter().filter(|turn| turn.turn == 0).count();
        let thought: f64 = schedule.turns.iter().map(|turn| turn.think.as_secs()).sum();
        let (mean, point) = (thought / sessions.max(1) as f64, schedule.turns.len() as f64 / rate.per_second());
        Ok((sessions > 0 && mean > LONG_SHARE * point).then(|| {
            format!(
                "sessions last {mean:.0} s by think time alone, and sessions begin for {point:.0} s at {rate} req/s: the \
                 load builds up and fades for most of the point; give more requests, or a shorter --think-time"
            )
        }))
    }
}

/// PointSessions that last for a larger part of a point hardly ever run side by side as they would for ever.
const LONG_SHARE: f64 = 1.0 / 3.0;

/// Think times of one session, exponentially distributed.
struct Thinks {
    rng: rand::rngs::Xoshiro256PlusPlus,
    /// `None`: nobody thinks.
    law: Option<Exp<f64>>,
}

impl Thinks {
    fn new(point: u64, session: u32, causal: Causal) -> Thinks {
        let seed = seeds::derive(SeedPurpose::Think, &[point, u64::from(session)]);
        Thinks {
            rng: seeds::generator(seed),
            law: Exp::new(1.0 / causal.think_secs).ok().filter(|_| causal.think_secs > 0.0),
        }
    }

    fn next(&mut self) -> Offset {
        Offset::from_secs(self.law.map_or(0.0, |law| law.sample(&mut self.rng)))
    }
}

impl super::conversations::Conversations {
    /// The sessions of a point of this many requests, after points of these numbers of requests.
    fn sessions(&self, earlier: &[u64], requests: u64) -> PointSessions {
        let mut first = 0;
        for count in earlier {
            first += PointSessions::take(*count, |i| (self.session(first + i), false)).all.len();
        }
        PointSessions::take(requests, |i| (self.session(first + i), first + i >= self.count()))
    }

    fn session(&self, number: usize) -> Vec<DatasetTurn> {
        let conversation = number % self.count();
        let turn = |turn: usize| {
            let place = TurnPlace::new(conversation as u32, turn as u32);
            let (prompt_tokens, output_tokens) = self.lengths(place);
            DatasetTurn { seed: place.seed(), prompt_tokens, output_tokens, think: None }
        };
        (0..self.turns_of(conversation)).map(turn).collect()
    }
}
