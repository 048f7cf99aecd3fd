//! Datasets of texts: ShareGPT, custom JSONL, local Hugging Face files.
//!
//! Candidates are shuffled by the plan's seed, then tokenised only until as many are found as the whole run needs:
//! tokenising all of ShareGPT would take minutes for a run of a few hundred requests.

use super::error::WorkloadError;
use super::prompt::{Picture, Prompt, Vision};
use super::rows;
use super::tokenizer::Tokenizer;
use super::{Overlong, PrepareReport, seeds};
use crate::plan::load::{Dataset, Endpoint};
use crate::units::TokenCount;
use rand::seq::SliceRandom;
use std::path::Path;
use std::sync::Arc;

/// A prompt with its lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) prompt: Arc<str>,
    pub(super) prompt_tokens: TokenCount,
    pub(super) output_tokens: TokenCount,
    /// For vision models.
    pub(super) picture: Option<Picture>,
}

impl Text {
    /// The prompt with these words, its own or others.
    pub(super) fn render(&self, words: String, endpoint: Endpoint) -> Prompt {
        match (&self.picture, endpoint) {
            (Some(picture), _) => Prompt::Vision(Vision { words, picture: picture.clone() }),
            (None, Endpoint::Completions) => Prompt::Text(words),
            (None, Endpoint::Chat) => Prompt::user(words),
        }
    }
}

/// A prompt before its tokens are counted.
#[derive(Debug)]
struct Candidate {
    prompt: String,
    output: Output,
    /// Line (or position) in the file, for messages.
    line: u64,
}

#[derive(Debug)]
enum Output {
    Tokens(TokenCount),
    /// As long as this answer.
    LikeText(String),
}

/// What to look for, and how much of it.
pub(super) struct Search<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) seed: u64,
    /// Enough for the whole run.
    pub(super) wanted: usize,
    pub(super) max_model_len: Option<TokenCount>,
    pub(super) overlong: Overlong,
}

/// Texts in the order in which they are sent.
pub(super) fn load(dataset: &Dataset, search: &Search<'_>) -> Result<(Vec<Text>, PrepareReport), WorkloadError> {
    let (path, filter, mut candidates) = match dataset {
        Dataset::Sharegpt { path, output_len, .. } => {
            (path, Filter::sharegpt(*output_len), sharegpt(Path::new(path), *output_len)?)
        }
        Dataset::Custom { path, output_len } => (path, Filter::none(), rows_of(path, Some("prompt"), *output_len)?),
        Dataset::Hf { path, column, output_len } => {
            (path, Filter::none(), rows_of(path, column.as_deref(), *output_len)?)
        }
        Dataset::Random { .. } | Dataset::TimedTrace { .. } | Dataset::Images { .. } => {
            return Ok((Vec::new(), PrepareReport::default()));
        }
    };
    candidates.shuffle(&mut seeds::generator(seeds::derive(seeds::Role::Shuffle, &[search.seed])));
    let mut report = PrepareReport { candidates: candidates.len(), ..PrepareReport::default() };
    let mut texts = Vec::new();
    for candidate in candidates {
        if texts.len() >= search.wanted {
            break;
        }
        texts.extend(measure(candidate, Path::new(path), &filter, search, &mut report)?);
    }
    if texts.is_empty() && search.wanted > 0 {
        let problem = format!("none of its {} entries can be used ({report})", report.candidates);
        let remedy = "check the file, the tokenizer and the model's context length";
        return Err(WorkloadError::File { path: path.into(), problem, remedy });
    }
    Ok((texts, report))
}

/// Lengths a dataset accepts. For ShareGPT those of vLLM (`is_valid_sequence` in vllm/benchmarks/datasets.py).
struct Filter {
    min_prompt: u32,
    min_output: u32,
    max_prompt: u32,
    max_total: u32,
}

impl Filter {
    fn sharegpt(output_len: Option<TokenCount>) -> Self {
        let min_output = if output_len.is_some() { 1 } else { 4 };
        Filter { min_prompt: 4, min_output, max_prompt: 1024, max_total: 2048 }
    }

    fn none() -> Self {
        Filter { min_prompt: 1, min_output: 1, max_prompt: u32::MAX, max_total: u32::MAX }
    }
}

fn measure(
    candidate: Candidate,
    path: &Path,
    filter: &Filter,
    search: &Search<'_>,
    report: &mut PrepareReport,
) -> Result<Option<Text>, WorkloadError> {
    let prompt_tokens = search.tokenizer.count(&candidate.prompt);
    let output_tokens = match &candidate.output {
        Output::Tokens(tokens) => tokens.get(),
        Output::LikeText(answer) => search.tokenizer.count(answer),
    };
    if prompt_tokens < filter.min_prompt || output_tokens < filter.min_output {
        report.too_short += 1;
        return Ok(None);
    }
    if prompt_tokens > filter.max_prompt || prompt_tokens.saturating_add(output_tokens) > filter.max_total {
        report.too_long += 1;
        return Ok(None);
    }
    let text = Text {
        prompt: candidate.prompt.into(),
        prompt_tokens: TokenCount(prompt_tokens),
        output_tokens: TokenCount(output_tokens),
        picture: None,
    };
    let limit = search.max_model_len.map_or(u32::MAX, TokenCount::get);
    if prompt_tokens.saturating_add(output_tokens) <= limit {
        return Ok(Some(text));
    }
    let room = limit.saturating_sub(output_tokens);
    match search.overlong {
        Overlong::Clip if room > 0 => {
            report.clipped += 1;
            let prompt = search.tokenizer.clip(&text.prompt, room);
            let prompt_tokens = TokenCount(search.tokenizer.count(&prompt));
            Ok(Some(Text { prompt: prompt.into(), prompt_tokens, ..text }))
        }
        Overlong::Clip | Overlong::Skip => {
            report.skipped += 1;
            Ok(None)
        }
        Overlong::Refuse => Err(WorkloadError::Overlong {
            what: format!("{}, line {}", path.display(), candidate.line),
            prompt: prompt_tokens,
            output: output_tokens,
            limit,
        }),
    }
}

/// Columns that hold the prompt in common Hugging Face datasets, in order of preference.
const TEXT_COLUMNS: [&str; 6] = ["prompt", "text", "question", "instruction", "problem", "content"];

fn rows_of(path: &str, column: Option<&str>, output_len: Option<TokenCount>) -> Result<Vec<Candidate>, WorkloadError> {
    let mut candidates = Vec::new();
    rows::for_each(Path::new(path), &mut |file, row| {
        let bad = |problem: String, remedy| WorkloadError::Row { path: file.into(), line: row.line, problem, remedy };
        let prompt = match column {
            Some(name) => row.fields.get(name),
            None => TEXT_COLUMNS.iter().find_map(|name| row.fields.get(*name)),
        };
        let Some(prompt) = prompt.and_then(|value| value.as_str()) else {
            let names: Vec<&str> = row.fields.keys().map(String::as_str).collect();
            let sought = column.map_or_else(|| TEXT_COLUMNS.join(", "), str::to_string);
            let problem = format!("no text in column {sought}; the row has {}", names.join(", "));
            return Err(bad(problem, "name the column that holds the prompt"));
        };
        let output = match output_len.map_or_else(|| row_output(&row.fields), |tokens| Ok(Some(tokens))) {
            Ok(Some(tokens)) => Output::Tokens(tokens),
            Ok(None) => {
                let remedy = "add output_tokens to every row, or give one output length for all";
                return Err(bad("no output length".into(), remedy));
            }
            Err(value) => return Err(bad(format!("output length {value}"), "give a whole number of tokens above 0")),
        };
        candidates.push(Candidate { prompt: prompt.to_string(), output, line: row.line });
        Ok(())
    })?;
    Ok(candidates)
}

/// The row's own output length; `Err` with the value if it is no positive whole number.
fn row_output(fields: &serde_json::Map<String, serde_json::Value>) -> Result<Option<TokenCount>, String> {
    let Some(value) = fields.get("output_tokens").or_else(|| fields.get("output_len")) else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_str().and_then(|s| s.trim().parse().ok()));
    match number.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0) {
        Some(tokens) => Ok(Some(TokenCount(tokens))),
        None => Err(value.to_string()),
    }
}

/// The openings alone: a tenth of the file.
fn sharegpt(path: &Path, output_len: Option<TokenCount>) -> Result<Vec<Candidate>, WorkloadError> {
    let mut candidates = Vec::new();
    super::sharegpt::for_each(path, &mut |line, conversation| {
        let Some((prompt, answer)) = conversation.exchanges().next() else { return };
        let output = output_len.map_or(Output::LikeText(answer), Output::Tokens);
        candidates.push(Candidate { prompt, output, line });
    })?;
    Ok(candidates)
}
