//! Prefix caches, audited as the hand-over is: what was found, what could have been, what it spared, and what would find
//! more.
//!
//! vLLM looks up every prompt when it is admitted and counts tokens: those looked up, and those whose full blocks were
//! there. How many *could* have been found follows from the requests alone: what a cache without end that saw all of them
//! would have known. The rest was lost on the way: to replicas that each know a part, or to eviction.

use super::input::{ArmInput, ArmKind, PointInput};
use crate::outcome::EngineCounters;
use crate::words::decimal;
use serde::Serialize;

/// Caches that find less than this of what is repeated leave something to be gained, percent of prompt tokens.
const WORTH_ADVICE: f64 = 5.0;
/// Nothing is told of caches that found less, where nothing is repeated: percent of prompt tokens.
const WORTH_TELLING: f64 = 1.0;

/// What the caches of a role were asked for, and what they had.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RoleHits {
    pub hit_tokens: f64,
    pub query_tokens: f64,
    pub hit_percent: f64,
    /// Percent of the prompt tokens that its busiest instance got; absent of a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busiest_percent: Option<f64>,
}

impl RoleHits {
    fn of(hits: Option<f64>, queries: Option<f64>, busiest_share: Option<f64>) -> Option<RoleHits> {
        let (hit_tokens, query_tokens) = (hits?, queries.filter(|n| *n > 0.0)?);
        let busiest_percent = busiest_share.map(|share| 100.0 * share);
        Some(RoleHits { hit_tokens, query_tokens, hit_percent: 100.0 * hit_tokens / query_tokens, busiest_percent })
    }

    fn plus(self, other: RoleHits) -> RoleHits {
        let (hits, queries) = (self.hit_tokens + other.hit_tokens, self.query_tokens + other.query_tokens);
        let busiest = self.busiest_percent.zip(other.busiest_percent);
        RoleHits {
            hit_tokens: hits,
            query_tokens: queries,
            hit_percent: 100.0 * hits / queries,
            busiest_percent: busiest.map(|(a, b)| (a * self.query_tokens + b * other.query_tokens) / queries),
        }
    }
}

/// The prefix caches of an arm, by role. Absent: no such role, or its engines don't count.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct PrefixCache {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<RoleHits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill: Option<RoleHits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode: Option<RoleHits>,
    /// Percent of the prompt tokens that stood at the beginning of an earlier prompt of the same point.
    pub repeated_percent: Option<f64>,
    /// Prefill time a prompt that the hits spared, at the pace of what was computed.
    pub spared_ms: Option<f64>,
}

impl PrefixCache {
    /// `None` where no engine counts.
    pub fn of(point: &PointInput, kind: ArmKind) -> Option<PrefixCache> {
        let facts = point.facts.as_ref()?;
        let engines: EngineCounters = facts.engines?;
        let looked_up = engines.cache_queries.or(engines.prompt_tokens);
        let computing = RoleHits::of(engines.cached_prompt_tokens, looked_up, engines.busiest_share)?;
        let (replica, prefill) = match kind {
            ArmKind::PrefillDecode => (None, Some(computing)),
            ArmKind::Simple | ArmKind::HiddenPair | ArmKind::Unknown => (Some(computing), None),
        };
        let decode =
            RoleHits::of(engines.decode_cache_hits, engines.decode_cache_queries, engines.decode_busiest_share);
        let all: f64 = point.samples.prompt_tokens.iter().map(|n| f64::from(*n)).sum();
        let repeated = facts.repeated_tokens.filter(|_| all > 0.0);
        Some(PrefixCache {
            replica,
            prefill,
            decode,
            repeated_percent: repeated.map(|tokens| 100.0 * tokens as f64 / all),
            spared_ms: spared_ms(&engines, &computing),
        })
    }

    /// Of all points together, by tokens.
    pub fn of_arm(input: &ArmInput) -> Option<PrefixCache> {
        let each = |p: &PointInput| Some((PrefixCache::of(p, input.kind)?, p.samples.len() as f64));
        let points: Vec<(PrefixCache, f64)> = input.points.iter().filter_map(each).collect();
        let sum =
            |of: fn(&PrefixCache) -> Option<RoleHits>| points.iter().filter_map(|(p, _)| of(p)).reduce(RoleHits::plus);
        let mean = |of: fn(&PrefixCache) -> Option<f64>| {
            let known: Vec<(f64, f64)> = points.iter().filter_map(|(p, n)| Some((of(p)?, *n))).collect();
            let weight: f64 = known.iter().map(|(_, n)| n).sum();
            (weight > 0.0).then(|| known.iter().map(|(value, n)| value * n).sum::<f64>() / weight)
        };
        (!points.is_empty()).then(|| PrefixCache {
            replica: sum(|p| p.replica),
            prefill: sum(|p| p.prefill),
            decode: sum(|p| p.decode),
            repeated_percent: mean(|p| p.repeated_percent),
            spared_ms: mean(|p| p.spared_ms),
        })
    }

    /// Where prompts are computed.
    pub fn computing(&self) -> Option<&RoleHits> {
        self.prefill.as_ref().or(self.replica.as_ref())
    }

    /// Roles with their hits, in the order of a request's way.
    pub fn roles(&self) -> impl Iterator<Item = (&'static str, &RoleHits)> {
        let all = [("replica", &self.replica), ("prefill", &self.prefill), ("decode", &self.decode)];
        all.into_iter().filter_map(|(role, hits)| Some((role, hits.as_ref()?)))
    }

    /// Whether anything was found, or could have been.
    pub fn is_worth_telling(&self) -> bool {
        let repeated = self.repeated_percent.is_some_and(|percent| percent > WORTH_TELLING);
        repeated || self.roles().any(|(_, hits)| hits.hit_percent > WORTH_TELLING)
    }

    /// Percent of the prompt tokens that were repeated and computed all the same.
    fn lost_percent(&self) -> Option<f64> {
        Some((self.repeated_percent? - self.computing()?.hit_percent).max(0.0))
    }

    /// What would find more; `instances` is how many of the computing role share the requests.
    pub fn advice(&self, instances: u32, prefix_aware: bool) -> Option<String> {
        let lost = self.lost_percent().filter(|lost| *lost > WORTH_ADVICE)?;
        let lost = decimal(lost, 0);
        Some(match (instances, prefix_aware) {
            (2.., false) => format!(
                "{lost} % of the prompt tokens were computed although an earlier prompt had them: each of the {instances} \
                 instances knows a part; proxy.policy=prefix-aware sends prompts that begin alike to the same one"
            ),
            (2.., true) => format!(
                "{lost} % of the prompt tokens were computed although an earlier prompt had them: moved to another \
                 instance for balance, evicted, or asked for again before they were computed; more KV memory would keep \
                 more"
            ),
            _ => format!(
                "{lost} % of the prompt tokens were computed although an earlier prompt had them: evicted, or asked for \
                 again before they were computed; more KV memory would keep more"
            ),
        })
    }
}

impl std::fmt::Display for PrefixCache {
    /// What was found, by role, of how much that could have been, and what it spared.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |hits: &RoleHits| format!("{} % of the prompt tokens", decimal(hits.hit_percent, 1));
        match (&self.prefill, &self.replica) {
            (Some(hits), _) => write!(f, "prefill found {} in its prefix cache", of(hits))?,
            (None, Some(hits)) => write!(f, "{} came from the prefix cache", of(hits))?,
            (None, None) => {}
        }
        // Beginnings that all points share may be known from before this one.
        let found = self.computing().map_or(0.0, |hits| hits.hit_percent);
        if let Some(percent) = self.repeated_percent.filter(|percent| *percent >= found) {
            write!(f, ", of {} % that an earlier prompt began with", decimal(percent, 1))?;
        }
        if let Some(ms) = self.spared_ms.filter(|ms| *ms >= 0.1) {
            write!(f, "; that spared some {} ms of prefill a prompt", decimal(ms, if ms < 10.0 { 1 } else { 0 }))?;
        }
        let busiest = |hits: &RoleHits, who: &str| match hits.busiest_percent {
            Some(percent) => format!("; the busiest {who} got {} % of the prompt tokens", decimal(percent, 0)),
            None => String::new(),
        };
        if let Some(hits) = self.computing() {
            f.write_str(&busiest(hits, if self.prefill.is_some() { "prefill instance" } else { "replica" }))?;
        }
        if let Some(hits) = &self.decode {
            match hits.hit_percent > 0.0 {
                true => write!(f, "; decode found {} itself, whose KV was not moved", of(hits))?,
                false => write!(f, "; decode found none of them itself, so all KV was moved")?,
            }
            f.write_str(&busiest(hits, "decode instance"))?;
        }
        Ok(())
    }
}

/// The engines' prefill time goes for the tokens that were computed; the hits would have taken as long each.
fn spared_ms(engines: &EngineCounters, hits: &RoleHits) -> Option<f64> {
    let time = engines.prefill_time.filter(|time| time.count > 0.0)?;
    let computed = hits.query_tokens - hits.hit_tokens;
    (computed > 0.0).then(|| 1e3 * time.secs / computed * hits.hit_tokens / time.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse::tests::{fine, point};
    use crate::outcome::TimeSum;
    use std::sync::Arc;

    /// Prompts of 40 tokens.
    const TOKENS: f64 = 4000.0;

    fn cached(hits: f64, repeated: u64) -> PrefixCache {
        let mut input = point(4.0, 100, 0);
        Arc::make_mut(&mut input.samples).prompt_tokens = vec![40; 100];
        let mut facts = fine(4.0, 100);
        facts.engines = Some(EngineCounters {
            cached_prompt_tokens: Some(hits),
            cache_queries: Some(TOKENS),
            decode_cache_hits: Some(0.0),
            decode_cache_queries: Some(TOKENS),
            prefill_time: Some(TimeSum { secs: 10.0, count: 100.0 }),
            busiest_share: Some(0.67),
            ..EngineCounters::default()
        });
        facts.repeated_tokens = Some(repeated);
        input.facts = Some(facts);
        PrefixCache::of(&input, ArmKind::PrefillDecode).expect("counted")
    }

    #[test]
    fn what_could_have_been_found_comes_from_the_requests() {
        let found = cached(TOKENS / 2.0, (TOKENS * 0.75) as u64);
        assert_eq!(found.prefill.map(|hits| hits.hit_percent), Some(50.0));
        assert!((found.repeated_percent.expect("known") - 75.0).abs() < 0.1);
        // As much was computed as was found, and took 100 ms a prompt.
        assert!((found.spared_ms.expect("known") - 100.0).abs() < 1e-6);
        let told = found.to_string();
        assert!(told.starts_with("prefill found 50 % of the prompt tokens"), "{told}");
        assert!(
            told.contains("the busiest prefill instance got 67 % of the prompt tokens; decode found none"),
            "{told}"
        );
        assert!(!told.contains("decode instance"), "how decode instances share them is not known: {told}");
        let spread = found.advice(2, false).expect("a quarter is lost");
        assert!(spread.starts_with("25 %") && spread.contains("prefix-aware"), "{spread}");
        assert!(!found.advice(1, false).expect("lost to eviction").contains("prefix-aware"));
    }

    #[test]
    fn nothing_repeated_and_nothing_found_is_nothing_to_tell() {
        let found = cached(0.0, 0);
        assert!(!found.is_worth_telling() && found.advice(4, false).is_none());
        let mut input = point(4.0, 10, 0);
        input.facts = Some(fine(4.0, 10));
        assert_eq!(PrefixCache::of(&input, ArmKind::Simple), None, "nobody counted");
    }
}
