//! Points of many runs in one table, and what is drawn and told of it: for grids, and for people who keep a spreadsheet.

mod figures;
mod page;
mod ratings;
mod rows;
mod series;
mod summary;

pub use figures::{latency, throughput};
pub use page::interactive;
pub use ratings::{Rating, Ratings};
pub use rows::{AggregateRow, COLUMNS, of_numbers, of_run, read, write};
pub use summary::markdown;
