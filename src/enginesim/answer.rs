//! What an instance says: a pure function of the prompt that its KV cache holds.
//!
//! The whole answer is known before its first token is due, so the scheduler only needs to know
//! how long it is. At temperature 0 nothing but the prompt enters, which is what makes the answer
//! of a prefill/decode pair comparable with that of one instance. The words mean nothing.

use crate::enginesim::tokenizer::{Detokenizer, END_OF_TEXT, Vocabulary};
use topobench::predict::model::blocks::mix;

/// Stands for the KV cache of a prompt: equal prompts, equal prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KvPrint(pub u64);

impl KvPrint {
    pub(super) fn of(prompt: &[u32]) -> Self {
        Self(prompt.iter().fold(0x5851_f42d, |hash, token| mix(hash, *token)))
    }
}

/// The sampling parameters that shape an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Sampling {
    pub max_tokens: u32,
    pub min_tokens: u32,
    pub ignore_eos: bool,
    pub stop: Vec<String>,
    /// `None` at temperature 0, else what makes this sample differ from others.
    pub noise: Option<u64>,
}

/// Why an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FinishReason {
    /// `max_tokens` reached.
    Length,
    /// End-of-text sampled.
    EndOfText,
    /// This stop string appeared.
    StopString(String),
}

impl FinishReason {
    /// vLLM's `finish_reason`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::EndOfText | Self::StopString(_) => "stop",
        }
    }

    /// vLLM's `stop_reason`.
    pub(super) fn stop_reason(&self) -> Option<&str> {
        match self {
            Self::StopString(stop) => Some(stop),
            Self::Length | Self::EndOfText => None,
        }
    }
}

/// One token and the text that it adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub token: u32,
    pub text: String,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// At least one.
    pub pieces: Vec<Piece>,
    pub finish: FinishReason,
}

impl Answer {
    /// The answer to the prompt behind `kv`.
    pub(super) fn compose(vocabulary: &Vocabulary, kv: KvPrint, sampling: &Sampling) -> Self {
        let seed = sampling.noise.map_or(kv.0, |noise| mix(kv.0 ^ noise, 1));
        let natural = natural_length(seed).max(sampling.min_tokens.saturating_add(1));
        let ends = !sampling.ignore_eos && natural <= sampling.max_tokens;
        let length = if ends { natural } else { sampling.max_tokens.max(1) };
        let mut detokenizer = Detokenizer::default();
        let mut pieces = Vec::with_capacity(length as usize);
        for index in 0..length {
            let last = index + 1 == length;
            let token = if ends && last { END_OF_TEXT } else { token_at(vocabulary, seed, index) };
            let mut text = detokenizer.push(vocabulary, token);
            if last {
                text.push_str(detokenizer.finish());
            }
            pieces.push(Piece { token, text });
        }
        let finish = if ends { FinishReason::EndOfText } else { FinishReason::Length };
        let mut answer = Self { pieces, finish };
        answer.cut_at_stop_string(sampling);
        answer
    }

    pub(super) fn tokens(&self) -> u32 {
        self.pieces.len() as u32
    }

    /// Ends the answer with the token that completes a stop string, whose text is left out.
    fn cut_at_stop_string(&mut self, sampling: &Sampling) {
        if sampling.stop.is_empty() {
            return;
        }
        let mut text = String::new();
        for index in 0..self.pieces.len() {
            text.push_str(&self.pieces[index].text);
            if (index as u32) < sampling.min_tokens {
                continue;
            }
            let found = sampling.stop.iter().filter(|stop| !stop.is_empty());
            let first = found.filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop)));
            let Some((at, stop)) = first.min() else {
                continue;
            };
            self.finish = FinishReason::StopString(stop.clone());
            self.pieces.truncate(index + 1);
            self.drop_text_from(at);
            return;
        }
    }

    fn drop_text_from(&mut self, mut keep: usize) {
        for piece in &mut self.pieces {
            let kept = piece.text.len().min(keep);
            piece.text.truncate(kept);
            keep -= kept;
        }
    }
}

/// Tokens after which an answer ends by itself: 32 to 543, end-of-text included.
fn natural_length(seed: u64) -> u32 {
    32 + (mix(seed, u32::MAX) % 512) as u32
}

/// Mostly words, so that the text tokenises back to about as many tokens; one in sixteen is
/// anything, so that clients meet every kind of byte.
fn token_at(vocabulary: &Vocabulary, seed: u64, index: u32) -> u32 {
    let draw = mix(seed, index);
    let words = vocabulary.words();
    if draw.is_multiple_of(16) || words.is_empty() {
        let special = Vocabulary::special_tokens();
        return special + ((draw >> 8) % u64::from(vocabulary.size() - special)) as u32;
    }
    words[((draw >> 8) % words.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compose(prompt: &[u32], sampling: &Sampling) -> Answer {
        Answer::compose(&Vocabulary::load().unwrap(), KvPrint::of(prompt), sampling)
    }

    fn greedy(max_tokens: u32) -> Sampling {
        Sampling { max_tokens, ignore_eos: true, ..Sampling::default() }
    }

    fn text(answer: &Answer) -> String {
        answer.pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    #[test]
    fn greedy_answers_depend_on_the_prompt_alone_and_longer_ones_only_add() {
        let (short, long) = (compose(&[1, 2, 3], &greedy(8)), compose(&[1, 2, 3], &greedy(64)));
        assert_eq!(short.pieces[..7], long.pieces[..7]);
        assert_ne!(compose(&[1, 2, 4], &greedy(8)), short);
        assert_eq!((short.tokens(), &short.finish), (8, &FinishReason::Length));
    }

    #[test]
    fn sampled_answers_differ_by_their_noise() {
        let noisy = |noise| compose(&[1], &Sampling { noise: Some(noise), ..greedy(8) });
        assert_eq!(noisy(1), noisy(1));
        assert_ne!(noisy(1), noisy(2));
    }

    #[test]
    fn without_ignore_eos_an_answer_ends_by_itself_but_not_before_min_tokens() {
        let free = Sampling { ignore_eos: false, ..greedy(10_000) };
        let answer = compose(&[5], &free);
        assert_eq!(answer.finish, FinishReason::EndOfText);
        assert!((32..544).contains(&answer.tokens()));
        assert_eq!(answer.pieces.last().unwrap().token, END_OF_TEXT);
        let held = compose(&[5], &Sampling { min_tokens: 600, ..free });
        assert_eq!(held.tokens(), 601);
    }

    #[test]
    fn a_stop_string_ends_the_answer_and_stays_out_of_the_text() {
        let whole = text(&compose(&[9], &greedy(50)));
        let stop: String = whole.chars().skip(40).take(6).collect();
        let cut = compose(&[9], &Sampling { stop: vec![stop.clone()], ..greedy(50) });
        assert_eq!(cut.finish, FinishReason::StopString(stop.clone()));
        assert_eq!(text(&cut), whole[..whole.find(&stop).unwrap()]);
        assert!(cut.tokens() < 50);
    }
}
