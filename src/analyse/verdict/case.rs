//! What a verdict is made of.

use crate::analyse::arm::ArmReport;
use crate::analyse::input::{ArmInput, Question};
use crate::analyse::launches::Covers;
use crate::analyse::ratio::RatioReport;

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
}

impl Case<'_> {
    /// `90 % attainment (TTFT 125 ms, TPOT 200 ms)`.
    pub(super) fn goal(&self) -> String {
        format!("{} attainment ({})", self.question.target.percent(), self.question.slo)
    }
}
