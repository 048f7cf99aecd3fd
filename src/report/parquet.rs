//! requests.parquet: one row a request of every arm, for notebooks. Times in seconds; what is missing is null.

use super::Study;
use crate::analyse;
use crate::record::RecordedPoint;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

const SCHEMA: &str = "message requests {
    required binary arm (utf8);
    required double rate_req_per_s;
    required int64 attempt;
    required int64 index;
    required binary outcome (utf8);
    required int64 prompt_tokens;
    optional int64 output_tokens;
    required double due_s;
    optional double sent_s;
    optional double first_token_s;
    optional double last_token_s;
    required double end_s;
    optional double ttft_s;
    optional double tpot_s;
    optional double e2el_s;
}";

/// The values of a column of one row group. What isn't known is null.
enum Values {
    Names(Vec<ByteArray>),
    Counts(Vec<i64>),
    KnownCounts(Vec<Option<i64>>),
    Numbers(Vec<f64>),
    KnownNumbers(Vec<Option<f64>>),
}

impl Values {
    fn write(self, column: &mut SerializedColumnWriter<'_>) -> Result<()> {
        match self {
            Values::Names(values) => all::<ByteArrayType>(column, &values),
            Values::Counts(values) => all::<Int64Type>(column, &values),
            Values::KnownCounts(values) => known::<Int64Type>(column, &values),
            Values::Numbers(values) => all::<DoubleType>(column, &values),
            Values::KnownNumbers(values) => known::<DoubleType>(column, &values),
        }
    }
}

fn all<T: DataType>(column: &mut SerializedColumnWriter<'_>, values: &[T::T]) -> Result<()> {
    column.typed::<T>().write_batch(values, None, None).map(drop)
}

fn known<T: DataType>(column: &mut SerializedColumnWriter<'_>, values: &[Option<T::T>]) -> Result<()> {
    let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
    let values: Vec<T::T> = values.iter().flatten().cloned().collect();
    column.typed::<T>().write_batch(&values, Some(&levels), None).map(drop)
}

/// The bytes of requests.parquet: a row group for each point.
///
/// # Errors
/// In the words of the Parquet library.
pub fn requests(study: &Study) -> Result<Vec<u8>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("topobench ", env!("CARGO_PKG_VERSION")).to_string());
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build()))?;
    for (arm, run) in study.arms.iter().zip(&study.runs) {
        for point in run.points.iter().filter(|p| !p.samples.is_empty()) {
            let rows: Vec<analyse::Row> = point.samples.rows().filter(analyse::Row::is_recorded).collect();
            let mut group = file.next_row_group()?;
            for values in columns(&arm.label, point, &rows) {
                let Some(mut column) = group.next_column()? else { break };
                values.write(&mut column)?;
                column.close()?;
            }
            group.close()?;
        }
    }
    file.into_inner()
}

/// The columns in the order of [`SCHEMA`].
fn columns(arm: &str, point: &RecordedPoint, rows: &[analyse::Row]) -> Vec<Values> {
    let counts = |pick: fn(&analyse::Row) -> u32| Values::Counts(rows.iter().map(|r| pick(r).into()).collect());
    let times = |pick: fn(&analyse::Row) -> f64| Values::Numbers(rows.iter().map(pick).collect());
    let known = |pick: fn(&analyse::Row) -> Option<f64>| Values::KnownNumbers(rows.iter().map(pick).collect());
    vec![
        Values::Names(vec![arm.into(); rows.len()]),
        Values::Numbers(vec![point.key.rate.per_second(); rows.len()]),
        Values::Counts(vec![point.key.attempt.into(); rows.len()]),
        counts(|r| r.index),
        Values::Names(rows.iter().map(|r| r.fate.into()).collect()),
        counts(|r| r.prompt_tokens.get()),
        Values::KnownCounts(rows.iter().map(|r| Some(r.output_tokens?.get().into())).collect()),
        times(|r| r.due),
        known(|r| r.sent),
        known(|r| Some(r.due + r.ttft?.as_secs())),
        known(|r| Some(r.due + r.e2el?.as_secs())),
        times(|r| r.end),
        known(|r| Some(r.ttft?.as_secs())),
        known(|r| Some(r.tpot?.as_secs())),
        known(|r| Some(r.e2el?.as_secs())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{Made, question};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    #[test]
    fn every_request_is_a_row_and_a_failure_has_no_latency() {
        let run = Made { rates: vec![2.0, 4.0], requests: 20, failing: 1, ..Made::nixl() }.run();
        let study = Study::new(vec![run], question(125.0, 200.0));
        let bytes = requests(&study).expect("written");
        assert_eq!(bytes, requests(&study).expect("written"), "the same bytes each time");
        let file = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("reads");
        let rows: Vec<_> = file.get_row_iter(None).expect("rows").map(|row| row.expect("row")).collect();
        assert_eq!(rows.len(), 40);
        assert_eq!(rows[0].get_string(4).expect("outcome"), "connect");
        assert!(rows[0].get_double(12).is_err(), "null");
        assert_eq!(rows[1].get_string(0).expect("arm"), "nixl");
        assert!(rows[1].get_double(12).expect("ttft") > 0.09);
        assert_eq!(rows[39].get_double(1).expect("rate"), 4.0);
    }

    #[test]
    fn a_file_without_rows_is_a_file() {
        let bytes = requests(&Study::new(Vec::new(), question(125.0, 200.0))).expect("written");
        let file = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("reads");
        assert_eq!(file.metadata().file_metadata().num_rows(), 0);
    }
}
