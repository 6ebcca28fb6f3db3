//! A layer's bytes on their way to the reader: read and decompressed by one thread, hashed by another.

use crate::{
    limits::{CHUNK_BYTES, CHUNKS_AHEAD, EXPANSION_FREE_BYTES, EXPANSION_MAX, PROGRESS_BYTES},
    tar::read_error,
};
use aws_lc_rs::digest::{Context as Hasher, SHA256};
use flate2::bufread::MultiGzDecoder;
use rorqual_error::{Context, Error, Result};
use rorqual_types::Digest;
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

/// How many bytes say how the others are compressed.
const MAGIC_BYTES: usize = 4;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not.
    None,
    /// gzip, any number of members.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// What the first bytes say.
    pub fn detect(start: &[u8]) -> Self {
        if start.starts_with(&[0x1f, 0x8b, 0x08]) {
            Self::Gzip
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
            || start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18]
        {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// A reader of `source`'s uncompressed bytes, whatever its compression; expansion beyond the limit is an error.
pub fn decompressed<'a>(source: impl Read + Send + 'a) -> Result<(Box<dyn Read + Send + 'a>, Compression)> {
    let taken = Arc::new(AtomicU64::new(0));
    let mut source = Counted { inner: source, taken: taken.clone() };
    let mut start = Vec::with_capacity(MAGIC_BYTES);
    (&mut source).take(MAGIC_BYTES as u64).read_to_end(&mut start).context("read the archive")?;
    let compression = Compression::detect(&start);
    let source = BufReader::with_capacity(256 << 10, io::Cursor::new(start).chain(source));
    let inner: Box<dyn Read + Send + 'a> = match compression {
        Compression::None => return Ok((Box::new(source), compression)),
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(source).context("begin to decompress")?),
    };
    Ok((Box::new(Limited { inner, taken, given: 0 }), compression))
}

struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.taken.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

struct Limited<R> {
    inner: R,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.given += length as u64;
        let bound = self.taken.load(Ordering::Relaxed).saturating_mul(EXPANSION_MAX);
        if self.given > EXPANSION_FREE_BYTES && self.given > bound {
            return Err(io::Error::other(Error::invalid("the archive expands to more than 1000 times its size")));
        }
        Ok(length)
    }
}

type Chunk = Arc<Vec<u8>>;

/// The uncompressed bytes of an archive, made ahead by a thread.
#[derive(Debug)]
pub(crate) struct Stream {
    chunks: Receiver<io::Result<Chunk>>,
    current: Chunk,
    at: usize,
    ended: bool,
    /// Gets the same bytes.
    copy: Option<File>,
}

impl Stream {
    /// Reads what is left; `progress` is told the position now and then.
    pub(crate) fn drain(&mut self, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let (mut position, mut reported) = (0, 0);
        loop {
            let length = self.fill_buf().map_err(read_error)?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
            position += length as u64;
            if position - reported >= PROGRESS_BYTES {
                reported = position;
                progress(reported)?;
            }
        }
    }
}

/// The digest that a thread computes of the bytes of a [`Stream`].
#[derive(Debug)]
pub(crate) struct PendingDigest(JoinHandle<Digest>);

impl PendingDigest {
    /// The digest; the stream must have been read to its end.
    pub(crate) fn join(self) -> Result<Digest> {
        self.0.join().map_err(|_| Error::internal("the digest was not computed"))
    }
}

/// The digest of what is in `file` from where it stands.
pub(crate) fn digest_of(mut file: File) -> io::Result<Digest> {
    let mut context = Hasher::new(&SHA256);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(digest_from(context)),
            Ok(length) => context.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn digest_from(context: Hasher) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest::from_bytes(bytes)
}

/// Begins to read `source`; with `digest` also the digest of its uncompressed bytes. Those that are read are written to
/// `copy` before.
pub(crate) fn open(source: File, digest: bool, copy: Option<File>) -> Result<(Stream, Option<PendingDigest>)> {
    let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
    let (hasher, pending) = if digest {
        let (hasher, hashed) = sync_channel::<Chunk>(CHUNKS_AHEAD);
        let thread = spawn("digest", move || {
            let mut context = Hasher::new(&SHA256);
            while let Ok(chunk) = hashed.recv() {
                context.update(&chunk);
            }
            digest_from(context)
        })?;
        (Some(hasher), Some(PendingDigest(thread)))
    } else {
        (None, None)
    };
    spawn("decompress", move || {
        if let Err(error) = pump(source, &sender, hasher.as_ref()) {
            let _ = sender.send(Err(error));
        }
    })?;
    Ok((Stream { chunks, current: Chunk::default(), at: 0, ended: false, copy }, pending))
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.into()).spawn(work).with_context(|| format!("start the {name} thread"))
}

fn pump(source: File, chunks: &SyncSender<io::Result<Chunk>>, hasher: Option<&SyncSender<Chunk>>) -> io::Result<()> {
    let (mut source, _) = decompressed(source).map_err(io::Error::other)?;
    let mut buffers = Buffers::default();
    loop {
        let mut chunk = buffers.take();
        let bytes = Arc::make_mut(&mut chunk);
        let length = fill(&mut source, bytes)?;
        bytes.truncate(length);
        buffers.give(&chunk);
        let ended = length == 0;
        if let Some(hasher) = hasher.filter(|_| !ended) {
            let _ = hasher.send(chunk.clone());
        }
        // An empty chunk is the end: a thread that breaks off must not look like one.
        if chunks.send(Ok(chunk)).is_err() || ended {
            return Ok(());
        }
    }
}

/// Reads until the buffer is full or the source has ended; how many bytes.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match source.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Chunks that were filled, oldest first: one that nobody holds any more is filled again, which costs neither the
/// kernel's work for new memory nor ours to clear it.
#[derive(Default)]
struct Buffers(VecDeque<Chunk>);

impl Buffers {
    /// A buffer of a chunk's length.
    fn take(&mut self) -> Chunk {
        if self.0.front_mut().is_some_and(|chunk| Arc::get_mut(chunk).is_some())
            && let Some(mut chunk) = self.0.pop_front()
        {
            Arc::make_mut(&mut chunk).resize(CHUNK_BYTES, 0);
            return chunk;
        }
        Arc::new(vec![0; CHUNK_BYTES])
    }

    fn give(&mut self, chunk: &Chunk) {
        self.0.push_back(chunk.clone());
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() && !self.ended {
            self.at = 0;
            self.current = self.chunks.recv().map_err(|_| io::Error::other("the reading thread broke off"))??;
            self.ended = self.current.is_empty();
            if let Some(copy) = &mut self.copy {
                copy.write_all(&self.current).context("keep the archive").map_err(io::Error::other)?;
            }
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.current.len());
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
