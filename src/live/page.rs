//! The page: the report's style, colours and charts, and what is its own. It holds no data; all of it comes as events.

use crate::report::html::kit;
use bytes::Bytes;

const MARKUP: &str = include_str!("page/live.html");
const STYLE: &str = include_str!("page/live.css");
const SCRIPT: &str = concat!(
    include_str!("page/series.js"),
    include_str!("page/now.js"),
    include_str!("page/curves.js"),
    include_str!("page/race.js"),
    include_str!("page/engines.js"),
    include_str!("page/live.js"),
);

/// The page and the policy that goes with it.
pub(super) struct LivePage {
    pub(super) html: Bytes,
    /// Nothing from anywhere but this server's own events, no script or style but these very ones, and no way to make
    /// markup of text.
    pub(super) policy: String,
}

impl LivePage {
    pub(super) fn new() -> LivePage {
        let style = format!(":root{{{}}}\n{}{STYLE}", kit::colors(), kit::STYLE);
        let script = format!("{}{SCRIPT}", kit::CHARTS);
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            kit::hash(&script),
            kit::hash(&style)
        );
        let html = MARKUP.replacen("/*STYLE*/", &style, 1).replacen("/*SCRIPT*/", &script, 1);
        LivePage { html: Bytes::from(html), policy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_on_the_page_makes_markup_of_text_or_asks_anybody_else() {
        let page = LivePage::new();
        let html = String::from_utf8(page.html.to_vec()).expect("UTF-8");
        for word in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "onclick", "https:", "src="]
        {
            assert!(!html.contains(word), "{word}");
        }
        assert!(!html.contains("/*STYLE*/") && !html.contains("/*SCRIPT*/"));
        assert_eq!(html.matches("<script>").count(), 1);
        assert_eq!(page.policy.matches("sha256-").count(), 2);
    }
}
