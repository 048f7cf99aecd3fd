//! `topobench list --keep N / --older-than AGE`: removes runs, after asking.
//!
//! Left alone whatever is asked: runs that were not recorded by this program, whose files may be all there is; runs that
//! have not ended, which may still be measured or resumed, unless `--status incomplete` names them; and `curated`.

use super::args::{ListArgs, PruneArgs, StatusName};
use super::exit::{CliError, Exit};
use super::listing::lines;
use super::out;
use crate::outcome::RunStatus;
use crate::record::catalog::CatalogEntry;
use crate::words;
use std::io::{BufRead as _, IsTerminal as _};

/// Runs worth showing, kept in version control.
const CURATED: &str = "curated/";

impl PruneArgs {
    pub(super) fn is_asked(&self) -> bool {
        self.keep.is_some() || self.older_than.is_some()
    }
}

/// `entries`: newest first, as listed.
pub(super) fn run(entries: &[CatalogEntry], args: &ListArgs) -> Result<Exit, CliError> {
    let doomed = doomed(entries, args);
    if doomed.is_empty() {
        out::note("nothing to remove");
        return Ok(Exit::Good);
    }
    out::text(&doomed.iter().map(|e| lines(e, args.long)).collect::<String>())?;
    let what =
        format!("{} run{}, {}", doomed.len(), if doomed.len() == 1 { "" } else { "s" }, words::bytes(bytes(&doomed)));
    if !args.prune.yes && !agreed(&what)? {
        out::note("nothing was removed");
        return Ok(Exit::Good);
    }
    for entry in &doomed {
        std::fs::remove_dir_all(&entry.path).map_err(|e| {
            let hint = "hint: check who owns it; what was removed before it is gone";
            CliError::new(Exit::Internal, format!("cannot remove {}: {e}\n{hint}", entry.path.display()))
        })?;
    }
    out::note(format!("removed {what}"));
    Ok(Exit::Good)
}

/// Beyond the newest `keep`, and older than `older_than` where both are given.
fn doomed<'a>(entries: &'a [CatalogEntry], args: &ListArgs) -> Vec<&'a CatalogEntry> {
    let named_incomplete = args.status == Some(StatusName::Incomplete);
    let removable = |e: &CatalogEntry| match e.status {
        None => false,
        Some(RunStatus::Incomplete) => named_incomplete,
        Some(_) => true,
    };
    entries
        .iter()
        .skip(args.prune.keep.unwrap_or(0))
        .filter(|e| args.prune.older_than.is_none_or(|moment| e.when < moment))
        .filter(|e| removable(e) && !e.name.starts_with(CURATED))
        .collect()
}

fn bytes(entries: &[&CatalogEntry]) -> u64 {
    entries.iter().map(|e| e.bytes).sum()
}

/// Nobody at a terminal: nobody to ask.
fn agreed(what: &str) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage(format!(
            "removing {what} has to be confirmed, and stdin is not a terminal\nhint: --yes removes without asking"
        )));
    }
    out::ask(format!("remove {what}? [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|e| {
        CliError::new(Exit::Internal, format!("cannot read the answer: {e}\nhint: --yes removes without asking"))
    })?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
