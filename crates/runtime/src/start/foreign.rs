//! Programs for another processor: which one, where the kernel says only that it does not know the format.

use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::{CStr, CString};

/// What is read of a program: the head of ELF, or the first line of a script as far as the kernel reads it.
const HEAD_BYTES: usize = 256;

/// A line about what is missing, where the program, or the interpreter of a script, is for another processor.
pub(super) fn advice(program: &CStr) -> Option<String> {
    let mut head = read(program)?;
    if let Some(interpreter) = interpreter(&head) {
        head = read(&interpreter)?;
    }
    let machine = machine(&head)?;
    let own = own();
    (machine != own).then(|| {
        format!(
            "it is for {machine} and this machine is {own}: register an emulator with the kernel (binfmt_misc with the \
             flag F), as the packages qemu-user-static and binfmt-support do\n"
        )
    })
}

fn read(program: &CStr) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat(CWD, program, flags, Mode::empty()).ok()?;
    let mut head = vec![0; HEAD_BYTES];
    let length = rustix::io::read(&file, &mut head).ok()?;
    head.truncate(length);
    Some(head)
}

/// The program that a script names in its first line.
fn interpreter(head: &[u8]) -> Option<CString> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    CString::new(words.next()?).ok()
}

/// The processor that the head of an ELF file names, as platforms name it.
fn machine(head: &[u8]) -> Option<&'static str> {
    let head: &[u8; 20] = head.get(..20)?.try_into().ok()?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let (wide, little) = (head[4] == 2, head[5] == 1);
    let number = [head[18], head[19]];
    let number = if little { u16::from_le_bytes(number) } else { u16::from_be_bytes(number) };
    Some(match (number, wide, little) {
        (3, ..) => "386",
        (8, true, true) => "mips64le",
        (8, true, false) => "mips64",
        (8, false, true) => "mipsle",
        (8, false, false) => "mips",
        (21, _, true) => "ppc64le",
        (21, _, false) => "ppc64",
        (22, true, _) => "s390x",
        (40, ..) => "arm",
        (62, ..) => "amd64",
        (183, ..) => "arm64",
        (243, true, _) => "riscv64",
        (258, true, _) => "loong64",
        _ => return None,
    })
}

fn own() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::ffi::OsStrExt, path::Path};

    fn elf(class: u8, data: u8, machine: u16) -> Vec<u8> {
        let number = if data == 1 { machine.to_le_bytes() } else { machine.to_be_bytes() };
        [b"\x7fELF".as_slice(), &[class, data, 1], &[0; 9], &[2, 0], &number].concat()
    }

    #[test]
    fn processors_are_named_as_platforms_name_them() {
        for (class, data, number, name) in [
            (2, 1, 62, Some("amd64")),
            (2, 1, 183, Some("arm64")),
            (1, 1, 40, Some("arm")),
            (2, 2, 22, Some("s390x")),
            (2, 1, 21, Some("ppc64le")),
            (2, 1, 243, Some("riscv64")),
            (1, 1, 243, None),
            (2, 1, 9999, None),
        ] {
            assert_eq!(machine(&elf(class, data, number)), name);
        }
        assert_eq!(machine(b"\x7fELF"), None);
        assert_eq!(machine(&[0; 64]), None);
    }

    #[test]
    fn a_program_and_the_interpreter_of_a_script_are_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let advice = |path: &Path| advice(&CString::new(path.as_os_str().as_bytes()).unwrap());
        fs::write(path("foreign"), elf(2, 2, 22)).unwrap();
        fs::write(path("script"), format!("#! {} -x\n", path("foreign").display())).unwrap();
        fs::write(path("text"), "echo").unwrap();
        for name in ["foreign", "script"] {
            let text = advice(&path(name)).unwrap();
            assert!(text.starts_with("it is for s390x and this machine is "), "{text}");
        }
        assert_eq!(
            [advice(&path("text")), advice(&path("absent")), advice(Path::new("/proc/self/exe"))],
            [None, None, None]
        );
    }
}
