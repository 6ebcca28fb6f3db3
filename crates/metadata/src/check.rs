//! What a check of records against files reports, whoever makes it; and what is done about it.

use rorqual_error::Result;
use std::fmt;

/// Where records and files disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: `blob sha256:…`.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What was or can be done.
    pub remedy: Remedy,
}

/// See [`Finding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// This was done about it.
    Done(String),
    /// A repair would do this.
    Possible(String),
    /// Only the operator can help, and so.
    Advice(String),
}

/// Takes findings, and repairs where that was asked for.
pub struct Checker<'a> {
    repair: bool,
    report: &'a mut dyn FnMut(Finding),
}

impl fmt::Debug for Checker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checker(repair: {})", self.repair)
    }
}

impl<'a> Checker<'a> {
    /// Reports to `report`; what can be repaired is, if `repair` says so.
    pub fn new(repair: bool, report: &'a mut dyn FnMut(Finding)) -> Self {
        Self { repair, report }
    }

    /// Something that `mend` can put right by doing what `how` says.
    ///
    /// # Errors
    /// Those of the repair.
    pub fn found(
        &mut self,
        object: impl Into<String>,
        problem: impl Into<String>,
        how: &str,
        mend: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let remedy = if self.repair {
            mend()?;
            Remedy::Done(how.to_owned())
        } else {
            Remedy::Possible(how.to_owned())
        };
        (self.report)(Finding { object: object.into(), problem: problem.into(), remedy });
        Ok(())
    }

    /// Something that no repair can put right.
    pub fn lost(&mut self, object: impl Into<String>, problem: impl Into<String>, advice: &str) {
        let remedy = Remedy::Advice(advice.to_owned());
        (self.report)(Finding { object: object.into(), problem: problem.into(), remedy });
    }
}
