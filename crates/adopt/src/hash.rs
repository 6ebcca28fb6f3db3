//! Digests of what is read and of what is written.

use crate::limits::CHUNK_BYTES;
use aws_lc_rs::digest::{Context, SHA256};
use rorqual_types::Digest;
use std::io::{self, BufWriter, Write};

/// The SHA-256 digest of `bytes`.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Context::new(&SHA256);
    hasher.update(bytes);
    finish(hasher)
}

fn finish(hasher: Context) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(hasher.finish().as_ref());
    Digest::from_bytes(out)
}

/// A writer that knows the digest of all that went through it; small writes are gathered first.
pub(crate) struct Hashing<'a> {
    inner: BufWriter<Inner<'a>>,
}

struct Inner<'a> {
    hasher: Context,
    out: &'a mut dyn Write,
}

impl<'a> Hashing<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Self { inner: BufWriter::with_capacity(CHUNK_BYTES, Inner { hasher: Context::new(&SHA256), out }) }
    }

    /// Passes on what was gathered, and gives the digest.
    pub(crate) fn finish(self) -> io::Result<Digest> {
        let inner = self.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(finish(inner.hasher))
    }
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Write for Inner<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
