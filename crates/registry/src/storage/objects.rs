//! An object store: S3 and what is like it, Azure, Google. One registry at a time may write to a prefix.
//!
//! | Object | What it is |
//! |---|---|
//! | `records/KEY` | a record |
//! | `data/ID` | the bytes of a blob; its digest is not known when the first of them are sent, so it has a name of its own |
//! | `blobs/sha256/HEX` | [`Pointer`]: which object has the bytes of this blob |
//! | `uploads/KEY` | [`Progress`] of an upload, there before any other object of it, gone after all others are as they stay |
//! | `tails/KEY` | the bytes of an upload that are too few for a part |
//!
//! Whatever a crash interrupts has its `uploads/KEY`, from which [`Storage::delete_upload`] finds what to remove. A
//! multipart upload whose beginning was not yet noted there is the exception: a rule of the bucket that ends such
//! uploads after some days removes it.

mod upload;

use super::{Change, Later, Storage, Upload};
use crate::{
    body::Source,
    config::ObjectsConfig,
    limits::{GATHERING, OBJECT_DEADLINE, POINTERS},
};
use aws_lc_rs::digest::{Context as Hasher, SHA256};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::{
    GetOptions, GetRange, MultipartId, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutPayload,
    aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder, multipart::MultipartStore,
    path::Path,
};
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_types::Digest;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fmt,
    fs::{self, File},
    ops::Range,
    path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::sync::Semaphore;
use upload::ObjectUpload;

/// A store that takes objects in parts.
trait Multipart: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Multipart for T {}

/// A prefix of an object store.
#[derive(Clone)]
pub(crate) struct Objects(Arc<Shared>);

struct Shared {
    store: Box<dyn Multipart>,
    prefix: String,
    /// For readers: what a pointer says holds as long as its object is there. Whoever is about to rely on a blob asks
    /// the store.
    pointers: Mutex<HashMap<Digest, Pointer>>,
    /// Room for parts that are gathered in memory.
    gathering: Arc<Semaphore>,
    /// Held while this process serves the directory that the object store stands in for.
    _lock: Option<File>,
}

/// Which object has the bytes of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pointer {
    object: String,
    size: u64,
}

/// How far an upload is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// The object that its bytes become.
    object: String,
    /// Its multipart upload, once there is a whole part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    multipart: Option<MultipartId>,
    /// The parts that the store has.
    parts: Vec<String>,
    /// Bytes in those parts.
    in_parts: u64,
    /// Bytes in the tail.
    in_tail: u64,
    /// What it is about to be, once its bytes are complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({}/{})", self.0.store, self.0.prefix)
    }
}

fn found<T>(result: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match result {
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        other => other.map(Some),
    }
}

impl Objects {
    /// Opens the store of `config`, for the registry whose directory is `root`.
    ///
    /// # Errors
    /// `InvalidArgument` names the setting that is wrong; `Conflict` where another process serves `root`.
    pub(crate) fn open(config: &ObjectsConfig, root: &path::Path) -> Result<Self> {
        let url = &config.url;
        let invalid = |cause: object_store::Error| {
            Error::new(Kind::InvalidArgument, format!("open the object store {url}")).caused_by(cause)
        };
        let parsed = url.parse().map_err(|_| Error::invalid(format!("{url} is no URL")))?;
        let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(|cause| invalid(cause.into()))?;
        let unknown = |key: &str| Error::invalid(format!("{url}: unknown option {key}"));
        // A blob may take a slow client long; a store that says nothing for a while is another matter.
        let deadline = ("read_timeout".to_owned(), format!("{}s", OBJECT_DEADLINE.as_secs()));
        let options = [("timeout".to_owned(), "7days".to_owned()), deadline];
        let options = options.iter().chain(&config.options);
        macro_rules! configured {
            ($builder:ty) => {{
                let mut builder = <$builder>::from_env().with_url(url);
                for (key, value) in options {
                    builder = builder.with_config(key.to_ascii_lowercase().parse().map_err(|_| unknown(key))?, value);
                }
                Box::new(builder.build().map_err(invalid)?) as Box<dyn Multipart>
            }};
        }
        let store = match scheme {
            ObjectStoreScheme::AmazonS3 => configured!(AmazonS3Builder),
            ObjectStoreScheme::MicrosoftAzure => configured!(MicrosoftAzureBuilder),
            ObjectStoreScheme::GoogleCloudStorage => configured!(GoogleCloudStorageBuilder),
            _ => return Err(Error::invalid(format!("{url} names no object store: say s3://, az:// or gs://"))),
        };
        Ok(Self::new(store, prefix.as_ref(), Some(lock(root)?)))
    }

    /// A prefix of this store.
    #[cfg(test)]
    pub(super) fn over(store: impl ObjectStore + MultipartStore, prefix: &str) -> Self {
        Self::new(Box::new(store), prefix, None)
    }

    #[cfg(test)]
    pub(super) fn remember_for_test(&self, digest: Digest, object: &str, size: u64) {
        self.remember(&digest, Some(&Pointer { object: object.to_owned(), size }));
    }

    fn new(store: Box<dyn Multipart>, prefix: &str, lock: Option<File>) -> Self {
        let gathering = Arc::new(Semaphore::new(GATHERING));
        Self(Arc::new(Shared { store, prefix: prefix.to_owned(), pointers: Mutex::default(), gathering, _lock: lock }))
    }

    fn path(&self, key: &str) -> Path {
        match self.0.prefix.as_str() {
            "" => Path::from(key),
            prefix => Path::from(format!("{prefix}/{key}")),
        }
    }

    /// The key of an object of ours.
    fn key<'a>(&self, path: &'a Path) -> &'a str {
        let text: &str = path.as_ref();
        text.strip_prefix(&self.0.prefix).unwrap_or(text).trim_start_matches('/')
    }

    pub(super) async fn read(&self, key: &str) -> Result<Option<Bytes>> {
        let read = async {
            match found(self.0.store.get(&self.path(key)).await)? {
                Some(object) => object.bytes().await.map(Some),
                None => Ok(None),
            }
        };
        read.await.with_context(|| format!("read object {key}"))
    }

    pub(super) async fn write(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.0
            .store
            .put(&self.path(key), PutPayload::from(bytes))
            .await
            .with_context(|| format!("write object {key}"))?;
        Ok(())
    }

    async fn write_json(&self, key: &str, value: &impl Serialize) -> Result<()> {
        self.write(key, serde_json::to_vec(value).context("write a record")?.into()).await
    }

    async fn remove(&self, key: &str) -> Result<()> {
        found(self.0.store.delete(&self.path(key)).await).with_context(|| format!("delete object {key}"))?;
        Ok(())
    }

    /// The keys below `prefix` with the age of their objects.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Duration)>> {
        let now = SystemTime::now();
        let objects = self.0.store.list(Some(&self.path(prefix)));
        let keys = objects.map_ok(|object| {
            let age = now.duration_since(object.last_modified.into()).unwrap_or_default();
            (self.key(&object.location).to_owned(), age)
        });
        keys.try_collect().await.with_context(|| format!("list objects {prefix}"))
    }

    /// The pointer of a blob, as the store has it now.
    async fn pointer(&self, digest: &Digest) -> Result<Option<Pointer>> {
        let Some(bytes) = self.read(&pointer_key(digest)).await? else { return Ok(None) };
        let pointer: Pointer =
            serde_json::from_slice(&bytes).with_context(|| format!("read the pointer of {digest}"))?;
        Ok(Some(pointer))
    }

    /// The pointer of a blob, for a reader: it may be out of date, and then its object is not there.
    async fn known_pointer(&self, digest: &Digest) -> Result<Option<Pointer>> {
        if let Some(pointer) = self.0.pointers.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
            return Ok(Some(pointer.clone()));
        }
        let pointer = self.pointer(digest).await?;
        if pointer.is_some() {
            self.remember(digest, pointer.as_ref());
        }
        Ok(pointer)
    }

    fn remember(&self, digest: &Digest, pointer: Option<&Pointer>) {
        let mut pointers = self.0.pointers.lock().unwrap_or_else(PoisonError::into_inner);
        match pointer {
            Some(pointer) => {
                if pointers.len() >= POINTERS {
                    pointers.clear();
                }
                pointers.insert(*digest, pointer.clone());
            }
            None => drop(pointers.remove(digest)),
        }
    }

    async fn progress(&self, key: &str) -> Result<Option<Progress>> {
        let Some(bytes) = self.read(&format!("uploads/{key}")).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).with_context(|| format!("read the progress of upload {key}")).map(Some)
    }

    /// Removes whatever an upload left, but not what has become a blob.
    async fn discard(&self, key: &str, progress: &Progress) -> Result<()> {
        let published = match &progress.digest {
            Some(digest) => self.pointer(digest).await?.is_some_and(|pointer| pointer.object == progress.object),
            None => false,
        };
        if !published {
            if let Some(id) = &progress.multipart {
                let path = self.path(&progress.object);
                // An upload that was completed already cannot be aborted; its object is deleted below.
                let aborted = self.0.store.abort_multipart(&path, id).await;
                if let Err(error) = aborted {
                    tracing::debug!(%error, key, "a multipart upload was not aborted");
                }
            }
            self.remove(&progress.object).await?;
        }
        self.remove(&format!("tails/{key}")).await?;
        self.remove(&format!("uploads/{key}")).await
    }

    /// The digest of an object, by reading it.
    async fn hash(&self, key: &str) -> Result<Digest> {
        let context = || format!("read object {key}");
        let mut stream = self.0.store.get(&self.path(key)).await.with_context(context)?.into_stream();
        let mut hasher = Hasher::new(&SHA256);
        while let Some(bytes) = stream.try_next().await.with_context(context)? {
            hasher.update(&bytes);
        }
        Ok(finish(hasher))
    }
}

/// Locks the directory of a registry that keeps nothing else in it.
fn lock(root: &path::Path) -> Result<File> {
    let context = || format!("lock {}", root.display());
    fs::create_dir_all(root).with_context(context)?;
    let file = File::create(root.join("lock")).with_context(context)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::new(Kind::Conflict, format!("another process serves {}", root.display())))
        }
        Err(error) => Err(std::io::Error::from(error)).with_context(context),
    }
}

fn finish(hasher: Hasher) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hasher.finish().as_ref());
    Digest::from_bytes(bytes)
}

fn pointer_key(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Storage for Objects {
    fn get<'a>(&'a self, key: &'a str) -> Later<'a, Option<Vec<u8>>> {
        Box::pin(async move { Ok(self.read(&format!("records/{key}")).await?.map(Vec::from)) })
    }

    fn page<'a>(&'a self, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Later<'a, Vec<String>> {
        Box::pin(async move {
            let path = self.path(&format!("records/{}", prefix.trim_end_matches('/')));
            let objects = match after {
                Some(after) => self.0.store.list_with_offset(Some(&path), &self.path(&format!("records/{after}"))),
                None => self.0.store.list(Some(&path)),
            };
            let keys = objects.take(limit).map_ok(|object| {
                let key = self.key(&object.location);
                key.strip_prefix("records/").unwrap_or(key).to_owned()
            });
            keys.try_collect().await.with_context(|| format!("list objects {path}"))
        })
    }

    fn apply(&self, changes: Vec<Change>) -> Later<'_, ()> {
        Box::pin(async move {
            for change in changes {
                match change {
                    Change::Put(key, value) => self.write(&format!("records/{key}"), value.into()).await?,
                    Change::Delete(key) => self.remove(&format!("records/{key}")).await?,
                }
            }
            Ok(())
        })
    }

    fn put_blob(&self, bytes: Bytes) -> Later<'_, Digest> {
        Box::pin(async move {
            let digest = rorqual_content::digest(&bytes);
            if self.pointer(&digest).await?.is_none() {
                // The same bytes under the same name, whoever is interrupted here.
                let pointer = Pointer { object: format!("data/{}", digest.hex()), size: bytes.len() as u64 };
                self.write(&pointer.object, bytes).await?;
                self.write_json(&pointer_key(&digest), &pointer).await?;
                self.remember(&digest, Some(&pointer));
            }
            Ok(digest)
        })
    }

    fn read_blob(&self, digest: Digest, limit: u64) -> Later<'_, Option<Bytes>> {
        Box::pin(async move {
            let Some(pointer) = self.known_pointer(&digest).await? else { return Ok(None) };
            if pointer.size > limit {
                return Err(Error::invalid(format!("blob {digest} is larger than {limit} bytes")));
            }
            let Some(bytes) = self.read(&pointer.object).await? else {
                self.remember(&digest, None);
                return Ok(None);
            };
            match rorqual_content::digest(&bytes) == digest {
                true => Ok(Some(bytes)),
                false => Err(Error::internal(format!("blob {digest} is damaged in the object store"))),
            }
        })
    }

    fn open_blob(&self, digest: Digest, range: Range<u64>) -> Later<'_, Option<Source>> {
        Box::pin(async move {
            let Some(pointer) = self.known_pointer(&digest).await? else { return Ok(None) };
            let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
            let opened = found(self.0.store.get_opts(&self.path(&pointer.object), options).await);
            let opened = opened.with_context(|| format!("open blob {digest}"))?;
            if opened.is_none() {
                self.remember(&digest, None);
            }
            Ok(opened.map(|object| Source::Stream(object.into_stream().map_err(std::io::Error::other).boxed())))
        })
    }

    fn blob_size(&self, digest: Digest) -> Later<'_, Option<u64>> {
        Box::pin(async move { Ok(self.pointer(&digest).await?.map(|pointer| pointer.size)) })
    }

    fn blobs(&self) -> Later<'_, Vec<Digest>> {
        Box::pin(async move {
            let keys = self.list("blobs/sha256").await?;
            let digests = keys.iter().map(|(key, _)| Digest::from_hex(key.rsplit('/').next().unwrap_or_default()));
            digests.collect()
        })
    }

    fn delete_blob(&self, digest: Digest) -> Later<'_, ()> {
        Box::pin(async move {
            let Some(pointer) = self.pointer(&digest).await? else { return Ok(()) };
            // As if it were an upload that is to be dropped: if this is interrupted, it will be.
            let key = format!("deleted-{}", digest.hex());
            let progress = Progress { object: pointer.object, digest: Some(digest), ..Progress::default() };
            self.write_json(&format!("uploads/{key}"), &progress).await?;
            self.remember(&digest, None);
            self.remove(&pointer_key(&digest)).await?;
            self.discard(&key, &progress).await
        })
    }

    fn begin(&self, key: String) -> Later<'_, Box<dyn Upload>> {
        Box::pin(async move {
            let progress = Progress { object: format!("data/{key}"), ..Progress::default() };
            self.write_json(&format!("uploads/{key}"), &progress).await?;
            let upload: Box<dyn Upload> = Box::new(ObjectUpload::begun(self.clone(), key, progress));
            Ok(upload)
        })
    }

    fn resume(&self, key: String) -> Later<'_, Option<Box<dyn Upload>>> {
        Box::pin(async move {
            let Some(progress) = self.progress(&key).await?.filter(|progress| progress.digest.is_none()) else {
                return Ok(None);
            };
            let upload: Box<dyn Upload> = Box::new(ObjectUpload::resumed(self.clone(), key, progress));
            Ok(Some(upload))
        })
    }

    fn idle_uploads(&self) -> Later<'_, Vec<(String, Duration)>> {
        Box::pin(async move {
            let keys = self.list("uploads").await?.into_iter();
            Ok(keys.map(|(key, age)| (key.trim_start_matches("uploads/").to_owned(), age)).collect())
        })
    }

    fn delete_upload(&self, key: String) -> Later<'_, ()> {
        Box::pin(async move {
            match self.progress(&key).await? {
                Some(progress) => self.discard(&key, &progress).await,
                None => Ok(()),
            }
        })
    }
}
