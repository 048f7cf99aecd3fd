//! Which backend takes the next request. Pure: loads in, an index out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::load::{Asked, Load};
use crate::prefix::{self, Ring};

/// Tokens at the beginning of a prompt that say where it goes, unless somebody says otherwise: a block of a Mooncake
/// trace.
const PREFIX_TOKENS: u32 = 512;

/// How a backend is chosen among those of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Policy {
    /// Each in turn.
    RoundRobin,
    /// The fewest requests in flight.
    LeastRequests,
    /// The fewest outstanding prompt tokens, as estimated by [`crate::rewrite::Inspected::prompt_tokens`].
    LeastTokens,
    /// The less loaded (requests in flight) of two drawn at random.
    PowerOfTwo,
    /// Prompts that begin with the same tokens go to the same backend, as long as that has not far more to do than the
    /// others: consistent hashing over so many first tokens, with bounded loads.
    PrefixAware { tokens: u32 },
}

impl Policy {
    pub const ALL: [Policy; 5] = [
        Policy::RoundRobin,
        Policy::LeastRequests,
        Policy::LeastTokens,
        Policy::PowerOfTwo,
        Policy::PrefixAware { tokens: PREFIX_TOKENS },
    ];

    pub fn name(self) -> &'static str {
        match self {
            Policy::RoundRobin => "round-robin",
            Policy::LeastRequests => "least-requests",
            Policy::LeastTokens => "least-tokens",
            Policy::PowerOfTwo => "power-of-two",
            Policy::PrefixAware { .. } => "prefix-aware",
        }
    }
}

impl Policy {
    /// What this policy has to know of a request.
    pub(crate) fn look_at(self, asked: Asked<'_>) -> Wanted {
        let key = match self {
            Policy::PrefixAware { tokens } if !asked.prompt.is_empty() => {
                Some(prefix::key(prefix::beginning(asked.prompt, tokens)))
            }
            _ => None,
        };
        Wanted { tokens: asked.tokens, key }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Policy::PrefixAware { tokens } if *tokens != PREFIX_TOKENS => write!(f, ":{tokens}"),
            _ => Ok(()),
        }
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> String {
        policy.to_string()
    }
}

impl TryFrom<String> for Policy {
    type Error = UnknownPolicy;

    fn try_from(text: String) -> Result<Self, UnknownPolicy> {
        text.parse()
    }
}

/// A policy's name that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown policy `{0}`: choose round-robin, least-requests, least-tokens, power-of-two or prefix-aware \
     (prefix-aware:N looks at the first N tokens)"
)]
pub struct UnknownPolicy(String);

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let unknown = || UnknownPolicy(text.to_owned());
        match text.split_once(':') {
            Some(("prefix-aware", tokens)) => {
                let tokens = tokens.parse().ok().filter(|tokens| *tokens > 0).ok_or_else(unknown)?;
                Ok(Policy::PrefixAware { tokens })
            }
            _ => Policy::ALL.into_iter().find(|policy| policy.name() == text).ok_or_else(unknown),
        }
    }
}

/// What decides where a request goes, beside the loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    /// Prompt tokens, about.
    tokens: u64,
    /// Its place on the ring, where the policy has one.
    key: Option<u64>,
}

/// The memory of one role's policy: where the turn is, and the places of backends on the ring.
#[derive(Debug)]
pub(crate) struct Chooser {
    policy: Policy,
    next: usize,
    ring: Ring,
}

impl Chooser {
    pub(crate) fn new(policy: Policy, backends: usize) -> Self {
        Chooser { policy, next: 0, ring: Ring::new(backends) }
    }

    /// The index of the chosen backend, or `None` if none is available. `draw(n)` returns a random index below `n`.
    pub(crate) fn choose(&mut self, loads: &[Load], wanted: Wanted, draw: impl FnMut(usize) -> usize) -> Option<usize> {
        let turn = self.next;
        // In turn order, so that equal loads alternate instead of piling on the first backend.
        let mut open = (0..loads.len()).map(|step| (turn + step) % loads.len()).filter(|&index| loads[index].available);
        let chosen = match self.policy {
            Policy::RoundRobin => open.next(),
            Policy::PrefixAware { .. } if wanted.key.is_some() => self.ring.choose(loads, wanted.key?, wanted.tokens),
            Policy::LeastRequests => open.min_by_key(|&index| loads[index].requests),
            Policy::LeastTokens | Policy::PrefixAware { .. } => {
                open.min_by_key(|&index| (loads[index].tokens, loads[index].requests))
            }
            Policy::PowerOfTwo => less_loaded_of_two(loads, &open.collect::<Vec<_>>(), draw),
        }?;
        self.next = (chosen + 1) % loads.len();
        Some(chosen)
    }
}

fn less_loaded_of_two(loads: &[Load], open: &[usize], mut draw: impl FnMut(usize) -> usize) -> Option<usize> {
    if open.len() < 2 {
        return open.first().copied();
    }
    let first = draw(open.len());
    // The second draw skips the first, so that the two differ.
    let second = (first + 1 + draw(open.len() - 1)) % open.len();
    [open[first], open[second]].into_iter().min_by_key(|&index| loads[index].requests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(requests: usize, tokens: u64) -> Load {
        Load { available: true, requests, tokens }
    }

    #[test]
    fn names_read_back_and_an_unknown_one_lists_them() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        let long: Policy = "prefix-aware:4096".parse().unwrap();
        assert_eq!((long, long.to_string().as_str()), (Policy::PrefixAware { tokens: 4096 }, "prefix-aware:4096"));
        for wrong in ["prefix-aware:0", "prefix-aware:x", "round-robin:2"] {
            assert!(wrong.parse::<Policy>().is_err(), "{wrong}");
        }
        let message = "least_tokens".parse::<Policy>().unwrap_err().to_string();
        for policy in Policy::ALL {
            assert!(message.contains(policy.name()), "{message}");
        }
    }

    #[test]
    fn round_robin_passes_over_the_unavailable_without_losing_its_turn() {
        let mut loads = [load(9, 9), load(0, 0), load(5, 5)];
        let mut chooser = Chooser::new(Policy::RoundRobin, 3);
        let mut take = |loads: &[Load]| chooser.choose(loads, Wanted::default(), |_| 0);
        assert_eq!([take(&loads), take(&loads), take(&loads)], [Some(0), Some(1), Some(2)]);
        loads[0].available = false;
        assert_eq!([take(&loads), take(&loads), take(&loads)], [Some(1), Some(2), Some(1)]);
    }

    #[test]
    fn least_tokens_weighs_prompts_where_least_requests_counts_them() {
        let loads = [load(1, 8000), load(3, 300)];
        assert_eq!(Chooser::new(Policy::LeastTokens, 2).choose(&loads, Wanted::default(), |_| 0), Some(1));
        assert_eq!(Chooser::new(Policy::LeastRequests, 2).choose(&loads, Wanted::default(), |_| 0), Some(0));
    }

    #[test]
    fn equal_loads_alternate() {
        let loads = [load(0, 0); 3];
        let mut chooser = Chooser::new(Policy::LeastTokens, 3);
        let picks: Vec<_> = (0..6).filter_map(|_| chooser.choose(&loads, Wanted::default(), |_| 0)).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
    }

    proptest! {
        #[test]
        fn a_choice_is_available_or_there_is_none(
            loads in prop::collection::vec((any::<bool>(), 0usize..9, 0u64..99), 1..8),
            draws in prop::collection::vec(0usize..1000, 1..8),
            which in 0usize..Policy::ALL.len(),
            prompt in ".{0,3}",
        ) {
            let loads: Vec<Load> = loads
                .into_iter()
                .map(|(available, requests, tokens)| Load { available, requests, tokens })
                .collect();
            let mut chooser = Chooser::new(Policy::ALL[which], loads.len());
            let wanted = Policy::ALL[which].look_at(Asked { tokens: 7, prompt: prompt.as_bytes() });
            let mut draws = draws.into_iter().cycle();
            for _ in 0..4 {
                let chosen = chooser.choose(&loads, wanted, |n| draws.next().unwrap_or(0) % n);
                prop_assert_eq!(chosen.is_some(), loads.iter().any(|load| load.available));
                if let Some(index) = chosen {
                    prop_assert!(loads[index].available);
                }
            }
        }

        #[test]
        fn power_of_two_never_takes_the_strictly_most_loaded(
            loads in prop::collection::vec(0usize..5, 2..6),
            first in 0usize..100, second in 0usize..100,
        ) {
            let worst = *loads.iter().max().unwrap();
            prop_assume!(loads.iter().filter(|&&load| load == worst).count() == 1);
            let loads: Vec<Load> = loads.into_iter().map(|requests| load(requests, 0)).collect();
            let mut draws = [first, second].into_iter();
            let chosen = Chooser::new(Policy::PowerOfTwo, loads.len()).choose(&loads, Wanted::default(), |n| draws.next().unwrap() % n).unwrap();
            prop_assert!(loads[chosen].requests < worst);
        }
    }
}
