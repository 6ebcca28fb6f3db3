//! Indexes, manifests and configurations, parsed once; and the walk from a name's target to everything below it.

use crate::{
    Images,
    oci::{DOCUMENT_BYTES_MAX, Descriptor, Document, ImageConfig, Index, Manifest, chain_ids, media},
};
use rorqual_content::Content;
use rorqual_error::{Context, Error, Result};
use rorqual_types::{ChainId, Digest, Platform};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How deep indexes may hold indexes.
const NESTING_MAX: usize = 3;
/// Parsed documents kept; a document is a few kilobytes.
const KEPT_MAX: usize = 512;

/// Parsed documents by digest.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    parsed: Mutex<HashMap<Digest, Parsed>>,
}

#[derive(Clone, Debug)]
enum Parsed {
    Index(Arc<Index>),
    Manifest(Arc<Manifest>),
    Config(Arc<ImageConfig>),
}

/// A document that a name's target leads to.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// An index, and what it lists.
    Index(Arc<Index>),
    /// A manifest.
    Manifest(Arc<Manifest>),
}

/// A manifest as found below a target.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) descriptor: Descriptor,
    /// `None` where its bytes are not here.
    pub(crate) manifest: Option<Arc<Manifest>>,
}

impl Node {
    /// Reads a document under its one media type.
    pub(crate) fn parse(media_type: &str, bytes: &[u8]) -> Result<Self> {
        Ok(match Document::parse(media_type, bytes)? {
            Document::Index(index) => Self::Index(Arc::new(*index)),
            Document::Manifest(manifest) => Self::Manifest(Arc::new(*manifest)),
        })
    }
}

impl Documents {
    fn get(&self, digest: &Digest) -> Option<Parsed> {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    fn put(&self, digest: Digest, parsed: Parsed) {
        let mut all = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT_MAX {
            all.clear();
        }
        all.insert(digest, parsed);
    }
}

/// The bytes of a document, of the length that its descriptor says.
pub(crate) fn read_document(content: &Content, descriptor: &Descriptor) -> Result<Vec<u8>> {
    if descriptor.size > DOCUMENT_BYTES_MAX {
        return Err(Error::invalid(format!("{} is larger than 4 MiB", descriptor.digest)));
    }
    let bytes = content.read(&descriptor.digest, DOCUMENT_BYTES_MAX)?;
    if bytes.len() as u64 != descriptor.size {
        return Err(Error::invalid(format!(
            "{} has {} bytes where its descriptor says {}",
            descriptor.digest,
            bytes.len(),
            descriptor.size
        )));
    }
    Ok(bytes)
}

impl Images {
    /// The index or manifest that `descriptor` points to.
    pub(crate) fn node(&self, descriptor: &Descriptor) -> Result<Node> {
        match self.documents.get(&descriptor.digest) {
            Some(Parsed::Index(index)) if media::is_index(&descriptor.media_type) => return Ok(Node::Index(index)),
            Some(Parsed::Manifest(manifest)) if media::is_manifest(&descriptor.media_type) => {
                return Ok(Node::Manifest(manifest));
            }
            _ => {}
        }
        let bytes = read_document(&self.content, descriptor)?;
        let parse = || format!("read {}", descriptor.digest);
        let node = Node::parse(&descriptor.media_type, &bytes).with_context(parse)?;
        self.documents.put(
            descriptor.digest,
            match &node {
                Node::Index(index) => Parsed::Index(index.clone()),
                Node::Manifest(manifest) => Parsed::Manifest(manifest.clone()),
            },
        );
        Ok(node)
    }

    /// The configuration of a manifest.
    pub(crate) fn config(&self, manifest: &Manifest) -> Result<Arc<ImageConfig>> {
        let descriptor = &manifest.config;
        if let Some(Parsed::Config(config)) = self.documents.get(&descriptor.digest) {
            return Ok(config);
        }
        let bytes = read_document(&self.content, descriptor)?;
        let config = ImageConfig::parse(&bytes).with_context(|| format!("read {}", descriptor.digest))?;
        let config = Arc::new(config);
        self.documents.put(descriptor.digest, Parsed::Config(config.clone()));
        Ok(config)
    }

    /// Every manifest below `target`, in order; nested indexes are followed. Manifests of other platforms need not be
    /// here. `each` is also told every index.
    pub(crate) fn manifests(&self, target: &Descriptor, each: &mut dyn FnMut(&Descriptor)) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        self.descend(target, 0, each, &mut found)?;
        Ok(found)
    }

    fn descend(
        &self,
        descriptor: &Descriptor,
        depth: usize,
        each: &mut dyn FnMut(&Descriptor),
        found: &mut Vec<Found>,
    ) -> Result<()> {
        if depth > NESTING_MAX {
            return Err(Error::invalid("indexes are nested deeper than 3 levels"));
        }
        let here = self.content.size(&descriptor.digest)?.is_some();
        if !here && depth > 0 {
            found.push(Found { descriptor: descriptor.clone(), manifest: None });
            return Ok(());
        }
        // Something of another kind in an index (a signature, say) is kept and not looked into.
        if depth > 0 && !media::is_index(&descriptor.media_type) && !media::is_manifest(&descriptor.media_type) {
            found.push(Found { descriptor: descriptor.clone(), manifest: None });
            return Ok(());
        }
        match self.node(descriptor)? {
            Node::Manifest(manifest) => {
                found.push(Found { descriptor: descriptor.clone(), manifest: Some(manifest) });
            }
            Node::Index(index) => {
                each(descriptor);
                for entry in &index.manifests {
                    self.descend(entry, depth + 1, each, found)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether the manifest is an image that could run, as against an attestation or an artifact.
pub(crate) fn is_image(found: &Found) -> bool {
    let annotated = found.descriptor.annotations.contains_key("vnd.docker.reference.type");
    let typed = found.manifest.as_ref().is_some_and(|manifest| media::is_config(&manifest.config.media_type));
    typed && !annotated
}

/// The platform that a manifest's configuration, or else its descriptor, names.
pub(crate) fn platform_of(found: &Found, config: Option<&ImageConfig>) -> Option<Platform> {
    let own = config.and_then(|config| config.platform().platform());
    own.or_else(|| found.descriptor.platform.as_ref().and_then(|platform| platform.platform()))
}

/// The chain IDs of an image, lowest first.
pub(crate) fn chain(config: &ImageConfig) -> Vec<ChainId> {
    chain_ids(&config.rootfs.diff_ids, rorqual_content::digest)
}
