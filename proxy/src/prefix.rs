//! Which backend has seen the beginning of a prompt: consistent hashing with bounded loads (Mirrokni, Thorup and
//! Zadimoghaddam, 2018). Pure: bytes and loads in, an index out.
//!
//! Prompts that begin alike go to one backend, whose prefix cache then holds what they share. A backend that has more
//! than its part of the outstanding prompt tokens is passed over for the next one on the ring, always the same one, so
//! that a beginning that many share is soon cached there as well. Nothing is remembered of requests: a restart of the
//! proxy, or a backend that comes back, changes no key's place.

use std::borrow::Cow;

use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::load::Load;

/// Places of each backend on the ring. With 160 of them the largest share is some 15 % above the mean.
const PLACES: u64 = 160;
/// A backend may have so many times the mean of outstanding prompt tokens.
const BOUND: f64 = 1.25;
/// Bytes of a token of text, about.
const BYTES_PER_TOKEN: usize = 4;

/// Backends on a circle of hashes.
#[derive(Debug)]
pub(crate) struct Ring(Vec<(u64, usize)>);

impl Ring {
    pub(crate) fn new(backends: usize) -> Self {
        // By number, not by address: ports differ from launch to launch, and a key has to keep its place.
        let place = |backend: usize| move |copy| (mix(mix(backend as u64) ^ copy), backend);
        let mut places: Vec<_> = (0..backends).flat_map(|backend| (0..PLACES).map(place(backend))).collect();
        places.sort_unstable();
        Ring(places)
    }

    /// Every backend once, in the order in which the key meets them.
    fn from(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = self.0.partition_point(|(place, _)| *place < key);
        let mut met = Vec::new();
        self.0[start..].iter().chain(&self.0[..start]).filter_map(move |(_, backend)| {
            let new = !met.contains(backend);
            met.extend(new.then_some(*backend));
            new.then_some(*backend)
        })
    }

    /// The first backend on the key's way that is available and has room for so many more prompt tokens.
    pub(crate) fn choose(&self, loads: &[Load], key: u64, tokens: u64) -> Option<usize> {
        let open = || loads.iter().filter(|load| load.available);
        let outstanding: u64 = open().map(|load| load.tokens).sum::<u64>() + tokens;
        // The least loaded has the mean at most, so there is always one.
        let most = BOUND * outstanding as f64 / open().count() as f64;
        self.from(key).find(|&index| loads[index].available && loads[index].tokens as f64 <= most)
    }
}

/// The part of a prompt that decides where it goes: its first tokens, given the value of a body's `prompt` or
/// `messages`. Of a chat never more than what stands up to its first question: all turns of a conversation then go the
/// same way, however short it began.
pub(crate) fn beginning(prompt: &[u8], tokens: u32) -> &[u8] {
    let tokens = tokens as usize;
    let inside = prompt.strip_prefix(b"[").map(<[u8]>::trim_ascii_start).unwrap_or_default();
    let end = match inside.first() {
        Some(first) if first.is_ascii_digit() => memchr::memchr_iter(b',', prompt).nth(tokens.saturating_sub(1)),
        Some(b'{') => Some(first_question(prompt).unwrap_or(prompt.len()).min(tokens * BYTES_PER_TOKEN)),
        _ => Some(tokens * BYTES_PER_TOKEN),
    };
    &prompt[..end.unwrap_or(prompt.len()).min(prompt.len())]
}

/// Where the first message of a user ends.
fn first_question(messages: &[u8]) -> Option<usize> {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        role: Cow<'a, str>,
    }
    let all: Vec<&RawValue> = serde_json::from_slice(messages).ok()?;
    let is_user =
        |message: &RawValue| serde_json::from_str::<Said>(message.get()).is_ok_and(|said| said.role == "user");
    let question = all.into_iter().find(|message| is_user(message))?.get();
    Some(question.as_ptr() as usize + question.len() - messages.as_ptr() as usize)
}

/// FNV-1a, stirred: the ring needs all bits to depend on all bytes.
pub(crate) fn key(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

fn mix(value: u64) -> u64 {
    SplitMix64::seed_from_u64(value).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(tokens: u64) -> Load {
        Load { available: true, requests: 0, tokens }
    }

    #[test]
    fn a_prompt_is_known_by_its_first_tokens() {
        let text = |prompt: &'static str, tokens| std::str::from_utf8(beginning(prompt.as_bytes(), tokens)).unwrap();
        assert_eq!(text("[11, 22,33,44]", 2), "[11, 22");
        assert_eq!(text("[11,22]", 9), "[11,22]");
        assert_eq!(text(r#""abcdefgh and more""#, 2), r#""abcdefg"#);
        assert_eq!(text("", 2), "");
    }

    #[test]
    fn all_turns_of_a_chat_begin_alike_however_short_the_first_was() {
        let system = r#"{"role":"system","content":"be kind"}"#;
        let question = r#"{"content":"why?","role":"user"}"#;
        let first = format!("[{system}, {question}]");
        let later =
            format!(r#"[{system}, {question},{{"role":"assistant","content":"so"}},{{"role":"user","content":"oh"}}]"#);
        let other = format!(r#"[{system}, {{"role":"user","content":"who?"}}]"#);
        let begins = |chat: &str| beginning(chat.as_bytes(), 1024).to_vec();
        assert_eq!(begins(&first), begins(&later));
        assert_ne!(begins(&first), begins(&other));
        assert_eq!(beginning(first.as_bytes(), 4).len(), 16, "and no longer than asked for");
    }

    #[test]
    fn keys_are_spread_over_the_backends() {
        let ring = Ring::new(4);
        let mut counts = [0u32; 4];
        for prompt in 0..20_000u32 {
            counts[ring.choose(&[load(0); 4], key(&prompt.to_le_bytes()), 1).unwrap()] += 1;
        }
        assert!(counts.iter().all(|n| (3500..6500).contains(n)), "{counts:?}");
    }

    proptest! {
        /// What consistent hashing is for: a backend that leaves takes its own keys along and moves no other.
        #[test]
        fn only_the_keys_of_a_backend_that_is_gone_move(backends in 2usize..9, gone in 0usize..9, keys in prop::collection::vec(any::<u64>(), 1..60)) {
            let (ring, gone) = (Ring::new(backends), gone % backends);
            let all = vec![load(0); backends];
            let mut left = all.clone();
            left[gone].available = false;
            for key in keys {
                let (before, after) = (ring.choose(&all, key, 1), ring.choose(&left, key, 1));
                if before == Some(gone) {
                    prop_assert!(after.is_some() && after != Some(gone));
                } else {
                    prop_assert_eq!(before, after);
                }
            }
        }

        /// However alike all prompts are, no backend gets far above its part.
        #[test]
        fn the_load_stays_bounded(backends in 1usize..9, prompts in prop::collection::vec((0u64..3, 1u64..2000), 1..120)) {
            let ring = Ring::new(backends);
            let mut loads = vec![load(0); backends];
            for (beginning, tokens) in prompts {
                let before: u64 = loads.iter().map(|load| load.tokens).sum();
                let chosen = ring.choose(&loads, mix(beginning), tokens);
                let chosen = chosen.expect("the least loaded always has room");
                let most = BOUND * (before + tokens) as f64 / backends as f64;
                prop_assert!(loads[chosen].tokens as f64 <= most);
                loads[chosen].tokens += tokens;
            }
        }

        /// A larger fleet takes keys from the others and gives none to them.
        #[test]
        fn a_new_backend_only_takes(backends in 1usize..8, keys in prop::collection::vec(any::<u64>(), 1..60)) {
            let (small, large) = (Ring::new(backends), Ring::new(backends + 1));
            for key in keys {
                let before = small.choose(&vec![load(0); backends], key, 1);
                let after = large.choose(&vec![load(0); backends + 1], key, 1);
                prop_assert!(after == before || after == Some(backends));
            }
        }

        #[test]
        fn any_bytes_have_a_beginning(prompt in prop::collection::vec(any::<u8>(), 0..80), tokens in 0u32..40) {
            prop_assert!(prompt.starts_with(beginning(&prompt, tokens)));
        }
    }
}
