//! `topobench list`: history, newest first; with `--keep` or `--older-than`, less of it.

use super::args::{ListArgs, StatusName};
use super::exit::{CliError, Exit};
use super::listing::lines;
use super::{out, prune};
use crate::record::catalog::{self, CatalogEntry};

pub(super) fn run(args: &ListArgs) -> Result<Exit, CliError> {
    let mut entries = catalog::list(&args.result_dir)?;
    entries.retain(|e| wanted(e, args));
    if args.prune.is_asked() {
        return prune::run(&entries, args);
    }
    if args.json {
        out::json(&entries)?;
        return Ok(Exit::Good);
    }
    out::text(&entries.iter().map(|e| lines(e, args.long)).collect::<String>())?;
    if entries.is_empty() {
        out::note(format!("no runs in {}", args.result_dir.display()));
    }
    Ok(Exit::Good)
}

fn wanted(entry: &CatalogEntry, args: &ListArgs) -> bool {
    let says = |filter: &Option<String>, holds: &dyn Fn(&str) -> bool| filter.as_deref().is_none_or(holds);
    says(&args.mode, &|m| entry.mode == m)
        && says(&args.dataset, &|d| entry.dataset == d)
        && says(&args.model, &|m| {
            entry.config.model.as_deref().is_some_and(|model| model.to_lowercase().contains(&m.to_lowercase()))
        })
        && args.status.map(StatusName::status).is_none_or(|s| entry.status == Some(s))
        && args.since.is_none_or(|since| entry.when >= since)
        && args.until.is_none_or(|until| entry.when <= until)
}
