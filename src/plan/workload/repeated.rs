//! What prompts of a point have in common: tokens that a prefix cache without end would find.

use super::conversations::TurnPlace;
use super::prepared::PreparedWorkload;
use super::source::Source;
use super::timed;
use crate::outcome::Request;
use std::collections::{HashMap, HashSet};

impl PreparedWorkload {
    /// Prompt tokens that an earlier prompt begins with, in the order of the schedule; `None` for texts, which nobody made
    /// to share anything.
    pub(super) fn repeated_tokens(&self, requests: &[Request]) -> Option<u64> {
        let each = |known: &mut dyn FnMut(&Request) -> u32| requests.iter().map(|r| u64::from(known(r))).sum();
        match &self.source {
            Source::Texts(_) => None,
            Source::Random { shared, .. } => {
                let mut seen = HashSet::new();
                Some(each(&mut |request| {
                    let prefix = shared.of(request.seed).filter(|prefix| !seen.insert(prefix.seed));
                    prefix.map_or(0, |prefix| prefix.tokens.min(request.prompt_tokens.get()))
                }))
            }
            Source::Conversations(_) => {
                let mut seen: HashMap<u32, u32> = HashMap::new();
                // The dataset's answers are in no cache before the turn that has them in its history.
                Some(each(&mut |request| {
                    let before =
                        seen.insert(TurnPlace::of_seed(request.seed).conversation, request.prompt_tokens.get());
                    before.map_or(0, |tokens| tokens.min(request.prompt_tokens.get()))
                }))
            }
            Source::Recorded { trace, .. } => {
                let mut seen: HashMap<u64, u32> = HashMap::new();
                Some(each(&mut |request| {
                    let (mut left, mut found, mut goes_on) = (request.prompt_tokens.get(), 0, true);
                    for block in &trace.arrival_of(request).blocks {
                        let tokens = timed::BLOCK_TOKENS.min(left);
                        let known = seen.entry(*block).or_default();
                        found += if goes_on { tokens.min(*known) } else { 0 };
                        goes_on &= *known >= tokens;
                        *known = tokens.max(*known);
                        left -= tokens;
                    }
                    found
                }))
            }
        }
    }
}
