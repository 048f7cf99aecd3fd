//! Drawing prompt and output lengths.

use crate::plan::lengths::Lengths;
use crate::units::TokenCount;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, LogNormal};

/// A distribution of lengths that has no draws.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum LengthError {
    #[error("range ratio {0} must be at least 0 and below 1: 0.5 draws from half to one and a half times the length")]
    RangeRatio(f64),
    #[error("sigma {0} of a log-normal length must be finite and at least 0")]
    Sigma(f64),
    #[error("a length of 0 tokens: give at least 1")]
    Zero,
}

/// A checked [`Lengths`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Sampler {
    Fixed(u32),
    /// Both ends included.
    Uniform(u32, u32),
    LogNormal(LogNormal<f64>),
}

impl Sampler {
    pub(super) fn new(lengths: Lengths) -> Result<Self, LengthError> {
        match lengths {
            Lengths::Fixed { tokens } if tokens.get() > 0 => Ok(Sampler::Fixed(tokens.get())),
            Lengths::Uniform { tokens, range_ratio } if tokens.get() > 0 => {
                if !(0.0..1.0).contains(&range_ratio) {
                    return Err(LengthError::RangeRatio(range_ratio));
                }
                let around = |factor: f64| f64::from(tokens.get()) * factor;
                let low = around(1.0 - range_ratio).floor().max(1.0) as u32;
                Ok(Sampler::Uniform(low, around(1.0 + range_ratio).ceil() as u32))
            }
            // A negative sigma would only mirror the draws, and surely means a typing error.
            Lengths::LogNormal { sigma, .. } if sigma < 0.0 => Err(LengthError::Sigma(sigma)),
            Lengths::LogNormal { tokens, sigma } if tokens.get() > 0 => {
                let median = f64::from(tokens.get());
                LogNormal::new(median.ln(), sigma).map(Sampler::LogNormal).map_err(|_| LengthError::Sigma(sigma))
            }
            _ => Err(LengthError::Zero),
        }
    }

    /// At least 1 token.
    pub(super) fn sample(&self, rng: &mut impl Rng) -> TokenCount {
        TokenCount(match self {
            Sampler::Fixed(tokens) => *tokens,
            Sampler::Uniform(low, high) => rng.random_range(*low..=*high),
            Sampler::LogNormal(normal) => normal.sample(rng).round().clamp(1.0, f64::from(u32::MAX)) as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::workload::seeds;

    fn draws(lengths: Lengths) -> Vec<u32> {
        let sampler = Sampler::new(lengths).expect("valid");
        let mut rng = seeds::generator(1);
        (0..4001).map(|_| sampler.sample(&mut rng).get()).collect()
    }

    #[test]
    fn a_range_ratio_includes_both_ends_as_vllm_draws_them() {
        let drawn = draws(Lengths::Uniform { tokens: TokenCount(10), range_ratio: 0.25 });
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&7), Some(&13)));
    }

    #[test]
    fn log_normal_lengths_have_the_median_asked_for() {
        let mut drawn = draws(Lengths::LogNormal { tokens: TokenCount(500), sigma: 0.8 });
        drawn.sort_unstable();
        assert!((450..550).contains(&drawn[2000]), "median {}", drawn[2000]);
        assert!(drawn[0] >= 1);
    }

    #[test]
    fn impossible_distributions_are_refused() {
        let tokens = TokenCount(8);
        let refused = |lengths| Sampler::new(lengths).expect_err("refused");
        assert_eq!(refused(Lengths::Uniform { tokens, range_ratio: 1.0 }), LengthError::RangeRatio(1.0));
        assert_eq!(refused(Lengths::LogNormal { tokens, sigma: -1.0 }), LengthError::Sigma(-1.0));
        assert_eq!(refused(Lengths::Fixed { tokens: TokenCount(0) }), LengthError::Zero);
    }
}
