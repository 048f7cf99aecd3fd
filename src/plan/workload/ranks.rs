//! Tokenizers that are written as byte sequences in order of rank: tiktoken's files (OpenAI's, Qwen's, Llama 3's
//! tokenizer.model, Kimi's tiktoken.model) and Mistral's tekken.json.
//!
//! Both become what a tokenizer.json of the same vocabulary holds. Which two tokens merge into a third is not written
//! down: it follows from the ranks, by encoding each token with those of lower rank.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// How OpenAI's cl100k_base, and nearly everything after it, splits a text before it looks tokens up.
const SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Vocabularies larger than this split as o200k_base does: where a word goes on in capitals, too.
const LARGE: usize = 180_000;
const SPLIT_LARGE: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Longer tokens are none: the longest in use are runs of some hundred spaces.
const LONGEST: usize = 4096;

/// Tokens in order of rank, with their numbers.
struct Ranks {
    tokens: Vec<(Vec<u8>, u32)>,
    special: Vec<(String, u32)>,
    split: String,
}

/// Whether a file consists of lines like `IQ== 0`.
pub(super) fn is_tiktoken(start: &[u8]) -> bool {
    let line = start.split(|b| *b == b'\n').next().unwrap_or_default();
    std::str::from_utf8(line).is_ok_and(|line| rank_of(line).is_some())
}

/// A file of tiktoken's as tokenizer.json.
///
/// # Errors
/// In words, with the line.
pub(super) fn of_tiktoken(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_string())?;
    let mut tokens = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        tokens.push(rank_of(line).ok_or_else(|| format!("line {number} is not a token in base64 and its rank"))?);
    }
    let split = if tokens.len() > LARGE { SPLIT_LARGE } else { SPLIT };
    Ranks { tokens, special: Vec::new(), split: split.to_string() }.into_json()
}

fn rank_of(line: &str) -> Option<(Vec<u8>, u32)> {
    let (token, rank) = line.trim_end().split_once(' ')?;
    let bytes = STANDARD.decode(token).ok().filter(|bytes| !bytes.is_empty() && bytes.len() <= LONGEST)?;
    Some((bytes, rank.parse().ok()?))
}

#[derive(Deserialize)]
struct Tekken {
    config: TekkenConfig,
    vocab: Vec<TekkenToken>,
    #[serde(default)]
    special_tokens: Option<Vec<TekkenToken>>,
}

#[derive(Deserialize)]
struct TekkenConfig {
    pattern: String,
    default_vocab_size: usize,
    #[serde(default)]
    default_num_special_tokens: u32,
}

#[derive(Deserialize)]
struct TekkenToken {
    rank: u32,
    #[serde(default)]
    token_bytes: Option<String>,
    #[serde(default)]
    token_str: Option<String>,
}

/// A tekken.json as tokenizer.json. Its special tokens come first.
///
/// # Errors
/// In words.
pub(super) fn of_tekken(text: &[u8]) -> Result<Vec<u8>, String> {
    let Tekken { config, vocab, special_tokens } = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let first = config.default_num_special_tokens;
    let used = config.default_vocab_size.saturating_sub(first as usize);
    let mut tokens = Vec::new();
    for token in vocab.into_iter().take(used) {
        let bytes = token.token_bytes.as_deref().and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.filter(|bytes| !bytes.is_empty() && bytes.len() <= LONGEST);
        let bytes = bytes.ok_or_else(|| format!("the token of rank {} has no bytes", token.rank))?;
        tokens.push((bytes, token.rank.saturating_add(first)));
    }
    let special = special_tokens.into_iter().flatten().filter(|token| token.rank < first);
    let special = special.filter_map(|token| Some((token.token_str?, token.rank))).collect();
    Ranks { tokens, special, split: config.pattern }.into_json()
}

impl Ranks {
    fn into_json(mut self) -> Result<Vec<u8>, String> {
        if self.tokens.is_empty() {
            return Err("it holds no tokens".to_string());
        }
        self.tokens.sort_by_key(|(_, rank)| *rank);
        let ranks: HashMap<&[u8], u32> = self.tokens.iter().map(|(bytes, rank)| (bytes.as_slice(), *rank)).collect();
        let merges = self.tokens.iter().filter_map(|(bytes, rank)| halves(bytes, *rank, &ranks));
        let merges: Vec<[String; 2]> = merges.map(|(a, b)| [printable(a), printable(b)]).collect();
        let mut vocab: Map<String, Value> =
            self.tokens.iter().map(|(bytes, rank)| (printable(bytes), Value::from(*rank))).collect();
        let added = |(content, id): &(String, u32)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        };
        let added_tokens: Vec<Value> = self.special.iter().map(added).collect();
        vocab.extend(self.special.into_iter().map(|(content, id)| (content, Value::from(id))));
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let split = json!({"type": "Split", "pattern": {"Regex": self.split}, "behavior": "Isolated", "invert": false});
        let whole = json!({
            "version": "1.0",
            "added_tokens": added_tokens,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes]},
            "decoder": bytes,
            "model": {"type": "BPE", "ignore_merges": true, "vocab": vocab, "merges": merges},
        });
        serde_json::to_vec(&whole).map_err(|e| e.to_string())
    }
}

/// The two tokens that merge into this one: what is left of it when only tokens of lower rank are known.
fn halves<'a>(token: &'a [u8], rank: u32, ranks: &HashMap<&[u8], u32>) -> Option<(&'a [u8], &'a [u8])> {
    let mut cuts: Vec<usize> = (0..=token.len()).collect();
    while cuts.len() > 3 {
        let pairs = cuts.windows(3).enumerate();
        let known = pairs.filter_map(|(i, cut)| Some((*ranks.get(&token[cut[0]..cut[2]])?, i)));
        let (_, lowest) = known.filter(|(found, _)| *found < rank).min()?;
        cuts.remove(lowest + 1);
    }
    let middle = *cuts.get(1).filter(|_| cuts.len() == 3)?;
    Some((&token[..middle], &token[middle..]))
}

/// Bytes as the characters that byte-level vocabularies have for them: those that can be printed for themselves, the
/// others from U+0100 on.
fn printable(bytes: &[u8]) -> String {
    let own = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let stand_in = |byte: u8| (0..byte).filter(|b| !own(*b)).count() as u32 + 0x100;
    bytes.iter().filter_map(|&b| if own(b) { Some(char::from(b)) } else { char::from_u32(stand_in(b)) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::Tokenizer;

    /// All bytes, then words made of two tokens each.
    const WORDS: [&str; 8] = ["he", "ll", "hell", "hello", " w", " wo", "rld", " world"];

    fn tokens() -> Vec<Vec<u8>> {
        let bytes = (0..=255u8).map(|b| vec![b]);
        bytes.chain([b"rl".to_vec()]).chain(WORDS.iter().map(|w| w.as_bytes().to_vec())).collect()
    }

    fn tiktoken() -> String {
        let line = |(rank, token): (usize, Vec<u8>)| format!("{} {rank}\n", STANDARD.encode(token));
        tokens().into_iter().enumerate().map(line).collect()
    }

    fn tekken() -> String {
        let token = |(rank, bytes): (usize, Vec<u8>)| json!({"rank": rank, "token_bytes": STANDARD.encode(bytes)});
        let vocab: Vec<Value> = tokens().into_iter().enumerate().map(token).collect();
        let size = vocab.len() + 2;
        let config = json!({"pattern": SPLIT, "default_vocab_size": size, "default_num_special_tokens": 2});
        let special = json!([{"rank": 0, "token_str": "<unk>"}, {"rank": 1, "token_str": "<s>"}]);
        json!({"config": config, "vocab": vocab, "special_tokens": special}).to_string()
    }

    fn ids(json: Vec<u8>, text: &str) -> Vec<u32> {
        let tokenizer = Tokenizer::from_bytes(json).expect("a tokenizer");
        tokenizer.encode(text, false).expect("encodes").get_ids().to_vec()
    }

    #[test]
    fn a_text_is_cut_as_the_ranks_say() {
        assert!(is_tiktoken(tiktoken().as_bytes()));
        let found = ids(of_tiktoken(tiktoken().as_bytes()).expect("ranks"), "hello world, hell\u{e9}");
        // `hello`, ` world`, `,`, ` `, `hell`, two bytes.
        assert_eq!(found, [260, 264, 44, 32, 259, 195, 169]);
        let shifted: Vec<u32> = found.iter().map(|id| id + 2).collect();
        assert_eq!(ids(of_tekken(tekken().as_bytes()).expect("ranks"), "hello world, hell\u{e9}"), shifted);
    }

    #[test]
    fn what_is_decoded_is_what_was_encoded() {
        let tokenizer = Tokenizer::from_bytes(of_tiktoken(tiktoken().as_bytes()).expect("ranks")).expect("a tokenizer");
        let text = "hello\r\n\tworld  \u{1f642} 12345 it's";
        let ids = tokenizer.encode(text, false).expect("encodes").get_ids().to_vec();
        assert_eq!(tokenizer.decode(&ids, false).expect("decodes"), text);
    }

    #[test]
    fn damage_is_told_with_its_place() {
        assert!(!is_tiktoken(b"\x0a\x0e\x0a\x05<unk>"));
        assert!(!is_tiktoken(b"{\"version\": 1}"));
        assert!(of_tiktoken(b"IQ== 0\nIg==\n").expect_err("no rank").contains("line 2"));
        assert!(of_tiktoken(b"\n").expect_err("empty").contains("no tokens"));
        assert!(of_tekken(b"{}").is_err());
    }
}
