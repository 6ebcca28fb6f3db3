//! What a registry has under a name.

use super::entry::Entry;
use crate::{cli::Cli, credentials, failure::Failure, failure::Result};
use rorqual_distribution::{
    Access, Config, Credentials, Registries, Repository, TagOrDigest, limits::MANIFEST_BYTES_MAX,
};
use rorqual_error::Kind;
use rorqual_oci::image::{Document, ImageConfig, media};
use rorqual_types::Reference;

/// A manifest, or those of a list.
pub(super) enum Found {
    Manifest(Box<Entry>),
    List(Vec<Entry>),
}

/// The repository of a reference, with the credentials that the user has for its registry.
pub(super) async fn repository(cli: &Cli, reference: &Reference, access: Access, insecure: bool) -> Result<Repository> {
    let known = credentials::find(&cli.config, reference.domain()).await?;
    let credentials = known.map_or_else(Credentials::default, |found| Credentials {
        username: found.text("username").to_owned(),
        password: found.text("password").to_owned(),
        identitytoken: found.text("identitytoken").to_owned(),
        ..Credentials::default()
    });
    let insecure_registries = if insecure { vec![reference.domain().to_owned()] } else { Vec::new() };
    let registries = Registries::new(Config { insecure_registries, ..Config::default() })?;
    Ok(registries.repository(reference, credentials, access)?)
}

/// What a name leads to.
pub(super) async fn find(cli: &Cli, reference: &Reference, insecure: bool) -> Result<Found> {
    let repository = repository(cli, reference, Access::Pull, insecure).await?;
    let found = repository.manifest(&TagOrDigest::from(reference), MANIFEST_BYTES_MAX).await;
    let found = found.map_err(|error| match error.kind() {
        Kind::NotFound => Failure::message(format!("no such manifest: {reference}")),
        _ => error.into(),
    })?;
    let manifest = match found.document {
        Document::Manifest(manifest) => manifest,
        Document::Index(index) => {
            let mut entries = Vec::new();
            for mut descriptor in index.manifests {
                let tag = reference.tag().map_or_else(String::new, |tag| format!(":{tag}"));
                let own: Reference = format!("{}{tag}@{}", reference.name(), descriptor.digest).parse()?;
                let member = repository.manifest(&TagOrDigest::Digest(descriptor.digest), descriptor.size).await?;
                descriptor.annotations.clear();
                entries.push(Entry::new(&own, descriptor, &member.bytes));
            }
            return Ok(Found::List(entries));
        }
    };
    let mut entry = Entry::new(reference, found.descriptor, &found.bytes);
    if media::is_config(&manifest.config.media_type) {
        let config = repository.fetch_whole(&manifest.config, MANIFEST_BYTES_MAX).await?;
        *entry.platform() = ImageConfig::parse(&config)?.platform();
    }
    Ok(Found::Manifest(Box::new(entry)))
}

/// The manifest that a name leads to.
pub(super) async fn manifest(cli: &Cli, reference: &Reference, insecure: bool) -> Result<Entry> {
    match find(cli, reference, insecure).await? {
        Found::Manifest(entry) => Ok(*entry),
        Found::List(_) => Err(Failure::message(format!("{reference} is a manifest list"))),
    }
}
