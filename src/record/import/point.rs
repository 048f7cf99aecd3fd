//! A point as a result file tells it, whichever program wrote the file.

use crate::outcome::RequestRecord;
use crate::units::RequestRate;

/// Requests of one rate, and what the file knows beside them.
#[derive(Debug, Clone)]
pub struct ImportedPoint {
    pub rate: RequestRate,
    pub records: Vec<RequestRecord>,
    pub duration_secs: Option<f64>,
    /// As the file writes it; files of one program sort by it.
    pub date: Option<String>,
    /// `simple`, `nixl`, or what else the file calls its deployment.
    pub mode: Option<String>,
    pub launch: u32,
    pub host: Option<String>,
    pub facts: ImportedFacts,
}

/// What result files know of their deployment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportedFacts {
    pub model: Option<String>,
    pub dataset: Option<String>,
    pub date: Option<String>,
    pub prefill: Option<u32>,
    pub decode: Option<u32>,
    pub tensor_parallel: Option<u32>,
    pub prefill_tp: Option<u32>,
    pub decode_tp: Option<u32>,
    /// Of the whole deployment, where the file says it.
    pub gpus: Option<u32>,
}

impl ImportedFacts {
    /// GPUs of the whole deployment, where the files say enough.
    pub fn gpus(&self) -> Option<u32> {
        if self.gpus.is_some() {
            return self.gpus;
        }
        let tp = self.tensor_parallel;
        let of = |instances: u32, tp: Option<u32>| instances.checked_mul(tp?);
        match (self.prefill.filter(|&n| n > 0), self.decode.filter(|&n| n > 0)) {
            (Some(p), Some(d)) => of(p, self.prefill_tp.or(tp))?.checked_add(of(d, self.decode_tp.or(tp))?),
            (None, None) => tp,
            _ => None,
        }
    }
}
