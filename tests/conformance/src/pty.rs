//! A program on a terminal of its own, typed at by a test.

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

/// A running program and the far end of its terminal.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    child: Child,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts `command` as the leader of a session on a new terminal of `rows` by `columns`.
    pub fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("open a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("unlock the terminal");
        let name = ptsname(&master, Vec::new()).expect("the terminal has a name");
        let slave =
            OpenOptions::new().read(true).write(true).open(name.to_str().expect("plain")).expect("open its end");
        let this_size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, this_size).expect("set the size");
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let again = || slave.try_clone().expect("another handle");
        let child = session.stdin(again()).stdout(again()).stderr(again()).spawn().expect("start on the terminal");
        let master = File::from(master);
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut reader, sink) = (master.try_clone().expect("another handle"), Arc::clone(&seen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                sink.lock().expect("no reader panics").push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Self { master, child, seen }
    }

    /// Types.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("type");
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("set the size");
    }

    /// Everything shown so far.
    pub fn shown(&self) -> String {
        self.seen.lock().expect("no reader panics").clone()
    }

    /// Waits until `text` has been shown since the last call that found something.
    ///
    /// # Panics
    /// After 20 seconds, with what was shown instead.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let mut seen = self.seen.lock().expect("no reader panics");
            if let Some(at) = seen.find(text) {
                *seen = seen[at + text.len()..].to_owned();
                return;
            }
            let shown = seen.clone();
            drop(seen);
            assert!(Instant::now() < end, "waited for {text:?}, saw {shown:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the program's end; gives its exit code.
    ///
    /// # Panics
    /// After 20 seconds.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for the program") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "the program goes on; shown: {:?}", self.shown());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
