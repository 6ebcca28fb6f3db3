//! An upload into parts of an object.

use super::{Objects, Pointer, Progress, finish, pointer_key};
use crate::{
    limits::{PART, PARTS},
    storage::{Later, Upload},
};
use aws_lc_rs::digest::{Context as Hasher, SHA256};
use bytes::{Bytes, BytesMut};
use object_store::{PutPayload, multipart::PartId};
use rorqual_error::{Context, Error, Result};
use rorqual_types::Digest;
use std::{fmt, fs::File};
use tokio::sync::OwnedSemaphorePermit;

/// An upload. Its [`Progress`] in the store is always one that can be gone on from: it is written when a part has been
/// taken, and when a request ends.
pub(super) struct ObjectUpload {
    objects: Objects,
    key: String,
    progress: Progress,
    /// Bytes that are too few for a part; `None` while they are in the store alone.
    tail: Option<Tail>,
    /// Of all bytes; `None` where another process took some of them: then the object is read again at the end.
    hasher: Option<Hasher>,
}

struct Tail {
    bytes: BytesMut,
    _room: OwnedSemaphorePermit,
}

impl fmt::Debug for ObjectUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectUpload({:?})", self.progress)
    }
}

impl ObjectUpload {
    pub(super) fn begun(objects: Objects, key: String, progress: Progress) -> Self {
        Self { objects, key, progress, tail: None, hasher: Some(Hasher::new(&SHA256)) }
    }

    pub(super) fn resumed(objects: Objects, key: String, progress: Progress) -> Self {
        Self { objects, key, progress, tail: None, hasher: None }
    }

    fn tail_key(&self) -> String {
        format!("tails/{}", self.key)
    }

    async fn save(&self) -> Result<()> {
        self.objects.write_json(&format!("uploads/{}", self.key), &self.progress).await
    }

    /// The tail, in memory.
    async fn tail(&mut self) -> Result<&mut BytesMut> {
        if self.tail.is_none() {
            let gathering = self.objects.0.gathering.clone();
            let room = gathering.acquire_owned().await.context("wait for room to gather a part")?;
            let mut bytes = BytesMut::new();
            if self.progress.in_tail > 0 {
                let lost = || Error::internal(format!("the tail of upload {} is lost", self.key));
                let kept = self.objects.read(&self.tail_key()).await?.ok_or_else(lost)?;
                let length = usize::try_from(self.progress.in_tail).ok().filter(|length| *length <= kept.len());
                bytes.extend_from_slice(kept.get(..length.ok_or_else(lost)?).unwrap_or_default());
            }
            self.tail = Some(Tail { bytes, _room: room });
        }
        let missing = || Error::internal("an upload without a tail");
        self.tail.as_mut().map(|tail| &mut tail.bytes).ok_or_else(missing)
    }

    /// Sends the next part.
    async fn part(&mut self, bytes: Bytes) -> Result<()> {
        let (place, length) = (self.progress.parts.len(), bytes.len() as u64);
        if place >= PARTS {
            return Err(Error::invalid(format!("a blob may have {PARTS} parts of {PART} bytes")));
        }
        let objects = self.objects.clone();
        let context = || format!("send part {place} of {}", self.progress.object);
        let path = objects.path(&self.progress.object);
        let id = match &self.progress.multipart {
            Some(id) => id.clone(),
            None => {
                let id = objects.0.store.create_multipart(&path).await.with_context(context)?;
                self.progress.multipart = Some(id.clone());
                self.save().await?;
                id
            }
        };
        let part = objects.0.store.put_part(&path, &id, place, PutPayload::from(bytes)).await;
        let context = || format!("send part {place} of {}", self.progress.object);
        let part = part.with_context(context)?;
        self.progress.parts.push(part.content_id);
        self.progress.in_parts += length;
        // What the store has of the tail is in this part.
        self.progress.in_tail = 0;
        Ok(())
    }

    /// Makes the object of everything written.
    async fn complete(&mut self) -> Result<()> {
        let rest = self.tail().await?.split().freeze();
        self.tail = None;
        let Some(id) = self.progress.multipart.clone() else {
            self.progress.in_parts = rest.len() as u64;
            self.progress.in_tail = 0;
            return self.objects.write(&self.progress.object, rest).await;
        };
        if !rest.is_empty() {
            self.part(rest).await?;
        }
        let path = self.objects.path(&self.progress.object);
        let parts = self.progress.parts.iter().map(|id| PartId { content_id: id.clone() }).collect();
        let completed = self.objects.0.store.complete_multipart(&path, &id, parts).await;
        completed.with_context(|| format!("complete upload {}", self.key))?;
        Ok(())
    }
}

impl Upload for ObjectUpload {
    fn length(&self) -> u64 {
        let in_tail = self.tail.as_ref().map_or(self.progress.in_tail, |tail| tail.bytes.len() as u64);
        self.progress.in_parts + in_tail
    }

    fn write(&mut self, bytes: Bytes) -> Later<'_, ()> {
        Box::pin(async move {
            let tail = self.tail().await?;
            tail.extend_from_slice(&bytes);
            let whole = (tail.len() >= PART).then(|| tail.split_to(PART).freeze());
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&bytes);
            }
            if let Some(part) = whole {
                self.part(part).await?;
                self.save().await?;
            }
            Ok(())
        })
    }

    fn file(&self) -> Result<Option<File>> {
        Ok(None)
    }

    fn settle(&mut self) -> Later<'_, ()> {
        Box::pin(async {
            let Some(tail) = self.tail.take() else { return Ok(()) };
            self.progress.in_tail = tail.bytes.len() as u64;
            if !tail.bytes.is_empty() {
                self.objects.write(&self.tail_key(), tail.bytes.freeze()).await?;
            }
            self.save().await
        })
    }

    fn digest(&mut self) -> Later<'_, Digest> {
        Box::pin(async {
            let known = self.hasher.take().map(finish);
            // From here on nobody goes on with it; without a digest what it becomes is not known yet.
            self.progress.digest = Some(known.unwrap_or(Digest::from_bytes([0; 32])));
            self.save().await?;
            self.complete().await?;
            let digest = match known {
                Some(digest) => digest,
                None => self.objects.hash(&self.progress.object).await?,
            };
            if known.is_none() {
                self.progress.digest = Some(digest);
                self.save().await?;
            }
            Ok(digest)
        })
    }

    fn publish(self: Box<Self>) -> Later<'static, ()> {
        Box::pin(async move {
            let unready = || Error::internal("an upload is published before its digest is known");
            let digest = self.progress.digest.ok_or_else(unready)?;
            let objects = &self.objects;
            if objects.pointer(&digest).await?.is_none() {
                let pointer = Pointer { object: self.progress.object.clone(), size: self.length() };
                objects.write_json(&pointer_key(&digest), &pointer).await?;
                objects.remember(&digest, Some(&pointer));
            }
            // Where the blob was there before, this removes what was uploaded again.
            objects.discard(&self.key, &self.progress).await
        })
    }

    fn discard(mut self: Box<Self>) -> Later<'static, ()> {
        Box::pin(async move {
            self.progress.digest = None;
            self.objects.discard(&self.key, &self.progress).await
        })
    }
}
