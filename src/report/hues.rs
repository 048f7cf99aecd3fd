//! Which of the palette's colours an arm wears, in figures and on the page alike.

use crate::analyse::{ArmInput, ArmKind};

/// Positions in the palette. The first simple arm is red and the first prefill/decode arm blue, whatever their order;
/// further arms take other hues. Where no arm's kind is known, they take the hues in their order.
pub(super) fn hues<'a>(arms: impl IntoIterator<Item = &'a ArmInput>) -> Vec<usize> {
    let seen = |kind| if kind == ArmKind::HiddenPair { ArmKind::PrefillDecode } else { kind };
    let kinds: Vec<ArmKind> = arms.into_iter().map(|arm| seen(arm.kind)).collect();
    let first = |kind| kinds.iter().position(|k| *k == kind);
    let reserved = [first(ArmKind::Simple), first(ArmKind::PrefillDecode)];
    let mut next = if reserved == [None, None] { 0 } else { 2 };
    let mut hue = |at: usize| match reserved.iter().position(|r| *r == Some(at)) {
        Some(hue) => hue,
        None => {
            next += 1;
            next - 1
        }
    };
    (0..kinds.len()).map(&mut hue).collect()
}
