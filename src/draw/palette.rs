//! Colours and marker shapes: safe for colour-blind readers, and told apart in greyscale by lightness, shape and dash.
//!
//! The first arm is red and the second blue, as in the papers this kind of figure comes from. The neighbours differ in
//! lightness as well as in hue, so that a photocopy keeps them apart.

/// An opaque sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rgb(pub u8, pub u8, pub u8);

impl Rgb {
    pub const BLACK: Self = Self(0x1a, 0x1a, 0x1a);
    pub const WHITE: Self = Self(0xff, 0xff, 0xff);
    /// Text of the second rank, target lines, drop lines.
    pub const GREY: Self = Self(0x55, 0x55, 0x55);
    /// Grid lines.
    pub const PALE: Self = Self(0xe4, 0xe4, 0xe4);

    /// The colour `amount` (0..=1) of the way to `other`, mixed in sRGB.
    #[must_use]
    pub fn mix(self, other: Self, amount: f64) -> Self {
        let amount = amount.clamp(0.0, 1.0);
        let channel = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * amount).round() as u8;
        Self(channel(self.0, other.0), channel(self.1, other.1), channel(self.2, other.2))
    }

    /// CIE lightness L*, 0 (black) to 100 (white): what remains of the colour in greyscale.
    #[must_use]
    pub fn lightness(self) -> f64 {
        let [r, g, b] = self.linear();
        let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        if y > 0.008_856 { 116.0 * y.cbrt() - 16.0 } else { 903.3 * y }
    }

    /// This colour, darkened until small text in it is readable on white: lines may be lighter than words.
    #[must_use]
    pub fn for_text(self) -> Self {
        /// About WCAG's contrast of 4.5 with white.
        const LIGHTEST: f64 = 50.0;
        let darker = (0..=20).map(|step| self.mix(Self::BLACK, f64::from(step) / 20.0));
        darker.into_iter().find(|color| color.lightness() <= LIGHTEST).unwrap_or(Self::BLACK)
    }

    /// Black or white, whichever is easier to read on this colour.
    #[must_use]
    pub fn ink(self) -> Self {
        if self.lightness() > 58.0 { Self::BLACK } else { Self::WHITE }
    }

    pub(super) fn linear(self) -> [f64; 3] {
        [self.0, self.1, self.2].map(|channel| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        })
    }
}

const PALETTE: [Rgb; 8] = [
    Rgb(0xdd, 0x2c, 0x1f), // red
    Rgb(0x0b, 0x3c, 0x8c), // blue
    Rgb(0xe8, 0xa2, 0x00), // amber
    Rgb(0x00, 0x8b, 0x74), // green
    Rgb(0x6f, 0xc0, 0xee), // sky
    Rgb(0x4a, 0x2c, 0x1a), // brown
    Rgb(0xe0, 0x8f, 0xc0), // pink
    Rgb(0x6e, 0x6e, 0x6e), // grey
];

/// The colour of the `index`-th arm: red, blue, then other hues; repeats after eight.
#[must_use]
pub fn palette(index: usize) -> Rgb {
    PALETTE[index % PALETTE.len()]
}

/// The outline of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkerShape {
    Circle,
    Square,
    Triangle,
    Diamond,
    TriangleDown,
    Pentagon,
    Hexagon,
}

const SHAPES: [MarkerShape; 7] = [
    MarkerShape::Circle,
    MarkerShape::Square,
    MarkerShape::Triangle,
    MarkerShape::Diamond,
    MarkerShape::TriangleDown,
    MarkerShape::Pentagon,
    MarkerShape::Hexagon,
];

/// The marker shape of the `index`-th arm. Seven shapes against eight colours: 56 arms before a pair repeats.
#[must_use]
pub fn marker(index: usize) -> MarkerShape {
    SHAPES[index % SHAPES.len()]
}

impl MarkerShape {
    /// Corners about the origin for a marker of `radius`, y downwards; `None` for a circle. Radii are evened out so that
    /// all shapes cover about the same area.
    pub(super) fn corners(self, radius: f64) -> Option<Vec<(f64, f64)>> {
        let (corners, stretch, turn) = match self {
            Self::Circle => return None,
            Self::Square => (4, 1.25, 45.0),
            Self::Triangle => (3, 1.4, 0.0),
            Self::Diamond => (4, 1.35, 0.0),
            Self::TriangleDown => (3, 1.4, 180.0),
            Self::Pentagon => (5, 1.15, 0.0),
            Self::Hexagon => (6, 1.1, 30.0),
        };
        let radius = radius * stretch;
        let corner = |i: u32| {
            let angle = (f64::from(i) * 360.0 / f64::from(corners) + turn).to_radians();
            (radius * angle.sin(), -radius * angle.cos())
        };
        Some((0..corners).map(corner).collect())
    }
}

/// A mapping from values to colours for [`Cells`](super::Cells). Values outside the range take the end colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ramp {
    /// White-ish at `low`, `color` at `high`.
    Sequential { low: f64, high: f64, color: Rgb },
    /// `below` at `low`, white at `middle`, `above` at `high`; each half is linear.
    Diverging { low: f64, middle: f64, high: f64, below: Rgb, above: Rgb },
}

impl Ramp {
    #[must_use]
    pub fn color(&self, value: f64) -> Rgb {
        let paper = Rgb(0xf7, 0xf7, 0xf5);
        match *self {
            Self::Sequential { low, high, color } => paper.mix(color, (value - low) / (high - low)),
            Self::Diverging { low, middle, below, .. } if value < middle => {
                paper.mix(below, (middle - value) / (middle - low))
            }
            Self::Diverging { middle, high, above, .. } => paper.mix(above, (value - middle) / (high - middle)),
        }
    }

    /// The values at the two ends.
    #[must_use]
    pub fn bounds(&self) -> (f64, f64) {
        match *self {
            Self::Sequential { low, high, .. } | Self::Diverging { low, high, .. } => (low, high),
        }
    }

    /// Whether the stops are finite and in order.
    pub(super) fn is_sound(&self) -> bool {
        match *self {
            Self::Sequential { low, high, .. } => low.is_finite() && high.is_finite() && low < high,
            Self::Diverging { low, middle, high, .. } => {
                low.is_finite() && high.is_finite() && low < middle && middle < high
            }
        }
    }
}
