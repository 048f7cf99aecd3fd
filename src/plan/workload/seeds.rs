//! Seeds of points, requests and prefix blocks, all derived from the plan's one seed.
//!
//! Mixing is SplitMix64's finaliser (Steele, Lea and Flood, 2014), folded over the parts: cheap, fixed for ever, and
//! neighbouring inputs give unrelated outputs.

use crate::units::RequestRate;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

/// What a seed is for: the same numbers in another role give another seed.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Arrivals = 1,
    Lengths,
    Prompt,
    Prefix,
    Block,
    Shuffle,
    PrefixChoice,
}

pub(super) fn derive(role: Role, parts: &[u64]) -> u64 {
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
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
