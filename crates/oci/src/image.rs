//! Image index, image manifest and image configuration (OCI image specification 1.1, and Docker's schema 2,
//! which has the same shape under other media types).
//!
//! These types are for reading: documents are stored and sent on as the bytes that were received.

use rorqual_error::{Error, Result};
use rorqual_types::{ChainId, Digest, Platform};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

mod strict;

/// The largest index, manifest or configuration that is read.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// The deepest nesting of JSON values in a document.
pub const DOCUMENT_DEPTH_MAX: usize = 16;
/// The most layers an image may have.
pub const LAYERS_MAX: usize = 500;
/// The most entries of one index.
pub const INDEX_ENTRIES_MAX: usize = 1024;

/// Media types.
pub mod media {
    /// OCI index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, uncompressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker's layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's layer, zstd.
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

    /// Whether it names an index or a manifest list.
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, INDEX | DOCKER_INDEX)
    }

    /// Whether it names an image manifest.
    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether it names an image configuration.
    pub fn is_config(media_type: &str) -> bool {
        matches!(media_type, CONFIG | DOCKER_CONFIG)
    }

    /// Whether it names a file system layer that this engine unpacks.
    pub fn is_layer(media_type: &str) -> bool {
        matches!(media_type, LAYER | LAYER_GZIP | LAYER_ZSTD | DOCKER_LAYER | DOCKER_LAYER_GZIP | DOCKER_LAYER_ZSTD)
            || matches!(
                media_type,
                "application/vnd.oci.image.layer.nondistributable.v1.tar"
                    | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
                    | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
                    | "application/vnd.docker.image.rootfs.foreign.diff.tar"
                    | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
            )
    }
}

/// A null in JSON read as the type's default, as Go reads it.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A length, which in Go is a signed number: one that has no place in it is refused there.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    match i64::try_from(size) {
        Ok(_) => Ok(size),
        Err(_) => Err(serde::de::Error::custom("a size that no blob has")),
    }
}

/// A pointer to a blob, with what must be true of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// What the blob is.
    #[serde(rename = "mediaType", default, deserialize_with = "nullable")]
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its length.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Where else it can be had.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The blob itself, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The platform of what the blob describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformEntry>,
    /// The type of an artifact.
    #[serde(rename = "artifactType", default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
}

impl Descriptor {
    /// A descriptor of type, digest and size alone.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: String::new(),
        }
    }
}

/// A platform as an index names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformEntry {
    /// Processor architecture, Go's name.
    #[serde(default, deserialize_with = "nullable")]
    pub architecture: String,
    /// Operating system, Go's name.
    #[serde(default, deserialize_with = "nullable")]
    pub os: String,
    /// Version of the operating system.
    #[serde(rename = "os.version", default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Required features of the operating system.
    #[serde(rename = "os.features", default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the processor.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl PlatformEntry {
    /// In normal form; `None` where it names no platform (`unknown/unknown` of attestations).
    pub fn platform(&self) -> Option<Platform> {
        if self.os.is_empty() || self.architecture.is_empty() || self.os == "unknown" {
            return None;
        }
        let text = match self.variant.as_str() {
            "" => format!("{}/{}", self.os, self.architecture),
            variant => format!("{}/{}/{variant}", self.os, self.architecture),
        };
        text.parse().ok()
    }
}

impl From<&Platform> for PlatformEntry {
    fn from(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..Self::default()
        }
    }
}

/// An image index or manifest list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Index {
    /// 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// Its own media type.
    #[serde(rename = "mediaType", default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The type of an artifact.
    #[serde(rename = "artifactType", default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// Manifests and further indexes.
    #[serde(default, deserialize_with = "nullable")]
    pub manifests: Vec<Descriptor>,
    /// What this document refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// Its own media type.
    #[serde(rename = "mediaType", default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The type of an artifact.
    #[serde(rename = "artifactType", default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "nullable")]
    pub layers: Vec<Descriptor>,
    /// What this document refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image configuration, with Docker's additions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, as written there (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Processor architecture.
    #[serde(default, deserialize_with = "nullable")]
    pub architecture: String,
    /// Variant of the processor.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Operating system.
    #[serde(default, deserialize_with = "nullable")]
    pub os: String,
    /// Version of the operating system.
    #[serde(rename = "os.version", default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Required features of the operating system.
    #[serde(rename = "os.features", default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// What a container made of it runs with.
    #[serde(default, deserialize_with = "nullable")]
    pub config: RunConfig,
    /// The layers' uncompressed digests.
    #[serde(default, deserialize_with = "nullable")]
    pub rootfs: RootFs,
    /// How it came to be.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Docker's comment.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The version of the engine that made it.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub docker_version: String,
    /// The id of the image it was built on, by the classic builder.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub parent: String,
}

/// What a container made of an image runs with. `None` is null or absent, which Docker tells from empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user[:group]`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The program that `Cmd` is given to.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "words")]
    pub entrypoint: Option<Vec<String>>,
    /// The default program or arguments.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "words")]
    pub cmd: Option<Vec<String>>,
    /// Paths that become volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Where the program starts.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that asks the program to end.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Windows only.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// How health is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The shell of shell-form commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Instructions for builds upon it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Seconds between the stop signal and the kill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
}

/// One word or a list of words.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(Option::<Words>::deserialize(deserializer)?.map(|words| match words {
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    }))
}

/// `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// How health is told; durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, `CMD …` or `CMD-SHELL …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// During which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks during the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// The layers' uncompressed digests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type", default, deserialize_with = "nullable")]
    pub kind: String,
    /// Lowest first.
    #[serde(default, deserialize_with = "nullable")]
    pub diff_ids: Vec<Digest>,
}

/// One step of an image's making.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// By which command.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Comment.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// A document of one of the types that an image's name may point to.
#[derive(Clone, Debug)]
pub enum Document {
    /// An index or manifest list.
    Index(Box<Index>),
    /// A manifest.
    Manifest(Box<Manifest>),
}

impl Document {
    /// Reads the document that `media_type` promises, and refuses one that could be read as another (R9).
    pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Self> {
        let keys = strict::top_level(bytes)?;
        strict::check_spelling(bytes)?;
        let has_layers = keys.has("layers") || keys.has("config");
        if keys.has("manifests") && has_layers {
            return Err(Error::invalid("ambiguous document: it has both manifests and layers"));
        }
        if media::is_index(media_type) && has_layers {
            return Err(Error::invalid("ambiguous document: a manifest where an index was promised"));
        }
        if keys.has("rootfs") {
            return Err(Error::invalid("ambiguous document: it has the file system of an image configuration"));
        }
        if keys.has("fsLayers") {
            return Err(Error::invalid("unsupported document: Docker image manifest version 1"));
        }
        let (document, own) = if media::is_index(media_type) {
            let index: Index = strict::decode(bytes)?;
            if index.manifests.len() > INDEX_ENTRIES_MAX {
                return Err(Error::invalid(format!("the index has more than {INDEX_ENTRIES_MAX} entries")));
            }
            let own = index.media_type.clone();
            (Self::Index(Box::new(index)), own)
        } else if media::is_manifest(media_type) {
            let manifest: Manifest = strict::decode(bytes)?;
            if manifest.layers.len() > LAYERS_MAX {
                return Err(Error::invalid(format!("the manifest has more than {LAYERS_MAX} layers")));
            }
            let own = manifest.media_type.clone();
            (Self::Manifest(Box::new(manifest)), own)
        } else {
            return Err(Error::invalid(format!("unsupported media type {}", shown(media_type))));
        };
        if !own.is_empty() && own != media_type {
            return Err(Error::invalid(format!(
                "ambiguous document: it says {} where {} was promised",
                shown(&own),
                shown(media_type)
            )));
        }
        let version = match &document {
            Self::Index(index) => index.schema_version,
            Self::Manifest(manifest) => manifest.schema_version,
        };
        if version != 2 {
            return Err(Error::invalid(format!("unsupported schema version {version}")));
        }
        Ok(document)
    }

    /// The media type of a document that comes without a descriptor: its own word, or what its keys make it.
    pub fn detect(bytes: &[u8]) -> Result<String> {
        let keys = strict::top_level(bytes)?;
        if let Some(own) = keys.media_type() {
            return Ok(own.to_owned());
        }
        match (keys.has("manifests"), keys.has("config") || keys.has("layers")) {
            (true, false) => Ok(media::INDEX.into()),
            (false, true) => Ok(media::MANIFEST.into()),
            _ => Err(Error::invalid("neither an image index nor an image manifest")),
        }
    }
}

impl ImageConfig {
    /// Reads an image configuration within the limits.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let keys = strict::top_level(bytes)?;
        if keys.has("manifests") || keys.has("layers") {
            return Err(Error::invalid("ambiguous document: an image configuration with manifests or layers"));
        }
        let config: Self = strict::decode(bytes)?;
        if config.rootfs.diff_ids.len() > LAYERS_MAX {
            return Err(Error::invalid(format!("the image has more than {LAYERS_MAX} layers")));
        }
        Ok(config)
    }

    /// The platform it runs on.
    pub fn platform(&self) -> PlatformEntry {
        PlatformEntry {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
    }

    /// The labels, empty where there are none.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.config.labels.clone().unwrap_or_default()
    }
}

/// The chain IDs of a stack of layers, lowest first: `sha256(chain(n-1) + " " + diff(n))`.
pub fn chain_ids(diff_ids: &[Digest], sha256: impl Fn(&[u8]) -> Digest) -> Vec<ChainId> {
    let mut chain = Vec::with_capacity(diff_ids.len());
    for diff in diff_ids {
        let next = match chain.last() {
            None => *diff,
            Some(parent) => sha256(format!("{parent} {diff}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests;
