//! `topobench list`: history, newest first.

use super::args::ListArgs;
use super::exit::{Exit, Failure};
use crate::record::catalog::{self, CatalogEntry};

pub fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let mut entries = catalog::list(&args.result_dir)?;
    entries.retain(|e| wanted(e, args));
    if args.json {
        super::print_json(&entries)?;
        return Ok(Exit::Good);
    }
    for entry in &entries {
        println!("{}", line(entry));
        let config = entry.config.to_string();
        if !config.is_empty() {
            println!("  Config: {config}");
        }
    }
    if entries.is_empty() {
        eprintln!("no runs in {}", args.result_dir.display());
    }
    Ok(Exit::Good)
}

fn line(entry: &CatalogEntry) -> String {
    let status = match entry.status {
        None | Some(crate::outcome::RunStatus::Completed) => String::new(),
        Some(other) => format!(" [{}]", word(other)),
    };
    format!(
        "{} - {} ({} files, {} plots){status}",
        entry.when.format("%Y-%m-%d %H:%M:%S"),
        entry.name,
        entry.files,
        entry.plots
    )
}

fn word(status: crate::outcome::RunStatus) -> &'static str {
    use crate::outcome::RunStatus as S;
    match status {
        S::Incomplete => "incomplete",
        S::Completed => "completed",
        S::Cancelled => "cancelled",
        S::Failed => "failed",
    }
}

fn wanted(entry: &CatalogEntry, args: &ListArgs) -> bool {
    let says = |filter: &Option<String>, holds: &dyn Fn(&str) -> bool| filter.as_deref().is_none_or(holds);
    says(&args.mode, &|m| entry.mode == m)
        && says(&args.dataset, &|d| entry.dataset == d)
        && says(&args.model, &|m| {
            entry.config.model.as_deref().is_some_and(|model| model.to_lowercase().contains(&m.to_lowercase()))
        })
        && says(&args.status, &|s| entry.status.is_some_and(|status| word(status) == s))
}
