//! A part of the host that must stay as it is, and a flipper of names.

use rorqual_testkit::shell;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

/// A directory of the host with known content; whether it changed is the question.
pub(crate) struct Canary {
    dir: tempfile::TempDir,
    before: String,
}

impl Canary {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("canary").tempdir().expect("a directory");
        fs::create_dir(dir.path().join("sub")).expect("a directory in it");
        fs::write(dir.path().join("secret"), "of the host\n").expect("a file");
        fs::write(dir.path().join("sub/file"), "untouched\n").expect("a file");
        // as tempting as it can be: whoever gets here can change it
        shell(&format!("chmod -R a+rwX {}", dir.path().display())).ok();
        let before = digest(dir.path());
        Self { dir, before }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The path without the first slash, behind enough `..` to climb out of anything.
    pub(crate) fn climb(&self) -> String {
        format!("{}{}", "../".repeat(12), self.text().trim_start_matches('/'))
    }

    pub(crate) fn text(&self) -> String {
        self.path().display().to_string()
    }

    /// # Panics
    /// When anything about the directory changed.
    #[track_caller]
    pub(crate) fn check(&self, after: &str) {
        assert_eq!(digest(self.path()), self.before, "the host changed after {after}");
    }
}

/// Names, types, modes, owners and contents, and what is mounted there.
fn digest(dir: &Path) -> String {
    let path = dir.display();
    shell(&format!(
        "cd {path} && find . -printf '%p %y %m %U:%G %s %l\\n' | sort; find . -type f -exec sha256sum {{}} + | sort; grep -c ' {path}' /proc/self/mountinfo"
    ))
    .stdout
}

/// Swaps two names with each other, over and over, until dropped.
pub(crate) struct Flipper {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flipper {
    /// `name` below `dir` becomes by turns a directory and a link to `target`.
    pub(crate) fn directory(dir: &Path, name: &str, target: &Path) -> Self {
        let (one, two) = (dir.join(name), dir.join(format!("{name}.other")));
        _ = fs::create_dir_all(&one);
        symlink(target, &two).expect("a link");
        Self::run(one, two)
    }

    /// `name` below `dir` becomes by turns an empty file and a link to `target`.
    pub(crate) fn file(dir: &Path, name: &str, target: &Path) -> Self {
        let (one, two) = (dir.join(name), dir.join(format!("{name}.other")));
        fs::write(&one, "").expect("a file");
        symlink(target, &two).expect("a link");
        Self::run(one, two)
    }

    fn run(one: PathBuf, two: PathBuf) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, count, thread: Some(thread) }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Flipper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
