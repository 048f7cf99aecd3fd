//! What arrives when: drawn here, or as a run of topobench recorded it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::blocks::mix;

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

/// The requests of one point of a recorded trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Requests per second, as the point is named.
    pub rate: f64,
    pub arrivals: Vec<Arrival>,
}

/// Why a recorded file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}: {source}\nhint: give the directory of a run of topobench", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: {source}", path.display())]
    Line { path: PathBuf, line: usize, source: serde_json::Error },
    #[error("{}: {problem}\nhint: give the directory of a run that started its own engines", path.display())]
    Content { path: PathBuf, problem: String },
}

/// Reads a file of JSON lines.
pub fn json_lines<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>, FileError> {
    let text = std::fs::read_to_string(path).map_err(|source| FileError::Read { path: path.into(), source })?;
    let parse = |(index, line)| {
        serde_json::from_str(line).map_err(|source| FileError::Line { path: path.into(), line: index + 1, source })
    };
    text.lines().enumerate().map(parse).collect()
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
