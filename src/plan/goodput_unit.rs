//! What goodput counts.

use serde::{Deserialize, Serialize};

/// What has to keep the SLO: each request, or the session that it is a turn of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum GoodputUnit {
    /// Every request for itself
    #[default]
    Request,
    /// Sessions, all of whose turns keep every limit
    Session,
    /// Sessions, whose last turn keeps every limit
    LastTurn,
}

impl GoodputUnit {
    pub fn is_request(&self) -> bool {
        *self == GoodputUnit::Request
    }

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            GoodputUnit::Request => "request",
            GoodputUnit::Session => "session",
            GoodputUnit::LastTurn => "last-turn",
        }
    }

    /// What is counted: `requests`.
    pub fn counted(self) -> &'static str {
        if self.is_request() { "requests" } else { "sessions" }
    }

    /// Whose share attainment is: `requests`.
    pub fn words(self) -> &'static str {
        match self {
            GoodputUnit::Request => "requests",
            GoodputUnit::Session => "sessions with all their turns",
            GoodputUnit::LastTurn => "sessions with their last turn",
        }
    }
}
