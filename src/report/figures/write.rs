//! Figures to files: SVG for pages, PDF for papers, PNG for everything else.

use super::Named;
use crate::draw::{DrawError, Drawing, Pixels};
use crate::record::RecordError;
use crate::record::dir::write_derived;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pixels to the px of PNG files: for screens of high density where a figure answers the question and is shown around.
const PNG_SCALE: f32 = 2.0;
/// The others explain it, and are read; pictures are most of the CPU that a short run costs.
const PNG_SCALE_OF_DETAILS: f32 = 1.5;

/// One figure that could not be made; the others are not touched by it.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    #[error(
        "figure {name} cannot be drawn: {source}\nhint: every other figure, summary.csv and report.html are written"
    )]
    Draw { name: String, source: DrawError },
    #[error(transparent)]
    Write(#[from] RecordError),
}

/// Files that were written, and what could not be.
#[derive(Debug, Default)]
pub struct Written {
    /// In order of name.
    pub files: Vec<PathBuf>,
    pub failed: Vec<FigureError>,
}

/// A figure as it was drawn, once for its files and the page.
#[derive(Debug)]
pub struct Drawn {
    /// Of its files, without extension.
    pub name: String,
    pub title: String,
    pub drawing: Drawing,
}

/// Draws every figure, in their order; a figure that can't be drawn costs only itself.
pub fn draw(figures: Vec<Named>) -> (Vec<Drawn>, Vec<FigureError>) {
    let (mut drawn, mut failed) = (Vec::new(), Vec::new());
    for Named { name, figure } in figures {
        match figure.draw() {
            Ok(drawing) => drawn.push(Drawn { title: figure.title, name, drawing }),
            Err(source) => failed.push(FigureError::Draw { name, source }),
        }
    }
    (drawn, failed)
}

/// Writes the three files of every figure into `dir` (made if missing); a figure that can't be written costs only
/// itself.
///
/// # Errors
/// If there can be no such directory.
pub fn write(dir: &Path, figures: &[Drawn]) -> Result<Written, RecordError> {
    std::fs::create_dir_all(dir).map_err(|source| RecordError::Write { path: dir.to_path_buf(), source })?;
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Written::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(figures.len()).min(8);
    let work = || {
        let mut pixels = Pixels::default();
        while let Some(figure) = figures.get(next.fetch_add(1, Ordering::Relaxed)) {
            let written = write_one(dir, figure, &mut pixels);
            let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match written {
                Ok(files) => done.files.extend(files),
                Err(error) => done.failed.push(error),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            // Where no more threads are allowed, fewer do the same work.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.files.sort();
    Ok(done)
}

fn write_one(dir: &Path, figure: &Drawn, pixels: &mut Pixels) -> Result<Vec<PathBuf>, FigureError> {
    let failed = |source| FigureError::Draw { name: figure.name.clone(), source };
    let answers = [super::COMPARISON, super::RUN].contains(&figure.name.as_str());
    let scale = if answers { PNG_SCALE } else { PNG_SCALE_OF_DETAILS };
    let files = figure.drawing.files(scale, pixels).map_err(failed)?;
    let write = |(extension, bytes): (&str, &[u8])| {
        let path = dir.join(format!("{}.{extension}", figure.name));
        write_derived(&path, bytes)?;
        Ok(path)
    };
    [("svg", files.svg.as_bytes()), ("pdf", &files.pdf), ("png", &files.png)].into_iter().map(write).collect()
}
