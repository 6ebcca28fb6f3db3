//! What refers to an image: signatures, bills of materials and other artifacts whose manifest names a manifest or index
//! of the image as its subject. They are found, kept and removed by that subject, as long as it belongs to an image.

use crate::{
    Images, Referrer,
    documents::Node,
    load::{NAME, REF_NAME},
    oci::Descriptor,
};
use rorqual_error::{Error, Kind, Result};
use rorqual_types::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// Referrers by the digest of what they are about.
pub(crate) type BySubject = BTreeMap<Digest, Vec<Descriptor>>;

/// Referrers of one manifest or index that are kept: a signature and a few statements are usual; of more, the first
/// that the registry lists.
pub(crate) const REFERRERS_MAX: usize = 64;
/// Bytes of all referrers that are fetched with an image; one that does not fit stays in the registry.
pub(crate) const REFERRER_BYTES_MAX: u64 = 64 << 20;

/// The subject of a document, and how its referrer is described: by what its own bytes say, never by what a list says
/// of it.
pub(crate) fn described(descriptor: &Descriptor, node: &Node) -> Option<(Digest, Descriptor)> {
    let (subject, artifact_type, annotations) = match node {
        Node::Manifest(manifest) => {
            let own = &manifest.artifact_type;
            let artifact_type = if own.is_empty() { &manifest.config.media_type } else { own };
            (&manifest.subject, artifact_type, &manifest.annotations)
        }
        Node::Index(index) => (&index.subject, &index.artifact_type, &index.annotations),
    };
    let subject = subject.as_ref()?.digest;
    let mut annotations = annotations.clone();
    // In an archive these would make it an image with a name.
    annotations.remove(NAME);
    annotations.remove(REF_NAME);
    let new = Descriptor::new(descriptor.media_type.clone(), descriptor.digest, descriptor.size);
    Some((subject, Descriptor { artifact_type: artifact_type.clone(), annotations, ..new }))
}

/// Adds a referrer unless it is there or there are too many; whether it was added.
pub(crate) fn add(referrers: &mut BySubject, subject: Digest, referrer: Descriptor) -> bool {
    let known = referrers.entry(subject).or_default();
    let new = known.len() < REFERRERS_MAX && known.iter().all(|other| other.digest != referrer.digest);
    if new {
        known.push(referrer);
    }
    new
}

/// All that refer to one of `subjects`, and what refers to those.
pub(crate) fn of<'a>(referrers: &'a BySubject, subjects: &BTreeSet<Digest>) -> Vec<(Digest, &'a Descriptor)> {
    let mut seen = subjects.clone();
    let mut next: Vec<Digest> = subjects.iter().copied().collect();
    let mut found = Vec::new();
    while let Some(subject) = next.pop() {
        for referrer in referrers.get(&subject).into_iter().flatten() {
            found.push((subject, referrer));
            if seen.insert(referrer.digest) {
                next.push(referrer.digest);
            }
        }
    }
    found
}

impl Images {
    /// What refers to the image, by the digests of its index and of its manifests.
    pub(crate) fn referrers(&self, target: &Descriptor) -> Result<Vec<Referrer>> {
        let mut subjects = BTreeSet::from([target.digest]);
        let found = self.manifests(target, &mut |index| {
            subjects.insert(index.digest);
        })?;
        subjects.extend(found.iter().map(|found| found.descriptor.digest));
        Ok(self.referrers_of(&subjects))
    }

    /// What refers to one of these manifests and indexes.
    pub(crate) fn referrers_of(&self, subjects: &BTreeSet<Digest>) -> Vec<Referrer> {
        let state = self.state();
        let found = of(&state.referrers, subjects).into_iter();
        found.map(|(subject, descriptor)| Referrer { subject, descriptor: descriptor.clone() }).collect()
    }

    /// The blobs of a referrer that is here: its own, and all it leads to.
    ///
    /// # Errors
    /// `NotFound` where one is missing; `InvalidArgument` where one has another length than is said of it.
    pub(crate) fn referrer_blobs(&self, referrer: &Descriptor) -> Result<BTreeSet<Digest>> {
        let mut blobs = BTreeSet::from([referrer.digest]);
        let found = self.manifests(referrer, &mut |index| {
            blobs.insert(index.digest);
        })?;
        for found in found {
            let missing = || Error::not_found(format!("content digest {}: not found", found.descriptor.digest));
            let manifest = found.manifest.as_ref().ok_or_else(missing)?;
            blobs.insert(found.descriptor.digest);
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                match self.content.size(&blob.digest)? {
                    Some(size) if size == blob.size => blobs.insert(blob.digest),
                    Some(_) => return Err(Error::invalid(format!("{} is not as long as is said", blob.digest))),
                    None => {
                        let text = format!("content digest {}: not found", blob.digest);
                        return Err(Error::new(Kind::NotFound, text));
                    }
                };
            }
        }
        Ok(blobs)
    }
}
