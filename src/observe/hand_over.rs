//! The hand-over of KV caches as decode instances count it (vLLM's `nixl_*` histograms), and as it went over time.
//!
//! A mean over a point hides what matters: on a fresh engine the blocks of a prompt lie next to each other and merge
//! into a few descriptors; after some hundred requests the pool is fragmented and every block is a descriptor of its own.

use super::prometheus::Snapshot;
use crate::outcome::{KvSpan, KvTotals};
use crate::units::Offset;
use std::collections::BTreeMap;

/// Length of a span of the course, seconds. vLLM logs its own "KV Transfer metrics" as often.
const SPAN_SECS: f64 = 10.0;

/// `None` unless the engine has all five counters: engines without a connector, or with another one, don't.
pub fn totals(metrics: &Snapshot) -> Option<KvTotals> {
    let read = |name: &str| metrics.sum(name, &[]);
    Some(KvTotals {
        transfers: read("vllm:nixl_xfer_time_seconds_count")?,
        bytes: read("vllm:nixl_bytes_transferred_sum")?,
        descriptors: read("vllm:nixl_num_descriptors_sum")?,
        post_secs: read("vllm:nixl_post_time_seconds_sum")?,
        transfer_secs: read("vllm:nixl_xfer_time_seconds_sum")?,
    })
}

/// A decode instance's KV memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodePool {
    /// Tokens a block.
    pub block_size: u32,
    pub blocks: u64,
}

impl DecodePool {
    pub fn tokens(self) -> u64 {
        self.blocks.saturating_mul(u64::from(self.block_size))
    }

    /// `vllm:cache_config_info` carries it in labels.
    pub fn read(metrics: &Snapshot) -> Option<DecodePool> {
        let info = metrics.samples().iter().find(|s| s.name == "vllm:cache_config_info")?;
        let label = |name: &str| info.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str());
        Some(DecodePool {
            block_size: label("block_size")?.parse().ok()?,
            blocks: label("num_gpu_blocks")?.parse().ok()?,
        })
    }
}

/// Collects samples of an arm's decode instances.
#[derive(Debug, Default)]
pub struct HandOverCourse {
    samples: BTreeMap<String, Vec<(Offset, KvTotals)>>,
}

impl HandOverCourse {
    /// In any order: a sample is stamped before the engine answers.
    pub fn push(&mut self, instance: &str, at: Offset, totals: KvTotals) {
        match self.samples.get_mut(instance) {
            Some(samples) => samples.insert(samples.partition_point(|(other, _)| *other <= at), (at, totals)),
            None => {
                self.samples.insert(instance.to_string(), vec![(at, totals)]);
            }
        }
    }

    /// What was handed over between two moments, in spans of about ten seconds. Forgets what lies before `from`.
    pub fn spans(&mut self, from: Offset, to: Offset) -> Vec<KvSpan> {
        for samples in self.samples.values_mut() {
            // The last one before stays: what happens up to the first sample within counts from it.
            let first_within = samples.partition_point(|(at, _)| *at <= from);
            samples.drain(..first_within.saturating_sub(1));
        }
        let length = to.secs_since(from);
        let count = (length / SPAN_SECS).round().max(1.0);
        let width = length / count;
        let bounds: Vec<Offset> =
            (0..=count as usize).map(|i| Offset::from_secs(from.as_secs() + width * i as f64)).collect();
        let span = |(i, ends): (usize, &[Offset])| KvSpan {
            from_secs: width * i as f64,
            secs: width,
            totals: self
                .samples
                .values()
                .map(|s| growth(s, ends[0], ends[1]))
                .fold(KvTotals::default(), KvTotals::plus),
        };
        let spans = bounds.windows(2).enumerate().map(span);
        spans.filter(|span| span.totals.transfers > 0.0).collect()
    }
}

/// From the last sample at or before `from` (else the first) to the last at or before `to`.
fn growth(samples: &[(Offset, KvTotals)], from: Offset, to: Offset) -> KvTotals {
    let at = |moment: Offset| {
        let after = samples.partition_point(|(at, _)| *at <= moment);
        samples.get(after.saturating_sub(1)).map(|(_, totals)| *totals).unwrap_or_default()
    };
    at(to).since(at(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECODE: &str = include_str!("../../tests/fixtures/observe/metrics_decode_cpu_0.32.txt");

    fn counted(transfers: f64, descriptors: f64) -> KvTotals {
        KvTotals { transfers, descriptors, ..KvTotals::default() }
    }

    #[test]
    fn real_counters_and_the_block_pool_are_read() {
        let page = Snapshot::parse(DECODE);
        let totals = totals(&page).expect("a NIXL decode instance");
        assert_eq!((totals.transfers, totals.bytes), (59.0, 8_388_608.0));
        assert!(totals.descriptors >= totals.transfers && totals.post_secs < totals.transfer_secs, "{totals:?}");
        let pool = DecodePool::read(&page).expect("labels");
        assert_eq!((pool.block_size, pool.tokens()), (128, u64::from(pool.block_size) * pool.blocks));
    }

    #[test]
    fn an_engine_without_a_connector_has_no_totals() {
        let page = Snapshot::parse(include_str!("../../tests/fixtures/observe/metrics_simple_cpu_0.32.txt"));
        assert_eq!(totals(&page), None);
    }

    #[test]
    fn spans_add_up_to_what_was_handed_over_between_their_ends() {
        let mut course = HandOverCourse::default();
        for second in 0..=40 {
            let n = f64::from(second);
            course.push("decode-0", Offset::from_secs(n), counted(n, 72.0 * n));
            course.push("decode-1", Offset::from_secs(n), counted(2.0 * n, 144.0 * n));
        }
        let spans = course.spans(Offset::from_secs(10.0), Offset::from_secs(40.0));
        assert_eq!(spans.len(), 3);
        let whole = spans.iter().map(|s| s.totals).fold(KvTotals::default(), KvTotals::plus);
        assert_eq!((whole.transfers, whole.descriptors_each()), (90.0, Some(72.0)));
    }

    #[test]
    fn a_restarted_engine_counts_from_zero_and_never_backwards() {
        let mut course = HandOverCourse::default();
        for (at, n) in [(0.0, 100.0), (5.0, 110.0), (12.0, 3.0)] {
            course.push("decode-0", Offset::from_secs(at), counted(n, n));
        }
        let spans = course.spans(Offset::from_secs(0.0), Offset::from_secs(20.0));
        let transfers: Vec<f64> = spans.iter().map(|s| s.totals.transfers).collect();
        assert_eq!(transfers, [10.0, 3.0]);
    }

    #[test]
    fn seconds_without_a_transfer_are_left_out() {
        let mut course = HandOverCourse::default();
        for (at, n) in [(0.0, 0.0), (9.0, 4.0), (19.0, 4.0), (29.0, 6.0)] {
            course.push("decode-0", Offset::from_secs(at), counted(n, n));
        }
        let spans = course.spans(Offset::from_secs(0.0), Offset::from_secs(30.0));
        assert_eq!(spans.iter().map(|s| s.from_secs).collect::<Vec<_>>(), [0.0, 20.0]);
    }
}
