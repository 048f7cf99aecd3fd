//! How many GPUs stand behind servers that somebody else runs, as far as whoever measures them says.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// As many as a topology file may name.
const MOST: u32 = 4096;

/// `N`, or `prefill=N,decode=N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttachGpus {
    Together(u32),
    Roles { prefill: u32, decode: u32 },
}

impl AttachGpus {
    pub fn total(self) -> u32 {
        match self {
            AttachGpus::Together(n) => n,
            AttachGpus::Roles { prefill, decode } => prefill.saturating_add(decode),
        }
    }
}

impl FromStr for AttachGpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = |text: &str| text.trim().parse::<u32>().ok().filter(|n| (1..=MOST).contains(n));
        let role = |name: &str| {
            let parts = text.split(',').filter_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            parts.map(count).collect::<Vec<_>>()
        };
        if let Some(n) = count(text) {
            return Ok(AttachGpus::Together(n));
        }
        match (role("prefill").as_slice(), role("decode").as_slice(), text.split(',').count()) {
            (&[Some(prefill)], &[Some(decode)], 2) => Ok(AttachGpus::Roles { prefill, decode }),
            _ => Err(format!("give a number from 1 to {MOST}, or prefill=N,decode=N")),
        }
    }
}

impl fmt::Display for AttachGpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachGpus::Together(n) => write!(f, "{n}"),
            AttachGpus::Roles { prefill, decode } => write!(f, "prefill {prefill}, decode {decode}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_one_of_each_role() {
        let read = |text: &str| text.parse::<AttachGpus>();
        assert_eq!(read("8"), Ok(AttachGpus::Together(8)));
        assert_eq!(read("decode=4, prefill=2"), Ok(AttachGpus::Roles { prefill: 2, decode: 4 }));
        assert_eq!(read("decode=4,prefill=2").map(AttachGpus::total), Ok(6));
        for wrong in ["0", "prefill=2", "prefill=2,decode=0", "prefill=2,prefill=3,decode=1", "a", "", "4097"] {
            assert!(read(wrong).is_err_and(|why| why.contains("prefill=N,decode=N")), "{wrong}");
        }
    }
}
