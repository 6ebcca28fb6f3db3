//! The system call interfaces a filter can see, and their numbers by name.

use super::tables::SYSCALLS;

/// A system call interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86, which a 64-bit kernel also offers.
    X86,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// The one this program is built for.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// By libseccomp's name (`SCMP_ARCH_X86_64`); `None` for those that stay closed.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "SCMP_ARCH_X86_64" => Some(Self::X86_64),
            "SCMP_ARCH_X86" => Some(Self::X86),
            "SCMP_ARCH_AARCH64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// libseccomp's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
        }
    }

    /// Go's name, as profiles write conditions.
    pub(super) fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "386",
            Self::Aarch64 => "arm64",
        }
    }

    /// The 32-bit interface a kernel of this one also offers, as far as we know its numbers.
    pub(super) fn compatible(self) -> Option<Self> {
        match self {
            Self::X86_64 => Some(Self::X86),
            Self::X86 | Self::Aarch64 => None,
        }
    }

    /// `AUDIT_ARCH_*`, what a filter sees.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Whether arguments have 64 bits.
    pub(super) fn is_wide(self) -> bool {
        self != Self::X86
    }

    /// The number of a system call; `None` where it does not exist.
    pub fn number(self, name: &str) -> Option<u32> {
        let index = SYSCALLS.binary_search_by(|entry| entry.0.cmp(name)).ok()?;
        let (_, x86_64, x86, aarch64) = SYSCALLS[index];
        let number = match self {
            Self::X86_64 => x86_64,
            Self::X86 => x86,
            Self::Aarch64 => aarch64,
        };
        u32::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (name, numbers) in [
            ("read", [Some(0), Some(3), Some(63)]),
            ("open", [Some(2), Some(5), None]),
            ("mmap2", [None, Some(192), None]),
            ("fstat", [Some(5), Some(108), Some(80)]),
            ("newfstatat", [Some(262), None, Some(79)]),
            ("clone3", [Some(435), Some(435), Some(435)]),
            ("mseal", [Some(462), Some(462), Some(462)]),
            ("nope", [None; 3]),
        ] {
            assert_eq!([Arch::X86_64, Arch::X86, Arch::Aarch64].map(|arch| arch.number(name)), numbers, "{name}");
        }
        #[cfg(target_arch = "x86_64")]
        for (name, number) in
            [("openat2", libc::SYS_openat2), ("rseq", libc::SYS_rseq), ("futex_waitv", libc::SYS_futex_waitv)]
        {
            assert_eq!(Arch::NATIVE.number(name).map(i64::from), Some(number));
        }
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(SYSCALLS.is_sorted_by(|one, next| one.0 < next.0));
    }
}
