//! Whether arms answered the same requests, and whether rates replay the same gaps: what may be drawn together.

use super::input::{ArmInput, PointInput};
use super::series::by_rate;

/// Whether the points that both have were sent the same; `None` if there are none. Hashes tell, and due times where one
/// has no hash.
pub(super) fn same_trace(a: &ArmInput, b: &ArmInput) -> Option<bool> {
    let twin = |p: &PointInput| b.points.iter().find(|q| q.key() == p.key());
    let mut common = a.points.iter().filter_map(|p| Some((p, twin(p)?))).peekable();
    common.peek()?;
    Some(common.all(|(p, q)| match (a.trace(p.key()), b.trace(q.key())) {
        (Some(x), Some(y)) => x == y,
        _ => close(&p.samples.due, &q.samples.due),
    }))
}

/// Equal to a microsecond: schedules are computed, not measured.
fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-6)
}

/// Whether every rate of an arm replays the gaps of its lowest, only faster: then the points' errors go together.
pub(super) fn shares_gaps(arm: &ArmInput) -> bool {
    let groups = by_rate(&arm.points);
    let scaled = |rate: f64, dues: &[f64]| -> Vec<f64> { dues.iter().map(|due| due * rate).collect() };
    let finite = groups.iter().filter(|(rate, _)| !rate.is_infinite());
    let mut unit = finite.map(|(rate, points)| scaled(rate.per_second(), &points[0].samples.due));
    let Some(first) = unit.next().filter(|dues| dues.len() > 1) else { return false };
    let same = |other: Vec<f64>| {
        first.len() == other.len() && first.iter().zip(&other).all(|(x, y)| (x - y).abs() < 1e-4 * x.abs().max(1.0))
    };
    let mut others = unit.map(same).peekable();
    others.peek().is_some() && others.all(|same| same)
}
