//! What pages of ours share: colours, style, the script that draws charts, and what makes scripts safe.

use super::script;
use crate::analyse::ArmInput;

/// The report's style sheet.
pub const STYLE: &str = include_str!("page.css");

/// Numbers in words, frames and line charts.
pub const CHARTS: &str = concat!("\"use strict\";\n", include_str!("js/words.js"), include_str!("js/chart.js"));

/// The figures' hues as custom properties; whatever wears hue `i` is arm `i` to the charts.
pub fn colors() -> String {
    script::hues_as_properties() + &(0..script::HUES).map(|i| format!("--arm-{i}:var(--hue-{i});")).collect::<String>()
}

/// Which hue each arm wears, on every page and in every figure.
pub fn hues(arms: &[ArmInput]) -> Vec<usize> {
    crate::report::hues::hues(arms)
}

/// How a content security policy names a script or a style that stands in the page.
pub fn hash(text: &str) -> String {
    script::hash(text)
}
