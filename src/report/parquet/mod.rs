//! requests.parquet: one row a request of every arm, for notebooks. Times in seconds; what is missing is null.
//! Deliberately without arrow: fifteen columns don't need it.

mod file;
mod thrift;

use super::Study;
use crate::analyse;
use crate::record::RecordedPoint;
use file::{Column, File};

const COLUMNS: [&str; 15] = [
    "arm",
    "rate_req_per_s",
    "attempt",
    "index",
    "outcome",
    "prompt_tokens",
    "output_tokens",
    "due_s",
    "sent_s",
    "first_token_s",
    "last_token_s",
    "end_s",
    "ttft_s",
    "tpot_s",
    "e2el_s",
];

/// The bytes of requests.parquet: a row group for each point.
pub fn requests(study: &Study) -> Vec<u8> {
    let mut file = File::new(&COLUMNS);
    for (arm, run) in study.arms.iter().zip(&study.runs) {
        for point in run.points.iter().filter(|p| !p.samples.is_empty()) {
            let rows: Vec<analyse::Row> = point.samples.rows().filter(analyse::Row::is_recorded).collect();
            file.group(&columns(&arm.label, point, &rows));
        }
    }
    file.finish()
}

/// The columns in the order of [`COLUMNS`].
fn columns<'a>(arm: &'a str, point: &RecordedPoint, rows: &[analyse::Row]) -> Vec<Column<'a>> {
    let counts = |pick: fn(&analyse::Row) -> u32| Column::Counts(rows.iter().map(|r| pick(r).into()).collect());
    let times = |pick: fn(&analyse::Row) -> f64| Column::Numbers(rows.iter().map(pick).collect());
    let known = |pick: fn(&analyse::Row) -> Option<f64>| Column::KnownNumbers(rows.iter().map(pick).collect());
    vec![
        Column::Names(vec![arm; rows.len()]),
        Column::Numbers(vec![point.key.rate.per_second(); rows.len()]),
        Column::Counts(vec![point.key.attempt.into(); rows.len()]),
        counts(|r| r.index),
        Column::Names(rows.iter().map(|r| r.fate).collect()),
        counts(|r| r.prompt_tokens.get()),
        Column::KnownCounts(rows.iter().map(|r| Some(r.output_tokens?.get().into())).collect()),
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
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::RowAccessor;

    #[test]
    fn every_request_is_a_row_and_a_failure_has_no_latency() {
        let run = Made { rates: vec![2.0, 4.0], requests: 20, failing: 1, ..Made::nixl() }.run();
        let bytes = requests(&Study::new(vec![run], question(125.0, 200.0)));
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
