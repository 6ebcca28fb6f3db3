//! Registries: what the image store and the API ask of them. The protocol is `rorqual_distribution`'s, which is
//! async; the image store blocks, and is given a repository that waits for it.

use crate::parts::Parts;
use rorqual_distribution::{
    Manner, Progress, Registries, Repository, TagOrDigest, file_chunks, limits::MANIFEST_BYTES_MAX,
};
use rorqual_error::{Error, Kind, Result};
use rorqual_image::{Destination, Pushed, Sink, Source};
use rorqual_oci::image::{Descriptor, Document, PlatformEntry, media};
use rorqual_types::{Digest, Filters, Reference};
use std::{
    fs::File,
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::{runtime::Handle, time::timeout};

pub use rorqual_distribution::{Access, Config, Credentials, HostRule, Login, Mirror, Proxies, SearchResult};

/// How often a transfer that waits for a registry looks whether it was given up.
const LOOK: Duration = Duration::from_millis(250);

/// The registries of this node. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) parts: Arc<Parts>,
}

/// What a registry says of an image that need not be here.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// What its name points to.
    pub descriptor: Descriptor,
    /// The platforms it is there for.
    pub platforms: Vec<PlatformEntry>,
}

impl Registry {
    /// Checks credentials with the registry that they name.
    pub async fn login(&self, credentials: &Credentials) -> Result<Login> {
        self.parts.registries().login(credentials).await.map_err(unreachable)
    }

    /// Searches an index. Filters: `is-official`, `is-automated`, `stars`.
    pub async fn search(
        &self,
        term: &str,
        limit: usize,
        filters: &Filters,
        credentials: &Credentials,
    ) -> Result<Vec<SearchResult>> {
        filters.validate(&["is-automated", "is-official", "stars"])?;
        let (official, automated) = (filters.boolean("is-official")?, filters.boolean("is-automated")?);
        let mut stars = 0;
        for text in filters.get("stars") {
            let wanted: i64 = text.parse().map_err(|_| Error::invalid(format!("invalid filter 'stars={text}'")))?;
            stars = stars.max(wanted);
        }
        let mut found = self.parts.registries().search(term, limit, credentials).await.map_err(unreachable)?;
        // No index builds anything by itself any more.
        let fits =
            |one: &SearchResult| official.is_none_or(|wanted| one.is_official == wanted) && one.star_count >= stars;
        found.retain(|one| automated != Some(true) && fits(one));
        Ok(found)
    }

    /// What the registry has under a name.
    pub async fn inspect(&self, reference: &Reference, credentials: Credentials) -> Result<Distribution> {
        let repository = self.parts.registries().repository(reference, credentials, Access::Pull)?;
        let found =
            repository.manifest(&TagOrDigest::from(reference), MANIFEST_BYTES_MAX).await.map_err(unreachable)?;
        let platforms = match &found.document {
            Document::Index(index) => index.manifests.iter().filter_map(|entry| entry.platform.clone()).collect(),
            Document::Manifest(manifest) if media::is_config(&manifest.config.media_type) => {
                let config = repository.fetch_whole(&manifest.config, MANIFEST_BYTES_MAX).await?;
                let config = rorqual_oci::image::ImageConfig::parse(&config)?;
                vec![config.platform()]
            }
            Document::Manifest(_) => Vec::new(),
        };
        Ok(Distribution { descriptor: found.descriptor, platforms })
    }

    /// Every tag of a repository.
    pub(crate) async fn tags(&self, reference: &Reference, credentials: Credentials) -> Result<Vec<String>> {
        self.parts.registries().repository(reference, credentials, Access::Pull)?.tags().await
    }
}

/// dockerd answers 500 where a registry cannot be reached, and keeps 503 for itself.
fn unreachable(error: Error) -> Error {
    if error.kind() == Kind::Unavailable { error.with_kind(Kind::Internal) } else { error }
}

/// Why a name leads to nothing, as dockerd with containerd's resolver says it.
fn unresolved(reference: &Reference, error: Error) -> Error {
    let text = error.to_string();
    if text.starts_with("pull access denied") {
        return error;
    }
    if error.kind() == Kind::NotFound {
        return Error::not_found(format!("failed to resolve reference \"{reference}\": {reference}: not found"));
    }
    let kind = unreachable(error).kind();
    Error::new(kind, format!("failed to resolve reference \"{reference}\": {text}"))
}

/// A repository for the image store: its calls block, and must not be made on an async thread.
pub(crate) struct Blocking {
    repository: Repository,
    runtime: Handle,
}

impl Blocking {
    pub(crate) fn new(
        registries: &Registries,
        reference: &Reference,
        credentials: Credentials,
        access: Access,
    ) -> Result<Self> {
        let repository = registries.repository(reference, credentials, access)?;
        Ok(Self { repository, runtime: Handle::current() })
    }
}

impl Source for Blocking {
    fn root(&self) -> Result<(Descriptor, Vec<u8>)> {
        let target = TagOrDigest::from(self.repository.reference());
        let found = self.runtime.block_on(self.repository.manifest(&target, MANIFEST_BYTES_MAX));
        let found = found.map_err(|error| unresolved(self.repository.reference(), error))?;
        Ok((found.descriptor, found.bytes))
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let target = TagOrDigest::Digest(descriptor.digest);
        let found = self.runtime.block_on(self.repository.manifest(&target, descriptor.size))?;
        if found.descriptor.media_type != descriptor.media_type || found.descriptor.size != descriptor.size {
            return Err(Error::invalid(format!("{} is not what its index says", descriptor.digest)));
        }
        Ok(found.bytes)
    }

    fn referrers(&self, subject: &Digest, given_up: &(dyn Fn() -> bool + Sync)) -> Result<Vec<Descriptor>> {
        let mut listed = Box::pin(self.repository.referrers(subject, None));
        loop {
            if let Ok(listed) = self.runtime.block_on(async { timeout(LOOK, listed.as_mut()).await }) {
                return listed;
            }
            if given_up() {
                return Err(Error::unavailable("the registry took too long"));
            }
        }
    }

    fn fetch(&self, blob: &Descriptor, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        let mut download = self.repository.fetch(blob, offset).digest_checked_by_receiver();
        loop {
            let mut next = Box::pin(download.chunk());
            let chunk = loop {
                match self.runtime.block_on(async { timeout(LOOK, next.as_mut()).await }) {
                    Ok(chunk) => break chunk?,
                    // Nothing yet: the sink may have been told to give up.
                    Err(_) => sink(&[])?,
                }
            };
            match chunk {
                Some(chunk) => sink(&chunk)?,
                None => return Ok(()),
            }
        }
    }
}

impl Destination for Blocking {
    fn blob(
        &self,
        blob: &Descriptor,
        from: &[Reference],
        open: &(dyn Fn() -> Result<File> + Sync),
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Pushed> {
        if self.runtime.block_on(self.repository.exists(&blob.digest))?.is_some() {
            return Ok(Pushed::Existed);
        }
        for (number, origin) in from.iter().enumerate() {
            if self.runtime.block_on(self.repository.mount(&blob.digest, origin))? {
                return Ok(Pushed::Mounted(number));
            }
        }
        progress(0);
        let file = Arc::new(open()?);
        // What is sent is told on another thread than the one that waits here.
        let (sender, sent) = mpsc::channel();
        let tell = Progress::new(move |count| {
            let _ = sender.send(count);
        });
        let (repository, blob, size) = (self.repository.clone(), blob.clone(), blob.size);
        let push = self.runtime.spawn(async move {
            let source = |offset| file_chunks(file.clone(), offset, size);
            repository.push_blob(&blob, &source, Manner::Whole, &tell).await
        });
        // Ends when the upload has dropped its end.
        for count in sent {
            progress(count);
        }
        self.runtime.block_on(push).map_err(|cause| Error::internal("push a blob").caused_by(cause))??;
        Ok(Pushed::Sent)
    }

    fn document(&self, descriptor: &Descriptor, bytes: &[u8], tag: Option<&str>) -> Result<Digest> {
        let target = match tag {
            Some(tag) => TagOrDigest::tag(tag)?,
            None => TagOrDigest::Digest(descriptor.digest),
        };
        self.runtime.block_on(self.repository.push_manifest(&target, &descriptor.media_type, bytes))
    }

    fn referrer(&self, subject: &Digest, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        self.runtime.block_on(self.repository.push_referrer(subject, descriptor, bytes))
    }
}
