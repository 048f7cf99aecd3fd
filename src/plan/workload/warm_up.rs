//! Requests for warming up: of the workload's own shape, with prompts that no measured request has.
//!
//! A prefix cache would serve a measured request whose prompt was sent before. Synthetic prompts get seeds of their own
//! (those of an attempt 0, where measured ones count from 1); texts of a dataset get a mark at their beginning, in place
//! of as much of their own, so that not even their first block is known to a cache.

use super::error::WorkloadError;
use super::prepared::PreparedWorkload;
use super::prompt::Prompt;
use super::seeds;
use super::source::Source;
use super::texts::Text;
use crate::outcome::Request;
use crate::plan::load::Endpoint;
use crate::units::{Offset, TokenCount};

/// Characters of a text that make room for the mark: as many tokens as it may take.
const MARK_ROOM: usize = 48;

/// A request that is sent and not measured.
#[derive(Debug, Clone, PartialEq)]
pub struct WarmUpRequest {
    pub prompt: Prompt,
    pub prompt_tokens: TokenCount,
    pub output_tokens: TokenCount,
}

impl PreparedWorkload {
    /// Exactly this many, each prompt different from all others of the run. What the dataset lets prompts share, such as
    /// random prompts' common prefix, these share too.
    pub fn warm_ups(&self, count: u32) -> Result<Vec<WarmUpRequest>, WorkloadError> {
        let point = match self.load.rates.first() {
            Some(rate) => seeds::point(self.load.seed, *rate, 0),
            // Nobody knows the rates of a search.
            None => seeds::derive(seeds::SeedPurpose::Prompt, &[self.load.seed]),
        };
        match &self.source {
            Source::Random { .. } => {
                let mut cut = 0;
                let dues = std::iter::repeat_n(Offset::ZERO, count as usize);
                Ok(self.drawn(point, dues, &mut cut)?.iter().map(|r| self.warm_up(r)).collect())
            }
            Source::Recorded { trace, .. } => {
                Ok((0..count).map(|index| self.warm_up(&trace.request(index, Offset::ZERO, point))).collect())
            }
            Source::Texts(texts) => Ok((0..count)
                .map(|index| {
                    let text = &texts[texts.len() - 1 - index as usize % texts.len()];
                    let Text { prompt_tokens, output_tokens, .. } = *text;
                    let prompt = text.reworded(marked(index, &text.prompt), self.endpoint);
                    WarmUpRequest { prompt, prompt_tokens, output_tokens }
                })
                .collect()),
            Source::Conversations(all) => Ok((0..count)
                .map(|index| {
                    let (question, prompt_tokens, output_tokens) = all.opening(index as usize);
                    let text = marked(index, question);
                    let prompt = match self.endpoint {
                        Endpoint::Completions => Prompt::Text(text),
                        Endpoint::Chat => Prompt::user(text),
                    };
                    WarmUpRequest { prompt, prompt_tokens, output_tokens }
                })
                .collect()),
        }
    }

    fn warm_up(&self, request: &Request) -> WarmUpRequest {
        let Request { prompt_tokens, output_tokens, .. } = *request;
        WarmUpRequest { prompt: self.render(request), prompt_tokens, output_tokens }
    }
}

fn marked(index: u32, text: &str) -> String {
    let rest: String = text.chars().skip(MARK_ROOM).collect();
    format!("{index}. warm-up: {rest}")
}
