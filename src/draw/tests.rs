//! What holds for whole figures, over all formats.

use proptest::prelude::*;

use super::canvas::Item;
use super::labels::Rect;
use super::*;

fn axes() -> Panel {
    Panel::new(Axis::linear("Rate (req/s)"), Axis::linear("Attainment").in_unit(" %"))
}

fn one_line(points: Vec<(f64, f64)>) -> Figure {
    let line = Line::new(points, Stroke::solid(palette(0))).marked(marker(0)).labelled("arm").ending("end");
    Figure::new(vec![axes().with(line)]).titled("T")
}

/// The boxes of all texts of a drawing, upright ones turned.
fn text_boxes(drawing: &Drawing) -> Vec<(String, Rect)> {
    let boxes = drawing.canvas.items.iter().filter_map(|item| match item {
        Item::Text(item) => {
            let (width, size) = (item.font.width(&item.text), item.font.size);
            let start = match item.align {
                Align::Start => 0.0,
                Align::Middle => width / 2.0,
                Align::End => width,
            };
            let (x, y) = item.at;
            let (ascent, descent) = (0.72 * size, 0.2 * size);
            let rect = if item.upright {
                Rect { left: x - ascent, right: x + descent, top: y + start - width, bottom: y + start }
            } else {
                Rect { left: x - start, right: x - start + width, top: y - ascent, bottom: y + descent }
            };
            Some((item.text.clone(), rect))
        }
        _ => None,
    });
    boxes.collect()
}

fn assert_readable(drawing: &Drawing) {
    let paper = Rect { left: 0.0, top: 0.0, right: drawing.size().0, bottom: drawing.size().1 };
    let boxes = text_boxes(drawing);
    for (index, (text, rect)) in boxes.iter().enumerate() {
        assert!(paper.holds(*rect), "{text:?} leaves the paper: {rect:?} of {paper:?}");
        for (other, at) in &boxes[..index] {
            assert!(!at.meets(*rect), "{text:?} at {rect:?} touches {other:?} at {at:?}");
        }
    }
}

#[test]
fn nothing_leaves_the_paper_or_touches_another_text() {
    let long = "a rather long label that will have to wrap somewhere before it reaches the end";
    let arms = |panel: Panel| {
        (0..4).fold(panel.titled(long), |panel, index| {
            let points = (0..9).map(|i| (f64::from(i) * 1e5, 97.0 - f64::from(i * (index + 2))));
            let color = palette(index as usize);
            panel
                .with(Line::new(points, Stroke::solid(color)).labelled(format!("{long} {index}")).ending("arm"))
                .with(Callout { x: 2e5, y: 90.0, text: format!("{index}.25 req/s"), color, drop: Drop::ToX })
        })
    };
    let panel = || arms(Panel::new(Axis::linear(long), Axis::linear(long).in_unit(" %")));
    for columns in 1..=3 {
        let panels = (0..4).map(|_| panel()).collect();
        let figure = Figure::new(panels).in_columns(columns).titled(long.repeat(3)).captioned(long.repeat(5));
        assert_readable(&figure.sized(760.0, 190.0).draw().unwrap());
    }
}

#[test]
fn the_same_figure_gives_the_same_bytes() {
    let write = || {
        let drawing = one_line(vec![(1.0, 99.0), (2.0, 91.0), (3.0, 12.0)]).draw().unwrap();
        (drawing.svg().unwrap(), drawing.pdf().unwrap(), drawing.png(2.0).unwrap())
    };
    let (first, second) = (write(), write());
    assert!(first == second);
    assert!(first.1.starts_with(b"%PDF-") && first.2.starts_with(b"\x89PNG"));
    assert!(!String::from_utf8_lossy(&first.1).contains("CreationDate"));
}

#[test]
fn the_svg_is_what_it_was() {
    let figure = one_line(vec![(1.0, 99.0), (2.0, 91.0), (3.0, 12.0)]).sized(300.0, 120.0);
    insta::assert_snapshot!(figure.draw().unwrap().inline_svg());
}

#[test]
fn words_are_escaped_and_stay_text() {
    let title = "a < b & \"c\" 模\u{0}型";
    let svg = one_line(vec![(1.0, 2.0)]).titled(title).draw().unwrap().svg().unwrap();
    assert!(svg.contains("a &lt; b &amp; &quot;c&quot; □ □</text>"), "{svg}");
    assert!(svg.contains("@font-face") && svg.contains("U+25A1"));
}

#[test]
fn a_page_of_several_figures_has_no_ids_in_common() {
    let ids = |points| {
        let mut figure = one_line(points);
        // A line that leaves its panel needs a clip, and a clip a name.
        figure.panels[0].y = Axis::linear("").fixed(0.0, 1.5);
        let svg = figure.draw().unwrap().inline_svg();
        let start = svg.find("clipPath id=\"").unwrap() + 13;
        svg[start..start + 9].to_owned()
    };
    assert_ne!(ids(vec![(1.0, 2.0)]), ids(vec![(1.0, 2.0), (2.0, 1.0)]));
}

#[test]
fn an_empty_series_says_so() {
    let svg = one_line(Vec::new()).draw().unwrap().inline_svg();
    assert!(svg.contains(">no data</text>"));
    assert!(!one_line(vec![(0.0, 0.0)]).draw().unwrap().inline_svg().contains("no data"));
}

#[test]
fn numbers_without_a_place_are_refused_by_name() {
    let error = one_line(vec![(1.0, 2.0), (2.0, f64::NAN)]).draw().unwrap_err();
    assert!(
        matches!(error, DrawError::NotDrawable { panel: 1, mark: 1, what: "a point's y", value } if value.is_nan())
    );
    let log = Panel::new(Axis::linear(""), Axis::log("")).with(Line::new([(1.0, 0.0)], Stroke::solid(palette(0))));
    let error = Figure::new(vec![axes(), log]).draw().unwrap_err();
    assert_eq!(
        error,
        DrawError::NotPositive { panel: 2, mark: 1, axis: Direction::Y, what: "a point's y", value: 0.0 }
    );
    let backwards = Panel::new(Axis::linear("").fixed(2.0, 1.0), Axis::linear(""));
    let error = Figure::new(vec![backwards]).draw().unwrap_err();
    assert!(matches!(error, DrawError::BadRange { panel: 1, axis: Direction::X, .. }), "{error}");
    assert_eq!(Figure::new(Vec::new()).draw().unwrap_err(), DrawError::NoPanels);
}

#[test]
fn a_callout_outside_the_range_is_named_not_lost() {
    let mut figure = one_line(vec![(1.0, 50.0)]);
    figure.panels[0].x = Axis::linear("").fixed(0.0, 2.0);
    let callout = Callout { x: 3.0, y: 50.0, text: "3 req/s".into(), color: palette(0), drop: Drop::ToX };
    figure.panels[0].marks.push(callout.into());
    assert_eq!(figure.draw().unwrap().omitted(), ["3 req/s"]);
}

#[test]
fn a_figure_without_room_says_which_panel_is_too_small() {
    let error = one_line(vec![(1.0, 2.0)]).sized(90.0, 200.0).draw().unwrap_err();
    assert!(matches!(error, DrawError::TooSmall { panel: 1, .. }), "{error}");
}

#[test]
fn marks_that_do_not_suit_their_axes_are_refused() {
    let segments = vec![Segment { label: "s".into(), color: palette(0), texture: texture(0) }];
    let bar = |category, values| Bar { category, slot: 0, values, text: None };
    let draw = |bar| {
        let bars = Bars { segments: segments.clone(), bars: vec![bar] };
        Figure::new(vec![Panel::new(Axis::categories("", ["a"]), Axis::linear("")).with(bars)]).draw()
    };
    assert!(draw(bar(0, vec![1.0])).is_ok());
    for wrong in [bar(1, vec![1.0]), bar(0, vec![1.0, 2.0]), bar(0, vec![-1.0])] {
        assert!(matches!(draw(wrong).unwrap_err(), DrawError::MarkerShape { panel: 1, mark: 1, .. }));
    }
}

#[test]
fn a_dense_line_is_thinned_but_keeps_its_peaks() {
    let peak = |i: u32| if i == 60_000 { 100.0 } else { f64::from(i % 7) };
    let points = (0..100_000).map(|i| (f64::from(i), peak(i))).collect();
    let drawing = one_line(points).draw().unwrap();
    let paths = drawing.canvas.items.iter().filter_map(|item| match item {
        Item::Path { points, closed: false, .. } => Some(points),
        _ => None,
    });
    let longest = paths.max_by_key(|points| points.len()).unwrap();
    assert!(longest.len() < 3_000, "{}", longest.len());
    let (top, next) = longest.iter().fold((i32::MAX, i32::MAX), |(top, next), &(_, y)| match y {
        y if y < top => (y, top),
        y => (top, next.min(y)),
    });
    assert!(next - top > 5_000, "the only peak stands out: {top}, {next}");
}

#[test]
fn pictures_of_absurd_scale_are_refused() {
    let drawing = one_line(vec![(1.0, 2.0)]).draw().unwrap();
    for scale in [0.0, -1.0, f32::NAN, 1e6] {
        assert!(matches!(drawing.png(scale), Err(DrawError::Png { .. })), "{scale}");
    }
}

/// Distance in CIE L*a*b* (1976).
fn difference(a: [f64; 3], b: [f64; 3]) -> f64 {
    let lab = |[r, g, b]: [f64; 3]| {
        let curve = |t: f64| {
            if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 }
        };
        let x = curve((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505);
        let y = curve(0.2126 * r + 0.7152 * g + 0.0722 * b);
        let z = curve((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089);
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    };
    let (a, b) = (lab(a), lab(b));
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn arms_differ_for_colour_blind_readers_and_in_greyscale() {
    // Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB.
    let protan = [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]];
    let deutan = [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]];
    let seen = |matrix: [[f64; 3]; 3], color: Rgb| {
        let linear = color.linear();
        matrix.map(|row| row.iter().zip(linear).map(|(a, b)| a * b).sum::<f64>().clamp(0.0, 1.0))
    };
    for first in 0..6 {
        for second in 0..first {
            for matrix in [protan, deutan] {
                let apart = difference(seen(matrix, palette(first)), seen(matrix, palette(second)));
                assert!(apart > 15.0, "colours {second} and {first} look alike: {apart:.1}");
            }
        }
    }
    for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 1)] {
        let apart = (palette(a).lightness() - palette(b).lightness()).abs();
        assert!(apart > 12.0, "colours {a} and {b} are alike in greyscale: {apart:.1}");
    }
    let pairs: std::collections::HashSet<_> = (0..56).map(|index| (palette(index), marker(index))).collect();
    assert_eq!(pairs.len(), 56);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_series_draws_and_stays_readable(
        points in prop::collection::vec((prop_oneof![0.0..10.0f64, -1e90..1e90f64], prop_oneof![0.0..100.0f64, -1e-90..1e-90f64]), 0..40),
        callouts in prop::collection::vec((0.0..10.0f64, 0.0..100.0f64), 0..6),
        reversed in any::<bool>(), width in 260.0..900.0f64, height in 60.0..300.0f64,
    ) {
        let mut figure = one_line(points).sized(width, height);
        figure.panels[0].x.reversed = reversed;
        for (x, y) in callouts {
            let callout = Callout { x, y, text: format!("{x:.2} req/s"), color: palette(1), drop: Drop::ToX };
            figure.panels[0].marks.push(callout.into());
        }
        let drawing = figure.draw().unwrap();
        assert_readable(&drawing);
        prop_assert!(drawing.png(0.5).is_ok());
    }

    #[test]
    fn any_words_make_a_readable_document(title in any::<String>(), label in any::<String>(), unit in "\\PC{0,3}") {
        let mut figure = one_line(vec![(1.0, 2.0), (3.0, 4.0)]).titled(title).captioned(label.clone());
        figure.panels[0].x = Axis::linear(label.clone()).in_unit(unit);
        figure.panels[0].title = label;
        let drawing = figure.draw().unwrap();
        prop_assert!(svg_to_png(&drawing.svg().unwrap(), 0.2).is_ok());
    }
}

#[test]
fn only_what_leaves_its_panel_is_clipped() {
    let clips = |top: f64| {
        let mut figure = one_line(vec![(1.0, 1.0), (2.0, 2.0)]);
        figure.panels[0].y = Axis::linear("").fixed(0.0, top);
        figure.draw().unwrap().inline_svg().matches("clip-path").count()
    };
    assert_eq!(clips(3.0), 0);
    assert!(clips(1.5) > 0);
}

#[test]
fn text_in_any_hue_is_dark_enough_and_dark_hues_stay_as_they_are() {
    assert!((0..8).all(|i| palette(i).for_text().lightness() <= 50.0));
    assert_eq!(palette(1).for_text(), palette(1));
}
