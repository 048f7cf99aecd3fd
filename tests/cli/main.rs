//! The command line as people and scripts use it: the real program, its output, files and exit codes.

mod aggregate;
mod attach;
mod bench;
mod best;
mod closed_loop;
mod compare;
mod compare_files;
mod datasets;
mod docs;
mod dry_run;
mod grids;
mod hand_over;
mod help;
mod hostile;
mod list;
mod measure;
mod plans;
mod profile;
mod proxy;
mod prune;
mod python;
mod refused;
mod scripts;
mod show;
mod support;
mod topologies;
