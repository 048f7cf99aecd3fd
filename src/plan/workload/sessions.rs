//! The sessions of a point, as the dataset has them.

use crate::units::{Offset, TokenCount};

/// A turn as the dataset has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DatasetTurn {
    /// Names the prompt.
    pub(super) seed: u64,
    pub(super) prompt_tokens: TokenCount,
    pub(super) output_tokens: TokenCount,
    /// Think time before it, where the dataset says.
    pub(super) think: Option<Offset>,
}

/// The turns of the sessions of a point, and how many of them were sent before in this run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct PointSessions {
    pub(super) all: Vec<Vec<DatasetTurn>>,
    pub(super) repeats: u32,
}

impl PointSessions {
    /// The first `requests` turns of the sessions that `next` gives: the last one is cut where the point has enough.
    pub(super) fn take(requests: u64, mut next: impl FnMut(usize) -> (Vec<DatasetTurn>, bool)) -> PointSessions {
        let (mut taken, mut left) = (PointSessions::default(), requests as usize);
        while left > 0 {
            let (mut turns, repeated) = next(taken.all.len());
            turns.truncate(left);
            left -= turns.len();
            taken.repeats += if repeated { turns.len() as u32 } else { 0 };
            taken.all.push(turns);
        }
        taken
    }

    pub(super) fn turns(&self) -> usize {
        self.all.iter().map(Vec::len).sum()
    }
}
