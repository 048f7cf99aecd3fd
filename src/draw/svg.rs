//! The scene as SVG: coordinates to 1/100 px, real dashes and clips, texts as texts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::canvas::{Align, Canvas, Centi, Contour, Ink, Item, PathStyle, TextItem};
use super::marks::Dash;
use super::palette::Rgb;
use super::text::{FAMILY, Font, RAISED, RAISED_BY, Weight, lowered};

/// The characters a figure needs of each weight.
pub(super) type Characters = BTreeMap<Weight, BTreeSet<char>>;

pub(super) fn characters(canvas: &Canvas) -> Characters {
    let mut used = Characters::new();
    for item in &canvas.items {
        if let Item::Text(text) = item {
            let plain = text.text.chars().map(|c| lowered(c).unwrap_or(c));
            used.entry(text.font.weight).or_default().extend(plain);
        }
    }
    used
}

/// What a figure stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    White,
    /// Where the picture that it is painted on is white already.
    Bare,
}

/// The whole document. `style` is CSS that is valid within XML text.
pub(super) fn document(canvas: &Canvas, title: &str, style: &str, ground: Ground) -> String {
    let body = body(canvas);
    let id = fingerprint(&body);
    let (width, height) = (number(canvas.width * 100.0), number(canvas.height * 100.0));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         font-family=\"'{FAMILY}', Arimo, Arial, Helvetica, sans-serif\" style=\"font-kerning:none\" stroke-linejoin=\"round\">\n"
    );
    if !title.is_empty() {
        svg += &format!("<title>{}</title>\n", escape(title));
    }
    if !style.is_empty() {
        svg += &format!("<style>{style}</style>\n");
    }
    let used = |index: &usize| body.contains(&format!("url(#c-{index})"));
    let clips: Vec<usize> = (0..canvas.clips.len()).filter(used).collect();
    if !clips.is_empty() {
        svg += "<defs>";
        for index in clips {
            let [left, top, right, bottom] = canvas.clips[index];
            let (x, y, w, h) = (px(left), px(top), px(right - left), px(bottom - top));
            svg += &format!(
                "<clipPath id=\"c{id}-{index}\"><rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\"/></clipPath>"
            );
        }
        svg += "</defs>\n";
    }
    if ground == Ground::White {
        svg += &format!("<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n");
    }
    // Several figures may share a page, where ids are global: the content names them.
    svg += &body.replace("url(#c-", &format!("url(#c{id}-"));
    svg + "</svg>\n"
}

fn body(canvas: &Canvas) -> String {
    let mut svg = String::new();
    let mut clip = None;
    for group in canvas.items.chunk_by(joins) {
        let wanted = match &group[0] {
            Item::Path { look, .. } | Item::Circle { look, .. } => look.clip,
            Item::Text(_) => None,
        };
        if wanted != clip {
            svg += if clip.is_some() { "</g>\n" } else { "" };
            if let Some(index) = wanted {
                svg += &format!("<g clip-path=\"url(#c-{index})\">\n");
            }
            clip = wanted;
        }
        svg += &element(group);
    }
    svg + if clip.is_some() { "</g>\n" } else { "" }
}

/// Whether two neighbours can be one element: open lines of the same look, such as a hatching.
pub(super) fn joins(a: &Item, b: &Item) -> bool {
    match (a, b) {
        (Item::Path { closed: false, look: first, .. }, Item::Path { closed: false, look: second, .. }) => {
            first == second && first.contour.is_some_and(|contour| contour.ink.percent == 100)
        }
        _ => false,
    }
}

fn element(group: &[Item]) -> String {
    match &group[0] {
        Item::Path { look, .. } => {
            let d: String = group.iter().map(outline).collect();
            format!("<path d=\"{d}\"{}/>\n", paint(look))
        }
        Item::Circle { center: (x, y), radius, look } => {
            format!("<circle cx=\"{}\" cy=\"{}\" r=\"{}\"{}/>\n", px(*x), px(*y), px(*radius), paint(look))
        }
        Item::Text(item) => text(item),
    }
}

fn outline(item: &Item) -> String {
    let Item::Path { points, closed, .. } = item else {
        return String::new();
    };
    let mut d = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let lead = if index == 0 { "M" } else { " " };
        let _ = write!(d, "{lead}{} {}", px(*x), px(*y));
    }
    // A line of a single point has a length of zero: nothing, unless closed.
    d + if *closed { "Z" } else { "" }
}

fn paint(look: &PathStyle) -> String {
    let mut attributes = match look.fill {
        Some(Ink { color, percent }) => {
            format!(" fill=\"{}\"{}", hex(color), opacity("fill", percent))
        }
        None => " fill=\"none\"".into(),
    };
    if let Some(Contour { ink, width, dash }) = look.contour {
        attributes += &format!(" stroke=\"{}\" stroke-width=\"{}\"", hex(ink.color), px(width));
        attributes += &opacity("stroke", ink.percent);
        attributes += &match dash {
            Dash::Solid => String::new(),
            Dash::Dashed => format!(" stroke-dasharray=\"{} {}\"", px(width * 4), px(width * 5 / 2)),
            // Nearly empty dashes with round ends: dots.
            Dash::Dotted => format!(" stroke-dasharray=\"0.01 {}\" stroke-linecap=\"round\"", px(width * 2)),
        };
    }
    attributes
}

fn text(item: &TextItem) -> String {
    let TextItem { at: (x, y), text, font, color, align, upright, halo } = item;
    let (x, y) = (number(x * 100.0), number(y * 100.0));
    let place =
        if *upright { format!("transform=\"translate({x} {y}) rotate(-90)\"") } else { format!("x=\"{x}\" y=\"{y}\"") };
    let anchor = match align {
        Align::Start => "",
        Align::Middle => " text-anchor=\"middle\"",
        Align::End => " text-anchor=\"end\"",
    };
    let Font { size, weight } = font;
    let weight = if *weight == Weight::Bold { " font-weight=\"700\"" } else { "" };
    let rim = if *halo { " stroke=\"#fff\" stroke-width=\"2.5\" paint-order=\"stroke\"" } else { "" };
    format!(
        "<text {place} font-size=\"{}\" fill=\"{}\"{weight}{anchor}{rim}>{}</text>\n",
        number(size * 100.0),
        hex(*color),
        runs(text, *size)
    )
}

/// The text with superscripts as raised, smaller spans.
fn runs(text: &str, size: f64) -> String {
    let mut markup = String::new();
    let characters: Vec<char> = text.chars().collect();
    for (index, run) in characters.chunk_by(|a, b| lowered(*a).is_some() == lowered(*b).is_some()).enumerate() {
        let plain: String = run.iter().map(|&c| lowered(c).unwrap_or(c)).collect();
        let (plain, shift) = (escape(&plain), number(size * RAISED_BY * 100.0));
        markup += &match (run.first().and_then(|&c| lowered(c)), index) {
            (Some(_), _) => {
                format!("<tspan dy=\"-{shift}\" font-size=\"{}\">{plain}</tspan>", number(size * RAISED * 100.0))
            }
            (None, 0) => plain,
            (None, _) => format!("<tspan dy=\"{shift}\">{plain}</tspan>"),
        };
    }
    markup
}

fn opacity(of: &str, percent: u8) -> String {
    if percent >= 100 { String::new() } else { format!(" {of}-opacity=\"{}\"", f64::from(percent) / 100.0) }
}

fn hex(Rgb(r, g, b): Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// 1/100 px written in px, without trailing zeros.
fn px(centi: Centi) -> String {
    format!("{}", f64::from(centi) / 100.0)
}

fn number(centi: f64) -> String {
    px(centi.round() as Centi)
}

pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // Not allowed in XML, not even escaped.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// FNV-1a: a short name for a content, the same on every machine and in every version of the compiler.
fn fingerprint(content: &str) -> String {
    let hash = content
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{:08x}", hash >> 32)
}
