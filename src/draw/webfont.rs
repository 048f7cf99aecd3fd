//! The embedded font cut down to a figure's characters, as a CSS `@font-face`.
//!
//! A figure must look the same everywhere and its text must stay text: selectable, searchable, readable by screen
//! readers. Converting text to outlines loses the second, naming a system font loses the first. So a stand-alone SVG
//! carries the glyphs it uses (about 10 KB a weight). Each face lists its characters as `unicode-range`, so that the
//! subsets of several figures on one page complete each other instead of hiding each other.
//!
//! The subsetter crate writes fonts for PDF, which need no character map; browsers do, and ask for `OS/2` too. Both are
//! added here. Instructions for hinting stay: glyphs refer to them.

use std::collections::BTreeSet;

use base64::Engine;
use subsetter::GlyphRemapper;
use ttf_parser::Tag;

use super::error::DrawError;
use super::svg::Characters;
use super::text::{FAMILY, Weight};

/// One rule for every weight in use.
pub(super) fn font_face_css(characters: &Characters) -> Result<String, DrawError> {
    let mut css = String::new();
    for (&weight, used) in characters {
        let font = base64::engine::general_purpose::STANDARD.encode(subset(weight, used)?);
        css += &format!(
            "@font-face{{font-family:'{FAMILY}';font-weight:{};src:url(data:font/ttf;base64,{font}) format('truetype');unicode-range:{}}}",
            weight.css(),
            unicode_range(used)
        );
    }
    Ok(css)
}

/// Runs of neighbouring characters in CSS notation.
fn unicode_range(characters: &BTreeSet<char>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for code in characters.iter().map(|&c| u32::from(c)) {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == code => *end = code,
            _ => runs.push((code, code)),
        }
    }
    let write = |&(start, end): &(u32, u32)| {
        if start == end { format!("U+{start:X}") } else { format!("U+{start:X}-{end:X}") }
    };
    runs.iter().map(write).collect::<Vec<_>>().join(",")
}

/// A TrueType font with the glyphs of `characters` only.
fn subset(weight: Weight, characters: &BTreeSet<char>) -> Result<Vec<u8>, DrawError> {
    let mut remapper = GlyphRemapper::new();
    let face = weight.face();
    let mapped: Vec<(u16, u16)> = characters
        .iter()
        .filter_map(|&c| Some((u16::try_from(u32::from(c)).ok()?, remapper.remap(face.glyph_index(c)?.0))))
        .collect();
    let bare = subsetter::subset(weight.data(), 0, &remapper).map_err(|error| DrawError::Font(error.to_string()))?;
    let mut tables = tables(&bare).ok_or_else(|| DrawError::Font("the subset has no table directory".into()))?;
    tables.push((*b"cmap", character_map(&mapped)));
    let os2 = face.raw_face().table(Tag::from_bytes(b"OS/2")).unwrap_or_default();
    tables.push((*b"OS/2", os2.to_vec()));
    tables.sort();
    Ok(assemble(tables))
}

type FontTable = ([u8; 4], Vec<u8>);

/// The tables of a TrueType font, by its directory of 16-byte records behind a 12-byte header.
fn tables(font: &[u8]) -> Option<Vec<FontTable>> {
    let count = u16::from_be_bytes(font.get(4..6)?.try_into().ok()?);
    let word = |at: usize| Some(u32::from_be_bytes(font.get(at..at + 4)?.try_into().ok()?) as usize);
    (0..usize::from(count))
        .map(|index| {
            let record = 12 + 16 * index;
            let tag = font.get(record..record + 4)?.try_into().ok()?;
            let (offset, length) = (word(record + 8)?, word(record + 12)?);
            Some((tag, font.get(offset..offset + length)?.to_vec()))
        })
        .collect()
}

/// A `cmap` with one format 4 subtable for Unicode's basic plane, one segment a character.
fn character_map(mapped: &[(u16, u16)]) -> Vec<u8> {
    let segments: Vec<(u16, u16)> = mapped.iter().copied().chain([(0xffff, 0)]).collect();
    let count = segments.len() as u16;
    let log = count.ilog2() as u16;
    let search = 2u16 << log;
    let length = 16 + 8 * count;
    let mut words: Vec<u16> = vec![0, 1, 3, 1, 0, 12];
    words.extend([4, length, 0, count * 2, search, log, count * 2 - search]);
    words.extend(segments.iter().map(|&(code, _)| code));
    words.push(0);
    words.extend(segments.iter().map(|&(code, _)| code));
    words.extend(segments.iter().map(|&(code, glyph)| if code == 0xffff { 1 } else { glyph.wrapping_sub(code) }));
    words.extend(segments.iter().map(|_| 0));
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn assemble(mut tables: Vec<FontTable>) -> Vec<u8> {
    let count = tables.len() as u16;
    let log = count.ilog2() as u16;
    let search = 16u16 << log;
    let mut font = vec![0, 1, 0, 0];
    [count, search, log, count * 16 - search].iter().for_each(|word| font.extend(word.to_be_bytes()));
    let mut offset = 12 + 16 * tables.len();
    let mut head = 0;
    for (tag, data) in &mut tables {
        if tag == b"head" {
            // The checksum of the whole font is taken with this field at zero, and written into it.
            data[8..12].fill(0);
            head = offset;
        }
        font.extend_from_slice(tag);
        for word in [checksum(data), offset as u32, data.len() as u32] {
            font.extend(word.to_be_bytes());
        }
        offset += data.len().next_multiple_of(4);
    }
    for (_, data) in &tables {
        font.extend_from_slice(data);
        font.resize(font.len().next_multiple_of(4), 0);
    }
    let adjustment = 0xb1b0_afba_u32.wrapping_sub(checksum(&font));
    font[head + 8..head + 12].copy_from_slice(&adjustment.to_be_bytes());
    font
}

fn checksum(data: &[u8]) -> u32 {
    data.chunks(4).fold(0, |sum: u32, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.wrapping_add(u32::from_be_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_keeps_its_characters_with_their_widths_and_nothing_else() {
        let used: BTreeSet<char> = "TTFT 90 % ≥ é".chars().collect();
        let font = subset(Weight::Regular, &used).unwrap();
        assert!(font.len() < 20_000, "{} bytes", font.len());
        let (cut, whole) = (ttf_parser::Face::parse(&font, 0).unwrap(), Weight::Regular.face());
        for c in used {
            let glyph = cut.glyph_index(c).unwrap_or_else(|| panic!("{c} is missing"));
            assert_eq!(cut.glyph_hor_advance(glyph), whole.glyph_hor_advance(whole.glyph_index(c).unwrap()));
            assert_eq!(cut.glyph_bounding_box(glyph), whole.glyph_bounding_box(whole.glyph_index(c).unwrap()));
        }
        assert_eq!(cut.glyph_index('Q'), None);
        assert_eq!(checksum(&font), 0xb1b0_afba);
    }

    #[test]
    fn ranges_join_neighbours() {
        assert_eq!(unicode_range(&"abcx→".chars().collect()), "U+61-63,U+78,U+2192");
    }
}
