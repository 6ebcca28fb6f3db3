//! What a container wrote: read by a blocking thread, in the frames that clients take.

use super::{LogOptions, handle::Handle};
use crate::{
    limits::STREAM_QUEUE,
    parts::{Parts, blocking},
    stream::{ByteStream, LogStream},
};
use bytes::{BufMut, Bytes, BytesMut};
use rorqual_error::{Context, Error, Result};
use rorqual_logs::{Follow, Query, Reader, Stream};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Entries are gathered up to this many bytes before they are sent on, while more are at hand.
const BATCH: usize = 32 << 10;

/// Opens a container's log.
pub(super) async fn open(parts: &Arc<Parts>, handle: &Handle, options: LogOptions) -> Result<LogStream> {
    if !options.stdout && !options.stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    let mut view = handle.subscribe();
    let (record, running, exits) = {
        let view = view.borrow_and_update();
        (view.record.clone(), view.status.phase.is_live(), view.exits)
    };
    if record.host_config.log_config.kind != "json-file" {
        return Err(Error::not_implemented("configured logging driver does not support reading"));
    }
    let nanoseconds =
        |time: Option<jiff::Timestamp>| time.map(|time| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX));
    let query = Query {
        tail: options.tail,
        since: nanoseconds(options.since),
        until: nanoseconds(options.until),
        follow: options.follow && running,
        stdout: options.stdout,
        stderr: options.stderr,
    };
    let path = parts.log_path(handle.id());
    let following = query.follow;
    let reader = blocking(move || Reader::open(&path, query).context("open the container's log")).await?;
    let follow = reader.handle();
    let (sender, chunks) = mpsc::channel(STREAM_QUEUE);
    let tty = record.config.tty;
    let listener = sender.clone();
    tokio::task::spawn_blocking(move || read(reader, &sender, &options, tty));
    if following {
        // Ends the reader when the run it follows has ended, or when nobody listens any more.
        tokio::spawn(async move {
            let ended = view.wait_for(|view| view.removed || view.exits > exits);
            tokio::select! {
                () = listener.closed() => follow.cancel(),
                _ = ended => finish(&follow),
            }
        });
    }
    Ok(LogStream { tty, bytes: ByteStream { chunks } })
}

fn finish(follow: &Follow) {
    follow.finish();
}

fn read(mut reader: Reader, sender: &mpsc::Sender<Result<Bytes>>, options: &LogOptions, tty: bool) {
    let mut batch = BytesMut::new();
    loop {
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => {
                let _ = sender.blocking_send(Err(Error::internal("read the container's log").caused_by(error)));
                return;
            }
        };
        frame(&mut batch, entry.stream, &entry.render(options.timestamps, options.details), tty);
        // A follower may wait for the next entry inside the reader, so what is there goes out first.
        let waits = options.follow && !reader.is_buffered();
        if (waits || batch.len() >= BATCH) && sender.blocking_send(Ok(batch.split().freeze())).is_err() {
            return;
        }
    }
    if !batch.is_empty() {
        let _ = sender.blocking_send(Ok(batch.freeze()));
    }
}

/// Appends one entry: raw for a terminal, else with the header of stream and length.
fn frame(batch: &mut BytesMut, stream: Stream, text: &[u8], tty: bool) {
    if !tty {
        batch.put_u8(match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        });
        batch.put_bytes(0, 3);
        batch.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    }
    batch.put_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_carry_their_stream_and_length() {
        let mut batch = BytesMut::new();
        frame(&mut batch, Stream::Stderr, b"hey\n", false);
        assert_eq!(&batch[..], b"\x02\0\0\0\0\0\0\x04hey\n");
        let mut raw = BytesMut::new();
        frame(&mut raw, Stream::Stdout, b"hey\n", true);
        assert_eq!(&raw[..], b"hey\n");
    }
}
