//! Numbers as result files hold them: null where Python had NaN, "inf" where it had infinity.

use serde::de::{Deserialize, Deserializer, Visitor};
use std::fmt;

/// A finite number, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Loose(Option<f64>);

impl Loose {
    pub(super) fn get(self) -> Option<f64> {
        self.0
    }

    /// A count of at least 0.
    pub(super) fn count(self) -> Option<u32> {
        self.0.filter(|n| (0.0..=f64::from(u32::MAX)).contains(n)).map(|n| n as u32)
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AnyNumber)
    }
}

struct AnyNumber;

impl<'de> Visitor<'de> for AnyNumber {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or null")
    }

    fn visit_f64<E>(self, n: f64) -> Result<Loose, E> {
        Ok(Loose(Some(n).filter(|n| n.is_finite())))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Loose, E> {
        Ok(Loose(Some(n as f64)))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Loose, E> {
        Ok(Loose(Some(n as f64)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose(text.trim().parse().ok().filter(|n: &f64| n.is_finite())))
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose(None))
    }

    fn visit_none<E>(self) -> Result<Loose, E> {
        Ok(Loose(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Loose, D::Error> {
        Loose::deserialize(d)
    }
}
