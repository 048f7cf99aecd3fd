//! Data-parallel ranks of one engine: vLLM counts each under its own `engine` label, on the one page of their API server.

use super::prometheus::{Sample, Snapshot};
use crate::outcome::RankCounters;
use std::collections::BTreeSet;

const LABEL: &str = "engine";
/// Present for every rank from the start, whatever it has done.
const ALWAYS_THERE: &str = "vllm:generation_tokens_total";
const BY_SOURCE: &str = "vllm:prompt_tokens_by_source_total";

/// The ranks of an engine; one for an engine without data parallelism, none where they have no labels.
pub(super) fn of_page(page: &Snapshot) -> BTreeSet<u32> {
    let counted = page.samples().iter().filter(|s| s.name == ALWAYS_THERE);
    counted.filter_map(rank).collect()
}

fn rank(sample: &Sample) -> Option<u32> {
    sample.labels.iter().find(|(name, _)| name == LABEL)?.1.parse().ok()
}

/// What each rank of an engine did between two pages of it; nothing unless there are several. Without a `before` it counts
/// from zero.
pub(super) fn between(instance: &str, before: Option<&Snapshot>, after: &Snapshot) -> Vec<RankCounters> {
    let ranks = of_page(after);
    if ranks.len() < 2 {
        return Vec::new();
    }
    let of = |rank: u32| {
        let own = rank.to_string();
        let growth = |name: &str, more: &[(&str, &str)]| {
            let labels = [&[(LABEL, own.as_str())], more].concat();
            let now = after.sum(name, &labels)?;
            // A series appears with its first event.
            let then = before.and_then(|page| page.sum(name, &labels)).unwrap_or(0.0);
            Some((now - then).max(0.0))
        };
        RankCounters {
            instance: instance.to_string(),
            rank,
            prompt_tokens: growth("vllm:prompt_tokens_total", &[]),
            generation_tokens: growth(ALWAYS_THERE, &[]),
            external_kv_tokens: growth(BY_SOURCE, &[("source", "external_kv_transfer")]),
            local_compute_tokens: growth(BY_SOURCE, &[("source", "local_compute")]),
            cache_hit_tokens: growth(BY_SOURCE, &[("source", "local_cache_hit")]),
        }
    };
    ranks.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECODE: &str = include_str!("../../tests/fixtures/observe/metrics_decode_cpu_0.32.txt");

    /// A page as vLLM writes it with two ranks, of which the second did nothing.
    fn two_ranks() -> String {
        let of_second = DECODE.lines().filter(|line| line.contains("engine=\"0\""));
        let idle = of_second.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| format!("{series} 0.0"));
        let idle = idle.map(|line| line.replace("engine=\"0\"", "engine=\"1\""));
        DECODE.lines().map(str::to_string).chain(idle).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_rank_is_counted_under_its_label() {
        let page = Snapshot::parse(&two_ranks());
        let ranks = between("decode-0", None, &page);
        assert_eq!(ranks.iter().map(|r| r.rank).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((ranks[0].external_kv_tokens, ranks[0].generation_tokens), (Some(5716.0), Some(1476.0)));
        assert_eq!((ranks[1].external_kv_tokens, ranks[1].prompt_tokens), (Some(0.0), Some(0.0)));
        let since = between("decode-0", Some(&page), &page);
        assert!(since.iter().all(|rank| rank.prompt_tokens == Some(0.0)), "{since:?}");
    }

    #[test]
    fn an_engine_without_data_parallelism_has_no_ranks_to_tell_apart() {
        assert_eq!(between("decode-0", None, &Snapshot::parse(DECODE)), []);
    }
}
