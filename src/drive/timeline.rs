//! Chunks as they arrive, turned into the timeline of a request: pure.

use super::chunk::Chunk;
use crate::outcome::{self, Timeline};
use crate::units::{Offset, TokenCount};

/// Most chunks to make room for beforehand: an answer may end long before its `max_tokens`.
const MOST_EXPECTED: u32 = 1024;

/// Text beyond this is not kept: no model's answer is as long.
const MAX_TEXT: usize = 4 << 20;

/// Collects what the clock and the server say of one request.
#[derive(Debug, Default)]
pub struct TimelineBuilder {
    timeline: Timeline,
    /// Tokens in the chunks so far.
    counted: u32,
    /// The server's own count so far, where it gives one.
    reported: Option<u32>,
    /// Chunks with tokens whose count had to be assumed.
    assumed_chunks: u32,
    finish_reason: Option<String>,
    /// `None`: texts aren't kept.
    text: Option<String>,
}

impl TimelineBuilder {
    pub fn new(due: Offset, slot: Offset) -> Self {
        let timeline = Timeline { due, slot, ..Timeline::default() };
        TimelineBuilder { timeline, ..Self::default() }
    }

    pub fn keep_text(&mut self) {
        self.text.get_or_insert_default();
    }

    /// Makes room for the chunks of an answer of `tokens`, so that reading it allocates no more.
    pub fn expect_tokens(&mut self, tokens: u32) {
        self.timeline.chunks.reserve(tokens.min(MOST_EXPECTED) as usize);
    }

    pub fn sent(&mut self, at: Offset) {
        self.timeline.sent = Some(at);
    }

    /// A chunk that arrived at `at`.
    pub fn chunk(&mut self, at: Offset, chunk: &Chunk<'_>) {
        if let Some(usage) = chunk.usage {
            self.timeline.prompt_tokens = usage.prompt_tokens.map(TokenCount).or(self.timeline.prompt_tokens);
            self.reported = usage.completion_tokens.or(self.reported);
        }
        if chunk.has_choice {
            self.count(at, chunk);
        }
        // Reading a text again as JSON costs as much as all else a chunk costs here: only where it is kept.
        if let Some(kept) = &mut self.text
            && let Some(text) = chunk.text()
            && kept.len() + text.len() <= MAX_TEXT
        {
            kept.push_str(&text);
        }
        if let Some(reason) = &chunk.finish_reason {
            self.finish_reason = Some(reason.clone());
        }
    }

    /// With continuous usage a chunk holds what the count grew by; otherwise one token, if its text tells of any.
    fn count(&mut self, at: Offset, chunk: &Chunk<'_>) {
        let known = chunk.usage.and_then(|usage| usage.completion_tokens);
        let tokens = known.map_or(u32::from(chunk.carries_token), |total| total.saturating_sub(self.counted));
        if tokens == 0 {
            return;
        }
        self.assumed_chunks += u32::from(known.is_none());
        self.counted += tokens;
        self.timeline.first_token.get_or_insert(at);
        self.timeline.last_token = Some(at);
        self.timeline.chunks.push(outcome::Chunk { at, tokens });
    }

    /// Chunks with tokens so far.
    pub fn chunks(&self) -> usize {
        self.timeline.chunks.len()
    }

    /// Generated tokens so far: the server's count where it gave one.
    pub fn tokens(&self) -> u32 {
        self.reported.unwrap_or(self.counted)
    }

    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_deref()
    }

    /// The timeline and the kept text.
    pub fn finish(self, end: Offset) -> (Timeline, Option<String>) {
        let output_tokens = TokenCount(self.tokens());
        let tokens_per_chunk_known = self.assumed_chunks == 0 && !self.timeline.chunks.is_empty();
        let mut chunks = self.timeline.chunks;
        chunks.shrink_to_fit();
        (Timeline { end, output_tokens, tokens_per_chunk_known, chunks, ..self.timeline }, self.text)
    }
}
