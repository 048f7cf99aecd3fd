//! Sessions: turns that waited for each other, as units of their own.
//!
//! A session keeps an SLO if all of its turns do, or, for whoever only waits for the final answer, if its last turn does.
//! As the worst of its turns in each latency it keeps exactly the limits that all of them keep, so that a session is
//! judged, resampled and drawn as a request is.

use super::Samples;
use crate::outcome::SessionTurn;
use crate::plan::goodput_unit::GoodputUnit;
use std::collections::BTreeMap;

impl Samples {
    /// Whether turns of these requests waited for each other.
    pub fn is_causal(&self) -> bool {
        !self.turns.is_empty()
    }

    /// What is judged.
    pub fn judged_per(&self) -> GoodputUnit {
        self.judged_per
    }

    /// Whether there are no sessions of several turns: none at all, or they were put in the place of requests.
    pub fn is_judged_per_session(&self) -> bool {
        self.turns.iter().all(|turn| turn.of == 1)
    }

    /// Requests a second that were offered: sessions begun a second, times their turns. That is the plan's doing and the
    /// same for every arm, while due times follow the answers. `None` where all began at once, or only one did.
    pub(super) fn offered_rate(turns: &[SessionTurn]) -> Option<f64> {
        let starts = || turns.iter().filter(|t| t.turn == 0).map(|t| t.planned.as_secs());
        let sessions = starts().count();
        let (first, last) = (starts().min_by(f64::total_cmp)?, starts().max_by(f64::total_cmp)?);
        let begun = (last > first).then(|| (sessions - 1) as f64 / (last - first))?;
        Some(begun * turns.len() as f64 / sessions as f64)
    }

    /// When each was offered, for whoever asks how many a second: due times, or, where those follow the answers, the
    /// plan's, stretched to the rate that was offered.
    pub(in crate::analyse) fn offered_times(&self) -> Vec<f64> {
        let planned = |i: usize| self.turns[i].planned.as_secs();
        let (Some(rate), [first, .., last]) = (self.offered_rate, &self.turns[..]) else { return self.due.clone() };
        let (first, span) = (first.planned.as_secs(), last.planned.as_secs() - first.planned.as_secs());
        let wanted = (self.len() - 1) as f64 / rate;
        let stretch = if span > 0.0 { wanted / span } else { 0.0 };
        (0..self.len()).map(|i| (planned(i) - first) * stretch).collect()
    }

    /// The same point with sessions in place of requests; unchanged for requests, and where there are no sessions. A
    /// session that isn't there whole, as under a window, is left out.
    pub fn per(&self, unit: GoodputUnit) -> Samples {
        if unit == GoodputUnit::Request || !self.is_causal() {
            return self.clone();
        }
        let mut sessions: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (i, turn) in self.turns.iter().enumerate() {
            sessions.entry(turn.session).or_default().push(i);
        }
        let mut made = Samples {
            lag: self.lag.as_ref().map(|_| Vec::new()),
            counted_by_us: self.counted_by_us,
            itl: self.itl.clone(),
            itl_per_token: self.itl_per_token,
            per_second: self.per_second.clone(),
            stages: self.stages,
            offered_rate: self.offered_rate,
            judged_per: unit,
            ..Samples::default()
        };
        for mut turns in sessions.into_values() {
            turns.sort_unstable_by_key(|&i| self.turns[i].turn);
            if turns.len() == self.turns[turns[0]].of as usize {
                made.push_session(self, &turns, unit);
            }
        }
        made
    }

    fn push_session(&mut self, of: &Samples, turns: &[usize], unit: GoodputUnit) {
        let (first, last) = (turns[0], turns[turns.len() - 1]);
        let judged = if unit == GoodputUnit::LastTurn { &turns[turns.len() - 1..] } else { turns };
        let worst = |column: &[f64]| judged.iter().map(|&i| column[i]).fold(f64::NEG_INFINITY, f64::max);
        self.index.push(of.turns[first].session);
        self.due.push(of.due[first]);
        self.sent.push(of.sent[first]);
        self.end.push(of.end[last]);
        if let (Some(lags), Some(lag)) = (&mut self.lag, &of.lag) {
            lags.push(worst(lag));
        }
        self.excused.push(judged.iter().all(|&i| of.excused[i]));
        self.ttft.push(worst(&of.ttft));
        self.tpot.push(worst(&of.tpot));
        self.e2el.push(worst(&of.e2el));
        let tokens = |column: &[u32]| judged.iter().fold(0u32, |sum, &i| sum.saturating_add(column[i]));
        self.prompt_tokens.push(tokens(&of.prompt_tokens));
        // One unknown makes the sum unknown, which is the largest number there is.
        self.output_tokens.push(tokens(&of.output_tokens));
        let fate = |i: usize| of.fates.words[usize::from(of.fates.column[i])];
        let failed = judged.iter().map(|&i| fate(i)).find(|word| *word != super::Fates::SERVED);
        self.fates.push(failed.unwrap_or(super::Fates::SERVED));
        self.turns.push(SessionTurn { turn: 0, of: 1, ..of.turns[first] });
    }
}
