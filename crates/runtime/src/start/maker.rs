//! The maker's half of a start: the host's view, before the container can run anything.

use super::{
    child::{self, Gate, Inherited, Streams},
    dev, sources,
    sync::{self, Sources, ToChild, ToMaker},
};
use crate::{
    failure::{At, Outcome},
    plan::{IdMap, MountKind, Namespace, Plan, Rootfs},
    protocol::{Connection, Failure, Step},
};
use rorqual_linux::{
    fdpass,
    process::{self, Forked, flags},
};
use rustix::{
    fs::{Mode, OFlags},
    process::Pid,
};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// A container whose first process exists.
#[derive(Debug)]
pub struct Begun {
    /// The first process.
    pub pid: Pid,
    /// Its network namespace, when it has one of its own.
    pub netns: Option<OwnedFd>,
    sync: Connection,
    /// The root's mount, when the maker made it.
    root: Option<OwnedFd>,
}

/// What a finished preparation hands over.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The root's mount. Held until the container is forgotten, so that the overlay's last sync does not delay the exit.
    pub root: Option<OwnedFd>,
    /// The terminal's master end.
    pub terminal: Option<OwnedFd>,
}

/// Makes the first process and gives it everything it needs to arrange its mounts.
pub fn begin(plan: &Plan, streams: Streams, gate: Gate, preserved_fds: u32) -> Outcome<Begun> {
    let made = Made::before_clone(plan)?;
    let cgroup = plan.cgroup.open().at(Step::Cgroup, "open the container's cgroup")?;
    let joins = Joins::open(plan)?;
    let (ours, theirs) = fdpass::stream_pair().at(Step::Setup, "make the start's socket pair")?;
    let unified = cgroup.unified.as_ref().map(AsFd::as_fd);
    let kinds = new_namespaces(plan);
    let pid = match joins.clone_into(kinds, unified)? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            drop(ours);
            child::run(Inherited {
                plan,
                sync: Connection::new(theirs),
                streams,
                gate,
                tasks: &cgroup.tasks,
                joins: &joins.later,
                preserved_fds,
            })
        }
    };
    drop((theirs, streams));
    let mut begun = Begun { pid, netns: None, sync: Connection::new(ours), root: None };
    match finish(plan, &mut begun, made, &joins) {
        Ok(()) => Ok(begun),
        Err(failure) => Err(begun.abort(failure)),
    }
}

/// The maker's own part after the clone: maps, what needs the user namespace, and the hand-over.
fn finish(plan: &Plan, begun: &mut Begun, made: Made, joins: &Joins) -> Outcome<()> {
    let proc = format!("/proc/{}", begun.pid.as_raw_nonzero());
    if let (Namespace::New, Some(map)) = (&plan.namespaces.user, &plan.userns) {
        write_maps(&proc, map)?;
    }
    set_oom_score(&proc, plan.process.oom_score_adj)?;
    if plan.namespaces.net == Namespace::New {
        begun.netns = Some(open_ns(Path::new(&format!("{proc}/ns/net")))?);
    }
    let userns = match (&plan.namespaces.user, &plan.userns) {
        (Namespace::New, Some(_)) => Some(open_ns(Path::new(&format!("{proc}/ns/user")))?),
        (Namespace::Join(_), _) => joins.user.as_ref().map(OwnedFd::try_clone).transpose().at(Step::Setup, "copy")?,
        _ => None,
    };
    let handed = made.after_clone(plan, userns.as_ref().map(AsFd::as_fd))?;
    handed.send(&begun.sync)?;
    begun.root = handed.root.filter(|_| handed.layers.is_none());
    Ok(())
}

impl Begun {
    /// Waits until the child has arranged everything but the program. `hooks` runs when the child asks for it.
    pub fn prepared(&mut self, hooks: impl FnOnce(Pid) -> Outcome<()>) -> Outcome<Prepared> {
        let pid = self.pid;
        let mut hooks = Some(hooks);
        loop {
            let (message, fds) = self.receive()?;
            match message {
                ToMaker::BeforePivot => {
                    if let Some(hooks) = hooks.take() {
                        hooks(pid).map_err(|failure| self.abort(failure))?;
                    }
                    sync::send(&self.sync, &ToChild::Continue, &[])?;
                }
                ToMaker::Ready { terminal } => {
                    let mut fds = fds.into_iter();
                    let root = self.root.take().or_else(|| fds.next());
                    return Ok(Prepared { root, terminal: if terminal { fds.next() } else { None } });
                }
                ToMaker::Failed(failure) => return Err(self.abort(Box::new(failure))),
                ToMaker::Limits => return Err(self.abort(Failure::new(Step::Setup, "the child is out of step"))),
            }
        }
    }

    /// Lets the child become the program.
    pub fn go(&self, network: Vec<Vec<u8>>) -> Outcome<()> {
        sync::send(&self.sync, &ToChild::Go { network }, &[])
    }

    /// Waits until the program runs.
    pub fn started(&mut self, plan: &Plan) -> Outcome<()> {
        loop {
            let message = self.sync.receive::<ToMaker>().at(Step::Setup, "read from the child")?;
            match message {
                None => return Ok(()),
                Some((ToMaker::Limits, _)) => {
                    raise_limits(self.pid, plan).map_err(|failure| self.abort(failure))?;
                    sync::send(&self.sync, &ToChild::Continue, &[])?;
                }
                Some((ToMaker::Failed(failure), _)) => return Err(self.abort(Box::new(failure))),
                Some(_) => return Err(self.abort(Failure::new(Step::Setup, "the child is out of step"))),
            }
        }
    }

    fn receive(&mut self) -> Outcome<(ToMaker, Vec<OwnedFd>)> {
        sync::receive(&mut self.sync).map_err(|failure| self.abort(failure))
    }

    /// Ends the child and passes on why; what the child said itself is preferred to the silence that followed.
    pub fn abort(&mut self, failure: Box<Failure>) -> Box<Failure> {
        let _ = process::kill(self.pid.as_raw_nonzero().get(), 9);
        let _ = process::reap(Some(self.pid), true);
        let _ = self.sync.set_nonblocking(true);
        while let Ok(Some((message, _))) = self.sync.receive::<ToMaker>() {
            if let ToMaker::Failed(own) = message {
                return Box::new(own);
            }
        }
        failure
    }
}

/// Limits the container's own root may not raise are set from outside, with the host's.
pub(crate) fn raise_limits(pid: Pid, plan: &Plan) -> Outcome<()> {
    plan.process.rlimits.iter().try_for_each(|limit| {
        process::set_rlimit(pid.as_raw_nonzero().get(), limit.resource, limit.soft, limit.hard)
            .at_with(Step::Rlimit, || format!("error setting rlimit type {}", limit.resource))
    })
}

fn new_namespaces(plan: &Plan) -> u64 {
    let names = &plan.namespaces;
    // The cgroup namespace comes later: its root is the cgroup the child is in when it is made.
    [
        (&names.user, flags::NEWUSER),
        (&names.pid, flags::NEWPID),
        (&names.mount, flags::NEWNS),
        (&names.net, flags::NEWNET),
        (&names.ipc, flags::NEWIPC),
        (&names.uts, flags::NEWUTS),
    ]
    .into_iter()
    .filter(|(namespace, _)| **namespace == Namespace::New)
    .fold(0, |flags, (_, flag)| flags | flag)
}

fn open_ns(path: &Path) -> Outcome<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at_with(Step::Clone, || format!("open the namespace {}", path.display()))
}

pub(crate) fn write_maps(proc: &str, map: &IdMap) -> Outcome<()> {
    let text = |ranges: &[crate::plan::IdRange]| -> String {
        ranges.iter().map(|range| format!("{} {} {}\n", range.container, range.host, range.size)).collect()
    };
    for (file, ranges) in [("uid_map", &map.uids), ("gid_map", &map.gids)] {
        std::fs::write(format!("{proc}/{file}"), text(ranges))
            .at_with(Step::IdMap, || format!("write the user namespace's {file}"))?;
    }
    Ok(())
}

/// Without CAP_SYS_RESOURCE the kernel refuses to lower the score; docker's own containers ask for 0, which is then no
/// reason to fail, and neither is a wish the machine cannot grant.
fn set_oom_score(proc: &str, score: Option<i32>) -> Outcome<()> {
    let Some(score) = score else { return Ok(()) };
    match std::fs::write(format!("{proc}/oom_score_adj"), score.to_string()) {
        Err(error) if score <= 0 && error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        result => result.at(Step::Setup, "write oom_score_adj"),
    }
}

/// Existing namespaces to join.
struct Joins {
    /// Joined before the clone, by a process in between, so that the new namespaces belong to it.
    user: Option<OwnedFd>,
    /// Joined before the clone: only children enter it.
    pid: Option<OwnedFd>,
    /// Joined by the child itself.
    later: Vec<(OwnedFd, u64)>,
}

impl Joins {
    fn open(plan: &Plan) -> Outcome<Self> {
        let names = &plan.namespaces;
        let open = |namespace: &Namespace| match namespace {
            Namespace::Join(path) => open_ns(path).map(Some),
            _ => Ok(None),
        };
        let mut later = Vec::new();
        for (namespace, kind) in [
            (&names.net, flags::NEWNET),
            (&names.ipc, flags::NEWIPC),
            (&names.uts, flags::NEWUTS),
            (&names.cgroup, flags::NEWCGROUP),
            (&names.mount, flags::NEWNS),
        ] {
            later.extend(open(namespace)?.map(|fd| (fd, kind)));
        }
        Ok(Self { user: open(&names.user)?, pid: open(&names.pid)?, later })
    }

    /// Clones the child; directly, or through a process in between when a user namespace is joined.
    fn clone_into(&self, kinds: u64, cgroup: Option<BorrowedFd<'_>>) -> Outcome<Forked> {
        let failed = "clone into new namespaces";
        match (&self.user, &self.pid) {
            (None, None) => process::clone3(kinds, cgroup).at(Step::Clone, failed),
            (None, Some(pid)) => in_pid_namespace(pid.as_fd(), || process::clone3(kinds, cgroup)),
            (Some(user), pid) => self.clone_between(user, pid.as_ref(), kinds, cgroup),
        }
    }

    fn clone_between(
        &self,
        user: &OwnedFd,
        pid: Option<&OwnedFd>,
        kinds: u64,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Outcome<Forked> {
        let (ours, theirs) = fdpass::stream_pair().at(Step::Setup, "make a socket pair")?;
        let between = match process::clone3(0, None).at(Step::Clone, "clone")? {
            Forked::Parent(between) => between,
            Forked::Child => {
                drop(ours);
                let joined = process::setns(user.as_fd(), flags::NEWUSER)
                    .and_then(|()| pid.map_or(Ok(()), |pid| process::setns(pid.as_fd(), flags::NEWPID)))
                    .and_then(|()| process::clone3(kinds | flags::PARENT, cgroup));
                let answer = match joined {
                    Ok(Forked::Child) => return Ok(Forked::Child),
                    Ok(Forked::Parent(pid)) => pid.as_raw_nonzero().get(),
                    Err(error) => -error.raw_os_error().unwrap_or(1),
                };
                let _ = fdpass::send_all(theirs.as_fd(), &answer.to_ne_bytes(), &[]);
                process::exit_now(0);
            }
        };
        drop(theirs);
        let mut answer = Vec::new();
        while answer.len() < 4
            && fdpass::receive(ours.as_fd(), &mut answer, 4, &mut Vec::new()).at(Step::Clone, "read")? > 0
        {}
        let _ = process::reap(Some(between), true);
        match answer.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
            Some(error) if error < 0 => {
                Err(std::io::Error::from_raw_os_error(-error)).at(Step::Clone, "join the user namespace and clone")
            }
            Some(pid) => Pid::from_raw(pid)
                .map(Forked::Parent)
                .ok_or_else(|| Failure::new(Step::Clone, "join the user namespace and clone: no process id")),
            None => Err(Failure::new(Step::Clone, "join the user namespace and clone: the helper ended")),
        }
    }
}

/// Runs `clone` so that the new process is in the process id namespace `pid`, and comes back.
pub(crate) fn in_pid_namespace(
    pid: BorrowedFd<'_>,
    clone: impl FnOnce() -> std::io::Result<Forked>,
) -> Outcome<Forked> {
    let own = open_ns(Path::new("/proc/self/ns/pid"))?;
    process::setns(pid, flags::NEWPID).at(Step::Clone, "join the process id namespace")?;
    let forked = clone();
    if let Ok(Forked::Child) = forked {
        return Ok(Forked::Child);
    }
    process::setns(own.as_fd(), flags::NEWPID).at(Step::Clone, "return to the own process id namespace")?;
    forked.at(Step::Clone, "clone into the process id namespace")
}

/// What the maker prepares.
struct Made {
    dev: Option<OwnedFd>,
    root: Option<OwnedFd>,
}

struct Handed {
    layers: Option<OwnedFd>,
    root: Option<OwnedFd>,
    dev: Option<OwnedFd>,
    binds: Vec<OwnedFd>,
}

impl Made {
    /// What needs no process yet.
    fn before_clone(plan: &Plan) -> Outcome<Self> {
        let map = plan.userns.as_ref();
        let dev = plan.mounts.iter().find_map(|mount| match &mount.kind {
            MountKind::Dev { options } => Some(dev::make(options, mount.attributes.set, &plan.devices, map)),
            _ => None,
        });
        let root = if map.is_some() { None } else { Some(sources::root(&plan.rootfs)?) };
        Ok(Self { dev: dev.transpose()?, root })
    }

    /// What needs the container's user namespace.
    fn after_clone(self, plan: &Plan, userns: Option<BorrowedFd<'_>>) -> Outcome<Handed> {
        let mut handed = Handed { layers: None, root: self.root, dev: self.dev, binds: Vec::new() };
        if let Some(userns) = userns {
            (handed.layers, handed.root) = match &plan.rootfs {
                Rootfs::Overlay { layers_dir, lowers, rw_dir, .. } if !lowers.is_empty() => (
                    // With the layers that are mounted there.
                    Some(sources::mapped_directory(layers_dir, true, userns)?),
                    Some(sources::mapped_directory(rw_dir, false, userns)?),
                ),
                Rootfs::Overlay { rw_dir, .. } => {
                    (None, Some(sources::mapped_directory(&rw_dir.join("upper"), false, userns)?))
                }
                Rootfs::Bind { path, .. } => (None, Some(sources::directory(path, true)?)),
            };
        } else if handed.root.is_none() {
            handed.root = Some(sources::root(&plan.rootfs)?);
        }
        for mount in &plan.mounts {
            if let MountKind::Bind { source, recursive, ids } = &mount.kind {
                handed.binds.push(sources::bind(source, *recursive, ids, &mount.attributes, userns)?);
            }
        }
        Ok(handed)
    }
}

impl Handed {
    fn send(&self, sync: &Connection) -> Outcome<()> {
        let sources = Sources {
            layers: self.layers.is_some(),
            root: self.root.is_some(),
            dev: self.dev.is_some(),
            binds: self.binds.len() as u32,
        };
        let fds: Vec<BorrowedFd<'_>> =
            [&self.layers, &self.root, &self.dev].into_iter().flatten().chain(&self.binds).map(AsFd::as_fd).collect();
        let (first, rest) = fds.split_at(fds.len().min(fdpass::FDS_MAX));
        sync::send(sync, &ToChild::Mapped(sources), first)?;
        rest.chunks(fdpass::FDS_MAX).try_for_each(|chunk| sync::send(sync, &ToChild::Continue, chunk))
    }
}
