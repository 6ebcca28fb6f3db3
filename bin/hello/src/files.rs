//! Verbs on files: what is there, and whether it can be changed.

use crate::{During, Failure, Outcome};
use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
};

/// Runs one verb of this file.
pub(crate) fn run(verb: &str, words: &[&str]) -> Outcome {
    match (verb, words) {
        ("cat", []) => copy(&mut io::stdin().lock(), "standard input"),
        ("cat", names) => {
            for name in names {
                copy(&mut fs::File::open(name).during(name)?, name)?;
            }
            Ok(0)
        }
        ("ls", []) => list("."),
        ("ls", names) => names.iter().try_fold(0, |_, name| list(name)),
        ("stat", names) => names.iter().try_fold(0, |_, name| stat(name)),
        ("write", [name, text]) => fs::write(name, format!("{text}\n")).during(name).map(|()| 0),
        ("append", [name, text]) => {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(name).during(name)?;
            file.write_all(format!("{text}\n").as_bytes()).during(name).map(|()| 0)
        }
        ("mkdir", [name]) => fs::create_dir_all(name).during(name).map(|()| 0),
        ("rm", [name]) => fs::remove_file(name).during(name).map(|()| 0),
        ("touch", [name]) => fs::OpenOptions::new().append(true).create(true).open(name).during(name).map(|_| 0),
        ("mounts", []) => print(&fs::read_to_string("/proc/self/mountinfo").during("read the mount table")?),
        _ => Err(Failure::Usage),
    }
}

/// Prints `text`, reporting a reader that went away.
pub(crate) fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).during("print").map(|()| 0)
}

fn copy(source: &mut dyn io::Read, name: &str) -> Outcome {
    let mut buffer = [0; 16 * 1024];
    let mut out = io::stdout().lock();
    loop {
        match source.read(&mut buffer).during(name)? {
            0 => return Ok(0),
            read => out.write_all(&buffer[..read]).and_then(|()| out.flush()).during("print")?,
        }
    }
}

fn list(name: &str) -> Outcome {
    let mut names = Vec::new();
    for entry in fs::read_dir(name).during(name)? {
        names.push(entry.during(name)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    names.iter().try_fold(0, |_, name| print(&format!("{name}\n")))
}

fn stat(name: &str) -> Outcome {
    let meta = fs::symlink_metadata(name).during(name)?;
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_symlink() => format!("link to {}", fs::read_link(name).during(name)?.display()),
        () if kind.is_dir() => "directory".to_owned(),
        () if kind.is_char_device() => format!("character device {}:{}", major(meta.rdev()), minor(meta.rdev())),
        () if kind.is_block_device() => format!("block device {}:{}", major(meta.rdev()), minor(meta.rdev())),
        () if kind.is_fifo() => "fifo".to_owned(),
        () if kind.is_socket() => "socket".to_owned(),
        () => "file".to_owned(),
    };
    let (mode, uid, gid, size) = (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.size());
    print(&format!("{name} {kind} mode={mode:04o} owner={uid}:{gid} size={size} links={}\n", meta.nlink()))
}

fn major(device: u64) -> u64 {
    ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff)
}

fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & !0xff)
}

/// Reads a file of `/proc` whole.
pub(crate) fn read_text(name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    fs::File::open(name).and_then(|mut file| file.read_to_string(&mut text)).during(name)?;
    Ok(text)
}
