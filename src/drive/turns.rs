//! What is due next, where turns of a session wait for each other: pure bookkeeping over the schedule.
//!
//! The plan gives each session's beginning and think times; an answer's end makes the next turn due. A turn that failed
//! ends as well: its session goes on with the dataset's answer in the history, so that every arm is offered the same.

use crate::outcome::SessionTurn;
use crate::plan::workload::Schedule;
use crate::units::Offset;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Turns whose due times are known, and who comes after whom.
#[derive(Debug)]
pub(super) struct Turns {
    /// Due time and position, the earliest first.
    due: BinaryHeap<Reverse<(Offset, usize)>>,
    /// Position of the turn that follows, by position; none after a session's last.
    next: HashMap<usize, usize>,
    thinks: Vec<Offset>,
    /// First turns in the order in which they fall due.
    first: Vec<usize>,
}

impl Turns {
    pub(super) fn of(schedule: &Schedule) -> Turns {
        let at: HashMap<(u32, u32), usize> =
            schedule.turns.iter().enumerate().map(|(position, t)| ((t.session, t.turn), position)).collect();
        let after = |(position, t): (usize, &SessionTurn)| Some((position, *at.get(&(t.session, t.turn + 1))?));
        let first: Vec<usize> =
            schedule.turns.iter().enumerate().filter(|(_, t)| t.turn == 0).map(|(position, _)| position).collect();
        Turns {
            due: first.iter().map(|&position| Reverse((schedule.requests[position].due, position))).collect(),
            next: schedule.turns.iter().enumerate().filter_map(after).collect(),
            thinks: schedule.turns.iter().map(|t| t.think).collect(),
            first,
        }
    }

    pub(super) fn first(&self) -> &[usize] {
        &self.first
    }

    /// The turn after this one.
    pub(super) fn after(&self, position: usize) -> Option<usize> {
        self.next.get(&position).copied()
    }

    /// An answer ended, or failed: the turn after it is due once its user has thought.
    pub(super) fn ended(&mut self, position: usize, at: Offset) {
        if let Some(next) = self.after(position) {
            let due = at.as_nanos().saturating_add(self.thinks[next].as_nanos());
            self.due.push(Reverse((Offset::from_nanos(due), next)));
        }
    }

    /// The earliest turn whose due time is known.
    pub(super) fn peek(&self) -> Option<(Offset, usize)> {
        self.due.peek().map(|Reverse(next)| *next)
    }

    pub(super) fn pop(&mut self) -> Option<(Offset, usize)> {
        self.due.pop().map(|Reverse(next)| next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Request;
    use crate::units::{RequestRate, TokenCount};
    use proptest::prelude::*;

    /// Sessions by their starts and the think times of their later turns, milliseconds.
    fn schedule(sessions: &[(u64, Vec<u64>)]) -> Schedule {
        let ms = |n: u64| Offset::from_nanos(n * 1_000_000);
        let mut turns = Vec::new();
        for ((start, thinks), session) in sessions.iter().zip(0..) {
            let (mut planned, of) = (*start, thinks.len() as u32 + 1);
            for (think, turn) in std::iter::once(&0).chain(thinks).zip(0..) {
                planned += think;
                turns.push(SessionTurn { session, turn, of, think: ms(*think), planned: ms(planned) });
            }
        }
        turns.sort_by_key(|t| (t.planned, t.session, t.turn));
        let request = |(index, t): (u32, &SessionTurn)| Request {
            index,
            due: t.planned,
            prompt_tokens: TokenCount(1),
            output_tokens: TokenCount(1),
            seed: 0,
        };
        let requests = (0..).zip(&turns).map(request).collect();
        let rate = RequestRate::new(1.0).expect("a rate");
        Schedule { rate, attempt: 1, requests, repeats: 0, clipped: 0, turns, repeated_tokens: None }
    }

    proptest! {
        /// However long answers take: each turn is sent once, at its session's start or think time after the end of the
        /// one before, never before its planned time, and due times never go back.
        #[test]
        fn a_turn_is_due_think_time_after_the_end_of_the_one_before(
            sessions in prop::collection::vec((0u64..500, prop::collection::vec(0u64..300, 0..5)), 1..8),
            answers in prop::collection::vec(0u64..400, 40),
        ) {
            let schedule = schedule(&sessions);
            let mut turns = Turns::of(&schedule);
            let (mut ends, mut now) = (HashMap::new(), Offset::ZERO);
            // Answers in flight: they end in the order of their ends.
            let mut flying: BinaryHeap<Reverse<(Offset, usize)>> = BinaryHeap::new();
            let mut sent = Vec::new();
            loop {
                let ends_first = match (flying.peek(), turns.peek()) {
                    (Some(Reverse((end, _))), Some((due, _))) => *end <= due,
                    (Some(_), None) => true,
                    (None, Some(_)) => false,
                    (None, None) => break,
                };
                if ends_first {
                    let Reverse((end, position)) = flying.pop().expect("peeked");
                    ends.insert(position, end);
                    turns.ended(position, end);
                    continue;
                }
                let (due, position) = turns.pop().expect("peeked");
                let turn = schedule.turns[position];
                prop_assert!(due >= now && due >= turn.planned);
                if turn.turn == 0 {
                    prop_assert_eq!(due, turn.planned);
                } else {
                    let before = schedule.turns.iter().position(|t| (t.session, t.turn + 1) == (turn.session, turn.turn));
                    let end = ends[&before.expect("a turn before")];
                    prop_assert_eq!(due.as_nanos(), end.as_nanos() + turn.think.as_nanos());
                }
                now = due;
                let took = answers[position % answers.len()] * 1_000_000;
                flying.push(Reverse((Offset::from_nanos(due.as_nanos() + took), position)));
                sent.push(position);
            }
            sent.sort_unstable();
            prop_assert_eq!(sent, (0..schedule.requests.len()).collect::<Vec<_>>());
        }
    }
}
