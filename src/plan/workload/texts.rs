//! Datasets of texts: ShareGPT, custom JSONL, local Hugging Face files.
//!
//! Candidates are shuffled by the plan's seed, then tokenised only until as many are found as the whole run needs:
//! tokenising all of ShareGPT would take minutes for a run of a few hundred requests.

use super::chat::{self, LastQuestion, Speaker, Turn};
use super::entries::{PrepareContext, PrepareReport};
use super::error::WorkloadError;
use super::prompt::{Message, Picture, Prompt, TOKENS_PER_MESSAGE, Vision, transcript};
use super::row::{DatasetRow, RowPlace};
use super::rows::{self, Skipped};
use super::seeds;
use super::tokenizer::Tokenizer;
use crate::plan::dataset::Dataset;
use crate::plan::load::{Endpoint, Overlong};
use crate::units::TokenCount;
use rand::seq::SliceRandom;
use std::path::Path;
use std::sync::Arc;

/// A prompt with its lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// What was said before it: instructions, earlier turns.
    pub(super) before: Arc<[Message]>,
    pub(super) prompt: Arc<str>,
    /// Of all that is sent.
    pub(super) prompt_tokens: TokenCount,
    pub(super) output_tokens: TokenCount,
    /// For vision models.
    pub(super) picture: Option<Picture>,
}

impl Text {
    pub(super) fn render(&self, endpoint: Endpoint) -> Prompt {
        self.said(&self.before, self.prompt.to_string(), endpoint)
    }

    /// The same with other words, and nothing before them.
    pub(super) fn reworded(&self, words: String, endpoint: Endpoint) -> Prompt {
        self.said(&[], words, endpoint)
    }

    fn said(&self, before: &[Message], words: String, endpoint: Endpoint) -> Prompt {
        let question = |content| Message { role: "user", content };
        match (&self.picture, endpoint) {
            (Some(picture), _) => Prompt::Vision(Vision { words, picture: picture.clone() }),
            (None, Endpoint::Completions) if before.is_empty() => Prompt::Text(words),
            (None, Endpoint::Completions) => Prompt::Text(transcript(before.iter().chain([&question(words)]))),
            (None, Endpoint::Chat) => Prompt::Messages(before.iter().cloned().chain([question(words)]).collect()),
        }
    }
}

/// A prompt before its tokens are counted.
#[derive(Debug)]
struct TextCandidate {
    before: Vec<Message>,
    prompt: String,
    output: AnswerLength,
    spot: RowPlace,
}

impl TextCandidate {
    fn bytes(&self) -> usize {
        let answer = if let AnswerLength::LikeText(text) = &self.output { text.len() } else { 0 };
        self.prompt.len() + answer + self.before.iter().map(|m| m.content.len()).sum::<usize>()
    }
}

#[derive(Debug)]
enum AnswerLength {
    Tokens(TokenCount),
    /// As long as this answer.
    LikeText(String),
}

/// What to look for, and how much of it.
pub(super) struct TextSearch<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) seed: u64,
    /// Enough for the whole run.
    pub(super) wanted: usize,
    pub(super) context: PrepareContext,
}

/// What was found of a dataset.
pub(super) struct Found {
    /// In the order in which they are sent.
    pub(super) texts: Vec<Text>,
    pub(super) report: PrepareReport,
    pub(super) skipped: Skipped,
}

/// Reads a dataset of texts; others hold none.
pub(super) fn load(dataset: &Dataset, search: &TextSearch<'_>) -> Result<Found, WorkloadError> {
    let mut candidates = Vec::new();
    let (path, filter, skipped) = match dataset {
        Dataset::Sharegpt { path, output_len, .. } => {
            let skipped = sharegpt(Path::new(path), *output_len, &mut candidates)?;
            (path, Filter::sharegpt(*output_len), skipped)
        }
        Dataset::Custom { path, output_len } => {
            (path, Filter::none(), prompts(path, Some("prompt"), *output_len, &mut candidates)?)
        }
        Dataset::Hf { path, column, output_len } => {
            (path, Filter::none(), prompts(path, column.as_deref(), *output_len, &mut candidates)?)
        }
        Dataset::Random { .. } | Dataset::TimedTrace { .. } | Dataset::Images { .. } => {
            return Ok(Found { texts: Vec::new(), report: PrepareReport::default(), skipped: Skipped::default() });
        }
    };
    candidates.shuffle(&mut seeds::generator(seeds::derive(seeds::SeedPurpose::Shuffle, &[search.seed])));
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
    Ok(Found { texts, report, skipped })
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
    candidate: TextCandidate,
    path: &Path,
    filter: &Filter,
    search: &TextSearch<'_>,
    report: &mut PrepareReport,
) -> Result<Option<Text>, WorkloadError> {
    let before_tokens = tokens_before(&candidate.before, search.tokenizer);
    let prompt_tokens = search.tokenizer.count(&candidate.prompt).saturating_add(before_tokens);
    let output_tokens = match &candidate.output {
        AnswerLength::Tokens(tokens) => tokens.get(),
        AnswerLength::LikeText(answer) => search.tokenizer.count(answer),
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
        before: candidate.before.into(),
        prompt: candidate.prompt.into(),
        prompt_tokens: TokenCount(prompt_tokens),
        output_tokens: TokenCount(output_tokens),
        picture: None,
    };
    let limit = search.context.room();
    if prompt_tokens.saturating_add(output_tokens) <= limit {
        return Ok(Some(text));
    }
    let room = limit.saturating_sub(output_tokens).saturating_sub(before_tokens);
    match search.context.overlong {
        Overlong::Clip if room > 0 => {
            report.clipped += 1;
            let prompt = search.tokenizer.clip(&text.prompt, room);
            let prompt_tokens = TokenCount(search.tokenizer.count(&prompt).saturating_add(before_tokens));
            Ok(Some(Text { prompt: prompt.into(), prompt_tokens, ..text }))
        }
        Overlong::Clip | Overlong::Skip => {
            report.skipped += 1;
            Ok(None)
        }
        Overlong::Refuse => Err(WorkloadError::Overlong {
            what: format!("{}, {}", path.display(), candidate.spot),
            prompt: prompt_tokens,
            output: output_tokens,
            context: search.context,
        }),
    }
}

/// What is said before the question, each message with what a chat template puts around it, about.
fn tokens_before(before: &[Message], tokenizer: &Tokenizer) -> u32 {
    before
        .iter()
        .fold(0, |sum: u32, m| sum.saturating_add(tokenizer.count(&m.content)).saturating_add(TOKENS_PER_MESSAGE))
}

/// Columns that hold the prompt in common Hugging Face datasets, in order of preference.
const PROMPTS: [&str; 8] = ["prompt", "text", "question", "instruction", "input", "query", "problem", "content"];
/// Columns that hold an answer: the output is as long.
const ANSWERS: [&str; 6] = ["completion", "response", "output", "answer", "solution", "target"];
/// Columns that hold the number of tokens to ask for.
const LENGTHS: [&str; 3] = ["output_tokens", "output_len", "max_tokens"];

fn prompts(
    path: &str,
    column: Option<&str>,
    output_len: Option<TokenCount>,
    candidates: &mut Vec<TextCandidate>,
) -> Result<Skipped, WorkloadError> {
    rows::for_each(Path::new(path), &mut |spot, mut row| {
        let length = output_len.map_or_else(|| row_length(&row), |tokens| Ok(Some(tokens)))?;
        let LastQuestion { before, question, answer } = question(&mut row, column)?;
        let answer = answer.or_else(|| ANSWERS.iter().find_map(|name| text(&row, name).map(str::to_string)));
        let output = match (length, answer) {
            (Some(tokens), _) => AnswerLength::Tokens(tokens),
            (None, Some(answer)) => AnswerLength::LikeText(answer),
            (None, None) => {
                return Err(
                    "no output length: add output_tokens to every row, or give --output-len for all".to_string()
                );
            }
        };
        let candidate = TextCandidate { before: messages(before), prompt: question, output, spot };
        let bytes = candidate.bytes();
        candidates.push(candidate);
        Ok(bytes)
    })
}

/// A row's prompt: a text, or the last question of a conversation.
fn question(row: &mut DatasetRow, column: Option<&str>) -> Result<LastQuestion, String> {
    let asked =
        |turns: Vec<Turn>| chat::last_question(turns).ok_or_else(|| "nobody asks in its conversation".to_string());
    let plain = |text: &str| LastQuestion { before: Vec::new(), question: text.to_string(), answer: None };
    let names: Vec<&str> = column.map_or_else(|| PROMPTS.to_vec(), |name| vec![name]);
    for name in &names {
        if let Some(text) = text(row, name) {
            return Ok(plain(text));
        }
        if row.get(*name).is_some_and(serde_json::Value::is_array) {
            return asked(chat::turns(row.remove(*name).unwrap_or_default()).map_err(|e| format!("`{name}`: {e}"))?);
        }
    }
    if let Some(turns) = chat::turns_of(row) {
        return asked(turns?);
    }
    let there: Vec<&str> = row.keys().map(String::as_str).take(12).collect();
    Err(format!(
        "no text in column {}, and no conversation; the row has {} (--dataset-name hf takes --hf-column)",
        names.join(", "),
        there.join(", ")
    ))
}

/// A column's text, unless it is empty.
fn text<'a>(row: &'a DatasetRow, name: &str) -> Option<&'a str> {
    row.get(name)?.as_str().filter(|text| !text.trim().is_empty())
}

fn messages(turns: Vec<Turn>) -> Vec<Message> {
    let role = |role| match role {
        Speaker::System => "system",
        Speaker::Assistant => "assistant",
        Speaker::User | Speaker::Other => "user",
    };
    turns.into_iter().map(|turn| Message { role: role(turn.role), content: turn.text }).collect()
}

/// The row's own output length.
fn row_length(row: &DatasetRow) -> Result<Option<TokenCount>, String> {
    let Some(value) = LENGTHS.iter().find_map(|name| row.get(*name)).filter(|v| !v.is_null()) else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_str().and_then(|s| s.trim().parse().ok()));
    let number = number.or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n > 0.0).map(|n| n as u64));
    match number.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0) {
        Some(tokens) => Ok(Some(TokenCount(tokens))),
        None => Err(format!("output length {value}: give a whole number of tokens above 0")),
    }
}

/// The openings alone: a tenth of the file.
fn sharegpt(
    path: &Path,
    output_len: Option<TokenCount>,
    candidates: &mut Vec<TextCandidate>,
) -> Result<Skipped, WorkloadError> {
    conversations(path, &mut |spot, exchanges| {
        let (prompt, answer) = exchanges.next()?;
        let output = output_len.map_or(AnswerLength::LikeText(answer), AnswerLength::Tokens);
        let candidate = TextCandidate { before: Vec::new(), prompt, output, spot };
        let bytes = candidate.bytes();
        candidates.push(candidate);
        Some(bytes)
    })
}

/// What is done with the exchanges of a conversation; says how many bytes of them are kept, or that there is none.
type TakeExchanges<'a> = &'a mut dyn FnMut(RowPlace, &mut dyn Iterator<Item = (String, String)>) -> Option<usize>;

/// Calls `take` for every conversation of a file.
pub(super) fn conversations(path: &Path, take: TakeExchanges<'_>) -> Result<Skipped, WorkloadError> {
    rows::for_each(path, &mut |spot, mut row| {
        let turns =
            chat::turns_of(&mut row).ok_or("no conversation: expected `conversations`, `messages` or `items`")??;
        take(spot, &mut chat::exchanges(turns)).ok_or_else(|| "no question in it has an answer".to_string())
    })
}
