//! A place for one test: directories, an image of busybox, a cgroup, and the proof that nothing stays.

use rorqual_linux::cgroup::{Cgroup, Cgroups};
use rorqual_runtime::spawn::ShimProgram;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Programs of busybox the tests use.
const APPLETS: &str = "sh cat echo ls id sleep mount umount mkdir rm mv cp ln touch chmod chown stat head tail wc grep \
                       awk sed cut tr dd seq ip ifconfig hostname df env true false kill ps pwd readlink test printf \
                       mknod find tty stty sync yes usleep trap which sysctl dmesg su ping nc md5sum xargs sort nohup";

/// Directories and programs shared by the containers of one test.
#[derive(Debug)]
pub struct Lab {
    /// Everything of the test.
    pub dir: PathBuf,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// A fresh place; `None` (and a line on stderr) when the test cannot run here because it is not root.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/var/tmp/rorqual-linux-{}-{number}", std::process::id()));
        fs::create_dir_all(dir.join("layers/bb/fs")).unwrap();
        // What the daemon does: nobody else gets in.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let lab = Self { dir };
        lab.fill_image();
        Some(lab)
    }

    fn fill_image(&self) {
        let root = self.image("bb");
        for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "var", "home"] {
            fs::create_dir(root.join(dir)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::copy(busybox(), root.join("bin/busybox")).unwrap();
        for applet in APPLETS.split_whitespace() {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/home:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nwheel:x:10:root\nweb:x:44:\nextra:x:50:web\n").unwrap();
    }

    /// The tree of an image layer.
    pub fn image(&self, name: &str) -> PathBuf {
        let path = self.dir.join("layers").join(name).join("fs");
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The shim's program.
    pub fn shim(&self) -> &'static ShimProgram {
        static PROGRAM: OnceLock<ShimProgram> = OnceLock::new();
        PROGRAM.get_or_init(|| ShimProgram::install(shim_path()).unwrap())
    }

    /// A cgroup for one container.
    pub fn cgroup(&self, id: &str, resources: &rorqual_oci::runtime::Resources) -> Cgroup {
        let name = self.dir.file_name().unwrap().to_string_lossy();
        Cgroups::detect().unwrap().create(&format!("{name}-{id}"), resources).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert_eq!(mounts(&self.dir), Vec::<String>::new(), "mounts were left behind");
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// Mounts of this process's namespace that have to do with the test.
fn mounts(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let name = dir.file_name().unwrap().to_string_lossy();
    table.lines().filter(|line| line.contains(&format!("/{name}/"))).map(str::to_owned).collect()
}

fn busybox() -> PathBuf {
    let candidates = ["/bin/busybox", "/usr/bin/busybox"];
    let found = candidates.iter().map(Path::new).find(|path| path.exists());
    found.expect("install busybox-static").to_owned()
}

/// The shim's program, built when missing: `RORQUAL_SHIM`, or beside this test's own program.
pub fn shim_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("RORQUAL_SHIM") {
            return path.into();
        }
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--package", "rorqual-shim"]).status();
        assert!(built.unwrap().success(), "the shim does not build");
        let exe = std::env::current_exe().unwrap();
        exe.parent().and_then(Path::parent).unwrap().join("rorqual-shim")
    })
}
