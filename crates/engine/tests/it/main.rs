//! The engine on the real kernel: temporary roots, a network namespace of its own, the real shim, an image of busybox.
//!
//! The program is its own harness: it is also the helper that unpacks layers, which must be the first thing it does, and it
//! starts itself again inside a fresh network namespace. Without root, a shim or busybox it says so and passes.

mod image;
mod scenarios;

use rorqual_engine::{Engine, EngineConfig};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

const INSIDE: &str = "--inside";

fn main() -> ExitCode {
    rorqual_snapshot::helper_main();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if arguments.first().is_some_and(|argument| argument == INSIDE) {
        return inside(arguments.get(1).map(String::as_str));
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return ExitCode::SUCCESS;
    }
    if !Path::new("/bin/busybox").exists() {
        println!("skipped: needs /bin/busybox");
        return ExitCode::SUCCESS;
    }
    // The mount namespace is private too, so that a failed run leaves nothing mounted on the machine.
    let this = std::env::current_exe().expect("the path of this program");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let status = Command::new("unshare").args(["--net", "--mount", "--"]).arg(this).arg(INSIDE).args(filter).status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        other => {
            println!("failed: {other:?}");
            ExitCode::FAILURE
        }
    }
}

/// The shim's program beside this one; built where it is missing.
fn shim() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this program");
    let binaries = this.parent().and_then(Path::parent).expect("target/debug/deps/it");
    let shim = binaries.join("rorqual-shim");
    if !shim.exists() {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let built = Command::new(cargo).args(["build", "--package", "rorqual-shim"]).status();
        assert!(built.is_ok_and(|status| status.success()), "the shim could not be built");
    }
    shim
}

fn inside(filter: Option<&str>) -> ExitCode {
    Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip(8)");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let roots = tempfile::Builder::new().prefix("rorqual-engine-it").tempdir().expect("a directory");
    let config = EngineConfig::new(roots.path().join("data"), roots.path().join("exec"), shim());
    runtime.block_on(async {
        let engine = Engine::open(config.clone()).await.expect("the engine opens");
        image::load(&engine).await;
        let mut world = World { config, opened: Some(engine) };
        scenarios::all(&mut world, filter).await;
        world.leaves_nothing().await;
        world.close().await;
    });
    println!("all passed");
    ExitCode::SUCCESS
}

/// The engine under test.
#[derive(Debug)]
pub struct World {
    config: EngineConfig,
    opened: Option<Engine>,
}

impl World {
    /// The engine, which is open.
    fn engine(&self) -> &Engine {
        self.opened.as_ref().expect("it is open")
    }

    /// Closes the engine and lets go of its store.
    async fn close(&mut self) {
        if let Some(engine) = self.opened.take() {
            engine.close().await;
        }
    }

    /// Closes the engine and opens it again on the same roots: containers live on.
    async fn reopen(&mut self) {
        self.close().await;
        self.opened = Some(Engine::open(self.config.clone()).await.expect("the engine opens again"));
    }

    /// No run directory, mount or cgroup is left once all containers are gone.
    async fn leaves_nothing(&self) {
        let runs = self.config.exec_root.join("c");
        for _ in 0..100 {
            if std::fs::read_dir(&runs).expect("the runs").next().is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let left: Vec<_> = std::fs::read_dir(&runs).expect("the runs").collect();
        assert!(left.is_empty(), "runs left: {left:?}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
        let root = self.config.data_root.parent().expect("the roots").display().to_string();
        // Layers stay mounted: they are the images', not the containers'.
        let layers = self.config.exec_root.join("layers").display().to_string();
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(&root) && !line.contains(&layers)).collect();
        assert!(left.is_empty(), "mounts left: {left:?}");
        let left: Vec<_> = std::fs::read_dir(self.config.data_root.join("containers")).expect("containers").collect();
        assert!(left.is_empty(), "containers left: {left:?}");
    }
}
