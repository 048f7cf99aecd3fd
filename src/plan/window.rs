//! Which requests of a point are judged, by when they fell due: all of them, or those of its steady state.
//!
//! At its beginning a point has the engine to itself, at its end nobody comes any more: both flatter the latencies of a
//! short point. The run records everything; a window only says what is looked at.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Part of a point, in time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Window {
    #[default]
    All,
    /// The longest stretch with at least half of the point's peak in flight, in whole seconds.
    Steady,
    /// Seconds since the point's time zero; the end is exclusive, `None` for the point's own.
    Between { from: f64, to: Option<f64> },
}

/// Words that are no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a window: give `steady`, `all`, or seconds as FROM:TO, e.g. 30:330 or 30:")]
pub struct WindowError(String);

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Window, WindowError> {
        let wrong = || WindowError(text.to_string());
        let secs = |word: &str| word.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0).ok_or_else(wrong);
        match text {
            "all" => Ok(Window::All),
            "steady" => Ok(Window::Steady),
            _ => {
                let (from, to) = text.split_once(':').ok_or_else(wrong)?;
                let from = if from.is_empty() { 0.0 } else { secs(from)? };
                let to = if to.is_empty() { None } else { Some(secs(to)?) };
                if to.is_some_and(|to| to <= from) { Err(wrong()) } else { Ok(Window::Between { from, to }) }
            }
        }
    }
}

impl TryFrom<String> for Window {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Window, WindowError> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> String {
        window.to_string()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Window::All => f.write_str("all"),
            Window::Steady => f.write_str("steady"),
            Window::Between { from, to: Some(to) } => write!(f, "{from}:{to}"),
            Window::Between { from, to: None } => write!(f, "{from}:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_words_or_seconds_and_survive_being_written() {
        for word in ["all", "steady", "30:330", "0.5:", "0:10"] {
            let window: Window = word.parse().expect("a window");
            assert_eq!(window.to_string(), word);
            let json = serde_json::to_string(&window).expect("JSON");
            assert_eq!(serde_json::from_str::<Window>(&json).expect("back"), window);
        }
        assert_eq!(":10".parse(), Ok(Window::Between { from: 0.0, to: Some(10.0) }));
        for word in ["", "10", "10:5", "10:10", "-1:", "a:b", "inf:", "1:nan"] {
            assert!(word.parse::<Window>().is_err(), "{word}");
        }
    }
}
