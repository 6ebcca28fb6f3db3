//! The helper process that unpacks: what the daemon and the helper say to each other.
//!
//! The helper is the daemon's own program started anew. It takes a job with descriptors of the archive and of the
//! layers directory, gives up everything else (user namespace, root, Landlock, system calls), and reports back. Device
//! nodes and attributes that only the host's root may set are asked of the daemon.

mod child;
mod parent;

pub use child::helper_main;
pub(crate) use parent::{IndexFiles, Task, run};

use crate::store::LayerInfo;
use rorqual_error::{Kind, Result};
use rorqual_types::Digest;
use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    ffi::OsString,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

/// The helper's `argv[0]`, by which the daemon's program knows what it was started for.
pub const HELPER_NAME: &str = "rorquald-unpack";
/// The longest message: an attribute's value is at most 64 KiB.
const MESSAGE_BYTES_MAX: usize = 96 << 10;

/// How the helper process is started.
#[derive(Clone, Debug)]
pub struct Helper {
    /// The program.
    pub program: PathBuf,
    /// Arguments after `argv[0]`.
    pub arguments: Vec<OsString>,
    /// Environment; nothing else is passed on.
    pub environment: Vec<(OsString, OsString)>,
}

impl Default for Helper {
    /// The running program, whose `main` begins with [`helper_main`].
    fn default() -> Self {
        Self { program: "/proc/self/exe".into(), arguments: Vec::new(), environment: Vec::new() }
    }
}

impl Helper {
    /// For tests: the running test program, told to run the one test `name` (its full path), which calls
    /// [`helper_main`].
    pub fn test(name: &str) -> Self {
        let arguments = ["--exact", name, "--nocapture", "--test-threads=1", "-q"].map(OsString::from);
        Self { program: "/proc/self/exe".into(), arguments: arguments.into(), environment: Vec::new() }
    }
}

/// What to do; the first message, with the descriptors of the archive and of the layers directory, and, for an index, of
/// the empty files that get the archive's bytes (where they are to be kept) and the index.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    /// The layer's directory below the layers directory; its `fs` is empty.
    layer: String,
    /// The directories of the layers below, topmost first.
    lowers: Vec<String>,
    /// Whether the digest of the uncompressed archive is wanted.
    digest: bool,
    /// The index to make in place of a directory.
    index: Option<IndexJob>,
}

/// An index to make.
#[derive(Debug, Serialize, Deserialize)]
struct IndexJob {
    /// Its name.
    uuid: [u8; 16],
    /// Whether the archive's bytes are to be written down: a file for them comes before that of the index.
    copy: bool,
}

/// What came of a job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Made {
    /// What was to be made.
    Layer(LayerInfo),
    /// The archive was kept, and has no index because of this.
    Unsuitable(String),
}

/// From the helper.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// In a new user namespace, waiting for its ids.
    Unshared,
    /// No user namespace could be made; goes on with few capabilities.
    NotUnshared,
    /// The archive was read so far.
    Progress { position: u64 },
    /// Make a device, with the parent's descriptor.
    Device { name: Vec<u8>, block: bool, mode: u32, device: (u32, u32) },
    /// Set an attribute, with the parent's descriptor.
    Xattr { name: Vec<u8>, attribute: String, value: Vec<u8> },
    /// All is there.
    Done { made: Made, digest: Option<Digest> },
    /// Nothing is to be used.
    Failed { kind: u8, message: String },
}

/// From the daemon, after a report that asks.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// 0, or why it was not done.
    errno: i32,
}

fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::InvalidArgument => 1,
        _ => 0,
    }
}

fn kind_of(number: u8) -> Kind {
    if number == 1 { Kind::InvalidArgument } else { Kind::Internal }
}

fn send<T: Serialize>(socket: impl AsFd, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// One message with its descriptors; `None` at the end of the connection.
fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds: Vec<OwnedFd> = fds.flatten().collect();
    let message = postcard::from_bytes(&bytes[..received.bytes]).map_err(io::Error::other)?;
    Ok(Some((message, fds)))
}

/// The outcome of a helper's work.
pub(crate) type Outcome = Result<(Made, Option<Digest>)>;
