//! A value that must not be seen.
//!
//! It may travel in the environment of a child or in a request's header. Every user of the machine can read arguments,
//! and manifests, logs and reports are passed on: there it never stands.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What is shown in a secret's place.
pub const MASK: &str = "***";

/// Prints as [`MASK`], everywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// For the header of a request or the environment of a child; for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(MASK)
    }
}

/// What was masked stays masked; a resumed run takes the secret from the environment again.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Secret)
    }
}
