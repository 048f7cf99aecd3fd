//! The two bodies of the KV hand-off, made from the client's one. Pure: bytes in, bytes out.
//!
//! The decode body is the client's own bytes with the params spliced in; nothing is re-serialised, so duplicate keys,
//! number spellings and escapes survive. The prefill body is rebuilt member by member from the client's raw values.
//! Deliberately absent: any knowledge of what the params hold. Their fields differ between vLLM versions.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

const PARAMS: &str = "kv_transfer_params";

/// What a prefill instance is asked for, beside the client's own members. `ignore_eos`: vLLM keeps the KV only of a
/// request that ended by length (`NixlConnectorScheduler.request_finished`), so a prompt answered by an immediate
/// end-of-sequence would come back without params. The token itself is thrown away, decode samples its own.
const PREFILL_MEMBERS: &str = concat!(
    r#""max_tokens":1,"stream":false,"n":1,"ignore_eos":true,"kv_transfer_params":{"do_remote_decode":true,"#,
    r#""do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null}}"#
);

/// The client's members that the prefill body leaves out: replaced by [`PREFILL_MEMBERS`], or able to end or refuse
/// a one-token answer.
const NOT_FOR_PREFILL: [&str; 12] = [
    PARAMS,
    "max_tokens",
    "max_completion_tokens",
    "stream",
    "stream_options",
    "min_tokens",
    "n",
    "best_of",
    "stop",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
];

/// The body is not a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request body is not a JSON object: {0}")]
pub struct NotAnObject(String);

/// What the request will be put through, hence what it may not ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Balance,
    HandOff,
}

/// A member of the request that cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unsupported {
    /// The member's name.
    pub param: &'static str,
    pub message: &'static str,
}

/// A request body, read once: its top-level members, values untouched.
#[derive(Debug)]
pub struct Inspected<'a> {
    body: &'a [u8],
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Inspected<'a> {
    pub fn new(body: &'a [u8]) -> Result<Self, NotAnObject> {
        let Members(members) = serde_json::from_slice(body).map_err(|error| NotAnObject(error.to_string()))?;
        Ok(Inspected { body, members })
    }

    /// Estimated prompt tokens, at least 1: the ids counted where the prompt is token ids, else a quarter of its bytes.
    pub fn prompt_tokens(&self) -> u64 {
        let Some(prompt) = self.prompt() else {
            return 1;
        };
        let prompt = prompt.get().trim_start_matches(['[', ' ', '\t', '\r', '\n']);
        let estimate = if prompt.starts_with(|first: char| first.is_ascii_digit()) {
            1 + memchr::memchr_iter(b',', prompt.as_bytes()).count()
        } else {
            prompt.len() / 4
        };
        (estimate as u64).max(1)
    }

    /// The first member that asks for more than one sequence, or, in a hand-off, for what makes decode compute the prompt again.
    pub fn unsupported(&self, route: Route) -> Result<(), Unsupported> {
        let refuse = |param, message| Err(Unsupported { param, message });
        if self.number("n") > 1.0 {
            return refuse("n", "n > 1 is not supported: send n separate requests");
        }
        if self.number("best_of") > 1.0 {
            return refuse("best_of", "best_of > 1 is not supported: send separate requests and pick on your side");
        }
        if self.is_true("use_beam_search") {
            return refuse("use_beam_search", "beam search is not supported: use sampling");
        }
        if self.prompts() > 1 {
            return refuse("prompt", "several prompts in one request are not supported: send one request a prompt");
        }
        if route == Route::Balance {
            return Ok(());
        }
        if self.is_true("echo") {
            return refuse("echo", "echo is not supported with KV hand-off: decode would compute the prompt again");
        }
        if self.get("prompt_logprobs").is_some_and(|value| !matches!(value.get(), "null" | "false")) {
            return refuse(
                "prompt_logprobs",
                "prompt_logprobs is not supported with KV hand-off: decode would compute the prompt again",
            );
        }
        if self.get(PARAMS).is_some_and(|value| value.get() != "null") {
            return refuse(PARAMS, "kv_transfer_params is the proxy's to set: leave it out");
        }
        Ok(())
    }

    /// The body for the prefill instance.
    pub fn prefill_body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + PREFILL_MEMBERS.len() + 32);
        out.push(b'{');
        for (key, value) in &self.members {
            if !NOT_FOR_PREFILL.contains(&key.as_ref()) {
                push_string(&mut out, key);
                out.push(b':');
                out.extend_from_slice(value.get().as_bytes());
                out.push(b',');
            }
        }
        if self.get("max_completion_tokens").is_some() {
            out.extend_from_slice(br#""max_completion_tokens":1,"#);
        }
        out.extend_from_slice(PREFILL_MEMBERS.as_bytes());
        out
    }

    /// Where the params go into the client's bytes to make the decode body.
    pub fn splice(&self) -> Splice {
        // A null member is filled in place: a second member of that name would leave the choice to the parser.
        if let Some(null) = self.get(PARAMS) {
            let start = null.get().as_ptr() as usize - self.body.as_ptr() as usize;
            return Splice { replaced: start..start + null.get().len(), label: "" };
        }
        let close = memchr::memrchr(b'}', self.body).unwrap_or(self.body.len());
        Splice {
            replaced: close..close,
            label: if self.members.is_empty() { r#""kv_transfer_params":"# } else { r#","kv_transfer_params":"# },
        }
    }

    fn prompt(&self) -> Option<&'a RawValue> {
        self.get("prompt").or_else(|| self.get("messages"))
    }

    /// Where the prompt stands in the body; nowhere if there is none.
    pub fn prompt_place(&self) -> Range<usize> {
        let Some(prompt) = self.prompt() else { return 0..0 };
        let start = prompt.get().as_ptr() as usize - self.body.as_ptr() as usize;
        start..start + prompt.get().len()
    }

    /// The last of that name wins, as in Python's parser.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().rev().find_map(|(key, value)| (key == name).then_some(*value))
    }

    fn number(&self, name: &str) -> f64 {
        self.get(name).and_then(|value| value.get().parse().ok()).unwrap_or(0.0)
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get() == "true")
    }

    /// Prompts in the request. A flat list of integers is one prompt of token ids.
    fn prompts(&self) -> usize {
        let Some(prompt) = self.get("prompt") else {
            return 1;
        };
        let inside = prompt.get().strip_prefix('[').map(str::trim_start);
        match inside.and_then(|inside| inside.chars().next()) {
            Some('"' | '[' | '{') => serde_json::from_str::<Vec<&RawValue>>(prompt.get()).map_or(1, |list| list.len()),
            _ => 1,
        }
    }
}

/// A place in the client's body, and what to write there before the params.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    replaced: Range<usize>,
    label: &'static str,
}

impl Splice {
    /// The pieces of the decode body, to be written one after another; none is copied.
    pub fn pieces(&self, body: &Bytes, params: KvParams) -> [Bytes; 4] {
        [
            body.slice(..self.replaced.start),
            Bytes::from_static(self.label.as_bytes()),
            params.0,
            body.slice(self.replaced.end..),
        ]
    }
}

/// The opaque object a prefill instance answered with. It has one consumer: neither `Clone` nor used twice.
#[derive(Debug)]
pub struct KvParams(pub(crate) Bytes);

/// Why a prefill instance's 200 cannot be handed to a decode instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoParams {
    #[error("its answer is not the JSON of a completion: {0}")]
    NotJson(String),
    #[error(
        "its answer holds no kv_transfer_params (absent, null or empty): is it started with --kv-transfer-config and a \
         producer role?"
    )]
    Missing,
}

impl KvParams {
    /// Takes the params out of a prefill instance's answer, without copying.
    pub fn from_answer(answer: &Bytes) -> Result<Self, NoParams> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            kv_transfer_params: Option<&'a RawValue>,
        }
        let parsed: Answer = serde_json::from_slice(answer).map_err(|error| NoParams::NotJson(error.to_string()))?;
        let raw = parsed.kv_transfer_params.map_or("null", RawValue::get);
        let members = raw.strip_prefix('{').map(str::trim_start);
        // vLLM takes an empty object for none at all, and computes the prompt again without a word.
        if members.is_none_or(|members| members.starts_with('}')) {
            return Err(NoParams::Missing);
        }
        Ok(KvParams(answer.slice_ref(raw.as_bytes())))
    }
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests;
