//! The live page: who may read it, what it sends, what a browser makes of it, and the program around it.

mod browser;
mod chromium;
mod client;
mod program;
mod server;
