//! Rows of a Parquet file, as Hugging Face keeps datasets. Pages may be plain or packed with Snappy or gzip, which is what
//! is found; Zstandard, Brotli and LZ4 would each cost a C library or a crate.

use super::row::{DatasetRow, RowPlace};
use crate::files;
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Number, Value};
use std::fs::File;
use std::path::Path;

/// Calls `each` with every row, or the reason why it can't be read.
///
/// # Errors
/// In words, when the file as a whole can't be read.
pub(super) fn for_each(path: &Path, each: &mut dyn FnMut(RowPlace, Result<DatasetRow, String>)) -> Result<(), String> {
    let file = files::open_raw(path).map_err(|e| e.to_string())?;
    let reader = SerializedFileReader::new(file)
        .map_err(|e| format!("its end is missing or damaged: it was not written or copied whole ({e})"))?;
    if let Some(codec) = unknown_codec(&reader) {
        return Err(format!(
            "its pages are packed with {codec}, which is not read here: write it again with Snappy, or as JSONL \
             (in Python: pandas.read_parquet(..).to_json(.., orient=\"records\", lines=True))"
        ));
    }
    let rows = reader.get_row_iter(None).map_err(|e| e.to_string())?;
    for (number, row) in (1u64..).zip(rows) {
        let fields = |row: parquet::record::Row| row.into_columns().into_iter().map(|(name, f)| (name, value(f)));
        each(RowPlace::Row(number), row.map(|row| fields(row).collect::<Map<_, _>>()).map_err(|e| e.to_string()));
    }
    Ok(())
}

fn unknown_codec(reader: &SerializedFileReader<File>) -> Option<String> {
    let groups = reader.metadata().row_groups().iter();
    let mut codecs = groups.flat_map(|group| group.columns()).map(|column| column.compression());
    codecs.find_map(|codec| match codec {
        Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) => None,
        other => Some(other.to_string()),
    })
}

fn value(field: Field) -> Value {
    match field {
        Field::Str(text) => Value::String(text),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::String(text.to_string()),
            Err(_) => Value::Null,
        },
        Field::Bool(b) => Value::Bool(b),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float(n) => Number::from_f64(n.into()).map_or(Value::Null, Value::Number),
        Field::Double(n) => Number::from_f64(n).map_or(Value::Null, Value::Number),
        Field::Group(row) => Value::Object(row.into_columns().into_iter().map(|(k, v)| (k, value(v))).collect()),
        Field::ListInternal(list) => Value::Array(list.elements().iter().cloned().map(value).collect()),
        _ => Value::Null,
    }
}
