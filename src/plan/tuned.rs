//! Settings made part of a topology.

use super::settings::{SettingTarget, Settings, target};
use super::topology::{EngineGroup, KvTransfer, ProxyPolicies, Shape, Topology};
use serde_json::Value;

/// Gives a topology an arm's settings.
///
/// # Errors
/// In words, when one means nothing for its kind.
pub(super) fn apply(settings: &Settings, topology: &mut Topology) -> Result<(), String> {
    for (key, value) in settings.iter() {
        match (target(key), &mut topology.shape) {
            (SettingTarget::Env(name), _) => topology.env.insert(name, value),
            (SettingTarget::Flag(flag), Shape::Simple { group }) => group.settings.push(argument(flag, value)),
            // Before those of a role, which then win.
            (SettingTarget::Flag(flag), Shape::PrefillDecode { prefill, decode, .. }) => {
                let first = |group: &mut EngineGroup| group.settings.insert(0, argument(flag, value));
                first(prefill);
                first(decode);
            }
            (SettingTarget::Prefill(flag), Shape::PrefillDecode { prefill, .. }) => {
                prefill.settings.push(argument(flag, value));
            }
            (SettingTarget::Decode(flag), Shape::PrefillDecode { decode, .. }) => {
                decode.settings.push(argument(flag, value));
            }
            (SettingTarget::Kv(name), Shape::PrefillDecode { kv, .. }) => set_option(kv, name, value),
            (SettingTarget::Proxy("prefill-policy"), Shape::PrefillDecode { .. }) => {
                topology.proxy.prefill_policy = value.clone();
            }
            (SettingTarget::Proxy("policy"), Shape::PrefillDecode { .. }) => {
                topology.proxy = ProxyPolicies { prefill_policy: value.clone(), decode_policy: value.clone() };
            }
            (SettingTarget::Proxy("prefill-policy"), Shape::Simple { .. }) => {
                return Err(format!("{key} means nothing for a simple topology"));
            }
            (SettingTarget::Proxy(_), _) => topology.proxy.decode_policy = value.clone(),
            (SettingTarget::Prefill(_) | SettingTarget::Decode(_) | SettingTarget::Kv(_), Shape::Simple { .. }) => {
                return Err(format!("{key} means nothing for a simple topology"));
            }
        }
    }
    topology.settings = settings.clone();
    Ok(())
}

fn set_option(kv: &mut KvTransfer, name: &str, value: &str) {
    match name {
        "connector" => kv.connector = value.to_string(),
        "buffer_device" => kv.buffer_device = Some(value.to_string()),
        "load_failure_policy" => kv.load_failure_policy = Some(value.to_string()),
        _ => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_string()));
            kv.extra_config.insert(name.to_string(), value);
        }
    }
}

/// As vLLM takes it: `--flag=value`, and switches without one.
fn argument(flag: &str, value: &str) -> String {
    match value {
        "true" => format!("--{flag}"),
        "false" => format!("--no-{flag}"),
        value => format!("--{flag}={value}"),
    }
}
