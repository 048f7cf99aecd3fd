//! Values as people type them. The messages say what is wrong with a value; the caller says where it stood.

use crate::units::RequestRate;
use std::num::{IntErrorKind, NonZeroU32, ParseIntError};
use std::str::FromStr;
use std::time::Duration;

/// # Errors
/// In words, where Rust would say "invalid digit found in string".
pub fn whole_number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|e: ParseIntError| match e.kind() {
        IntErrorKind::PosOverflow => format!("`{text}` is too large"),
        _ => format!("`{text}` must be a non-negative integer"),
    })
}

/// Money.
pub(super) fn price(text: &str) -> Result<f64, String> {
    number(text).and_then(|price| match price >= 0.0 {
        true => Ok(price),
        false => Err("a price is 0 or more".to_string()),
    })
}

/// Any number that Rust knows, infinities included; the caller says which make sense.
pub fn number(text: &str) -> Result<f64, String> {
    text.trim().parse().ok().filter(|x: &f64| !x.is_nan()).ok_or_else(|| format!("`{text}` is not a number"))
}

/// A percentile of a distribution, 0 to 100.
pub fn percentile(text: &str) -> Result<f64, String> {
    number(text)
        .ok()
        .filter(|p| (0.0..=100.0).contains(p))
        .ok_or_else(|| format!("`{text}` must be a percentile from 0 to 100"))
}

/// A share in percent, above 0 and at most 100.
pub fn percentage(text: &str) -> Result<f64, String> {
    number(text)
        .ok()
        .filter(|p| *p > 0.0 && *p <= 100.0)
        .ok_or_else(|| format!("`{text}` must be a percentage above 0, at most 100"))
}

/// A length of time: `90s`, `20m`, `1.5h`; a bare number counts seconds.
pub fn time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => Some(1.0),
        "m" | "min" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    let secs = unit.zip(number(digits).ok()).map(|(unit, n)| unit * n).filter(|secs| *secs > 0.0);
    secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok())
        .ok_or_else(|| format!("`{text}` must be a length of time such as 90s, 20m or 1h"))
}

/// `0.5,1,2`: one list. Given again, the later one counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates(pub Vec<RequestRate>);

impl FromStr for Rates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Rates)
    }
}

/// `1,2,5`: requests in flight, one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels(pub Vec<NonZeroU32>);

impl Levels {
    /// Requests for each in flight by default.
    pub const PROMPTS_EACH: u32 = 10;
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = |word: &str| level(whole_number(word)?);
        text.split(',').map(level).collect::<Result<_, _>>().map(Levels)
    }
}

/// Connections of one address are fewer by far.
pub(super) const MOST_IN_FLIGHT: u32 = 1_000_000;

/// A number of requests in flight, as a closed loop can have it.
pub(super) fn level(in_flight: u32) -> Result<NonZeroU32, String> {
    match NonZeroU32::new(in_flight) {
        None => Err("a closed loop has at least 1 request in flight".to_string()),
        Some(n) if in_flight <= MOST_IN_FLIGHT => Ok(n),
        Some(_) => Err(format!("give at most {MOST_IN_FLIGHT} requests in flight")),
    }
}

/// How many requests points have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompts {
    /// `100`: every point.
    Each(u32),
    /// `10,20,50`: one number a point.
    List(Vec<u32>),
    /// `10x`: this many for each request in flight of a closed loop.
    PerSlot(u32),
}

impl FromStr for Prompts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(times) = text.strip_suffix(['x', 'X']).filter(|times| !times.is_empty()) {
            return whole_number(times).map(Prompts::PerSlot);
        }
        let numbers: Vec<u32> = text.split(',').map(whole_number).collect::<Result<_, _>>()?;
        Ok(match numbers.as_slice() {
            [one] => Prompts::Each(*one),
            _ => Prompts::List(numbers),
        })
    }
}

/// `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: String,
    pub value: String,
}

impl FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| format!("`{text}` is not KEY=VALUE, such as cluster=a; {SWALLOWED}"))?;
        Ok(KeyValue { key: key.trim().to_string(), value: value.to_string() })
    }
}

/// A flag that takes several words takes every word up to the next flag, the arms and runs behind it too.
pub const SWALLOWED: &str = "an arm or a run stands before such a flag, or after the next one";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_prices_have_bounds() {
        assert!("0".parse::<Levels>().expect_err("none").contains("at least 1"));
        assert!("1,4294967295".parse::<Levels>().expect_err("too many").contains("at most 1000000"));
        assert!(price("-1").is_err() && price("nan").is_err() && price("0") == Ok(0.0));
    }

    #[test]
    fn numbers_are_refused_in_words() {
        assert_eq!(whole_number::<u32>("8"), Ok(8));
        for (text, word) in
            [("x", "integer"), ("-1", "integer"), ("1.5", "integer"), ("", "integer"), ("99999999999", "large")]
        {
            let error = whole_number::<u32>(text).expect_err(text);
            assert!(error.contains(word) && error.contains(text), "{error}");
        }
        assert_eq!(number("inf"), Ok(f64::INFINITY));
        assert!(number("nan").is_err() && number("1,5").is_err());
        assert!(percentile("100").is_ok() && percentile("100.1").is_err());
    }

    #[test]
    fn prompts_are_one_number_a_list_or_a_multiple() {
        assert_eq!("100".parse(), Ok(Prompts::Each(100)));
        assert_eq!("10, 20,50".parse(), Ok(Prompts::List(vec![10, 20, 50])));
        assert_eq!("10x".parse(), Ok(Prompts::PerSlot(10)));
        for text in ["", "x", "1,,2", "-1", "1.5x"] {
            assert!(text.parse::<Prompts>().is_err(), "{text}");
        }
        assert!("1,0".parse::<Levels>().expect_err("no request").contains("at least 1"));
    }

    #[test]
    fn lengths_of_time_have_units() {
        let secs = |text| time(text).map(|t| t.as_secs_f64());
        assert_eq!(secs("90"), Ok(90.0));
        assert_eq!(secs("90s"), Ok(90.0));
        assert_eq!(secs("20m"), Ok(1200.0));
        assert_eq!(secs("1.5h"), Ok(5400.0));
        for text in ["", "m", "-1m", "0", "5d", "inf", "1e300h"] {
            assert!(secs(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_may_hold_what_a_key_may_not() {
        let word: KeyValue = "note=a=b c".parse().expect("a pair");
        assert_eq!((word.key.as_str(), word.value.as_str()), ("note", "a=b c"));
        for text in ["simple", "=x", ""] {
            assert!(text.parse::<KeyValue>().expect_err(text).contains("KEY=VALUE"));
        }
    }
}
