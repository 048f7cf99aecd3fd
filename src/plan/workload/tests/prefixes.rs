//! Random prompts that share their beginnings.

use super::*;

fn beginnings(prefixes: Prefixes, requests: u32) -> Vec<Vec<u32>> {
    let fixed = |n| Lengths::Fixed { tokens: TokenCount(n) };
    let dataset = Dataset::Random { input: fixed(10), output: fixed(4), prefix_len: TokenCount(32), prefixes };
    let prepared = prepare(&workload(dataset), &load(requests));
    let schedule = prepared.schedule(rate(2.0), 1).expect("schedules");
    let prompts = schedule.requests.iter().map(|r| ids(prepared.render(r)));
    prompts.map(|p| (assert_eq!(p.len(), 42), p[..32].to_vec()).1).collect()
}

fn uses(beginnings: &[Vec<u32>]) -> Vec<usize> {
    let mut counts = std::collections::HashMap::new();
    beginnings.iter().for_each(|b| *counts.entry(b).or_insert(0) += 1);
    counts.into_values().collect()
}

#[test]
fn requests_draw_one_of_k_prefixes() {
    let uses = uses(&beginnings(Prefixes { count: 4, share: 1.0 }, 400));
    assert_eq!(uses.len(), 4);
    assert!(uses.iter().all(|n| (60..=140).contains(n)), "{uses:?}");
}

#[test]
fn a_share_of_the_requests_has_a_prefix_and_all_have_the_same_length() {
    let uses = uses(&beginnings(Prefixes { count: 2, share: 0.25 }, 400));
    let shared: usize = uses.iter().filter(|n| **n > 1).sum();
    assert!((70..=130).contains(&shared), "{shared} of 400 share a prefix");
    assert_eq!(uses.len(), 2 + (400 - shared));
}

#[test]
fn nobody_shares_where_the_share_is_zero() {
    assert_eq!(uses(&beginnings(Prefixes { count: 3, share: 0.0 }, 50)).len(), 50);
}
