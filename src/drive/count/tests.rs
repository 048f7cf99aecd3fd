//! Servers of many habits tell of answers whose truth is known: the count must be that truth, or unknown.

use super::*;
use crate::units::Offset;
use proptest::prelude::*;

/// A chunk as the server made it: what it holds of the answer, and how many tokens that truly is.
#[derive(Debug, Clone, Copy)]
enum Made {
    Role,
    /// With a text field that is empty, and no token.
    Opening,
    Text(u32),
    /// Tokens that have no text of their own.
    Textless(u32),
}

/// How the server counts.
#[derive(Debug, Clone, Copy)]
enum Habit {
    Never,
    /// In every chunk, as vLLM does when it is asked to.
    InEveryChunk,
    /// In every chunk, one chunk behind.
    OneBehind,
    /// In every chunk, which stays the same up to the last one.
    StandsStill(u32),
    /// Only what the first chunks hold, this many of them.
    UpTo(usize),
    Falls,
}

/// What comes after the last token.
#[derive(Debug, Clone, Copy)]
enum Closing {
    Nothing,
    Total,
    /// Beside an empty text.
    TotalInAChoice,
    Zero,
}

/// The server's count beside chunk `i` of these.
fn count(habit: Habit, made: &[Made], i: usize) -> Option<u32> {
    let tokens = |made: &[Made]| made.iter().map(|m| tokens_of(*m)).sum::<u32>();
    let last = i + 1 == made.len();
    match habit {
        Habit::Never => None,
        Habit::InEveryChunk => Some(tokens(&made[..=i])),
        Habit::OneBehind => Some(tokens(&made[..i])),
        Habit::StandsStill(_) if last => Some(tokens(made)),
        Habit::StandsStill(n) => Some(n),
        Habit::UpTo(n) => (i < n).then(|| tokens(&made[..=i])),
        Habit::Falls => Some(tokens(made).saturating_sub(tokens(&made[..i]))),
    }
}

fn tokens_of(made: Made) -> u32 {
    match made {
        Made::Role | Made::Opening => 0,
        Made::Text(n) | Made::Textless(n) => n,
    }
}

fn any_made() -> impl Strategy<Value = Made> {
    prop_oneof![
        1 => Just(Made::Role),
        1 => Just(Made::Opening),
        6 => (1u32..5).prop_map(Made::Text),
        2 => Just(Made::Textless(1)),
    ]
}

fn any_habit() -> impl Strategy<Value = Habit> {
    prop_oneof![
        Just(Habit::Never),
        Just(Habit::InEveryChunk),
        Just(Habit::OneBehind),
        (0u32..2).prop_map(Habit::StandsStill),
        (0usize..6).prop_map(Habit::UpTo),
        Just(Habit::Falls),
    ]
}

fn any_closing() -> impl Strategy<Value = Closing> {
    prop_oneof![Just(Closing::Nothing), Just(Closing::Total), Just(Closing::TotalInAChoice), Just(Closing::Zero)]
}

/// Chunks a nanosecond apart, the first at 1.
fn served(made: &[Made], habit: Habit, closing: Closing) -> TokenCounter {
    let mut counter = TokenCounter::default();
    for (i, chunk) in made.iter().enumerate() {
        let content = match chunk {
            Made::Role => ChunkContent::Nothing,
            Made::Opening | Made::Textless(_) => ChunkContent::EmptyText,
            Made::Text(_) => ChunkContent::Text,
        };
        let ends = i + 1 == made.len();
        counter.take(Offset::from_nanos(i as u64 + 1), content, count(habit, made, i), ends);
    }
    let total = made.iter().map(|m| tokens_of(*m)).sum();
    let end = Offset::from_nanos(1000);
    match closing {
        Closing::Nothing => {}
        Closing::Total => counter.take(end, ChunkContent::Nothing, Some(total), false),
        Closing::TotalInAChoice => counter.take(end, ChunkContent::EmptyText, Some(total), true),
        Closing::Zero => counter.take(end, ChunkContent::Nothing, Some(0), false),
    }
    counter
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_count_is_right_or_unknown_and_times_are_those_of_tokens(
        made in prop::collection::vec(any_made(), 1..12), habit in any_habit(), closing in any_closing(),
    ) {
        // Where counts are wrong beside an empty text, nothing can tell an opening from a token.
        let tell_apart = |m| match (m, habit) {
            (Made::Textless(n), Habit::OneBehind) => Made::Text(n),
            (Made::Opening, Habit::StandsStill(_) | Habit::Falls) => Made::Role,
            _ => m,
        };
        let made: Vec<Made> = made.into_iter().map(tell_apart).collect();
        let truth: u32 = made.iter().map(|m| tokens_of(*m)).sum();
        let counter = served(&made, habit, closing);
        let total = counter.total();
        // Of an answer without a token nothing is told but that it failed.
        prop_assert!(truth == 0 || total.is_none_or(|total| total == truth), "{total:?} of {truth}");
        let (chunks, known) = counter.finish();
        let at = |pick: &dyn Fn(&Made) -> bool| made.iter().position(pick).map(|i| i as u64 + 1);
        let text = at(&|m| matches!(m, Made::Text(_)));
        let token = at(&|m| tokens_of(*m) > 0);
        let first = chunks.first().map(|c| c.at.as_nanos());
        // The first text at the latest; before it only a token without text, and only where it was counted.
        prop_assert!(first <= text.or(Some(u64::MAX)) || first.is_none(), "{first:?}");
        prop_assert!(text.is_none() || first.is_some());
        prop_assert!(first.is_none() || first == text || (first == token && !matches!(habit, Habit::Never)), "{first:?}");
        prop_assert!(chunks.iter().all(|c| c.at.as_nanos() < 1000), "the closing chunk is no token");
        prop_assert!(chunks.is_sorted_by_key(|c| c.at));
        let texts = made.iter().filter(|m| matches!(m, Made::Text(_))).count();
        prop_assert!(chunks.len() >= texts);
        if known && matches!(habit, Habit::Never | Habit::InEveryChunk) {
            let sizes: u32 = chunks.iter().map(|c| c.tokens).sum();
            prop_assert_eq!(sizes, truth);
            for chunk in &chunks {
                let made = made[chunk.at.as_nanos() as usize - 1];
                prop_assert!(chunk.tokens >= tokens_of(made), "{chunk:?} {made:?}");
            }
        }
        if matches!(habit, Habit::InEveryChunk) && text.is_some() {
            prop_assert_eq!(total, Some(truth), "vLLM is always believed");
        }
    }

    #[test]
    fn no_counts_make_it_fail_or_hide_text(
        stream in prop::collection::vec(
            (
                prop::sample::select(vec![ChunkContent::Nothing, ChunkContent::EmptyText, ChunkContent::Text, ChunkContent::ToolCall]),
                prop::option::of(prop_oneof![0u32..20, Just(u32::MAX)]),
                any::<bool>(),
            ),
            0..30,
        ),
    ) {
        let mut counter = TokenCounter::default();
        for (i, (content, count, ends)) in stream.iter().enumerate() {
            counter.take(Offset::from_nanos(i as u64), *content, *count, *ends);
        }
        let first_text = stream.iter().position(|(content, ..)| content.is_generated()).map(|i| i as u64);
        let total = counter.total();
        let (chunks, _) = counter.finish();
        let first = chunks.first().map(|c| c.at.as_nanos());
        prop_assert!(first_text.is_none_or(|text| first.is_some_and(|first| first <= text)));
        let texts = stream.iter().filter(|(content, ..)| content.is_generated()).count();
        prop_assert!(chunks.len() >= texts && chunks.iter().all(|c| c.tokens > 0));
        prop_assert!(total.is_none_or(|total| total as usize >= texts));
    }
}
