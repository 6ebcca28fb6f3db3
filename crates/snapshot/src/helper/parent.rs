//! The daemon's side.

use super::{Answer, HELPER_NAME, Helper, IndexJob, Job, Outcome, Report, kind_of, receive, send};
use crate::{
    apply::{Direct, Privileged, is_allowed_device, is_allowed_xattr},
    limits::HELPER_SILENCE_MAX,
    store::{check_free_space, descriptor_path},
};
use rorqual_error::{Context, Error, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, Mode},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
};
use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// One archive to unpack.
pub(crate) struct Task<'a> {
    pub(crate) archive: File,
    /// The layers directory.
    pub(crate) layers: &'a Path,
    /// The layer's directory below it; its `fs` is empty.
    pub(crate) layer: &'a str,
    /// The layers below, topmost first.
    pub(crate) lowers: &'a [String],
    /// Whether the digest of the uncompressed archive is wanted.
    pub(crate) digest: bool,
    /// Where an index is to be made in place of a directory.
    pub(crate) index: Option<IndexFiles>,
}

/// The empty files of an archived layer.
pub(crate) struct IndexFiles {
    /// Gets the uncompressed archive, where it is not kept already.
    pub(crate) archive: Option<File>,
    /// Gets the index.
    pub(crate) index: File,
    /// The index's name.
    pub(crate) uuid: [u8; 16],
}

/// Has the task done by a helper; `progress` is told the position in the uncompressed archive.
pub(crate) fn run(helper: &Helper, task: Task<'_>, progress: &mut dyn FnMut(u64)) -> Outcome {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .context("connect to the unpack helper")?;
    let layers: OwnedFd = File::open(task.layers).with_context(|| format!("open {}", task.layers.display()))?.into();
    let child = Command::new(&helper.program)
        .arg0(HELPER_NAME)
        .args(&helper.arguments)
        .env_clear()
        .envs(helper.environment.iter().map(|(name, value)| (name, value)))
        .stdin(theirs)
        .stdout(Stdio::null())
        .current_dir("/")
        .spawn()
        .context("start the unpack helper")?;
    let mut session = Session {
        socket: ours,
        child: Some(child),
        // What the helper may have made: its layer, by the path the kernel gives for it.
        layer: std::fs::canonicalize(task.layers.join(task.layer)).context("find the layer")?,
        archive: &task.archive,
    };
    let index = task.index.as_ref();
    let job = Job {
        layer: task.layer.to_owned(),
        lowers: task.lowers.to_vec(),
        digest: task.digest,
        index: index.map(|index| IndexJob { uuid: index.uuid, copy: index.archive.is_some() }),
    };
    let mut fds = vec![task.archive.as_fd(), layers.as_fd()];
    if let Some(files) = index {
        fds.extend(files.archive.as_ref().map(File::as_fd));
        fds.push(files.index.as_fd());
    }
    send(&session.socket, &job, &fds).context("give the unpack helper its job")?;
    let outcome = session.serve(progress);
    session.end();
    outcome
}

struct Session<'a> {
    socket: OwnedFd,
    child: Option<Child>,
    layer: PathBuf,
    archive: &'a File,
}

impl Session<'_> {
    /// Whether the archive is a pipe with nothing in it: the helper then waits for whoever fills it.
    fn is_starving(&self) -> bool {
        let pipe =
            rustix::fs::fstat(self.archive).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        pipe && rustix::io::ioctl_fionread(self.archive) == Ok(0)
    }

    fn serve(&mut self, progress: &mut dyn FnMut(u64)) -> Outcome {
        loop {
            self.wait_readable()?;
            let Some((report, fds)) = receive(&self.socket).context("hear from the unpack helper")? else {
                return Err(self.lost());
            };
            match report {
                Report::Unshared => {
                    let mapped = self.map_ids();
                    self.answer(if mapped.is_ok() { Ok(()) } else { Err(Errno::PERM) })?;
                    mapped?;
                }
                Report::NotUnshared => self.answer(Ok(()))?,
                Report::Progress { position } => {
                    check_free_space(&self.layer)?;
                    progress(position);
                }
                Report::Device { name, block, mode, device } => {
                    let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
                    let result = self.parent_for(&fds, &name, false).and_then(|parent| {
                        if !is_allowed_device(device) {
                            return Err(Errno::PERM);
                        }
                        Direct.device(parent, &name, kind, Mode::from_raw_mode(mode & 0o7777), device)
                    });
                    self.answer(result)?;
                }
                Report::Xattr { name, attribute, value } => {
                    let result = self.parent_for(&fds, &name, true).and_then(|parent| {
                        if !is_allowed_xattr(&attribute, &value) {
                            return Err(Errno::PERM);
                        }
                        Direct.xattr(parent, &name, &attribute, &value)
                    });
                    self.answer(result)?;
                }
                Report::Done { made, digest } => return Ok((made, digest)),
                Report::Failed { kind, message } => return Err(Error::new(kind_of(kind), message)),
            }
        }
    }

    fn wait_readable(&self) -> Result<()> {
        let timeout = Timespec { tv_sec: HELPER_SILENCE_MAX.as_secs() as i64, tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
                Ok(0) if self.is_starving() => {}
                Ok(0) => return Err(Error::unavailable("the unpack helper made no progress and was ended")),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for the unpack helper"),
            }
        }
    }

    fn answer(&self, result: rustix::io::Result<()>) -> Result<()> {
        let errno = result.map_or_else(|error| error.raw_os_error(), |()| 0);
        send(&self.socket, &Answer { errno }, &[]).context("answer the unpack helper")
    }

    /// The descriptor that came with a request, if it is what it must be: a directory (or, for an attribute, a file)
    /// of this layer; and a name that is one component.
    fn parent_for<'a>(&self, fds: &'a [OwnedFd], name: &[u8], itself: bool) -> rustix::io::Result<&'a OwnedFd> {
        let [parent] = fds else { return Err(Errno::INVAL) };
        let named = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0);
        if !(named || itself && name.is_empty()) {
            return Err(Errno::INVAL);
        }
        let path = std::fs::read_link(descriptor_path(parent)).map_err(|_| Errno::BADF)?;
        if path.starts_with(&self.layer) { Ok(parent) } else { Err(Errno::PERM) }
    }

    /// Every id the daemon has, mapped to itself.
    fn map_ids(&self) -> Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        for map in ["uid_map", "gid_map"] {
            let own = std::fs::read_to_string(format!("/proc/self/{map}")).with_context(|| format!("read {map}"))?;
            let ranges = own.lines().filter_map(|line| {
                let mut numbers = line.split_whitespace();
                let (inside, _, length) = (numbers.next()?, numbers.next()?, numbers.next()?);
                Some(format!("{inside} {inside} {length}\n"))
            });
            let path = format!("/proc/{}/{map}", child.id());
            std::fs::write(&path, ranges.collect::<String>()).with_context(|| format!("write {path}"))?;
        }
        Ok(())
    }

    /// What to say of a helper that ended without a word.
    fn lost(&mut self) -> Error {
        let status = self.child.as_mut().and_then(|child| child.wait().ok());
        Error::internal(match status {
            Some(status) => format!("the unpack helper ended: {status}"),
            None => "the unpack helper ended".to_owned(),
        })
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
