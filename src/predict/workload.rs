//! What arrives when.

use std::time::Duration;

use crate::predict::model::blocks::mix;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    pub at: Duration,
    pub input_tokens: u32,
    /// At least 1.
    pub output_tokens: u32,
}

/// Requests of equal length with exponential gaps.
#[derive(Debug, Clone, Copy)]
pub struct Poisson {
    pub input_tokens: u32,
    pub output_tokens: u32,
    /// Mean arrivals per second.
    pub rate: f64,
    pub requests: u32,
    pub seed: u64,
}

impl Poisson {
    /// The gaps come from a counter-based generator, so that results never change.
    pub fn arrivals(&self) -> Vec<Arrival> {
        let mut at = 0.0;
        let arrival = |index| {
            let uniform = (mix(self.seed, index) >> 11) as f64 / (1u64 << 53) as f64;
            at += -(1.0 - uniform).ln() / self.rate;
            Arrival {
                at: Duration::from_secs_f64(at),
                input_tokens: self.input_tokens,
                output_tokens: self.output_tokens,
            }
        };
        (0..self.requests).map(arrival).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_the_rate_asked_for() {
        let workload = Poisson { input_tokens: 1, output_tokens: 1, rate: 5.0, requests: 4000, seed: 1 };
        let last = workload.arrivals().pop().unwrap().at.as_secs_f64();
        assert!((last / 800.0 - 1.0).abs() < 0.05, "{last}");
    }
}
