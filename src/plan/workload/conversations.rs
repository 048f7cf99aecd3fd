//! Conversations of several turns: every turn is a request with the conversation so far in front of it.
//!
//! The load stays an open loop, so that both arms of a comparison get the same bytes at the same times: a turn falls due
//! when the schedule says so, whether or not the turn before it was answered, and the history holds the answers of the
//! dataset, not those the model gave. So many conversations are open at a time and take turns; the next turn of one
//! falls due after all other open ones had theirs, `open / rate` seconds later in the mean. A point begins with
//! conversations of its own and never goes on with those of an earlier one.

use super::entries::PrepareReport;
use super::error::WorkloadError;
use super::prompt::{Message, Prompt, TOKENS_PER_MESSAGE, transcript};
use super::rows::Skipped;
use super::tokenizer::Tokenizer;
use super::{seeds, texts};
use crate::plan::load::Endpoint;
use crate::units::TokenCount;
use rand::seq::SliceRandom;
use std::collections::VecDeque;
use std::path::Path;

/// A conversation as far as the model's context holds it.
#[derive(Debug)]
struct Conversation {
    turns: Vec<MeasuredTurn>,
}

#[derive(Debug)]
struct MeasuredTurn {
    question: Box<str>,
    /// The dataset's answer, which the next turn's prompt contains.
    answer: Box<str>,
    /// Of the whole prompt: history and question.
    prompt_tokens: u32,
    output_tokens: u32,
}

/// What to look for, and how much of it.
pub(super) struct ConversationSearch<'a> {
    pub(super) path: &'a Path,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) seed: u64,
    pub(super) output_len: Option<TokenCount>,
    /// Tokens that a prompt and its answer may have together.
    pub(super) room: u32,
    /// Conversations open at a time.
    pub(super) open: u32,
    /// Requests of every point of the run.
    pub(super) points: &'a [u64],
}

/// Which turn of which conversation a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TurnPlace {
    pub(super) conversation: u32,
    pub(super) turn: u32,
}

impl TurnPlace {
    pub(super) fn new(conversation: u32, turn: u32) -> Self {
        TurnPlace { conversation, turn }
    }

    pub(super) fn seed(self) -> u64 {
        u64::from(self.conversation) << 32 | u64::from(self.turn)
    }

    pub(super) fn of_seed(seed: u64) -> Self {
        TurnPlace { conversation: (seed >> 32) as u32, turn: seed as u32 }
    }
}

/// Conversations in the order in which they are begun.
#[derive(Debug)]
pub(super) struct Conversations {
    all: Vec<Conversation>,
    open: usize,
}

/// A point's share of the conversations.
pub(super) struct Share {
    pub(super) places: Vec<TurnPlace>,
    /// Requests of conversations that were held before in this run.
    pub(super) repeats: u32,
}

impl Conversations {
    pub(super) fn load(search: &ConversationSearch<'_>) -> Result<(Self, PrepareReport, Skipped), WorkloadError> {
        let mut candidates = Vec::new();
        let skipped = texts::conversations(search.path, &mut |_, exchanges| {
            let exchanges: Vec<_> = exchanges.collect();
            if exchanges.is_empty() {
                return None;
            }
            let bytes = exchanges.iter().map(|(question, answer)| question.len() + answer.len()).sum();
            candidates.push(exchanges);
            Some(bytes)
        })?;
        let mut report = PrepareReport { candidates: candidates.len(), ..PrepareReport::default() };
        candidates.shuffle(&mut seeds::generator(seeds::derive(seeds::SeedPurpose::Shuffle, &[search.seed])));
        let mut found = Conversations { all: Vec::new(), open: search.open.max(1) as usize };
        let (mut turns, mut longest) = (0u64, 0);
        let wanted: u64 = search.points.iter().sum();
        for exchanges in candidates {
            // At the end of a point every open conversation may leave its longest rest unused.
            // Of a search nobody knows how many.
            if !search.points.is_empty()
                && turns >= wanted + search.points.len() as u64 * u64::from(search.open) * longest
            {
                break;
            }
            let measured = measure(exchanges, search, &mut report);
            longest = longest.max(measured.turns.len() as u64);
            turns += measured.turns.len() as u64;
            found.all.extend((!measured.turns.is_empty()).then_some(measured));
        }
        if found.all.is_empty() {
            let problem = format!("none of its {} conversations can be used ({report})", report.candidates);
            let remedy = "check the file, the tokenizer and the model's context length";
            return Err(WorkloadError::File { path: search.path.into(), problem, remedy });
        }
        Ok((found, report, skipped))
    }

    /// The requests of a point, after points of these numbers of requests.
    pub(super) fn share(&self, earlier: &[u64], requests: usize) -> Share {
        let mut next = 0;
        for count in earlier {
            self.take_turns(&mut next, *count as usize, |_, _| ());
        }
        let mut share = Share { places: Vec::with_capacity(requests), repeats: 0 };
        self.take_turns(&mut next, requests, |conversation, turn| {
            share.repeats += u32::from(conversation >= self.all.len());
            let conversation = (conversation % self.all.len()) as u32;
            share.places.push(TurnPlace { conversation, turn: turn as u32 });
        });
        share
    }

    /// Begins conversations from `next` on, and calls `each` with the turns in the order in which they fall due.
    fn take_turns(&self, next: &mut usize, requests: usize, mut each: impl FnMut(usize, usize)) {
        let mut open: VecDeque<(usize, usize)> = VecDeque::with_capacity(self.open);
        for _ in 0..requests {
            let waiting = if open.len() < self.open { None } else { open.pop_front() };
            let (conversation, turn) = waiting.unwrap_or_else(|| {
                *next += 1;
                (*next - 1, 0)
            });
            each(conversation, turn);
            if turn + 1 < self.all[conversation % self.all.len()].turns.len() {
                open.push_back((conversation, turn + 1));
            }
        }
    }

    /// Prompt and output tokens.
    pub(super) fn lengths(&self, place: TurnPlace) -> (TokenCount, TokenCount) {
        let turn = &self.all[place.conversation as usize].turns[place.turn as usize];
        (TokenCount(turn.prompt_tokens), TokenCount(turn.output_tokens))
    }

    /// The prompt named by a [`TurnPlace::seed`].
    pub(super) fn render(&self, seed: u64, endpoint: Endpoint) -> Prompt {
        let place = TurnPlace::of_seed(seed);
        let turns = self.all.get(place.conversation as usize).map_or(&[][..], |c| &c.turns);
        let last = (place.turn as usize).min(turns.len().saturating_sub(1));
        let said = turns.iter().take(last + 1).enumerate().flat_map(|(i, turn)| {
            let answer = (i < last).then_some(("assistant", &turn.answer));
            [("user", &turn.question)].into_iter().chain(answer)
        });
        let messages: Vec<Message> = said.map(|(role, text)| Message { role, content: text.to_string() }).collect();
        match endpoint {
            Endpoint::Chat => Prompt::Messages(messages),
            Endpoint::Completions => Prompt::Text(transcript(&messages)),
        }
    }

    /// Whether all turns are such that `fits` is true of their prompt and output tokens.
    pub(super) fn fit(&self, fits: impl Fn(TokenCount, TokenCount) -> bool) -> bool {
        let mut turns = self.all.iter().flat_map(|conversation| &conversation.turns);
        turns.all(|turn| fits(TokenCount(turn.prompt_tokens), TokenCount(turn.output_tokens)))
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    pub(super) fn turns_of(&self, conversation: usize) -> usize {
        self.all[conversation].turns.len()
    }

    /// Requests that can be made of them, each once.
    pub(super) fn turns(&self) -> usize {
        self.all.iter().map(|c| c.turns.len()).sum()
    }

    /// The first question of a conversation, counted round and round, with its lengths.
    pub(super) fn opening(&self, index: usize) -> (&str, TokenCount, TokenCount) {
        let turn = &self.all[index % self.all.len()].turns[0];
        (&turn.question, TokenCount(turn.prompt_tokens), TokenCount(turn.output_tokens))
    }
}

/// Turns up to the first that is empty or beyond the model's context: a conversation ends where the model's memory does.
fn measure(
    exchanges: Vec<(String, String)>,
    search: &ConversationSearch<'_>,
    report: &mut PrepareReport,
) -> Conversation {
    let mut turns = Vec::new();
    let mut history = 0u32;
    for (question, answer) in exchanges {
        let (asked, answered) = (search.tokenizer.count(&question), search.tokenizer.count(&answer));
        let prompt_tokens = history.saturating_add(asked).saturating_add(TOKENS_PER_MESSAGE);
        let output_tokens = search.output_len.map_or(answered, TokenCount::get);
        if asked == 0 || output_tokens == 0 {
            break;
        }
        if prompt_tokens.saturating_add(output_tokens) > search.room {
            report.clipped += 1;
            break;
        }
        history = prompt_tokens.saturating_add(answered).saturating_add(TOKENS_PER_MESSAGE);
        turns.push(MeasuredTurn { question: question.into(), answer: answer.into(), prompt_tokens, output_tokens });
    }
    report.too_short += usize::from(turns.is_empty());
    Conversation { turns }
}
