//! Figures to files: SVG for pages, PDF for papers, PNG for everything else.

use super::{Named, of_comparison, of_run};
use crate::draw::DrawError;
use crate::record::RecordError;
use crate::record::dir::{PLOTS, write_atomically};
use crate::report::Study;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pixels to the px of PNG files.
const PNG_SCALE: f32 = 2.0;

#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    #[error(
        "figure {name} cannot be drawn: {source}\nhint: the measurements are untouched; `topobench plot` draws again"
    )]
    Draw { name: String, source: DrawError },
    #[error(transparent)]
    Write(#[from] RecordError),
}

/// The three files of one figure: (extension, bytes).
///
/// # Errors
/// If a number has no place on its axis, which is a mistake of the builder.
pub fn render(named: &Named) -> Result<[(&'static str, Vec<u8>); 3], FigureError> {
    let failed = |source| FigureError::Draw { name: named.name.clone(), source };
    let drawing = named.figure.draw().map_err(failed)?;
    Ok([
        ("svg", drawing.svg().map_err(failed)?.into_bytes()),
        ("pdf", drawing.pdf().map_err(failed)?),
        ("png", drawing.png(PNG_SCALE).map_err(failed)?),
    ])
}

/// Writes every figure of a comparison into `dir` (made if missing); returns the files in order of name.
///
/// # Errors
/// If a figure can't be drawn, or a file not be written.
pub fn write_comparison(dir: &Path, study: &Study) -> Result<Vec<PathBuf>, FigureError> {
    write_all(dir, &of_comparison(study))
}

/// Writes every figure of one run into `run/plots`; returns the files in order of name.
///
/// # Errors
/// As [`write_comparison`].
pub fn write_run(run: &Path, study: &Study) -> Result<Vec<PathBuf>, FigureError> {
    write_all(&run.join(PLOTS), &of_run(study))
}

fn write_all(dir: &Path, figures: &[Named]) -> Result<Vec<PathBuf>, FigureError> {
    std::fs::create_dir_all(dir).map_err(|source| RecordError::Write { path: dir.to_path_buf(), source })?;
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(figures.len()).min(8);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(figure) = figures.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let written = write_one(dir, figure);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(written);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut files = done.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    files.sort();
    Ok(files)
}

fn write_one(dir: &Path, named: &Named) -> Result<Vec<PathBuf>, FigureError> {
    let files = render(named)?;
    let write = |(extension, bytes): (&str, Vec<u8>)| {
        let path = dir.join(format!("{}.{extension}", named.name));
        write_atomically(&path, &bytes)?;
        Ok(path)
    };
    files.into_iter().map(write).collect()
}
