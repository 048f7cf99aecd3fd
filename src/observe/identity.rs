//! What a server says it is: its list of models, and its version.

use serde::Deserialize;
use serde_json::Value;

/// A model that a server lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    pub id: String,
    /// Tokens of prompt and output together; not every server tells.
    pub max_model_len: Option<u32>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// The models on a page of `/v1/models`. What a gateway adds to an entry, or spells differently, does no harm.
///
/// # Errors
/// When the page is no list of models.
pub fn served_models(page: &[u8]) -> serde_json::Result<Vec<ServedModel>> {
    let page: Value = serde_json::from_slice(page)?;
    // Some leave the list bare, and one that serves nothing says null.
    match page.get("data").unwrap_or(&page) {
        Value::Array(entries) => Ok(entries.iter().filter_map(served_model).collect()),
        Value::Null => Ok(Vec::new()),
        _ => Err(serde::de::Error::custom("it has no list under `data`")),
    }
}

fn served_model(entry: &Value) -> Option<ServedModel> {
    let id = entry.get("id")?.as_str()?.to_string();
    let length = entry.get("max_model_len").and_then(Value::as_f64).filter(|n| *n >= 1.0 && *n <= f64::from(u32::MAX));
    Some(ServedModel { id, max_model_len: length.map(|n| n as u32) })
}

/// The version on a page of `/version`.
pub fn version(page: &[u8]) -> Option<String> {
    serde_json::from_slice::<Version>(page).ok().map(|told| told.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whatever_else_it_holds() {
        let page = br#"{"object": "list", "data": [{"id": "a", "max_model_len": 4096, "owned_by": "x"},
            {"id": "b", "max_model_len": null}, {"id": "c", "max_model_len": "long"}, {"id": "d", "max_model_len": -1},
            {"id": "e", "max_model_len": 1e99}, {"name": "no id"}, 5]}"#;
        let ids =
            |page: &str| served_models(page.as_bytes()).map(|all| all.into_iter().map(|m| m.id).collect::<Vec<_>>());
        assert_eq!(ids(r#"[{"id": "bare"}]"#).expect("a list"), ["bare"]);
        assert_eq!(ids(r#"{"object": "list", "data": null}"#).expect("a list"), [""; 0]);
        assert!(ids(r#"{"detail": "Not Found"}"#).is_err());
        let models = served_models(page).expect("a list");
        let told: Vec<_> = models.iter().map(|m| (m.id.as_str(), m.max_model_len)).collect();
        assert_eq!(told, [("a", Some(4096)), ("b", None), ("c", None), ("d", None), ("e", None)]);
        for page in [&b"<html>"[..], b"5", br#"{"models": []}"#, br#"{"data": {}}"#] {
            assert!(served_models(page).is_err());
        }
    }
}
