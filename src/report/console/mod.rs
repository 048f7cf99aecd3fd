//! What a terminal shows: the summary of a point as people know it, a sweep, a comparison. Nothing is printed here.

mod comparison;
mod energy;
mod point;
mod sweep;
mod why;

pub use comparison::comparison;
pub use energy::energy;
pub use point::point;
pub use sweep::sweep;
pub use why::why;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// How text may look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours.
    pub color: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tint {
    Bold,
    Good,
    Bad,
    Doubtful,
}

impl Style {
    fn paint(self, text: &str, tint: Tint) -> String {
        let code = match tint {
            Tint::Bold => "1",
            Tint::Good => "32",
            Tint::Bad => "31",
            Tint::Doubtful => "33",
        };
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

/// What stands where a value is missing: never a zero.
const MISSING: &str = "n/a";

fn or_missing(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| MISSING.to_string(), |v| format!("{v:.decimals$}"))
}

/// A row of a table, and the colour of its line.
struct TableRow {
    cells: Vec<String>,
    tint: Option<Tint>,
}

impl From<Vec<String>> for TableRow {
    fn from(cells: Vec<String>) -> Self {
        TableRow { cells, tint: None }
    }
}

/// A table without frames: the first column to the left, the others, being numbers, to the right. Lines are painted
/// when they are laid out, so that colours don't count as width.
fn table<S: Into<String>>(header: impl IntoIterator<Item = S>, rows: Vec<TableRow>, style: Style) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.into_iter().map(Into::into).collect::<Vec<String>>());
    let (cells, mut tints) = (Vec::with_capacity(rows.len()), vec![None]);
    let cells = rows.into_iter().fold(cells, |mut cells, row| {
        tints.push(row.tint);
        cells.push(row.cells);
        cells
    });
    table.add_rows(cells);
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if i == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    let paint = |(line, tint): (String, Option<Tint>)| {
        let line = line.trim_end();
        tint.map_or_else(|| line.to_string(), |tint| style.paint(line, tint)) + "\n"
    };
    table.lines().zip(tints).map(paint).collect()
}

#[cfg(test)]
mod tests;
