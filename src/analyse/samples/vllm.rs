//! Columns of vLLM's result files as samples.

use super::{Fates, ONE_TOKEN_TPOT, PerSecond, Samples};

/// Columns of vLLM's detailed result JSON, seconds, one entry a request, failures included.
#[derive(Debug, Clone, Copy, Default)]
pub struct VllmColumns<'a> {
    /// From sent, as vLLM means it, or from due where the file has that.
    pub ttfts: &'a [f64],
    /// From sent; `None`: ttft + the sum of the request's `itls` (vLLM up to 0.22).
    pub latencies: Option<&'a [f64]>,
    /// `None`: derived from latency and output length. `Some(None)` inside: undefined.
    pub tpots: Option<&'a [Option<f64>]>,
    pub itls: Option<&'a [Vec<f64>]>,
    pub input_lens: Option<&'a [u32]>,
    /// `None` (the first plotters' files): every request without an error counts as served with several tokens.
    pub output_lens: Option<&'a [u32]>,
    /// Empty string: no error.
    pub errors: Option<&'a [String]>,
    /// Monotonic, any zero.
    pub start_times: Option<&'a [f64]>,
}

/// A file whose columns don't fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}` has {got} entries where `ttfts` has {expected}: the file is damaged or not vLLM's")]
pub struct ColumnError {
    pub column: &'static str,
    pub got: usize,
    pub expected: usize,
}

impl Samples {
    /// Columns from a file in vLLM's format. A request was served if it has no error and at least one output token:
    /// vLLM stores a failed request as ttft 0.0.
    pub fn from_vllm(columns: &VllmColumns) -> Result<Samples, ColumnError> {
        columns.check()?;
        let zero = columns.time_zero();
        let mut samples = Samples { itl_per_token: true, ..Samples::default() };
        for i in 0..columns.ttfts.len() {
            samples.push_vllm(columns, i, zero);
        }
        samples.sort_by_due();
        Ok(samples)
    }

    fn push_vllm(&mut self, columns: &VllmColumns, i: usize, zero: f64) {
        let start = columns.start_times.map_or(i as f64, |s| s[i] - zero);
        let tokens = columns.output_lens.map(|lens| lens[i]);
        let error = columns.errors.is_some_and(|e| !e[i].is_empty());
        let served = !error && tokens != Some(0) && (tokens.is_some() || columns.ttfts[i] > 0.0);
        self.index.push(u32::try_from(i).unwrap_or(u32::MAX));
        self.due.push(start);
        self.sent.push(start);
        self.excused.push(false);
        self.prompt_tokens.push(columns.input_lens.map_or(0, |lens| lens[i]));
        if !served {
            self.end.push(start);
            return self.push_not_served("error");
        }
        self.output_tokens.push(tokens.unwrap_or(0));
        self.fates.push(Fates::SERVED);
        let ttft = columns.ttfts[i];
        let itls = columns.itls.map(|all| all[i].as_slice());
        let latency = match (columns.latencies, itls) {
            (Some(latencies), _) => Some(latencies[i]),
            (None, Some(itls)) => Some(ttft + itls.iter().sum::<f64>()),
            (None, None) => None,
        };
        let derived = |tokens: u32| latency.map(|l| (l - ttft) / f64::from(tokens - 1));
        let tpot = match (columns.tpots, tokens) {
            (_, Some(1)) => None,
            (Some(tpots), _) => tpots[i],
            (None, Some(tokens)) => derived(tokens),
            (None, None) => None,
        };
        // Without a latency the end is only known where TPOT and length are.
        let end = latency.or_else(|| Some(ttft + tpot? * f64::from(tokens? - 1))).unwrap_or(ttft);
        self.end.push(start + end);
        self.push_latencies(ttft, tpot.unwrap_or(ONE_TOKEN_TPOT), end);
        self.push_tokens(start, ttft, itls.unwrap_or(&[]), tokens);
        self.per_second.flight(start, start + end);
    }

    fn push_tokens(&mut self, start: f64, ttft: f64, itls: &[f64], tokens: Option<u32>) {
        // Chunks of several tokens show as fewer gaps than tokens.
        self.itl_per_token &= tokens.is_none_or(|n| itls.is_empty() || itls.len() as u32 + 1 >= n);
        let mut at = start + ttft;
        PerSecond::add(&mut self.per_second.tokens, at, 1);
        for gap in itls {
            at += gap;
            self.itl.push(*gap, 1);
            PerSecond::add(&mut self.per_second.tokens, at, 1);
        }
    }
}

impl VllmColumns<'_> {
    fn check(&self) -> Result<(), ColumnError> {
        let expected = self.ttfts.len();
        let lengths = [
            ("latencies", self.latencies.map(<[_]>::len)),
            ("tpots", self.tpots.map(<[_]>::len)),
            ("itls", self.itls.map(<[_]>::len)),
            ("input_lens", self.input_lens.map(<[_]>::len)),
            ("output_lens", self.output_lens.map(<[_]>::len)),
            ("errors", self.errors.map(<[_]>::len)),
            ("start_times", self.start_times.map(<[_]>::len)),
        ];
        match lengths.into_iter().find_map(|(c, n)| Some((c, n?)).filter(|(_, n)| *n != expected)) {
            Some((column, got)) => Err(ColumnError { column, got, expected }),
            None => Ok(()),
        }
    }

    /// vLLM counts seconds from the first start of a request that was served.
    fn time_zero(&self) -> f64 {
        let served = |i: usize| self.output_lens.is_none_or(|lens| lens[i] > 0);
        let starts = self.start_times.unwrap_or(&[]);
        let first = (0..starts.len()).filter(|&i| served(i)).map(|i| starts[i]).fold(f64::INFINITY, f64::min);
        if first.is_finite() { first } else { starts.iter().copied().fold(0.0, f64::min) }
    }
}
