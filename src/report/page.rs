//! report.html of a study: its figures as they were drawn for their files, and what lies beside it.

use super::Study;
use super::figures::{self, Drawn};
use super::html::{self, ArmPage, HtmlError, PageFigure, PageFile, PageInput};
use super::inputs;

/// The whole page. `command` made the report; `generated_at` is shown as it stands.
///
/// # Errors
/// If the study's parts don't belong together, or the figures' font can't be cut down.
pub fn page(study: &Study, figures: &[Drawn], command: &[String], generated_at: &str) -> Result<String, HtmlError> {
    let ids: Vec<String> = figures.iter().map(|f| f.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")).collect();
    let titles: Vec<String> = figures.iter().map(title).collect();
    let shown: Vec<PageFigure<'_>> = ids
        .iter()
        .zip(&titles)
        .zip(figures)
        .map(|((id, title), figure)| PageFigure { id, title, drawing: &figure.drawing })
        .collect();
    let arms: Vec<ArmPage<'_>> = study
        .runs
        .iter()
        .zip(&study.arms)
        .zip(&study.summaries)
        .map(|((run, input), summaries)| ArmPage { run, input, summaries })
        .collect();
    let samples = study.arms.iter().flat_map(|arm| &arm.points).map(|point| point.samples.as_ref());
    let sessions = inputs::loop_words(samples);
    let input = PageInput {
        title: &format!("{}{sessions}", figures::subject(study)),
        comparison: &study.comparison,
        arms: &arms,
        figures: &shown,
        command,
        generated_at,
        files: &files(study),
    };
    html::page(&input)
}

fn title(figure: &Drawn) -> String {
    match figure.title.as_str() {
        "" => figure.name.replace('_', " "),
        title => title.to_string(),
    }
}

fn files(study: &Study) -> Vec<PageFile<'static>> {
    let table = PageFile { path: "summary.csv", what: "one line a point, all numbers" };
    if study.runs.len() > 1 {
        return vec![PageFile { path: "compare.json", what: "this comparison for programs" }, table];
    }
    vec![
        table,
        PageFile { path: "requests.jsonl", what: "one line a request: the source of truth" },
        PageFile { path: "manifest.json", what: "plan, commands, versions, machine, facts of every point" },
        PageFile { path: "logs/", what: "the engines' own logs" },
    ]
}
