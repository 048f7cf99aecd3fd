//! The page's data: every request's latencies as columns of whole numbers, and the results the page must find again.
//!
//! A column is base64 of little-endian u32. Latencies are rounded up to whole units, but never across the report's own
//! limit, so that the page counts exactly the requests that `analyse` counted.

use super::input::{ArmPage, HtmlError, PageInput};
use crate::analyse::input::{Censored, SloMillis};
use crate::analyse::{ArmReport, ByLimit, Interval, PointReport, Row, Samples};
use crate::record::RecordedPoint;
use crate::report::hues::hues;
use crate::units::RequestRate;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::cmp::Ordering;

/// A request that was offered and not served.
pub(super) const NOT_SERVED: u32 = u32::MAX;
/// Longer latencies are cut off here: 71 minutes of TTFT, 7 of TPOT.
const LONGEST: u32 = u32::MAX - 1;

/// Units a millisecond of each column has: microseconds, and tenths of them for TPOT, whose limits are so much smaller.
#[derive(Debug, Clone, Copy, Serialize)]
struct UnitsPerMilli {
    due: u32,
    ttft: u32,
    tpot: u32,
    e2el: u32,
}

const UNITS: UnitsPerMilli = UnitsPerMilli { due: 1, ttft: 1000, tpot: 10_000, e2el: 1000 };

#[derive(Debug, Serialize)]
pub(super) struct PageData {
    slo: SloMillis,
    target: f64,
    verdict: String,
    units: UnitsPerMilli,
    scale_rate: Option<RequestRate>,
    /// Columns of due offsets, each once: paired arms share them.
    dues: Vec<String>,
    arms: Vec<ArmData>,
}

#[derive(Debug, Serialize)]
struct ArmData {
    name: String,
    /// Of the static figures' colours and markers.
    hue: usize,
    gpus: Option<u32>,
    /// What `analyse` found, for the page's check of itself.
    max_rate: FoundValue,
    scale: FoundValue,
    points: Vec<PointData>,
}

#[derive(Debug, Serialize)]
struct FoundValue {
    value: Option<f64>,
    censored: Option<Censored>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    all: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct PointData {
    rate: RequestRate,
    attempt: u32,
    offered: usize,
    /// Whether any request left the client: a point without any measured nothing.
    sent: bool,
    valid: Option<bool>,
    attainment: ByLimit<Option<f64>>,
    ci95: Interval,
    /// Index into `dues`.
    due: usize,
    ttft: String,
    tpot: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    e2el: Option<String>,
}

impl PageData {
    pub(super) fn new(input: &PageInput<'_>) -> Result<PageData, HtmlError> {
        let comparison = input.comparison;
        let mut dues = Vec::new();
        let worn = hues(input.arms.iter().map(|arm| arm.input));
        let arms = comparison.arms.iter().zip(input.arms).zip(worn).map(|((report, arm), hue)| {
            let of = |point| PointData::new(report, point, arm, &comparison.slo, &mut dues);
            Ok(ArmData {
                name: report.name.clone(),
                hue,
                gpus: report.gpus.filter(|n| *n > 0),
                max_rate: FoundValue {
                    value: report.max_rate.value,
                    censored: report.max_rate.censored,
                    all: report.max_rate.all.clone(),
                },
                scale: FoundValue { value: report.scale.value, censored: report.scale.censored, all: Vec::new() },
                points: report.points.iter().map(of).collect::<Result<_, HtmlError>>()?,
            })
        });
        let arms = arms.collect::<Result<_, HtmlError>>()?;
        let scale_rate = comparison.arms.iter().find_map(|arm| arm.scale.at_rate);
        Ok(PageData {
            slo: comparison.slo,
            target: comparison.target_percent,
            verdict: comparison.verdict.clone(),
            units: UNITS,
            scale_rate,
            dues,
            arms,
        })
    }
}

impl PointData {
    fn new(
        arm: &ArmReport,
        report: &PointReport,
        page: &ArmPage<'_>,
        slo: &SloMillis,
        dues: &mut Vec<String>,
    ) -> Result<PointData, HtmlError> {
        let same = |p: &&RecordedPoint| p.key.rate == report.rate && p.key.attempt == report.attempt;
        let columns = page.run.points.iter().find(same).map(|p| PointColumns::new(&p.samples, slo)).unwrap_or_default();
        if columns.ttft.len() != report.offered {
            return Err(HtmlError::Stale {
                arm: arm.name.clone(),
                rate: report.rate.to_string(),
                attempt: report.attempt,
                judged: report.offered,
                recorded: columns.ttft.len(),
            });
        }
        let due = packed(&columns.due);
        let known = dues.iter().position(|d| *d == due);
        Ok(PointData {
            rate: report.rate,
            attempt: report.attempt,
            offered: report.offered,
            sent: columns.sent && report.attainment.both.is_some(),
            valid: report.valid,
            attainment: report.attainment,
            ci95: report.ci95.both,
            due: known.unwrap_or_else(|| {
                dues.push(due);
                dues.len() - 1
            }),
            ttft: packed(&columns.ttft),
            tpot: packed(&columns.tpot),
            e2el: slo.e2el_ms.map(|_| packed(&columns.e2el)),
        })
    }
}

/// One point in whole units, in the order of due; what left no record was offered and not served.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PointColumns {
    pub(super) due: Vec<u32>,
    pub(super) ttft: Vec<u32>,
    pub(super) tpot: Vec<u32>,
    pub(super) e2el: Vec<u32>,
    sent: bool,
}

impl PointColumns {
    pub(super) fn new(samples: &Samples, slo: &SloMillis) -> PointColumns {
        let mut columns = PointColumns::default();
        for column in [&mut columns.due, &mut columns.ttft, &mut columns.tpot, &mut columns.e2el] {
            column.reserve_exact(samples.len());
        }
        samples.rows().for_each(|row| columns.push(&row, slo));
        columns
    }

    fn push(&mut self, row: &Row, slo: &SloMillis) {
        self.sent |= row.sent.is_some();
        self.due.push((row.due * 1e3).round() as u32);
        let Some((ttft, e2el)) = row.ttft.zip(row.e2el) else {
            for column in [&mut self.ttft, &mut self.tpot, &mut self.e2el] {
                column.push(NOT_SERVED);
            }
            return;
        };
        self.ttft.push(units(ttft.as_secs(), slo.ttft_ms, UNITS.ttft));
        // A single token keeps every TPOT limit.
        self.tpot.push(row.tpot.map_or(0, |tpot| units(tpot.as_secs(), slo.tpot_ms, UNITS.tpot)));
        self.e2el.push(units(e2el.as_secs(), slo.e2el_ms.unwrap_or(f64::INFINITY), UNITS.e2el));
    }
}

/// Seconds in whole units, upwards, but on the side of the limit where they are.
fn units(secs: f64, limit_ms: f64, per_milli: u32) -> u32 {
    let per_milli = f64::from(per_milli);
    let (exact, limit) = (secs * 1e3 * per_milli, limit_ms * per_milli);
    let kept = secs <= limit_ms / 1e3;
    // Products of floats that should be whole rarely are; the records hold nanoseconds.
    let whole = (exact - 1e-4).ceil();
    let below = (limit + 1e-6).floor();
    let side = match (kept, whole.total_cmp(&below)) {
        (true, Ordering::Greater) => below,
        (false, Ordering::Less | Ordering::Equal) => below + 1.0,
        _ => whole,
    };
    (side.max(0.0) as u32).min(LONGEST)
}

fn packed(column: &[u32]) -> String {
    STANDARD.encode(column.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn latencies_stay_on_their_side_of_a_limit_finer_than_the_units() {
        assert_eq!(units(0.125, 125.0, 1000), 125_000);
        assert_eq!(units(0.125_000_000_1, 125.0, 1000), 125_001);
        // 9.00004 ms are 90000.4 tenths of a microsecond: what keeps the limit keeps it in whole ones, too.
        assert_eq!(units(0.009_000_02, 9.000_04, 10_000), 90_000);
        assert_eq!(units(0.009_000_05, 9.000_04, 10_000), 90_001);
        assert_eq!(units(0.0, 125.0, 1000), 0);
        assert_eq!(units(1e9, 125.0, 1000), LONGEST);
    }

    proptest! {
        #[test]
        fn the_page_counts_what_analyse_counts(secs in 0.0f64..1.0, limit_ms in 1.0f64..1000.0) {
            let limit = ((limit_ms * 1000.0) + 1e-6).floor();
            prop_assert_eq!(secs <= limit_ms / 1e3, f64::from(units(secs, limit_ms, 1000)) <= limit);
        }

        #[test]
        fn columns_survive_their_packing(column in prop::collection::vec(any::<u32>(), 0..50)) {
            let bytes = STANDARD.decode(packed(&column)).expect("base64");
            let back: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four"))).collect();
            prop_assert_eq!(back, column);
        }
    }
}
