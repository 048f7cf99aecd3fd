//! What a verdict is made of.

use crate::analyse::input::{ArmInput, Question};
use crate::analyse::launches::Covers;
use crate::analyse::ratio::RatioReport;
use crate::analyse::reports::ArmReport;
use crate::plan::goodput_unit::GoodputUnit;

/// The comparison as far as it is judged.
#[derive(Clone, Copy)]
pub(in crate::analyse) struct Case<'a> {
    pub(in crate::analyse) inputs: &'a [ArmInput],
    pub(in crate::analyse) arms: &'a [ArmReport],
    pub(in crate::analyse) ratios: &'a [RatioReport],
    pub(in crate::analyse) question: &'a Question,
    /// Whether the arms answered the same requests.
    pub(in crate::analyse) paired: bool,
    pub(in crate::analyse) covers: Covers,
    /// What is judged.
    pub(in crate::analyse) per: GoodputUnit,
}

impl Case<'_> {
    /// `90 % attainment (TTFT 125 ms, TPOT 200 ms)`.
    pub(super) fn goal(&self) -> String {
        let of = if self.per.is_request() { String::new() } else { format!(" of {}", self.per.words()) };
        format!("{} attainment{of} ({})", self.question.target.percent(), self.question.slo)
    }

    /// Whether there is no rate, but only a number in flight.
    pub(super) fn is_closed(&self) -> bool {
        let mut rates = self.arms.iter().flat_map(|arm| &arm.points).map(|p| p.rate).peekable();
        rates.peek().is_some() && rates.all(|rate| rate.in_flight().is_some())
    }
}
