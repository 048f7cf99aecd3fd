//! report.html: the whole comparison in one file that opens from a disk, an archive or a mail, years later.
//!
//! ```text
//! Comparison, runs --tables, setup, data--> template + page.css + js --> one string
//! ```
//!
//! The page carries every request's latencies (a few bytes each), so that readers may ask with another SLO than the
//! report's; `js/judge.js` holds the same rules as `analyse`, and the page checks itself against the embedded results
//! when it is opened with `#selftest`.
//!
//! Deliberately absent: requests to anywhere (the page's own content security policy forbids them), frameworks,
//! intervals of recomputed numbers (resampling stays in `analyse`), clocks and files: the same input gives the same
//! bytes.

mod data;
mod energy;
mod input;
pub mod kit;
mod rows;
mod script;
mod setup;
mod tables;
mod words;

pub use input::{ArmPage, HtmlError, PageFigure, PageFile, PageInput};

use super::why;
use crate::analyse::Comparison;
use crate::draw;
use crate::plan::slo::Slo;
use askama::Template;

/// The page as one string.
///
/// # Errors
/// If runs and comparison don't belong together, or the figures' font can't be cut down.
pub fn page(input: &PageInput<'_>) -> Result<String, HtmlError> {
    let (compared, given) = (input.comparison.arms.len(), input.arms.len());
    if compared != given {
        return Err(HtmlError::Arms { compared, given });
    }
    let data = data::PageData::new(input)?;
    let drawings = input.figures.iter().map(|figure| figure.drawing);
    let figures = input.figures.iter().map(|f| InlineFigure { id: f.id, title: f.title, svg: f.drawing.inline_svg() });
    let slo = Slo::from(input.comparison.slo);
    let (stages, why) = tables::why(input, &slo);
    let mut key_numbers = tables::key_numbers(input.comparison);
    key_numbers.rows.extend(energy::rows(input.comparison));
    let layout = PageTemplate {
        title: input.title,
        facts: setup::facts(input.arms),
        comparison: input.comparison,
        slo: words::slo(&input.comparison.slo),
        colors: script::colors(input.arms),
        style: include_str!("page.css"),
        fonts: draw::page_font_css(drawings)?,
        policy: script::content_security_policy(SCRIPT),
        script: SCRIPT,
        data: script::json_for_html(&data)?,
        key_numbers,
        figures: figures.collect(),
        why,
        stages,
        hand_overs: why::hand_overs(&input.comparison.arms),
        prefix_caches: why::prefix_caches(tables::arms(input)),
        hints: why::hints(tables::arms(input), &slo),
        caveat: why::CAVEAT,
        measured: tables::measured(input),
        validity: tables::validity(input),
        failures: tables::has_failures(input.arms),
        joules: energy::is_known(input.comparison),
        drafts: tables::has_drafts(input.arms),
        sessions: tables::has_sessions(input.comparison),
        setup: setup::groups(input.arms),
        arm_names: input.comparison.arms.iter().map(|arm| arm.name.as_str()).collect(),
        traces: setup::traces(input.arms),
        engines: setup::engine_commands(input),
        reproduce: setup::reproduce(input),
        files: setup::files(input),
        generated_at: input.generated_at,
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(layout.render()?)
}

/// The page's whole script, in the order its parts build on each other.
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("js/judge.js"),
    include_str!("js/words.js"),
    include_str!("js/chart.js"),
    include_str!("js/scatter.js"),
    include_str!("js/explore.js"),
    include_str!("js/selftest.js"),
    include_str!("js/page.js"),
);

struct InlineFigure<'a> {
    id: &'a str,
    title: &'a str,
    svg: String,
}

#[derive(Template)]
#[template(path = "report.html", config = ".askama.toml")]
struct PageTemplate<'a> {
    title: &'a str,
    facts: Vec<setup::Fact>,
    comparison: &'a Comparison,
    slo: String,
    colors: String,
    style: &'static str,
    fonts: String,
    policy: String,
    script: &'static str,
    data: String,
    key_numbers: tables::KeyNumbers,
    figures: Vec<InlineFigure<'a>>,
    why: Vec<tables::WhyRow>,
    /// Heads of its columns.
    stages: Vec<&'static str>,
    hand_overs: Vec<String>,
    prefix_caches: Vec<String>,
    hints: Vec<String>,
    caveat: &'static str,
    measured: Vec<tables::MeasuredRow>,
    validity: Vec<tables::ValidityRow>,
    failures: bool,
    joules: bool,
    drafts: bool,
    sessions: bool,
    setup: Vec<setup::SetupGroup>,
    arm_names: Vec<&'a str>,
    traces: Vec<setup::TraceRow>,
    engines: Vec<setup::ShellCommand>,
    reproduce: Vec<setup::ShellCommand>,
    files: Vec<setup::FileRow>,
    generated_at: &'a str,
    version: &'static str,
}
