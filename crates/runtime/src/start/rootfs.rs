//! The child's mounts: the root, everything in it, and the step into it.

use super::{
    mounts::{self, Place},
    sources,
    sync::Sources,
};
use crate::{
    failure::{At, Outcome},
    plan::{MountKind, Namespace, Plan, Rootfs},
    protocol::{Failure, Step},
};
use rorqual_linux::{
    mount::{self, Attributes, attr, propagation},
    root::{Make, Root},
};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    mount::{MountPropagationFlags, UnmountFlags},
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `f_type` of procfs.
pub(crate) const PROC_MAGIC: u64 = 0x9fa0;

/// A container's file system, not yet entered.
#[derive(Debug)]
pub struct Arranged {
    /// The container's root.
    pub root: Root,
    /// The root's mount when the child made it, for the maker to hold.
    pub made_root: Option<OwnedFd>,
    /// A procfs of our own that no mount of the container covers (R3).
    pub proc: Option<OwnedFd>,
    pts: Option<OwnedFd>,
    null: Option<OwnedFd>,
    /// Whether there is a mount namespace of its own to enter.
    own_mounts: bool,
}

/// Makes all mounts of the plan.
pub fn arrange(plan: &Plan, given: Sources, fds: Vec<OwnedFd>) -> Outcome<Arranged> {
    if plan.namespaces.mount != Namespace::New {
        let root = Root::open_path("/".as_ref()).at(Step::Rootfs, "open the root")?;
        return Ok(Arranged { root, made_root: None, proc: None, pts: None, null: None, own_mounts: false });
    }
    let mut fds = fds.into_iter();
    let mut next = |has: bool| if has { fds.next() } else { None };
    let (layers, root, dev) = (next(given.layers), next(given.root), next(given.dev));
    let binds: Vec<OwnedFd> = fds.collect();

    // Nothing that happens here may reach the host, least of all the end of the old root.
    let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", all).at(Step::Rootfs, "make all mounts private")?;
    let root = root.ok_or_else(|| Failure::new(Step::Rootfs, "no root was handed over"))?;
    let (root, made_root) = match (layers, &plan.rootfs) {
        (Some(layers), Rootfs::Overlay { lowers, .. }) => {
            // In the namespace of the container's user, an overlay takes only layers that are mounted there.
            attach_at_root(layers.as_fd())?;
            attach_at_root(root.as_fd())?;
            let overlay = sources::overlay(layers.as_fd(), lowers, root.as_fd(), true)?;
            // The overlay has its own hold on them. Left here they would lie over the old root when that is let go.
            for _ in 0..2 {
                rustix::mount::unmount("/", UnmountFlags::DETACH).at(Step::Rootfs, "let the layers go")?;
            }
            let held = overlay.try_clone().at(Step::Rootfs, "copy a descriptor")?;
            (overlay, Some(held))
        }
        _ => (root, None),
    };
    attach_at_root(root.as_fd())?;
    let mut arranged =
        Arranged { root: Root::new(root), made_root, proc: None, pts: None, null: None, own_mounts: true };
    arranged.mount_all(plan, dev, binds)?;
    if arranged.proc.is_none() {
        arranged.proc = mount::filesystem("proc", "proc", &[], 0).ok();
    }
    mounts::cover(&arranged.root, plan, arranged.null.as_ref().map(AsFd::as_fd))?;
    Ok(arranged)
}

/// Puts a mount over everything at `/`. Paths still begin below it; it is reached by its descriptor only.
fn attach_at_root(mount: BorrowedFd<'_>) -> Outcome<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).at(Step::Rootfs, "open the old root")?;
    mount::attach(mount, root.as_fd()).at(Step::Rootfs, "attach the root")
}

impl Arranged {
    fn mount_all(&mut self, plan: &Plan, dev: Option<OwnedFd>, binds: Vec<OwnedFd>) -> Outcome<()> {
        let (mut dev, mut binds) = (dev, binds.into_iter());
        for entry in &plan.mounts {
            let place = Place { root: &self.root, target: &entry.target };
            match &entry.kind {
                MountKind::Bind { .. } => {
                    let source = binds.next().ok_or_else(|| Failure::new(Step::Mount, "a bind was not handed over"))?;
                    place.bind(source)?;
                }
                MountKind::Dev { .. } => {
                    let Some(made) = dev.take() else {
                        return Err(Failure::new(Step::Device, "only one /dev can be made"));
                    };
                    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                    self.null = rustix::fs::openat(&made, "null", flags, Mode::empty()).ok();
                    place.attach(made, Make::Directory)?;
                }
                MountKind::Proc { options } => {
                    let made = place.filesystem("proc", "proc", options, &entry.attributes)?;
                    // A copy from before anything covers parts of it.
                    let own = mount::clone_tree(made.as_fd(), "".as_ref(), false).at(Step::Mount, "copy procfs")?;
                    self.proc = Some(own);
                }
                MountKind::Cgroup => mounts::cgroup(&place, plan, &entry.attributes)?,
                MountKind::Filesystem { kind, source, options, copy_up } => {
                    let made = if *copy_up {
                        place.tmpfs_with_content(options, &entry.attributes)?
                    } else {
                        place.filesystem(kind, source, options, &entry.attributes)?
                    };
                    if kind == "devpts" {
                        self.pts = Some(made);
                    }
                }
            }
        }
        self.make_devices(plan)
    }

    /// Nodes outside the `/dev` of our own, where the kernel lets this process make them.
    fn make_devices(&self, plan: &Plan) -> Outcome<()> {
        let own_dev = plan.mounts.iter().any(|entry| matches!(entry.kind, MountKind::Dev { .. }));
        // A /dev of the host's holds its own nodes; runc leaves it alone, too.
        let foreign_dev = plan
            .mounts
            .iter()
            .any(|entry| matches!(entry.kind, MountKind::Bind { .. }) && entry.target.trim_end_matches('/') == "/dev");
        if foreign_dev {
            return Ok(());
        }
        let owner = super::dev::Owner { map: None };
        let outside = plan.devices.iter().filter(|device| !own_dev || super::dev::below_dev(&device.path).is_none());
        outside.into_iter().try_for_each(|device| super::dev::make_node(&self.root, &device.path, device, &owner))
    }

    /// An unused terminal of the container's own devpts.
    pub fn open_ptmx(&self) -> Outcome<OwnedFd> {
        match &self.pts {
            Some(pts) => crate::terminal::open_ptmx(pts.as_fd()),
            None => {
                let pts = self.root.locate("/dev/pts").at(Step::Terminal, "open /dev/pts")?;
                crate::terminal::open_ptmx(pts.as_fd())
            }
        }
    }

    /// Shows the terminal as `/dev/console`.
    pub fn bind_console(&self, terminal: BorrowedFd<'_>) -> Outcome<()> {
        let failed = "bind the terminal to /dev/console";
        let source = mount::clone_tree(terminal, "".as_ref(), false).at(Step::Terminal, failed)?;
        let place = Place { root: &self.root, target: "/dev/console" };
        place.attach(source, Make::File)?;
        let device = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| stat.st_rdev);
        let seen = self.root.locate("/dev/console").at(Step::Terminal, failed)?;
        let wanted = rustix::fs::fstat(terminal).at(Step::Terminal, failed)?.st_rdev;
        if device(&seen).at(Step::Terminal, failed)? != wanted {
            return Err(Failure::new(Step::Terminal, "/dev/console is not the terminal that was put there"));
        }
        Ok(())
    }

    /// Makes the arranged tree this process's root and lets the host's go.
    pub fn enter(&mut self, plan: &Plan) -> Outcome<()> {
        if !self.own_mounts {
            return Ok(());
        }
        let readonly = match plan.rootfs {
            Rootfs::Overlay { readonly, .. } | Rootfs::Bind { readonly, .. } => readonly,
        };
        if readonly {
            let attributes = Attributes { set: attr::RDONLY, ..Attributes::default() };
            mount::set_attributes(self.root.as_fd(), false, attributes).at(Step::Rootfs, "make the root read-only")?;
        }
        let failed = "pivot_root";
        rustix::process::fchdir(&self.root).at(Step::Rootfs, failed)?;
        rustix::process::pivot_root(".", ".").at(Step::Rootfs, failed)?;
        // The old root now lies over the new one at the same place.
        rustix::mount::unmount(".", UnmountFlags::DETACH).at(Step::Rootfs, "let the old root go")?;
        rustix::process::chdir("/").at(Step::Rootfs, "enter the root")?;
        if plan.root_propagation != 0 {
            let wanted = plan.root_propagation & !propagation::REC;
            let recursive = plan.root_propagation & propagation::REC != 0;
            let attributes = Attributes { propagation: wanted, ..Attributes::default() };
            mount::set_attributes(self.root.as_fd(), recursive, attributes)
                .at(Step::Rootfs, "set the root's propagation")?;
        }
        Ok(())
    }

    /// Writes kernel parameters through the procfs of our own; no link is followed and no mount crossed.
    pub fn write_sysctls(&self, sysctls: &[(String, String)]) -> Outcome<()> {
        if sysctls.is_empty() {
            return Ok(());
        }
        let proc = self.proc.as_ref().ok_or_else(|| Failure::new(Step::Sysctl, "no procfs for kernel parameters"))?;
        for (path, value) in sysctls {
            let what = || format!("write sysctl {}", path.replace('/', "."));
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let file = rustix::fs::openat2(proc, format!("sys/{path}"), flags, Mode::empty(), resolve)
                .at_with(Step::Sysctl, what)?;
            if rustix::fs::fstatfs(&file).at_with(Step::Sysctl, what)?.f_type as u64 != PROC_MAGIC {
                return Err(Failure::new(Step::Sysctl, what()));
            }
            rustix::io::write(&file, value.as_bytes()).at_with(Step::Sysctl, what)?;
        }
        Ok(())
    }
}

/// The container's own `/dev/null`, after proof that it is one.
pub(crate) fn open_null(root: &Root) -> Outcome<OwnedFd> {
    let null = root
        .open("/dev/null", OFlags::RDWR, Mode::empty())
        .or_else(|_| {
            rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(std::io::Error::from)
        })
        .at(Step::Setup, "open /dev/null")?;
    let device = rustix::fs::fstat(&null).at(Step::Setup, "look at /dev/null")?.st_rdev;
    if device != rustix::fs::makedev(1, 3) {
        return Err(Failure::new(Step::Setup, "/dev/null of the container is something else"));
    }
    Ok(null)
}
