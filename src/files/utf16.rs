//! UTF-16 as UTF-8, as it is read. Halves of pairs become U+FFFD.

use std::io::{self, Read};

#[derive(Debug, Clone, Copy)]
pub(super) enum Endian {
    Little,
    Big,
}

pub(super) struct Utf16<R> {
    inner: R,
    endian: Endian,
    /// UTF-8 that is ready and not yet handed out.
    ready: Vec<u8>,
    handed: usize,
    /// The first half of a pair.
    high: Option<u16>,
    /// The first byte of a unit.
    odd: Option<u8>,
}

impl<R: Read> Utf16<R> {
    pub(super) fn new(inner: R, endian: Endian) -> Self {
        Utf16 { inner, endian, ready: Vec::new(), handed: 0, high: None, odd: None }
    }

    /// Reads and decodes more; false at the end.
    fn refill(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 1 << 13];
        let read = self.inner.read(&mut bytes)?;
        self.ready.clear();
        self.handed = 0;
        if read == 0 {
            let cut = self.high.take().is_some() | self.odd.take().is_some();
            if cut {
                self.push(char::REPLACEMENT_CHARACTER);
            }
            return Ok(cut);
        }
        for byte in &bytes[..read] {
            match self.odd.take() {
                None => self.odd = Some(*byte),
                Some(first) => self.unit(match self.endian {
                    Endian::Little => u16::from_le_bytes([first, *byte]),
                    Endian::Big => u16::from_be_bytes([first, *byte]),
                }),
            }
        }
        Ok(true)
    }

    fn unit(&mut self, unit: u16) {
        let units: Vec<u16> = self.high.take().into_iter().chain([unit]).collect();
        if (0xd800..0xdc00).contains(&unit) {
            if units.len() == 2 {
                self.push(char::REPLACEMENT_CHARACTER);
            }
            self.high = Some(unit);
            return;
        }
        for decoded in char::decode_utf16(units) {
            self.push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }

    fn push(&mut self, c: char) {
        self.ready.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.handed == self.ready.len() {
            if !self.refill()? {
                return Ok(0);
            }
        }
        let given = out.len().min(self.ready.len() - self.handed);
        out[..given].copy_from_slice(&self.ready[self.handed..][..given]);
        self.handed += given;
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(units: &[u16]) -> String {
        let bytes: Vec<u8> = units.iter().flat_map(|u| u.to_be_bytes()).collect();
        let mut text = String::new();
        Utf16::new(bytes.as_slice(), Endian::Big).read_to_string(&mut text).expect("UTF-8");
        text
    }

    #[test]
    fn halves_of_pairs_are_replaced() {
        assert_eq!(decoded(&[0x41, 0xd83d, 0xde42, 0x42]), "A\u{1f642}B");
        assert_eq!(decoded(&[0xd83d, 0x41]), "\u{fffd}A");
        assert_eq!(decoded(&[0xd83d, 0xd83d, 0xde42]), "\u{fffd}\u{1f642}");
        assert_eq!(decoded(&[0xde42, 0x41]), "\u{fffd}A");
        assert_eq!(decoded(&[0x41, 0xd83d]), "A\u{fffd}");
    }
}
