//! From words (`ttft:125`, `--tpot-slo 200`, TTFT_SLO) to an [`Slo`]. The last word given for a metric wins.

use super::environment::{self, Environment};
use super::error::PlanError;
use super::slo::{Slo, Target};
use super::typed::SWALLOWED;
use crate::units::{E2el, Tpot, Ttft};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Ttft,
    Tpot,
    E2el,
}

/// A limit as typed, with the place it was typed in so that the last one wins.
#[derive(Debug, Clone, PartialEq)]
pub struct SloWord {
    /// Position on the command line.
    pub position: usize,
    /// As typed with its flag, for messages.
    pub shown: String,
    pub metric: Metric,
    pub value: String,
}

/// `ttft:125`, as vLLM's `--goodput` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoodputWord {
    pub metric: Metric,
    /// The limit, still as typed.
    pub value: String,
}

impl FromStr for GoodputWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not METRIC:MS, such as ttft:125 (metrics: ttft, tpot, e2el); {SWALLOWED}");
        let (metric, value) = text.split_once(':').ok_or_else(refuse)?;
        let metric = match metric.trim().to_ascii_lowercase().as_str() {
            "ttft" => Metric::Ttft,
            "tpot" => Metric::Tpot,
            "e2el" => Metric::E2el,
            _ => return Err(refuse()),
        };
        Ok(GoodputWord { metric, value: value.to_string() })
    }
}

impl fmt::Display for GoodputWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metric = match self.metric {
            Metric::Ttft => "ttft",
            Metric::Tpot => "tpot",
            Metric::E2el => "e2el",
        };
        write!(f, "{metric}:{}", self.value)
    }
}

/// Environment below flags, flags in the order they were typed.
pub fn resolve(mut words: Vec<SloWord>, env: &Environment) -> Result<Slo, PlanError> {
    let mut slo = Slo::default();
    let ambient = [(environment::TTFT_SLO, Metric::Ttft), (environment::TPOT_SLO, Metric::Tpot)];
    for (name, metric) in ambient {
        if let Some(value) = env.get(name) {
            set(
                &mut slo,
                &SloWord { position: 0, shown: format!("{name}={value}"), metric, value: value.to_string() },
            )?;
        }
    }
    words.sort_by_key(|w| w.position);
    for word in &words {
        set(&mut slo, word)?;
    }
    Ok(slo)
}

fn set(slo: &mut Slo, word: &SloWord) -> Result<(), PlanError> {
    let ms = milliseconds(word)?;
    match word.metric {
        Metric::Ttft => slo.ttft = Ttft::from_millis(ms),
        Metric::Tpot => slo.tpot = Tpot::from_millis(ms),
        Metric::E2el => slo.e2el = Some(E2el::from_millis(ms)),
    }
    Ok(())
}

/// Limits are milliseconds; `ms` and `s` may be said. Values that only make sense in another unit are refused, because
/// `--ttft-slo 0.125` measured as 0.125 ms would quietly fail every request.
fn milliseconds(word: &SloWord) -> Result<f64, PlanError> {
    let refuse = |detail: String, remedy: String| PlanError::Slo { word: word.shown.clone(), detail, remedy };
    let example = || "limits are milliseconds above 0, e.g. 125 or 0.125s".to_string();
    let text = word.value.trim();
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) if !text[..at].is_empty() => text.split_at(at),
        _ => (text, "ms"),
    };
    let factor = match unit.trim() {
        "ms" => 1.0,
        "s" => 1e3,
        other => return Err(refuse(format!("`{other}` is not a unit of time"), example())),
    };
    let value: f64 = number.trim().parse().map_err(|_| refuse(format!("`{text}` is not a number"), example()))?;
    let ms = value * factor;
    if !ms.is_finite() || ms <= 0.0 {
        return Err(refuse(format!("{text} is not a time above 0"), example()));
    }
    let floor = if word.metric == Metric::Tpot { 0.05 } else { 1.0 };
    if ms < floor {
        let guess = format!("limits are in milliseconds: did you mean {value}s ({} ms)?", value * 1e3);
        return Err(refuse(format!("{ms} ms is less than any server can do"), guess));
    }
    Ok(ms)
}

/// `--target`, `TARGET_ATTAINMENT`, else 90 %.
pub fn target(flag: Option<f64>, env: &Environment) -> Result<Target, PlanError> {
    let name = environment::TARGET_ATTAINMENT;
    let (percent, what) = match flag {
        Some(percent) => (percent, "--target".to_string()),
        None => match env.number::<f64>(name, "a percentage above 0, at most 100")? {
            Some(percent) => (percent, format!("environment variable {name}")),
            None => return Ok(Target::default()),
        },
    };
    let remedy = "give a percentage above 0, at most 100".to_string();
    Target::new(percent).ok_or_else(|| PlanError::Value { what, value: percent.to_string(), remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(position: usize, metric: Metric, value: &str) -> SloWord {
        SloWord { position, shown: value.to_string(), metric, value: value.to_string() }
    }

    #[test]
    fn the_last_word_wins_over_earlier_ones_and_the_environment() {
        let env = Environment::of([("TTFT_SLO", "300"), ("TPOT_SLO", "30")]);
        let words = vec![word(9, Metric::Ttft, "250"), word(4, Metric::Ttft, "100")];
        let slo = resolve(words, &env).expect("valid");
        assert_eq!(slo.ttft.as_millis(), 250.0);
        assert_eq!(slo.tpot.as_millis(), 30.0);
        assert_eq!(slo.e2el, None);
    }

    #[test]
    fn units_may_be_said() {
        let slo =
            resolve(vec![word(1, Metric::Ttft, "0.25s"), word(2, Metric::E2el, "5000 ms")], &Environment::default());
        let slo = slo.expect("valid");
        assert_eq!(slo.ttft.as_millis(), 250.0);
        assert_eq!(slo.e2el.map(E2el::as_millis), Some(5000.0));
    }

    #[test]
    fn values_that_only_make_sense_in_another_unit_are_refused() {
        for (value, hint) in [
            ("0.125", "did you mean"),
            ("125kg", "kg"),
            ("-1", "above 0"),
            ("nan", "above 0"),
            ("inf", "above 0"),
            ("x", "`x` is not a number"),
            ("", "`` is not a number"),
        ] {
            let error =
                resolve(vec![word(1, Metric::Ttft, value)], &Environment::default()).expect_err(value).to_string();
            assert!(error.contains(hint), "{value}: {error}");
        }
    }

    #[test]
    fn a_goodput_word_that_is_an_arm_is_told_where_arms_stand() {
        let word: GoodputWord = "TTFT:125".parse().expect("a word");
        assert_eq!(word.to_string(), "ttft:125");
        for text in ["simple", "simple:tp=2", "itl:5", ""] {
            let error = text.parse::<GoodputWord>().expect_err(text);
            assert!(error.contains(text) && error.contains("METRIC:MS") && error.contains("before"), "{error}");
        }
    }

    #[test]
    fn targets_lie_above_zero_and_at_most_at_a_hundred() {
        assert!(target(Some(0.0), &Environment::default()).is_err());
        assert!(target(Some(100.5), &Environment::default()).is_err());
        let ambient = Environment::of([("TARGET_ATTAINMENT", "99")]);
        assert_eq!(target(None, &ambient).expect("valid").percent().get(), 99.0);
        assert_eq!(target(Some(95.0), &ambient).expect("valid").percent().get(), 95.0);
    }
}
