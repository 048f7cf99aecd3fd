//! Who may read the page: whoever has its address, from a browser that knows this machine by a loopback name.

use std::hint::black_box;

/// The secret part of the address.
#[derive(Clone)]
pub(super) struct PageToken(String);

impl PageToken {
    pub(super) fn random() -> PageToken {
        PageToken(format!("{:032x}", rand::random::<u128>()))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Takes as long for one wrong byte as for many, so that guesses learn nothing from the time.
    fn is(&self, given: &str) -> bool {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        let differing = own.iter().zip(given).fold(0, |differing, (a, b)| black_box(differing | (a ^ b)));
        own.len() == given.len() && differing == 0
    }
}

/// What of the page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageWanted {
    Page,
    Events,
}

/// What a path asks for; `None` for one without the token or with anything else behind it.
pub(super) fn wanted(path: &str, token: &PageToken) -> Option<PageWanted> {
    let (given, rest) = path.strip_prefix('/')?.split_once('/')?;
    let wanted = match rest {
        "" => PageWanted::Page,
        "events" => PageWanted::Events,
        _ => return None,
    };
    token.is(given).then_some(wanted)
}

/// Whether a request's `Host` names this machine to itself, on whatever port: a tunnel has its own. A page of others whose
/// name was made to lead here (DNS rebinding) sends its own name.
pub(super) fn is_loopback(host: Option<&str>) -> bool {
    let Some(host) = host else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens_the_page() {
        let token = PageToken::random();
        let text = token.text().to_string();
        assert_eq!(text.len(), 32);
        assert_eq!(wanted(&format!("/{text}/"), &token), Some(PageWanted::Page));
        assert_eq!(wanted(&format!("/{text}/events"), &token), Some(PageWanted::Events));
        let last = if text.ends_with('0') { '1' } else { '0' };
        let wrong = [
            "/".to_string(),
            "//".to_string(),
            "/events".to_string(),
            format!("/{text}"),
            format!("/{}/", &text[..31]),
            format!("/{text}0/"),
            format!("/{}{last}/", &text[..31]),
            format!("/{text}/../events"),
            format!("/{text}/state"),
        ];
        wrong.iter().for_each(|path| assert_eq!(wanted(path, &token), None, "{path}"));
        assert_ne!(PageToken::random().text(), text);
    }

    #[test]
    fn names_of_loopback_are_known_and_no_others() {
        for host in ["127.0.0.1:4000", "localhost:80", "LOCALHOST", "[::1]:9", "127.0.0.1"] {
            assert!(is_loopback(Some(host)), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "", "10.0.0.5:80", "::1"] {
            assert!(!is_loopback(Some(host)), "{host}");
        }
        assert!(!is_loopback(None));
    }
}
