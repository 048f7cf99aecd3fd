//! Figures of every kind draw in every format, and leave no label out that a reader needs.

mod gallery;

#[test]
fn every_kind_of_figure_draws_in_every_format() {
    for (name, figure) in gallery::all() {
        let drawing = figure.draw().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(drawing.omitted(), [""; 0], "{name}");
        let svg = drawing.svg().unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
        assert!(svg.len() < 200_000, "{name} is {} bytes", svg.len());
        assert!(drawing.pdf().unwrap().starts_with(b"%PDF-"), "{name}");
        assert!(drawing.png(1.0).unwrap().starts_with(b"\x89PNG"), "{name}");
    }
}
