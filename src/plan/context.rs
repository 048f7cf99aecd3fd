//! The model's context length, as far as it is known before anything starts.

use crate::files;
use std::path::Path;

/// Bytes of a config.json.
const LARGEST: u64 = 16 << 20;

/// Tokens of context, and where the number comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownContext {
    pub tokens: u32,
    pub origin: String,
}

/// The last `--max-model-len` of the engine's arguments, else `max_position_embeddings` of a local model's config.json.
/// `None` where only the engine knows; it is asked again once it is up.
pub fn known_context(engine_args: &[String], model: &str) -> Option<KnownContext> {
    from_args(engine_args).or_else(|| from_config(Path::new(model)))
}

fn from_args(args: &[String]) -> Option<KnownContext> {
    let mut found = None;
    for (i, arg) in args.iter().enumerate() {
        let value = match arg.split_once('=') {
            Some(("--max-model-len" | "--max_model_len", value)) => Some(value),
            _ if arg == "--max-model-len" || arg == "--max_model_len" => args.get(i + 1).map(String::as_str),
            _ => None,
        };
        found = value.and_then(human_number).or(found);
    }
    found.map(|tokens| KnownContext { tokens, origin: "--max-model-len".to_string() })
}

/// vLLM takes `32k` (decimal) and `32K` (binary) here.
fn human_number(text: &str) -> Option<u32> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1_000.0),
        b'K' => (&text[..text.len() - 1], 1_024.0),
        b'm' => (&text[..text.len() - 1], 1e6),
        b'M' => (&text[..text.len() - 1], 1_048_576.0),
        _ => (text, 1.0),
    };
    let tokens = digits.parse::<f64>().ok()? * factor;
    (tokens >= 1.0 && tokens <= f64::from(u32::MAX)).then_some(tokens as u32)
}

fn from_config(model: &Path) -> Option<KnownContext> {
    let path = model.join("config.json");
    let config: serde_json::Value = files::parse(&files::read(&path, LARGEST).ok()?).ok()?;
    let field = |v: &serde_json::Value| v.get("max_position_embeddings").and_then(serde_json::Value::as_u64);
    let tokens = field(&config).or_else(|| config.get("text_config").and_then(field))?;
    Some(KnownContext { tokens: u32::try_from(tokens).ok()?, origin: path.display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(args: &[&str]) -> Option<u32> {
        let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        known_context(&args, "no/such/model").map(|c| c.tokens)
    }

    #[test]
    fn the_last_argument_wins_in_every_spelling() {
        assert_eq!(tokens(&["--max-model-len", "2048"]), Some(2048));
        assert_eq!(tokens(&["--max-model-len=2048", "--max-model-len", "4k"]), Some(4000));
        assert_eq!(tokens(&["--max-model-len", "4K"]), Some(4096));
        assert_eq!(tokens(&["--max-model-len", "auto"]), None);
        assert_eq!(tokens(&["--max-model-len"]), None);
        assert_eq!(tokens(&[]), None);
    }

    #[test]
    fn a_local_model_tells_its_own() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("config.json"), r#"{"text_config":{"max_position_embeddings":131072}}"#)
            .expect("write");
        assert_eq!(known_context(&[], &dir.path().display().to_string()).map(|c| c.tokens), Some(131_072));
    }
}
