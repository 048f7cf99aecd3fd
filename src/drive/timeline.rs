//! Chunks as they arrive, turned into the timeline of a request: pure.

use super::chunk::StreamChunk;
use super::count::TokenCounter;
use crate::outcome::Timeline;
use crate::units::{Offset, TokenCount};

/// Most chunks to make room for beforehand: an answer may end long before its `max_tokens`.
const MOST_EXPECTED: u32 = 1024;

/// Text beyond this is not kept: no model's answer is as long.
const MAX_TEXT: usize = 4 << 20;

/// Collects what the clock and the server say of one request.
#[derive(Debug, Default)]
pub(crate) struct TimelineBuilder {
    timeline: Timeline,
    counter: TokenCounter,
    finish_reason: Option<String>,
    /// `None`: texts aren't kept.
    text: Option<String>,
}

impl TimelineBuilder {
    pub(crate) fn new(due: Offset, slot: Offset) -> Self {
        let timeline = Timeline { due, slot, ..Timeline::default() };
        TimelineBuilder { timeline, ..Self::default() }
    }

    pub(crate) fn keep_text(&mut self) {
        self.text.get_or_insert_default();
    }

    /// Makes room for the chunks of an answer of `tokens`, so that reading it allocates no more.
    pub(crate) fn expect_tokens(&mut self, tokens: u32) {
        self.counter.reserve(tokens.min(MOST_EXPECTED) as usize);
    }

    pub(crate) fn sent(&mut self, at: Offset) {
        self.timeline.sent = Some(at);
    }

    /// A chunk that arrived at `at`.
    pub(crate) fn chunk(&mut self, at: Offset, chunk: &StreamChunk<'_>) {
        let usage = chunk.usage.unwrap_or_default();
        let prompt_tokens = usage.prompt_tokens.filter(|tokens| *tokens > 0).map(TokenCount);
        self.timeline.prompt_tokens = prompt_tokens.or(self.timeline.prompt_tokens);
        self.counter.take(at, chunk.content, usage.completion_tokens, chunk.finish_reason.is_some());
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

    pub(crate) fn counter(&self) -> &TokenCounter {
        &self.counter
    }

    pub(crate) fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_deref()
    }

    /// The timeline and the kept text.
    pub(crate) fn finish(self, end: Offset) -> (Timeline, Option<String>) {
        let output_tokens = self.counter.total().map(TokenCount);
        let (chunks, tokens_per_chunk_known) = self.counter.finish();
        let (first_token, last_token) = (chunks.first().map(|c| c.at), chunks.last().map(|c| c.at));
        let known = Timeline { first_token, last_token, end, output_tokens, ..self.timeline };
        (Timeline { tokens_per_chunk_known, chunks, ..known }, self.text)
    }
}
