//! Seeds of points, requests and prefix blocks, all derived from the plan's one seed.
//!
//! Mixing is a step of SplitMix64 (Steele, Lea and Flood, 2014), folded over the parts: cheap, fixed for ever, and
//! neighbouring inputs give unrelated outputs.

use crate::units::RequestRate;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;

/// What a seed is for: the same numbers in another role give another seed.
#[derive(Clone, Copy)]
pub(super) enum SeedPurpose {
    Arrivals = 1,
    Lengths,
    Prompt,
    Prefix,
    Block,
    Shuffle,
    PrefixChoice,
    Think,
}

pub(super) fn derive(role: SeedPurpose, parts: &[u64]) -> u64 {
    parts.iter().fold(mix(role as u64), |state, part| mix(state ^ mix(*part)))
}

/// Rates and attempts never share prompts, or a prefix cache would serve the later ones.
pub(super) fn point(plan_seed: u64, rate: RequestRate, attempt: u32) -> u64 {
    // No rate has the bits of a closed loop's size: as a float they would be NaN.
    let level = rate.in_flight().map_or_else(|| rate.per_second().to_bits(), |n| u64::MAX - u64::from(n));
    mix(mix(plan_seed) ^ mix(level).rotate_left(17) ^ mix(u64::from(attempt)).rotate_left(41))
}

pub(super) fn generator(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

fn mix(value: u64) -> u64 {
    SplitMix64::seed_from_u64(value).next_u64()
}
