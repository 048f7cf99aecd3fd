//! report.html, as a string and as a browser sees it, from a real run of vLLM 0.22 on two H100s (20 to 80 requests a
//! point: few, and real).

mod browser;
mod page;
mod support;
