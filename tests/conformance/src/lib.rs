//! Unmodified Docker clients drive a daemon: ours, or a dockerd to ask what is right.
//!
//! `RORQUAL_TEST_HOST` names the daemon (a `DOCKER_HOST`); without it each test program starts one of ours for
//! itself. `RORQUAL_RECORD=1` writes down what the daemon answers as what is expected: done against dockerd 28.5
//! with its containerd image store, never against ours. `RORQUAL_TEST_NETNS` names the daemon's network namespace,
//! whose outside client is the same name with `-c`.

#![forbid(unsafe_code)]

pub mod normal;
pub mod pty;
pub mod scenario;

use rorqual_testkit::{Api, Daemon, Finished, Netns, daemon, images};
use std::sync::OnceLock;

/// The daemon the tests of this program talk to.
#[derive(Debug)]
pub struct Engine {
    /// Its `DOCKER_HOST`.
    pub host: String,
    /// Its networks, where we know them.
    pub netns: Option<Netns>,
    /// Kept so that it lives as long as the program.
    _daemon: Option<Daemon>,
}

/// The daemon under test, started and given its images at first use.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| match std::env::var("RORQUAL_TEST_HOST") {
        Ok(host) => {
            let netns = std::env::var("RORQUAL_TEST_NETNS").ok().filter(|name| !name.is_empty());
            let netns = netns.map(|name| Netns { client: format!("{name}-c"), name });
            Engine { host, netns, _daemon: None }
        }
        Err(_) => {
            let daemon = Daemon::start("conf");
            for archive in [images::hello(), images::busybox()] {
                daemon.load(&archive);
            }
            Engine { host: daemon.host(), netns: daemon.netns.clone(), _daemon: Some(daemon) }
        }
    })
}

impl Engine {
    /// A connection to its API.
    pub fn api(&self) -> Api {
        Api::new(self.host.clone())
    }

    /// The docker command line against it; the line is split at spaces.
    #[track_caller]
    pub fn docker(&self, line: &str) -> Finished {
        daemon::docker(&self.host, line.split_whitespace())
    }

    /// Loads the archive unless the image is there.
    #[track_caller]
    pub fn need(&self, image: &str, archive: fn() -> std::path::PathBuf) {
        if self.docker(&format!("image inspect {image}")).code != 0 {
            self.docker(&format!("load -q -i {}", archive().display())).ok();
        }
    }
}
