//! What people look at.

pub mod html;
