//! A pull-through cache: what clients ask for comes from an upstream registry, and is kept.
//!
//! A tag is what upstream says it is now; where upstream is away, what is kept. A digest is the same for ever, so what is
//! kept under it is given without a word to upstream. Our credentials are for upstream alone: its challenges, redirects
//! and error texts end here.

mod flight;

pub(crate) use flight::{Flight, Flights};

use crate::{
    config::ProxyConfig,
    limits::{MANIFEST, REVALIDATE_DEADLINE, USE_STEPS},
    manifests,
    name::{Repository, Tag},
    records,
    refusal::{Code, Refusal, Result},
    registry::Registry,
    route::Target,
};
use rorqual_distribution::{Access, Config, Credentials, HostRule, Mirror, Registries, TagOrDigest};
use rorqual_error::{Error, Kind};
use rorqual_oci::image::Descriptor;
use rorqual_types::{Digest, Reference};
use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The registry that upstream is in names of ours, which nobody sees: its address may have a path, names have none.
const NAME: &str = "upstream.invalid";

/// An upstream registry.
pub(crate) struct Upstream {
    registries: Registries,
    credentials: Credentials,
    ttl: Option<Duration>,
    pub(crate) flights: Flights,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({:?})", self.credentials)
    }
}

impl Upstream {
    /// Checks the configuration; speaks to nobody. `root` is where files without a name may be.
    pub(crate) fn open(config: &ProxyConfig, root: PathBuf) -> rorqual_error::Result<Self> {
        let mirror = Mirror { url: config.remote_url.clone(), prefix: None };
        let rule = HostRule { registry: NAME.into(), mirrors: vec![mirror], mirrors_only: true, ..HostRule::default() };
        // Other nodes do not know who may have what upstream.
        let (registry_mirrors, peers) = (Vec::new(), Vec::new());
        let client = Config { registry_mirrors, peers, rules: vec![rule], ..config.client.clone() };
        let mut credentials = Credentials::anonymous();
        if !config.username.is_empty() {
            credentials = Credentials::password(&config.username, &config.password);
            credentials.serveraddress.clone_from(&config.remote_url);
        }
        Ok(Self { registries: Registries::new(client)?, credentials, ttl: config.ttl, flights: Flights::new(root) })
    }

    fn repository(&self, name: &Repository) -> rorqual_error::Result<rorqual_distribution::Repository> {
        let reference: Reference = format!("{NAME}/{name}").parse()?;
        self.registries.repository(&reference, self.credentials.clone(), Access::Pull)
    }

    /// What a tag is now. Where something is kept, upstream is not waited for as long as it might take.
    async fn resolve(&self, name: &Repository, tag: &Tag, kept: bool) -> rorqual_error::Result<Digest> {
        let (repository, tag) = (self.repository(name)?, TagOrDigest::tag(tag.as_str())?);
        let resolved = repository.resolve(&tag);
        let descriptor = match kept {
            false => resolved.await,
            true => tokio::time::timeout(REVALIDATE_DEADLINE, resolved)
                .await
                .unwrap_or_else(|_| Err(Error::unavailable("upstream did not answer in time"))),
        };
        Ok(descriptor?.digest)
    }

    /// The tags of a repository, in order; `None` where upstream is away.
    pub(crate) async fn tags(&self, name: &Repository) -> Result<Option<Vec<Tag>>> {
        let unknown = || Refusal::new(Code::NameUnknown, "repository name not known to registry");
        let Some(tags) = told(self.repository(name)?.tags().await, unknown)? else { return Ok(None) };
        let mut tags: Vec<Tag> = tags.iter().filter_map(|tag| Tag::parse(tag).ok()).collect();
        tags.sort_unstable();
        tags.dedup();
        Ok(Some(tags))
    }

    /// What refers to a manifest, in the order of digests; `None` where upstream is away.
    pub(crate) async fn referrers(&self, name: &Repository, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
        let unknown = || Refusal::new(Code::NameUnknown, "repository name not known to registry");
        let found = self.repository(name)?.referrers(subject, None).await;
        let Some(mut found) = told(found, unknown)? else { return Ok(None) };
        found.sort_by_key(|descriptor| descriptor.digest.to_string());
        Ok(Some(found))
    }
}

/// What upstream told; `None` where it is away.
fn told<T>(answer: rorqual_error::Result<T>, unknown: impl Fn() -> Refusal) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind() == Kind::Unavailable => {
            tracing::warn!(%error, "upstream is away; what is kept is given");
            Ok(None)
        }
        Err(error) => Err(refusal(error, unknown)),
    }
}

/// Upstream's word for what is not there, in ours; every other failure is the operator's to read.
fn refusal(error: Error, unknown: impl Fn() -> Refusal) -> Refusal {
    match error.kind() {
        Kind::NotFound | Kind::Unauthorized | Kind::Forbidden => {
            tracing::info!(%error, "upstream does not give it");
            unknown()
        }
        _ => error.into(),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Sees to it that what `target` names upstream is here.
///
/// # Errors
/// What the client is told where it is not upstream, or upstream is away and nothing is kept.
pub(crate) async fn manifest(registry: &Registry, name: &Repository, target: &Target) -> Result<()> {
    let Some(upstream) = &registry.upstream else { return Ok(()) };
    let records = registry.records();
    let unknown = || manifests::unknown(target);
    let digest = match target {
        Target::Digest(digest) => {
            if records.manifest(name, digest).await?.is_none() {
                fetch(registry, upstream, name, digest).await.map_err(|error| refusal(error, unknown))?;
            }
            *digest
        }
        Target::Tag(tag) => {
            let kept = records.tag(name, tag).await?;
            match follow(registry, upstream, name, tag, kept).await {
                Ok(digest) => digest,
                Err(error) => match (kept, error.kind()) {
                    (Some(_), Kind::Unavailable) => {
                        tracing::warn!(%error, "upstream is away; the tag is given as it was");
                        return Ok(());
                    }
                    _ => return Err(refusal(error, unknown)),
                },
            }
        }
    };
    Ok(used(registry, upstream, name, &digest).await?)
}

/// Makes a tag what it is upstream.
async fn follow(
    registry: &Registry,
    upstream: &Upstream,
    name: &Repository,
    tag: &Tag,
    kept: Option<Digest>,
) -> rorqual_error::Result<Digest> {
    let digest = upstream.resolve(name, tag, kept.is_some()).await?;
    if registry.records().manifest(name, &digest).await?.is_none() {
        fetch(registry, upstream, name, &digest).await?;
    }
    if kept != Some(digest) {
        let _push = registry.lock(name).read().await;
        registry.storage.apply(vec![records::put_tag(name, tag, &digest)?]).await?;
    }
    Ok(digest)
}

/// Fetches and keeps a manifest. What it leads to need not be here: that comes when it is asked for.
async fn fetch(
    registry: &Registry,
    upstream: &Upstream,
    name: &Repository,
    digest: &Digest,
) -> rorqual_error::Result<()> {
    let repository = upstream.repository(name)?;
    let found = repository.manifest(&TagOrDigest::Digest(*digest), MANIFEST as u64).await?;
    manifests::keep(registry, name, &found.descriptor.media_type, found.bytes.into()).await
}

/// Notes that a manifest was asked for, unless that was noted not long ago.
async fn used(
    registry: &Registry,
    upstream: &Upstream,
    name: &Repository,
    digest: &Digest,
) -> rorqual_error::Result<()> {
    let Some(ttl) = upstream.ttl else { return Ok(()) };
    let noted = registry.records().used(name, digest).await?;
    if noted.is_some_and(|noted| now().saturating_sub(noted) < ttl.as_secs() / USE_STEPS) {
        return Ok(());
    }
    registry.storage.apply(vec![records::put_used(name, digest, now())?]).await
}

/// Whether nobody has asked for a manifest for as long as manifests are kept.
pub(crate) async fn is_expired(registry: &Registry, name: &Repository, digest: &Digest) -> rorqual_error::Result<bool> {
    let Some(ttl) = registry.upstream.as_ref().and_then(|upstream| upstream.ttl) else { return Ok(false) };
    let noted = registry.records().used(name, digest).await?;
    Ok(noted.is_none_or(|noted| now().saturating_sub(noted) >= ttl.as_secs()))
}

/// A blob that the repository does not have yet.
pub(crate) enum Found {
    /// It has it now, with so many bytes.
    Kept(u64),
    /// Upstream has it, with so many bytes.
    Upstream(u64),
    /// It is on its way.
    Coming(Arc<Flight>),
}

/// Looks for a blob upstream, and has it come unless `only_its_head` is asked for; `None` where there is none.
pub(crate) async fn blob(
    registry: &Arc<Registry>,
    name: &Repository,
    digest: Digest,
    only_its_head: bool,
) -> Result<Option<Found>> {
    let Some(upstream) = &registry.upstream else { return Ok(None) };
    let unknown = || Refusal::new(Code::BlobUnknown, "blob unknown to registry");
    let repository = upstream.repository(name)?;
    // The head is also upstream's word that this repository may have what another has brought already.
    let size = repository.exists(&digest).await.map_err(|error| refusal(error, unknown))?;
    match size {
        None => Ok(None),
        Some(0) if digest != rorqual_content::digest(b"") => {
            Err(Error::unavailable("upstream does not say how long the blob is").into())
        }
        Some(size) if only_its_head => Ok(Some(Found::Upstream(size))),
        Some(size) => {
            let descriptor = Descriptor::new("application/octet-stream", digest, size);
            flight::join(registry, upstream, repository, name, descriptor).await.map(Some)
        }
    }
}
