//! Numbers and names as people read them, in every sentence alike.

use crate::units::RequestRate;

/// Whether a character turns the direction of the text around it: what is read is then not what stands there.
pub fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Three significant digits without trailing zeros: 6.68, 0.875, 1250.
pub fn number(x: f64) -> String {
    if !x.is_finite() {
        return x.to_string();
    }
    let decimals = (2 - x.abs().max(1e-9).log10().floor() as i32).clamp(0, 6) as usize;
    trimmed(&format!("{x:.decimals$}"))
}

/// At most this many decimals, no trailing zeros.
pub fn decimal(x: f64, decimals: usize) -> String {
    trimmed(&format!("{x:.decimals$}"))
}

fn trimmed(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text.to_string() }
}

/// `2`, `0.5`, `inf`; of a closed loop `5 in flight`.
pub fn rate(rate: RequestRate) -> String {
    match rate.in_flight() {
        Some(n) => format!("{n} in flight"),
        None => rate.per_second().to_string(),
    }
}

/// The number alone, where its unit stands elsewhere.
pub fn level(rate: RequestRate) -> String {
    rate.in_flight().map_or_else(|| self::rate(rate), |n| n.to_string())
}

/// `2 req/s`, or `5 in flight (closed loop)`.
pub fn offered(rate: RequestRate) -> String {
    let unit = if rate.in_flight().is_some() { "(closed loop)" } else { "req/s" };
    format!("{} {unit}", self::rate(rate))
}

/// The same with the rate as vLLM's files name it: `2.0 req/s`.
pub fn named(rate: RequestRate) -> String {
    if rate.in_flight().is_some() { offered(rate) } else { format!("{rate} req/s") }
}

/// The same of several: `2, 4 req/s`.
pub fn all_offered(rates: &[RequestRate]) -> String {
    let each: Vec<String> = rates.iter().copied().map(level).collect();
    let unit = if rates.iter().any(|r| r.in_flight().is_some()) { "in flight (closed loop)" } else { "req/s" };
    format!("{} {unit}", each.join(", "))
}

/// `/models/Qwen3-8B/` and `Qwen/Qwen3-8B` are `Qwen3-8B`.
pub fn short_model(model: &str) -> &str {
    let whole = model.trim_end_matches('/');
    whole.rsplit('/').next().unwrap_or(whole)
}

/// Words as a command line that a POSIX shell splits into them again. NUL, which no argument can hold, is shown as `\0`.
pub fn shell<S: AsRef<str>>(words: &[S]) -> String {
    let quoted = |word: &S| match shlex::try_quote(word.as_ref()) {
        Ok(quoted) => quoted.into_owned(),
        Err(_) => format!("'{}'", word.as_ref().escape_debug()),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Bytes as people read them: `512 B`, `503.7 GiB`.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (n.max(1).ilog2() / 10).min(4);
    format!("{} {}", decimal(n as f64 / 1024f64.powi(power as i32), 1), units[power as usize])
}

/// Arms that are named one by one where something is true of all of them.
pub const NAMED: usize = 3;

/// `a, b and c`.
pub fn listed<S: AsRef<str>>(items: &[S]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_string(),
        [many @ .., last] => {
            format!("{} and {}", many.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "), last.as_ref())
        }
    }
}

/// Each once, in the order of first appearance.
pub fn distinct<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// A quoted text of Prometheus' up to its closing quote, with `\\`, `\"` and `\n` undone, and what follows it. `unknown` stands in
/// place of the backslash before any other character. `None` where the quote never ends.
pub fn unquoted<'a>(text: &'a str, unknown: &str) -> Option<(String, &'a str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                other => {
                    value.push_str(unknown);
                    value.push(other);
                }
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_what_matters() {
        assert_eq!(number(f64::INFINITY), "inf");
        let words: Vec<String> = [6.684, 0.875, 125.0, 1249.6, 0.000_123_4, 0.0, 2.0].map(number).to_vec();
        assert_eq!(words, ["6.68", "0.875", "125", "1250", "0.000123", "0", "2"]);
    }

    #[test]
    fn a_shell_reads_the_same_words() {
        let line = ["topobench", "--extra-body", r#"{"a": 1}"#, "it's", "", "a*b", "$HOME", "~", "x\ny"];
        let out = std::process::Command::new("sh").args(["-c", &format!("printf '%s\\0' {}", shell(&line))]).output();
        let out = String::from_utf8(out.expect("a shell").stdout).expect("text");
        assert_eq!(out.split_terminator('\0').collect::<Vec<_>>(), line);
        assert_eq!(shell(&["--request-rate", "0.5,1", "--tp", "2", "/x/y.z"]), "--request-rate '0.5,1' --tp 2 /x/y.z");
    }

    #[test]
    fn memory_is_told_in_binary_units() {
        assert_eq!(bytes(540_836_122_624), "503.7 GiB");
        assert_eq!(bytes(64 << 20), "64 MiB");
        assert_eq!(bytes(0), "0 B");
    }

    #[test]
    fn models_go_by_their_last_name() {
        assert_eq!(short_model("/opt/models/Qwen3-8B/"), "Qwen3-8B");
        assert_eq!(short_model("facebook/opt-125m"), "opt-125m");
    }
}
