//! The helper's side.

use super::{Answer, HELPER_NAME, Job, Made, Report, kind_number, receive, send};
use crate::{
    apply::{Privileged, apply},
    archive,
    erofs::{self, Indexed},
    store::open_layer,
    tar::Reader,
};
use rorqual_error::{Context, Error, Result};
use rorqual_linux::confine;
use rorqual_types::Digest;
use rustix::{
    fs::{FileType, Mode},
    io::{self, Errno},
    process::Signal,
    thread::{CapabilitySet, CapabilitySets},
};
use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
};

/// Must be the first call of `rorquald`'s `main`: if this process was started as the unpack helper, does that work
/// and does not return.
pub fn helper_main() {
    if std::env::args_os().next().is_some_and(|name| name == HELPER_NAME) {
        std::process::exit(main());
    }
}

fn main() -> i32 {
    // The socket comes as standard input: the one descriptor that every way of starting a process can pass.
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else { return 2 };
    let report = match work(&socket) {
        Ok((made, digest)) => Report::Done { made, digest },
        Err(error) => Report::Failed { kind: kind_number(error.kind()), message: error.to_string() },
    };
    i32::from(send(&socket, &report, &[]).is_err())
}

fn work(socket: &OwnedFd) -> Result<(Made, Option<Digest>)> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("tie the helper to the daemon")?;
    let (job, fds): (Job, _) = receive(socket).context("receive the job")?.ok_or_else(no_daemon)?;
    let lost = || Error::internal("the job came without its descriptors");
    let mut fds = fds.into_iter();
    let (archive, layers) = fds.next().zip(fds.next()).ok_or_else(lost)?;
    let index = match job.index {
        Some(index) => {
            let copy = if index.copy { Some(fds.next().ok_or_else(lost)?.into()) } else { None };
            Some((index.uuid, copy, fds.next().ok_or_else(lost)?))
        }
        None => None,
    };
    let layer = open_layer(&layers, &job.layer).context("open the layer")?;
    let lowers = job.lowers.iter().map(|name| open_layer(&layers, name));
    let lowers: Vec<OwnedFd> = lowers.collect::<std::io::Result<_>>().context("open the layers below")?;
    drop(layers);

    rustix::process::umask(Mode::empty());
    leave_host(socket)?;
    confine(&layer, index.is_none(), &lowers)?;

    let mut progress = |position: u64| send(socket, &Report::Progress { position }, &[]).context("report progress");
    let (made, digest) = match index {
        Some((uuid, copy, index)) => {
            let (stream, digest) = archive::open(archive.into(), job.digest, copy)?;
            let indexed = erofs::index(&mut Reader::new(stream), lowers, uuid, &File::from(index), &mut progress)?;
            let made = match indexed {
                Indexed::Done(info) => Made::Layer(info),
                Indexed::Unsuitable(why) => Made::Unsuitable(why.to_owned()),
            };
            (made, digest)
        }
        None => {
            let (stream, digest) = archive::open(archive.into(), job.digest, None)?;
            let info = apply(&mut Reader::new(stream), layer, lowers, &Asking { socket }, &mut progress)?;
            (Made::Layer(info), digest)
        }
    };
    let digest = digest.map(|digest| digest.join()).transpose()?;
    Ok((made, digest))
}

fn no_daemon() -> Error {
    Error::internal("the daemon has gone")
}

/// Gives up the host's capabilities: in a user namespace with every id mapped to itself, root there may still own,
/// change and link files, and nothing else.
fn leave_host(socket: &OwnedFd) -> Result<()> {
    let unshared = confine::unshare_user().is_ok();
    send(socket, &if unshared { Report::Unshared } else { Report::NotUnshared }, &[]).context("report")?;
    let (answer, _): (Answer, _) = receive(socket).context("wait for ids")?.ok_or_else(no_daemon)?;
    if answer.errno != 0 {
        return Err(Error::internal("the helper's ids could not be mapped"));
    }
    let kept = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::SYS_CHROOT;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).context("give up capabilities")
}

/// `writes`: whether the layer's directory is to be filled.
fn confine(layer: &OwnedFd, writes: bool, lowers: &[OwnedFd]) -> Result<()> {
    rustix::process::fchdir(layer).context("enter the layer")?;
    rustix::process::chroot(".").context("make the layer the root")?;
    rustix::thread::set_no_new_privs(true).context("set no_new_privs")?;
    if let Some(rules) = confine::Landlock::new().context("make Landlock rules")? {
        if writes {
            rules.allow_all(layer).context("allow the layer")?;
        }
        for lower in lowers {
            rules.allow_read(lower).context("allow a layer below")?;
        }
        rules.restrict_self().context("apply Landlock rules")?;
    }
    confine::allow_only(confine::UNPACK_CALLS).install().context("filter system calls")
}

/// Asks the daemon.
struct Asking<'a> {
    socket: &'a OwnedFd,
}

impl Asking<'_> {
    fn ask(&self, report: &Report, parent: &OwnedFd) -> io::Result<()> {
        let broken = |_| Errno::PIPE;
        send(self.socket, report, &[parent.as_fd()]).map_err(broken)?;
        let (answer, _): (Answer, _) = receive(self.socket).map_err(broken)?.ok_or(Errno::PIPE)?;
        if answer.errno == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(answer.errno)) }
    }
}

impl Privileged for Asking<'_> {
    fn device(&self, parent: &OwnedFd, name: &[u8], kind: FileType, mode: Mode, device: (u32, u32)) -> io::Result<()> {
        let block = kind == FileType::BlockDevice;
        self.ask(&Report::Device { name: name.to_vec(), block, mode: mode.as_raw_mode(), device }, parent)
    }

    fn xattr(&self, parent: &OwnedFd, name: &[u8], attribute: &str, value: &[u8]) -> io::Result<()> {
        let (name, value) = (name.to_vec(), value.to_vec());
        self.ask(&Report::Xattr { name, attribute: attribute.to_owned(), value }, parent)
    }
}
