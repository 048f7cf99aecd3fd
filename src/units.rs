//! Quantities with their units. No bare `f64` for a quantity crosses a module.
//!
//! Everything is held in base units (seconds, requests per second, tokens); milliseconds appear only where a person
//! reads or types them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// A moment of a point's load, in nanoseconds since its time zero (monotonic clock).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(u64);

impl Offset {
    pub const ZERO: Offset = Offset(0);

    pub const fn from_nanos(nanos: u64) -> Self {
        Offset(nanos)
    }

    /// Negative and NaN seconds become zero: an offset never lies before the point's time zero.
    pub fn from_secs(secs: f64) -> Self {
        Offset((secs.max(0.0) * 1e9).round() as u64)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    pub fn as_secs(self) -> f64 {
        self.0 as f64 / 1e9
    }

    pub fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// Seconds from `earlier` to `self`; negative if `self` lies before it.
    pub fn secs_since(self, earlier: Offset) -> f64 {
        (i128::from(self.0) - i128::from(earlier.0)) as f64 / 1e9
    }
}

impl From<Duration> for Offset {
    fn from(d: Duration) -> Self {
        Offset(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl std::ops::Add<Duration> for Offset {
    type Output = Offset;
    fn add(self, d: Duration) -> Offset {
        Offset(self.0.saturating_add(Offset::from(d).0))
    }
}

/// Stored as seconds, so that files read the same as vLLM's.
impl Serialize for Offset {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.as_secs())
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        f64::deserialize(d).map(Offset::from_secs)
    }
}

macro_rules! latency {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(f64);

        impl $name {
            pub const fn from_secs(secs: f64) -> Self {
                $name(secs)
            }

            pub fn from_millis(ms: f64) -> Self {
                $name(ms / 1e3)
            }

            pub const fn as_secs(self) -> f64 {
                self.0
            }

            pub fn as_millis(self) -> f64 {
                self.0 * 1e3
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} ms", trim_float(self.as_millis()))
            }
        }
    };
}

latency!(
    /// Time to first token: first chunk that carries a generated token, from due (seconds).
    Ttft
);
latency!(
    /// Time per output token: (last token - first token) / (output tokens - 1) (seconds); undefined for one token.
    Tpot
);
latency!(
    /// End-to-end latency: last byte of content, from due (seconds).
    E2el
);

/// At most three decimals, no trailing zeros: `125`, `7.5`, `0.125`.
fn trim_float(x: f64) -> String {
    let s = format!("{x:.3}");
    s.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// How requests are offered to a deployment: a number a second, all at once (an infinite rate), or in a closed loop, where
/// the end of one request sends the next. A closed loop has no rate of its own: it sends as fast as it is answered.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct RequestRate {
    per_second: f64,
    /// Requests in flight in a closed loop.
    in_flight: Option<NonZeroU32>,
}

impl RequestRate {
    pub const INFINITE: RequestRate = RequestRate { per_second: f64::INFINITY, in_flight: None };

    /// `None` unless positive (infinity is allowed, NaN is not).
    pub fn new(per_second: f64) -> Option<Self> {
        (per_second > 0.0).then_some(RequestRate { per_second, in_flight: None })
    }

    pub const fn closed(in_flight: NonZeroU32) -> Self {
        RequestRate { in_flight: Some(in_flight), ..RequestRate::INFINITE }
    }

    /// Infinite for a closed loop: nothing is held back for a clock.
    pub const fn per_second(self) -> f64 {
        self.per_second
    }

    /// Requests in flight in a closed loop; `None` for a load that is offered by the clock.
    pub fn in_flight(self) -> Option<u32> {
        self.in_flight.map(NonZeroU32::get)
    }

    pub fn is_infinite(self) -> bool {
        self.per_second.is_infinite()
    }

    /// Never NaN, so there is a total order: finite rates, all at once, then closed loops by their size.
    pub fn total_cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.per_second.total_cmp(&other.per_second).then(self.in_flight.cmp(&other.in_flight))
    }
}

const CLOSED: &str = "closed:";

/// As Python prints floats (`2.0`, `0.5`, `inf`): file names of vLLM's results carry the rate in this form. A closed loop
/// is `closed:5`.
impl fmt::Display for RequestRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_flight {
            Some(n) => write!(f, "{CLOSED}{n}"),
            None if self.is_infinite() => f.write_str("inf"),
            None => write!(f, "{:?}", self.per_second),
        }
    }
}

/// As people type rates; a closed loop has a flag of its own.
impl std::str::FromStr for RequestRate {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        s.trim().parse::<f64>().ok().and_then(RequestRate::new).ok_or_else(|| {
            format!("`{s}` is not a request rate: give requests per second above 0 (e.g. 0.5), or `inf`")
        })
    }
}

/// A number, or a word, "inf" or "closed:5": JSON has no infinity, and vLLM writes the word too.
impl Serialize for RequestRate {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.is_infinite() { s.collect_str(self) } else { s.serialize_f64(self.per_second) }
    }
}

impl<'de> Deserialize<'de> for RequestRate {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(f64),
            Word(String),
        }
        let raw = Raw::deserialize(d)?;
        match raw {
            Raw::Number(n) => {
                RequestRate::new(n).ok_or_else(|| serde::de::Error::custom(format!("request rate {n} is not above 0")))
            }
            Raw::Word(w) => match w.strip_prefix(CLOSED) {
                Some(n) => n.parse().map(RequestRate::closed).map_err(serde::de::Error::custom),
                None => w.parse().map_err(serde::de::Error::custom),
            },
        }
    }
}

/// A number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenCount(pub u32);

impl TokenCount {
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for TokenCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A share in percent, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percent(f64);

impl Percent {
    /// `None` outside 0..=100 (NaN included).
    pub fn new(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then_some(Percent(percent))
    }

    pub const fn get(self) -> f64 {
        self.0
    }

    pub fn as_fraction(self) -> f64 {
        self.0 / 100.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", trim_float(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_print_as_python_prints_floats() {
        let shown = |r: f64| RequestRate::new(r).map(|r| r.to_string());
        assert_eq!(shown(2.0).as_deref(), Some("2.0"));
        assert_eq!(shown(0.5).as_deref(), Some("0.5"));
        assert_eq!(shown(f64::INFINITY).as_deref(), Some("inf"));
        assert_eq!(shown(0.0), None);
        assert_eq!(shown(f64::NAN), None);
    }

    #[test]
    fn rates_survive_json_even_when_infinite() {
        let closed = NonZeroU32::new(5).map(RequestRate::closed);
        let rates = [RequestRate::new(0.1), RequestRate::new(8.0), Some(RequestRate::INFINITE), closed];
        for rate in rates.map(|r| r.expect("a rate")) {
            let json = serde_json::to_string(&rate).expect("serialises");
            assert_eq!(serde_json::from_str::<RequestRate>(&json).expect("parses"), rate);
        }
        for wrong in ["-1", "\"closed:0\"", "\"closed:x\""] {
            assert!(serde_json::from_str::<RequestRate>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn closed_loops_come_after_all_rates_and_by_size() {
        let closed = |n| RequestRate::closed(NonZeroU32::new(n).expect("not zero"));
        let mut rates = [closed(20), RequestRate::INFINITE, closed(5), RequestRate::new(2.0).expect("a rate")];
        rates.sort_by(RequestRate::total_cmp);
        assert_eq!(rates.map(|r| r.to_string()), ["2.0", "inf", "closed:5", "closed:20"]);
        assert_ne!(closed(5), closed(6));
    }

    #[test]
    fn offsets_survive_json_to_the_nanosecond_for_a_day() {
        let day = 86_400_000_000_000u64;
        for nanos in [0, 1, 999_999_999, day - 1, day] {
            let json = serde_json::to_string(&Offset(nanos)).expect("serialises");
            assert_eq!(serde_json::from_str::<Offset>(&json).expect("parses"), Offset(nanos));
        }
    }

    #[test]
    fn latencies_print_in_milliseconds_without_noise() {
        assert_eq!(Ttft::from_millis(125.0).to_string(), "125 ms");
        assert_eq!(Tpot::from_secs(0.0075).to_string(), "7.5 ms");
    }
}
