//! ShareGPT's JSON, conversation by conversation: the file is 600 MB, what a benchmark sends of it far less.

use super::error::WorkloadError;
use super::rows;
use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};
use std::path::Path;

#[derive(Deserialize)]
pub(super) struct Conversation {
    #[serde(default)]
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    from: String,
    value: String,
}

impl Conversation {
    /// Questions with the answers right after them, from the first human turn on, as long as the two take turns.
    pub(super) fn exchanges(self) -> impl Iterator<Item = (String, String)> {
        let is_human = |t: &Turn| matches!(t.from.as_str(), "human" | "user");
        let mut turns = self.conversations.into_iter().skip_while(move |t| !is_human(t));
        std::iter::from_fn(move || {
            let question = turns.next().filter(is_human)?;
            let answer = turns.next().filter(|t| !is_human(t))?;
            Some((question.value, answer.value))
        })
    }
}

/// Calls `each` with every conversation and its position in the file, from 1.
pub(super) fn for_each(path: &Path, each: &mut dyn FnMut(u64, Conversation)) -> Result<(), WorkloadError> {
    struct Each<'a>(&'a mut dyn FnMut(u64, Conversation));

    impl<'de> Visitor<'de> for Each<'_> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array of conversations")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            let mut position = 0;
            while let Some(conversation) = seq.next_element()? {
                position += 1;
                (self.0)(position, conversation);
            }
            Ok(())
        }
    }

    let mut json = serde_json::Deserializer::from_reader(rows::open(path)?);
    serde::Deserializer::deserialize_seq(&mut json, Each(each)).map_err(|e| WorkloadError::Row {
        path: path.into(),
        line: e.line() as u64,
        problem: e.to_string(),
        remedy: "expected ShareGPT's JSON: [{\"conversations\": [{\"from\": \"human\", \"value\": ..}, ..]}, ..]",
    })
}
