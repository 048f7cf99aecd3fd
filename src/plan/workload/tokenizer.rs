//! The model's tokenizer: found on this machine, never downloaded.

use super::{ranks, sentence_piece};
use crate::files;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::{Path, PathBuf};

/// Bytes of a tokenizer's file; those of large vocabularies take some twenty million.
const LARGEST: u64 = 512 << 20;
/// How many words a text alphabet needs: fewer, and prompts would resemble each other.
const ENOUGH_WORDS: usize = 64;
/// How many words a text alphabet takes at most: scanning 150k tokens of a large vocabulary would cost seconds.
const MANY_WORDS: usize = 4096;

/// A tokenizer that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error(
        "no tokenizer `{spec}`: looked for {}; give a directory with tokenizer.json, tekken.json or a tiktoken file, the file itself, or an id in the Hugging Face cache",
        shown(looked)
    )]
    NotFound { spec: String, looked: Vec<PathBuf> },
    #[error(
        "tokenizer {origin} is unreadable: {detail}; it must be a Hugging Face tokenizer.json, Mistral's tekken.json, a tiktoken file or a SentencePiece model"
    )]
    Unreadable { origin: String, detail: String },
    #[error(
        "tokenizer {origin} has only {found} words that survive being joined and split again, too few for random text of exact length; use /v1/completions, which takes token ids"
    )]
    FewWords { origin: String, found: usize },
}

fn shown(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
    shown.join(", ")
}

/// A loaded tokenizer and where it came from.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    origin: String,
}

/// Words of one token each, that stay one token each wherever they stand in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) words: Vec<Box<str>>,
    /// Whether a text begins with a space: byte-level vocabularies only know most words with the space before them.
    pub(super) leading_space: bool,
}

/// Tokenizers built into the program, by name.
pub fn embedded(name: &str) -> Option<&'static [u8]> {
    (name == "enginesim").then_some(include_bytes!("../../../topologies/tokenizers/small-bpe.json"))
}

impl Tokenizer {
    /// Whether [`Tokenizer::load`] would find one.
    pub fn is_here(spec: &str) -> bool {
        embedded(spec).is_some() || locate(spec, hub_cache().as_deref()).is_ok()
    }

    /// `spec`: the name of an embedded tokenizer, a tokenizer's file, a directory that holds one, or a Hugging Face id in
    /// the local cache (`HF_HUB_CACHE`, `HF_HOME/hub`, `~/.cache/huggingface/hub`).
    pub fn load(spec: &str) -> Result<Self, TokenizerError> {
        if let Some(bytes) = embedded(spec) {
            return Self::parse(bytes, format!("{spec} (embedded)"));
        }
        let path = locate(spec, hub_cache().as_deref())?;
        let origin = path.display().to_string();
        let bytes = files::read(&path, LARGEST)
            .map_err(|e| TokenizerError::Unreadable { origin: origin.clone(), detail: e.to_string() })?;
        Self::parse(&bytes, origin)
    }

    fn parse(bytes: &[u8], origin: String) -> Result<Self, TokenizerError> {
        let parsed = match () {
            () if sentence_piece::is_sentence_piece(bytes) => {
                sentence_piece::into_json(bytes, begins_prompts(Path::new(&origin))).and_then(|json| whole(&json))
            }
            () if ranks::is_tiktoken(bytes) => ranks::of_tiktoken(bytes).and_then(|json| whole(&json)),
            () if is_tekken(bytes) => ranks::of_tekken(bytes).and_then(|json| whole(&json)),
            () => whole(bytes),
        };
        match parsed {
            Ok(inner) => Ok(Tokenizer { inner, origin }),
            Err(detail) => Err(TokenizerError::Unreadable { origin, detail }),
        }
    }

    /// File or name it was loaded from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Length of a text as a server counts it, special tokens included.
    pub fn count(&self, text: &str) -> u32 {
        self.encode(text, true).map_or(0, |ids| u32::try_from(ids.len()).unwrap_or(u32::MAX))
    }

    /// Length of a text as a model generates it, without special tokens.
    pub fn count_plain(&self, text: &str) -> u32 {
        self.encode(text, false).map_or(0, |ids| u32::try_from(ids.len()).unwrap_or(u32::MAX))
    }

    /// The text's beginning, of `tokens` tokens at most.
    pub fn clip(&self, text: &str, tokens: u32) -> String {
        let ids = self.encode(text, false).unwrap_or_default();
        let kept = &ids[..ids.len().min(tokens as usize)];
        self.inner.decode(kept, true).unwrap_or_default()
    }

    /// Ids that are no special or added token, ascending.
    pub fn ordinary_ids(&self) -> Vec<u32> {
        let added = self.inner.get_added_tokens_decoder();
        let mut ids: Vec<u32> =
            self.inner.get_vocab(false).into_values().filter(|id| !added.contains_key(id)).collect();
        ids.sort_unstable();
        ids
    }

    fn encode(&self, text: &str, special: bool) -> Option<Vec<u32>> {
        self.inner.encode_fast(text, special).ok().map(|e| e.get_ids().to_vec())
    }

    /// Words from which a text of an exact number of tokens can be joined.
    pub(super) fn words(&self) -> Result<Words, TokenizerError> {
        let candidates: Vec<String> = self.ordinary_ids().iter().filter_map(|id| self.word(*id)).collect();
        let mut found = 0;
        for leading_space in [true, false] {
            let mut words: Vec<Box<str>> = Vec::new();
            for word in &candidates {
                let twice = if leading_space { format!(" {word} {word}") } else { format!("{word} {word}") };
                if self.encode(&twice, false).is_some_and(|ids| ids.len() == 2 && ids[0] == ids[1]) {
                    words.push(word.as_str().into());
                }
                if words.len() == MANY_WORDS {
                    break;
                }
            }
            found = found.max(words.len());
            if words.len() >= ENOUGH_WORDS {
                return Ok(Words { words, leading_space });
            }
        }
        Err(TokenizerError::FewWords { origin: self.origin.clone(), found })
    }

    /// The word of a token that begins one: `Ġword` in byte-level vocabularies, `▁word` in SentencePiece's.
    fn word(&self, id: u32) -> Option<String> {
        let token = self.inner.id_to_token(id)?;
        let word = token.strip_prefix('\u{120}').or_else(|| token.strip_prefix('\u{2581}'))?;
        (word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase())).then(|| word.to_string())
    }
}

fn whole(json: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    tokenizers::Tokenizer::from_bytes(json).map_err(|e| e.to_string())
}

/// Which fields a tokenizer in JSON has.
#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    model: Option<IgnoredAny>,
}

fn is_tekken(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Fields>(bytes).is_ok_and(|fields| fields.config.is_some() && fields.model.is_none())
}

/// Whether a server puts `<s>` before each prompt, as the model's settings beside its tokenizer say.
fn begins_prompts(tokenizer: &Path) -> bool {
    let settings = files::read(&tokenizer.with_file_name("tokenizer_config.json"), LARGEST);
    let settings = settings.ok().and_then(|bytes| serde_json::from_slice::<TokenizerConfig>(&bytes).ok());
    settings.is_some_and(|settings| settings.add_bos_token)
}

#[derive(Deserialize)]
struct TokenizerConfig {
    #[serde(default)]
    add_bos_token: bool,
}

/// Files that hold a tokenizer, those that say the most first.
const FILES: [&str; 5] = ["tokenizer.json", "tekken.json", "tiktoken.model", "tokenizer.model", "spiece.model"];

/// The tokenizer's file in a model's directory.
fn in_folder(dir: &Path) -> Option<PathBuf> {
    let named = FILES.iter().map(|name| dir.join(name)).find(|file| file.is_file());
    named.or_else(|| {
        let files = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
        files.filter(|file| file.extension().is_some_and(|end| end == "tiktoken") && file.is_file()).min()
    })
}

fn hub_cache() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("HF_HUB_CACHE")
        .or_else(|| var("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| var("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

fn locate(spec: &str, hub: Option<&Path>) -> Result<PathBuf, TokenizerError> {
    let given = Path::new(spec);
    // What is there and no folder is what was meant: a pipe or a device is refused when it is opened.
    if given.exists() && !given.is_dir() {
        return Ok(given.to_path_buf());
    }
    if let Some(file) = in_folder(given) {
        return Ok(file);
    }
    let mut looked = vec![given.to_path_buf(), given.join("tokenizer.json")];
    let Some(hub) = hub else { return Err(TokenizerError::NotFound { spec: spec.into(), looked }) };
    let repository = hub.join(format!("models--{}", spec.replace('/', "--")));
    let cached = snapshots(&repository).iter().find_map(|dir| in_folder(dir));
    looked.push(repository.join("snapshots/*/tokenizer.json"));
    cached.ok_or_else(|| TokenizerError::NotFound { spec: spec.into(), looked })
}

/// Snapshots of a cached repository: the one that `main` names first, then the others by name.
fn snapshots(repository: &Path) -> Vec<PathBuf> {
    let dir = repository.join("snapshots");
    let main = std::fs::read_to_string(repository.join("refs/main")).ok();
    let mut others: Vec<PathBuf> =
        std::fs::read_dir(&dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    others.sort();
    main.map(|commit| dir.join(commit.trim())).into_iter().chain(others).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A byte-level BPE with `words` words, two specials and the letters.
    pub(crate) fn byte_level(words: usize) -> Tokenizer {
        let mut vocab = serde_json::Map::new();
        let mut merges = Vec::new();
        let mut add = |token: &str| {
            let id = vocab.len();
            vocab.entry(token.to_string()).or_insert(id.into());
        };
        add("<|end|>");
        add("\u{120}");
        ('a'..='z').for_each(|c| add(&c.to_string()));
        for i in 0..words {
            let (a, b) = (char::from(b'a' + (i % 26) as u8), char::from(b'a' + (i / 26 % 26) as u8));
            for (left, right) in [("\u{120}".to_string(), a.to_string()), (format!("\u{120}{a}"), b.to_string())] {
                add(&format!("{left}{right}"));
                let merge = serde_json::json!([left, right]);
                if !merges.contains(&merge) {
                    merges.push(merge);
                }
            }
        }
        let json = serde_json::json!({
            "version": "1.0",
            "added_tokens": [{"id": 0, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
                              "normalized": false, "special": true}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "vocab": vocab, "merges": merges}
        });
        Tokenizer::parse(json.to_string().as_bytes(), "test".into()).expect("parses")
    }

    #[test]
    fn special_tokens_are_never_ordinary() {
        let ids = byte_level(100).ordinary_ids();
        assert!(!ids.contains(&0));
        assert!(ids.is_sorted() && ids.len() > 100);
    }

    #[test]
    fn words_joined_have_exactly_as_many_tokens() {
        let tokenizer = byte_level(200);
        let Words { words, leading_space } = tokenizer.words().expect("enough words");
        assert!(leading_space);
        let text: String = words.iter().rev().map(|w| format!(" {w}")).collect();
        assert_eq!(tokenizer.count(&text) as usize, words.len());
        assert_eq!(tokenizer.count(&tokenizer.clip(&text, 7)), 7);
        assert!(matches!(byte_level(10).words(), Err(TokenizerError::FewWords { found: 10, .. })));
    }

    /// Models and ids that the sentencepiece library of Python made: both kinds, spaces kept and spaces cleaned, on texts that
    /// try what a model has no piece for.
    #[test]
    fn sentence_piece_models_cut_as_their_own_library_does() {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
        let told = std::fs::read(place.join("sentencepiece.json")).expect("recorded");
        let told: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
        for model in ["bpe.model", "unigram.model"] {
            let tokenizer = Tokenizer::load(&place.join(model).display().to_string()).expect("reads");
            for case in told[model].as_array().expect("cases") {
                let text = case["text"].as_str().expect("a text");
                let ids: Vec<u64> = tokenizer.encode(text, true).expect("cut").into_iter().map(u64::from).collect();
                assert_eq!(serde_json::json!(ids), case["ids"], "{model}: {text:?}");
            }
            assert!(tokenizer.words().is_ok(), "{model}");
        }
    }

    #[test]
    fn a_folder_may_hold_a_tokenizer_of_any_kind() {
        let dir = tempfile::tempdir().expect("tempdir");
        let spec = dir.path().display().to_string();
        std::fs::write(dir.path().join("tokenizer.model"), b"\x0a\x0e\x0a\x05<unk>").expect("written");
        let refused = Tokenizer::load(&spec).err().expect("cut off").to_string();
        assert!(refused.contains("tokenizer.model is unreadable: it ends in the middle"), "{refused}");
        std::fs::remove_file(dir.path().join("tokenizer.model")).expect("removed");
        assert!(!Tokenizer::is_here(&spec));
        std::fs::write(dir.path().join("my.tiktoken"), "YQ== 0\nYg== 1\nYWI= 2\n").expect("written");
        assert!(Tokenizer::is_here(&spec));
        let tokenizer = Tokenizer::load(&spec).expect("ranks");
        assert!(tokenizer.origin().ends_with("my.tiktoken"));
        assert_eq!((tokenizer.count("ab"), tokenizer.count("ba")), (1, 2));
        let refused = Tokenizer::load("/dev/zero").err().expect("a device").to_string();
        assert!(refused.contains("a device"), "{refused}");
    }

    #[test]
    fn the_snapshot_that_main_names_wins() {
        let hub = tempfile::tempdir().expect("tempdir");
        let repository = hub.path().join("models--org--model");
        for commit in ["aaa", "bbb"] {
            let dir = repository.join("snapshots").join(commit);
            std::fs::create_dir_all(&dir).expect("mkdir");
            std::fs::write(dir.join("tokenizer.json"), "{}").expect("write");
        }
        let found = || locate("org/model", Some(hub.path())).expect("found");
        assert!(found().ends_with("snapshots/aaa/tokenizer.json"));
        std::fs::create_dir_all(repository.join("refs")).expect("mkdir");
        std::fs::write(repository.join("refs/main"), "bbb\n").expect("write");
        assert!(found().ends_with("snapshots/bbb/tokenizer.json"));
        let missing = locate("org/other", Some(hub.path())).expect_err("not cached").to_string();
        assert!(missing.contains("org/other") && missing.contains("models--org--other"), "{missing}");
    }
}
