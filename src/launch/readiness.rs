//! Readiness is proved, not believed: the listener is ours, the model is ours, and one real token comes back.
//!
//! A stale server on the same port answers /health with 200 at once; a whole sweep has been "measured" on one. So a
//! 200 only opens the proof. While an engine starts, patience is counted from its last progress, not from its start:
//! a large model may take its time, a stuck one may not.

use super::diagnose::{Cause, diagnose};
use super::error::{StartError, StartProblem};
use super::part::{EnginePart, EngineParts};
use super::phase::Phase;
use super::process::ExitStatus;
use crate::observe::http::{SMALL, body};
use crate::observe::identity;
use crate::plan::deployment::Secret;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const POLL: Duration = Duration::from_millis(100);
/// A busy single-threaded server may be slow to say hello.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// The pipe still holds the last words of a process that ended.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// An instance on its way to being ready.
pub(super) struct StartingInstance<'a> {
    pub parts: &'a EngineParts,
    pub base_url: &'a str,
    pub model: &'a str,
    pub api_key: Option<&'a Secret>,
    pub started: Instant,
    /// Without progress for longer, it is stuck.
    pub patience: Duration,
}

/// What the proof brought to light.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    /// Of `/version`; engines without it have none.
    pub version: Option<String>,
    pub max_model_len: Option<u32>,
}

impl StartingInstance<'_> {
    /// Waits until the instance is ready and proves it. `on_phase` hears of every phase it reaches.
    pub(super) async fn prove(
        &self,
        http: &reqwest::Client,
        on_phase: impl Fn(Phase),
    ) -> Result<Proof, Box<StartError>> {
        self.until_healthy(http, on_phase).await?;
        tokio::select! {
            () = self.parts.end_begins() => Err(self.ended().await),
            proof = self.identify(http) => proof.map_err(|problem| self.failed(self.parts.first(), problem)),
        }
    }

    async fn until_healthy(&self, http: &reqwest::Client, on_phase: impl Fn(Phase)) -> Result<(), Box<StartError>> {
        let mut phase = None;
        loop {
            if self.parts.has_exited() {
                return Err(self.ended().await);
            }
            let first = self.parts.first();
            let reached = first.process.log().state().phase;
            if phase.replace(reached) != Some(reached) {
                on_phase(reached);
            }
            if let Some(doomed) = self.parts.all().iter().find(|part| part.process.log().state().doom.is_some()) {
                return Err(self.failed(doomed, StartProblem::Doomed));
            }
            // While a part gets on, the others may wait for it.
            let silences = self.parts.all().iter().map(|part| part.process.log().state().progressed_at.elapsed());
            let silent = silences.min().unwrap_or_default();
            if silent > self.patience {
                return Err(self.failed(first, StartProblem::Stuck(silent)));
            }
            if let Ok(answer) = self.get(http, "/health").timeout(HEALTH_TIMEOUT).send().await {
                self.refuse_impostor().await?;
                if answer.status().is_success() {
                    return Ok(());
                }
            }
            tokio::select! {
                () = self.parts.end_begins() => {}
                () = sleep(POLL) => {}
            }
        }
    }

    /// Somebody answers on our port: it must be one of ours.
    async fn refuse_impostor(&self) -> Result<(), Box<StartError>> {
        let first = self.parts.first();
        let port = first.ports.http;
        let listener = first.process.listener(port).await;
        if listener.is_ours || self.parts.has_exited() {
            return Ok(());
        }
        Err(self.failed(first, StartProblem::Impostor { port, holder: listener.holder }))
    }

    async fn identify(&self, http: &reqwest::Client) -> Result<Proof, StartProblem> {
        let max_model_len = self.find_model(http).await?;
        let version = self.version(http).await;
        self.first_token(http).await?;
        Ok(Proof { version, max_model_len })
    }

    async fn find_model(&self, http: &reqwest::Client) -> Result<Option<u32>, StartProblem> {
        let failed = |detail: String| StartProblem::NoToken(format!("GET /v1/models: {detail}"));
        let answer = self.get(http, "/v1/models").timeout(self.patience).send().await;
        let answer = answer.map_err(|error| failed(error.without_url().to_string()))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(failed(format!("HTTP {status}")));
        }
        let page = body(answer, SMALL).await.map_err(|error| failed(error.to_string()))?;
        let models = identity::served_models(&page).map_err(|error| failed(error.to_string()))?;
        match models.iter().find(|model| model.id == self.model) {
            Some(model) => Ok(model.max_model_len),
            None => {
                let found = models.into_iter().map(|model| model.id).collect();
                Err(StartProblem::WrongModel { expected: self.model.to_string(), found })
            }
        }
    }

    async fn version(&self, http: &reqwest::Client) -> Option<String> {
        let answer = self.get(http, "/version").timeout(HEALTH_TIMEOUT).send().await.ok()?;
        let page = body(answer.error_for_status().ok()?, SMALL).await.ok()?;
        identity::version(&page)
    }

    /// One completion of one token. Without transfer parameters a prefill instance answers it whole, and a decode
    /// instance computes the prompt itself, so it proves every role.
    async fn first_token(&self, http: &reqwest::Client) -> Result<(), StartProblem> {
        #[derive(Deserialize)]
        struct Completion {
            choices: Vec<serde::de::IgnoredAny>,
        }
        let failed = |detail: String| StartProblem::NoToken(format!("POST /v1/completions: {detail}"));
        let question = serde_json::json!({
            "model": self.model, "prompt": "Hello", "max_tokens": 1, "temperature": 0.0, "ignore_eos": true,
        });
        let request = http.post(format!("{}/v1/completions", self.base_url)).json(&question).timeout(self.patience);
        let answer = self.authorized(request).send().await;
        let answer = answer.map_err(|error| failed(error.without_url().to_string()))?;
        let status = answer.status();
        let page = body(answer, SMALL).await.map_err(|error| failed(error.to_string()))?;
        match serde_json::from_slice::<Completion>(&page) {
            Ok(completion) if status.is_success() && !completion.choices.is_empty() => Ok(()),
            _ => {
                let text: String = String::from_utf8_lossy(&page).chars().take(300).collect();
                Err(failed(format!("HTTP {status}: {text}")))
            }
        }
    }

    fn get(&self, http: &reqwest::Client, path: &str) -> reqwest::RequestBuilder {
        self.authorized(http.get(format!("{}{path}", self.base_url)))
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self.api_key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    /// To be called when one of its processes has ended.
    async fn ended(&self) -> Box<StartError> {
        let culprit = self.parts.culprit(LAST_WORDS).await;
        let (part, status) = culprit.unwrap_or((self.parts.first(), ExitStatus::Unseen));
        self.failed(part, StartProblem::Exited(status))
    }

    fn failed(&self, part: &EnginePart, problem: StartProblem) -> Box<StartError> {
        let log = part.process.log();
        let (state, log_tail) = (log.state(), log.tail());
        let cause: Option<Cause> = diagnose(&log_tail).or_else(|| diagnose(state.doom.as_slice()));
        Box::new(StartError {
            instance: part.name.clone(),
            problem,
            after: self.started.elapsed(),
            phase: state.phase,
            cause,
            log_tail,
            log_path: part.log.clone(),
        })
    }
}
