//! Exit codes, documented where they are defined.

use std::process::ExitCode;

/// How the program ends. When several apply, the more basic one wins: an interrupt over a failed launch over a doubtful
/// point over a missed gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything that was asked for was done.
    Good,
    /// 5: a point lies below `--gate`.
    GateMissed,
    /// 4: a point failed, is degraded or invalid; the data is still written and printed.
    PointDoubtful,
    /// 3: the engines did not come up, or could not be trusted.
    LaunchFailed,
    /// 2: the command line or the plan makes no sense; nothing was started.
    Usage,
    /// 1: a defect of this program, or of the machine beneath it.
    Internal,
    /// 130: interrupted; what was measured is kept.
    Interrupted,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Good => 0,
            Exit::Internal => 1,
            Exit::Usage => 2,
            Exit::LaunchFailed => 3,
            Exit::PointDoubtful => 4,
            Exit::GateMissed => 5,
            Exit::Interrupted => 130,
        }
    }

    /// The more basic of two.
    pub fn and(self, other: Exit) -> Exit {
        self.max(other)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// An error and the exit code it means.
#[derive(Debug)]
pub struct CliError {
    pub exit: Exit,
    pub message: String,
}

impl CliError {
    pub fn new(exit: Exit, message: impl ToString) -> Self {
        CliError { exit, message: message.to_string() }
    }

    pub fn usage(message: impl ToString) -> Self {
        CliError::new(Exit::Usage, message)
    }
}

impl From<crate::plan::PlanError> for CliError {
    fn from(e: crate::plan::PlanError) -> Self {
        CliError::usage(e)
    }
}

/// A run that isn't there, or whose files were changed, is the user's to mend; a disk that fails is the machine's.
impl From<crate::record::RecordError> for CliError {
    fn from(e: crate::record::RecordError) -> Self {
        use crate::record::RecordError as E;
        let exit = match e {
            E::NotFound { .. }
            | E::Ambiguous { .. }
            | E::NoRun { .. }
            | E::SeveralDeployments { .. }
            | E::Read { .. }
            | E::Journal { .. }
            | E::Manifest { .. }
            | E::Doubled { .. }
            | E::Busy { .. } => Exit::Usage,
            E::Write { .. } => Exit::Internal,
        };
        CliError::new(exit, e)
    }
}
