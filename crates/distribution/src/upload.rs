//! A blob on its way to a registry: one streamed request where all goes well, resumed at the registry's own count
//! where it does not.

use crate::{
    Repository,
    answer::Failure,
    limits,
    links::upload_range,
    manifest::DIGEST_HEADER,
    retry::Backoff,
    transport::{Answer, Call, Payload, Route, Target},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use reqwest::{
    Body, Method, StatusCode, Url,
    header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE},
};
use rorqual_error::{Error, Result};
use rorqual_oci::image::Descriptor;
use rorqual_types::{Digest, Reference};
use std::{
    fmt, fs, io,
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Pieces of a blob, in order.
pub type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Where the bytes of a blob come from. It may be asked several times, each time from another offset on.
pub type Source<'a> = &'a (dyn Fn(u64) -> Chunks + Send + Sync);

/// Is told how many bytes are on their way; less than before when an upload starts over.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(u64) + Send + Sync>);

impl Progress {
    /// A progress that calls `tell`.
    pub fn new(tell: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// A progress that nobody watches.
    pub fn ignored() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// How a blob is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// In one streamed request.
    #[default]
    Whole,
    /// In chunks, for proxies that limit the size of a request.
    Chunked,
}

/// The bytes of a file from `offset` to `size`, read apart from the async threads.
pub fn file_chunks(file: Arc<fs::File>, offset: u64, size: u64) -> Chunks {
    let read = move |at: u64| {
        let file = file.clone();
        async move {
            let wanted = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX).min(limits::UPLOAD_READ_BYTES);
            if wanted == 0 {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; wanted];
                let length = file.read_at(&mut buffer, at)?;
                buffer.truncate(length);
                io::Result::Ok(buffer)
            });
            let buffer = read.await.map_err(io::Error::other)??;
            let next = at + buffer.len() as u64;
            // A file that ends early ends the stream: the request then fails for want of bytes.
            Ok((!buffer.is_empty()).then(|| (Bytes::from(buffer), next)))
        }
    };
    Box::pin(stream::try_unfold(offset, read))
}

/// The bytes of a small blob from `offset` on.
pub fn bytes_chunks(bytes: Bytes, offset: u64) -> Chunks {
    let rest = usize::try_from(offset).ok().filter(|offset| *offset <= bytes.len()).map(|offset| bytes.slice(offset..));
    Box::pin(stream::iter(rest.into_iter().filter(|rest| !rest.is_empty()).map(Ok)))
}

impl Repository {
    /// The length of a blob that the registry has; `None` where it has it not.
    pub async fn exists(&self, digest: &Digest) -> Result<Option<u64>> {
        let route = self.registry();
        match route.send(&Call::path(Method::HEAD, format!("{}/blobs/{digest}", route.name()))).await {
            Ok(answer) => {
                let length = answer.header(reqwest::header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
                Ok(Some(length.unwrap_or(0)))
            }
            Err(failure) if failure.has_status(StatusCode::NOT_FOUND) => Ok(None),
            Err(failure) => Err(self.explain(failure)),
        }
    }

    /// Makes a blob of repository `from`, at the same registry, one of this repository too, without sending it. False
    /// where the registry does not do that.
    pub async fn mount(&self, digest: &Digest, from: &Reference) -> Result<bool> {
        if from.domain() != self.reference.domain() {
            return Ok(false);
        }
        let from = from.name().split_once('/').map_or(from.name(), |(_, path)| path);
        let mut route = self.registry().clone();
        route.authorizer = Arc::new(route.authorizer.with_scope(&format!("repository:{from}:pull")));
        let path = format!("{}/blobs/uploads/?mount={digest}&from={from}", route.name());
        let answer = match route.send(&Call::path(Method::POST, path)).await {
            Ok(answer) => answer,
            // Not our blob to mount; whether we may push at all is seen when we do.
            Err(failure) if failure.status.is_some_and(|status| status.is_client_error()) => return Ok(false),
            Err(failure) => return Err(self.explain(failure)),
        };
        if answer.response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        if let Ok(Some(unwanted)) = answer.location(&route.origin())
            && let Err(failure) = route.send(&Call::new(Method::DELETE, Target::Url(unwanted))).await
        {
            tracing::debug!(error = %failure.error, "an upload that is not needed could not be cancelled");
        }
        Ok(false)
    }

    /// Sends a blob. The registry verifies its digest; what it answers is compared.
    ///
    /// # Errors
    /// `InvalidArgument` where `source` is not what the descriptor says; `Unavailable` when attempts are used up.
    pub async fn push_blob(
        &self,
        descriptor: &Descriptor,
        source: Source<'_>,
        manner: Manner,
        progress: &Progress,
    ) -> Result<()> {
        let route = self.registry();
        let upload = Upload { route, descriptor, source, manner, progress };
        upload.run().await.map_err(|failure| self.explain(failure))
    }
}

/// One blob being sent.
struct Upload<'a> {
    route: &'a Route,
    descriptor: &'a Descriptor,
    source: Source<'a>,
    manner: Manner,
    progress: &'a Progress,
}

/// Where an upload stands: the address of its next request, and the bytes that the registry has.
struct Stand {
    location: Url,
    stored: u64,
}

impl Upload<'_> {
    async fn run(&self) -> Result<(), Failure> {
        let mut backoff = Backoff::new(&self.route.shared.pace, limits::ATTEMPTS_MAX);
        let mut stand = self.begin().await?;
        let mut chunk = match self.manner {
            Manner::Whole => None,
            Manner::Chunked => Some(limits::UPLOAD_CHUNK_BYTES),
        };
        loop {
            let failure = match self.step(&mut stand, chunk).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    backoff.reset();
                    continue;
                }
                Err(failure) => failure,
            };
            // A count that the registry does not agree with is settled by asking it.
            let disagrees = failure.has_status(StatusCode::RANGE_NOT_SATISFIABLE);
            let lost = failure.has_status(StatusCode::NOT_FOUND);
            if !failure.transient && !disagrees && !lost {
                return Err(failure);
            }
            let Some(wait) = backoff.next(failure.after) else { return Err(failure) };
            tracing::debug!(digest = %self.descriptor.digest, error = %failure.error, ?wait, "an upload broke off");
            tokio::time::sleep(wait).await;
            // The specification resumes an upload by a chunk, and closes it after: from now on the rest is one. (Docker's
            // registry 2.8 keeps no upload whose request broke off, by chunk or whole: there it starts over.)
            chunk = chunk.or(Some(u64::MAX));
            let before = stand.stored;
            stand = match self.status(&stand).await {
                Ok(stand) if stand.stored <= self.descriptor.size && !lost => stand,
                _ => self.begin().await?,
            };
            if stand.stored > before {
                backoff.reset();
            }
        }
    }

    /// Sends what is to be sent next, in chunks where that is asked for. True when the blob is stored.
    async fn step(&self, stand: &mut Stand, chunk: Option<u64>) -> Result<bool, Failure> {
        let rest = self.descriptor.size - stand.stored;
        match chunk {
            Some(chunk) if rest > 0 => {
                let length = rest.min(chunk);
                let answer = self.put(Method::PATCH, stand.location.clone(), stand.stored, length).await?;
                let sent = stand.stored + length;
                *stand = self.stand(&answer, &stand.location, sent)?;
                Ok(false)
            }
            _ => {
                let mut location = stand.location.clone();
                location.query_pairs_mut().append_pair("digest", &self.descriptor.digest.to_string());
                let answer = self.put(Method::PUT, location, stand.stored, rest).await?;
                self.check_stored(&answer)?;
                Ok(true)
            }
        }
    }

    async fn begin(&self) -> Result<Stand, Failure> {
        let mut call = Call::path(Method::POST, format!("{}/blobs/uploads/", self.route.name()));
        // One begun twice leaves an empty upload behind, which registries drop.
        call.repeatable = true;
        let answer = self.route.send(&call).await?;
        (self.progress.0)(0);
        let location = answer.location(&self.route.origin())?;
        let location =
            location.ok_or_else(|| Error::invalid(format!("{} begins an upload nowhere", self.route.origin())))?;
        Ok(Stand { location, stored: 0 })
    }

    /// Asks the registry how far an upload is.
    async fn status(&self, stand: &Stand) -> Result<Stand, Failure> {
        let answer = self.route.send(&Call::new(Method::GET, Target::Url(stand.location.clone()))).await?;
        self.stand(&answer, &stand.location, 0)
    }

    /// What an answer says of the upload; `otherwise` is its length where the answer says nothing of that.
    fn stand(&self, answer: &Answer, location: &Url, otherwise: u64) -> Result<Stand, Failure> {
        let stored = match answer.header(RANGE) {
            Some(range) => upload_range(range).ok_or_else(|| {
                Error::invalid(format!("{} tells the length of an upload in no known way", self.route.origin()))
            })?,
            None => otherwise,
        };
        if stored > self.descriptor.size {
            return Err(
                Error::invalid(format!("{} has more bytes of an upload than were sent", self.route.origin())).into()
            );
        }
        let location = answer.location(&self.route.origin())?.unwrap_or_else(|| location.clone());
        Ok(Stand { location, stored })
    }

    async fn put(&self, method: Method, location: Url, offset: u64, length: u64) -> Result<Answer, Failure> {
        let sent = Arc::new(AtomicU64::new(0));
        let make = || counted((self.source)(offset), offset, length, sent.clone(), self.progress.clone());
        let partial = method == Method::PATCH || offset > 0;
        let mut call = Call::new(method, Target::Url(location));
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if length > 0 {
            if partial {
                let range = HeaderValue::from_str(&format!("{offset}-{}", offset + length - 1));
                call.headers.insert(CONTENT_RANGE, range.map_err(|_| Error::internal("make a Content-Range"))?);
            }
            call.payload = Payload::Stream { make: &make, length, sent: sent.clone() };
        }
        self.route.send(&call).await
    }

    fn check_stored(&self, answer: &Answer) -> Result<(), Failure> {
        let wanted = self.descriptor.digest;
        match answer.header(DIGEST_HEADER) {
            Some(stored) if stored.parse::<Digest>().ok() != Some(wanted) => {
                let (origin, stored) = (self.route.origin(), crate::answer::clip(stored));
                Err(Error::internal(format!("{origin} stored blob {stored} where {wanted} was sent")).into())
            }
            _ => Ok(()),
        }
    }
}

/// A body of exactly `length` bytes of `chunks`, counted as they are taken.
fn counted(chunks: Chunks, offset: u64, length: u64, sent: Arc<AtomicU64>, progress: Progress) -> Body {
    let mut left = length;
    let limited = chunks.map(move |chunk| {
        let mut chunk = chunk?;
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        chunk.truncate(here);
        left -= here as u64;
        let total = sent.fetch_add(here as u64, Ordering::Relaxed) + here as u64;
        (progress.0)(offset + total);
        Ok::<_, io::Error>(chunk)
    });
    // The stream may be longer than what goes into one chunk.
    let mut open = length > 0;
    let mut counted = 0u64;
    Body::wrap_stream(limited.take_while(move |chunk| {
        let go_on = open;
        counted += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        open = chunk.is_ok() && counted < length;
        std::future::ready(go_on)
    }))
}
