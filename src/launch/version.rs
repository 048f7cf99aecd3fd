//! The engine's version, read leniently, and what depends on it.

use std::fmt;

/// `major.minor.patch` of an engine that speaks vLLM's command line. Suffixes (`+cu128`, `.dev3`, `rc1`) don't matter
/// for what topobench asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EngineVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl EngineVersion {
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        EngineVersion { major, minor, patch }
    }

    /// The version in the output of `PROGRAM --version`. Warnings may come before it, so the last line that starts
    /// with a version, or with one word and a version, wins.
    pub fn find(output: &str) -> Option<Self> {
        output.lines().rev().find_map(|line| {
            let mut words = line.split_whitespace();
            let first = words.next()?;
            Self::parse(first).or_else(|| Self::parse(words.next()?))
        })
    }

    /// `0.22.0`, `v0.11.1`, `0.32.1.dev12+gabc`; two numbers suffice.
    pub fn parse(word: &str) -> Option<Self> {
        let mut parts = word.strip_prefix('v').unwrap_or(word).split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = leading_number(parts.next()?)?;
        let patch = parts.next().and_then(leading_number).unwrap_or(0);
        Some(EngineVersion { major, minor, patch })
    }

    /// The split roles `kv_producer` and `kv_consumer` work with NIXL from 0.21; before, `kv_both` everywhere.
    pub fn has_split_kv_roles(self) -> bool {
        self >= Self::new(0, 21, 0)
    }

    /// `NixlPushConnector` exists from 0.26.
    pub fn has_push_connector(self) -> bool {
        self >= Self::new(0, 26, 0)
    }

    /// `--profiler-config` came with 0.13; what `VLLM_TORCH_PROFILER_DIR` did before is gone since.
    pub fn has_profiler_config(self) -> bool {
        self >= Self::new(0, 13, 0)
    }

    /// `kv_load_failure_policy` exists from 0.13.
    pub fn has_load_failure_policy(self) -> bool {
        self >= Self::new(0, 13, 0)
    }
}

impl fmt::Display for EngineVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_however_they_are_said() {
        let found = |s: &str| EngineVersion::find(s).map(|v| v.to_string());
        assert_eq!(found("0.22.0\n").as_deref(), Some("0.22.0"));
        assert_eq!(found("vllm 0.11.1+cu128").as_deref(), Some("0.11.1"));
        assert_eq!(found("0.32.1.dev12+g0a1b2c3.d20261121").as_deref(), Some("0.32.1"));
        assert_eq!(found("enginesim v1.4").as_deref(), Some("1.4.0"));
        assert_eq!(found("0.13.0rc2").as_deref(), Some("0.13.0"));
    }

    #[test]
    fn warnings_before_and_after_the_version_are_passed_over() {
        let noisy = "W1121 21:22:51.257000 20470 torch/utils: triton not found\n\
                     INFO 11-21 21:23:20 [__init__.py:216] Automatically detected platform cpu.\n\
                     0.10.2\n\nwarnings.warn('resource_tracker: 1 leaked')\n";
        assert_eq!(EngineVersion::find(noisy), Some(EngineVersion::new(0, 10, 2)));
        assert_eq!(EngineVersion::find("usage: prog [-h]\n"), None);
        assert_eq!(EngineVersion::find(""), None);
    }
}
