//! An S3-compatible store that nobody here wrote: the published Python package `moto`, on a loopback port of its own.

use crate::places;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

/// A running store with one empty bucket; it keeps everything in memory, and ends with this.
#[derive(Debug)]
pub struct ObjectStore {
    child: Child,
    /// Where it listens: `127.0.0.1:PORT`.
    pub address: String,
}

impl ObjectStore {
    /// The bucket that is there.
    pub const BUCKET: &str = "bucket";

    /// Starts one.
    ///
    /// # Panics
    /// Where the package is not installed: `cargo xtask test` does that.
    pub fn start() -> Self {
        let program = places::cache().join("objects/bin/moto_server");
        assert!(program.exists(), "{} is missing; `cargo xtask test` installs it", program.display());
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("start the object store");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let address = lines.by_ref().find_map(|line| {
            let line = line.expect("read the object store's output");
            line.split_once("http://").map(|(_, address)| address.trim().to_owned())
        });
        // It must not fill a pipe that nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        let store = Self { child, address: address.expect("the object store says where it listens") };
        store.make_bucket();
        store
    }

    /// What a client of S3 must be told, by the names of the variables that its tools read.
    pub fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }

    fn make_bucket(&self) {
        let mut stream = TcpStream::connect(&self.address).expect("connect to the object store");
        let head = format!("PUT /{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", Self::BUCKET, self.address);
        stream.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).expect("ask for a bucket");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read the answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "no bucket: {answer}");
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
