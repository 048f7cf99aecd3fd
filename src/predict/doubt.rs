//! How far predictions may be off, and which of them are off together.
//!
//! A prediction is wrong for reasons: tensor parallelism costs more on this host, a hand-over less, a setting does not do
//! what the model thinks. Deployments that share a reason are off together, so that measuring one of them says something
//! of the others, and two of the same shape are told apart more surely than two of different kinds. The sizes of the
//! errors are set by hand, wide enough for what the model of the H100 missed on the host with four of them;
//! `cargo bench --bench best` tries them on engines that are not as predicted.

use crate::plan::candidates::{Candidate, Layout, LayoutKind};
use crate::plan::parallelism::Parallelism;
use std::collections::HashMap;

/// Standard errors of the logarithm of what is predicted.
///
/// Of all alike: how fast this host is.
const COMMON: f64 = 0.30;
/// Of a kind of deployment: what a hand-over costs, what a router does.
const KIND: f64 = 0.35;
/// Of each doubling of an engine's GPUs: what they cost in telling each other.
const DOUBLING: f64 = 0.30;
/// Of the engines of a role and size.
const ENGINES: f64 = 0.12;
/// Of what a combination of settings does for a kind.
const SETTINGS: f64 = 0.12;
/// Of a deployment by itself.
const OWN: f64 = 0.05;

/// Why a prediction may be off; deployments with the same reason are off together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reason {
    Common,
    Kind(LayoutKind),
    Doubling,
    Engines { part: Part, each: Parallelism },
    Settings { kind: LayoutKind, words: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Whole,
    Prefill,
    Decode,
}

/// Covariance of the logarithms of what is predicted, each candidate with how far prefill decides over it.
pub(super) fn covariance(predicted: &[(&Candidate, Option<f64>)]) -> Vec<Vec<f64>> {
    let reasons: Vec<HashMap<Reason, f64>> = predicted.iter().map(|(c, prefill)| reasons(c, *prefill)).collect();
    let shared = |a: &HashMap<Reason, f64>, b: &HashMap<Reason, f64>| -> f64 {
        // In an order of its own, so that the sum is the same every time.
        let mut products: Vec<f64> = a.iter().filter_map(|(why, weight)| Some(weight * b.get(why)?)).collect();
        products.sort_by(f64::total_cmp);
        products.iter().sum()
    };
    let row = |(i, a): (usize, &HashMap<Reason, f64>)| {
        let own = |j: usize| if i == j { OWN * OWN } else { 0.0 };
        reasons.iter().enumerate().map(|(j, b)| shared(a, b) + own(j)).collect()
    };
    reasons.iter().enumerate().map(row).collect()
}

/// With the size of the error that each brings.
fn reasons(candidate: &Candidate, bound_by_prefill: Option<f64>) -> HashMap<Reason, f64> {
    let kind = candidate.layout.kind();
    let words = candidate.tuning.settings.shown().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
    let doublings = |each: Parallelism| f64::from(each.gpus()).log2();
    let mut reasons = HashMap::from([
        (Reason::Common, COMMON),
        (Reason::Kind(kind), KIND),
        (Reason::Settings { kind, words }, SETTINGS),
    ]);
    match candidate.layout {
        Layout::Simple { each, .. } => {
            reasons.insert(Reason::Engines { part: Part::Whole, each }, ENGINES);
            reasons.insert(Reason::Doubling, DOUBLING * doublings(each));
        }
        Layout::PrefillDecode { of_prefill, of_decode, .. } => {
            let prefill = bound_by_prefill.unwrap_or(0.5);
            let decode = 1.0 - prefill;
            reasons.insert(Reason::Engines { part: Part::Prefill, each: of_prefill }, ENGINES * prefill);
            reasons.insert(Reason::Engines { part: Part::Decode, each: of_decode }, ENGINES * decode);
            let parallel = prefill * doublings(of_prefill) + decode * doublings(of_decode);
            reasons.insert(Reason::Doubling, DOUBLING * parallel);
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::candidates::{Tune, read};

    fn standard_error(cov: &[Vec<f64>], a: usize, b: usize) -> f64 {
        (cov[a][a] + cov[b][b] - 2.0 * cov[a][b]).sqrt()
    }

    #[test]
    fn what_shares_its_engines_is_told_apart_more_surely_than_what_does_not() {
        let tunings = read(&Tune::Curated).expect("built in");
        let candidates = Candidate::all(&Layout::all(4, false), &tunings);
        let find = |name: &str| candidates.iter().position(|c| c.to_string() == name).expect(name);
        let predicted: Vec<_> = candidates.iter().map(|c| (c, Some(0.5))).collect();
        let cov = covariance(&predicted);
        let error = |a: &str, b: &str| standard_error(&cov, find(a), find(b));
        let settings = error("simple 4xTP1", "simple 4xTP1 (max-num-batched-tokens 512)");
        let sizes = error("simple 4xTP1", "simple TP4");
        let kinds = error("simple 4xTP1", "nixl 2P2D (block-size 128)");
        let ratios = error("nixl 1P3D (block-size 128)", "nixl 2P2D (block-size 128)");
        assert!(ratios < settings && settings < kinds && kinds < sizes + 0.2, "{ratios} {settings} {kinds} {sizes}");
        assert!(sizes > 0.5, "{sizes}");
    }
}
