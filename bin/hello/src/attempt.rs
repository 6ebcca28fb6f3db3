//! `try`: attempts at things a container should or should not be able to do. Prints `ok` or the error's name.

use crate::{Failure, Outcome, files::print};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{ptrace, resource, stat},
    unistd::Pid,
};
use std::{fs, io::Write as _};

/// Runs one attempt.
pub(crate) fn run(words: &[&str]) -> Outcome {
    match attempt(words)? {
        Ok(()) => print("ok\n"),
        Err(error) => print(&format!("{error:?}\n")).map(|_| 1),
    }
}

fn attempt(words: &[&str]) -> Result<Result<(), Errno>, Failure> {
    Ok(match *words {
        ["read", name] => fs::read(name).map(drop).map_err(errno),
        ["write", name, text] => fs::OpenOptions::new()
            .write(true)
            .open(name)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(errno),
        ["create", name] => fs::File::create(name).map(drop).map_err(errno),
        ["mkdir", name] => fs::create_dir(name).map_err(errno),
        ["rm", name] => fs::remove_file(name).map_err(errno),
        ["chdir", name] => std::env::set_current_dir(name).map_err(errno),
        ["chmod", name, mode] => {
            let mode = u32::from_str_radix(mode, 8).map_err(|_| Failure::Usage)?;
            fs::set_permissions(name, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(errno)
        }
        ["chown", name, uid, gid] => std::os::unix::fs::lchown(name, uid.parse().ok(), gid.parse().ok()).map_err(errno),
        ["chroot", name] => nix::unistd::chroot(name),
        ["mount", kind, target] => mount(Some(kind), target, Some(kind), MsFlags::empty(), None::<&str>),
        ["bind", source, target] => mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>),
        ["remount", target] => {
            mount(None::<&str>, target, None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, None::<&str>)
        }
        ["umount", target] => umount2(target, MntFlags::MNT_DETACH),
        ["mknod", name, major, minor] => {
            let (major, minor) =
                (major.parse().map_err(|_| Failure::Usage)?, minor.parse().map_err(|_| Failure::Usage)?);
            let device = stat::makedev(major, minor);
            stat::mknod(name, stat::SFlag::S_IFCHR, stat::Mode::from_bits_truncate(0o600), device)
        }
        ["unshare", kind] => unshare(namespace(kind)?),
        ["setns", file] => match fs::File::open(file) {
            Ok(file) => setns(file, CloneFlags::empty()),
            Err(error) => Err(errno(error)),
        },
        ["ptrace", pid] => ptrace::attach(Pid::from_raw(pid.parse().map_err(|_| Failure::Usage)?)),
        ["kill", pid, signal] => {
            let signal: nix::sys::signal::Signal = signal.parse().map_err(|_| Failure::Usage)?;
            nix::sys::signal::kill(Pid::from_raw(pid.parse().map_err(|_| Failure::Usage)?), signal)
        }
        ["sethostname", name] => nix::unistd::sethostname(name),
        ["setuid", uid] => nix::unistd::setuid(uid.parse::<u32>().map_err(|_| Failure::Usage)?.into()),
        ["setgid", gid] => nix::unistd::setgid(gid.parse::<u32>().map_err(|_| Failure::Usage)?.into()),
        ["mlockall"] => nix::sys::mman::mlockall(nix::sys::mman::MlockAllFlags::MCL_CURRENT),
        ["nofile", limit] => {
            let limit = limit.parse().map_err(|_| Failure::Usage)?;
            resource::setrlimit(resource::Resource::RLIMIT_NOFILE, limit, limit)
        }
        ["socket", family, kind] => socket(family, kind)?,
        ["connect", path] => std::os::unix::net::UnixStream::connect(path).map(drop).map_err(errno),
        _ => return Err(Failure::Usage),
    })
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn namespace(kind: &str) -> Result<CloneFlags, Failure> {
    Ok(match kind {
        "user" => CloneFlags::CLONE_NEWUSER,
        "mount" => CloneFlags::CLONE_NEWNS,
        "net" => CloneFlags::CLONE_NEWNET,
        "pid" => CloneFlags::CLONE_NEWPID,
        "ipc" => CloneFlags::CLONE_NEWIPC,
        "uts" => CloneFlags::CLONE_NEWUTS,
        "cgroup" => CloneFlags::CLONE_NEWCGROUP,
        _ => return Err(Failure::Usage),
    })
}

/// Opens a socket of a numbered family, with type `stream`, `dgram`, `raw` or `seqpacket`, protocol 0.
fn socket(family: &str, kind: &str) -> Result<Result<(), Errno>, Failure> {
    use rustix::net::{AddressFamily, SocketType};
    let family = AddressFamily::from_raw(family.parse().map_err(|_| Failure::Usage)?);
    let kind = match kind {
        "stream" => SocketType::STREAM,
        "dgram" => SocketType::DGRAM,
        "raw" => SocketType::RAW,
        "seqpacket" => SocketType::SEQPACKET,
        _ => return Err(Failure::Usage),
    };
    Ok(rustix::net::socket(family, kind, None).map(drop).map_err(|error| Errno::from_raw(error.raw_os_error())))
}
