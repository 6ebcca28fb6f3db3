//! From an OCI document and our own options to a [`Plan`]: names become numbers, options become flags, once.

use crate::plan::{ExecPlan, Options, Plan};
use rorqual_error::Result;
use rorqual_linux::seccomp::Program;
use rorqual_oci::runtime::Spec;

/// What an exec changes of its container's process.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// Program and arguments.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// Working directory; `None` for the container's.
    pub cwd: Option<String>,
    /// docker's `user[:group]`; `None` for the container's user.
    pub user: Option<String>,
    /// Further groups (`--group-add` of the container).
    pub group_add: Vec<String>,
    /// All capabilities and no filter.
    pub privileged: bool,
}

/// The plan of a container.
///
/// `seccomp` is the compiled filter of the document's process; `None` runs it unfiltered.
pub fn compile(spec: &Spec, options: Options, seccomp: Option<&Program>) -> Result<Plan> {
    let _ = (spec, options, seccomp);
    todo!()
}

/// The plan of a process that joins the container `spec` describes.
pub fn compile_exec(spec: &Spec, options: ExecOptions, seccomp: Option<&Program>) -> Result<ExecPlan> {
    let _ = (spec, options, seccomp);
    todo!()
}
