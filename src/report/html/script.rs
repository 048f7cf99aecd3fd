//! What makes data and scripts safe inside HTML.

use super::input::{ArmPage, HtmlError};
use crate::draw::palette;
use crate::report::hues::hues;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// JSON for a `<script type="application/json">`: no character in it can end the element, open a comment or break a
/// line of an older parser.
pub(super) fn json_for_html<T: Serialize>(value: &T) -> Result<String, HtmlError> {
    let json = serde_json::to_string(value)?;
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Only strings hold these characters, and there the escape means the same.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => safe += &format!("\\u{:04x}", u32::from(c)),
            other => safe.push(other),
        }
    }
    Ok(safe)
}

/// How a content security policy names a script or a style that stands in the page.
pub(super) fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// Nothing from anywhere, and no script but this very one.
pub(super) fn content_security_policy(script: &str) -> String {
    let hash = hash(script);
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; font-src data:; script-src '{hash}'; base-uri 'none'; \
         form-action 'none'"
    )
}

/// Hues that the page's dark scheme has counterparts of; arms beyond them repeat the first.
pub(super) const HUES: usize = 8;

/// Every hue of the figures as a custom property, so that page and figures agree.
pub(super) fn hues_as_properties() -> String {
    let hue = |i: usize| {
        let color = palette(i);
        format!("--hue-{i}:#{:02x}{:02x}{:02x};", color.0, color.1, color.2)
    };
    (0..HUES).map(hue).collect()
}

/// Every hue, and which of them each arm wears.
pub(super) fn colors(arms: &[ArmPage<'_>]) -> String {
    let worn = hues(arms.iter().map(|arm| arm.input)).into_iter().take(HUES).enumerate();
    let worn = worn.map(|(arm, hue)| format!("--arm-{arm}:var(--hue-{});", hue % HUES));
    hues_as_properties() + &worn.collect::<String>()
}
