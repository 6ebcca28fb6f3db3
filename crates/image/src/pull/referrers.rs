//! The referrers of one pull: listed while layers arrive, then fetched. An image is pulled whether they come or not.

use super::Fetch;
use crate::{
    documents::Node,
    download::cancelled,
    oci::{Descriptor, media},
    referrers::{self, REFERRER_BYTES_MAX, REFERRERS_MAX},
    remote::Source,
};
use rorqual_error::{Error, Result};
use rorqual_types::Digest;
use std::{
    collections::BTreeSet,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// How long a list of referrers is waited for once the image is here: what a slow registry needs, and little enough for
/// one that does not answer the question at all.
const WAIT: Duration = Duration::from_secs(10);

/// When the list is no longer waited for.
#[derive(Debug, Default)]
pub(super) struct Until(OnceLock<Instant>);

impl Until {
    /// The image is here: only so long from now on.
    pub(super) fn soon(&self) {
        let _ = self.0.set(Instant::now() + WAIT);
    }

    /// The pull has failed.
    pub(super) fn now(&self) {
        let _ = self.0.set(Instant::now());
    }

    fn passed(&self) -> bool {
        self.0.get().is_some_and(|until| Instant::now() >= *until)
    }
}

/// What the registry lists, by subject.
pub(super) fn listed(
    source: &dyn Source,
    subjects: &BTreeSet<Digest>,
    given_up: &(dyn Fn() -> bool + Sync),
    until: &Until,
) -> Vec<(Digest, Descriptor)> {
    let mut found = Vec::new();
    for subject in subjects {
        match source.referrers(subject, &|| given_up() || until.passed()) {
            Ok(listed) => found.extend(listed.into_iter().take(REFERRERS_MAX).map(|one| (*subject, one))),
            Err(error) => tracing::info!(%subject, %error, "the registry does not tell what refers to an image"),
        }
    }
    found
}

impl Fetch<'_> {
    /// Fetches what is not kept yet. What cannot be had, or is not what the list says, is left out.
    pub(super) fn referrers(&mut self, listed: &[(Digest, Descriptor)]) -> Result<()> {
        let mut left = REFERRER_BYTES_MAX;
        for (subject, entry) in listed {
            let known = {
                let state = self.images.state();
                state.referrers.get(subject).is_some_and(|known| known.iter().any(|one| one.digest == entry.digest))
            };
            if known {
                continue;
            }
            let before = self.blobs.len();
            match self.referrer(subject, entry, &mut left) {
                Ok(referrer) => self.lease.refer(*subject, referrer),
                Err(_) if (self.cancelled)() => return Err(cancelled()),
                Err(error) => {
                    tracing::warn!(%subject, referrer = %entry.digest, %error, "a referrer was left out");
                    self.blobs.truncate(before);
                }
            }
        }
        Ok(())
    }

    fn referrer(&mut self, subject: &Digest, entry: &Descriptor, left: &mut u64) -> Result<Descriptor> {
        if !media::is_manifest(&entry.media_type) && !media::is_index(&entry.media_type) {
            return Err(Error::invalid("it is neither a manifest nor an index"));
        }
        let entry = Descriptor::new(entry.media_type.clone(), entry.digest, entry.size);
        let bytes = self.document(&entry)?;
        let node = Node::parse(&entry.media_type, &bytes)?;
        let (about, referrer) =
            referrers::described(&entry, &node).ok_or_else(|| Error::invalid("it refers to nothing"))?;
        if about != *subject {
            return Err(Error::invalid(format!("it refers to {about}")));
        }
        self.parts(&node, 0, left)?;
        Ok(referrer)
    }

    /// The blobs of a manifest, or the manifests of an index with theirs.
    fn parts(&mut self, node: &Node, depth: usize, left: &mut u64) -> Result<()> {
        let index = match node {
            Node::Index(index) => index,
            Node::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    let rest = left.checked_sub(blob.size);
                    *left = rest.ok_or_else(|| Error::invalid("the referrers of the image are too large"))?;
                    let images = self.images;
                    self.small_blob(blob).inspect_err(|_| images.forget_partials(&[(blob.digest, blob.size)]))?;
                }
                return Ok(());
            }
        };
        if depth == super::NESTING_MAX {
            return Err(Error::invalid("indexes are nested deeper than 3 levels"));
        }
        for entry in &index.manifests {
            let rest = left.checked_sub(entry.size);
            *left = rest.ok_or_else(|| Error::invalid("the referrers of the image are too large"))?;
            let bytes = self.document(entry)?;
            self.parts(&Node::parse(&entry.media_type, &bytes)?, depth + 1, left)?;
        }
        Ok(())
    }
}
