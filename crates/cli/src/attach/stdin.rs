//! Standard input as a queue: a thread reads it, because a terminal cannot be waited for and left.

use crate::limits;
use std::io::Read;
use tokio::sync::mpsc::{Receiver, channel};

/// Chunks of standard input as they come; the queue ends with the input. The thread ends with the program.
pub(super) fn open() -> Receiver<Vec<u8>> {
    let (send, receive) = channel(limits::STDIN_QUEUE);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; limits::STDIN_CHUNK_BYTES];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if send.blocking_send(buffer[..count].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receive
}
