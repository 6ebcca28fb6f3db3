//! A client's end of a container's streams.

use rorqual_runtime::protocol::Connection;
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
};

/// A byte stream of a process.
#[derive(Debug)]
pub struct Attached {
    file: File,
    rest: Vec<u8>,
}

impl Attached {
    /// After the shim's answer.
    pub fn new(connection: Connection) -> Self {
        let (fd, rest) = connection.into_stream();
        Self { file: fd.into(), rest }
    }

    /// Sends input. A process that has ended takes none.
    pub fn send(&mut self, bytes: &[u8]) {
        let chunk = [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
        let _ = self.file.write_all(&chunk);
    }

    /// Ends the input.
    pub fn end_input(&mut self) {
        self.send(&[]);
    }

    /// Everything until the streams end.
    pub fn read_all(mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.rest);
        self.file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Reads until `text` has been seen; everything read.
    pub fn read_until(&mut self, text: &str) -> String {
        let mut seen = std::mem::take(&mut self.rest);
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut buffer = [0; 4096];
            let count = self.file.read(&mut buffer).unwrap();
            assert!(count > 0, "the stream ended after {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// The socket.
    pub fn socket(&self) -> impl AsFd + '_ {
        self.file.as_fd()
    }
}

/// Standard output and errors of docker's frames.
pub fn demultiplex(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while !bytes.is_empty() {
        let len = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let body = &bytes[8..8 + len];
        if bytes[0] == 2 {
            err.extend_from_slice(body)
        } else {
            out.extend_from_slice(body)
        }
        bytes = &bytes[8 + len..];
    }
    (out, err)
}
