//! What a repository has: its tags, and what refers to a manifest.

use crate::{
    Repository, TagOrDigest,
    answer::{Failure, clip},
    limits,
    links::next_link,
    origin::{Origin, join},
    transport::{Answered, Call, Route, Target},
};
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, HeaderValue, LINK},
};
use rorqual_error::{Context, Error, Result};
use rorqual_oci::image::{Descriptor, Document, INDEX_ENTRIES_MAX, Index, media};
use rorqual_types::Digest;
use serde::Deserialize;

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Repository {
    /// All tags, in the registry's order.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let mut walk = self.walk();
        loop {
            let found = tags(walk.route()).await;
            if let Some(found) = walk.last_word(found) {
                return found.map_err(|failure| self.explain(failure));
            }
        }
    }

    /// What refers to the manifest `digest`, of one type where `artifact_type` is given. Registries without the
    /// referrers API are asked by its fallback tag.
    pub async fn referrers(&self, digest: &Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>> {
        let mut walk = self.walk();
        let found = loop {
            let found = referrers(walk.route(), digest, artifact_type).await;
            if let Some(found) = walk.last_word(found) {
                break found;
            }
        };
        let found = match found {
            Ok(found) => found,
            Err(failure) if failure.has_status(StatusCode::NOT_FOUND) => self.referrers_by_tag(digest).await?,
            Err(failure) => return Err(self.explain(failure)),
        };
        // A registry need not filter.
        let wanted = |descriptor: &Descriptor| artifact_type.is_none_or(|wanted| descriptor.artifact_type == wanted);
        Ok(found.into_iter().filter(wanted).collect())
    }

    /// Stores a manifest or index that refers to `subject`, under its digest. Where the registry does not say that it
    /// lists it by itself, it is added to the index under the fallback tag. Two clients that do so at once may lose one
    /// entry: the specification knows no better.
    pub async fn push_referrer(&self, subject: &Digest, referrer: &Descriptor, bytes: &[u8]) -> Result<()> {
        let target = TagOrDigest::Digest(referrer.digest);
        let (_, listed) = self.put_manifest(&target, &referrer.media_type, bytes).await?;
        if listed {
            return Ok(());
        }
        let mut manifests = self.referrers_by_tag(subject).await?;
        if manifests.iter().any(|known| known.digest == referrer.digest) {
            return Ok(());
        }
        if manifests.len() == INDEX_ENTRIES_MAX {
            return Err(Error::invalid(format!("{subject} has {INDEX_ENTRIES_MAX} referrers already")));
        }
        manifests.push(referrer.clone());
        let index = Index {
            schema_version: 2,
            media_type: media::INDEX.into(),
            artifact_type: String::new(),
            manifests,
            subject: None,
            annotations: Default::default(),
        };
        let index = serde_json::to_vec(&index).context("write an index of referrers")?;
        self.push_manifest(&fallback_tag(subject)?, media::INDEX, &index).await?;
        Ok(())
    }

    async fn referrers_by_tag(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        match self.manifest(&fallback_tag(digest)?, limits::MANIFEST_BYTES_MAX).await {
            Ok(found) => match found.document {
                Document::Index(index) => Ok(index.manifests),
                Document::Manifest(_) => Ok(Vec::new()),
            },
            Err(error) if error.kind() == rorqual_error::Kind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// The tag under which registries without the referrers API keep the list of referrers.
fn fallback_tag(subject: &Digest) -> Result<TagOrDigest> {
    TagOrDigest::tag(&format!("sha256-{}", subject.hex()))
}

async fn tags(route: &Route) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    let path = format!("{}/tags/list?n={}", route.name(), limits::TAGS_PER_PAGE);
    let first = Call::path(Method::GET, path);
    pages(route, first, |bytes| {
        let page: Tags = serde_json::from_slice(bytes).map_err(|_| Error::invalid("a list of tags that is none"))?;
        all.extend(page.tags.unwrap_or_default());
        if all.len() > limits::TAGS_MAX {
            return Err(Error::invalid(format!("the repository has more than {} tags", limits::TAGS_MAX)));
        }
        Ok(())
    })
    .await?;
    for tag in &all {
        TagOrDigest::tag(tag).map_err(|_| Error::invalid(format!("{:?} is no tag", clip(tag))))?;
    }
    Ok(all)
}

async fn referrers(route: &Route, digest: &Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Failure> {
    let mut path = format!("{}/referrers/{digest}", route.name());
    if let Some(artifact_type) = artifact_type {
        let mut query = Url::parse("query://x").map_err(|_| Error::internal("make a query"))?;
        query.query_pairs_mut().append_pair("artifactType", artifact_type);
        path = format!("{path}?{}", query.query().unwrap_or_default());
    }
    let mut first = Call::path(Method::GET, path);
    first.headers.insert(ACCEPT, HeaderValue::from_static(media::INDEX));
    let mut all = Vec::new();
    pages(route, first, |bytes| {
        if let Document::Index(index) = Document::parse(media::INDEX, bytes)? {
            all.extend(index.manifests);
        }
        if all.len() > limits::TAGS_MAX {
            return Err(Error::invalid("the manifest has too many referrers"));
        }
        Ok(())
    })
    .await?;
    Ok(all)
}

/// Reads page after page. The next one is at the same server.
async fn pages(route: &Route, first: Call<'_>, mut page: impl FnMut(&[u8]) -> Result<()>) -> Result<(), Failure> {
    let mut call = first;
    for _ in 0..limits::PAGES_MAX {
        let (bytes, answered) = route.document(&call, limits::LIST_BYTES_MAX).await?;
        page(&bytes)?;
        let Some(next) = next_page(&answered)? else { return Ok(()) };
        let headers = call.headers;
        call = Call::new(Method::GET, Target::Url(next));
        call.headers = headers;
    }
    Err(Error::invalid(format!("a list of more than {} pages", limits::PAGES_MAX)).into())
}

fn next_page(answered: &Answered) -> Result<Option<Url>> {
    let Some(link) = answered.header(LINK).and_then(next_link) else { return Ok(None) };
    let next = join(&answered.url, link)?;
    let (here, there) = (Origin::of(&answered.url)?, Origin::of(&next)?);
    if here != there {
        return Err(Error::forbidden(format!("{here} continues a list at {there}: refused")));
    }
    if next == answered.url {
        return Err(Error::invalid("a list whose next page is the same page"));
    }
    Ok(Some(next))
}
