//! What a server that somebody else runs says it is: its model list and version.

use crate::observe::http;
use crate::plan::deployment::Secret;
use serde::Deserialize;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// What an attached server told of itself.
pub(super) struct ServerIdentity {
    pub(super) version: Option<String>,
    pub(super) max_model_len: Option<u32>,
}

/// Why a server is not the expected one.
pub(super) struct IdentityError {
    pub(super) detail: String,
    pub(super) hint: String,
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    max_model_len: Option<u32>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// Asks `/v1/models` for the model, and `/version` where there is one.
pub(super) async fn identify(
    url: &str,
    model: &str,
    api_key: Option<&Secret>,
) -> Result<ServerIdentity, IdentityError> {
    let unreachable = |e: reqwest::Error| IdentityError {
        detail: innermost(&e.without_url()),
        hint: "check that the server runs, and the URL; an API key comes from VLLM_API_KEY or OPENAI_API_KEY, the \
               certificate of a private authority from SSL_CERT_FILE"
            .to_string(),
    };
    let client = http::client(PATIENCE).map_err(unreachable)?;
    let get = |path: &str| {
        let request = client.get(format!("{}{path}", url.trim_end_matches('/')));
        match api_key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    };
    let answer = get("/v1/models").send().await.and_then(reqwest::Response::error_for_status).map_err(unreachable)?;
    let malformed = |detail: String| IdentityError {
        detail: format!("its /v1/models is not a model list: {detail}"),
        hint: "check the URL: it must be an OpenAI-compatible server's, without /v1".to_string(),
    };
    if !answer.status().is_success() {
        return Err(malformed(format!("HTTP {}", answer.status())));
    }
    let page = http::body(answer, http::SMALL).await.map_err(|e| malformed(e.to_string()))?;
    let models: Models = serde_json::from_slice(&page).map_err(|e| malformed(e.to_string()))?;
    let Some(found) = models.data.iter().find(|m| m.id == model) else {
        let known: Vec<_> = models.data.iter().take(8).map(|m| m.id.chars().take(100).collect::<String>()).collect();
        return Err(IdentityError {
            detail: format!("it serves {} and not `{model}`", known.join(", ")),
            hint: "give the served name with --served-model-name, or --model".to_string(),
        });
    };
    let version = match get("/version").send().await {
        Ok(answer) if answer.status().is_success() => {
            let page = http::body(answer, http::SMALL).await.ok();
            page.and_then(|page| serde_json::from_slice::<Version>(&page).ok()).map(|v| v.version)
        }
        _ => None,
    };
    Ok(ServerIdentity { version, max_model_len: found.max_model_len })
}

/// The cause that the others wrap: `connection refused` says more than `error sending request`.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
