//! Words for latencies, by bounds that people used in their scripts.

use super::rows::AggregateRow;

/// How good a latency is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rating {
    Excellent,
    Good,
    Acceptable,
    ToBeOptimised,
}

impl Rating {
    pub fn word(self) -> &'static str {
        match self {
            Rating::Excellent => "excellent",
            Rating::Good => "good",
            Rating::Acceptable => "acceptable",
            Rating::ToBeOptimised => "to be optimised",
        }
    }
}

/// Mean TTFT and TPOT, ms, below which a point is excellent, good, acceptable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratings([(f64, f64); 3]);

impl Default for Ratings {
    fn default() -> Self {
        Ratings([(100.0, 20.0), (200.0, 40.0), (500.0, 80.0)])
    }
}

impl std::str::FromStr for Ratings {
    type Err = String;

    /// `100/20,200/40,500/80`.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` must be three rising bounds TTFT/TPOT in ms, such as 100/20,200/40,500/80");
        let bound = |word: &str| {
            let (ttft, tpot) = word.split_once('/')?;
            Some((ttft.trim().parse::<f64>().ok()?, tpot.trim().parse::<f64>().ok()?))
        };
        let bounds: Option<Vec<(f64, f64)>> = text.split(',').map(bound).collect();
        let bounds: [(f64, f64); 3] = bounds.and_then(|b| b.try_into().ok()).ok_or_else(refuse)?;
        let rising = bounds.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        (rising && bounds[0].0 > 0.0 && bounds[0].1 > 0.0).then_some(Ratings(bounds)).ok_or_else(refuse)
    }
}

impl Ratings {
    /// By the worse of both; `None` where one of them isn't known.
    pub fn of(&self, row: &AggregateRow) -> Option<Rating> {
        let (ttft, tpot) = (row.mean_ttft_ms?, row.mean_tpot_ms?);
        let names = [Rating::Excellent, Rating::Good, Rating::Acceptable];
        let kept = self.0.iter().zip(names).find(|((t, p), _)| ttft < *t && tpot < *p);
        Some(kept.map_or(Rating::ToBeOptimised, |(_, rating)| rating))
    }
}

/// `excellent below 100/20, good below 200/40, acceptable below 500/80 ms`.
impl std::fmt::Display for Ratings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c] = self.0;
        write!(f, "excellent below {}/{}, good below {}/{}, acceptable below {}/{} ms", a.0, a.1, b.0, b.1, c.0, c.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(ttft: f64, tpot: f64) -> Option<&'static str> {
        let row = AggregateRow { mean_ttft_ms: Some(ttft), mean_tpot_ms: Some(tpot), ..AggregateRow::default() };
        Ratings::default().of(&row).map(Rating::word)
    }

    #[test]
    fn the_worse_of_both_latencies_counts() {
        assert_eq!(rated(99.0, 19.0), Some("excellent"));
        assert_eq!(rated(99.0, 20.0), Some("good"));
        assert_eq!(rated(300.0, 5.0), Some("acceptable"));
        assert_eq!(rated(10.0, 80.0), Some("to be optimised"));
        assert_eq!(Ratings::default().of(&AggregateRow::default()), None);
    }

    #[test]
    fn bounds_of_ones_own_must_rise() {
        assert_eq!("100/20,200/40,500/80".parse(), Ok(Ratings::default()));
        for text in ["", "100/20", "100/20,50/40,500/80", "a/b,c/d,e/f", "0/1,2/3,4/5"] {
            assert!(text.parse::<Ratings>().is_err(), "{text}");
        }
    }
}
