//! What other rooms need of secrets: values that print as masks, and the masks themselves.

pub use super::engine_env::{EngineEnv, EnvValue};
pub use super::mask::{masked_text, masked_words};
pub use super::secret::{MASK, Secret};
