//! A row of a dataset, and where it stands.

use serde_json::{Map, Value};
use std::fmt;

/// A row's fields; those of CSV are strings.
pub(super) type DatasetRow = Map<String, Value>;

/// Where in its file a row stands, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowPlace {
    Line(u64),
    Row(u64),
}

impl fmt::Display for RowPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowPlace::Line(n) => write!(f, "line {n}"),
            RowPlace::Row(n) => write!(f, "row {n}"),
        }
    }
}
