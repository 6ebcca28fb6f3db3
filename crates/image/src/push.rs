//! `docker push`: an image's blobs, then its manifests, then the name.

use crate::{
    ImageEvent, Images, LayerStep, Progress, Referrer,
    documents::{Found, read_document},
    name::{is_dangling, short},
    oci::{Descriptor, Manifest, media},
    remote::{Destination, Pushed},
};
use rorqual_error::{Error, Result};
use rorqual_types::{Digest, Platform, Reference};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Bytes between two lines about one layer.
const REPORT_BYTES: u64 = 1 << 20;
/// Repositories that are asked for one blob.
const ORIGINS_MAX: usize = 4;

/// What to push.
pub struct PushOptions<'a> {
    /// The name, with its tag.
    pub reference: &'a Reference,
    /// Only the manifest of this platform.
    pub platform: Option<&'a Platform>,
    /// Layers to send at a time.
    pub uploads: usize,
    /// Whether the push was given up.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl fmt::Debug for PushOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PushOptions({})", self.reference)
    }
}

/// What was pushed.
#[derive(Debug)]
pub struct PushedImage {
    /// What the name points to in the registry.
    pub target: Descriptor,
    /// The index that the image is here, where only one manifest of it was sent since the rest is not here.
    pub instead_of: Option<Descriptor>,
    /// Events to send.
    pub events: Vec<ImageEvent>,
}

/// Everything below what is pushed: what must be there before what.
#[derive(Default)]
struct Parts {
    /// Layers and configurations, each once.
    blobs: Vec<Descriptor>,
    /// Those that are layers.
    layers: HashSet<Digest>,
    /// Manifests and indexes, children before parents.
    documents: Vec<Descriptor>,
}

impl Images {
    /// The tags of the repository `reference` names, as references.
    pub fn tags_of(&self, reference: &Reference) -> Vec<Reference> {
        let state = self.state();
        let names =
            state.names.keys().filter(|name| !is_dangling(name)).filter_map(|name| name.parse::<Reference>().ok());
        names.filter(|name| name.name() == reference.name() && name.tag().is_some()).collect()
    }

    /// `docker push` of one name. Messages go to `progress` as they happen.
    ///
    /// # Errors
    /// `NotFound` where there is no such name, or nothing for the platform; the destination's.
    pub fn push(
        &self,
        destination: &dyn Destination,
        options: &PushOptions<'_>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<PushedImage> {
        let reference = options.reference;
        let record = self.state().names.get(&reference.to_string()).map(|record| record.target.clone());
        let root = record.ok_or_else(|| Error::not_found(format!("tag does not exist: {}", reference.familiar())))?;
        let root = Descriptor::new(root.media_type, root.digest, root.size);
        let (target, instead_of) = self.to_push(&root, options)?;
        let mut lease = self.lease();
        let mut parts = Parts::default();
        self.parts_of(&target, &mut parts, &mut HashSet::new())?;
        // Nothing of it is deleted while it is sent.
        for digest in parts.blobs.iter().chain(&parts.documents).map(|part| part.digest) {
            lease.blob(digest);
        }
        self.send_blobs(destination, options, &parts, progress)?;
        for document in &parts.documents {
            let bytes = read_document(&self.content, document)?;
            let tag = (document.digest == target.digest).then(|| reference.tag()).flatten();
            let answered = destination.document(document, &bytes, tag)?;
            if answered != document.digest {
                return Err(Error::internal(format!("the registry stored {answered} instead of {}", document.digest)));
            }
        }
        self.push_referrers(destination, options, &parts, progress)?;
        let attributes = BTreeMap::from([("name".to_owned(), reference.familiar_name().to_owned())]);
        let event = ImageEvent { action: "push", id: reference.familiar(), attributes };
        Ok(PushedImage { target, instead_of, events: vec![event] })
    }

    /// Sends what refers to the documents that were sent. The image is there by now, and stays there if the registry
    /// does not take artifacts; which ones it did not take is told.
    fn push_referrers(
        &self,
        destination: &dyn Destination,
        options: &PushOptions<'_>,
        image: &Parts,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<()> {
        let subjects: BTreeSet<Digest> = image.documents.iter().map(|document| document.digest).collect();
        for Referrer { subject, descriptor } in self.referrers_of(&subjects) {
            let sent = self.push_referrer(destination, options, &subject, &descriptor, progress);
            if (options.cancelled)() {
                return sent;
            }
            let status = match sent {
                Ok(()) => format!("Pushed referrer {}", descriptor.artifact_type),
                Err(error) => format!("Referrer {} was not pushed: {error}", descriptor.artifact_type),
            };
            progress(Progress::Status { id: short(&descriptor.digest), status, current: 0, total: 0 });
        }
        Ok(())
    }

    fn push_referrer(
        &self,
        destination: &dyn Destination,
        options: &PushOptions<'_>,
        subject: &Digest,
        referrer: &Descriptor,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<()> {
        let mut lease = self.lease();
        let mut parts = Parts::default();
        self.parts_of(referrer, &mut parts, &mut HashSet::new())?;
        for digest in parts.blobs.iter().chain(&parts.documents).map(|part| part.digest) {
            lease.blob(digest);
        }
        self.send_blobs(destination, options, &parts, progress)?;
        for document in &parts.documents {
            let bytes = read_document(&self.content, document)?;
            match document.digest == referrer.digest {
                true => destination.referrer(subject, referrer, &bytes)?,
                false => drop(destination.document(document, &bytes, None)?),
            }
        }
        Ok(())
    }

    /// What is sent of an image: all of it; of an index of which some is not here, the one manifest that is whole.
    fn to_push(&self, root: &Descriptor, options: &PushOptions<'_>) -> Result<(Descriptor, Option<Descriptor>)> {
        if let Some(platform) = options.platform {
            let chosen = self.choose(root, Some(platform))?.ok_or_else(|| {
                Error::not_found(format!(
                    "image with reference {} was found but does not provide the specified platform ({platform})",
                    options.reference.familiar()
                ))
            })?;
            let instead_of = (chosen.found.descriptor.digest != root.digest).then(|| root.clone());
            let found = &chosen.found.descriptor;
            return Ok((Descriptor::new(found.media_type.clone(), found.digest, found.size), instead_of));
        }
        if !media::is_index(&root.media_type) {
            return Ok((root.clone(), None));
        }
        let summaries = self.manifest_summaries(root)?;
        if summaries.iter().all(|manifest| manifest.available) {
            return Ok((root.clone(), None));
        }
        let mut whole = summaries
            .iter()
            .filter(|manifest| manifest.available && matches!(manifest.kind, crate::ManifestKind::Image { .. }));
        match (whole.next(), whole.next()) {
            (Some(one), None) => {
                let found = &one.descriptor;
                Ok((Descriptor::new(found.media_type.clone(), found.digest, found.size), Some(root.clone())))
            }
            (None, _) => Err(Error::not_found(format!("content digest {}: not found", root.digest))),
            _ => Err(Error::not_found(format!(
                "{} holds several platforms here, but not all that its index lists; push one with --platform",
                options.reference.familiar()
            ))),
        }
    }

    fn parts_of(&self, target: &Descriptor, parts: &mut Parts, seen: &mut HashSet<Digest>) -> Result<()> {
        let mut indexes = Vec::new();
        let found = self.manifests(target, &mut |index| indexes.push(index.clone()))?;
        for Found { descriptor, manifest } in found {
            let Some(manifest) = manifest else {
                return Err(Error::not_found(format!("content digest {}: not found", descriptor.digest)));
            };
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                if seen.insert(blob.digest) {
                    parts.blobs.push(blob.clone());
                }
            }
            if media::is_config(&manifest.config.media_type) {
                parts.layers.extend(manifest.layers.iter().map(|layer| layer.digest));
            }
            if seen.insert(descriptor.digest) {
                parts.documents.push(descriptor);
            }
        }
        // Found from the outside in; an index is accepted when what it lists is there.
        parts.documents.extend(indexes.into_iter().rev().filter(|index| seen.insert(index.digest)));
        Ok(())
    }

    fn send_blobs(
        &self,
        destination: &dyn Destination,
        options: &PushOptions<'_>,
        parts: &Parts,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<()> {
        let progress = Mutex::new(progress);
        let tell = |blob: &Descriptor, step: LayerStep| {
            if parts.layers.contains(&blob.digest) {
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress(Progress::Layer { id: short(&blob.digest), step });
            }
        };
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<Error>> = Mutex::default();
        let send = |blob: &Descriptor| -> Result<()> {
            let from = self.origins(blob, options.reference);
            let open = || self.content.open_blob(&blob.digest);
            let mut reported = 0;
            let sent = destination.blob(blob, &from, &open, &mut |current| {
                if current == 0 || current >= reported + REPORT_BYTES {
                    reported = current;
                    tell(blob, LayerStep::Pushing { current, total: blob.size });
                }
            })?;
            tell(
                blob,
                match sent {
                    Pushed::Sent => LayerStep::Pushed,
                    Pushed::Existed => LayerStep::Exists,
                    Pushed::Mounted(at) => LayerStep::Mounted { from: from.get(at).map(path_of).unwrap_or_default() },
                },
            );
            Ok(())
        };
        let work = || {
            while let Some(blob) = parts.blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result =
                    if (options.cancelled)() { Err(Error::unavailable("context canceled")) } else { send(blob) };
                if let Err(error) = result {
                    // The others end after what they are at.
                    next.store(parts.blobs.len(), Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..parts.blobs.len().min(options.uploads) {
                scope.spawn(work);
            }
            work();
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// An image of each other repository of the same registry that has the blob.
    fn origins(&self, blob: &Descriptor, to: &Reference) -> Vec<Reference> {
        let names: Vec<(String, Descriptor)> = {
            let state = self.state();
            state.names.iter().map(|(name, record)| (name.clone(), record.target.clone())).collect()
        };
        let mut origins: Vec<Reference> = Vec::new();
        for (name, target) in names {
            let Ok(reference) = name.parse::<Reference>() else { continue };
            let known = |other: &Reference| other.name() == reference.name();
            let other = reference.domain() == to.domain() && !known(to) && !origins.iter().any(known);
            // A hint only: an image that cannot be read gives none.
            if !is_dangling(&name) && other && self.leads_to(&target, &blob.digest).unwrap_or(false) {
                origins.push(reference);
                if origins.len() == ORIGINS_MAX {
                    break;
                }
            }
        }
        origins
    }

    fn leads_to(&self, target: &Descriptor, blob: &Digest) -> Result<bool> {
        let found = self.manifests(target, &mut |_| {})?;
        let holds =
            |manifest: &Manifest| manifest.layers.iter().chain([&manifest.config]).any(|own| own.digest == *blob);
        Ok(found.iter().any(|found| found.manifest.as_ref().is_some_and(|manifest| holds(manifest))))
    }
}

/// The repository as the registry names it.
fn path_of(reference: &Reference) -> String {
    reference.name().split_once('/').map_or("", |(_, path)| path).to_owned()
}
