
pub mod draw;
