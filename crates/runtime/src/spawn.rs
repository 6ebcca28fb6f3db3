//! The daemon's side: one spawn, and connections to running shims.

use crate::{
    plan::Plan,
    protocol::{self, Connection},
};
use rorqual_error::{Context, Error, Result};
use rorqual_linux::{fdpass, memory};
use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Name of a shim's socket in its directory.
pub const SOCKET: &str = "sock";

/// Name of the file with the postcard bytes of [`protocol::ExitStatus`], written when the program has ended.
pub const EXIT_FILE: &str = "exit";

/// The shim's program: one sealed copy in memory that all shims of this daemon share, so that nothing a container
/// reaches can change it (R5) and its pages are counted once.
#[derive(Debug)]
pub struct ShimProgram {
    file: OwnedFd,
}

impl ShimProgram {
    /// Copies the program at `source` into a sealed memory file.
    pub fn install(source: &Path) -> Result<Self> {
        let mut from = File::open(source).with_context(|| format!("open the shim's program {}", source.display()))?;
        let file = memory::sealed_copy("rorqual-shim", &mut from).context("seal a copy of the shim's program")?;
        Ok(Self { file })
    }

    /// Starts the program with `stdin` and arguments after its name; other streams are `/dev/null`.
    pub(crate) fn start(&self, mode: &str, stdin: OwnedFd) -> Result<Child> {
        // The descriptor is close-on-exec, which the kernel looks at after it has opened the program through it.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let mut command = Command::new(path);
        std::os::unix::process::CommandExt::arg0(&mut command, "rorqual-shim");
        command.arg(mode).env_clear().current_dir("/").stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("start the shim")
    }
}

/// A shim that has been started.
#[derive(Debug)]
pub struct Spawned {
    /// Its process, to be reaped by the daemon.
    pub child: Child,
    /// The control connection: [`protocol::Event::Created`] comes first, or [`protocol::Event::Failed`].
    pub control: Connection,
}

/// Starts a shim and gives it `plan`. Takes microseconds: the daemon is not forked, nothing is waited for.
pub fn spawn(program: &ShimProgram, plan: &Plan) -> Result<Spawned> {
    let frame = protocol::encode(plan)?;
    let (ours, theirs) = fdpass::stream_pair().context("make the shim's control socket")?;
    fdpass::make_room(ours.as_fd(), frame.len()).context("make room for the plan")?;
    let child = program.start("supervise", theirs)?;
    fdpass::send_all(ours.as_fd(), &frame, &[]).context("send the plan to the shim")?;
    Ok(Spawned { child, control: Connection::new(ours) })
}

/// Connects to the shim whose directory is `dir`. The path may be longer than a socket address can be.
pub fn connect(dir: &Path) -> Result<Connection> {
    let named = || format!("connect to the shim in {}", dir.display());
    let dir_fd =
        rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).with_context(named)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", dir_fd.as_raw_fd())).with_context(named)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .with_context(named)?;
    rustix::net::connect(&socket, &address).with_context(named)?;
    Ok(Connection::new(socket))
}

/// What the shim in `dir` left about its program's end; `None` when it has not ended.
pub fn read_exit(dir: &Path) -> Result<Option<protocol::ExitStatus>> {
    match std::fs::read(dir.join(EXIT_FILE)) {
        Ok(bytes) => {
            Ok(Some(postcard::from_bytes(&bytes).map_err(|error| {
                Error::internal(format!("damaged exit record in {}", dir.display())).caused_by(error)
            })?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read the exit record in {}", dir.display())),
    }
}
