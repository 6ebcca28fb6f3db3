//! `docker images`, and the sizes that it shows.

use crate::{
    Images, ListOptions, ManifestKind, ManifestSummary, Summary,
    documents::{Found, chain, is_image},
    filters::{created, created_ns, matches_reference, until},
    name::{familiar, is_dangling},
    oci::Descriptor,
    state::{NameRecord, State},
};
use rorqual_error::{Kind, Result};
use rorqual_types::{ChainId, Digest, Reference};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What one image leads to that is here.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) layers: BTreeSet<ChainId>,
}

/// The full names of one image.
pub(crate) struct Named {
    pub(crate) target: Descriptor,
    pub(crate) names: Vec<String>,
}

/// What filters other than by name ask of the images.
struct Bounds {
    before: Vec<i64>,
    since: Vec<i64>,
    until: Option<i128>,
}

impl Images {
    /// `docker images`, newest first. Filters: dangling, label, before, since, until, reference.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<Summary>> {
        let filters = &options.filters;
        filters.validate(&["dangling", "label", "label!", "before", "since", "reference", "until"])?;
        let dangling = filters.boolean("dangling")?;
        let bounds = Bounds {
            before: self.creation_of(filters.get("before"))?,
            since: self.creation_of(filters.get("since"))?,
            until: until(filters, jiff::Timestamp::now())?,
        };
        let mut summaries = Vec::new();
        let mut all = Vec::new();
        for image in self.by_target() {
            let shown: Vec<String> =
                image.names.iter().filter(|name| matches_reference(filters, name)).cloned().collect();
            let has_name = image.names.iter().any(|name| !is_dangling(name));
            if shown.is_empty() || dangling.is_some_and(|wanted| wanted == has_name) {
                continue;
            }
            let Some((summary, holdings)) = self.summary(&image, &shown, &bounds, options)? else { continue };
            summaries.push(summary);
            all.push(holdings);
        }
        if options.shared_size {
            self.share(&mut summaries, &all);
        }
        summaries.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.repo_tags.cmp(&b.repo_tags)));
        Ok(summaries)
    }

    /// The images by their target.
    pub(crate) fn by_target(&self) -> Vec<Named> {
        let mut images: BTreeMap<Digest, Named> = BTreeMap::new();
        for (name, NameRecord { target, .. }) in &self.state().names {
            let named =
                images.entry(target.digest).or_insert_with(|| Named { target: target.clone(), names: Vec::new() });
            named.names.push(name.clone());
        }
        images.into_values().collect()
    }

    fn creation_of(&self, words: &[String]) -> Result<Vec<i64>> {
        let times = words.iter().map(|word| {
            let target = self.state().find(word)?;
            let chosen = self.choose(&target.descriptor, None)?;
            Ok(created(chosen.as_ref().map(|chosen| chosen.config.as_ref())))
        });
        times.collect()
    }

    /// `None` where a filter does not fit.
    fn summary(
        &self,
        image: &Named,
        shown: &[String],
        bounds: &Bounds,
        options: &ListOptions,
    ) -> Result<Option<(Summary, Holdings)>> {
        // One image that cannot be read must not hide the others.
        let chosen = self.choose(&image.target, None).unwrap_or_else(|error| {
            tracing::warn!(id = %image.target.digest, %error, "an image cannot be read");
            None
        });
        let config = chosen.as_ref().map(|chosen| chosen.config.as_ref());
        let labels = config.and_then(|config| config.config.labels.clone());
        let created_at = created(config);
        let fits = options.filters.match_labels(&labels.clone().unwrap_or_default())
            && bounds.before.iter().all(|time| created_at < *time)
            && bounds.since.iter().all(|time| created_at > *time)
            && bounds.until.is_none_or(|until| created_ns(config).unwrap_or(0) < until);
        if !fits {
            return Ok(None);
        }
        let holdings = self.holdings_of(&image.target).unwrap_or_default();
        let size = {
            let state = self.state();
            state.content(&holdings) + state.unpacked(&holdings)
        };
        let summary = Summary {
            id: image.target.digest,
            repo_tags: tags(shown),
            repo_digests: repo_digests(shown, &image.target.digest),
            created: created_at,
            size: size as i64,
            shared_size: -1,
            labels,
            target: image.target.clone(),
            manifests: match options.manifests {
                true => Some(self.manifest_summaries(&image.target)?),
                false => None,
            },
        };
        Ok(Some((summary, holdings)))
    }

    /// Fills the sizes of what several images have.
    fn share(&self, summaries: &mut [Summary], holdings: &[Holdings]) {
        // Counted apart: a layer may have the digest of its blob.
        let (mut blob_users, mut layer_users) = (HashMap::new(), HashMap::new());
        for holdings in holdings {
            holdings.blobs.iter().for_each(|blob| *blob_users.entry(*blob).or_insert(0) += 1);
            holdings.layers.iter().for_each(|chain| *layer_users.entry(*chain).or_insert(0) += 1);
        }
        let several = |users: &HashMap<Digest, u32>, digest: &Digest| users.get(digest).is_some_and(|users| *users > 1);
        let state = self.state();
        for (summary, holdings) in summaries.iter_mut().zip(holdings) {
            let blobs = holdings.blobs.iter().filter(|blob| several(&blob_users, blob));
            let blobs = blobs.filter_map(|digest| state.blobs.get(digest));
            let layers = holdings.layers.iter().filter(|chain| several(&layer_users, chain));
            let layers = layers.map(|chain| state.added(chain));
            summary.shared_size = (blobs.sum::<u64>() + layers.sum::<u64>()) as i64;
        }
    }

    /// What an image leads to that is here.
    pub(crate) fn holdings_of(&self, target: &Descriptor) -> Result<Holdings> {
        let mut holdings = Holdings::default();
        holdings.blobs.insert(target.digest);
        let found = self.manifests(target, &mut |index| {
            holdings.blobs.insert(index.digest);
        })?;
        for found in &found {
            holdings.blobs.insert(found.descriptor.digest);
            holdings.blobs.extend(blobs_of(found));
            holdings.layers.extend(self.unpacked_chain(found)?);
        }
        let state = self.state();
        holdings.blobs.retain(|digest| state.blobs.contains_key(digest));
        Ok(holdings)
    }

    /// Bytes of the content of all platforms that is here.
    pub(crate) fn content_size(&self, target: &Descriptor) -> Result<i64> {
        let holdings = self.holdings_of(target)?;
        Ok(self.state().content(&holdings) as i64)
    }

    /// The chain IDs of a manifest, as far as they are unpacked.
    fn unpacked_chain(&self, found: &Found) -> Result<Vec<ChainId>> {
        let Some(manifest) = found.manifest.as_ref().filter(|_| is_image(found)) else { return Ok(Vec::new()) };
        let config = match self.config(manifest) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(Vec::new()),
            config => config?,
        };
        let state = self.state();
        Ok(chain(&config).into_iter().filter(|chain| state.layers.contains_key(chain)).collect())
    }

    /// The manifests behind an image.
    pub(crate) fn manifest_summaries(&self, target: &Descriptor) -> Result<Vec<ManifestSummary>> {
        let found = self.manifests(target, &mut |_| {})?;
        found.iter().map(|found| self.manifest_summary(found)).collect()
    }

    fn manifest_summary(&self, found: &Found) -> Result<ManifestSummary> {
        let blobs: HashSet<Digest> = blobs_of(found).chain([found.descriptor.digest]).collect();
        let chain = self.unpacked_chain(found)?;
        let config = match found.manifest.as_ref().filter(|_| is_image(found)) {
            Some(manifest) => self.config(manifest).ok(),
            None => None,
        };
        let state = self.state();
        let content: u64 = blobs.iter().filter_map(|digest| state.blobs.get(digest)).sum();
        let unpacked: u64 = chain.iter().filter_map(|c| state.layers.get(c)).map(|layer| layer.info.size).sum();
        let added: u64 = chain.iter().map(|chain| state.added(chain)).sum();
        let annotations = &found.descriptor.annotations;
        let kind = if annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest") {
            ManifestKind::Attestation {
                of: annotations.get("vnd.docker.reference.digest").and_then(|digest| digest.parse().ok()),
            }
        } else if let Some(platform) =
            config.map(|config| config.platform()).or_else(|| found.descriptor.platform.clone())
        {
            ManifestKind::Image { platform, unpacked_size: unpacked as i64 }
        } else {
            ManifestKind::Unknown
        };
        Ok(ManifestSummary {
            id: found.descriptor.digest,
            descriptor: found.descriptor.clone(),
            available: found.manifest.is_some() && blobs.iter().all(|digest| state.blobs.contains_key(digest)),
            content_size: content as i64,
            total_size: (content + added) as i64,
            kind,
        })
    }
}

impl State {
    fn content(&self, holdings: &Holdings) -> u64 {
        holdings.blobs.iter().filter_map(|digest| self.blobs.get(digest)).sum()
    }

    fn unpacked(&self, holdings: &Holdings) -> u64 {
        holdings.layers.iter().map(|chain| self.added(chain)).sum()
    }
}

fn blobs_of(found: &Found) -> impl Iterator<Item = Digest> {
    let manifest = found.manifest.iter();
    manifest.flat_map(|manifest| {
        [manifest.config.digest].into_iter().chain(manifest.layers.iter().map(|layer| layer.digest))
    })
}

/// Familiar names with tags.
pub(crate) fn tags(names: &[String]) -> Vec<String> {
    names.iter().filter(|name| !name.contains('@')).filter_map(|name| familiar(name)).collect()
}

/// `repository@digest` for each repository with a name.
pub(crate) fn repo_digests(names: &[String], id: &Digest) -> Vec<String> {
    let references = names.iter().filter(|name| !is_dangling(name)).filter_map(|name| name.parse::<Reference>().ok());
    let repositories: BTreeSet<String> = references.map(|reference| reference.familiar_name().to_owned()).collect();
    repositories.into_iter().map(|repository| format!("{repository}@{id}")).collect()
}
