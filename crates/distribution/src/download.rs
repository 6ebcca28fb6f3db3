//! A blob on its way to us: resumed where it breaks off, and never more of it than was promised.

use crate::{
    Repository,
    answer::{Failure, clip},
    limits,
    links::content_range,
    manifest::DIGEST_HEADER,
    network,
    retry::Backoff,
    transport::{Answer, Call, Route},
};
use aws_lc_rs::digest::{Context as Hasher, SHA256};
use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_RANGE, HeaderValue, RANGE},
};
use rorqual_error::{Error, Result};
use rorqual_oci::image::Descriptor;
use rorqual_types::Digest;
use std::fmt;
use tokio::time::timeout;

/// A blob that is being fetched. The receiver drives it: what is not asked for is not read.
pub struct Download {
    repository: Repository,
    descriptor: Descriptor,
    /// The next byte that is handed out.
    offset: u64,
    /// Which of the repository's servers is asked.
    server: usize,
    open: Option<Open>,
    backoff: Backoff,
    /// Bytes since the attempts were counted anew.
    progress: u64,
    /// Gone where the receiver checks the digest itself.
    hasher: Option<Hasher>,
    requests: u32,
    failed: bool,
}

/// An answer being read.
struct Open {
    answer: Answer,
    /// Bytes of it that we have already: a server that does not know ranges sends them again.
    skip: u64,
}

impl Repository {
    /// Fetches a blob from `offset` on; nothing is sent before the first [`Download::chunk`].
    ///
    /// From 0, the digest is checked where the end would be told. From further on only the length is: the
    /// receiver, who has the bytes before, checks the digest of the whole.
    pub fn fetch(&self, descriptor: &Descriptor, offset: u64) -> Download {
        let backoff = Backoff::new(&self.routes[0].shared.pace, limits::ATTEMPTS_MAX);
        Download {
            repository: self.clone(),
            descriptor: descriptor.clone(),
            offset,
            server: 0,
            open: None,
            backoff,
            progress: 0,
            hasher: (offset == 0).then(|| Hasher::new(&SHA256)),
            requests: 0,
            failed: false,
        }
    }

    /// A small blob whole and verified: a configuration.
    ///
    /// # Errors
    /// `InvalidArgument` where the descriptor says more than `max` bytes, or the blob is not what it says.
    pub async fn fetch_whole(&self, descriptor: &Descriptor, max: u64) -> Result<Vec<u8>> {
        if descriptor.size > max {
            return Err(Error::invalid(format!("blob {} is larger than {max} bytes", descriptor.digest)));
        }
        let mut download = self.fetch(descriptor, 0);
        let mut bytes = Vec::new();
        while let Some(chunk) = download.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

impl Download {
    /// The same without a check of the digest, for a receiver that computes it anyway while it stores the bytes.
    #[must_use]
    pub fn digest_checked_by_receiver(mut self) -> Self {
        self.hasher = None;
        self
    }

    /// The next byte's place in the blob.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many requests for bytes it has taken so far.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// The next bytes in order; `None` after the last, when all is as the descriptor says. Cancel safe: dropped, no
    /// byte is lost.
    ///
    /// # Errors
    /// `InvalidArgument` where the registry sends something else than the blob; `Unavailable` when attempts are
    /// used up. An error is final.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if self.failed {
            return Err(Error::internal("a download that has failed is read on"));
        }
        self.next().await.map_err(|failure| {
            self.failed = true;
            self.open = None;
            self.repository.explain_blob(&self.descriptor.digest, failure)
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.offset > self.descriptor.size {
            return Err(Error::invalid(format!("blob {} has no byte {}", self.descriptor.digest, self.offset)).into());
        }
        loop {
            if self.offset == self.descriptor.size && (self.open.is_none() || self.at_end().await?) {
                return self.finish().map(|()| None);
            }
            let read = match &mut self.open {
                Some(open) => read(open, self.repository.routes[0].shared.pace.stall).await,
                None => {
                    self.connect().await?;
                    continue;
                }
            };
            match read {
                Ok(Some(bytes)) => {
                    let bytes = self.accept(bytes)?;
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
                Ok(None) => self.cut(Failure::transient(Error::unavailable("unexpected EOF"))).await?,
                Err(failure) => self.cut(failure).await?,
            }
        }
    }

    /// Whether the answer ends where the blob does. One that breaks off there has given all that we need.
    async fn at_end(&mut self) -> Result<bool, Failure> {
        let Some(open) = &mut self.open else { return Ok(true) };
        match read(open, self.repository.routes[0].shared.pace.stall).await {
            Ok(Some(bytes)) if !bytes.is_empty() => {
                self.accept(bytes)?;
                Ok(false)
            }
            Ok(Some(_)) => Ok(false),
            Ok(None) | Err(_) => {
                self.open = None;
                Ok(true)
            }
        }
    }

    /// Drops what we have already, refuses what is too much, counts the rest.
    fn accept(&mut self, mut bytes: Bytes) -> Result<Bytes, Failure> {
        let Some(open) = &mut self.open else { return Ok(Bytes::new()) };
        let skipped = open.skip.min(bytes.len() as u64);
        open.skip -= skipped;
        bytes = bytes.slice(usize::try_from(skipped).unwrap_or(bytes.len())..);
        if bytes.len() as u64 > self.descriptor.size - self.offset {
            return Err(self.lied("sends more bytes than the descriptor says"));
        }
        self.offset += bytes.len() as u64;
        self.progress = self.progress.saturating_add(bytes.len() as u64);
        if self.progress >= self.worthwhile() {
            self.backoff.reset();
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        Ok(bytes)
    }

    /// The progress that earns new attempts: a server that gives a byte per request is not worth a million of them.
    fn worthwhile(&self) -> u64 {
        (self.descriptor.size / limits::PROGRESS_PARTS_MAX).clamp(1, limits::PROGRESS_BYTES)
    }

    /// The stream broke off: the next attempt, after a wait.
    async fn cut(&mut self, failure: Failure) -> Result<(), Failure> {
        self.open = None;
        self.progress = 0;
        let (digest, offset) = (self.descriptor.digest, self.offset);
        let wait = if failure.transient { self.backoff.next(failure.after) } else { None };
        match wait {
            Some(wait) => {
                tracing::debug!(%digest, offset, error = %failure.error, ?wait, "a blob broke off; it is resumed");
                tokio::time::sleep(wait).await;
                Ok(())
            }
            None => self.next_server(failure),
        }
    }

    /// The next server may have the blob too; it is the same wherever it comes from.
    fn next_server(&mut self, failure: Failure) -> Result<(), Failure> {
        let Some(route) = self.repository.routes.get(self.server + 1) else { return Err(failure) };
        tracing::debug!(error = %failure.error, next = %route.endpoint.origin, "a server failed; the next is asked");
        self.server += 1;
        self.backoff = Backoff::new(&route.shared.pace, limits::ATTEMPTS_MAX);
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        let route = self.repository.routes[self.server].clone();
        match self.request(&route).await {
            Ok(open) => {
                self.open = Some(open);
                Ok(())
            }
            Err(failure) => self.next_server(failure),
        }
    }

    async fn request(&mut self, route: &Route) -> Result<Open, Failure> {
        let mut call = Call::path(Method::GET, format!("{}/blobs/{}", route.name(), self.descriptor.digest));
        if self.offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.offset));
            call.headers.insert(RANGE, range.map_err(|_| Error::internal("make a Range"))?);
        }
        self.requests += 1;
        let answer = route.send(&call).await?;
        let size = self.descriptor.size;
        if answer.header(CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return Err(self.lied("sends the blob in an encoding that was not asked for"));
        }
        if let Some(told) = answer.header(DIGEST_HEADER)
            && told.parse::<Digest>().ok() != Some(self.descriptor.digest)
        {
            return Err(self.lied(&format!("answers with {}", clip(told))));
        }
        let (skip, rest) = match answer.response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.header(CONTENT_RANGE).and_then(content_range);
                match range {
                    Some((first, last, total))
                        if first == self.offset && last < size && total.is_none_or(|total| total == size) =>
                    {
                        (0, last - first + 1)
                    }
                    _ => return Err(self.lied("answers with another range than was asked for")),
                }
            }
            StatusCode::OK => (self.offset, size),
            status => return Err(self.lied(&format!("answers a request for it with status {status}"))),
        };
        if answer.response.content_length().is_some_and(|length| length != rest) {
            return Err(self.lied("announces another length than the descriptor says"));
        }
        Ok(Open { answer, skip })
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.open = None;
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let digest = crate::finish(hasher);
        if digest != self.descriptor.digest {
            return Err(self.lied(&format!("sends bytes whose digest is {digest}")));
        }
        Ok(())
    }

    fn lied(&self, what: &str) -> Failure {
        let server = self.repository.routes[self.server].origin();
        let message =
            format!("filesystem layer verification failed for digest {}: {server} {what}", self.descriptor.digest);
        Failure::last(Error::invalid(message))
    }
}

async fn read(open: &mut Open, stall: std::time::Duration) -> Result<Option<Bytes>, Failure> {
    match timeout(stall, open.answer.response.chunk()).await {
        Ok(read) => read.map_err(|error| network::broken(&open.answer.url, &error)),
        Err(_) => Err(network::late(&Method::GET, &open.answer.url)),
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Download({} at {} of {})", self.descriptor.digest, self.offset, self.descriptor.size)
    }
}
