//! The frames that output of two streams travels in: an 8-byte header (the stream's number, three zeros, the payload's
//! length) and the payload.

const HEADER: usize = 8;
const STDOUT: u8 = 1;

/// What becomes of a session's output on its way to the caller.
#[derive(Debug)]
pub(crate) enum Framing {
    /// Nothing: it comes as the caller wants it.
    Kept,
    /// A terminal's bytes become frames of standard output.
    Added,
    /// Frames become the bytes of standard output; what else there was is lost.
    Removed(Unframe),
}

/// Where in a stream of frames a reader is.
#[derive(Debug, Default)]
pub(crate) struct Unframe {
    header: Vec<u8>,
    /// Bytes that are left of the present payload, and whether they are standard output's.
    left: usize,
    wanted: bool,
}

impl Framing {
    /// From what the program has to what the caller asked for.
    pub fn new(terminal: bool, caller_wants_terminal: bool) -> Self {
        match (terminal, caller_wants_terminal) {
            (true, false) => Self::Added,
            (false, true) => Self::Removed(Unframe::default()),
            (true, true) | (false, false) => Self::Kept,
        }
    }

    /// Passes a chunk on, by way of `space` where it is changed.
    pub fn pass<'a>(&mut self, chunk: &'a [u8], space: &'a mut Vec<u8>) -> &'a [u8] {
        match self {
            Self::Kept => return chunk,
            Self::Added => {
                space.clear();
                space.extend_from_slice(&[STDOUT, 0, 0, 0]);
                space.extend_from_slice(&u32::try_from(chunk.len()).unwrap_or(u32::MAX).to_be_bytes());
                space.extend_from_slice(chunk);
            }
            Self::Removed(unframe) => {
                space.clear();
                unframe.pass(chunk, space);
            }
        }
        space
    }
}

impl Unframe {
    fn pass(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) {
        while !chunk.is_empty() {
            if self.left > 0 {
                let (payload, rest) = chunk.split_at(self.left.min(chunk.len()));
                if self.wanted {
                    out.extend_from_slice(payload);
                }
                self.left -= payload.len();
                chunk = rest;
                continue;
            }
            let (more, rest) = chunk.split_at((HEADER - self.header.len()).min(chunk.len()));
            self.header.extend_from_slice(more);
            chunk = rest;
            if let [stream, _, _, _, length @ ..] = &self.header[..]
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                self.wanted = *stream == STDOUT;
                self.left = u32::from_be_bytes(length) as usize;
                self.header.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(framing: &mut Framing, chunks: &[&[u8]], expected: &[u8]) {
        let (mut space, mut seen) = (Vec::new(), Vec::new());
        for chunk in chunks {
            seen.extend_from_slice(framing.pass(chunk, &mut space));
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_terminal_is_framed_for_a_caller_who_asked_for_none() {
        check(&mut Framing::new(true, false), &[b"hi", b"x"], b"\x01\0\0\0\0\0\0\x02hi\x01\0\0\0\0\0\0\x01x");
    }

    #[test]
    fn a_caller_who_asked_for_a_terminal_sees_no_frames() {
        let bytes = b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x02!\n";
        check(&mut Framing::new(false, true), &[bytes], b"out!\n");
        for size in 1..bytes.len() {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            check(&mut Framing::new(false, true), &chunks, b"out!\n");
        }
    }

    #[test]
    fn what_fits_is_passed_as_it_is() {
        for terminal in [false, true] {
            check(&mut Framing::new(terminal, terminal), &[b"\x01x", b"y"], b"\x01xy");
        }
    }
}
