//! A folder of pictures for vision models: each is a request, with the same words.
//!
//! Pictures are shuffled by the plan's seed and sent without replacement as long as there are enough. Deliberately
//! absent: decoding and scaling them; the server gets the file's bytes as a `data:` URL.

use super::error::WorkloadError;
use super::prompt::Picture;
use super::seeds;
use super::texts::Text;
use super::tokenizer::Tokenizer;
use crate::files;
use crate::units::TokenCount;
use crate::words;
use rand::seq::SliceRandom;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the run's pictures may take in memory.
const MOST_BYTES: usize = 1 << 30;
const EXPECTED: &str = "expected a folder of .png, .jpg, .webp or .gif files";

/// What to look for, and how much of it.
pub(super) struct PictureSearch<'a> {
    pub(super) path: &'a Path,
    pub(super) words: &'a str,
    pub(super) output_tokens: TokenCount,
    /// Counts the words; a picture's tokens are known to the model alone.
    pub(super) tokenizer: Option<&'a Tokenizer>,
    pub(super) seed: u64,
    /// Enough for the whole run.
    pub(super) wanted: usize,
}

/// Pictures in the order in which they are sent, and how many the folder holds.
pub(super) fn load(search: &PictureSearch<'_>) -> Result<(Vec<Text>, usize), WorkloadError> {
    let mut files = files(search.path)?;
    let found = files.len();
    files.shuffle(&mut seeds::generator(seeds::derive(seeds::SeedPurpose::Shuffle, &[search.seed])));
    files.truncate(search.wanted.max(1));
    // A word is a token or two.
    let count = || u32::try_from(search.words.split_whitespace().count()).unwrap_or(u32::MAX).max(1);
    let prompt_tokens = TokenCount(search.tokenizer.map_or_else(count, |t| t.count(search.words)));
    let words: Arc<str> = search.words.into();
    let mut bytes_so_far = 0;
    let mut texts = Vec::with_capacity(files.len());
    for (path, media) in files {
        let bytes = files::read(&path, MOST_BYTES as u64)
            .map_err(|source| WorkloadError::Read { path: path.clone(), source })?;
        bytes_so_far += bytes.len();
        if bytes_so_far > MOST_BYTES {
            let problem = format!("the run's pictures take more than {}", words::bytes(MOST_BYTES as u64));
            let remedy =
                "give a folder of fewer or smaller pictures; they are sent again where more requests need them";
            return Err(WorkloadError::File { path: search.path.into(), problem, remedy });
        }
        texts.push(Text {
            before: Arc::default(),
            prompt: Arc::clone(&words),
            prompt_tokens,
            output_tokens: search.output_tokens,
            picture: Some(Picture { media, bytes: bytes.into() }),
        });
    }
    Ok((texts, found))
}

/// By name, so that the same folder gives the same trace on every machine.
fn files(path: &Path) -> Result<Vec<(PathBuf, &'static str)>, WorkloadError> {
    let read = |source| WorkloadError::Read { path: path.into(), source };
    let entries: Result<Vec<_>, _> = std::fs::read_dir(path).map_err(read)?.collect();
    let mut files: Vec<_> = entries
        .map_err(read)?
        .into_iter()
        .filter_map(|entry| Some((entry.path(), media_type(&entry.path())?)))
        .filter(|(path, _)| path.is_file())
        .collect();
    if files.is_empty() {
        let problem = "no picture in it".to_string();
        return Err(WorkloadError::File { path: path.into(), problem, remedy: EXPECTED });
    }
    files.sort();
    Ok(files)
}

fn media_type(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        "webp" => Some("image/webp"),
        "gif" => Some("image/gif"),
        _ => None,
    }
}
