//! Memory files, and giving memory back.

use rustix::{
    fs::{MemfdFlags, SealFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
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
