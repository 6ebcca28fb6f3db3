//! Memory files, and giving memory back.

use rustix::{
    fs::{MemfdFlags, SealFlags},
    io::Errno,
};
use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
};

/// A copy of `from` in memory that nobody can change any more, executable and close-on-exec.
pub fn sealed_copy(name: &str, from: &mut impl Read) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 do not know the flag and make every memory file executable.
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        result => result?,
    };
    let mut file = File::from(file);
    io::copy(from, &mut file)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

/// Limits how many heaps the allocator keeps; each holds free memory of its own.
pub fn limit_heaps(count: i32) {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two integers and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, count);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = count;
}

/// Runs this program again from a sealed copy of itself, with the same arguments and environment; returns at once when it
/// already is one. A container that gets hold of its runtime's program then holds nothing of the host's.
pub fn run_from_sealed_copy() -> io::Result<()> {
    let exe = File::open("/proc/self/exe")?;
    // Only memory files have seals at all.
    if rustix::fs::fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(SealFlags::WRITE | SealFlags::SEAL)) {
        return Ok(());
    }
    let copy = sealed_copy("rorqual-shim", &mut &exe)?;
    let text = |bytes: OsString| CString::new(bytes.into_vec()).map_err(io::Error::other);
    let args = std::env::args_os().map(text).collect::<io::Result<Vec<_>>>()?;
    let entry = |(name, value): (OsString, OsString)| text([name, value].join(OsStr::new("=")));
    let env = std::env::vars_os().map(entry).collect::<io::Result<Vec<_>>>()?;
    let path = CString::new(format!("/proc/self/fd/{}", copy.as_raw_fd())).map_err(io::Error::other)?;
    Err(crate::process::execve(&path, &args, &env))
}

/// Gives free heap memory back to the kernel.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_copy_cannot_be_written() {
        let fd = sealed_copy("test", &mut &b"content"[..]).unwrap();
        assert_eq!(rustix::io::pwrite(&fd, b"x", 0), Err(Errno::PERM));
        let mut bytes = [0; 16];
        assert_eq!(rustix::io::pread(&fd, &mut bytes, 0), Ok(7));
    }
}
