//! What the load client carries on this machine, in words and in JSON.

use super::capacity::{self, Capacity, CapacityError, RateStep};
use crate::units::RequestRate;
use serde::Serialize;
use std::fmt;

/// Requests per second to try; most machines end before the last.
const RATES: [f64; 6] = [50.0, 100.0, 200.0, 400.0, 800.0, 1600.0];
/// With fewer cores, client and loopback server take each other's.
const ENOUGH_CORES: usize = 4;

#[derive(Serialize)]
pub(super) struct ClientFacts {
    /// Highest rate carried, requests per second of 128 tokens each; `None`: not even the lowest.
    max_rate: Option<RequestRate>,
    /// At that rate: sent - due, ms.
    lag_p99_ms: Option<f64>,
    /// At that rate: last token beside the server's pace, ms.
    behind_p99_ms: Option<f64>,
    /// Whether the highest rate tried was carried: the limit lies above it.
    open_ended: bool,
    tokens_per_request: u32,
    cores: usize,
    /// How far the figure can be trusted.
    note: &'static str,
    steps: Vec<StepFacts>,
}

#[derive(Serialize)]
struct StepFacts {
    rate: RequestRate,
    good: bool,
    sent: u32,
    completed: u32,
    lag_p99_ms: f64,
    behind_p99_ms: f64,
}

/// Takes two seconds a rate.
pub(super) fn measure() -> Result<ClientFacts, CapacityError> {
    let rates: Vec<RequestRate> = RATES.into_iter().filter_map(RequestRate::new).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(capacity::measure(&rates)).map(ClientFacts::from)
}

impl From<Capacity> for ClientFacts {
    fn from(capacity: Capacity) -> Self {
        let best = capacity.best().copied();
        ClientFacts {
            max_rate: best.map(|b| b.rate),
            lag_p99_ms: best.map(|b| b.lag_p99.as_secs_f64() * 1e3),
            behind_p99_ms: best.map(|b| b.behind_p99.as_secs_f64() * 1e3),
            open_ended: capacity.is_open_ended(),
            tokens_per_request: capacity::TOKENS,
            cores: capacity.cores,
            note: note(capacity.cores),
            steps: capacity.steps.iter().map(StepFacts::from).collect(),
        }
    }
}

impl From<&RateStep> for StepFacts {
    fn from(step: &RateStep) -> Self {
        StepFacts {
            rate: step.rate,
            good: step.is_good(),
            sent: step.sent,
            completed: step.completed,
            lag_p99_ms: step.lag_p99.as_secs_f64() * 1e3,
            behind_p99_ms: step.behind_p99.as_secs_f64() * 1e3,
        }
    }
}

/// The loopback server runs on the same cores, and whatever else runs now counts too.
fn note(cores: usize) -> &'static str {
    match cores {
        0..=1 => {
            "one core for client and loopback server together: far below what the client alone carries; where engines share it \
             too, trust TTFT to some milliseconds, and only well below this rate"
        }
        n if n < ENOUGH_CORES => "few cores, shared with the loopback server and all that runs now: a lower bound",
        _ => "as loaded as the machine is now; a lower bound, since the loopback server takes its share",
    }
}

impl fmt::Display for ClientFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.tokens_per_request;
        match (self.max_rate, self.lag_p99_ms, self.steps.first()) {
            (Some(rate), Some(lag), _) => {
                let at_least = if self.open_ended { "at least " } else { "" };
                writeln!(
                    f,
                    "load client: carries {at_least}{rate} req/s of {tokens} tokens (sends late by {lag:.2} ms at p99)"
                )?;
            }
            (_, _, Some(first)) => writeln!(
                f,
                "load client: too late even at {} req/s (sends by {:.1} ms, tokens by {:.1} ms at p99): is the machine busy?",
                first.rate, first.lag_p99_ms, first.behind_p99_ms
            )?,
            _ => writeln!(f, "load client: nothing measured")?,
        }
        write!(f, "  {}", self.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn facts(lags_ms: &[u64]) -> ClientFacts {
        let step = |(rate, lag): (f64, &u64)| RateStep {
            rate: RequestRate::new(rate).expect("positive"),
            sent: 75,
            completed: 75,
            lag_p99: Duration::from_millis(*lag),
            behind_p99: Duration::from_millis(3),
        };
        Capacity { steps: RATES.into_iter().zip(lags_ms).map(step).collect(), cores: 2 }.into()
    }

    #[test]
    fn it_says_the_rate_carried_or_that_there_is_none() {
        insta::assert_snapshot!(
            [facts(&[1, 1, 40]), facts(&[1, 1]), facts(&[9]), facts(&[])].map(|f| f.to_string()).join("\n")
        );
    }

    #[test]
    fn as_json_it_keeps_every_rate_tried() {
        insta::assert_json_snapshot!(facts(&[1, 30]));
    }
}
