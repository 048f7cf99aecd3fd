//! What could be run on a number of GPUs: every shape that fills them, with settings worth trying.

mod layout;
mod tuning;

pub use layout::{Layout, LayoutKind};
pub use tuning::{MinorVersion, Tune, Tuning, read};

use std::fmt;

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub layout: Layout,
    pub tuning: Tuning,
}

impl Candidate {
    /// Every layout with every setting of its kind.
    pub fn all(layouts: &[Layout], tunings: &[Tuning]) -> Vec<Candidate> {
        let of = |layout: &Layout| {
            let layout = *layout;
            let own = tunings.iter().filter(move |tuning| tuning.kind == layout.kind());
            let own = own.filter(move |tuning| layout.can_push() || !tuning.pushes());
            own.map(move |tuning| Candidate { layout, tuning: tuning.clone() })
        };
        layouts.iter().flat_map(of).collect()
    }

    /// As an ARM is typed.
    pub fn arm(&self) -> String {
        let sizes = std::iter::once(self.layout.sizes());
        let settings = self.tuning.settings.iter().map(|(key, value)| format!("{key}={}", quoted(value)));
        format!("{}:{}", self.layout.kind().name(), sizes.chain(settings).collect::<Vec<_>>().join(","))
    }
}

/// `nixl 2P2D (block-size 128)`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.layout)?;
        let shown = self.tuning.settings.shown();
        let words: Vec<String> = shown.iter().map(|(key, value)| format!("{key} {value}")).collect();
        if words.is_empty() { Ok(()) } else { write!(f, " ({})", words.join(", ")) }
    }
}

/// A value that keeps its commas.
fn quoted(value: &str) -> String {
    let plain = |c: char| c != ',' && c != '\'' && c != '"';
    match (value.chars().all(plain), value.contains('\'')) {
        (true, _) => value.to_string(),
        (false, false) => format!("'{value}'"),
        (false, true) => format!("\"{value}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::arm::ArmSpec;

    #[test]
    fn a_candidate_is_an_arm_that_can_be_typed() {
        let tunings = read(&Tune::Curated).expect("built in");
        let candidates = Candidate::all(&Layout::all(4, true), &tunings);
        for candidate in &candidates {
            let spec = ArmSpec::parse(&candidate.arm()).unwrap_or_else(|e| panic!("{}: {e}", candidate.arm()));
            assert_eq!(spec.settings, candidate.tuning.settings, "{candidate}");
        }
        let shown: Vec<String> = candidates.iter().map(ToString::to_string).collect();
        assert!(shown.contains(&"nixl 2P2D (block-size 128)".to_string()), "{shown:?}");
        assert!(candidates.iter().any(|c| c.arm() == "nixl:prefill=2,decode=2,block-size=128"));
    }

    #[test]
    fn values_with_commas_are_quoted() {
        assert_eq!((quoted("128"), quoted("a,b")), ("128".to_string(), "'a,b'".to_string()));
        assert_eq!(quoted("{'a': 1, 'b': 2}"), "\"{'a': 1, 'b': 2}\"");
    }
}
