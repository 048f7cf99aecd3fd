//! From `vllm bench serve`'s words to those of `topobench simple --attach`.

use serde_json::{Map, Value};
use std::path::PathBuf;

/// What the words come to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Translated {
    /// Of `topobench simple`.
    pub(super) words: Vec<String>,
    /// Where the result file goes; `None`: nobody asked for one.
    pub(super) saved: Option<Saved>,
    /// What has no effect here.
    pub(super) told: Vec<String>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Saved {
    pub(super) dir: PathBuf,
    /// `None`: as vLLM names it.
    pub(super) name: Option<String>,
}

/// Always so here, or about the client's own ways.
const WITHOUT_EFFECT: [&str; 6] = [
    "--trust-remote-code",
    "--disable-tqdm",
    "--save-detailed",
    "--append-result",
    "--no-stream",
    "--skip-test-prompt",
];
/// The same with a value.
const VALUES_WITHOUT_EFFECT: [&str; 4] = ["--tokenizer-mode", "--ready-check-timeout-sec", "--label", "--logprobs"];
/// Fields of the body.
const SAMPLING: [&str; 6] =
    ["--top-p", "--top-k", "--min-p", "--repetition-penalty", "--frequency-penalty", "--presence-penalty"];
const REFUSED: [&str; 3] = ["--lora-modules", "--use-beam-search", "--structured-output-ratio"];
const BACKENDS: [&str; 5] = ["vllm", "openai", "openai-chat", "sglang", "sglang-oai"];

/// vLLM's defaults.
const HOST: &str = "127.0.0.1";
const PORT: &str = "8000";
const PROMPTS: &str = "1000";

/// What the words say of the server and the load, which is not said in the same way here.
#[derive(Default)]
struct BenchWords {
    base_url: Option<String>,
    host: Option<String>,
    port: Option<String>,
    backend: Option<String>,
    endpoint: Option<String>,
    rate: Option<String>,
    limit: Option<String>,
    prompts: Option<String>,
    save: bool,
    dir: Option<String>,
    name: Option<String>,
    body: Map<String, Value>,
}

/// # Errors
/// In words, where the line asks for something that is not done here.
pub(super) fn translate(words: &[String]) -> Result<Translated, String> {
    let mut out = Translated::default();
    let mut said = BenchWords::default();
    let mut words = words.iter().flat_map(|word| split(word)).peekable();
    while let Some(word) = words.next() {
        let flag = word.replace('_', "-");
        let mut value = || words.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--base-url" => said.base_url = Some(value()?),
            "--host" => said.host = Some(value()?),
            "--port" => said.port = Some(value()?),
            "--backend" | "--endpoint-type" => said.backend = Some(value()?),
            "--endpoint" => said.endpoint = Some(value()?),
            "--request-rate" => said.rate = Some(value()?),
            "--max-concurrency" => said.limit = Some(value()?),
            "--num-prompts" => said.prompts = Some(value()?),
            "--save-result" => said.save = true,
            "--result-dir" => said.dir = Some(value()?),
            "--result-filename" => said.name = Some(value()?),
            "--extra-body" => said.merge(&value()?)?,
            flag if SAMPLING.contains(&flag) => {
                let (name, value) = (flag.trim_start_matches('-').replace('-', "_"), value()?);
                let number: f64 = value.parse().map_err(|_| format!("{flag} `{value}` is not a number"))?;
                let number = if number.fract() == 0.0 { Value::from(number as i64) } else { Value::from(number) };
                said.body.insert(name, number);
            }
            flag if WITHOUT_EFFECT.contains(&flag) => {}
            flag if VALUES_WITHOUT_EFFECT.contains(&flag) => {
                let value = value()?;
                out.told.push(format!("{flag} {value} has no effect here"));
            }
            flag if REFUSED.contains(&flag) => {
                return Err(format!(
                    "{flag} is not done here\nhint: `vllm bench serve` does it; `topobench compare` reads its files"
                ));
            }
            flag if flag.starts_with("--") => out.words.push(flag.to_string()),
            _ => out.words.push(word),
        }
    }
    said.finish(&mut out)?;
    Ok(out)
}

/// `--flag=value` in two words.
fn split(word: &str) -> Vec<String> {
    match word.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => vec![flag.to_string(), value.to_string()],
        _ => vec![word.to_string()],
    }
}

impl BenchWords {
    fn merge(&mut self, json: &str) -> Result<(), String> {
        match serde_json::from_str(json) {
            Ok(Value::Object(fields)) => {
                self.body.extend(fields);
                Ok(())
            }
            _ => Err(format!("--extra-body `{json}` is not a JSON object")),
        }
    }

    fn finish(self, out: &mut Translated) -> Result<(), String> {
        let or = |value: Option<String>, default: &str| value.unwrap_or_else(|| default.to_string());
        let url = self.base_url.unwrap_or_else(|| format!("http://{}:{}", or(self.host, HOST), or(self.port, PORT)));
        let mut add = |flag: &str, value: String| out.words.extend([flag.to_string(), value]);
        add("--attach", url);
        if let Some(backend) = &self.backend
            && !BACKENDS.contains(&backend.as_str())
        {
            return Err(format!("backend `{backend}` is none of {}", BACKENDS.join(", ")));
        }
        let chat = self.backend.as_deref() == Some("openai-chat");
        let endpoint = self.endpoint.or_else(|| chat.then(|| "/v1/chat/completions".to_string()));
        endpoint.into_iter().for_each(|endpoint| add("--endpoint", endpoint));
        // All at once with a limit is a closed loop.
        let rate = or(self.rate, "inf");
        match (rate.as_str(), self.limit) {
            ("inf", Some(limit)) => add("--concurrency", limit),
            (_, limit) => {
                add("--request-rate", rate);
                limit.into_iter().for_each(|limit| add("--max-concurrency", limit));
            }
        }
        add("--num-prompts", or(self.prompts, PROMPTS));
        if !self.body.is_empty() {
            add("--extra-body", Value::Object(self.body).to_string());
        }
        let saved = || Saved { dir: PathBuf::from(or(self.dir, ".")), name: self.name };
        out.saved = self.save.then(saved);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Translated, String> {
        translate(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    fn words(text: &str) -> String {
        line(text).expect(text).words.join(" ")
    }

    #[test]
    fn a_line_from_vllms_documentation_is_understood() {
        let text = "--backend vllm --model NousResearch/Hermes-3-Llama-3.1-8B --endpoint /v1/completions \
                    --dataset-name sharegpt --dataset-path S.json --num-prompts 10";
        assert_eq!(
            words(text),
            "--model NousResearch/Hermes-3-Llama-3.1-8B --dataset-name sharegpt --dataset-path S.json \
             --attach http://127.0.0.1:8000 --endpoint /v1/completions --request-rate inf --num-prompts 10"
        );
        assert!(
            words("--backend openai-chat --base-url http://h:1")
                .contains("--attach http://h:1 --endpoint /v1/chat/completions")
        );
    }

    #[test]
    fn a_limit_alone_is_a_closed_loop_and_beside_a_rate_a_limit() {
        assert!(words("--max-concurrency 8 --num-prompts=80").ends_with("--concurrency 8 --num-prompts 80"));
        assert!(words("--max_concurrency 8 --request-rate 2").contains("--request-rate 2 --max-concurrency 8"));
    }

    #[test]
    fn results_are_saved_where_vllm_saves_them_and_sampling_goes_into_the_body() {
        let out = line("--save-result --result-dir d --result-filename r.json --top-p 0.9 --top-k 5 --disable-tqdm")
            .expect("fine");
        assert_eq!(out.saved, Some(Saved { dir: PathBuf::from("d"), name: Some("r.json".into()) }));
        assert!(out.words.contains(&r#"{"top_k":5,"top_p":0.9}"#.to_string()), "{:?}", out.words);
        assert_eq!(line("--result-dir d").expect("fine").saved, None);
        assert_eq!(line("--label x").expect("fine").told.len(), 1);
    }

    #[test]
    fn what_is_not_done_here_is_refused() {
        assert!(line("--backend tgi").expect_err("unknown").contains("tgi"));
        assert!(line("--lora-modules a").expect_err("refused").contains("hint"));
        assert!(line("--host").expect_err("no value").contains("--host needs"));
    }
}
