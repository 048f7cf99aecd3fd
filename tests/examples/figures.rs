//! Draws one figure of every kind into a directory, as SVG, PDF and PNG: `cargo run --example figures -- DIR`.

#[path = "../figures/gallery.rs"]
mod gallery;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(env::args().nth(1).ok_or("name the directory to write into")?);
    fs::create_dir_all(&directory)?;
    for (name, figure) in gallery::all() {
        let start = Instant::now();
        let drawing = figure.draw()?;
        let (svg, pdf, png) = (drawing.svg()?, drawing.pdf()?, drawing.png(2.0)?);
        println!(
            "{name:14} {:4} ms  svg {} B, pdf {} B, png {} B  omitted {:?}",
            start.elapsed().as_millis(),
            svg.len(),
            pdf.len(),
            png.len(),
            drawing.omitted()
        );
        fs::write(directory.join(format!("{name}.svg")), svg)?;
        fs::write(directory.join(format!("{name}.pdf")), pdf)?;
        fs::write(directory.join(format!("{name}.png")), png)?;
    }
    Ok(())
}
