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
mod rows;
mod script;
mod setup;
mod tables;
mod words;

use super::why;
use crate::analyse::summary::PointSummary;
use crate::analyse::{ArmInput, Comparison};
use crate::draw::{self, DrawError, Drawing};
use crate::plan::slo::Slo;
use crate::record::RecordedRun;
use askama::Template;

/// What one page tells of.
#[derive(Debug, Clone, Copy)]
pub struct PageInput<'a> {
    pub title: &'a str,
    /// Of two arms or more, or of one run alone: then there are no ratios.
    pub comparison: &'a Comparison,
    /// In the comparison's order.
    pub arms: &'a [ArmPage<'a>],
    pub figures: &'a [PageFigure<'a>],
    /// The command line that made this report; empty where there was none.
    pub command: &'a [String],
    /// Any form; it is shown as it stands.
    pub generated_at: &'a str,
    /// What lies beside the page, and what it is.
    pub files: &'a [PageFile<'a>],
}

/// One arm: the run as it was recorded, and as it was judged.
#[derive(Debug, Clone, Copy)]
pub struct ArmPage<'a> {
    pub run: &'a RecordedRun,
    pub input: &'a ArmInput,
    /// Of the input's points, in their order, with the report's percentiles.
    pub summaries: &'a [PointSummary],
}

/// A figure to be shown as it was drawn.
#[derive(Debug, Clone, Copy)]
pub struct PageFigure<'a> {
    /// Anchor within the page: letters, digits and `-`; unique.
    pub id: &'a str,
    pub title: &'a str,
    pub drawing: &'a Drawing,
}

/// A file worth knowing of.
#[derive(Debug, Clone, Copy)]
pub struct PageFile<'a> {
    pub path: &'a str,
    pub what: &'a str,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum HtmlError {
    #[error(
        "the comparison has {compared} arms and {given} runs were given: a page needs the run of every arm, in order"
    )]
    Arms { compared: usize, given: usize },
    #[error(
        "{arm} was judged at {rate} req/s (attempt {attempt}) with {judged} requests, and its run holds {recorded}: \
         judge the run as it is recorded now"
    )]
    Stale { arm: String, rate: String, attempt: u32, judged: usize, recorded: usize },
    #[error("the font of the figures can't be embedded in the page: {0}")]
    Font(#[from] DrawError),
    #[error("the page's data can't be written: {0}")]
    Data(#[from] serde_json::Error),
    #[error("the page can't be laid out: {0}")]
    Layout(#[from] askama::Error),
}

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
        key_numbers: tables::key_numbers(input.comparison),
        figures: figures.collect(),
        why,
        stages,
        hand_overs: why::hand_overs(&input.comparison.arms),
        hints: why::hints(tables::arms(input), &slo),
        caveat: why::CAVEAT,
        measured: tables::measured(input),
        validity: tables::validity(input),
        failures: tables::has_failures(input.arms),
        drafts: tables::has_drafts(input.arms),
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
    hints: Vec<String>,
    caveat: &'static str,
    measured: Vec<tables::MeasuredRow>,
    validity: Vec<tables::ValidityRow>,
    failures: bool,
    drafts: bool,
    setup: Vec<setup::SetupGroup>,
    arm_names: Vec<&'a str>,
    traces: Vec<setup::TraceRow>,
    engines: Vec<setup::ShellCommand>,
    reproduce: Vec<setup::ShellCommand>,
    files: Vec<setup::FileRow>,
    generated_at: &'a str,
    version: &'static str,
}
