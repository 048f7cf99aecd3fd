//! The hand-over of KV caches, audited: what was moved, in how many pieces, what it cost, and what binds it.
//!
//! vLLM's decode instances pull: they post a transfer inside the decode step, some three microseconds a descriptor (measured on H100s at 9,216
//! descriptors a prompt; 4 at 1,152), and looks for its end once a step. So a transfer takes the time to post its
//! descriptors, the time its bytes need on the link, and the rest of the step in which it ends. Only the first is counted
//! apart by the engine: what is left is told as steps, never as the link's speed. Prefill instances that push post on a
//! thread of their own, and count until their next step: the decode batch never stands still for it.

use super::input::{KvWay, PointInput};
use crate::outcome::{EngineCounters, HandOverFacts, KvSpan};
use crate::words::number;
use serde::Serialize;

/// Posting shorter than this is not worth a setting, milliseconds.
const NEGLIGIBLE_POST_MS: f64 = 2.0;
/// Of every second, a decode batch that stands still so long is held up by posting, whatever else a transfer waits for.
const LONG_STALL_MS: f64 = 100.0;
/// The block size that larger ones are advised up to; vLLM's maintainers benchmark with it.
const LARGE_BLOCK: u32 = 128;
/// Descriptors a transfer differ between two parts of a point by this factor: not one state. A pool that is in use varies
/// with the load, by up to three times as measured on H200s; a fresh one has sixteen times fewer, or less.
const CHANGED: f64 = 4.0;
/// From this share of a link's speed on, it is the link that a transfer waits for.
const NEAR_THE_LINK: f64 = 0.5;
/// Fewer transfers in a part of a point tell nothing of it.
const ENOUGH: f64 = 5.0;

/// What the time of a transfer mostly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundBy {
    /// Posting many small pieces, while the decode batch stands still.
    Descriptors,
    /// The bytes over the time come near what was measured between the GPUs.
    Link,
    /// KV goes through the host's memory, as the topology asks.
    HostStaging,
    /// Waiting for the decode engine's next step.
    Steps,
}

impl BoundBy {
    /// As it stands in files.
    pub fn word(self) -> &'static str {
        match self {
            BoundBy::Descriptors => "descriptors",
            BoundBy::Link => "link",
            BoundBy::HostStaging => "host_staging",
            BoundBy::Steps => "steps",
        }
    }
}

/// Descriptors a transfer went from one number to another while the point was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    pub from: f64,
    pub to: f64,
    /// When the second part begins, seconds into the point.
    pub at_secs: f64,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Change { from, to, at_secs } = self;
        let cause = match to > from {
            true => "the KV block pool fragmented: a longer warm-up, --max-warmup, would measure one state",
            false => "the KV block pool recovered",
        };
        let after = at_secs.ceil();
        write!(
            f,
            "the hand-over changed during the point: about {from:.0} descriptors a prompt at first, {to:.0} from second \
             {at_secs:.0} on ({cause}); --window {after:.0}: judges only what came then"
        )
    }
}

/// The hand-over at one point; means a transfer. What the engine doesn't count is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HandOver {
    pub bytes: Option<f64>,
    pub descriptors: Option<f64>,
    pub bytes_per_descriptor: Option<f64>,
    /// Posting: inside the decode step where decode pulls.
    pub post_ms: Option<f64>,
    /// From posting to seeing the end, posting included.
    pub transfer_ms: f64,
    /// Share of the mean TTFT that the transfer is.
    pub ttft_percent: Option<f64>,
    /// Of every second, how long a decode instance's batch stood still for posting.
    pub stall_ms: Option<f64>,
    pub bound_by: Option<BoundBy>,
    /// What would make it faster, and by how much the model says.
    pub advice: Option<String>,
    /// Tokens a KV block, as the engine says.
    pub block_size: Option<u32>,
    /// Whether prefill wrote the KV, rather than decode reading it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pushed: bool,
    #[serde(skip)]
    pub change: Option<Change>,
}

impl HandOver {
    /// `None` without counted transfers. `decode_instances` share the posting.
    pub fn of(point: &PointInput, decode_instances: Option<u32>, way: &KvWay) -> Option<HandOver> {
        let facts = point.facts.as_ref()?;
        let counters: EngineCounters = facts.engines?;
        let transfers = counters.kv_transfers.filter(|n| *n > 0.0)?;
        let each = |sum: Option<f64>| sum.map(|sum| sum / transfers);
        let transfer_ms = each(counters.kv_transfer_secs)? * 1e3;
        let post_ms = each(counters.kv_post_secs).map(|secs| secs * 1e3);
        let descriptors = each(counters.kv_descriptors).filter(|n| *n > 0.0);
        let bytes = each(counters.kv_transfer_bytes);
        let over = facts.hand_over.as_ref();
        let block_size = over.and_then(|o| o.block_size);
        let sums = &point.samples.stages;
        let mean_ttft = (sums.served > 0).then(|| sums.ttft / f64::from(sums.served)).filter(|secs| *secs > 0.0);
        let seconds = point.duration_secs.filter(|secs| *secs > 0.0);
        let instances = decode_instances.filter(|n| *n > 0).map(f64::from);
        let pushed = counters.pushed();
        let share = |((posted, seconds), instances): ((f64, f64), f64)| 1e3 * posted / seconds / instances;
        let stall_ms = match pushed {
            true => Some(0.0),
            false => counters.kv_post_secs.zip(seconds).zip(instances).map(share),
        };
        let bound_by = bound_by(Spent { post_ms, transfer_ms, stall_ms, bytes }, way);
        Some(HandOver {
            bytes,
            descriptors,
            bytes_per_descriptor: bytes.zip(descriptors).map(|(bytes, n)| bytes / n),
            post_ms,
            transfer_ms,
            // What prefill counts ends at its own next step, and nobody waits for that.
            ttft_percent: mean_ttft.filter(|_| !pushed).map(|secs| transfer_ms / secs / 10.0),
            stall_ms,
            bound_by,
            advice: bound_by.and_then(|bound| advice(bound, block_size, descriptors, post_ms)),
            block_size,
            pushed,
            change: over.and_then(change),
        })
    }
}

impl std::fmt::Display for HandOver {
    /// What was moved, what it cost, what binds it and what would help.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: f64| number(bytes / f64::from(1 << 20));
        write!(f, "a hand-over took {} ms", number(self.transfer_ms))?;
        if let Some(bytes) = self.bytes {
            write!(f, " for {} MiB", mib(bytes))?;
        }
        if let (Some(n), Some(each)) = (self.descriptors, self.bytes_per_descriptor) {
            write!(f, " in {n:.0} descriptors of {} KiB", number(each / 1024.0))?;
        }
        if let Some(post) = self.post_ms {
            let place = if self.pushed { "by prefill, beside its steps" } else { "inside decode's steps" };
            write!(f, ", {} ms of it posting {place}", number(post))?;
        }
        match self.bound_by {
            Some(BoundBy::Descriptors) => write!(f, "; bound by descriptors")?,
            Some(BoundBy::Link) => write!(f, "; bound by the link between the GPUs")?,
            Some(BoundBy::HostStaging) => write!(f, "; staged through the host's memory")?,
            Some(BoundBy::Steps) if self.pushed => {
                write!(f, "; the rest ends with prefill's next step, which nobody waits for")?;
            }
            Some(BoundBy::Steps) => write!(f, "; the rest is waiting for decode's next step")?,
            None => {}
        }
        match &self.advice {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

/// What a transfer took, and what of decode's time.
struct Spent {
    post_ms: Option<f64>,
    transfer_ms: f64,
    stall_ms: Option<f64>,
    bytes: Option<f64>,
}

fn bound_by(spent: Spent, way: &KvWay) -> Option<BoundBy> {
    let Spent { post_ms, transfer_ms, stall_ms, bytes } = spent;
    if way.staged {
        return Some(BoundBy::HostStaging);
    }
    let moving_secs = (transfer_ms - post_ms.unwrap_or(0.0)) / 1e3;
    let near = |(bytes, link): (f64, f64)| bytes >= NEAR_THE_LINK * link * moving_secs;
    if bytes.zip(way.link).is_some_and(near) {
        return Some(BoundBy::Link);
    }
    let post = post_ms?;
    // Where many prompts come at once, a transfer also waits while others are posted.
    let posting = post >= transfer_ms - post || stall_ms.is_some_and(|ms| ms >= LONG_STALL_MS);
    match post >= NEGLIGIBLE_POST_MS && posting {
        true => Some(BoundBy::Descriptors),
        false => Some(BoundBy::Steps),
    }
}

/// Both numbers fall with the number of blocks; a prompt's own layers and halves (K and V) stay.
fn advice(bound: BoundBy, block_size: Option<u32>, descriptors: Option<f64>, post_ms: Option<f64>) -> Option<String> {
    match (bound, block_size) {
        (BoundBy::Descriptors, Some(size)) if size < LARGE_BLOCK => {
            let fewer = f64::from(size) / f64::from(LARGE_BLOCK);
            let (n, ms) = (descriptors?, post_ms?);
            Some(format!(
                "--block-size {LARGE_BLOCK} (now {size}) should make about {:.0} descriptors of {n:.0}, and {:.1} ms of \
                 posting of {ms:.1} ms",
                n * fewer,
                ms * fewer
            ))
        }
        (BoundBy::Descriptors, None) => {
            Some(format!("a larger --block-size ({LARGE_BLOCK}) would make fewer descriptors of the same bytes"))
        }
        (BoundBy::Link, _) => Some(
            "fewer bytes would be sooner there: --kv-cache-dtype fp8 halves them, and changes answers a little".into(),
        ),
        (BoundBy::HostStaging, _) => {
            Some("buffer_device = \"cuda\" in the topology's [kv] would spare the copies".into())
        }
        _ => None,
    }
}

/// Compares the first third of a point's transfers over time with the last.
fn change(over: &HandOverFacts) -> Option<Change> {
    let third = over.course.len().div_ceil(3);
    let last_from = over.course.len().checked_sub(third).filter(|from| *from >= third)?;
    let (first, last) = (&over.course[..third], &over.course[last_from..]);
    let (from, to) = (each(first)?, each(last)?);
    if from.max(to) < CHANGED * from.min(to) {
        return None;
    }
    // Halfway between the two, by factor.
    let middle = (from * to).sqrt();
    let beyond = |span: &&KvSpan| {
        span.totals.descriptors_each().is_some_and(|n| if to > from { n > middle } else { n < middle })
    };
    let at_secs = over.course.iter().find(beyond).map_or(0.0, |span| span.from_secs);
    Some(Change { from, to, at_secs })
}

fn each(spans: &[KvSpan]) -> Option<f64> {
    let totals = spans.iter().map(|span| span.totals).reduce(|a, b| a.plus(b))?;
    totals.descriptors_each().filter(|_| totals.transfers >= ENOUGH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse::tests::{fine, point};
    use crate::outcome::KvTotals;

    /// Means of ten seconds of vLLM 0.22 between two H100s, 2048 tokens a prompt: descriptors, post and transfer ms.
    fn measured(descriptors: f64, post_ms: f64, transfer_ms: f64, block_size: u32) -> HandOver {
        let (n, bytes) = (100.0, 288.0 * 1024.0 * 1024.0);
        let mut facts = fine(4.0, 100);
        facts.engines = Some(EngineCounters {
            kv_transfers: Some(n),
            kv_transfer_secs: Some(n * transfer_ms / 1e3),
            kv_transfer_bytes: Some(n * bytes),
            kv_descriptors: Some(n * descriptors),
            kv_post_secs: Some(n * post_ms / 1e3),
            ..EngineCounters::default()
        });
        facts.hand_over = Some(HandOverFacts { block_size: Some(block_size), course: Vec::new() });
        let mut input = point(4.0, 100, 0);
        input.facts = Some(facts);
        input.duration_secs = Some(25.0);
        HandOver::of(&input, Some(1), &KvWay::default()).expect("counted")
    }

    #[test]
    fn small_blocks_of_a_fragmented_pool_are_bound_by_descriptors() {
        let over = measured(9216.0, 28.2, 45.0, 16);
        assert_eq!(over.bound_by, Some(BoundBy::Descriptors));
        assert_eq!(over.bytes_per_descriptor, Some(32.0 * 1024.0));
        let advice = over.advice.expect("a flag");
        assert!(
            advice.starts_with("--block-size 128 (now 16)") && advice.contains("1152 descriptors of 9216"),
            "{advice}"
        );
        assert!(advice.contains("3.5 ms of posting of 28.2 ms"), "{advice}");
        // 100 transfers of 28.2 ms in 25 s.
        assert!((over.stall_ms.expect("counted") - 112.8).abs() < 1e-9);
    }

    #[test]
    fn large_blocks_and_a_fresh_pool_wait_for_steps() {
        for (descriptors, post, transfer, block) in [(1152.0, 4.7, 10.7, 128), (72.0, 1.0, 7.7, 16)] {
            let over = measured(descriptors, post, transfer, block);
            assert_eq!((over.bound_by, over.advice), (Some(BoundBy::Steps), None));
        }
    }

    #[test]
    fn the_link_binds_only_where_it_was_measured() {
        let input = |transfer_ms: f64| {
            let mut input = point(4.0, 10, 0);
            let mut facts = fine(4.0, 10);
            facts.engines = Some(EngineCounters {
                kv_transfers: Some(1.0),
                kv_transfer_secs: Some(transfer_ms / 1e3),
                kv_post_secs: Some(1e-3),
                kv_transfer_bytes: Some(288.0 * 1024.0 * 1024.0),
                ..EngineCounters::default()
            });
            input.facts = Some(facts);
            input
        };
        let bound = |ms: f64, link| {
            HandOver::of(&input(ms), Some(1), &KvWay { staged: false, link }).expect("counted").bound_by
        };
        // PCIe at 20 GB/s moves them in 15 ms, NVLink at 400 in less than one.
        assert_eq!(bound(20.0, Some(20e9)), Some(BoundBy::Link));
        assert_eq!(bound(20.0, Some(400e9)), Some(BoundBy::Steps));
        assert_eq!(bound(20.0, None), Some(BoundBy::Steps));
    }

    #[test]
    fn what_is_pushed_holds_up_no_decode_batch() {
        let mut input = point(4.0, 10, 0);
        let mut facts = fine(4.0, 10);
        facts.engines = Some(EngineCounters {
            kv_transfers: Some(10.0),
            kv_pushed: Some(10.0),
            kv_transfer_secs: Some(0.4),
            kv_post_secs: Some(0.28),
            kv_descriptors: Some(92_160.0),
            ..EngineCounters::default()
        });
        input.facts = Some(facts);
        let over = HandOver::of(&input, Some(1), &KvWay::default()).expect("counted");
        assert_eq!((over.stall_ms, over.ttft_percent, over.bound_by), (Some(0.0), None, Some(BoundBy::Descriptors)));
        assert!(over.to_string().contains("posting by prefill, beside its steps"), "{over}");
    }

    #[test]
    fn a_tenth_of_decodes_time_is_too_much_posting_however_long_transfers_take() {
        // 100 transfers in 25 s.
        assert_eq!(measured(9216.0, 24.0, 90.0, 16).bound_by, Some(BoundBy::Steps));
        assert_eq!(measured(9216.0, 26.0, 90.0, 16).bound_by, Some(BoundBy::Descriptors));
    }

    #[test]
    fn what_the_engine_does_not_count_is_not_guessed() {
        let mut input = point(4.0, 10, 0);
        let mut facts = fine(4.0, 10);
        facts.engines =
            Some(EngineCounters { kv_transfers: Some(10.0), kv_transfer_secs: Some(0.1), ..EngineCounters::default() });
        input.facts = Some(facts);
        let over = HandOver::of(&input, None, &KvWay::default()).expect("transfers are counted");
        assert_eq!((over.bytes, over.descriptors, over.post_ms, over.stall_ms), (None, None, None, None));
        assert_eq!((over.bound_by, over.advice), (None, None));
        assert_eq!(HandOver::of(&point(4.0, 10, 0), Some(1), &KvWay::default()), None, "nothing recorded");
    }

    fn course(descriptors: &[f64]) -> HandOverFacts {
        let span = |(i, n): (usize, &f64)| KvSpan {
            from_secs: 10.0 * i as f64,
            secs: 10.0,
            totals: KvTotals { transfers: 40.0, descriptors: 40.0 * n, ..KvTotals::default() },
        };
        HandOverFacts { block_size: Some(16), course: descriptors.iter().enumerate().map(span).collect() }
    }

    #[test]
    fn a_point_that_sees_the_pool_fragment_says_when() {
        // vLLM's own log of the first points at block size 16.
        let change = change(&course(&[72.0, 72.0, 72.0, 3647.0, 9216.0, 9216.0])).expect("it changed");
        assert_eq!((change.from, change.to, change.at_secs), (72.0, 9216.0, 30.0));
        assert_eq!(super::change(&course(&[9216.0, 9216.0, 6775.0, 9216.0])), None, "one state, not a change");
        // Block size 128 on H200s, 11 req/s after a warm-up.
        assert_eq!(super::change(&course(&[425.0, 610.0, 1138.0])), None, "the load's doing");
        assert_eq!(super::change(&course(&[9216.0])), None, "one span is no course");
    }
}
