//! As much of the Parquet format as a table of numbers and names needs: row groups, one page a column, uncompressed; names
//! by a dictionary. Written by hand because the crate for it weighs more in a build than all of `report`; the tests read
//! the files with that crate.
//!
//! Format: <https://parquet.apache.org/docs/file-format/>; its metadata are structs in Thrift's compact protocol.

use super::thrift::Struct;

const MAGIC: &[u8] = b"PAR1";

/// Values of enums in parquet.thrift.
mod code {
    pub(super) const INT64: i32 = 2;
    pub(super) const DOUBLE: i32 = 5;
    pub(super) const BYTE_ARRAY: i32 = 6;
    pub(super) const REQUIRED: i32 = 0;
    pub(super) const OPTIONAL: i32 = 1;
    pub(super) const UTF8: i32 = 0;
    pub(super) const PLAIN: i32 = 0;
    pub(super) const RLE: i32 = 3;
    pub(super) const RLE_DICTIONARY: i32 = 8;
    pub(super) const UNCOMPRESSED: i32 = 0;
    pub(super) const DATA_PAGE: i32 = 0;
    pub(super) const DICTIONARY_PAGE: i32 = 2;
}

/// One column of a row group. All columns of a group have the same length. What isn't known is null.
pub(super) enum Column<'a> {
    Names(Vec<&'a str>),
    Counts(Vec<i64>),
    KnownCounts(Vec<Option<i64>>),
    Numbers(Vec<f64>),
    KnownNumbers(Vec<Option<f64>>),
}

impl Column<'_> {
    fn rows(&self) -> usize {
        match self {
            Column::Names(values) => values.len(),
            Column::Counts(values) => values.len(),
            Column::KnownCounts(values) => values.len(),
            Column::Numbers(values) => values.len(),
            Column::KnownNumbers(values) => values.len(),
        }
    }

    fn physical_type(&self) -> i32 {
        match self {
            Column::Names(_) => code::BYTE_ARRAY,
            Column::Counts(_) | Column::KnownCounts(_) => code::INT64,
            Column::Numbers(_) | Column::KnownNumbers(_) => code::DOUBLE,
        }
    }

    /// Its entry in the schema.
    fn described(&self, name: &str) -> Struct {
        let known = matches!(self, Column::KnownCounts(_) | Column::KnownNumbers(_));
        let repetition = if known { code::OPTIONAL } else { code::REQUIRED };
        let entry = Struct::default().int(1, self.physical_type()).int(3, repetition).text(4, name);
        if matches!(self, Column::Names(_)) { entry.int(6, code::UTF8) } else { entry }
    }
}

/// A file that grows by row groups.
pub(super) struct File {
    names: &'static [&'static str],
    bytes: Vec<u8>,
    /// The schema's entries, from the first group.
    schema: Vec<Struct>,
    groups: Vec<Struct>,
    rows: usize,
}

impl File {
    pub(super) fn new(names: &'static [&'static str]) -> Self {
        File { names, bytes: MAGIC.to_vec(), schema: Vec::new(), groups: Vec::new(), rows: 0 }
    }

    /// Appends a group, which has a column for each name, of the same kinds as the groups before.
    pub(super) fn group(&mut self, columns: &[Column<'_>]) {
        let names = self.names;
        let named = || names.iter().zip(columns);
        if self.schema.is_empty() {
            self.schema = named().map(|(name, column)| column.described(name)).collect();
        }
        let (begin, rows) = (self.bytes.len(), columns.first().map_or(0, Column::rows));
        let chunks = named().map(|(name, column)| chunk(&mut self.bytes, name, column)).collect();
        let bytes = long(self.bytes.len() - begin);
        self.groups.push(Struct::default().structs(1, chunks).long(2, bytes).long(3, long(rows)));
        self.rows += rows;
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let root = Struct::default().text(4, "requests").int(5, self.schema.len() as i32);
        let metadata = Struct::default()
            .int(1, 1)
            .structs(2, std::iter::once(root).chain(self.schema).collect())
            .long(3, long(self.rows))
            .structs(4, self.groups)
            .text(6, concat!("topobench ", env!("CARGO_PKG_VERSION")))
            .finish();
        self.bytes.extend_from_slice(&metadata);
        self.bytes.extend_from_slice(&length(metadata.len()));
        self.bytes.extend_from_slice(MAGIC);
        self.bytes
    }
}

/// Appends a column's pages, and returns its entry in the metadata.
fn chunk(file: &mut Vec<u8>, name: &str, column: &Column<'_>) -> Struct {
    let begin = file.len();
    let mut dictionary = None;
    let (encoding, values) = match column {
        Column::Counts(values) => (code::PLAIN, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Column::Numbers(values) => (code::PLAIN, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Column::KnownCounts(values) => (code::PLAIN, known(values, i64::to_le_bytes)),
        Column::KnownNumbers(values) => (code::PLAIN, known(values, f64::to_le_bytes)),
        Column::Names(values) => {
            let (words, indices) = by_dictionary(values);
            dictionary = Some(begin);
            page(
                file,
                code::DICTIONARY_PAGE,
                7,
                Struct::default().int(1, words.len() as i32).int(2, code::PLAIN),
                &plain(&words),
            );
            (code::RLE_DICTIONARY, indices)
        }
    };
    let data = file.len();
    let header = Struct::default().int(1, column.rows() as i32).int(2, encoding).int(3, code::RLE).int(4, code::RLE);
    page(file, code::DATA_PAGE, 5, header, &values);
    let bytes = long(file.len() - begin);
    let metadata = Struct::default()
        .int(1, column.physical_type())
        .ints(2, &[code::PLAIN, code::RLE, code::RLE_DICTIONARY])
        .texts(3, &[name])
        .int(4, code::UNCOMPRESSED)
        .long(5, long(column.rows()))
        .long(6, bytes)
        .long(7, bytes)
        .long(9, long(data));
    let metadata = match dictionary {
        Some(at) => metadata.long(11, long(at)),
        None => metadata,
    };
    Struct::default().long(2, long(begin)).nested(3, metadata)
}

fn page(file: &mut Vec<u8>, kind: i32, field: u8, header: Struct, body: &[u8]) {
    let size = body.len() as i32;
    let header = Struct::default().int(1, kind).int(2, size).int(3, size).nested(field, header);
    file.extend_from_slice(&header.finish());
    file.extend_from_slice(body);
}

/// Which values are known, then those that are.
fn known<T: Copy>(values: &[Option<T>], bytes_of: fn(T) -> [u8; 8]) -> Vec<u8> {
    let levels = runs(1, values.iter().map(|v| u32::from(v.is_some())));
    let mut bytes = length(levels.len()).to_vec();
    bytes.extend(levels);
    bytes.extend(values.iter().flatten().flat_map(|v| bytes_of(*v)));
    bytes
}

/// The different words in the order in which they come, and each value's place among them.
fn by_dictionary<'a>(values: &[&'a str]) -> (Vec<&'a str>, Vec<u8>) {
    let mut words: Vec<&str> = Vec::new();
    let places: Vec<u32> = values
        .iter()
        .map(|value| {
            let known = words.iter().position(|word| word == value);
            known.unwrap_or_else(|| {
                words.push(value);
                words.len() - 1
            }) as u32
        })
        .collect();
    let width = (u32::BITS - (words.len() as u32).saturating_sub(1).leading_zeros()).max(1);
    let mut bytes = vec![width as u8];
    bytes.extend(runs(width.div_ceil(8) as usize, places.into_iter()));
    (words, bytes)
}

fn plain(words: &[&str]) -> Vec<u8> {
    words.iter().flat_map(|word| length(word.len()).into_iter().chain(word.bytes())).collect()
}

/// Runs of equal values: how often, then the value in `bytes` bytes.
fn runs(bytes: usize, mut values: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut next = values.next();
    while let Some(value) = next {
        let mut count: u64 = 1;
        next = values.next();
        while next == Some(value) {
            count += 1;
            next = values.next();
        }
        super::thrift::varint(&mut out, count << 1);
        out.extend_from_slice(&value.to_le_bytes()[..bytes]);
    }
    out
}

fn length(bytes: usize) -> [u8; 4] {
    (bytes as u32).to_le_bytes()
}

fn long(n: usize) -> i64 {
    n as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::RowAccessor;

    fn read(file: Vec<u8>) -> SerializedFileReader<::bytes::Bytes> {
        SerializedFileReader::new(::bytes::Bytes::from(file)).expect("reads")
    }

    #[test]
    fn the_reference_reader_finds_every_value() {
        let names: Vec<String> = (0..700).map(|i| format!("name {}", i % 300)).collect();
        let group = |from: usize| {
            let rows = from..from + 350;
            [
                Column::Names(names[rows.clone()].iter().map(String::as_str).collect()),
                Column::Counts(rows.clone().map(|i| -(i as i64)).collect()),
                Column::KnownNumbers(rows.clone().map(|i| (i % 7 != 0).then_some(i as f64 / 4.0)).collect()),
                Column::KnownCounts(rows.map(|i| (i % 2 == 0).then_some(i as i64)).collect()),
            ]
        };
        let mut file = File::new(&["name", "count", "number", "known"]);
        file.group(&group(0));
        file.group(&group(350));
        let reader = read(file.finish());
        let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("row")).collect();
        assert_eq!((reader.num_row_groups(), rows.len()), (2, 700));
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(row.get_string(0).expect("name"), &names[i]);
            assert_eq!(row.get_long(1).expect("count"), -(i as i64));
            assert_eq!(row.get_double(2).ok(), (i % 7 != 0).then_some(i as f64 / 4.0), "row {i}");
            assert_eq!(row.get_long(3).ok(), (i % 2 == 0).then_some(i as i64), "row {i}");
        }
    }

    #[test]
    fn a_file_without_rows_is_a_file() {
        assert_eq!(read(File::new(&["name"]).finish()).metadata().file_metadata().num_rows(), 0);
    }
}
