//! A simulated engine to attach to.

use std::path::Path;
use std::process::{Command, Stdio};

/// `enginesim serve` of a model called `m`, without delays at its start and at hand-shakes, and silent; with a KV role and the
/// port of its side channel, or none for an engine that serves requests whole.
pub fn engine(program: &Path, port: u16, hands_over: Option<(&str, u16)>) -> Command {
    let mut command = Command::new(program);
    let of = ["serve", "qwen3-0.6b", "--served-model-name", "m", "--host", "127.0.0.1", "--port", &port.to_string()];
    command.args(of).args(["--sim-start-delay", "0", "--sim-handshake-ms", "1"]);
    if let Some((role, side_channel)) = hands_over {
        let config = format!(r#"{{"kv_connector":"NixlConnector","kv_role":"{role}"}}"#);
        command.args(["--kv-transfer-config", &config]);
        command.env("VLLM_NIXL_SIDE_CHANNEL_HOST", "127.0.0.1");
        command.env("VLLM_NIXL_SIDE_CHANNEL_PORT", side_channel.to_string());
    }
    command.env_remove("VLLM_API_KEY").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
