//! One page that draws any column over any other, for whoever wants to look around. It asks no server for anything.

use super::rows::AggregateRow;
use super::series::{load_words, series};
use crate::draw::{Rgb, palette};
use serde::Serialize;

const PAGE: &str = include_str!("page.html");

#[derive(Serialize)]
struct PageSeries<'a> {
    name: String,
    color: String,
    rows: Vec<PageRow<'a>>,
}

#[derive(Serialize)]
struct PageRow<'a> {
    load: String,
    #[serde(flatten)]
    row: &'a AggregateRow,
}

/// The page of all rows.
///
/// # Errors
/// Never for rows that came from a table.
pub fn interactive(rows: &[AggregateRow], title: &str) -> serde_json::Result<String> {
    let series = series(rows);
    let lines: Vec<PageSeries<'_>> = series
        .iter()
        .enumerate()
        .map(|(i, one)| PageSeries {
            name: one.name.clone(),
            color: css(palette(i)),
            rows: one.rows.iter().map(|row| PageRow { load: load_words(row), row }).collect(),
        })
        .collect();
    // `</script>` in a name would end the data.
    let data = serde_json::to_string(&lines)?.replace('<', "\\u003c");
    Ok(PAGE.replace("{{title}}", &escaped(title)).replace("{{data}}", &data))
}

fn css(Rgb(r, g, b): Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_data() {
        let row = AggregateRow { deployment: "</script><b>".to_string(), ..AggregateRow::default() };
        let page = interactive(&[row], "a < b").expect("made");
        assert!(!page.contains("</script><b>") && page.contains("a &lt; b"));
        assert!(!page.contains("{{") && page.contains("\"load\":\"unknown\""));
    }
}
