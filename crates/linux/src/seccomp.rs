//! System call filters: docker's profile format, compiled to classic BPF as a binary search.
//!
//! A [`Profile`] (docker's JSON, or [`Profile::builtin`]) is resolved for the capabilities of one container into the OCI
//! form, which is compiled to a [`Program`]. No library of others takes part, and the program is plain bytes: the daemon
//! compiles it once per profile and capability set ([`Cache`]) and ships it.

mod arch;
mod builtin;
mod cache;
mod compile;
mod profile;
mod tables;

pub use arch::Arch;
pub use cache::Cache;
pub use compile::{compile, compile_for};
pub use profile::{Context, Profile};

use serde::{Deserialize, Serialize};
use std::io;

/// One instruction of classic BPF, laid out as the kernel's `sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when true.
    pub jt: u8,
    /// Instructions to skip when false.
    pub jf: u8,
    /// Constant.
    pub k: u32,
}

/// A compiled filter, ready to be loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The filter.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

impl Program {
    /// Puts the calling thread under the filter, for good. Needs no_new_privs or CAP_SYS_ADMIN in the user namespace.
    /// Allocates nothing: fit for a child between clone and exec.
    pub fn install(&self) -> io::Result<()> {
        const SECCOMP_SET_MODE_FILTER: libc::c_ulong = 1;
        let length = u16::try_from(self.instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog { len: length, filter: self.instructions.as_ptr().cast_mut().cast() };
        // SAFETY: `program` points to `len` instructions of the kernel's layout that live across the call, which only
        // reads them.
        let done = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                SECCOMP_SET_MODE_FILTER,
                libc::c_ulong::from(self.flags),
                &raw const program,
            )
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
