//! SentencePiece models (`tokenizer.model`, `spiece.model`) as what a tokenizer.json of the same vocabulary holds.
//!
//! The file is a protocol buffer of three messages, of which little is needed: too little for a library of that format. How a
//! text is cut is then the tokenizers crate's work, set up as transformers converts such models, so that lengths are the server's.

use super::wire::{self, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;

/// What stands for a space in pieces.
const SPACE: &str = "\u{2581}";
/// Pieces longer than this have their halves looked for in vain.
const LONGEST: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PieceKind {
    Normal,
    Unknown,
    /// `<s>`, `</s>`: never part of a text.
    Control,
    /// Taken out of a text before it is cut.
    UserDefined,
    Byte,
    Unused,
}

#[derive(Debug)]
struct VocabularyPiece {
    text: String,
    score: f32,
    kind: PieceKind,
}

/// The model as far as it matters here, with the format's defaults.
#[derive(Debug)]
struct SentencePieceModel {
    pieces: Vec<VocabularyPiece>,
    /// 1: unigram, 2: BPE; words and characters are no models of today.
    algorithm: u64,
    byte_fallback: bool,
    charsmap: Vec<u8>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
}

/// A protocol buffer whose first field is a piece: a message that begins with its text, mostly `<unk>`.
pub(super) fn is_sentence_piece(bytes: &[u8]) -> bool {
    matches!(bytes, [0x0a, length, 0x0a, text, ..] if *text < *length)
}

/// A model as tokenizer.json; `begins` with its `<s>`, where the server's tokenizer puts it before every prompt.
///
/// # Errors
/// In words.
pub(super) fn into_json(bytes: &[u8], begins: bool) -> Result<Vec<u8>, String> {
    let model = SentencePieceModel::read(bytes)?;
    let unknown =
        model.pieces.iter().position(|piece| piece.kind == PieceKind::Unknown).ok_or("it has no unknown piece")?;
    let cut = match model.algorithm {
        1 => model.unigram(unknown),
        2 => model.merges(unknown),
        _ => return Err("it cuts texts into words or characters; only unigram and BPE models are read".to_string()),
    };
    let first = if begins { model.pieces.iter().position(|piece| piece.text == "<s>") } else { None };
    let whole = json!({
        "version": "1.0",
        "added_tokens": model.added(),
        "normalizer": {"type": "Sequence", "normalizers": model.normalizers()},
        "post_processor": first.map(before_each),
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": cut,
    });
    serde_json::to_vec(&whole).map_err(|e| e.to_string())
}

fn before_each(id: usize) -> Json {
    let special = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    json!({
        "type": "TemplateProcessing",
        "single": [special, text("A")],
        "pair": [special, text("A"), text("B")],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [id], "tokens": ["<s>"]}},
    })
}

impl SentencePieceModel {
    fn read(bytes: &[u8]) -> Result<SentencePieceModel, String> {
        let mut model = SentencePieceModel {
            pieces: Vec::new(),
            algorithm: 1,
            byte_fallback: false,
            charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
        };
        for field in wire::fields(bytes) {
            match field? {
                (1, Value::Bytes(piece)) => model.pieces.push(VocabularyPiece::read(piece)?),
                (2, Value::Bytes(trainer)) => model.read_trainer(trainer)?,
                (3, Value::Bytes(normalizer)) => model.read_normalizer(normalizer)?,
                _ => {}
            }
        }
        Ok(model)
    }

    fn read_trainer(&mut self, message: &[u8]) -> Result<(), String> {
        for field in wire::fields(message) {
            match field? {
                (3, Value::Number(algorithm)) => self.algorithm = algorithm,
                (35, Value::Number(yes)) => self.byte_fallback = yes != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, message: &[u8]) -> Result<(), String> {
        for field in wire::fields(message) {
            match field? {
                (2, Value::Bytes(map)) => self.charsmap = map.to_vec(),
                (3, Value::Number(yes)) => self.add_dummy_prefix = yes != 0,
                (4, Value::Number(yes)) => self.remove_extra_whitespaces = yes != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn added(&self) -> Vec<Json> {
        let taken_out = |kind| matches!(kind, PieceKind::Unknown | PieceKind::Control | PieceKind::UserDefined);
        let added = |(id, piece): (usize, &VocabularyPiece)| {
            json!({"id": id, "content": piece.text, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": piece.kind != PieceKind::UserDefined})
        };
        self.pieces.iter().enumerate().filter(|(_, piece)| taken_out(piece.kind)).map(added).collect()
    }

    /// In the order in which SentencePiece does it.
    fn normalizers(&self) -> Vec<Json> {
        let mut all = Vec::new();
        if !self.charsmap.is_empty() {
            all.push(json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(&self.charsmap)}));
        }
        if self.remove_extra_whitespaces {
            // Spaces alone, no other blanks.
            for (spaces, becomes) in [("^ +| +$", ""), (" {2,}", " ")] {
                all.push(json!({"type": "Replace", "pattern": {"Regex": spaces}, "content": becomes}));
            }
        }
        if self.add_dummy_prefix {
            all.push(json!({"type": "Prepend", "prepend": SPACE}));
        }
        all.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE}));
        all
    }

    fn unigram(&self, unknown: usize) -> Json {
        let vocab: Vec<(&str, f32)> = self.pieces.iter().map(|piece| (piece.text.as_str(), piece.score)).collect();
        json!({"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": self.byte_fallback})
    }

    /// Which two pieces make a third is not written down: any two that are pieces, the best score first.
    fn merges(&self, unknown: usize) -> Json {
        let of_texts = |piece: &VocabularyPiece| matches!(piece.kind, PieceKind::Normal | PieceKind::UserDefined);
        let numbered = || self.pieces.iter().enumerate();
        let ids: HashMap<&str, usize> =
            numbered().filter(|(_, piece)| of_texts(piece)).map(|(id, piece)| (piece.text.as_str(), id)).collect();
        let mut merges = Vec::new();
        for piece in self.pieces.iter().filter(|piece| piece.kind == PieceKind::Normal && piece.text.len() <= LONGEST) {
            let cuts = piece.text.char_indices().skip(1).map(|(at, _)| piece.text.split_at(at));
            let mut pairs: Vec<_> = cuts.filter_map(|(l, r)| Some((ids.get(l)?, ids.get(r)?, l, r))).collect();
            pairs.sort_unstable();
            merges.extend(pairs.into_iter().map(|(_, _, left, right)| (piece.score, left, right)));
        }
        merges.sort_by(|a, b| {
            let lengths = |(_, left, right): &(f32, &str, &str)| (left.chars().count(), right.chars().count());
            b.0.total_cmp(&a.0).then_with(|| lengths(b).cmp(&lengths(a)))
        });
        let merges: Vec<[&str; 2]> = merges.into_iter().map(|(_, left, right)| [left, right]).collect();
        let vocab: Map<String, Json> = numbered().map(|(id, piece)| (piece.text.clone(), Json::from(id))).collect();
        json!({"type": "BPE", "unk_token": self.pieces[unknown].text, "fuse_unk": true,
               "byte_fallback": self.byte_fallback, "vocab": vocab, "merges": merges})
    }
}

impl VocabularyPiece {
    fn read(message: &[u8]) -> Result<VocabularyPiece, String> {
        let mut piece = VocabularyPiece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
        for field in wire::fields(message) {
            match field? {
                (1, Value::Bytes(text)) => {
                    piece.text = std::str::from_utf8(text).map_err(|_| "a piece is not UTF-8")?.to_string();
                }
                (2, Value::Four(score)) => {
                    let score = f32::from_le_bytes(score);
                    piece.score = if score.is_finite() { score } else { return Err("a piece has no score".into()) };
                }
                (3, Value::Number(kind)) => piece.kind = PieceKind::of(kind)?,
                _ => {}
            }
        }
        Ok(piece)
    }
}

impl PieceKind {
    fn of(number: u64) -> Result<PieceKind, String> {
        Ok(match number {
            1 => PieceKind::Normal,
            2 => PieceKind::Unknown,
            3 => PieceKind::Control,
            4 => PieceKind::UserDefined,
            5 => PieceKind::Unused,
            6 => PieceKind::Byte,
            _ => return Err(format!("a piece is of the unknown kind {number}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::Tokenizer;

    /// A message's field that holds bytes.
    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        let mut length = content.len();
        while length > 0x7f {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend(content);
        field
    }

    fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
        let mut message = bytes(1, text.as_bytes());
        message.push(2 << 3 | 5);
        message.extend(score.to_le_bytes());
        message.extend([3 << 3, kind]);
        bytes(1, &message)
    }

    /// `algorithm` 1: unigram, 2: BPE, with byte fallback; spaces are kept as they are.
    fn model(algorithm: u8) -> Vec<u8> {
        let specials = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("<mask>", 4)];
        let mut model: Vec<u8> = specials.iter().flat_map(|(text, kind)| piece(text, 0.0, *kind)).collect();
        model.extend((0..=255u8).flat_map(|byte| piece(&format!("<0x{byte:02X}>"), 0.0, 6)));
        // Id 260 and on.
        let words = ["\u{2581}a", "bc", "\u{2581}ab", "abc", "\u{2581}abc", "\u{2581}", "a", "b", "c"];
        for (at, word) in words.iter().enumerate() {
            model.extend(piece(word, -1.0 - at as f32, 1));
        }
        // Field 35 has a number of two bytes.
        model.extend(bytes(2, &[3 << 3, algorithm, 0x98, 0x02, 1]));
        model.extend(bytes(3, &[3 << 3, 1, 4 << 3, 0]));
        model
    }

    fn ids(model: &[u8], begins: bool, text: &str) -> Vec<u32> {
        let tokenizer = Tokenizer::from_bytes(into_json(model, begins).expect("a model")).expect("a tokenizer");
        tokenizer.encode(text, true).expect("encodes").get_ids().to_vec()
    }

    #[test]
    fn the_best_pieces_are_merged_first_and_bytes_stand_for_what_no_piece_has() {
        // `▁a` and `bc` come before `▁ab`; then nothing makes `▁abc` of them but its own halves.
        assert_eq!(ids(&model(2), false, "abc"), [264]);
        assert_eq!(ids(&model(2), false, "ab \u{e9}"), [262, 265, 4 + 0xc3, 4 + 0xa9]);
        assert_eq!(ids(&model(2), true, "a<mask>"), [1, 260, 3]);
        // The likeliest row of pieces: `▁a` and `bc` cost less than `▁abc` alone.
        assert_eq!(ids(&model(1), false, "abc"), [260, 261]);
    }

    #[test]
    fn damage_is_told_and_never_a_panic() {
        let whole = model(2);
        assert!(is_sentence_piece(&whole));
        for end in 0..whole.len() {
            let _ = into_json(&whole[..end], false);
        }
        let words = into_json(&model(3), false).expect_err("words");
        assert!(words.contains("only unigram and BPE"), "{words}");
        assert!(into_json(&[], false).is_err_and(|e| e.contains("no unknown piece")));
        assert!(into_json(&whole[..whole.len() - 1], false).is_err_and(|e| e.contains("ends in the middle")));
    }
}
