//! `--threshold`: latencies that a point must keep as a whole, and by which statistic.

use super::error::PlanError;
use super::slo_words::{GoodputWord, Metric};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Loads are measured in rising order until one misses this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdPlan {
    pub limits: Vec<ThresholdLimit>,
    pub by: Statistic,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ThresholdLimit {
    pub metric: Metric,
    pub millis: f64,
}

/// Which statistic of a point's latencies is compared with a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    Mean,
    Percentile(f64),
    /// The target's share of requests keeps all thresholds.
    Attainment,
}

impl ThresholdPlan {
    /// `ttft:400 tpot:50`, in one word or several; `by`: `mean`, `p99`, `attainment`.
    ///
    /// # Errors
    /// Where a word is no limit, or nothing is left.
    pub fn parse(words: &[String], by: &str) -> Result<ThresholdPlan, PlanError> {
        let limit = |word: &str| -> Result<ThresholdLimit, PlanError> {
            let refuse = |why: &str| PlanError::value("--threshold", word, why);
            let GoodputWord { metric, value } =
                word.parse().map_err(|_| refuse("give ttft:400 tpot:50 e2el:9000, in ms"))?;
            let millis = value.parse().ok().filter(|ms: &f64| ms.is_finite() && *ms > 0.0);
            Ok(ThresholdLimit { metric, millis: millis.ok_or_else(|| refuse("give milliseconds above 0"))? })
        };
        let limits: Vec<ThresholdLimit> =
            words.iter().flat_map(|words| words.split_whitespace()).map(limit).collect::<Result<_, _>>()?;
        if limits.is_empty() {
            return Err(PlanError::value("--threshold", "", "give ttft:400 tpot:50 e2el:9000, in ms"));
        }
        let statistic = match (by, by.strip_prefix('p')) {
            ("mean", _) => Some(Statistic::Mean),
            ("attainment", _) => Some(Statistic::Attainment),
            (_, Some(p)) => p.parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(Statistic::Percentile),
            _ => None,
        };
        let by =
            statistic.ok_or_else(|| PlanError::value("--threshold-by", by, "give mean, p50, p99 .. or attainment"))?;
        Ok(ThresholdPlan { limits, by })
    }
}

/// `mean TTFT 400 ms, TPOT 50 ms`.
impl fmt::Display for ThresholdPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            Statistic::Mean => f.write_str("mean ")?,
            Statistic::Percentile(p) => write!(f, "p{p} ")?,
            Statistic::Attainment => f.write_str("attainment of ")?,
        }
        let name = |metric: Metric| match metric {
            Metric::Ttft => "TTFT",
            Metric::Tpot => "TPOT",
            Metric::E2el => "E2EL",
        };
        let each: Vec<String> = self.limits.iter().map(|l| format!("{} {} ms", name(l.metric), l.millis)).collect();
        f.write_str(&each.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str], by: &str) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        ThresholdPlan::parse(&words, by).map(|t| t.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn one_word_or_several_and_the_statistic_by_name() {
        assert_eq!(shown(&["ttft:400 tpot:50"], "mean").as_deref(), Ok("mean TTFT 400 ms, TPOT 50 ms"));
        assert_eq!(shown(&["ttft:400", "e2el:9000"], "p99").as_deref(), Ok("p99 TTFT 400 ms, E2EL 9000 ms"));
        for (words, by, why) in [
            (&["ttft"][..], "mean", "ttft:400"),
            (&["ttft:x"], "mean", "milliseconds"),
            (&["ttft:0"], "mean", "above 0"),
            (&[" "], "mean", "ttft:400"),
            (&["ttft:1"], "median", "p50"),
            (&["ttft:1"], "p101", "p50"),
        ] {
            let error = shown(words, by).expect_err(by);
            assert!(error.contains(why), "{words:?} {by}: {error}");
        }
    }
}
