//! Writes report.html of the recorded run on H100s: `cargo run --example report_page -- DIR`.

#[path = "../report_html/support.rs"]
mod support;

use std::path::PathBuf;
use support::Study;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("name the directory to write into")?);
    std::fs::create_dir_all(&directory)?;
    let studies = [
        ("report", Study::recorded()),
        ("imported", Study::imported()),
        ("odd", Study::odd()),
        ("large", Study::large()),
        ("alone", Study::recorded().alone()),
    ];
    for (name, study) in studies {
        std::fs::write(directory.join(format!("{name}.html")), study.page()?)?;
    }
    Ok(())
}
