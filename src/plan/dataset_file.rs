//! Where datasets lie that people don't name a path for.

use super::error::PlanError;
use std::path::PathBuf;

/// The file that everybody in the field benchmarks with.
const SHAREGPT_FILE: &str = "ShareGPT_V3_unfiltered_cleaned_split.json";
const SHAREGPT_REPO: &str = "datasets--anon8231489123--ShareGPT_Vicuna_unfiltered";

/// The given path, else the well-known file in the working directory or the Hugging Face cache.
pub fn sharegpt(given: Option<&str>) -> Result<String, PlanError> {
    if let Some(path) = given {
        return Ok(path.to_string());
    }
    let mut candidates = vec![PathBuf::from(SHAREGPT_FILE)];
    let snapshots = hf_hub().join(SHAREGPT_REPO).join("snapshots");
    if let Ok(entries) = std::fs::read_dir(snapshots) {
        candidates.extend(entries.flatten().map(|e| e.path().join(SHAREGPT_FILE)));
    }
    candidates.into_iter().find(|p| p.is_file()).map(|p| p.display().to_string()).ok_or_else(|| PlanError::Missing {
        what: format!("{SHAREGPT_FILE} (in the working directory or the Hugging Face cache)"),
        remedy: "download it with `hf download --repo-type dataset anon8231489123/ShareGPT_Vicuna_unfiltered \
                 ShareGPT_V3_unfiltered_cleaned_split.json --local-dir .`, or give --dataset-path"
            .to_string(),
    })
}

fn hf_hub() -> PathBuf {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    var("HF_HUB_CACHE")
        .or_else(|| var("HF_HOME").map(|home| home.join("hub")))
        .unwrap_or_else(|| var("HOME").unwrap_or_default().join(".cache/huggingface/hub"))
}
