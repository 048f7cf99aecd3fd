//! How many tokens an answer holds and which chunks brought them: pure.
//!
//! Servers count in `usage`: at the end, in every chunk as the answer grows, in every chunk without growing, wrongly, or
//! not at all. Two rules keep a wrong count from spoiling a time. A chunk with text carries a token at the least, whatever
//! usage says. A chunk without text carries one only where usage has counted on from chunk to chunk and advances in it by
//! no more than it did before, as vLLM's does for tokens that have no text of their own; a closing chunk that brings the
//! total is none. A count that contradicts what came is no count: the number of tokens is then not known.

use super::chunk::ChunkContent;
use crate::outcome::Chunk;
use crate::units::Offset;

/// Counts the tokens of one answer.
#[derive(Debug, Default)]
pub(crate) struct TokenCounter {
    /// Chunks with tokens, and how many each holds as far as is known.
    chunks: Vec<Chunk>,
    /// Tokens in `chunks`.
    noted: u32,
    /// Most tokens that usage gave one of them.
    largest: u32,
    /// Whether one of them had to be taken for one token.
    assumed: bool,
    /// Chunks with generated content: no answer holds fewer tokens.
    generated: u32,
    /// The server's count when it last advanced.
    reported: Option<u32>,
    /// Content came since then that it doesn't count.
    uncounted: bool,
    /// Counts lag behind what has come, so the one beside the last text may as well.
    lags: bool,
    /// The last advance may lag, until a count without text confirms it.
    unconfirmed: bool,
    /// Counts fell.
    fell: bool,
    /// A first chunk without text in which usage advanced: a token if usage goes on to count.
    pending: Option<Chunk>,
    /// Empty texts that nobody counted, since the last text.
    trailing: u32,
    /// A chunk of its own repeated the count, as vLLM's last one does.
    repeated: bool,
}

impl TokenCounter {
    /// Makes room for this many chunks.
    pub(crate) fn reserve(&mut self, chunks: usize) {
        self.chunks.reserve(chunks);
    }

    /// Takes in a chunk with the count that its usage gives. `ends`: it says why the answer ends.
    pub(crate) fn take(&mut self, at: Offset, content: ChunkContent, count: Option<u32>, ends: bool) {
        let uncounted_so_far = self.reported.is_none();
        let advanced = count.is_some_and(|count| self.advance(count)).then_some(count).flatten();
        match content.is_generated() {
            true => {
                self.settle_pending(advanced);
                self.generated += 1;
                self.trailing = 0;
                self.lags |= count.is_some_and(|count| count < self.generated);
                let gain = self.gain(advanced);
                self.assumed |= gain.is_none();
                self.note(at, gain.unwrap_or(1));
                self.uncounted = advanced.is_none();
                // Where not even the chunks before the last one were counted, a count at the very end is the total.
                let is_total = uncounted_so_far && ends && self.generated > 2;
                self.unconfirmed = self.lags && !is_total;
            }
            false => {
                // An empty text that nobody counted may have been a token.
                let may_be_token = content == ChunkContent::EmptyText && count.is_none_or(|count| count == 0);
                self.trailing += u32::from(may_be_token && !ends);
                let missed = self.uncounted;
                self.uncounted = (missed && advanced.is_none()) || may_be_token;
                let told = count.is_some() && count == self.reported;
                let closes = told && content == ChunkContent::Nothing;
                // Beside an empty text it may be as late as beside any.
                self.unconfirmed = (self.unconfirmed || (self.lags && advanced.is_some())) && !closes;
                self.repeated |= closes && advanced.is_none();
                if content == ChunkContent::EmptyText && advanced.is_some() {
                    self.take_empty(at, advanced, missed);
                }
            }
        }
    }

    /// `missed`: the count had not followed up to here.
    fn take_empty(&mut self, at: Offset, advanced: Option<u32>, missed: bool) {
        self.settle_pending(advanced);
        let Some(tokens) = self.gain(advanced) else { return };
        if self.chunks.is_empty() {
            self.pending = Some(Chunk { at, tokens });
        } else if self.counts_on() && !missed && tokens <= self.largest {
            self.note(at, tokens);
        }
    }

    /// Notes the server's count; whether it went up. Zero counts nothing.
    fn advance(&mut self, count: u32) -> bool {
        let before = self.reported.unwrap_or(0);
        self.fell |= 0 < count && count < before;
        if count > before {
            self.reported = Some(count);
        }
        count > before
    }

    /// Tokens since the last chunk, by a count that went up.
    fn gain(&self, advanced: Option<u32>) -> Option<u32> {
        advanced?.checked_sub(self.noted).filter(|tokens| *tokens > 0)
    }

    /// The pending chunk was a token if the count went on from it.
    fn settle_pending(&mut self, advanced: Option<u32>) {
        if let Some(Chunk { at, tokens }) = self.pending.take()
            && advanced.is_some()
        {
            self.note(at, tokens);
        }
    }

    fn note(&mut self, at: Offset, tokens: u32) {
        self.noted = self.noted.saturating_add(tokens);
        self.largest = self.largest.max(tokens);
        self.chunks.push(Chunk { at, tokens });
    }

    /// Whether usage told of every chunk so far what it holds.
    fn counts_on(&self) -> bool {
        !self.assumed && !self.lags && !self.fell
    }

    /// Chunks with tokens so far.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Tokens so far, as far as is known; only ever grows.
    pub(crate) fn tokens(&self) -> u32 {
        self.noted
    }

    /// Tokens that the answer holds at the least, by its content alone.
    pub(crate) fn at_least(&self) -> u32 {
        self.generated
    }

    /// The most that the server claimed.
    pub(crate) fn claimed(&self) -> u32 {
        self.reported.unwrap_or(0)
    }

    /// Whether a token came that has a time.
    pub(crate) fn came(&self) -> bool {
        !self.chunks.is_empty() || self.is_single()
    }

    /// An answer of one token that has no text: nothing comes after it to count on, and the total is told apart from it.
    fn is_single(&self) -> bool {
        self.repeated && self.total() == Some(1) && self.pending.is_some_and(|only| only.tokens == 1)
    }

    /// Tokens of the whole answer by the server's count; `None` where it gives none that can be true.
    pub(crate) fn total(&self) -> Option<u32> {
        let doubtful = self.fell || self.uncounted || self.unconfirmed;
        // Empty texts at the end may have been the rest of the tokens: then the last text was not the last token. One
        // alone moves the end by a single token at most.
        let ends_in_the_dark = |total: u32| self.trailing > 1 && total > self.generated;
        self.reported.filter(|total| !doubtful && *total >= self.generated && !ends_in_the_dark(*total))
    }

    /// The answer is over: its chunks with tokens, and whether it is known how many each of them holds.
    pub(crate) fn finish(mut self) -> (Vec<Chunk>, bool) {
        let total = self.total();
        if self.is_single()
            && let Some(only) = self.pending.take()
        {
            self.note(only.at, 1);
        }
        let one_each = total == u32::try_from(self.chunks.len()).ok();
        let known = one_each || (self.counts_on() && total == Some(self.noted));
        if one_each || !known {
            self.chunks.iter_mut().for_each(|chunk| chunk.tokens = 1);
        }
        self.chunks.shrink_to_fit();
        (self.chunks, known)
    }
}

#[cfg(test)]
mod tests;
