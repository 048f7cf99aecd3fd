//! Real processes: fleets of small fake engines with bad habits, started, watched, brought down and orphaned.

mod guardian;
mod start;
mod stop;
mod support;
