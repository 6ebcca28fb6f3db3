//! A directory: blobs in a content store, records in a transactional store, both as the daemon uses them.

use super::{Change, Later, Storage, Upload};
use crate::{body::Source, limits::WRITE};
use bytes::{Bytes, BytesMut};
use rorqual_content::{Content, Partial};
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_metadata::{Durability, Store, Table};
use rorqual_types::Digest;
use serde_json::value::RawValue;
use std::{fmt, fs::File, io::Write, ops::Range, path::Path, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// A data root. One process has it at a time.
pub(crate) struct Local {
    content: Arc<Content>,
    store: Store,
    records: Table<String, Box<RawValue>>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Local({:?})", self.content)
    }
}

impl Local {
    /// Opens the data root, made if absent.
    ///
    /// # Errors
    /// `Conflict` where another process has it.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let store = Store::open(&root.join("meta"))?;
        let content = Arc::new(Content::open(&root.join("content"))?);
        Ok(Self { content, records: store.table("registry"), store })
    }

    /// Does what may wait for the disk on a thread that may wait.
    fn apart<T: Send + 'static>(&self, work: impl FnOnce(&Arc<Content>) -> Result<T> + Send + 'static) -> Later<'_, T> {
        let content = self.content.clone();
        Box::pin(apart(move || work(&content)))
    }
}

async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a task of the disk failed")?
}

fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl Storage for Local {
    fn get<'a>(&'a self, key: &'a str) -> Later<'a, Option<Vec<u8>>> {
        // In memory or in a page or two of the database: not worth a thread.
        let read = self.records.get(&key.to_owned());
        Box::pin(async { Ok(read?.map(|value| Box::<str>::from(value).into_string().into_bytes())) })
    }

    fn page<'a>(&'a self, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Later<'a, Vec<String>> {
        let (records, prefix, after) = (self.records.clone(), prefix.to_owned(), after.map(str::to_owned));
        Box::pin(apart(move || {
            let page = records.page(&prefix, after.as_ref(), limit)?;
            Ok(page.into_iter().map(|(key, _)| key).collect())
        }))
    }

    fn apply(&self, changes: Vec<Change>) -> Later<'_, ()> {
        let (store, records) = (self.store.clone(), self.records.clone());
        Box::pin(apart(move || {
            let mut transaction = store.begin();
            for change in changes {
                match change {
                    Change::Put(key, value) => {
                        let text = String::from_utf8(value).context("a record is not text")?;
                        transaction.put(
                            &records,
                            &key,
                            &RawValue::from_string(text).context("a record is not JSON")?,
                        )?;
                    }
                    Change::Delete(key) => transaction.delete(&records, &key),
                }
            }
            transaction.commit(Durability::Synced)
        }))
    }

    fn put_blob(&self, bytes: Bytes) -> Later<'_, Digest> {
        self.apart(move |content| {
            let (digest, _) = content.put(&bytes)?;
            content.sync([digest])?;
            Ok(digest)
        })
    }

    fn read_blob(&self, digest: Digest, limit: u64) -> Later<'_, Option<Bytes>> {
        self.apart(move |content| found(content.read(&digest, limit).map(Bytes::from)))
    }

    fn open_blob(&self, digest: Digest, _: Range<u64>) -> Later<'_, Option<Source>> {
        // One directory entry, mostly in the kernel's memory: not worth a thread.
        let opened = found(self.content.open_blob(&digest));
        Box::pin(async { Ok(opened?.map(|file| Source::File(Arc::new(file)))) })
    }

    fn blob_size(&self, digest: Digest) -> Later<'_, Option<u64>> {
        let size = self.content.size(&digest);
        Box::pin(async { size })
    }

    fn blobs(&self) -> Later<'_, Vec<Digest>> {
        self.apart(|content| Ok(content.list()?.into_iter().map(|(digest, _)| digest).collect()))
    }

    fn delete_blob(&self, digest: Digest) -> Later<'_, ()> {
        self.apart(move |content| content.delete(&digest))
    }

    fn begin(&self, key: String) -> Later<'_, Box<dyn Upload>> {
        let content = self.content.clone();
        Box::pin(async {
            let partial = apart({
                let content = content.clone();
                move || content.partial(&key)
            });
            let upload: Box<dyn Upload> = Box::new(LocalUpload::new(content, partial.await?));
            Ok(upload)
        })
    }

    fn resume(&self, key: String) -> Later<'_, Option<Box<dyn Upload>>> {
        let content = self.content.clone();
        Box::pin(async {
            let partial = apart({
                let content = content.clone();
                move || if content.has_partial(&key)? { content.partial(&key).map(Some) } else { Ok(None) }
            });
            let upload = |partial| -> Box<dyn Upload> { Box::new(LocalUpload::new(content, partial)) };
            Ok(partial.await?.map(upload))
        })
    }

    fn idle_uploads(&self) -> Later<'_, Vec<(String, Duration)>> {
        self.apart(|content| Ok(content.partials()?.into_iter().map(|partial| (partial.key, partial.age)).collect()))
    }

    fn delete_upload(&self, key: String) -> Later<'_, ()> {
        self.apart(move |content| content.delete_partial(&key))
    }
}

/// An upload into a file. While one block is hashed and written, the next is gathered.
struct LocalUpload {
    content: Arc<Content>,
    /// Bytes so far, gathered ones too.
    length: u64,
    gathered: BytesMut,
    state: State,
    digest: Option<Digest>,
}

enum State {
    Idle(Partial),
    Writing(JoinHandle<Result<Partial>>),
    /// A write failed; what is on the disk stays.
    Failed,
}

impl fmt::Debug for LocalUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalUpload({} bytes)", self.length)
    }
}

impl LocalUpload {
    fn new(content: Arc<Content>, partial: Partial) -> Self {
        let length = partial.len();
        Self { content, length, gathered: BytesMut::new(), state: State::Idle(partial), digest: None }
    }

    /// The file, once no write is under way.
    async fn take(&mut self) -> Result<Partial> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Idle(partial) => Ok(partial),
            State::Writing(task) => task.await.context("a task of the disk failed")?,
            State::Failed => Err(Error::internal("an earlier write of this upload failed")),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let mut partial = self.take().await?;
        let bytes = self.gathered.split();
        self.state = State::Writing(tokio::task::spawn_blocking(move || {
            partial.write_all(&bytes).context("write an upload")?;
            Ok(partial)
        }));
        Ok(())
    }
}

impl Upload for LocalUpload {
    fn length(&self) -> u64 {
        self.length
    }

    fn write(&mut self, bytes: Bytes) -> Later<'_, ()> {
        Box::pin(async move {
            self.length += bytes.len() as u64;
            self.gathered.extend_from_slice(&bytes);
            if self.gathered.len() >= WRITE { self.flush().await } else { Ok(()) }
        })
    }

    fn file(&self) -> Result<Option<File>> {
        match &self.state {
            State::Idle(partial) => partial.reader().map(Some),
            State::Writing(_) | State::Failed => Ok(None),
        }
    }

    fn settle(&mut self) -> Later<'_, ()> {
        Box::pin(async {
            if !self.gathered.is_empty() {
                self.flush().await?;
            }
            let partial = self.take().await?;
            self.length = partial.len();
            self.state = State::Idle(partial);
            Ok(())
        })
    }

    fn digest(&mut self) -> Later<'_, Digest> {
        Box::pin(async {
            self.settle().await?;
            let partial = self.take().await?;
            let partial = apart(move || partial.sync().map(|()| partial)).await?;
            let digest = partial.digest();
            self.digest = Some(digest);
            self.state = State::Idle(partial);
            Ok(digest)
        })
    }

    fn publish(mut self: Box<Self>) -> Later<'static, ()> {
        Box::pin(async move {
            let partial = self.take().await?;
            let (content, digest) = (self.content, self.digest);
            apart(move || {
                let (digest, _) = partial.finish(&content, digest.as_ref())?;
                content.sync([digest])
            })
            .await
        })
    }

    fn discard(mut self: Box<Self>) -> Later<'static, ()> {
        Box::pin(async move {
            let partial = self.take().await?;
            apart(move || partial.discard()).await
        })
    }
}
