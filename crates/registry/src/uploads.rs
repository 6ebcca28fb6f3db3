//! Blobs on their way in: sessions that live across requests, and across restarts, until they are finished, cancelled or
//! idle for too long.

use crate::{
    access::Action,
    call::{Call, Reply, empty, identify, set},
    limits::{UPLOAD_IDLE, UPLOADS, UPLOADS_OPEN},
    name::Repository,
    range, records,
    refusal::{Code, Refusal, Result, shown},
    registry::Registry,
    route,
    storage::Upload,
};
use hyper::{
    StatusCode,
    header::{CONTENT_RANGE, HeaderName, LOCATION, RANGE},
};
use rorqual_metadata::failpoint;
use rorqual_types::Digest;
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{sync::OwnedMutexGuard, time::Instant};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Bytes of randomness in the id of an upload: whoever knows it may go on with the upload.
const ID_BYTES: usize = 16;

/// The uploads that are open.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    sessions: Mutex<HashMap<String, Session>>,
    /// Uploads on the disk, open or not, as far as is known.
    waiting: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Session {
    slot: Arc<tokio::sync::Mutex<Slot>>,
    used: Instant,
}

/// Where an upload stands.
#[derive(Debug)]
enum Slot {
    /// On the disk, perhaps.
    Closed,
    Open(Box<dyn Upload>),
    /// Finished or cancelled.
    Gone,
}

/// One upload, held by one request.
struct Held {
    key: String,
    id: String,
    slot: OwnedMutexGuard<Slot>,
}

/// The key of upload `id` of a repository: an upload of one cannot be gone on with in another.
fn key(name: &Repository, id: &str) -> Option<String> {
    let good = id.len() == 2 * ID_BYTES && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let owner = rorqual_content::digest(name.as_str().as_bytes()).hex();
    good.then(|| format!("{id}-{}", owner.get(..32).unwrap_or_default()))
}

fn new_id() -> Result<String> {
    let mut bytes = [0; ID_BYTES];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| rorqual_error::Error::internal("no randomness for an upload's id"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unknown(id: &str) -> Refusal {
    Refusal::new(Code::BlobUploadUnknown, "blob upload unknown to registry").about(json!({"id": shown(id)}))
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session `key`, marked as used.
    fn session(&self, key: &str) -> Session {
        let mut sessions = self.lock();
        let session = sessions
            .entry(key.to_owned())
            .or_insert_with(|| Session { slot: Arc::new(tokio::sync::Mutex::new(Slot::Closed)), used: Instant::now() });
        session.used = Instant::now();
        session.clone()
    }

    /// Closes what was used longest ago where too many are open; its upload goes on from the disk.
    fn make_room(&self) {
        let mut sessions = self.lock();
        if sessions.len() < UPLOADS_OPEN {
            return;
        }
        // Handles are given out under the lock of the table, so one that only the table has is nobody's.
        let free = sessions.iter().filter(|(_, session)| Arc::strong_count(&session.slot) == 1);
        if let Some(key) = free.min_by_key(|(_, session)| session.used).map(|(key, _)| key.clone()) {
            sessions.remove(&key);
        }
    }

    fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    fn one_less(&self) {
        let less = |count: usize| Some(count.saturating_sub(1));
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Held {
    fn upload(&mut self) -> Result<&mut Box<dyn Upload>> {
        match &mut *self.slot {
            Slot::Open(upload) => Ok(upload),
            Slot::Closed | Slot::Gone => Err(unknown(&self.id)),
        }
    }

    /// Ends the session; what was uploaded is the caller's.
    fn take(&mut self, registry: &Registry) -> Result<Box<dyn Upload>> {
        let slot = std::mem::replace(&mut *self.slot, Slot::Gone);
        registry.uploads.forget(&self.key);
        registry.uploads.one_less();
        match slot {
            Slot::Open(upload) => Ok(upload),
            Slot::Closed | Slot::Gone => Err(unknown(&self.id)),
        }
    }

    /// After a failure of the storage: the next request starts from what is there.
    fn close(&mut self, registry: &Registry) {
        *self.slot = Slot::Closed;
        registry.uploads.forget(&self.key);
    }
}

/// Begins an upload.
async fn begin(registry: &Registry, name: &Repository) -> Result<Held> {
    if registry.uploads.count() >= UPLOADS {
        return Err(Refusal::new(Code::TooManyRequests, format!("more than {UPLOADS} uploads are unfinished")));
    }
    registry.uploads.make_room();
    let id = new_id()?;
    let key = key(name, &id).ok_or_else(|| unknown(&id))?;
    let upload = registry.storage.begin(key.clone()).await?;
    failpoint!("registry.upload-begun")?;
    registry.uploads.waiting.fetch_add(1, Ordering::Relaxed);
    let mut slot = registry.uploads.session(&key).slot.lock_owned().await;
    *slot = Slot::Open(upload);
    Ok(Held { key, id, slot })
}

/// The upload `id`, once no other request has it.
async fn hold(registry: &Registry, name: &Repository, id: &str) -> Result<Held> {
    let key = key(name, id).ok_or_else(|| unknown(id))?;
    let mut slot = registry.uploads.session(&key).slot.lock_owned().await;
    if matches!(*slot, Slot::Closed) {
        match registry.storage.resume(key.clone()).await? {
            Some(upload) => *slot = Slot::Open(upload),
            None => {
                *slot = Slot::Gone;
                registry.uploads.forget(&key);
            }
        }
    }
    match *slot {
        Slot::Open(_) => Ok(Held { key, id: id.to_owned(), slot }),
        Slot::Closed | Slot::Gone => Err(unknown(id)),
    }
}

/// The answer that tells where an upload stands.
fn standing(status: StatusCode, name: &Repository, id: &str, length: u64) -> Reply {
    let mut reply = empty(status);
    let headers = reply.headers_mut();
    set(headers, LOCATION, format!("/v2/{name}/blobs/uploads/{id}"));
    set(headers, RANGE, format!("0-{}", length.saturating_sub(1)));
    set(headers, UPLOAD_ID, id.to_owned());
    reply
}

fn created(name: &Repository, digest: &Digest) -> Reply {
    let mut reply = empty(StatusCode::CREATED);
    set(reply.headers_mut(), LOCATION, format!("/v2/{name}/blobs/{digest}"));
    identify(&mut reply, digest);
    reply
}

/// POST: mounts, takes a whole blob, or begins an upload.
pub(crate) async fn post(call: &mut Call, name: &Repository) -> Result<Reply> {
    if let Some(mount) = call.query.get("mount") {
        let digest = route::digest(mount)?;
        if mounted(call, name, digest).await? {
            return Ok(created(name, &digest));
        }
    }
    let registry = call.registry.clone();
    let digest = call.query.get("digest").map(route::digest).transpose()?;
    let mut held = begin(&registry, name).await?;
    match digest {
        // A client that says a digest without a body will send it to the session.
        Some(digest) if call.length() != Some(0) => finish(call, name, held, digest).await,
        _ => {
            let length = held.upload()?.length();
            Ok(standing(StatusCode::ACCEPTED, name, &held.id, length))
        }
    }
}

/// Makes the repository have a blob of another that the client may read.
async fn mounted(call: &Call, name: &Repository, digest: Digest) -> Result<bool> {
    let Some(from) = call.query.get("from").and_then(|from| Repository::parse(from).ok()) else { return Ok(false) };
    if !call.may(Action::Pull, &from) {
        return Ok(false);
    }
    let registry = &call.registry;
    let _push = registry.lock(name).read().await;
    let _content = registry.content.read().await;
    let Some(size) = registry.records().blob(&from, &digest).await? else { return Ok(false) };
    registry.leases.touch(name, &[digest]);
    if registry.storage.blob_size(digest).await? != Some(size) {
        return Ok(false);
    }
    let changes = vec![records::put_repository(name), records::put_blob(name, &digest, size)?];
    registry.storage.apply(changes).await?;
    failpoint!("registry.blob-mounted")?;
    Ok(true)
}

/// GET: where an upload stands.
pub(crate) async fn status(call: &Call, name: &Repository, id: &str) -> Result<Reply> {
    let mut held = hold(&call.registry, name, id).await?;
    let length = held.upload()?.length();
    Ok(standing(StatusCode::NO_CONTENT, name, id, length))
}

/// PATCH: the next bytes of an upload.
pub(crate) async fn patch(call: &mut Call, name: &Repository, id: &str) -> Result<Reply> {
    let registry = call.registry.clone();
    let mut held = hold(&registry, name, id).await?;
    receive(call, name, &mut held).await?;
    let length = held.upload()?.length();
    Ok(standing(StatusCode::ACCEPTED, name, id, length))
}

/// PUT: the last bytes of an upload, and its digest.
pub(crate) async fn put(call: &mut Call, name: &Repository, id: &str) -> Result<Reply> {
    let missing = || Refusal::new(Code::DigestInvalid, "the digest of the blob is missing");
    let digest = route::digest(call.query.get("digest").ok_or_else(missing)?)?;
    let registry = call.registry.clone();
    let held = hold(&registry, name, id).await?;
    finish(call, name, held, digest).await
}

/// DELETE: cancels an upload.
pub(crate) async fn cancel(call: &Call, name: &Repository, id: &str) -> Result<Reply> {
    let mut held = hold(&call.registry, name, id).await?;
    held.take(&call.registry)?.discard().await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Takes the body of a request, as the next bytes of an upload. What came before a failure stays, and can be gone on
/// with; a body that contradicts its own range ends the upload.
async fn receive(call: &mut Call, name: &Repository, held: &mut Held) -> Result<()> {
    let declared = declared(call, name, held)?;
    let mut received = 0;
    loop {
        let next = match call.next().await {
            Ok(next) => next,
            Err(refusal) => {
                settle(&call.registry, held).await?;
                return Err(refusal);
            }
        };
        let Some(bytes) = next else { break };
        received += bytes.len() as u64;
        if declared.is_some_and(|declared| received > declared) {
            break;
        }
        call.registry.metrics.received(bytes.len() as u64);
        if let Err(error) = held.upload()?.write(bytes).await {
            held.close(&call.registry);
            return Err(error.into());
        }
    }
    call.registry.leases.touch(name, &[]);
    match declared {
        Some(declared) if declared != received => {
            held.take(&call.registry)?.discard().await?;
            Err(Refusal::new(Code::SizeInvalid, format!("the range says {declared} bytes, the body has other")))
        }
        _ => settle(&call.registry, held).await,
    }
}

async fn settle(registry: &Registry, held: &mut Held) -> Result<()> {
    let settled = held.upload()?.settle().await;
    if settled.is_err() {
        held.close(registry);
    }
    failpoint!("registry.upload-settled")?;
    Ok(settled?)
}

/// How many bytes `Content-Range` declares, where it is given and goes on where the upload stands.
fn declared(call: &Call, name: &Repository, held: &mut Held) -> Result<Option<u64>> {
    let length = held.upload()?.length();
    let Some(text) = call.headers.get(CONTENT_RANGE) else { return Ok(None) };
    let wrong = |text: &str| {
        let refusal = Refusal::new(Code::BlobUploadInvalid, text).status(StatusCode::RANGE_NOT_SATISFIABLE);
        refusal
            .header(LOCATION, format!("/v2/{name}/blobs/uploads/{}", held.id))
            .header(RANGE, format!("0-{}", length.saturating_sub(1)))
    };
    let chunk = text.to_str().ok().and_then(range::chunk);
    let (start, size) = chunk.ok_or_else(|| wrong("malformed Content-Range"))?;
    if start != length {
        return Err(wrong(&format!("the upload goes on at byte {length}")));
    }
    if call.length().is_some_and(|body| body != size) {
        return Err(Refusal::new(Code::SizeInvalid, "Content-Range and Content-Length disagree"));
    }
    Ok(Some(size))
}

/// Takes the rest of an upload, and makes it a blob of the repository if it has this digest.
async fn finish(call: &mut Call, name: &Repository, mut held: Held, wanted: Digest) -> Result<Reply> {
    receive(call, name, &mut held).await?;
    let registry = call.registry.clone();
    let mut upload = held.take(&registry)?;
    let digest = upload.digest().await?;
    if digest != wanted {
        upload.discard().await?;
        let refusal = Refusal::new(Code::DigestInvalid, "what was uploaded does not have this digest");
        return Err(refusal.about(json!({"digest": wanted, "actual": digest})));
    }
    failpoint!("registry.blob-whole")?;
    let size = upload.length();
    let _push = registry.lock(name).read().await;
    let _content = registry.content.read().await;
    registry.leases.touch(name, &[digest]);
    upload.publish().await?;
    failpoint!("registry.blob-published")?;
    registry.storage.apply(vec![records::put_repository(name), records::put_blob(name, &digest, size)?]).await?;
    failpoint!("registry.blob-recorded")?;
    Ok(created(name, &digest))
}

impl Registry {
    /// Drops uploads that were idle for too long.
    pub(crate) async fn drop_idle_uploads(&self) -> rorqual_error::Result<usize> {
        let now = Instant::now();
        self.uploads
            .lock()
            .retain(|_, session| now - session.used < UPLOAD_IDLE || Arc::strong_count(&session.slot) > 1);
        let (mut dropped, mut left) = (0, 0);
        for (key, age) in self.storage.idle_uploads().await? {
            let open = self.uploads.lock().contains_key(&key);
            if open || age < UPLOAD_IDLE {
                left += 1;
                continue;
            }
            // What it left may be what a push is about to refer to.
            let _alone = self.content.write().await;
            self.storage.delete_upload(key).await?;
            dropped += 1;
        }
        self.uploads.waiting.store(left, Ordering::Relaxed);
        Ok(dropped)
    }
}
