//! Opening: only regular files, gzip and Zstandard unpacked, byte order marks taken off, UTF-16 read as UTF-8.

use super::utf16::{Endian, Utf16};
use super::zstd::Zstd;
use crate::words::bytes;
use flate2::bufread::MultiGzDecoder;
use std::fs::{File, FileType};
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Of what is not read here, with its name.
const OTHERS: [(&[u8], &str); 4] =
    [(b"\xfd7zXZ\0", "xz"), (b"PK\x03\x04", "zip"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"\x04\x22\x4d\x18", "lz4")];
const UTF8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A file's text as UTF-8, whatever it was packed with.
///
/// # Errors
/// As [`open_raw`].
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    decoded(unpacked(BufReader::with_capacity(1 << 16, open_raw(path)?))?)
}

/// A file as it is.
///
/// # Errors
/// Also for what is no regular file: a pipe would be waited for, and a device has no end.
pub(crate) fn open_raw(path: &Path) -> io::Result<File> {
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, format!("it is {}, and a file is needed", name_of(kind))));
    }
    File::open(path)
}

/// All of a file, if it holds `most` bytes at most once unpacked.
///
/// # Errors
/// As [`open`], and for a larger file.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut contents)?;
    if contents.len() as u64 > most {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it holds more than {}", bytes(most))));
    }
    Ok(contents)
}

/// As [`read`], for text.
///
/// # Errors
/// As [`read`], and for what is not UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|e| {
        Error::new(ErrorKind::InvalidData, format!("it is not UTF-8 (byte {})", e.utf8_error().valid_up_to()))
    })
}

fn name_of(kind: FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "no regular file",
    }
}

fn unpacked(mut file: BufReader<File>) -> io::Result<Box<dyn BufRead>> {
    let start = file.fill_buf()?;
    if start.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))));
    }
    if start.starts_with(&ZSTANDARD) {
        return Ok(Box::new(BufReader::new(Zstd::new(file))));
    }
    let other = OTHERS.iter().find(|(mark, _)| start.starts_with(mark)).map(|(_, name)| *name);
    if let Some(name) = other.or(is_bzip2(start).then_some("bzip2")) {
        let text = format!("it is packed with {name}, which is not read here: unpack it, or pack it with gzip or zstd");
        return Err(Error::new(ErrorKind::InvalidData, text));
    }
    Ok(Box::new(file))
}

/// Its mark alone may be a word's beginning.
fn is_bzip2(start: &[u8]) -> bool {
    start.starts_with(b"BZh") && start.get(4..10) == Some(b"1AY&SY")
}

fn decoded(mut text: Box<dyn BufRead>) -> io::Result<Box<dyn BufRead>> {
    let start = text.fill_buf()?;
    if start.starts_with(&UTF8_MARK) {
        text.consume(UTF8_MARK.len());
        return Ok(text);
    }
    let (endian, mark) = match start {
        [0xff, 0xfe, ..] => (Endian::Little, 2),
        [0xfe, 0xff, ..] => (Endian::Big, 2),
        // Without a mark: every second byte of ASCII is 0.
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => (Endian::Little, 0),
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => (Endian::Big, 0),
        _ => return Ok(text),
    };
    text.consume(mark);
    Ok(Box::new(BufReader::new(Utf16::new(text, endian))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const TEXT: &str = "{\"prompt\": \"Grüße, 🙂\"}\n";

    fn read_back(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("file");
        std::fs::write(&path, bytes).expect("written");
        read_text(&path, 1 << 20).expect("read")
    }

    fn utf16(unit: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        TEXT.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn one_text_in_every_coat() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(TEXT.as_bytes()).expect("packed");
        let gzip = gzip.finish().expect("packed");
        let zstd = ruzstd::encoding::compress_to_vec(TEXT.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
        assert_eq!(read_back(TEXT.as_bytes()), TEXT);
        assert_eq!(read_back(&[&UTF8_MARK[..], TEXT.as_bytes()].concat()), TEXT);
        assert_eq!(read_back(&[&[0xff, 0xfe][..], &utf16(u16::to_le_bytes)].concat()), TEXT);
        assert_eq!(read_back(&[&[0xfe, 0xff][..], &utf16(u16::to_be_bytes)].concat()), TEXT);
        assert_eq!(read_back(&utf16(u16::to_le_bytes)), TEXT, "no mark");
        assert_eq!(read_back(&gzip), TEXT);
        assert_eq!(read_back(&[gzip.clone(), gzip].concat()), TEXT.repeat(2), "members of one file");
        assert_eq!(read_back(&zstd), TEXT);
        assert_eq!(read_back(&[zstd.clone(), zstd].concat()), TEXT.repeat(2), "frames of one file");
        assert_eq!(read_back(b""), "");
    }

    #[test]
    fn other_packers_are_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (start, name) in [(&b"\xfd7zXZ\0\0"[..], "xz"), (b"BZh91AY&SY\0", "bzip2"), (b"PK\x03\x04", "zip")] {
            std::fs::write(file.path(), start).expect("written");
            let told = read(file.path(), 100).expect_err("packed").to_string();
            assert!(told.contains(&format!("packed with {name}, which is not read here: unpack it")), "{told}");
        }
        std::fs::write(file.path(), "BZhang asks").expect("written");
        assert!(read(file.path(), 100).is_ok());
    }

    #[test]
    fn what_is_no_file_is_told_and_never_waited_for() {
        let dir = tempfile::tempdir().expect("tempdir");
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("made");
        for (path, word) in
            [(pipe.as_path(), "a pipe"), (dir.path(), "a directory"), (Path::new("/dev/zero"), "a device")]
        {
            let error = read(path, 10).expect_err("refused").to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_file_that_unpacks_to_more_than_is_wanted_is_left() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("zeros.gz");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![b' '; 4 << 20]).expect("packed");
        std::fs::write(&path, gzip.finish().expect("packed")).expect("written");
        assert!(read(&path, 4 << 20).is_ok());
        assert!(read(&path, 1 << 20).expect_err("too large").to_string().contains("more than 1 MiB"));
    }
}
