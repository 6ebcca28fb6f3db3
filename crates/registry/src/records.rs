//! What is recorded of repositories, and under which keys.
//!
//! A repository's name stands in keys with `:` for `/`, so that every key is a path of known depth, also where keys are
//! the names of objects:
//!
//! | Key | Value |
//! |---|---|
//! | `catalog/NAME` | `null`: there is such a repository |
//! | `tags/NAME/TAG` | the digest |
//! | `manifests/NAME/DIGEST` | [`Manifest`] |
//! | `blobs/NAME/DIGEST` | its length: the repository has this blob |
//! | `used/NAME/DIGEST` | when a manifest of a cache was last asked for, seconds since 1970 |
//! | `referrers/NAME/SUBJECT/DIGEST` | the descriptor that the referrers list shows |

use crate::{
    limits::WALK,
    name::{Repository, Tag},
    storage::{Change, Storage},
};
use rorqual_error::{Context, Error, Result};
use rorqual_oci::image::Descriptor;
use rorqual_types::Digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What is recorded of a manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// As it was pushed.
    pub media_type: String,
    /// Its length.
    pub size: u64,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// The blobs it needs: configuration and layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Digest>,
    /// The manifests it lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Digest>,
}

/// The records of a storage.
#[derive(Debug)]
pub(crate) struct Records<'a>(pub &'a dyn Storage);

fn encoded(name: &Repository) -> String {
    name.as_str().replace('/', ":")
}

pub(crate) fn value(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("write a record")
}

/// The last component of a key.
fn last(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

pub(crate) fn put_repository(name: &Repository) -> Change {
    Change::Put(format!("catalog/{}", encoded(name)), b"null".to_vec())
}

pub(crate) fn delete_repository(name: &Repository) -> Change {
    Change::Delete(format!("catalog/{}", encoded(name)))
}

pub(crate) fn put_tag(name: &Repository, tag: &Tag, digest: &Digest) -> Result<Change> {
    Ok(Change::Put(format!("tags/{}/{tag}", encoded(name)), value(digest)?))
}

pub(crate) fn delete_tag(name: &Repository, tag: &Tag) -> Change {
    Change::Delete(format!("tags/{}/{tag}", encoded(name)))
}

pub(crate) fn put_manifest(name: &Repository, digest: &Digest, manifest: &Manifest) -> Result<Change> {
    Ok(Change::Put(format!("manifests/{}/{digest}", encoded(name)), value(manifest)?))
}

/// Removes a manifest and its place in the list of its subject's referrers.
pub(crate) fn delete_manifest(name: &Repository, digest: &Digest, manifest: &Manifest) -> Vec<Change> {
    let name = encoded(name);
    let referrer = manifest.subject.map(|subject| Change::Delete(format!("referrers/{name}/{subject}/{digest}")));
    referrer.into_iter().chain([Change::Delete(format!("manifests/{name}/{digest}"))]).collect()
}

pub(crate) fn put_blob(name: &Repository, digest: &Digest, size: u64) -> Result<Change> {
    Ok(Change::Put(format!("blobs/{}/{digest}", encoded(name)), value(&size)?))
}

pub(crate) fn delete_blob(name: &Repository, digest: &Digest) -> Change {
    Change::Delete(format!("blobs/{}/{digest}", encoded(name)))
}

pub(crate) fn put_used(name: &Repository, digest: &Digest, seconds: u64) -> Result<Change> {
    Ok(Change::Put(format!("used/{}/{digest}", encoded(name)), value(&seconds)?))
}

pub(crate) fn delete_used(name: &Repository, digest: &Digest) -> Change {
    Change::Delete(format!("used/{}/{digest}", encoded(name)))
}

pub(crate) fn put_referrer(name: &Repository, subject: &Digest, descriptor: &Descriptor) -> Result<Change> {
    Ok(Change::Put(format!("referrers/{}/{subject}/{}", encoded(name), descriptor.digest), value(descriptor)?))
}

impl Records<'_> {
    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(bytes) = self.0.get(key).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).with_context(|| format!("read record {key}")).map(Some)
    }

    /// Whether there is such a repository.
    pub(crate) async fn has_repository(&self, name: &Repository) -> Result<bool> {
        Ok(self.0.get(&format!("catalog/{}", encoded(name))).await?.is_some())
    }

    pub(crate) async fn tag(&self, name: &Repository, tag: &Tag) -> Result<Option<Digest>> {
        self.read(&format!("tags/{}/{tag}", encoded(name))).await
    }

    pub(crate) async fn manifest(&self, name: &Repository, digest: &Digest) -> Result<Option<Manifest>> {
        self.read(&format!("manifests/{}/{digest}", encoded(name))).await
    }

    /// When a manifest was last asked for, as far as that is noted.
    pub(crate) async fn used(&self, name: &Repository, digest: &Digest) -> Result<Option<u64>> {
        self.read(&format!("used/{}/{digest}", encoded(name))).await
    }

    /// The length of a blob that the repository has.
    pub(crate) async fn blob(&self, name: &Repository, digest: &Digest) -> Result<Option<u64>> {
        self.read(&format!("blobs/{}/{digest}", encoded(name))).await
    }

    pub(crate) async fn referrer(
        &self,
        name: &Repository,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<Descriptor>> {
        self.read(&format!("referrers/{}/{subject}/{digest}", encoded(name))).await
    }

    async fn page<T>(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        read: impl Fn(&str) -> Result<T>,
    ) -> Result<Vec<T>> {
        let after = after.map(|after| format!("{prefix}{after}"));
        let keys = self.0.page(prefix, after.as_deref(), limit).await?;
        keys.iter().map(|key| read(last(key)).with_context(|| format!("malformed key {key}"))).collect()
    }

    /// Repositories after `after`.
    pub(crate) async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Repository>> {
        let after = after.map(|after| after.replace('/', ":"));
        let decode = |text: &str| Repository::parse(&text.replace(':', "/"));
        self.page("catalog/", after.as_deref(), limit, decode).await
    }

    /// Tags after `after`.
    pub(crate) async fn tags(&self, name: &Repository, after: Option<&str>, limit: usize) -> Result<Vec<Tag>> {
        self.page(&format!("tags/{}/", encoded(name)), after, limit, Tag::parse).await
    }

    /// Manifests that refer to `subject`, after `after`.
    pub(crate) async fn referrers(
        &self,
        name: &Repository,
        subject: &Digest,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Digest>> {
        self.page(&format!("referrers/{}/{subject}/", encoded(name)), after, limit, str::parse).await
    }

    /// All of one kind in a repository, page by page: `tags`, `manifests` or `blobs`.
    async fn all<T>(&self, kind: &str, name: &Repository, read: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
        let prefix = format!("{kind}/{}/", encoded(name));
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let keys = self.0.page(&prefix, after.as_deref(), WALK).await?;
            for key in &keys {
                all.push(read(last(key)).with_context(|| format!("malformed key {key}"))?);
            }
            match keys.into_iter().next_back() {
                Some(key) => after = Some(key),
                None => return Ok(all),
            }
        }
    }

    /// Every tag and its digest.
    pub(crate) async fn all_tags(&self, name: &Repository) -> Result<Vec<(Tag, Digest)>> {
        let mut tags = Vec::new();
        for tag in self.all("tags", name, Tag::parse).await? {
            if let Some(digest) = self.tag(name, &tag).await? {
                tags.push((tag, digest));
            }
        }
        Ok(tags)
    }

    /// Every manifest.
    pub(crate) async fn all_manifests(&self, name: &Repository) -> Result<Vec<(Digest, Manifest)>> {
        let mut manifests = Vec::new();
        for digest in self.all("manifests", name, parse_digest).await? {
            if let Some(manifest) = self.manifest(name, &digest).await? {
                manifests.push((digest, manifest));
            }
        }
        Ok(manifests)
    }

    /// Every blob that the repository has.
    pub(crate) async fn all_blobs(&self, name: &Repository) -> Result<Vec<Digest>> {
        self.all("blobs", name, parse_digest).await
    }

    /// The digests of every manifest.
    pub(crate) async fn all_manifest_digests(&self, name: &Repository) -> Result<Vec<Digest>> {
        self.all("manifests", name, parse_digest).await
    }
}

fn parse_digest(text: &str) -> Result<Digest, Error> {
    text.parse()
}
