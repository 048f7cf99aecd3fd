//! The embedded font: what a text measures, how it breaks, and what happens to characters the font lacks.
//!
//! Widths are sums of advances, without kerning and ligatures: the SVG asks for the same, so that a measured box is the
//! drawn box in every viewer.

use std::sync::OnceLock;

use ttf_parser::Face;

/// Family name written into the figures. Arimo, Arial and Helvetica share its metrics.
pub(super) const FAMILY: &str = "Liberation Sans";

/// Ascent and descent that a line of text keeps clear, in units of the font size.
pub(super) const ASCENT: f64 = 0.74;
pub(super) const DESCENT: f64 = 0.22;
/// Distance from the baseline to the middle of capitals and digits, in units of the font size.
pub(super) const HALF_CAPITAL: f64 = 0.345;
/// Distance between baselines, in units of the font size.
pub(super) const LINE: f64 = 1.25;

/// Of labels within a panel.
pub(super) const LABEL_FONT: Font = Font::regular(10.0);

static REGULAR: &[u8] = include_bytes!("fonts/LiberationSans-Regular.ttf");
static BOLD: &[u8] = include_bytes!("fonts/LiberationSans-Bold.ttf");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Weight {
    Regular,
    Bold,
}

impl Weight {
    pub(super) fn data(self) -> &'static [u8] {
        match self {
            Self::Regular => REGULAR,
            Self::Bold => BOLD,
        }
    }

    pub(super) fn css(self) -> u16 {
        match self {
            Self::Regular => 400,
            Self::Bold => 700,
        }
    }

    /// The parsed face, parsed once a process.
    pub(super) fn face(self) -> &'static Face<'static> {
        static FACES: OnceLock<[Face<'static>; 2]> = OnceLock::new();
        let parse = |data| Face::parse(data, 0).expect("the embedded font is part of the program and parses");
        let faces = FACES.get_or_init(|| [parse(REGULAR), parse(BOLD)]);
        match self {
            Self::Regular => &faces[0],
            Self::Bold => &faces[1],
        }
    }
}

/// Size of superscripts, and how far they are raised, in units of the font size.
pub(super) const RAISED: f64 = 0.7;
pub(super) const RAISED_BY: f64 = 0.36;

/// The plain character of a superscript digit or minus. The font has only some of them, in two designs: they are drawn as
/// raised plain characters.
pub(super) fn lowered(c: char) -> Option<char> {
    match c {
        '⁻' => Some('−'),
        '¹' => Some('1'),
        '²' => Some('2'),
        '³' => Some('3'),
        '⁰' | '⁴'..='⁹' => char::from_digit(u32::from(c) - 0x2070, 10),
        _ => None,
    }
}

/// Size in px and weight of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Font {
    pub size: f64,
    pub weight: Weight,
}

impl Font {
    pub(super) const fn regular(size: f64) -> Self {
        Self { size, weight: Weight::Regular }
    }

    pub(super) const fn bold(size: f64) -> Self {
        Self { size, weight: Weight::Bold }
    }

    /// Width in px of a cleaned text.
    pub(super) fn width(self, text: &str) -> f64 {
        let face = self.weight.face();
        let advance = |c| f64::from(face.glyph_index(c).and_then(|glyph| face.glyph_hor_advance(glyph)).unwrap_or(0));
        let units: f64 = text.chars().map(|c| lowered(c).map_or_else(|| advance(c), |c| RAISED * advance(c))).sum();
        units * self.size / f64::from(face.units_per_em())
    }

    /// Height in px of `lines` lines.
    pub(super) fn height(self, lines: usize) -> f64 {
        if lines == 0 { 0.0 } else { self.size * (ASCENT + DESCENT + LINE * (lines - 1) as f64) }
    }

    /// Breaks `text` at spaces and after hyphens and the like, so that no line is wider than `room`; a piece that is
    /// still wider is broken anywhere.
    pub(super) fn wrap(self, text: &str, room: f64) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in clean(text).split_whitespace() {
            for (index, piece) in word.split_inclusive(['-', '/', '_', ',']).enumerate() {
                let space = if index == 0 { " " } else { "" };
                match lines.last_mut() {
                    Some(line) if self.width(line) + self.width(space) + self.width(piece) <= room => {
                        line.push_str(space);
                        line.push_str(piece);
                    }
                    _ => lines.extend(self.chop(piece, room)),
                }
            }
        }
        lines
    }

    /// Cuts a word into parts that fit; a character wider than the room is left out.
    fn chop(self, word: &str, room: f64) -> Vec<String> {
        let mut parts = vec![String::new()];
        let mut used = 0.0;
        for c in word.chars() {
            let width = self.width(c.encode_utf8(&mut [0; 4]));
            if used + width > room {
                parts.push(String::new());
                used = 0.0;
            }
            if let Some(part) = parts.last_mut().filter(|_| width <= room) {
                part.push(c);
                used += width;
            }
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// As [`Font::wrap`], but of at most `limit` lines; what does not fit is replaced by an ellipsis.
    pub(super) fn wrap_to(self, text: &str, room: f64, limit: usize) -> Vec<String> {
        let mut lines = self.wrap(text, room);
        if lines.len() > limit {
            lines.truncate(limit.max(1));
            if let Some(last) = lines.last_mut() {
                *last = self.cut(last, room);
            }
        }
        lines
    }

    /// `text`, or as much of its beginning as fits into `room` with an ellipsis behind.
    pub(super) fn shorten(self, text: &str, room: f64) -> String {
        let text = clean(text);
        if self.width(&text) <= room {
            return text;
        }
        self.cut(&text, room)
    }

    /// As much of the beginning of `text` as leaves room for an ellipsis, and that.
    fn cut(self, text: &str, room: f64) -> String {
        let mut left = room - self.width("…");
        if left < 0.0 {
            return String::new();
        }
        let fits = |c: &char| {
            left -= self.width(c.encode_utf8(&mut [0; 4]));
            left >= 0.0
        };
        let kept: String = text.chars().take_while(fits).collect();
        format!("{}…", kept.trim_end())
    }
}

/// Whether a character stands alone and runs from left to right. Combining marks, right-to-left scripts and invisible
/// controls need a layout engine: widths measured here would be wrong, and usvg 0.47 panics on some mixtures of them.
fn stands_alone(c: char) -> bool {
    let code = u32::from(c);
    let ranges = [
        (0x0300, 0x036f),
        (0x0483, 0x0489),
        (0x0590, 0x08ff),
        (0x200b, 0x200f),
        (0x2028, 0x202e),
        (0x2060, 0x206f),
        (0x20d0, 0x20ff),
        (0xfb1d, 0xfdff),
        (0xfe00, 0xfe0f),
        (0xfe20, 0xfe2f),
        (0xfe70, 0xfeff),
    ];
    !ranges.iter().any(|&(first, last)| (first..=last).contains(&code))
}

/// `text` with control characters as spaces, and every character that cannot be drawn as a visible box.
pub(super) fn clean(text: &str) -> String {
    let face = Weight::Regular.face();
    let drawn = |c: char| match c {
        c if c.is_control() => ' ',
        c if lowered(c).is_some() => c,
        c if stands_alone(c) && face.glyph_index(c).is_some() => c,
        _ => '□',
    };
    text.chars().map(drawn).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FONT: Font = Font::regular(10.0);

    #[test]
    fn digits_are_tabular_and_bold_is_wider() {
        assert_eq!(FONT.width("11"), FONT.width("80"));
        assert!(Font::bold(10.0).width("rate") > FONT.width("rate"));
    }

    #[test]
    fn characters_without_a_glyph_become_a_box_and_controls_a_space() {
        assert_eq!(clean("p99 ≥ 5 µs"), "p99 ≥ 5 µs");
        assert_eq!(clean("模型\tx"), "□□ x");
        assert_eq!(clean("שe\u{301}\u{202e}"), "□e□□");
    }

    #[test]
    fn a_long_text_wraps_and_its_tail_is_cut_visibly() {
        let lines = FONT.wrap_to("one two three four five six seven eight", 60.0, 2);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].ends_with('…'), "{lines:?}");
    }

    proptest! {
        #[test]
        fn no_wrapped_line_is_wider_than_its_room(text in "\\PC{0,80}", room in 15.0..300.0f64) {
            for line in FONT.wrap(&text, room) {
                prop_assert!(FONT.width(&line) <= room + 1e-9, "{line:?}");
            }
        }

        #[test]
        fn wrapping_loses_no_word_that_fits(words in prop::collection::vec("[a-z]{1,6}", 0..20)) {
            let text = words.join(" ");
            prop_assert_eq!(FONT.wrap(&text, 80.0).join(" "), text);
        }
    }
}
