//! `docker pull`: what a registry has under a name becomes an image here.
//!
//! Layers are downloaded side by side and unpacked one above the other, each while it still arrives. Nothing is named
//! before all of it was verified; what was downloaded of a pull that failed is kept for the next one.

mod layers;
mod referrers;

use crate::{
    ImageEvent, Images, Progress,
    commit::Lease,
    documents::{Found, read_document},
    download::{PARTIAL_KEPT, Wishes},
    oci::{DOCUMENT_BYTES_MAX, Descriptor, Document, ImageConfig, Index, LAYERS_MAX, Manifest, PlatformEntry, media},
    remote::Source,
    resolve::Chosen,
};
use layers::Layers;
use referrers::Until;
use rorqual_error::{Context, Error, Kind, Result};
use rorqual_types::{Digest, Platform, Reference};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    thread::Builder,
};

/// How deep indexes may hold indexes.
const NESTING_MAX: usize = 3;
/// Attestations that are fetched with an image.
const ATTESTATIONS_MAX: usize = 16;
/// Bytes of all attestations that are fetched with an image; what is larger stays in the registry.
const ATTESTATION_BYTES_MAX: u64 = 64 << 20;

/// Decides, on digests that were verified, whether an image may be pulled: told the name and the descriptor of the
/// index or manifest that the name led to, and of the manifest chosen from it.
pub type Policy<'a> = dyn Fn(&Reference, &Descriptor, &Descriptor) -> Result<()> + Sync + 'a;

/// What to pull.
pub struct PullOptions<'a> {
    /// The name, with a tag or a digest.
    pub reference: &'a Reference,
    /// The platform; the host's where not given.
    pub platform: Option<&'a Platform>,
    /// Layers to fetch at a time.
    pub downloads: usize,
    /// Asked before anything large is fetched.
    pub policy: &'a Policy<'a>,
    /// Whether the pull was given up.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl fmt::Debug for PullOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PullOptions({})", self.reference)
    }
}

/// What a pull did.
#[derive(Debug)]
pub struct Pulled {
    /// What the name points to now.
    pub target: Descriptor,
    /// Whether it is another image than before.
    pub newer: bool,
    /// Events to send.
    pub events: Vec<ImageEvent>,
}

/// What was fetched so far.
struct Fetch<'a> {
    images: &'a Images,
    source: &'a dyn Source,
    lease: Lease<'a>,
    blobs: Vec<(Digest, u64)>,
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl Images {
    /// `docker pull` of one name. Messages go to `progress` as they happen. Everything is on the disk before this
    /// returns; on failure no name has changed.
    ///
    /// # Errors
    /// The source's; `NotFound` where the index has nothing for the platform; `InvalidArgument` for content that is
    /// not what it says.
    pub fn pull(
        &self,
        source: &dyn Source,
        options: &PullOptions<'_>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Pulled> {
        self.sweep_partials(PARTIAL_KEPT)?;
        let (lease, cancelled) = (self.lease(), options.cancelled);
        let mut fetch = Fetch { images: self, source, lease, blobs: Vec::new(), cancelled };
        let pulled = fetch.pull(options, progress);
        match &pulled {
            // Named and recorded, or not what it says: of neither is anything kept for another attempt.
            Ok(_) => self.forget_partials(&fetch.blobs),
            Err(error) if error.kind() == Kind::InvalidArgument => self.forget_partials(&fetch.blobs),
            Err(_) => {}
        }
        pulled
    }
}

impl Fetch<'_> {
    fn pull(&mut self, options: &PullOptions<'_>, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<Pulled> {
        let (images, source, reference) = (self.images, self.source, options.reference);
        let (root, bytes) = source.root()?;
        progress(pulling_from(reference));
        self.keep(&root, &bytes)?;
        let (descriptor, manifest) = self.choose(&root, &bytes, options, 0)?.ok_or_else(|| no_match(options))?;
        (options.policy)(reference, &root, &descriptor)?;
        let config = self.config(&manifest)?;
        if let Document::Index(index) = Document::parse(&root.media_type, &bytes)? {
            self.attestations(&index, &descriptor)?;
        }
        let chosen = Chosen { found: Found { descriptor, manifest: Some(manifest.clone()) }, manifest, config };
        for layer in &chosen.manifest.layers {
            self.lease.blob(layer.digest);
            self.blobs.push((layer.digest, layer.size));
        }
        let (layers, listed) = {
            let subjects = BTreeSet::from([root.digest, chosen.found.descriptor.digest]);
            let layers = Layers::new(images, source, &chosen, options, progress)?;
            let (until, given_up) = (Until::default(), self.cancelled);
            std::thread::scope(|scope| {
                let list = || referrers::listed(source, &subjects, given_up, &until);
                let listing = Builder::new().name("referrers".into()).spawn_scoped(scope, list);
                let layers = layers.run(&mut self.lease);
                if layers.is_ok() {
                    until.soon()
                } else {
                    until.now()
                }
                let listed = listing.ok().and_then(|listing| listing.join().ok()).unwrap_or_default();
                layers.map(|layers| (layers, listed))
            })?
        };
        self.referrers(&listed)?;

        // A name with a digest stays one: it is what was asked for, and no tag.
        let name = match reference.digest() {
            Some(digest) => format!("{}@{digest}", reference.name()),
            None => reference.to_string(),
        };
        let before = images.state().names.get(&name).map(|record| record.target.digest);
        let newer = before != Some(root.digest) || !layers.is_empty();
        if newer
            || self.lease.refers()
            || self.blobs.iter().any(|(digest, _)| !images.state().blobs.contains_key(digest))
        {
            images.commit(&mut self.lease, &[(name, root.clone())], layers, &self.blobs)?;
        }
        let attributes = BTreeMap::from([("name".to_owned(), reference.familiar_name().to_owned())]);
        let event = ImageEvent { action: "pull", id: reference.familiar(), attributes };
        Ok(Pulled { target: root, newer, events: vec![event] })
    }

    /// Puts a document that was verified into the store.
    fn keep(&mut self, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        self.lease.blob(descriptor.digest);
        let (digest, length) = self.images.content.put(bytes)?;
        if digest != descriptor.digest || length != descriptor.size {
            return Err(Error::invalid(format!("{} is not what its descriptor says", descriptor.digest)));
        }
        self.blobs.push((digest, length));
        Ok(())
    }

    /// A document from the store, or else from the registry and then kept.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.lease.blob(descriptor.digest);
        if descriptor.size > DOCUMENT_BYTES_MAX {
            return Err(Error::invalid(format!("{} is larger than 4 MiB", descriptor.digest)));
        }
        if self.images.content.size(&descriptor.digest)? == Some(descriptor.size) {
            self.blobs.push((descriptor.digest, descriptor.size));
            return read_document(&self.images.content, descriptor);
        }
        let bytes = self.source.document(descriptor)?;
        self.keep(descriptor, &bytes)?;
        Ok(bytes)
    }

    /// The manifest for the platform, in this document or below it.
    fn choose(
        &mut self,
        descriptor: &Descriptor,
        bytes: &[u8],
        options: &PullOptions<'_>,
        depth: usize,
    ) -> Result<Option<(Descriptor, Arc<Manifest>)>> {
        if depth > NESTING_MAX {
            return Err(Error::invalid("indexes are nested deeper than 3 levels"));
        }
        let parsed =
            Document::parse(&descriptor.media_type, bytes).with_context(|| format!("read {}", descriptor.digest))?;
        let index = match parsed {
            Document::Manifest(manifest) => return Ok(Some((descriptor.clone(), Arc::new(*manifest)))),
            Document::Index(index) => index,
        };
        for entry in candidates(&index, options.platform) {
            let bytes = self.document(entry)?;
            if let Some(found) = self.choose(entry, &bytes, options, depth + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn config(&mut self, manifest: &Manifest) -> Result<Arc<ImageConfig>> {
        if !media::is_config(&manifest.config.media_type) {
            return Err(Error::invalid(format!(
                "unsupported media type {}: this is an artifact, not an image that can run",
                manifest.config.media_type.chars().take(128).collect::<String>()
            )));
        }
        if manifest.layers.len() > LAYERS_MAX {
            return Err(Error::invalid(format!("the image has more than {LAYERS_MAX} layers")));
        }
        if manifest.config.size > DOCUMENT_BYTES_MAX {
            return Err(Error::invalid(format!("{} is larger than 4 MiB", manifest.config.digest)));
        }
        self.small_blob(&manifest.config)?;
        self.images.config(manifest)
    }

    /// A blob that needs no line of its own.
    fn small_blob(&mut self, blob: &Descriptor) -> Result<()> {
        self.lease.blob(blob.digest);
        let mut wishes = Wishes { cancelled: self.cancelled, begun: &mut |_| {}, progress: &mut |_| {} };
        self.images.download(self.source, blob, &mut wishes)?;
        self.blobs.push((blob.digest, blob.size));
        Ok(())
    }

    /// What the index says about the manifest: provenance and bills of materials, kept with the image.
    fn attestations(&mut self, index: &Index, of: &Descriptor) -> Result<()> {
        let subject = of.digest.to_string();
        let about = |entry: &&Descriptor| {
            media::is_manifest(&entry.media_type)
                && entry.annotations.get("vnd.docker.reference.digest").is_some_and(|digest| *digest == subject)
        };
        let mut left = ATTESTATION_BYTES_MAX;
        for entry in index.manifests.iter().filter(about).take(ATTESTATIONS_MAX) {
            match self.attestation(entry, &mut left) {
                // Whoever copied the image left it out.
                Err(error) if error.kind() == Kind::NotFound => {}
                attested => attested?,
            }
        }
        Ok(())
    }

    fn attestation(&mut self, entry: &Descriptor, left: &mut u64) -> Result<()> {
        let bytes = self.document(entry)?;
        let Document::Manifest(manifest) = Document::parse(&entry.media_type, &bytes)? else { return Ok(()) };
        for blob in manifest.layers.iter().take(LAYERS_MAX).chain([&manifest.config]) {
            if let Some(rest) = left.checked_sub(blob.size) {
                *left = rest;
                self.small_blob(blob)?;
            }
        }
        Ok(())
    }
}

/// The entries of an index to try for a platform, the best first.
///
/// Without a platform the host's is meant; an index without platforms is taken in order.
fn candidates<'a>(index: &'a Index, platform: Option<&Platform>) -> Vec<&'a Descriptor> {
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let mut found: Vec<(u8, &Descriptor)> = Vec::new();
    for entry in &index.manifests {
        let known = media::is_manifest(&entry.media_type) || media::is_index(&entry.media_type);
        if !known || entry.annotations.contains_key("vnd.docker.reference.type") {
            continue;
        }
        match entry.platform.as_ref().map(PlatformEntry::platform) {
            Some(Some(own)) if own.satisfies(wanted) => found.push((u8::from(own.variant != wanted.variant), entry)),
            Some(_) => {}
            None => found.push((2, entry)),
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, entry)| entry).collect()
}

/// dockerd's first line, with the name as it is at the registry.
fn pulling_from(reference: &Reference) -> Progress {
    let path = reference.name().split_once('/').map_or(reference.name(), |(_, path)| path);
    let id = match reference.digest() {
        Some(_) => reference.familiar(),
        None => reference.tag().unwrap_or_default().to_owned(),
    };
    Progress::Status { id, status: format!("Pulling from {path}"), current: 0, total: 0 }
}

fn no_match(options: &PullOptions<'_>) -> Error {
    let wanted = options.platform.map_or_else(|| Platform::host().to_string(), Platform::to_string);
    Error::not_found(format!(
        "no match for platform in manifest: {wanted} is not among those of {}",
        options.reference.familiar()
    ))
}
