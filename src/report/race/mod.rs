//! A race as people read it: who carries how much, who won, by how much, and what is not known.

mod answer;
mod figure;
mod table;

pub use answer::{Answer, Bounds};
pub use figure::figure;
pub use table::table;
