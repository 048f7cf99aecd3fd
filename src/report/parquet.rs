//! requests.parquet: one row a request of every arm, for notebooks. Times in seconds; what is missing is null.
//! Deliberately without arrow: fifteen columns do not need it.

use super::Study;
use crate::analyse;
use crate::record::RecordedPoint;
use crate::units::TokenCount;
use ::parquet::basic::Compression;
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use std::sync::Arc;

const SCHEMA: &str = "message requests {
    REQUIRED BYTE_ARRAY arm (UTF8);
    REQUIRED DOUBLE rate_req_per_s;
    REQUIRED INT64 attempt;
    REQUIRED INT64 index;
    REQUIRED BYTE_ARRAY outcome (UTF8);
    REQUIRED INT64 prompt_tokens;
    OPTIONAL INT64 output_tokens;
    REQUIRED DOUBLE due_s;
    OPTIONAL DOUBLE sent_s;
    OPTIONAL DOUBLE first_token_s;
    OPTIONAL DOUBLE last_token_s;
    REQUIRED DOUBLE end_s;
    OPTIONAL DOUBLE ttft_s;
    OPTIONAL DOUBLE tpot_s;
    OPTIONAL DOUBLE e2el_s;
}";

/// One request with the arm and point it belongs to.
struct Row<'a> {
    arm: &'a str,
    point: &'a RecordedPoint,
    request: analyse::Row,
}

/// The bytes of requests.parquet: a row group for each point.
///
/// # Errors
/// If the writer refuses a column, which is a mistake of this file.
pub fn requests(study: &Study) -> Result<Vec<u8>, ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    for (arm, run) in study.arms.iter().zip(&study.runs) {
        for point in run.points.iter().filter(|p| !p.samples.is_empty()) {
            let recorded = point.samples.rows().filter(analyse::Row::is_recorded);
            let rows: Vec<Row> = recorded.map(|request| Row { arm: &arm.label, point, request }).collect();
            let mut group = writer.next_row_group()?;
            write(&mut group, &rows)?;
            group.close()?;
        }
    }
    writer.into_inner()
}

/// The columns in the order of [`SCHEMA`].
fn write(group: &mut SerializedRowGroupWriter<'_, Vec<u8>>, rows: &[Row<'_>]) -> Result<(), ParquetError> {
    words(group, rows, |r| r.arm)?;
    numbers(group, rows, |r| Some(r.point.key.rate.per_second()))?;
    counts(group, rows, |r| r.point.key.attempt)?;
    counts(group, rows, |r| r.request.index)?;
    words(group, rows, |r| r.request.fate)?;
    counts(group, rows, |r| r.request.prompt_tokens.get())?;
    known_counts(group, rows, |r| r.request.output_tokens.map(TokenCount::get))?;
    numbers(group, rows, |r| Some(r.request.due))?;
    numbers(group, rows, |r| r.request.sent)?;
    numbers(group, rows, |r| Some(r.request.due + r.request.ttft?.as_secs()))?;
    numbers(group, rows, |r| Some(r.request.due + r.request.e2el?.as_secs()))?;
    numbers(group, rows, |r| Some(r.request.end))?;
    numbers(group, rows, |r| Some(r.request.ttft?.as_secs()))?;
    numbers(group, rows, |r| Some(r.request.tpot?.as_secs()))?;
    numbers(group, rows, |r| Some(r.request.e2el?.as_secs()))
}

type Group<'a, 'b> = &'a mut SerializedRowGroupWriter<'b, Vec<u8>>;

fn words<'a>(group: Group, rows: &'a [Row<'a>], pick: impl Fn(&'a Row<'a>) -> &'a str) -> Result<(), ParquetError> {
    let values: Vec<ByteArray> = rows.iter().map(|r| ByteArray::from(pick(r))).collect();
    column(group, |writer| match writer {
        ColumnWriter::ByteArrayColumnWriter(typed) => typed.write_batch(&values, None, None).map(drop),
        _ => Err(mistaken()),
    })
}

fn counts(group: Group, rows: &[Row], pick: impl Fn(&Row) -> u32) -> Result<(), ParquetError> {
    let values: Vec<i64> = rows.iter().map(|r| i64::from(pick(r))).collect();
    column(group, |writer| match writer {
        ColumnWriter::Int64ColumnWriter(typed) => typed.write_batch(&values, None, None).map(drop),
        _ => Err(mistaken()),
    })
}

fn known_counts(group: Group, rows: &[Row], pick: impl Fn(&Row) -> Option<u32>) -> Result<(), ParquetError> {
    let all: Vec<Option<i64>> = rows.iter().map(|r| pick(r).map(i64::from)).collect();
    let values: Vec<i64> = all.iter().flatten().copied().collect();
    let defined: Vec<i16> = all.iter().map(|v| i16::from(v.is_some())).collect();
    column(group, |writer| match writer {
        ColumnWriter::Int64ColumnWriter(typed) => typed.write_batch(&values, Some(&defined), None).map(drop),
        _ => Err(mistaken()),
    })
}

fn numbers(group: Group, rows: &[Row], pick: impl Fn(&Row) -> Option<f64>) -> Result<(), ParquetError> {
    let all: Vec<Option<f64>> = rows.iter().map(pick).collect();
    let values: Vec<f64> = all.iter().flatten().copied().collect();
    let defined: Vec<i16> = all.iter().map(|v| i16::from(v.is_some())).collect();
    column(group, |writer| match writer {
        // A required column takes no levels, and ignores these.
        ColumnWriter::DoubleColumnWriter(typed) => typed.write_batch(&values, Some(&defined), None).map(drop),
        _ => Err(mistaken()),
    })
}

fn column(
    group: Group,
    fill: impl FnOnce(&mut ColumnWriter<'_>) -> Result<(), ParquetError>,
) -> Result<(), ParquetError> {
    let mut column = group.next_column()?.ok_or_else(mistaken)?;
    fill(column.untyped())?;
    column.close()
}

fn mistaken() -> ParquetError {
    ParquetError::General("the columns written are not those of the schema".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{Made, question};
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::RowAccessor;

    #[test]
    fn every_request_is_a_row_and_a_failure_has_no_latency() {
        let run = Made { rates: vec![2.0, 4.0], requests: 20, failing: 1, ..Made::nixl() }.run();
        let bytes = requests(&Study::new(vec![run], question(125.0, 200.0))).expect("writes");
        let file = SerializedFileReader::new(::bytes::Bytes::from(bytes)).expect("reads");
        let rows: Vec<_> = file.get_row_iter(None).expect("rows").map(|row| row.expect("row")).collect();
        assert_eq!(rows.len(), 40);
        assert_eq!(rows[0].get_string(4).expect("outcome"), "connect");
        assert!(rows[0].get_double(12).is_err(), "null");
        assert_eq!(rows[1].get_string(0).expect("arm"), "nixl");
        assert!(rows[1].get_double(12).expect("ttft") > 0.09);
        assert_eq!(rows[39].get_double(1).expect("rate"), 4.0);
    }
}
