//! From words (`ttft:125`, `--tpot-slo 200`, TTFT_SLO) to an [`Slo`]. The last word given for a metric wins.

use super::environment::{self, Environment};
use super::error::PlanError;
use super::slo::{Slo, Target};
use crate::units::{E2el, Tpot, Ttft};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    Ttft,
    Tpot,
    E2el,
}

/// A limit as typed, with the place it was typed in so that the last one wins.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// Position on the command line.
    pub position: usize,
    /// As typed with its flag, for messages.
    pub shown: String,
    pub metric: Metric,
    pub value: String,
}

impl Word {
    /// `ttft:125`, as vLLM's `--goodput` takes it.
    pub fn goodput(position: usize, word: &str) -> Result<Word, PlanError> {
        let refuse = |remedy: &str| PlanError::Slo { word: word.to_string(), remedy: remedy.to_string() };
        let (metric, value) = word.split_once(':').ok_or_else(|| {
            refuse("--goodput takes METRIC:MS words, e.g. --goodput ttft:125 tpot:200; put arms before it")
        })?;
        let metric = match metric.to_ascii_lowercase().as_str() {
            "ttft" => Metric::Ttft,
            "tpot" => Metric::Tpot,
            "e2el" => Metric::E2el,
            _ => return Err(refuse("metrics are ttft, tpot and e2el")),
        };
        Ok(Word { position, shown: word.to_string(), metric, value: value.to_string() })
    }
}

/// Environment below flags, flags in the order they were typed.
pub fn resolve(mut words: Vec<Word>, env: &Environment) -> Result<Slo, PlanError> {
    let mut slo = Slo::default();
    let ambient = [(environment::TTFT_SLO, Metric::Ttft), (environment::TPOT_SLO, Metric::Tpot)];
    for (name, metric) in ambient {
        if let Some(value) = env.get(name) {
            set(&mut slo, &Word { position: 0, shown: format!("{name}={value}"), metric, value: value.to_string() })?;
        }
    }
    words.sort_by_key(|w| w.position);
    for word in &words {
        set(&mut slo, word)?;
    }
    Ok(slo)
}

fn set(slo: &mut Slo, word: &Word) -> Result<(), PlanError> {
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
fn milliseconds(word: &Word) -> Result<f64, PlanError> {
    let refuse = |remedy: String| PlanError::Slo { word: word.shown.clone(), remedy };
    let text = word.value.trim();
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) if !text[..at].is_empty() => text.split_at(at),
        _ => (text, "ms"),
    };
    let factor = match unit.trim() {
        "ms" => 1.0,
        "s" => 1e3,
        other => return Err(refuse(format!("unit `{other}` is none of ms and s"))),
    };
    let value: f64 = number.trim().parse().map_err(|_| refuse(format!("`{text}` is no number of milliseconds")))?;
    let ms = value * factor;
    if !ms.is_finite() || ms <= 0.0 {
        return Err(refuse("a limit is a finite number of milliseconds above 0".to_string()));
    }
    let floor = if word.metric == Metric::Tpot { 0.05 } else { 1.0 };
    if ms < floor {
        return Err(refuse(format!(
            "{ms} ms is less than any server can do: limits are in milliseconds; did you mean {value} s ({} ms)?",
            value * 1e3
        )));
    }
    Ok(ms)
}

/// `--target`, `TARGET_ATTAINMENT`, else 90 %.
pub fn target(flag: Option<f64>, env: &Environment) -> Result<Target, PlanError> {
    let ambient = env.number::<f64>(environment::TARGET_ATTAINMENT, "a percentage above 0, at most 100")?;
    let Some(percent) = flag.or(ambient) else { return Ok(Target::default()) };
    Target::new(percent).ok_or_else(|| PlanError::Value {
        what: "the attainment target".to_string(),
        value: percent.to_string(),
        remedy: "give a percentage above 0, at most 100".to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(position: usize, metric: Metric, value: &str) -> Word {
        Word { position, shown: value.to_string(), metric, value: value.to_string() }
    }

    #[test]
    fn the_last_word_wins_over_earlier_ones_and_the_environment() {
        let env = Environment::of([("TTFT_SLO", "300"), ("TPOT_SLO", "30")]);
        let words = vec![word(9, Metric::Ttft, "250"), Word::goodput(4, "ttft:100").expect("word")];
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
            ("x", "no number"),
            ("", "no number"),
        ] {
            let error =
                resolve(vec![word(1, Metric::Ttft, value)], &Environment::default()).expect_err(value).to_string();
            assert!(error.contains(hint), "{value}: {error}");
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
