//! The frames in which standard output and error share one stream: one byte of stream, three of zero, four of
//! length (big endian), then the bytes.

use bytes::{Buf, Bytes, BytesMut};

/// Which of the container's streams a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard input echoed back (never seen in practice; shown as output).
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A message of the daemon about the stream itself.
    System,
}

/// Bytes of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where they belong.
    pub stream: Stream,
    /// The bytes; long frames come in pieces.
    pub data: Bytes,
}

/// Takes a stream apart; gives what has arrived of a frame without waiting for its end.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
    current: Option<(Stream, usize)>,
}

const HEADER_BYTES: usize = 8;

impl Frames {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece, if one is complete enough; an error names a stream that does not exist.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, String> {
        loop {
            if let Some((stream, left)) = self.current {
                if left == 0 {
                    self.current = None;
                    continue;
                }
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let take = left.min(self.buffer.len());
                let data = self.buffer.split_to(take).freeze();
                self.current = Some((stream, left - take));
                return Ok(Some(Frame { stream, data }));
            }
            if self.buffer.len() < HEADER_BYTES {
                return Ok(None);
            }
            let stream = match self.buffer[0] {
                0 => Stream::Stdin,
                1 => Stream::Stdout,
                2 => Stream::Stderr,
                3 => Stream::System,
                other => return Err(format!("Unrecognized input header: {other}")),
            };
            self.buffer.advance(4);
            let length = self.buffer.get_u32();
            self.current = Some((stream, length as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whatever_the_pieces() {
        let wire = b"\x01\0\0\0\0\0\0\x03abc\x02\0\0\0\0\0\0\x02de\x01\0\0\0\0\0\0\0";
        for size in 1..wire.len() {
            let mut frames = Frames::default();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for piece in wire.chunks(size) {
                frames.push(piece);
                while let Some(frame) = frames.next_frame().unwrap() {
                    match frame.stream {
                        Stream::Stderr => err.extend_from_slice(&frame.data),
                        _ => out.extend_from_slice(&frame.data),
                    }
                }
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"abc"[..], &b"de"[..]), "pieces of {size}");
        }
    }

    #[test]
    fn an_unknown_stream_is_an_error() {
        let mut frames = Frames::default();
        frames.push(b"\x09\0\0\0\0\0\0\0");
        assert!(frames.next_frame().is_err());
    }
}
