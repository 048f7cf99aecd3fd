//! How long random prompts and their answers are, and what prompts share.

use crate::units::TokenCount;
use crate::words::number;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A distribution of lengths in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum Lengths {
    Fixed {
        tokens: TokenCount,
    },
    /// vLLM's `--random-range-ratio r`: uniform over [tokens*(1-r), tokens*(1+r)].
    Uniform {
        tokens: TokenCount,
        range_ratio: f64,
    },
    /// Median `tokens`, sigma of the logarithm.
    LogNormal {
        tokens: TokenCount,
        sigma: f64,
    },
}

impl Lengths {
    /// The longest that may come out; for a log-normal, what all but a few in a thousand stay below.
    pub fn largest(self) -> TokenCount {
        match self {
            Lengths::Fixed { tokens } => tokens,
            Lengths::Uniform { tokens, range_ratio } => {
                TokenCount((f64::from(tokens.0) * (1.0 + range_ratio)).floor().min(f64::from(u32::MAX)) as u32)
            }
            Lengths::LogNormal { tokens, sigma } => {
                TokenCount((f64::from(tokens.0) * (3.0 * sigma).exp()).floor().min(f64::from(u32::MAX)) as u32)
            }
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lengths::Fixed { tokens } => write!(f, "{tokens}"),
            Lengths::Uniform { tokens, range_ratio } => write!(f, "{tokens} ± {} %", number(100.0 * range_ratio)),
            Lengths::LogNormal { tokens, sigma } => write!(f, "{tokens} (log-normal, sigma {})", number(*sigma)),
        }
    }
}

/// How random prompts share their beginnings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prefixes {
    /// How many different ones there are; each request draws one of them.
    pub count: u32,
    /// Share of requests that begin with one, 0 to 1; the others begin with as many tokens of their own.
    pub share: f64,
}

impl Default for Prefixes {
    /// One prefix for all.
    fn default() -> Self {
        Prefixes { count: 1, share: 1.0 }
    }
}
