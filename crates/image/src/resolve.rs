//! From what a user typed to an image, and from an image to the layers of a container.

use crate::{
    Images, Resolved,
    documents::{Found, chain, is_image, platform_of},
    oci::{Descriptor, ImageConfig, Manifest},
    state::State,
};
use rorqual_error::{Error, Kind, Result};
use rorqual_types::{Digest, Platform, Reference};
use std::{collections::BTreeSet, sync::Arc};

/// What a user's word for an image means.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The full name, where the word was a name.
    pub(crate) name: Option<String>,
    pub(crate) descriptor: Descriptor,
}

impl Target {
    pub(crate) fn id(&self) -> Digest {
        self.descriptor.digest
    }
}

/// An image's manifest for one platform, with its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) found: Found,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) config: Arc<ImageConfig>,
}

fn no_such_image(word: &str) -> Error {
    let shown: String = word.chars().take(256).collect();
    Error::not_found(format!("No such image: {shown}"))
}

/// `sha256:` and at least four digits, or the digits alone.
fn id_prefix(word: &str) -> Option<&str> {
    let digits = word.strip_prefix("sha256:").unwrap_or(word);
    let hex = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (hex && (4..=64).contains(&digits.len())).then_some(digits)
}

impl State {
    /// The image that `word` means: ID, name (with tag `latest` unless it says more), name@digest or ID prefix.
    pub(crate) fn find(&self, word: &str) -> Result<Target> {
        if let Some(digits) = id_prefix(word).filter(|digits| digits.len() == 64) {
            return self.by_prefix(digits)?.ok_or_else(|| no_such_image(word));
        }
        if word.starts_with("sha256:") {
            let found = id_prefix(word).map(|digits| self.by_prefix(digits)).transpose()?.flatten();
            return found.ok_or_else(|| no_such_image(word));
        }
        let reference: Reference = word.parse()?;
        let reference = reference.or_latest();
        if let Some(digest) = reference.digest() {
            let of_repository =
                |name: &String| name.parse::<Reference>().is_ok_and(|candidate| candidate.name() == reference.name());
            let found = self.names.iter().find(|(name, record)| record.target.digest == *digest && of_repository(name));
            return match found {
                Some((_, record)) => Ok(Target { name: None, descriptor: record.target.clone() }),
                None => Err(no_such_image(&reference.familiar())),
            };
        }
        let full = reference.to_string();
        if let Some(record) = self.names.get(&full) {
            return Ok(Target { name: Some(full), descriptor: record.target.clone() });
        }
        let by_id = id_prefix(word).map(|digits| self.by_prefix(digits)).transpose()?.flatten();
        by_id.ok_or_else(|| no_such_image(&reference.familiar()))
    }

    fn by_prefix(&self, digits: &str) -> Result<Option<Target>> {
        let mut matches = self.names.values().filter(|record| record.target.digest.hex().starts_with(digits));
        let targets: BTreeSet<Digest> = matches.clone().map(|record| record.target.digest).collect();
        if targets.len() > 1 {
            return Err(Error::not_found("ambiguous reference"));
        }
        Ok(matches.next_back().map(|record| Target { name: None, descriptor: record.target.clone() }))
    }

    /// The full names that point to the image, those that stand for none included.
    pub(crate) fn names_of(&self, id: &Digest) -> Vec<String> {
        let named = self.names.iter().filter(|(_, record)| record.target.digest == *id);
        named.map(|(name, _)| name.clone()).collect()
    }
}

impl Images {
    /// The images of all platforms below `target` whose manifest and configuration are here.
    pub(crate) fn choices(&self, target: &Descriptor) -> Result<Vec<Chosen>> {
        let mut choices = Vec::new();
        for found in self.manifests(target, &mut |_| {})?.into_iter().filter(is_image) {
            let Some(manifest) = found.manifest.clone() else { continue };
            match self.config(&manifest) {
                Ok(config) => choices.push(Chosen { found, manifest, config }),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(choices)
    }

    /// The one for `platform`; without it the host's, or else the first.
    pub(crate) fn choose(&self, target: &Descriptor, platform: Option<&Platform>) -> Result<Option<Chosen>> {
        let mut choices = self.choices(target)?;
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let fits =
            |choice: &Chosen| platform_of(&choice.found, Some(&choice.config)).is_some_and(|own| own.satisfies(wanted));
        let at = choices.iter().position(fits).or((platform.is_none() && !choices.is_empty()).then_some(0));
        Ok(at.map(|at| choices.swap_remove(at)))
    }

    /// The image that `name` means for a container: name, `name:tag`, `name@digest`, ID or ID prefix. Its layers are
    /// unpacked on return.
    ///
    /// # Errors
    /// `NotFound` with dockerd's text `No such image: …`; also where no manifest fits `platform`.
    pub fn resolve(&self, name: &str, platform: Option<&Platform>) -> Result<Resolved> {
        let target = self.state().find(name)?;
        let Some(chosen) = self.choose(&target.descriptor, platform)? else {
            let wanted = platform.map_or_else(|| Platform::host().to_string(), Platform::to_string);
            return Err(Error::not_found(format!(
                "image with reference {name} was found but does not provide the specified platform ({wanted})"
            )));
        };
        self.ensure_unpacked(&chosen)?;
        let chain = chain(&chosen.config);
        let state = self.state();
        let owners = chain.iter().filter_map(|chain| state.layers.get(chain)).map(|layer| layer.info.max_owner_id);
        let max_owner_id = owners.max().unwrap_or(0);
        drop(state);
        Ok(Resolved {
            id: target.id(),
            platform: platform_of(&chosen.found, Some(&chosen.config)).unwrap_or_else(Platform::host),
            target: target.descriptor,
            manifest: chosen.found.descriptor,
            config_digest: chosen.manifest.config.digest,
            config: chosen.config,
            lowers: chain.iter().rev().map(Digest::hex).collect(),
            max_owner_id,
        })
    }
}
