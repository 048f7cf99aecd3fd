//! report.html of a study: its figures drawn once more for the page, and what lies beside it.

use super::Study;
use super::figures::{FigureError, Named};
use super::html::{self, ArmPage, HtmlError, PageFigure, PageFile, PageInput};
use crate::draw::Drawing;

#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error(transparent)]
    Figure(#[from] FigureError),
    #[error(transparent)]
    Html(#[from] HtmlError),
}

/// The whole page. `command` made the report; `generated_at` is shown as it stands.
pub fn page(study: &Study, figures: &[Named], command: &[String], generated_at: &str) -> Result<String, PageError> {
    let drawings = figures
        .iter()
        .map(|named| {
            let failed = |source| FigureError::Draw { name: named.name.clone(), source };
            named.figure.draw().map_err(failed)
        })
        .collect::<Result<Vec<Drawing>, _>>()?;
    let ids: Vec<String> = figures.iter().map(|f| f.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")).collect();
    let titles: Vec<String> = figures.iter().map(title).collect();
    let shown: Vec<PageFigure<'_>> = ids
        .iter()
        .zip(&titles)
        .zip(&drawings)
        .map(|((id, title), drawing)| PageFigure { id, title, drawing })
        .collect();
    let arms: Vec<ArmPage<'_>> =
        study.runs.iter().zip(&study.arms).map(|(run, input)| ArmPage { run, input }).collect();
    let names: Vec<&str> = study.comparison.arms.iter().map(|a| a.name.as_str()).collect();
    let input = PageInput {
        title: &names.join(" against "),
        comparison: &study.comparison,
        arms: &arms,
        figures: &shown,
        command,
        generated_at,
        files: &files(study),
    };
    Ok(html::page(&input)?)
}

fn title(named: &Named) -> String {
    match named.figure.title.as_str() {
        "" => named.name.replace('_', " "),
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
