//! Every environment variable that a plan reads, in one place. Precedence: flag, environment, file, default.

use super::error::PlanError;
use super::secret::Secret;
use std::collections::BTreeMap;

/// GPUs of one instance of `simple`.
pub const TENSOR_PARALLEL_SIZE: &str = "TENSOR_PARALLEL_SIZE";
/// `--gpu-memory-utilization` of every instance, 0 to 1.
pub const GPU_MEMORY_UTILIZATION: &str = "GPU_MEMORY_UTILIZATION";
pub const NUM_PREFILL_INSTANCES: &str = "NUM_PREFILL_INSTANCES";
pub const NUM_DECODE_INSTANCES: &str = "NUM_DECODE_INSTANCES";
/// GPUs of one prefill instance.
pub const PREFILLER_TP_SIZE: &str = "PREFILLER_TP_SIZE";
/// GPUs of one decode instance.
pub const DECODER_TP_SIZE: &str = "DECODER_TP_SIZE";
/// TTFT limit, ms.
pub const TTFT_SLO: &str = "TTFT_SLO";
/// TPOT limit, ms.
pub const TPOT_SLO: &str = "TPOT_SLO";
/// Attainment target, percent.
pub const TARGET_ATTAINMENT: &str = "TARGET_ATTAINMENT";
/// Where comparisons and plots go.
pub const PLOT_OUTPUT_DIR: &str = "PLOT_OUTPUT_DIR";
/// Headers of every request to servers that run already, one `NAME=VALUE` a line.
pub const HEADERS: &str = "TOPOBENCH_HEADERS";
/// Certificates that are trusted in place of the platform's.
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
/// API keys, first found; never taken from argv.
pub const API_KEYS: [&str; 2] = ["VLLM_API_KEY", "OPENAI_API_KEY"];
/// GPUs this process may use.
pub const CUDA_VISIBLE_DEVICES: &str = "CUDA_VISIBLE_DEVICES";
pub const HIP_VISIBLE_DEVICES: &str = "HIP_VISIBLE_DEVICES";

/// All of the above.
const READ: [&str; 15] = [
    TENSOR_PARALLEL_SIZE,
    GPU_MEMORY_UTILIZATION,
    NUM_PREFILL_INSTANCES,
    NUM_DECODE_INSTANCES,
    PREFILLER_TP_SIZE,
    DECODER_TP_SIZE,
    TTFT_SLO,
    TPOT_SLO,
    TARGET_ATTAINMENT,
    PLOT_OUTPUT_DIR,
    HEADERS,
    API_KEYS[0],
    API_KEYS[1],
    CUDA_VISIBLE_DEVICES,
    HIP_VISIBLE_DEVICES,
];

/// The environment as it was when the program started; tests make their own.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Without the sizes that it gives deployments which name none.
    pub fn without_sizes(mut self) -> Environment {
        let sizes =
            [TENSOR_PARALLEL_SIZE, NUM_PREFILL_INSTANCES, NUM_DECODE_INSTANCES, PREFILLER_TP_SIZE, DECODER_TP_SIZE];
        self.0.retain(|name, _| !sizes.contains(&name.as_str()));
        self
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Environment(pairs.into_iter().collect())
    }
}

impl Environment {
    /// Variables that are not UTF-8 are left out, unless it is one that a plan reads.
    ///
    /// # Errors
    /// If a variable that a plan reads is not UTF-8: leaving it out would measure something else than was asked for.
    pub fn of_process() -> Result<Self, PlanError> {
        let mut known = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(known.insert(name, value)),
                Err(_) if READ.contains(&name.as_str()) => {
                    return Err(PlanError::Value {
                        what: format!("environment variable {name}"),
                        value: "(not UTF-8)".to_string(),
                        remedy: "set it to UTF-8 text, or unset it".to_string(),
                    });
                }
                Err(_) => {}
            }
        }
        Environment(known).with_keys_that_can_be_sent()
    }

    /// A key goes into a header, and a line break in it would end that.
    fn with_keys_that_can_be_sent(self) -> Result<Self, PlanError> {
        let odd = |name: &&&str| self.get(name).is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic()));
        match API_KEYS.iter().find(odd) {
            None => Ok(self),
            Some(name) => Err(PlanError::Value {
                what: format!("environment variable {name}"),
                value: "(not shown)".to_string(),
                remedy: "a key is one word of printable ASCII: look for line breaks, spaces and other letters in it"
                    .to_string(),
            }),
        }
    }

    pub fn of<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        Environment(pairs.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    /// An empty value counts as not set, as in the shell scripts that people come from.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    /// Whether it is set, be it to nothing.
    pub fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn number<T: std::str::FromStr>(&self, name: &'static str, expects: &str) -> Result<Option<T>, PlanError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| PlanError::Value {
            what: format!("environment variable {name}"),
            value: text.to_string(),
            remedy: format!("give {expects}, or unset it"),
        })
    }

    pub fn api_key(&self) -> Option<Secret> {
        API_KEYS.iter().find_map(|name| self.get(name)).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_no_header_can_hold_is_refused_by_name_and_not_shown() {
        for key in ["sk-1\nx", "sk 1", "sk-\u{e9}"] {
            let refused = Environment::of([("OPENAI_API_KEY", key)]).with_keys_that_can_be_sent();
            let told = refused.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(told.contains("OPENAI_API_KEY") && !told.contains("sk"), "{told}");
        }
        let good = Environment::of([("VLLM_API_KEY", "sk-1\n")]).with_keys_that_can_be_sent().expect("the end is cut");
        assert_eq!(good.api_key().as_ref().map(Secret::expose), Some("sk-1"));
    }
}
