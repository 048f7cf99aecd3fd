//! Result files without requests: what `vllm bench serve --save-result` leaves without `--save-detailed`. Their statistics
//! can be listed, and nothing can be judged by them.

use super::loose::Loose;
use crate::files;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A point's numbers as the file states them.
#[derive(Debug, Clone, Deserialize)]
pub struct Numbers {
    #[serde(default)]
    pub date: Option<String>,
    #[serde(default)]
    pub model_id: Option<String>,
    #[serde(default)]
    pub dataset_name: Option<String>,
    #[serde(default)]
    pub deployment_mode: Option<String>,
    request_rate: Value,
    completed: Loose,
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

impl Numbers {
    /// `None` where the file is no result, or holds requests, which tell more.
    pub fn of_file(path: &Path) -> Option<Numbers> {
        let numbers: Numbers = files::parse(&files::read(path, 64 << 20).ok()?).ok()?;
        let has_requests = numbers.other.contains_key("ttfts");
        (!has_requests && numbers.get("mean_ttft_ms").is_some()).then_some(numbers)
    }

    /// A number of the file, also where it is written as a word.
    pub fn get(&self, key: &str) -> Option<f64> {
        match self.other.get(key)? {
            Value::Number(n) => n.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
        .filter(|n| n.is_finite())
    }

    pub fn completed(&self) -> Option<f64> {
        self.completed.get()
    }

    /// Infinite where all were sent at once.
    pub fn request_rate(&self) -> Option<f64> {
        match &self.request_rate {
            Value::Number(n) => n.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}
