//! Moves bytes between our standard streams and a connection that the daemon handed over.

use super::{DetachKeys, stdin, tty::RawMode};
use crate::failure::{Failure, Result};
use rorqual_client::{Frames, Hijacked, Stream};
use std::io::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Which streams are attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    /// Standard input goes in.
    pub(crate) stdin: bool,
    /// Standard output or error come out.
    pub(crate) output: bool,
    /// The container has a terminal: output is one stream, keys are watched for the detach sequence.
    pub(crate) tty: bool,
}

/// Why the pump stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The container's streams ended.
    Output,
    /// The user pressed the detach keys.
    Detached,
}

/// Pumps until the output ends or the user detaches. End of input closes the sending half and waits for the output.
/// Raw mode, where the container has a terminal, is undone on return.
pub(crate) async fn pump(connection: Hijacked, streams: Streams, mut keys: DetachKeys) -> Result<Ended> {
    let _raw = (streams.tty && streams.stdin).then(RawMode::enter);
    let multiplexed = connection.multiplexed.unwrap_or(!streams.tty);
    let (mut reader, mut writer) = tokio::io::split(connection.stream);
    let mut input = streams.stdin.then(stdin::open);
    let mut frames = Frames::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        tokio::select! {
            biased;
            read = reader.read(&mut buffer) => match read {
                Ok(0) => return Ok(Ended::Output),
                Ok(count) if !multiplexed => write_out(Stream::Stdout, &buffer[..count])?,
                Ok(count) => {
                    frames.push(&buffer[..count]);
                    while let Some(frame) = frames.next_frame()? {
                        write_out(frame.stream, &frame.data)?;
                    }
                }
                // The daemon closed with our input unread: the streams have ended.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(Ended::Output),
                Err(error) => return Err(error.into()),
            },
            chunk = next(&mut input) => match chunk {
                Some(chunk) => {
                    let (passed, detached) = if streams.tty { keys.filter(&chunk) } else { (chunk, false) };
                    // A program that has ended takes no input; its output still comes.
                    let sent = writer.write_all(&passed).await.is_ok() && writer.flush().await.is_ok();
                    if detached {
                        return Ok(Ended::Detached);
                    }
                    if !sent {
                        input = None;
                    }
                }
                None => {
                    input = None;
                    let _ = writer.shutdown().await;
                    if !streams.output {
                        return Ok(Ended::Output);
                    }
                }
            },
        }
    }
}

/// The next chunk of input; waits for ever where there is none to come.
async fn next(input: &mut Option<tokio::sync::mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

fn write_out(stream: Stream, bytes: &[u8]) -> Result<()> {
    let written = match stream {
        Stream::Stdin | Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => std::io::stderr().write_all(bytes),
        Stream::System => {
            let text = String::from_utf8_lossy(bytes);
            return Err(Failure::message(format!("error from daemon in stream: {text}")));
        }
    };
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::silent(1),
        _ => Failure::from(error),
    })
}
