//! Figures of every kind draw in every format, and leave no label out that a reader needs. They stay in
//! `target/tmp/figures/` to be looked at.

mod gallery;

#[test]
fn every_kind_of_figure_draws_in_every_format() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures");
    std::fs::create_dir_all(&dir).unwrap();
    for (name, figure) in gallery::all() {
        let drawing = figure.draw().unwrap_or_else(|error| panic!("{name}: {error}"));
        let (svg, pdf, png) = (drawing.svg().unwrap(), drawing.pdf().unwrap(), drawing.png(1.0).unwrap());
        std::fs::write(dir.join(format!("{name}.svg")), &svg).unwrap();
        std::fs::write(dir.join(format!("{name}.pdf")), &pdf).unwrap();
        std::fs::write(dir.join(format!("{name}.png")), &png).unwrap();
        assert_eq!(drawing.omitted(), [""; 0], "{name}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
        assert!(svg.len() < 200_000, "{name} is {} bytes", svg.len());
        assert!(pdf.starts_with(b"%PDF-"), "{name}");
        assert!(png.starts_with(b"\x89PNG"), "{name}");
    }
}
