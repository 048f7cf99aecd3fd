//! Fleets of small fake engines with bad habits, as real processes: started, watched, brought down and orphaned.

mod guardian;
mod start;
mod stop;
mod support;
